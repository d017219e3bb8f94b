"""Who goes first in a run, and what is done to it at each position: the kit's hand in Trio's loop."""

import ctypes
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Final, NoReturn

import trio
import trio.testing

from greenroom.runtime.probes import InjectedError
from greenroom.runtime.stacks import place_of
from greenroom.runtime.testing.cancels import Cancels
from greenroom.runtime.testing.control import Policy
from greenroom.runtime.testing.history import History
from greenroom.runtime.testing.interrupts import Interrupts
from greenroom.runtime.testing.plan import TORN, Fault, Plan, plain
from greenroom.runtime.testing.report import Aftermath
from greenroom.runtime.testing.seam import cancel_is_due, hold, raise_in
from greenroom.runtime.testing.targets import (
    is_own_task,
    own_nurseries,
    own_place,
    waits_in_own_code,
)
from greenroom.runtime.testing.world import MAIN, ROOT, World

__all__ = ["CLOCK", "Director"]

# The number under which a policy sees the clock, where it is one of those that may go first.
CLOCK: Final = 0

_MOST_STRIKES: Final = 200


class Director(trio.abc.Instrument):
    """
    Says which task goes first, and does what the plan says, at each position of a run.

    The attributes are what a report is made of; see `Report`.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        clock: trio.testing.MockClock | None,
        history: History,
        *,
        max_steps: int,
        covers: bool = False,
        looks: bool = False,
        earlier: "Director | None" = None,
    ) -> None:
        """
        Args:
            plan: What is done.
            policy: Asked for each step.
            clock: Of the run; None for the real one.
            history: Of the run; says before which event a fault came.
            max_steps: After how many the run is given up.
            covers: Whether to note the awaits that a cancel comes out of.
            looks: Whether to note what the run passes after its first fault.
            earlier: That of the process before this one; positions and fault points are counted on.
        """
        self.position: int = 0 if earlier is None else earlier.position
        self.steps = 0
        self.targets: dict[str, tuple[int, int]] = {}
        self.actions: dict[str, tuple[int, int]] = {}
        self.blocked: list[tuple[str, ...]] = []  # at most one entry for each position
        self.points: dict[str, int] = {} if earlier is None else dict(earlier.points)
        self.fired: list[Fault] = []  # at most those of the plan
        self.strikes: list[tuple[int, str]] = []  # those, and where cancels came out; bounded
        self.reached: set[tuple[str, int]] = set()
        self.aftermath = Aftermath()
        self.gave_up: dict[str, str] = {}  # why, by the code of the problem
        self.latencies: dict[str, float] = {}  # how long each scope took to end after its cancel
        self.jumped = 0.0
        self.is_crashed = False
        self.cancels = Cancels()
        self.interrupts = Interrupts()
        self.strays: tuple[str, ...] = ()  # system tasks that are left
        self.root = trio.CancelScope()
        self.world: World | None = None
        self.on_touch: Callable[[Hashable, bool], object] | None = None
        self._plan = plan
        self._policy = policy
        self._clock = clock
        self._history = history
        self._max_steps = max_steps
        self._covers = covers
        self._controls = plan.mode in ("one", "batch")
        self._is_live = plan.mode == "live"
        self._seen: dict[str, int] = {}  # positions while each scope was open, if live
        self._began = 0.0
        # by the name of the scope, when each was cancelled, and how much had been jumped by then
        self._cancelled: dict[str, tuple[float, float]] = {}
        self._records = not plan.faults  # what could be done, at each position
        self._looks = looks
        self._stepped: trio.lowlevel.Task | None = None  # that made the last step
        self._faults: dict[int, list[Fault]] = {}
        self._failing: set[tuple[str, int]] = set()
        for fault in plan.faults:
            if fault.kind == "fail":
                self._failing.add((fault.target, fault.position))
            else:
                self._faults.setdefault(fault.position, []).append(fault)
        self._main: trio.lowlevel.Task | None = None
        self._queue: dict[trio.lowlevel.Task, None] = {}  # runnable ones, the oldest first
        self._alive: dict[trio.lowlevel.Task, str] = {}  # those of the scenario, with their names
        self._names: dict[str, int] = {}  # how many tasks had each name so far
        self._strays: dict[trio.lowlevel.Task, str] = {}  # system tasks of the scenario's own
        self._numbers: dict[trio.lowlevel.Task, int] = {}
        self._admitted = 0
        self._is_over = False
        self._hung = 0
        self._calling = 0  # calls that are due
        self._skewed = 0.0  # how much time has passed while some task could run

    # -- who is there

    def begin(self, task: trio.lowlevel.Task) -> None:
        """Take *task*, and all below it, for the scenario's."""
        self._main = task
        self._began = trio.current_time()
        self._admit(task, MAIN)

    def instruments(self) -> list[trio.abc.Instrument]:
        """Return what the run is to be given: this, and what counts steps where this does not."""
        return [self] if self._plan.mode == "one" else [self, _Steps(self)]

    def number_of(self, task: trio.lowlevel.Task) -> int | None:
        """Return the number under which a policy knows *task*; None if it is not the scenario's."""
        return self._numbers.get(task)

    def end(self) -> float:
        """Order and count nothing more: the scenario and its runtime are over; return after how long."""
        self.strays = tuple(self._strays.values())
        self._is_over = True
        self._note_latency(ROOT)
        return trio.current_time() - self._began

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if self._is_over or nursery is None:
            return
        if nursery.parent_task in self._alive:
            self._admit(task, task.name)
        elif is_own_task(task):
            self._strays[task] = task.name

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if (name := self._alive.pop(task, None)) is not None and task is not self._main:
            self.cancels.exited(task, name)
        self._queue.pop(task, None)
        self._numbers.pop(task, None)
        self._strays.pop(task, None)

    def _admit(self, task: trio.lowlevel.Task, name: str) -> None:
        name = plain(name.rpartition("<locals>.")[2])
        count = self._names[name] = self._names.get(name, 0) + 1
        self._alive[task] = name if count == 1 else f"{name}~{count}"
        self._admitted += 1
        self._numbers[task] = self._admitted

    # -- which goes first

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        """Order *batch*, or leave one task of the scenario in it, and all that are not of it."""
        alive = self._alive
        if self._plan.mode == "batch":
            self._order(batch)
            return
        queue = self._queue
        others: list[trio.lowlevel.Task] = []
        for task in batch:
            if task in alive:
                queue.setdefault(task)
            else:
                others.append(task)
        if self._is_over or not queue:
            batch[:] = [*others, *queue]
            queue.clear()
            return
        self._at_position()
        batch[:] = others
        if self._calling:
            hold(queue)  # what is called comes before the step at whose position it is
            return
        runnable = list(queue)
        chosen = self._choose(runnable)
        if chosen is not None:
            self._count_step()
            self._stepped = chosen
            del queue[chosen]
            batch.insert(0, chosen)
            if cancel_is_due(chosen):
                self._note_cancel(chosen)
        if queue:
            hold(queue)

    def _choose(self, runnable: list[trio.lowlevel.Task]) -> trio.lowlevel.Task | None:
        """Return the task that goes next; None if time passes instead."""
        numbers = [self._numbers[task] for task in runnable]
        passing = self._passing()
        if passing:
            numbers.append(CLOCK)
        index = self._policy.choose(self.steps, numbers)
        if index < len(runnable):
            return runnable[index]
        assert self._clock is not None  # else nothing could pass
        self._clock.jump(passing)
        self._skewed += passing
        self._count_step()
        return None

    def _passing(self) -> float:
        """Return how much time could pass now, though tasks can run: to the next deadline, or 0."""
        if not self._plan.skew or self._clock is None:
            return 0.0
        seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
        return seconds if 0 < seconds <= self._plan.skew - self._skewed else 0.0

    def _order(self, batch: list[trio.lowlevel.Task]) -> None:
        """Put *batch*, which is run from its end, into the order that the policy chooses."""
        left = [task for task in batch if task in self._alive]
        others = [task for task in batch if task not in self._alive]
        chosen: list[trio.lowlevel.Task] = []
        while left:
            numbers = [self._numbers[task] for task in left]
            chosen.append(left.pop(self._policy.choose(self.steps + len(chosen), numbers)))
        batch[:] = [*reversed(chosen), *others]

    def step_begins(self, task: trio.lowlevel.Task) -> None:
        """Count, where the order is Trio's own or that of a batch."""
        if self._is_over or task not in self._alive:
            return
        if self._controls and cancel_is_due(task):
            self._note_cancel(task)
        self._at_position()
        self._count_step()

    def step_ends(self, task: trio.lowlevel.Task) -> None:
        """Count, where nobody can say when all tasks wait: *task* does now, or has the next step due."""
        if self._is_live and not self._is_over and task in self._alive:
            self._at_position()

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps >= self._max_steps and "LIVELOCK" not in self.gave_up:
            self._give_up("LIVELOCK", f"it took more than {self._max_steps} steps")
        if self.steps >= 2 * self._max_steps:
            self._leave()

    def before_io_wait(self, timeout: float) -> None:
        if self._is_over or self._is_live or self._main is None or self._queue:
            return
        statistics = trio.lowlevel.current_statistics()
        if statistics.tasks_runnable:
            return
        self._skewed = 0.0
        if statistics.seconds_to_next_deadline == math.inf:
            self._hung += 1
            if self._hung > 2 and self._controls:  # what was done about it before had no effect
                self._hung = 0
                self._give_up("HANG", self._describe())
            return
        self._hung = 0
        self._at_position()

    def note_stuck(self, text: str) -> None:
        """Note that a step does not end."""
        self.gave_up["LIVELOCK"] = text

    def _describe(self) -> str:
        waits = (f"{name!r} waits at {place_of(task)}" for task, name in self._alive.items())
        return "nothing can happen any more: " + "; ".join(waits)

    def _give_up(self, code: str, text: str) -> None:
        if code in self.gave_up:
            for task in tuple(self._alive):
                raise_in(task, RuntimeError("the test kit ends a run that does not end by itself"))
            return
        self.gave_up[code] = text
        self.root.cancel(reason="the test kit gave up")

    def _leave(self) -> NoReturn:
        """
        End a run that goes on whatever it is given, by an error out of Trio's own loop.

        Its coroutines are kept for good: one that catches everything would catch the end that
        Python gives to a coroutine that is forgotten, too, and go on in there.
        """
        for task in self._alive:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task.coro))
        raise RuntimeError("the test kit leaves a run that swallows its cancel and goes on")

    def _note_cancel(self, task: trio.lowlevel.Task) -> None:
        """Note that a cancel comes out of what *task* waits for."""
        self.cancels.given(task)
        if (place := own_place(task)) is not None and len(self.strikes) < _MOST_STRIKES:
            self.strikes.append((len(self._history.events), f"   cancelled: {place}"))
        if self._covers:
            for frame, line in task.iter_await_frames():
                self.reached.add((frame.f_code.co_filename, line))

    # -- what is done

    def _at_position(self) -> None:
        position, self.position = self.position, self.position + 1
        if self._is_live:
            self._at_live_position()
            return
        if self._records:
            self._note_targets(position)
        if self._looks:
            self._look(position)
        for fault in self._faults.pop(position, ()) if self._faults else ():
            index = len(self._history.events)
            if not self.is_crashed and self._do(fault):
                self._note_fired(fault, index)

    def _at_live_position(self) -> None:
        """Do what is due by the positions that each scope has seen while it was open."""
        named = self.world.scopes if self.world is not None else ()
        for name in (ROOT, *named):
            seen = self._seen[name] = self._seen.get(name, -1) + 1
            self.targets[name] = (0, seen)
            for fault in self._faults.get(seen, ()):
                if (fault.target or ROOT) == name and self._do(fault):
                    self._note_fired(fault, len(self._history.events))

    def _note_fired(self, fault: Fault, index: int) -> None:
        if not self.fired:
            self.aftermath.points.update(self.points)
        self.fired.append(fault)
        self.strikes.append((index, f"!! {fault}"))

    def _scopes(self) -> Iterator[tuple[str, trio.CancelScope]]:
        yield ROOT, self.root
        if self.world is not None:
            yield from self.world.scopes.items()
        for task, name in self._alive.items():
            for index, nursery in enumerate(own_nurseries(task)):
                yield f"{name}#{index}", nursery.cancel_scope

    def _note_targets(self, position: int) -> None:
        """Note what a fault at *position* could be for."""
        for name, _ in self._scopes():
            first, _ = self.targets.get(name, (position, position))
            self.targets[name] = (first, position)
        for name in self.world.actions if self.world is not None else ():
            first, _ = self.actions.get(name, (position, position))
            self.actions[name] = (first, position)
        waiting = (task for task in self._alive if task not in self._queue)
        self.blocked.append(tuple(self._alive[t] for t in waiting if waits_in_own_code(t)))

    def _look(self, position: int) -> None:
        """Note who waits where after the first fault: a second one may tell something new there."""
        if self._records or self.fired:
            task = self._stepped
            waits = task in self._alive and task not in self._queue
            if task is not None and waits and (place := own_place(task)) is not None:
                self.aftermath.places.setdefault(place, position)
        if not self.fired:
            return
        for task in self.cancels.unended:
            if task in self._queue or not self.cancels.is_given(task):
                continue
            if (place := own_place(task)) is not None:
                self.aftermath.cleanups.setdefault(place, position)

    def _do(self, fault: Fault) -> bool:
        match fault.kind:
            case "cancel":
                return self._cancel(fault)
            case "call":
                if self.world is not None and fault.target in self.world.actions:
                    self._calling += 1
                    trio.lowlevel.spawn_system_task(self._call, self.world, fault, name=str(fault))
                return False  # it is noted when it is called
            case "raise":
                task = {name: task for task, name in self._alive.items()}.get(fault.target)
                if task is None or task in self._queue or not self._controls:
                    return False
                return raise_in(task, InjectedError(str(fault)))
            case "interrupt":
                if not self.interrupts.are_possible:
                    return False
                self.cancels.note_interrupt(self._main)
                self.interrupts.send()
            case "jump":
                if self._clock is None:
                    return False
                self._clock.jump(fault.seconds)
                self.jumped += fault.seconds
            case "crash":
                self._crash(torn=fault.target == TORN)
            case "fail":
                raise AssertionError("a fail comes at its point, not at a position")
        return True

    def _cancel(self, fault: Fault) -> bool:
        scope = dict(self._scopes()).get(fault.target)
        if scope is None:
            return False
        self._cancelled.setdefault(fault.target, (trio.current_time(), self.jumped))
        scope.cancel(reason=str(fault))
        return True

    def _note_latency(self, name: str) -> None:
        if name in self._cancelled:
            when, jumped = self._cancelled.pop(name)
            took = trio.current_time() - when - (self.jumped - jumped)
            self.latencies[name] = max(took, self.latencies.get(name, 0.0))

    async def _call(self, world: World, fault: Fault) -> None:  # noqa: ASYNC910 - takes no time
        """Call an action, and keep what it raises: out of a system task it would end Trio."""
        self._calling -= 1
        act = world.actions.get(fault.target)
        if act is None:
            return  # noqa: ASYNC910 - the block is over: in a batch, a step came in between
        self._note_fired(fault, len(self._history.events))
        try:
            act()
        except BaseException as error:  # noqa: ASYNC103 - nothing in here waits
            self.gave_up["RAISED"] = f"{type(error).__name__}: {error}, out of {fault}"

    def _crash(self, *, torn: bool) -> None:
        """Let nothing from here on have an effect that lasts; then unwind, for Trio's sake."""
        self.is_crashed = True
        if self.world is not None:
            self.world.is_crashed = True
            for name, durable in self.world.durables.items():
                try:
                    durable.crash(torn=torn)
                except Exception as error:
                    text = f"{type(error).__name__}: {error}, out of the crash of {name!r}"
                    self.gave_up["RAISED"] = text
        self.root.cancel(reason="the process has crashed")

    # -- what the program tells

    def scope_ended(self, name: str, scope: trio.CancelScope, is_normal: bool) -> None:
        """Hear that the block of the scope *name* has ended, without an exception if *is_normal*."""
        if is_normal:
            self.cancels.check_scope(name, scope)
        self._note_latency(name)

    def passes(self, name: str) -> bool:
        """Count a fault point, and say whether it fails."""
        name = plain(name)
        count = self.points.get(name, 0)
        self.points[name] = count + 1
        if (name, count) not in self._failing or self.is_crashed:
            return False
        self._note_fired(Fault("fail", count, name), len(self._history.events))
        return True

    def touches(self, what: Hashable, write: bool) -> None:
        """Note what the running step shares with others."""
        if self.on_touch is not None:
            self.on_touch(what, write)


class _Steps(trio.abc.Instrument):
    """Tells a director of each step; apart from it, since these calls cost more than the steps."""

    def __init__(self, director: Director) -> None:
        self._director = director

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._director.step_begins(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._director.step_ends(task)
