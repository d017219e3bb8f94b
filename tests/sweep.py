"""
Cancel at every step: run a scenario once for each point at which a cancel can arrive.

A scenario is an async function that sets up, does what is to be swept inside ``with cut:``, and
then asserts what has to hold however far that got::

    async def scenario(cut: Cut) -> None:
        async with open_something() as thing:
            with cut:
                await thing.use()
            assert thing.is_free()

    assert sweep(scenario) >= FLOOR

Trio code between two steps of a task is atomic, so the points are: before the block's first step,
and then each start and each end of a step of the task in the block or of a task below it. A cancel
at an end finds the task parked; one at a start finds it rescheduled already, and is delivered at
its next checkpoint. Virtual time; scheduling order is left to chance, as Trio has it.
"""

import gc
import warnings
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trio
import trio.testing

# A scenario with more points than this does not end, or is too large to be swept.
_POINT_LIMIT = 20_000


class Cut(trio.abc.Instrument):
    """The block that is cancelled, at one point; used once, as a plain context manager."""

    def __init__(self, point: int, *, everywhere: bool = False) -> None:
        self.point = point
        self._everywhere = everywhere
        self.reached = False  # the cancel was made; False after the block: it ended before
        self._seen = 0
        self._scope = trio.CancelScope()
        self._root: trio.lowlevel.Task | None = None  # the task in the block, while it is in
        self._outer: list[trio.Nursery] = []  # of that task, open before the block

    def __enter__(self) -> Self:
        self._root = trio.lowlevel.current_task()
        self._outer = list(self._root.child_nurseries)
        self._scope.__enter__()
        trio.lowlevel.add_instrument(self)
        self._count()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        trio.lowlevel.remove_instrument(self)
        self._root = None
        return self._scope.__exit__(kind, error, traceback)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_below(task):
            self._count()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_below(task):
            self._count()

    def _count(self) -> None:
        if self._seen == self.point:
            self.reached = True
            self._scope.cancel(reason=f"the sweep's point {self.point}")
        self._seen += 1

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        if self._everywhere:
            return self._root is not None and task.parent_nursery is not None
        while task is not self._root:
            nursery = task.parent_nursery
            if nursery is None or nursery in self._outer:
                return False
            task = nursery.parent_task
        return True


def sweep(
    scenario: Callable[[Cut], Awaitable[None]], *, name: str = "", everywhere: bool = False
) -> int:
    """
    Run *scenario* for point 0, 1, 2 and so on, until its block ends before the point.

    With *everywhere*, the points are the steps of every task while the block lasts, those of actors
    and of a server in the same run among them: all moments at which a cancel can come from outside.

    A run fails by raising, or by any warning (a generator, a socket, a coroutine left behind).

    Returns:
        How many points there were; printed too, with *name*.
    """
    gc.collect()
    gc.freeze()  # makes the collection after each run cheap
    try:
        for point in range(_POINT_LIMIT):
            cut = Cut(point, everywhere=everywhere)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    trio.run(scenario, cut, clock=trio.testing.MockClock(autojump_threshold=0))
                except BaseException as error:
                    error.add_note(f"cancelled at point {point} of the sweep {name}")
                    raise
                gc.collect()
            assert not caught, f"at point {point} of {name}: {[str(w.message) for w in caught]}"
            if not cut.reached:
                print(f"sweep {name}: {point} points")
                return point
    finally:
        gc.unfreeze()
    raise AssertionError(f"the sweep {name} has more than {_POINT_LIMIT} points")
