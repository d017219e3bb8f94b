"""
What happens where parallel branches begin and end: pure decisions, no Trio.

Every frame that comes goes into all branches. Where they end, these rules hold:

- A frame that went into the branches goes on when the first of them passes it on, and not again
  (`leave`). It is known by what it is, not by its value; one that comes a second time while it is
  still known goes in as an equal copy.
- A frame that was made in a branch goes on.
- A lifecycle frame goes on once, when the last of them has passed it on. So do the marks of other
  junctions.

What is known of frames must not grow without bound, also where a branch swallows all it gets. So
after every 64 frames a `Mark` follows them into each branch, and stages pass it on in order: what
came before a mark that has left all branches is forgotten. At most the frames in the branches'
mailboxes, and 64 more, are known at one time.

A stage that keeps a frame back, lets a mark pass, and then passes the frame on, has it counted as
made in its branch.
"""

import copy
from typing import Final

from greenroom.runtime.frames import Frame
from greenroom.runtime.pipeline.frames import Lifecycle, Mark

__all__ = ["Junction"]

_BETWEEN_MARKS: Final = 64


class _Known:
    """A frame in the branches."""

    __slots__ = ("frame", "has_left", "number")

    def __init__(self, frame: Frame, number: int) -> None:
        self.frame = frame  # so that its id is not given to another
        self.number = number
        self.has_left = False


class Junction:
    """
    The two sides of some parallel branches, in one direction.

    Attributes:
        name: A number that no other junction of the pipeline has.
        branches: How many there are.
    """

    __slots__ = ("_known", "_marked", "_number", "_passed", "_waiting", "branches", "name")

    def __init__(self, name: int, branches: int) -> None:
        self.name = name
        self.branches = branches
        self._known: dict[int, _Known] = {}  # by the id of the frame, oldest first
        self._number = 0  # of the last frame that came
        self._marked = 0  # the number of the last mark
        self._passed = [0] * branches  # what each branch has certainly dealt with
        # lifecycle frames under way, by their id, and the branches that each has not left yet
        self._waiting: dict[int, tuple[Lifecycle, set[int]]] = {}

    def __len__(self) -> int:
        """Return how many frames are known."""
        return len(self._known)

    def enter(self, frame: Frame) -> Frame:
        """Note that *frame* goes into every branch, and return what to send there."""
        if isinstance(frame, Lifecycle):
            self._waiting[id(frame)] = (frame, set(range(self.branches)))
            return frame
        if id(frame) in self._known:
            frame = copy.copy(frame)
        self._number += 1
        self._known[id(frame)] = _Known(frame, self._number)
        return frame

    def mark(self) -> Mark | None:
        """Return the mark to send into every branch after the last frame, if one is due."""
        if self._number - self._marked < _BETWEEN_MARKS:
            return None
        self._marked = self._number
        return Mark(self.name, self._number)

    def leave(self, branch: int, frame: Frame) -> bool:
        """Note that *branch* passes *frame* on, and tell whether it is to go on from here."""
        if isinstance(frame, Mark) and frame.junction == self.name:
            self._pass(branch, frame.number)
            return False
        if isinstance(frame, Lifecycle):
            return self._is_last(branch, frame)
        known = self._known.get(id(frame))
        if known is None:
            return True
        is_first, known.has_left = not known.has_left, True
        return is_first

    def _is_last(self, branch: int, frame: Lifecycle) -> bool:
        if id(frame) not in self._waiting:
            return False
        _, branches = self._waiting[id(frame)]
        branches.discard(branch)
        if not branches:
            del self._waiting[id(frame)]
        return not branches

    def _pass(self, branch: int, number: int) -> None:
        self._passed[branch] = max(self._passed[branch], number)
        everywhere = min(self._passed)
        for key, known in list(self._known.items()):
            if known.number > everywhere:
                break
            del self._known[key]
