"""
Which orders of tasks are still to be run: all of them, up to the order of steps that do not meet.

A search is asked which task goes next, hears what each step did, and plans the next run when one is
over. It knows tasks by their places alone, and nothing of Trio.

Theory: two steps of different tasks *conflict* if they touch the same thing and one of them writes
it. A run is a trace: its steps, and in which order those that conflict came. Runs of one trace end
in the same state, so that one of them is enough. From each run the search learns its *races*: pairs
of conflicting steps that no chain of other steps holds in this order. For each race it has a later
run go the other way round, from the state before the first of the two. Tasks that were tried at a
state *sleep* in the runs that try others there, until a step conflicts with the one that they were
tried with: before that, they could only repeat what was run.

A step that wakes or starts a task comes before the next step of that task; it is no race, as that
could not have gone first. Nor can a step race with what came after time passed, which it only does
when no task can run. A runnable task stays so until it is run, as everywhere in Trio.

Source: Flanagan and Godefroid, "Dynamic Partial-Order Reduction for Model Checking Software", POPL
2005; source sets and their use with sleep sets are those of Abdulla, Aronis, Jonsson and Sagonas,
"Optimal Dynamic Partial Order Reduction", POPL 2014. What happens before a step is kept as the bits
of an int, one for each step of the run, in place of a vector clock.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias

import attrs

__all__ = ["Diverged", "Place", "Search", "Touch", "Touches"]

Place: TypeAlias = tuple[int, ...]
"""
A task, by the same name in every run: the place of the task that started it, and how many that one
had started before. Not by the nursery it is in: two tasks may start some there in either order.
"""


@attrs.frozen
class Touch:
    """What a step did to something that tasks share."""

    what: Hashable
    """A key for the thing, equal in every run."""
    write: bool
    """Whether it may have changed it; two that only look do not conflict."""


Touches: TypeAlias = frozenset[Touch] | None
"""All that a step touched; None for what nobody knows, which conflicts with every other step."""


class Diverged(RuntimeError):
    """After the same choices, a run went another way than the one before: it can't be searched."""


@attrs.define
class _Step:
    """A step of the last run, and what is still to be tried in its place."""

    task: Place
    runnable: tuple[Place, ...]  # before it
    last: Place | None  # the task of the step before
    preemptions: int  # before it
    waited: bool
    # Tried here, or before where it would have been the same, each with what its step touched.
    # Written when the step is made, and for each task that was tried.
    asleep: dict[Place, Touches]
    todo: dict[Place, None]  # to be tried here at some time, tried ones included
    touches: Touches = None  # what the step of `task` did; written by ran()
    woke: frozenset[Place] = frozenset()  # likewise

    def costs(self, task: Place) -> int:
        """Return how many preemptions it is, 0 or 1, to go on with *task*."""
        return int(task != self.last and self.last in self.runnable)

    def next(self) -> Place | None:
        """Return a task that is to be tried here and was not; None if there is none left."""
        return next((task for task in self.todo if task not in self.asleep), None)


class Search:
    """
    Which schedules are still to be run.

    For each step of a run: `choose` the task, run it, and say what it did with `ran`. When the run
    is over: `finish`. Again, until `is_complete`.

    Args:
        reduce: Whether one run for each trace is enough; else every schedule is run, depth first.
        bound: How many preemptions a run has at most, >= 0; None for any number. A preemption is
            the choice of another task than the last one, which could have gone on.

    Raises:
        ValueError: *bound* is negative, or given with *reduce*.

    The reduction holds if each step says everything shared that it touched: also what it only
    looked at, or waited for. A run that was given up half-way counts as if it had ended there, so
    that a search with such a run has not seen everything when it is complete.
    """

    def __init__(self, *, reduce: bool = True, bound: int | None = None) -> None:
        if bound is not None and bound < 0:
            raise ValueError(f"bound must be an int >= 0 or None, not {bound!r}")
        if bound is not None and reduce:
            raise ValueError(
                f"bound={bound!r} can't be had with reduce=True: the one run of a trace that is "
                f"made may have more preemptions than another that is left out for it, so that "
                f"traces within the bound would be missed; write reduce=False, or leave out bound"
            )
        self._reduce = reduce
        self._bound = bound
        self._path: list[_Step] = []  # the steps of the run, and at first those it has to follow
        self._depth = 0  # how many steps the run had so far
        self._fresh = 0  # the index of the first step that earlier runs do not know
        self._in_step = False  # between choose() and ran()
        self._useless_from: int | None = None  # the first step for which all tasks were asleep
        self._is_complete = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be run."""
        return self._is_complete

    @property
    def is_redundant(self) -> bool:
        """
        Whether the run, from here on, only repeats what was seen.

        It may be given up, or run to its end; it is no trace of its own.
        """
        return self._useless_from is not None

    def choose(self, runnable: Sequence[Place], *, waited: bool = False) -> int:
        """
        Return the index of the task in *runnable* that goes next.

        Args:
            runnable: All tasks that can go, at least one, each once.
            waited: No task could go until time passed.

        Raises:
            Diverged: the tasks that can go are others than after the same choices before.
        """
        if self._is_complete:
            raise RuntimeError("the search is complete; make another Search to run it all again")
        if self._in_step:
            raise RuntimeError(f"say with ran() what step {self._depth} did before the next choice")
        if not runnable:
            raise ValueError("runnable must have at least one task; call finish() if none is left")
        if self._depth == len(self._path):
            self._path.append(self._new_step(tuple(runnable), waited))
        step = self._path[self._depth]
        if set(step.runnable) != set(runnable) or step.waited != waited:
            raise _diverged(
                self._depth,
                f"{_names(runnable)} could run{' once time had passed' * waited}",
                f"{_names(step.runnable)}{' once time had passed' * step.waited}",
            )
        self._in_step = True
        return runnable.index(step.task)

    def ran(self, touches: Touches, woke: Iterable[Place] = ()) -> None:
        """
        Say what the step did that was chosen last.

        Args:
            touches: What it touched; None if that is not known.
            woke: The tasks that it made runnable, or started.

        Raises:
            Diverged: it did something else than after the same choices before.
        """
        if not self._in_step:
            raise RuntimeError("ran() is for a step that choose() has chosen; call that first")
        step, woken = self._path[self._depth], frozenset(woke)
        if self._depth < self._fresh and (step.touches, step.woke) != (touches, woken):
            raise _diverged(
                self._depth,
                f"{step.task} touched {_things(touches)} and woke {_names(woken)}",
                f"touched {_things(step.touches)} and woke {_names(step.woke)}",
            )
        step.touches, step.woke = touches, woken
        self._in_step = False
        self._depth += 1

    def finish(self) -> None:
        """
        Plan the next run: the last one is over.

        Raises:
            Diverged: it ended earlier than another that began with the same choices.
        """
        if self._in_step:
            raise RuntimeError(f"say with ran() what step {self._depth} did before finish()")
        if self._depth < len(self._path):
            raise _diverged(self._depth, "the run was over", "it went on")
        if self._useless_from is not None:
            del self._path[self._useless_from :]
        if self._reduce:
            self._find_races()
        while self._path:
            step = self._path[-1]
            step.asleep[step.task] = step.touches
            task = step.next()
            if task is not None:
                step.task = task
                break
            self._path.pop()
        self._is_complete = not self._path
        self._fresh = len(self._path) - 1
        self._depth, self._useless_from = 0, None

    def _new_step(self, runnable: tuple[Place, ...], waited: bool) -> _Step:
        """Return a step that no run had yet, with the task that goes if there is no reason."""
        before = self._path[-1] if self._path else None
        last = before.task if before else None
        asleep: dict[Place, Touches] = {}
        if before and self._reduce:
            asleep = {
                task: touches
                for task, touches in before.asleep.items()
                if task != before.task and not _conflict(touches, before.touches)
            }
        awake = [task for task in runnable if task not in asleep]
        if not awake:
            awake = list(runnable)
            if self._useless_from is None:
                self._useless_from = self._depth
        task = last if last in awake else awake[0]
        spent = before.preemptions + before.costs(before.task) if before else 0
        step = _Step(task, runnable, last, spent, waited, asleep, {task: None})
        if not self._reduce:
            bound = self._bound
            for other in runnable:
                if bound is None or spent + step.costs(other) <= bound:
                    step.todo[other] = None
        return step

    def _find_races(self) -> None:
        """Have the other way round tried for each race that this run is the first to show."""
        past: list[int] = []  # for each step the bits of those that come before it, and its own
        before: dict[Place, int] = {}  # the bits of what comes before the next step of a task
        passed = 0  # the bits of all steps before time last passed
        rivals = _Rivals()
        for index, step in enumerate(self._path):
            if step.waited:
                passed = (1 << index) - 1
            bits = before.get(step.task, 0) | passed
            races: list[int] = []
            for rival in rivals.of(step):  # latest first, so that it covers those before it
                if not bits >> rival & 1:
                    races.append(rival)
                    bits |= past[rival]
            bits |= 1 << index
            past.append(bits)
            before[step.task] = bits
            for woken in step.woke:
                before[woken] = before.get(woken, 0) | bits
            rivals.add(index, step)
            if index >= self._fresh:
                for rival in races:
                    self._reverse(rival, index, past)

    def _reverse(self, first: int, second: int, past: Sequence[int]) -> None:
        """Have a task tried in place of step *first* that can lead to step *second* before it."""
        step = self._path[first]
        free = [n for n in range(first + 1, second) if not past[n] >> first & 1]
        free.append(second)
        bits = sum(1 << n for n in free)
        tasks = (self._path[n].task for n in free if past[n] & bits == 1 << n)
        initials = [task for task in tasks if task in step.runnable]
        if any(task in step.todo or task in step.asleep for task in initials):
            return
        # None at all: what woke them is not known, so any task might lead there.
        for task in initials[:1] or step.runnable:
            step.todo[task] = None


class _Rivals:
    """The steps of a run that conflict with one to come, but for those that others stand between."""

    def __init__(self) -> None:
        self._wrote: dict[Hashable, int] = {}  # the last step that wrote a thing
        self._read: dict[Hashable, dict[Place, int]] = {}  # those that read it since, by task
        self._last: dict[Place, int] = {}  # the last step of each task
        self._unknown: int | None = None  # the last one that conflicts with all

    def of(self, step: _Step) -> list[int]:
        """Return the indices of those that *step* conflicts with, the latest first."""
        found = set[int]()
        if step.touches is None:
            found.update(self._last.values())
        else:
            if self._unknown is not None:
                found.add(self._unknown)
            for touch in step.touches:
                if touch.what in self._wrote:
                    found.add(self._wrote[touch.what])
                if touch.write:
                    found.update(self._read.get(touch.what, {}).values())
        return sorted(found, reverse=True)

    def add(self, index: int, step: _Step) -> None:
        """Take in *step*, the one with *index*."""
        self._last[step.task] = index
        if step.touches is None:
            self._unknown = index
            return
        for touch in step.touches:
            if touch.write:
                self._wrote[touch.what] = index
                self._read.pop(touch.what, None)
        for touch in step.touches:
            if not touch.write:
                self._read.setdefault(touch.what, {})[step.task] = index


def _conflict(one: Touches, other: Touches) -> bool:
    """Tell whether the order of two steps of different tasks matters."""
    if one is None or other is None:
        return True
    touched = {touch.what for touch in one}
    written = {touch.what for touch in one if touch.write}
    return any(touch.what in (touched if touch.write else written) for touch in other)


def _names(tasks: Iterable[Place]) -> str:
    return ", ".join(map(str, sorted(tasks))) or "nobody"


def _things(touches: Touches) -> str:
    if touches is None:
        return "something unknown"
    return ", ".join(sorted(f"{t.what!r}{' (write)' * t.write}" for t in touches)) or "nothing"


def _diverged(index: int, now: str, then: str) -> Diverged:
    return Diverged(
        f"step {index}: {now}, where after the same choices before: {then}; only a scenario that "
        f"does the same after the same choices can be searched: let it take chance from a seed, "
        f"time from Trio's clock and keys that are equal in every run, and use no threads"
    )
