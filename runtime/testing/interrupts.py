"""Ctrl-C in a run: that of a fault, which is part of the test, and the user's own, which ends it."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """
    The interrupts of one run.

    Trio takes Ctrl-C only in the main thread of a program that has no handler of its own for it;
    elsewhere none can be sent.

    Attributes:
        are_possible: Whether Trio will take one.
    """

    def __init__(self) -> None:
        """To be made before the run begins."""
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGINT)
        self.are_possible = is_main and handler is signal.default_int_handler
        self._is_sending = False
        self._came = False

    def send(self) -> None:
        """Interrupt the run, as a fault."""
        self._is_sending = True
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            self._is_sending = False

    def tell_apart(self) -> None:
        """Note from here on those that come from outside; to be called inside of the run."""
        if not self.are_possible:
            return
        taken: Any = signal.getsignal(signal.SIGINT)  # Trio's

        def take(number: int, frame: FrameType | None) -> None:
            self._came = self._came or not self._is_sending
            taken(number, frame)

        signal.signal(signal.SIGINT, take)

    def end(self) -> None:
        """Have all as it was before the run; raise KeyboardInterrupt if one came from outside."""
        if self.are_possible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came:
            raise KeyboardInterrupt
