"""
One run of a scenario: in virtual time, in an order that a plan says, with the faults that it says.

A scenario is an async function of a `World`, which has a runtime open. `simulate` runs it once and
returns a `Report`: what it came to, and everything that is wrong with it. The same plan gives the
same run.
"""

import contextlib
import math
import random
import signal
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import attrs
import trio
import trio.testing

import greenroom.runtime.system
from greenroom.runtime.events import Event
from greenroom.runtime.groups import collapse, leaves
from greenroom.runtime.stacks import place_of
from greenroom.runtime.system import Runtime, open_runtime
from greenroom.runtime.testing.control import Policy, policy_of
from greenroom.runtime.testing.eventlog import EventLog
from greenroom.runtime.testing.history import LAWS, History, Law
from greenroom.runtime.testing.leaks import Leaks
from greenroom.runtime.testing.plan import Fault, Plan
from greenroom.runtime.testing.render import mermaid, timeline
from greenroom.runtime.testing.seam import hold, raise_in, taken_over

__all__ = ["InjectedError", "Problem", "Report", "RunsReport", "Scenario", "World", "simulate"]

MAX_STEPS: Final = 20_000
CANCEL_BUDGET: Final = 10.0
ROOT: Final = "root"


class InjectedError(Exception):
    """What a ``raise`` fault raises."""


@attrs.frozen
class Problem:
    """Something that is wrong with a run."""

    code: str
    """
    ``RAISED``, ``HANG``, ``LIVELOCK``, ``LATENCY``, ``LAW``, ``HELD``, or ``LEAK_`` and a kind.
    """
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@attrs.frozen
class Report:
    """What one run came to."""

    plan: Plan
    problems: tuple[Problem, ...]
    steps: int
    """Of tasks of the scenario."""
    positions: int
    """At which a fault can come."""
    targets: dict[str, tuple[int, int]]
    """
    The scopes that a cancel can be for, each with the first and the last position at which it is
    open: the root, the named ones, and those of nurseries that the scenario's own code opened. Of a
    run without faults only.
    """
    blocked: tuple[tuple[str, ...], ...]
    """
    For each position, the names of the tasks that wait in the scenario's own code, which an error
    can come out of. Of a run without faults only.
    """
    fired: tuple[Fault, ...]
    """The faults that came."""
    seconds: float
    """Of virtual time."""
    log: str
    """The events of the run, a line each."""
    events: tuple[Event, ...] = attrs.field(eq=False, repr=False)
    strikes: tuple[tuple[int, str], ...] = attrs.field(eq=False, repr=False)
    """The faults that came, each before the event with this index."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the problems, each once."""
        return tuple(dict.fromkeys(problem.code for problem in self.problems))

    def check(self) -> "Report":
        """
        Return the report itself.

        Raises:
            AssertionError: something is wrong; the text says what, and how to see it again.
        """
        if self.problems:
            lines = "\n".join(f"  {problem}" for problem in self.problems)
            raise AssertionError(
                f"with the plan {str(self.plan)!r}:\n{lines}\n\n{self.timeline()}\n\n"
                f"to see it again: simulate(scenario, plan={str(self.plan)!r}), or run the test "
                f"with GREENROOM_PLAN={str(self.plan)!r}"
            )
        return self

    def timeline(self, *, last: int = 40) -> str:
        """Return the end of the story: a lane for each actor, with the faults where they struck."""
        return timeline(self.events, self.strikes, last=last)

    def mermaid(self) -> str:
        """Return the story as the source of a Mermaid sequence diagram."""
        return mermaid(self.events, self.strikes)


@attrs.frozen
class RunsReport:
    """What several runs came to."""

    runs: int
    failures: tuple[Report, ...]
    """The runs with something wrong, at most as many as were asked for."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong in any run."""
        return not self.failures

    @property
    def first(self) -> Report:
        """The first run with something wrong; IndexError if there is none."""
        return self.failures[0]

    def check(self) -> Self:
        """Return the report itself; AssertionError, by `Report.check`, if something is wrong."""
        if self.failures:
            self.first.check()
        return self


class World:
    """
    What a scenario is given.

    Attributes:
        runtime: Open, observed, and seeded.
        history: What has happened so far.
        rng: For all chance of the scenario.
    """

    def __init__(self, runtime: Runtime, history: History, seed: int) -> None:
        self.runtime = runtime
        self.history = history
        self.rng = random.Random(seed)
        self.scopes: dict[str, trio.CancelScope] = {}  # the open ones, by name
        self.owned: list[tuple[str, Callable[[], bool]]] = []  # at most what the scenario owns

    @contextmanager
    def scope(self, name: str) -> Generator[trio.CancelScope]:
        """Open a cancel scope that faults can be for, under this *name*."""
        if name in self.scopes or name == ROOT:
            raise ValueError(f"a scope named {name!r} is open already; names are unique")
        with trio.CancelScope() as scope:
            self.scopes[name] = scope
            try:
                yield scope
            finally:
                del self.scopes[name]

    def own(self, name: str, is_free: Callable[[], bool]) -> None:
        """Have it checked at the end that the lock, pool or limiter *name* is free again."""
        self.owned.append((name, is_free))


Scenario: TypeAlias = Callable[[World], Awaitable[object]]


class _Director(trio.abc.Instrument):
    """Says which task goes first, and does what the plan says, at each position of a run."""

    def __init__(
        self, plan: Plan, policy: Policy, max_steps: int, clock: Any, history: History
    ) -> None:
        self.position = 0
        self.steps = 0
        self.targets: dict[str, tuple[int, int]] = {}
        self.blocked: list[tuple[str, ...]] = []  # at most one entry for each position
        self.fired: list[Fault] = []  # at most those of the plan
        self.strikes: list[tuple[int, str]] = []  # likewise
        self.history = history
        self.problems: list[Problem] = []  # at most one of each kind of end
        self.cancelled_at: float | None = None  # when the root was
        self.root = trio.CancelScope()
        self.world: World | None = None
        self._faults: dict[int, list[Fault]] = {}
        for fault in plan.faults:
            self._faults.setdefault(fault.position, []).append(fault)
        self._policy = policy
        self._max_steps = max_steps
        self._clock = clock
        self._main: trio.lowlevel.Task | None = None
        self._queue: dict[trio.lowlevel.Task, None] = {}  # runnable ones, the oldest first
        self._alive: dict[trio.lowlevel.Task, str] = {}  # those of the scenario, with their names
        self._records = not plan.faults  # what could be done, at each position
        self._names: dict[str, int] = {}  # how many tasks had each name so far
        self._numbers: dict[trio.lowlevel.Task, int] = {}
        self._is_over = False
        self._hung = 0

    # -- who is there

    def begin(self, task: trio.lowlevel.Task) -> None:
        """Take *task*, and all below it, for the scenario's."""
        self._main = task
        self._admit(task, "main")

    def end(self) -> None:
        """Order and count nothing more: the scenario and its runtime are over."""
        self._is_over = True

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if self._main is not None and not self._is_over and self._is_below(task):
            self._admit(task, task.name)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._alive.pop(task, None)
        self._queue.pop(task, None)
        self._numbers.pop(task, None)

    def _admit(self, task: trio.lowlevel.Task, name: str) -> None:
        name = name.rpartition("<locals>.")[2].replace("(", "").replace(")", "").replace(" ", "-")
        count = self._names[name] = self._names.get(name, 0) + 1
        self._alive[task] = name if count == 1 else f"{name}~{count}"
        self._numbers[task] = sum(self._names.values())

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        parent = task.parent_nursery.parent_task if task.parent_nursery is not None else None
        return parent is not None and parent in self._alive

    # -- which goes first

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        """Leave one task of the scenario in *batch*, and all that are not of it."""
        for task in batch:
            if task in self._alive:
                self._queue.setdefault(task)
        others = [task for task in batch if task not in self._alive]
        if self._is_over or not self._queue:
            batch[:] = [*others, *self._queue]
            self._queue.clear()
            return
        self._at_position()
        runnable = list(self._queue)
        index = self._policy.choose(self.steps, [self._numbers[task] for task in runnable])
        chosen = runnable[index]
        self.steps += 1
        if self.steps == self._max_steps:
            self._give_up("LIVELOCK", f"it took more than {self._max_steps} steps")
        del self._queue[chosen]
        hold(task for task in runnable if task is not chosen)
        batch[:] = [chosen, *others]

    def before_io_wait(self, timeout: float) -> None:
        if self._is_over or self._main is None:
            return
        statistics = trio.lowlevel.current_statistics()
        if statistics.tasks_runnable:
            return
        if statistics.seconds_to_next_deadline == math.inf:
            self._hung += 1
            if self._hung > 2:  # what was done about it before had no effect
                self._hung = 0
                self._give_up("HANG", self._describe())
            return
        self._hung = 0
        self._at_position()

    def _describe(self) -> str:
        waits = (f"{name!r} waits at {place_of(task)}" for task, name in self._alive.items())
        return "nothing can happen any more: " + "; ".join(waits)

    def _give_up(self, code: str, text: str) -> None:
        if any(problem.code == code for problem in self.problems):
            for task in tuple(self._alive):
                raise_in(task, RuntimeError("the test kit ends a run that does not end by itself"))
            return
        self.problems.append(Problem(code, text))
        self.root.cancel(reason="the test kit gave up")

    # -- what is done

    def _at_position(self) -> None:
        position, self.position = self.position, self.position + 1
        if self._records:
            self._note_targets(position)
        for fault in self._faults.pop(position, ()):
            index = len(self.history.events)
            if self._do(fault):
                self.fired.append(fault)
                self.strikes.append((index, str(fault)))

    def _scopes(self) -> Iterator[tuple[str, trio.CancelScope]]:
        yield ROOT, self.root
        if self.world is not None:
            yield from self.world.scopes.items()
        for task, name in self._alive.items():
            for index, nursery in enumerate(_own_nurseries(task)):
                yield f"{name}#{index}", nursery.cancel_scope

    def _note_targets(self, position: int) -> None:
        """Note what a fault at *position* could be for."""
        for name, _ in self._scopes():
            first, _ = self.targets.get(name, (position, position))
            self.targets[name] = (first, position)
        waiting = (task for task in self._alive if task not in self._queue)
        self.blocked.append(tuple(self._alive[t] for t in waiting if _waits_in_own_code(t)))

    def _do(self, fault: Fault) -> bool:
        match fault.kind:
            case "cancel":
                scope = dict(self._scopes()).get(fault.target)
                if scope is None:
                    return False
                if fault.target == ROOT and self.cancelled_at is None:
                    self.cancelled_at = self._clock.current_time()
                scope.cancel(reason=str(fault))
            case "raise":
                task = {name: task for task, name in self._alive.items()}.get(fault.target)
                if task is None or task in self._queue:
                    return False
                return raise_in(task, InjectedError(str(fault)))
            case "interrupt":
                signal.raise_signal(signal.SIGINT)
            case "jump":
                self._clock.jump(fault.seconds)
        return True


_RUNTIME: Final = str(Path(greenroom.runtime.system.__file__).parent)
_TRIO: Final = str(Path(trio.__file__).parent)


def _own_nurseries(task: trio.lowlevel.Task) -> list[trio.Nursery]:
    """
    Return the open nurseries of *task* that its own code holds.

    Not the runtime's: nobody outside of it can cancel those.
    """
    if not task.child_nurseries:
        return []
    frames = [frame for frame, _ in task.iter_await_frames()]
    own = [f for f in frames if not f.f_code.co_filename.startswith((_RUNTIME, _TRIO))]
    held = {id(value) for frame in own for value in frame.f_locals.values()}
    return [nursery for nursery in task.child_nurseries if id(nursery) in held]


def _waits_in_own_code(task: trio.lowlevel.Task) -> bool:
    """Tell whether the innermost frame of *task* that is not Trio's is not the runtime's either."""
    files = [frame.f_code.co_filename for frame, _ in task.iter_await_frames()]
    own = [file for file in files if not file.startswith(_TRIO)]
    return bool(own) and not own[-1].startswith(_RUNTIME)


@attrs.define
class _Run:
    """What one run leaves for its report."""

    log: EventLog = attrs.Factory(EventLog)
    history: History = attrs.Factory(History)
    world: World | None = None
    generators: tuple[str, ...] = ()
    seconds: float = 0.0
    error: BaseException | None = None


def simulate(
    scenario: Scenario,
    *,
    plan: Plan | str = "",
    laws: Sequence[Law] = LAWS,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    cancel_budget: float = CANCEL_BUDGET,
    expect: tuple[type[BaseException], ...] = (),
) -> Report:
    """
    Run *scenario* once, in virtual time.

    Args:
        scenario: An async function of a `World`.
        plan: What is done to it; a `Plan`, or what `str` makes of one.
        laws: What has to hold.
        seed: Of ``world.rng`` and of the runtime.
        max_steps: After how many the run is given up.
        cancel_budget: How long the whole may take to end once its root is cancelled (virtual
            seconds).
        expect: Exceptions that may come out of it, beside those that faults bring.

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.
    """
    if isinstance(plan, str):
        plan = Plan.parse(plan)
    clock = trio.testing.MockClock(autojump_threshold=0)
    run = _Run()
    director = _Director(plan, policy_of(plan), max_steps, clock, run.history)

    async def main(leaks: Leaks) -> None:
        leaks.watch_generators()
        director.begin(trio.lowlevel.current_task())
        try:
            with director.root:
                async with open_runtime(observers=[run.history, run.log], seed=seed) as runtime:
                    run.world = director.world = World(runtime, run.history, seed)
                    await scenario(run.world)
        finally:
            director.end()
            run.seconds = clock.current_time()
            run.generators = leaks.open_generators()

    with Leaks() as leaks:
        try:
            with taken_over(director):
                trio.run(main, leaks, clock=clock, instruments=[director])
        except BaseException as error:  # noqa: ASYNC103 - outside of the run; it is reported
            run.error = _kept(error)
    problems = [*director.problems, *_problems(run, director, leaks, laws, cancel_budget, expect)]
    return Report(
        plan,
        tuple(problems),
        director.steps,
        director.position,
        director.targets,
        tuple(director.blocked),
        tuple(director.fired),
        run.seconds,
        run.log.text,
        tuple(run.history.events),
        tuple(director.strikes),
    )


def _kept(error: BaseException) -> BaseException:
    """Return *error* without the frames that it would keep alive, and all that is in them."""
    seen: list[BaseException] = [error, *leaves(error)]
    for one in seen:
        with contextlib.suppress(RuntimeError):
            traceback.clear_frames(one.__traceback__)
        for other in (one.__cause__, one.__context__):
            if other is not None and other not in seen:
                seen += [other, *leaves(other)]
    return collapse(error)


def _problems(
    run: _Run,
    director: _Director,
    leaks: Leaks,
    laws: Sequence[Law],
    cancel_budget: float,
    expect: tuple[type[BaseException], ...],
) -> Iterator[Problem]:
    allowed = list(expect)
    kinds = {fault.kind for fault in director.fired}
    if "raise" in kinds:
        allowed.append(InjectedError)
    if "interrupt" in kinds:
        allowed.append(KeyboardInterrupt)
    if run.error is not None and not _is_allowed(run.error, tuple(allowed)):
        yield Problem("RAISED", f"{type(run.error).__name__}: {run.error}")
    if director.cancelled_at is not None:
        jumps = sum(fault.seconds for fault in director.fired)
        took = run.seconds - director.cancelled_at - jumps
        if took > cancel_budget:
            yield Problem("LATENCY", f"it took {took:g} s to end after its cancel")
    for one in laws:
        for breach in one.breaches(run.history):
            yield Problem("LAW", f"{one.name}: {breach}")
    for name, is_free in run.world.owned if run.world is not None else ():
        if not is_free():
            yield Problem("HELD", f"{name} is not free at the end")
    for leak in (*run.generators, *leaks.found):
        kind, _, text = leak.partition(": ")
        yield Problem(f"LEAK_{kind.upper()}", text)


def _is_allowed(error: BaseException, allowed: tuple[type[BaseException], ...]) -> bool:
    """Tell whether each leaf of *error*, or what caused it, is one of *allowed*."""

    def is_one(leaf: BaseException | None) -> bool:
        while leaf is not None and not isinstance(leaf, allowed):
            leaf = leaf.__cause__
        return leaf is not None

    return all(map(is_one, leaves(error)))
