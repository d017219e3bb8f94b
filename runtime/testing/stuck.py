"""A step that does not end: a loop without a checkpoint, which would keep the test for ever."""

import re
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["StuckError", "watched_for_stuck_steps"]

# Real seconds; far more than any step takes, also where the machine is busy.
_SECONDS: Final = 10.0


# Whose frames are there while someone looks at the program.
_DEBUGGERS: Final = re.compile(r"(bdb|pdb|pydevd\w*|_pydevd_\w*|debugpy|IPython)(\..*)?")


class StuckError(BaseException):
    """Raised by the test kit into a step that has not ended for a long time."""


@contextmanager
def watched_for_stuck_steps(
    steps: Callable[[], int], found: Callable[[str], None]
) -> Generator[None]:
    """
    Raise `StuckError` into a step that lasts for many seconds of real time.

    Not where the program uses SIGALRM itself, nor outside of the main thread, nor while it stands
    still in a debugger.

    Args:
        steps: How many there were so far.
        found: Told where the step is, in words.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return
    before = -1

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal before
        now = steps()
        if now == before and frame is not None and not _is_debugged(frame):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
            found(f"one step has lasted for {_SECONDS:g} real seconds; it is at {place}")
            raise StuckError
        before = now

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _is_debugged(frame: FrameType | None) -> bool:
    while frame is not None:
        if _DEBUGGERS.fullmatch(f"{frame.f_globals.get('__name__', '')}"):
            return True
        frame = frame.f_back
    return False
