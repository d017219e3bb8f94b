"""
The lifecycle frames that a stage owes to what is beyond it: those that it has not passed on.

A stage that is over passes nothing on any more, and yet what begins, flushes and ends the pipeline
must reach the others: each once, in order, and before all that came later. So it is noted when a
stage begins to handle such a frame, and when that has been put into what is beyond. Once the stage
is over, that one, and those left in its mailbox, are put there without it. Until they are, what
passes the stage by waits.
"""

from collections import deque
from collections.abc import Iterable

import trio

from greenroom.runtime.frames import Frame
from greenroom.runtime.pipeline.frames import Lifecycle, Mark, Upstream

__all__ = ["Owed", "inner", "is_owed"]


def inner(frame: Frame) -> Frame:
    """Return *frame* without what it travels in."""
    return frame.frame if isinstance(frame, Upstream) else frame


def is_owed(frame: Frame) -> bool:
    """Tell whether *frame* must not be lost with a stage; a mark may be, as another will follow."""
    content = inner(frame)
    return isinstance(content, Lifecycle) and not isinstance(content, Mark)


class Owed:
    """
    What one stage owes in one direction.

    Attributes:
        handled: What it handles, and has not passed on.
        frames: What it has left behind, oldest first; each is taken off once it is beyond.
    """

    __slots__ = ("_settled", "frames", "handled")

    def __init__(self) -> None:
        self.handled: Frame | None = None
        self.frames: deque[Frame] = deque()  # at most one handled, and what the mailbox held
        self._settled: trio.Event | None = None  # set when all of them are beyond

    def take(self, frame: Frame) -> None:
        """Note that the stage handles *frame*, and so owes it."""
        if is_owed(frame):
            self.handled = frame

    def pay(self, frame: Frame) -> None:
        """Note that *frame* is where it was to be put."""
        if frame is self.handled:
            self.handled = None

    def leave(self, frames: Iterable[Frame]) -> bool:
        """
        Note that the stage is over, with *frames* left in its mailbox.

        Returns:
            Whether there is anything to be put beyond it now; `settle` says when that is done.
        """
        if self.handled is not None:
            self.frames.append(self.handled)
            self.handled = None
        self.frames += frames
        if self.frames:
            self._settled = trio.Event()
        return bool(self.frames)

    def settle(self) -> None:
        """Let go on what waits."""
        if self._settled is not None:
            self._settled.set()

    async def wait_settled(self) -> None:  # noqa: ASYNC910
        """Wait until nothing is owed by a stage that is over. Checkpoint: only if it waits."""
        if self._settled is not None and not self._settled.is_set():
            await self._settled.wait()
