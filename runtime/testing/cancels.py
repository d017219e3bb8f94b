"""
Cancels that were swallowed: a task was given a `trio.Cancelled`, and ended as if it had not been.

A cancel is owed to the outermost scope that is cancelled: it has to come out of everything inside of
that. So whoever ends normally within it, though a cancel was given to him, has caught what was not
his to catch; ``except BaseException`` without a ``raise`` is how.
"""

from collections.abc import Collection

import trio

from greenroom.runtime.events import (
    ActorInterrupted,
    Event,
    HandlerEnded,
    HandlerStarted,
)
from greenroom.runtime.testing.seam import has_returned, is_open, owed_to
from greenroom.runtime.testing.targets import is_own_task, own_place

__all__ = ["Cancels"]


class Cancels:
    """
    The cancels of one run; an observer.

    Attributes:
        swallowed: What to say of each that was.
        expects_interrupt: Whether a Ctrl-C came, at a time at which it can't get lost.
    """

    def __init__(self) -> None:
        self.swallowed: list[str] = []
        self.expects_interrupt = False
        # by task, to which scope the last cancel that it was given is owed, and where it waited
        self._owed: dict[trio.lowlevel.Task, tuple[trio.CancelScope, str]] = {}
        # of those, the ones in which what was started is the scenario's own
        self._own: set[trio.lowlevel.Task] = set()
        self._handling: dict[str, set[trio.lowlevel.Task]] = {}  # by actor, who runs a handler
        self._interrupted: set[trio.lowlevel.Task] = set()  # handlers may answer an interruption

    def given(self, task: trio.lowlevel.Task) -> None:
        """Note that *task* is given a cancel in its next step."""
        scope = owed_to(task)
        if scope is not None:
            self._owed[task] = scope, own_place(task) or "a place that is not its own"
            if is_own_task(task):
                self._own.add(task)

    @property
    def unended(self) -> Collection[trio.lowlevel.Task]:
        """The tasks that were given a cancel and have not ended; of some, it has come out since."""
        return self._owed.keys()

    def is_given(self, task: trio.lowlevel.Task | None) -> bool:
        """Tell whether *task* was given a cancel that has not come out of it yet: it cleans up."""
        return task is not None and task in self._owed and is_open(self._owed[task][0])

    def note_interrupt(self, main: trio.lowlevel.Task | None) -> None:
        """
        Note that Ctrl-C comes, which Trio gives to the task *main*.

        One that comes into a cleanup is lost where a further cancel comes after it: Trio gives a
        cancel again and again, and the last exception wins.
        """
        is_cancelled = main is None or self.is_given(main) or owed_to(main) is not None
        self.expects_interrupt = not is_cancelled

    def __call__(self, event: Event) -> None:
        """Hear of the beginnings and ends of handlers, in their tasks."""
        match event:
            case HandlerStarted(actor=actor):
                task = trio.lowlevel.current_task()
                self._owed.pop(task, None)
                self._handling.setdefault(actor, set()).add(task)
            case HandlerEnded(actor=actor, number=number, outcome=outcome):
                task = trio.lowlevel.current_task()
                if task not in self._interrupted:
                    handler = f"the handler of {actor!r} for frame {number}"
                    if outcome == "replied":
                        self._check(task, f"{handler} replied")
                    elif outcome == "Refused":  # its actor goes on as if nothing had been
                        self._check_refusal(task, f"{handler} refused it")
                self._owed.pop(task, None)
                self._handling.get(actor, set()).discard(task)
                self._interrupted.discard(task)
            case ActorInterrupted(actor=actor):
                self._interrupted |= self._handling.get(actor, set())
            case _:
                pass

    def exited(self, task: trio.lowlevel.Task, name: str) -> None:
        """Hear of the end of a task; from within its last step."""
        if task in self._owed and task in self._own and has_returned():
            self._check(task, f"the task {name!r} returned")
        self._owed.pop(task, None)
        self._own.discard(task)

    def check_scenario(self) -> None:
        """Hear that the scenario has returned."""
        self._check(trio.lowlevel.current_task(), "the scenario returned")

    def check_scope(self, name: str, scope: trio.CancelScope) -> None:
        """Hear that the block of the scope *name* has ended without an exception."""
        owed = self._owed.get(trio.lowlevel.current_task())
        if owed is not None and owed[0] is scope and not scope.cancelled_caught:
            self._say(f"the block of scope {name!r} ended normally", owed[1])

    def _check(self, task: trio.lowlevel.Task, what: str) -> None:
        scope, place = self._owed.pop(task, (None, ""))
        if scope is not None and is_open(scope):
            self._say(what, place)

    def _check_refusal(self, task: trio.lowlevel.Task, what: str) -> None:
        # it is told when the scope has ended, by the refusal in place of the cancel
        scope, place = self._owed.pop(task, (None, ""))
        if scope is not None and not scope.cancelled_caught:
            self._say(what, place)

    def _say(self, what: str, place: str) -> None:
        self.swallowed.append(f"{what}, though it was cancelled while it waited in {place}")
