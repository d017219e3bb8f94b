"""
Threads in virtual time: what `trio.to_thread.run_sync` starts goes on only while Trio waits for it.

A real thread ends when it likes, which no run repeats, and virtual time doesn't wait for it. Here a
sync function begins after a time that is said, and then it and Trio take turns: each ``time.sleep``
in it lets so much virtual time pass, and all else takes none.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import outcome
import trio

from greenroom.runtime.testing.seam import refuse_trio

__all__ = ["VirtualThreads"]

_sleep: Final = time.sleep


class _Left(BaseException):
    """Raised out of ``time.sleep`` in a thread that nobody waits for when the run is over."""


class _Thread:
    """A thread that runs until it sleeps or ends, and meanwhile Trio's does not."""

    def __init__(self, function: Callable[[], object], name: str | None) -> None:
        self.result: Any = None
        self._function = function
        self._seconds: float | None = None  # that it sleeps; None once it has ended
        self._is_left = False
        self._go = threading.Lock()  # the thread waits until it is released, and Trio for the other
        self._go.acquire()
        self._back = threading.Lock()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def go_on(self) -> float | None:
        """Let it run; return for how long it sleeps then, or None if it has ended."""
        before: Any = time.sleep
        time.sleep = self._pause
        try:
            if self._thread.ident is None:
                self._thread.start()
            else:
                self._go.release()
            self._back.acquire()
        finally:
            time.sleep = before
        if self._seconds is None:
            self._thread.join()
        return self._seconds

    def leave(self) -> None:
        """Have it end, by an error out of where it sleeps."""
        self._is_left = True
        while self._seconds is not None:
            self.go_on()

    def _run(self) -> None:
        refuse_trio()
        self.result = outcome.capture(self._function)
        self._seconds = None
        self._back.release()

    def _pause(self, seconds: Any, /) -> None:
        """Stand for ``time.sleep``."""
        if threading.get_ident() != self._thread.ident:
            _sleep(seconds)
            return
        self._seconds = max(0.0, seconds)
        self._back.release()
        self._go.acquire()
        if self._is_left:
            raise _Left


class VirtualThreads:
    """
    Starts threads that take turns with Trio.

    Attributes:
        seconds: How long after its start each begins, of virtual time.
        running: How many have been started and are not over: at most those that Trio's limiter lets
            run, and the abandoned ones.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = 0

    def start(
        self,
        function: Callable[[], object],
        deliver: Callable[[Any], object],
        name: str | None = None,
    ) -> None:
        """Run *function* after its time, and call *deliver* with its outcome."""
        self.running += 1
        trio.lowlevel.spawn_system_task(self._run, function, deliver, name, name=f"thread {name}")

    async def _run(
        self, function: Callable[[], object], deliver: Callable[[Any], object], name: str | None
    ) -> None:
        thread = _Thread(function, name)
        try:
            await trio.sleep(self.seconds)
            while (pause := thread.go_on()) is not None:  # noqa: ASYNC110 - as the thread does
                await trio.sleep(pause)
        finally:
            self.running -= 1
            thread.leave()
        result = thread.result
        if isinstance(result, outcome.Error) and "call it from a thread" in str(result.error):
            result = outcome.Error(_refusal(result.error))
        deliver(result)


def _refusal(error: BaseException) -> RuntimeError:
    refusal = RuntimeError(
        "trio.from_thread.run can't be used under the test kit, where threads and Trio take turns: "
        "it would wait for itself; return a value from the function instead"
    )
    refusal.__cause__ = error
    return refusal
