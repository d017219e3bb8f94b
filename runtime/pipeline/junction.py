"""
What happens where parallel branches begin and end: pure decisions, no Trio.

Every frame that comes goes into all branches. Where they end, these rules hold:

- A frame that went into the branches goes on when the first of them passes it on, and not again
  (`leave`). It is known by what it is, not by its value; one that comes a second time while it is
  still known goes in as an equal copy.
- A frame that was made in a branch goes on.
- A lifecycle frame goes on once, when the last of them has passed it on. So do the marks of other
  junctions. Until it is said to be beyond (`forget`), the same branch may pass it on again, as the
  stage that did so may be over before it was.

What is known of frames must not grow without bound, also where a branch swallows all it gets. So
after every 64 frames a `Mark` follows them into each branch, and stages pass it on in order: what
came before a mark that has left all branches is forgotten. At most the frames in the branches'
mailboxes, and 64 more, are known at one time. A mailbox that drops frames may drop marks too; the
next one does as well, and what it dropped is known not to come (`drop`).

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

    __slots__ = ("dropped", "frame", "has_left", "number")

    def __init__(self, frame: Frame, number: int) -> None:
        self.frame = frame  # so that its id is not given to another
        self.number = number
        self.has_left = False
        self.dropped: tuple[int, ...] = ()  # the branches in which a full mailbox dropped it


class Junction:
    """
    The two sides of some parallel branches, in one direction.

    Attributes:
        name: A number that no other junction of the pipeline has.
        branches: How many there are.
    """

    __slots__ = (
        "_entering",
        "_known",
        "_marked",
        "_number",
        "_passed",
        "_waiting",
        "branches",
        "name",
    )

    def __init__(self, name: int, branches: int) -> None:
        self.name = name
        self.branches = branches
        self._known: dict[int, _Known] = {}  # by the id of the frame, oldest first
        self._number = 0  # of the last frame that came
        self._entering: dict[
            int, int
        ] = {}  # their numbers, by id, of those not in all branches yet
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
        self._entering[id(frame)] = self._number
        return frame

    def entered(self, frame: Frame) -> None:
        """Note that *frame* is in every branch, or in no further one."""
        del self._entering[id(frame)]

    def mark(self) -> Mark | None:
        """Return the mark to send into every branch after what is in all of them, if one is due."""
        number = min(self._entering.values(), default=self._number + 1) - 1
        if number - self._marked < _BETWEEN_MARKS:
            return None
        self._marked = number
        return Mark(self.name, number)

    def lost(self, mark: Mark) -> None:
        """Note that *mark* is not in every branch, so that another is due with the next frame."""
        self._marked = min(self._marked, mark.number - _BETWEEN_MARKS)

    def drop(self, branch: int, frame: Frame) -> None:
        """Note that a full mailbox in *branch* dropped *frame*, so that it never leaves there."""
        if isinstance(frame, Mark) and id(frame) in self._waiting:
            del self._waiting[id(frame)]  # the next will do
        elif (known := self._known.get(id(frame))) is not None:
            known.dropped = (*known.dropped, branch)
            if self._is_over(known):
                del self._known[id(frame)]

    def _is_over(self, known: _Known) -> bool:
        """Tell whether *known* is in no branch any more."""
        return all(
            known.number <= passed or branch in known.dropped
            for branch, passed in enumerate(self._passed)
        )

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

    def forget(self, frame: Lifecycle) -> None:
        """Note that *frame* is beyond, or is to go no further, and wait for no branch to pass it on."""
        self._waiting.pop(id(frame), None)

    def _is_last(self, branch: int, frame: Lifecycle) -> bool:
        if id(frame) not in self._waiting:
            return False
        _, branches = self._waiting[id(frame)]
        branches.discard(branch)
        if not branches and isinstance(frame, Mark):
            del self._waiting[id(frame)]
            self._forget_marks_before(frame)
        return not branches

    def _forget_marks_before(self, mark: Mark) -> None:
        """Forget those that a branch has lost: *mark*, which came after them, says it all."""
        self._waiting = {
            key: (frame, branches)
            for key, (frame, branches) in self._waiting.items()
            if not (isinstance(frame, Mark) and frame.junction == mark.junction)
            or frame.number > mark.number
        }

    def _pass(self, branch: int, number: int) -> None:
        self._passed[branch] = max(self._passed[branch], number)
        for key, known in list(self._known.items()):
            if known.number > number:
                break
            if self._is_over(known):
                del self._known[key]
