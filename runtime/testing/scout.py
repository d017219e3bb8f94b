"""What a search over all orders needs from each run: which task did what, and whom it woke."""

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import trio

from greenroom.runtime.events import Event
from greenroom.runtime.testing.director import Director
from greenroom.runtime.testing.dpor import Place, Search, Touch
from greenroom.runtime.testing.footprints import MADE, touching
from greenroom.runtime.testing.seam import state_of

__all__ = ["Scout"]


class Scout(trio.abc.Instrument):
    """
    The policy of one run of a *search*, and its eyes.

    Attributes:
        preempt: How the order differs from that of `Fifo`, so that a plan can repeat it.
    """

    def __init__(self, search: Search) -> None:
        self.preempt: list[tuple[int, int]] = []  # at most one for each step of the run
        self._search = search
        self._last: int = -1  # the task of the step before: `Fifo` would go on with it
        self._director: Director | None = None
        self._places: dict[int, Place] = {}  # by the director's numbers
        self._children: dict[Place, int] = {}
        self._made: dict[Place, int] = {}  # how many things each task has made
        self._keys: dict[int, Hashable] = {}  # by the identity of the thing
        self._things: list[object] = []  # keeps those alive, and so their identities their own
        self._is_open = False  # a step was chosen, and is not told to the search yet
        self._task: trio.lowlevel.Task | None = None  # that of the step
        self._touches: set[Touch] = set()
        self._is_unknown = False  # what the step touched is more than can be told
        self._woke: list[Place] = []
        self._waited = False

    def attach(self, director: Director) -> None:
        """Be told who is who by *director*; called once, before the run."""
        self._director = director
        director.on_touch = self.touch

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        """Return what the search chooses; see `Policy`."""
        self._close_step()
        index = self._search.choose([self._places[n] for n in runnable], waited=self._waited)
        if index != (runnable.index(self._last) if self._last in runnable else 0):
            self.preempt.append((step, index))
        self._last = runnable[index]
        self._is_open = True
        self._waited = False
        return index

    def finish(self) -> None:
        """Tell the search that the run is over."""
        self._close_step()
        self._search.finish()

    def _close_step(self) -> None:
        if not self._is_open:
            return
        nurseries = self._task.child_nurseries if self._task is not None else ()
        if any(nursery.cancel_scope.cancel_called for nursery in nurseries):
            self._is_unknown = True
        self._search.ran(None if self._is_unknown else frozenset(self._touches), self._woke)
        self._is_open = self._is_unknown = False
        self._touches, self._woke, self._task = set(), [], None

    # -- what is seen

    def _place_of(self, task: trio.lowlevel.Task | None) -> Place | None:
        number = self._director.number_of(task) if self._director and task else None
        return None if number is None else self._places.get(number)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        number = self._director.number_of(task) if self._director else None
        if number is not None:
            self._admit(number)

    def begin(self, number: int) -> None:
        """Take the task with this *number* for the first of the run."""
        self._places[number] = (0,)

    def _admit(self, number: int) -> None:
        parent = self._place_of(_current()) or (-1,)
        child = self._children[parent] = self._children.get(parent, 0) + 1
        self._places[number] = (*parent, child)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._place_of(task) is None:
            self._is_unknown = True  # not a task of the scenario: what it does is no one's step
        else:
            self._task = task

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if (place := self._place_of(task)) is not None:
            self._woke.append(place)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and nursery.cancel_scope.cancel_called:
            self._is_unknown = True  # it may have failed, and so cancelled its siblings

    def before_io_wait(self, timeout: float) -> None:
        if not trio.lowlevel.current_statistics().tasks_runnable:
            self._waited = True

    # -- what is told

    def touch(self, what: Hashable, write: bool) -> None:
        """Note what the running step touches."""
        self._touches.add(Touch(what, write))

    def hear(self, event: Event) -> None:
        """Take an event for a touch of its actor; an observer."""
        self.touch(("actor", event.actor), True)

    def _make(self, thing: object) -> None:
        place = self._place_of(_current()) or (-1,)
        count = self._made[place] = self._made.get(place, 0) + 1
        self._keys[id(thing)] = ("made", place, count)
        self._things.append(thing)

    def _use(self, thing: object, write: bool) -> None:
        thing = state_of(thing)
        self.touch(self._keys.get(id(thing), ("older", id(thing))), write)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Hear of every use of Trio's primitives while the block lasts, and of cancels."""

        def cancel(scope: trio.CancelScope, *args: Any, **kwargs: Any) -> None:
            self._is_unknown = True
            real(scope, *args, **kwargs)

        real = trio.CancelScope.cancel
        with ExitStack() as stack:
            stack.enter_context(patch.object(trio.CancelScope, "cancel", cancel))
            for kind in MADE:
                stack.enter_context(patch.object(kind, "__init__", self._making(kind.__init__)))
            stack.enter_context(touching(self._use))
            yield

    def _making(self, init: Callable[..., None]) -> Callable[..., None]:
        def made(thing: object, *args: Any, **kwargs: Any) -> None:
            init(thing, *args, **kwargs)
            self._make(thing)

        return made


def _current() -> trio.lowlevel.Task | None:
    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return None
