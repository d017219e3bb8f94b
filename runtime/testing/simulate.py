"""
One run of a scenario: in virtual time, in an order that a plan says, with the faults that it says.

A scenario is an async function of a `World`, which has a runtime open. `simulate` runs it once and
returns a `Report`: what it came to, and everything that is wrong with it. The same plan gives the
same run.
"""

import contextlib
import inspect
import random
import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import Final

import attrs
import trio
import trio.testing

from greenroom.runtime import probes
from greenroom.runtime.events import Observer
from greenroom.runtime.groups import collapse, leaves
from greenroom.runtime.system import open_runtime
from greenroom.runtime.testing.control import Policy, policy_of
from greenroom.runtime.testing.director import Director
from greenroom.runtime.testing.history import LAWS, History, Law
from greenroom.runtime.testing.judge import Outcome, problems_of
from greenroom.runtime.testing.leaks import Leaks, forget
from greenroom.runtime.testing.plan import Fault, Plan
from greenroom.runtime.testing.report import Problem, Report
from greenroom.runtime.testing.scout import Scout
from greenroom.runtime.testing.seam import check as check_seam
from greenroom.runtime.testing.seam import taken_over
from greenroom.runtime.testing.store import Crashable
from greenroom.runtime.testing.stuck import watched_for_stuck_steps
from greenroom.runtime.testing.threads import VirtualThreads
from greenroom.runtime.testing.world import Scenario, World

__all__ = ["Rules", "kept", "run_once", "simulate"]

MAX_STEPS: Final = 20_000
CANCEL_BUDGET: Final = 10.0
THREAD_SECONDS: Final = 0.01


@attrs.frozen(kw_only=True)
class Rules:
    """What holds for all runs of a scenario, whatever is done to them; see `simulate`."""

    laws: Sequence[Law] = LAWS
    seed: int = 0
    max_steps: int = MAX_STEPS
    cancel_budget: float = CANCEL_BUDGET
    thread_seconds: float = THREAD_SECONDS
    expect: tuple[type[BaseException], ...] = ()
    recovery: Scenario | None = None
    covers: bool = False
    """Whether to note the lines of awaits that a cancel comes out of."""
    looks: bool = False
    """Whether to note what a run passes after its first fault."""


def simulate(
    scenario: Scenario,
    *,
    plan: Plan | str = "",
    laws: Sequence[Law] = LAWS,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    cancel_budget: float = CANCEL_BUDGET,
    thread_seconds: float = THREAD_SECONDS,
    expect: tuple[type[BaseException], ...] = (),
    recovery: Scenario | None = None,
) -> Report:
    """
    Run *scenario* once, in virtual time.

    Args:
        scenario: An async function of a `World`, or a test that `cancel_everywhere` made of one.
        plan: What is done to it; a `Plan`, or what `str` makes of one.
        laws: What has to hold.
        seed: Of ``world.rng``, of the runtime, and of the module `random`.
        max_steps: After how many the run is given up.
        cancel_budget: How long the whole may take to end once its root is cancelled, and a named
            scope likewise (virtual seconds).
        thread_seconds: How long each function lasts that is given to a thread (virtual seconds).
        expect: Exceptions that may come out of it, beside those that faults bring.
        recovery: What the next process does after a ``crash``: run then, with the world's durables
            as they were left, and judged in place of the first one.

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.
    """
    scenario = getattr(scenario, "scenario", scenario)  # a test that `cancel_everywhere` made
    rules = Rules(
        laws=laws,
        seed=seed,
        max_steps=max_steps,
        cancel_budget=cancel_budget,
        thread_seconds=thread_seconds,
        expect=expect,
        recovery=recovery,
    )
    return run_once(scenario, Plan.parse(plan) if isinstance(plan, str) else plan, rules)


def run_once(scenario: Scenario, plan: Plan, rules: Rules, policy: Policy | None = None) -> Report:
    """Run *scenario* as `simulate` does; *policy* chooses in place of the one that the plan names."""
    report = _run(scenario, plan, rules, policy)
    if report.problems or any(fault.kind == "crash" for fault in report.fired):
        forget()
    return report


def _run(scenario: Scenario, plan: Plan, rules: Rules, policy: Policy | None) -> Report:
    if plan.mode in ("one", "batch"):
        check_seam()
    first = _Life(plan, rules, policy or policy_of(plan))
    problems = first.live(scenario)
    lives = [first]
    while lives[-1].director.is_crashed:  # at most as often as the plan says
        problems = lives[-1].leave()
        if problems or rules.recovery is None:
            break
        faults = tuple(fault for fault in plan.faults if fault not in _fired(lives))
        lives.append(_Life(Plan(faults), rules, policy_of(Plan()), lives[-1]))
        problems = lives[-1].live(rules.recovery)
    director = first.director
    return Report(
        plan=plan,
        problems=problems,
        steps=sum(life.director.steps for life in lives),
        positions=lives[-1].director.position,
        targets=director.targets,
        actions=director.actions,
        blocked=tuple(director.blocked),
        interruptible=director.interrupts.are_possible,
        points=lives[-1].director.points,
        fired=_fired(lives),
        reached=frozenset(line for life in lives for line in life.director.reached),
        aftermath=director.aftermath,
        seconds=sum(life.outcome.seconds for life in lives),
        events=tuple(event for life in lives for event in life.outcome.history.events),
        strikes=tuple(_strikes(lives)),
    )


def _strikes(lives: "Sequence[_Life]") -> Iterator[tuple[int, str]]:
    """Return an iterator over what struck, each before the event of all lives with its index."""
    before = 0
    for life in lives:
        yield from ((before + index, text) for index, text in life.director.strikes)
        before += len(life.outcome.history.events)


def _fired(lives: "Sequence[_Life]") -> tuple[Fault, ...]:
    return tuple(fault for life in lives for fault in life.director.fired)


class _Life:
    """One process of a run: from its start to its end, or its crash."""

    def __init__(
        self,
        plan: Plan,
        rules: Rules,
        policy: Policy,
        earlier: "_Life | None" = None,
    ) -> None:
        self._scout = policy if isinstance(policy, Scout) else None
        self.outcome = Outcome(History())
        self.durables: dict[str, Crashable] = {} if earlier is None else earlier.durables
        self._rules = rules
        self._plan = plan
        self._number: int = 1 if earlier is None else earlier._number + 1
        self._clock = None if plan.mode == "live" else trio.testing.MockClock(autojump_threshold=0)
        self.director: Director = Director(
            plan,
            policy,
            self._clock,
            self.outcome.history,
            max_steps=rules.max_steps,
            covers=rules.covers,
            looks=rules.looks,
            earlier=None if earlier is None else earlier.director,
        )
        if self._scout is not None:
            self._scout.attach(self.director)

    def live(self, scenario: Scenario) -> tuple[Problem, ...]:
        """Run *scenario*, and return what is wrong with the run."""
        outcome, director, rules = self.outcome, self.director, self._rules
        chance = random.getstate()
        random.seed(rules.seed)
        try:
            with Leaks() as leaks:
                try:
                    with self._controlled(), self._watched():
                        instruments = [*director.instruments(), *filter(None, [self._scout])]
                        clock = self._clock
                        trio.run(self._main, scenario, leaks, clock=clock, instruments=instruments)
                except BaseException as error:  # noqa: ASYNC103 - outside of the run; reported
                    outcome.error = kept(error)
        finally:
            random.setstate(chance)
        director.interrupts.end()  # a run that is left ends nothing itself
        outcome.history.jumped = director.jumped
        return tuple(
            problems_of(
                outcome,
                director,
                leaks,
                rules.laws,
                cancel_budget=rules.cancel_budget,
                expect=rules.expect,
            )
        )

    def leave(self) -> tuple[Problem, ...]:
        """Begin the next life of what is durable, after a crash; return what went wrong with that."""
        gave_up = self.director.gave_up  # anything else comes of unwinding a process that is gone
        problems = [Problem("RAISED", gave_up["RAISED"])] if "RAISED" in gave_up else []
        for name, durable in self.durables.items():
            try:
                durable.reopen()
            except Exception as error:
                text = f"{type(error).__name__}: {error}, out of the reopening of {name!r}"
                problems.append(Problem("RAISED", text))
        return tuple(problems)

    @contextlib.contextmanager
    def _controlled(self) -> Generator[None]:
        if self._plan.mode in ("public", "live"):
            yield
            return
        threads = VirtualThreads(self._rules.thread_seconds)
        watching = contextlib.nullcontext() if self._scout is None else self._scout.watching()
        with taken_over(self.director, threads.start), watching:
            yield

    def _watched(self) -> contextlib.AbstractContextManager[None]:
        if self._plan.mode == "live":  # where a wait takes real time, and is no step
            return contextlib.nullcontext()
        director = self.director
        return watched_for_stuck_steps(lambda: director.steps, director.note_stuck)

    async def _main(self, scenario: Scenario, leaks: Leaks) -> None:
        director, outcome, rules = self.director, self.outcome, self._rules
        director.interrupts.tell_apart()
        leaks.watch_generators()
        probes.listener.set(director)
        director.begin(trio.lowlevel.current_task())
        if self._scout is not None:
            self._scout.begin(1)
        try:
            with director.root:
                observers: list[Observer] = [outcome.history, director.cancels]
                if self._scout is not None:
                    observers.append(self._scout.hear)
                async with open_runtime(observers=observers, seed=rules.seed) as runtime:
                    outcome.world = director.world = World(
                        runtime,
                        outcome.history,
                        rules.seed,
                        life=self._number,
                        durables=self.durables,
                        latency=None if self._plan.policy == "fifo" else self._latency(),
                        scope_ended=director.scope_ended,
                    )
                    # a position before its first step: a cancel may be older than the scenario
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    steps: object = scenario(outcome.world)
                    if not inspect.isawaitable(steps):
                        raise TypeError(
                            f"a scenario must be an async function of a World, and {scenario!r} "
                            f"returned {steps!r}; write 'async def'"
                        )
                    await steps
                    director.cancels.check_scenario()
        finally:
            outcome.seconds = director.end()
            outcome.generators = leaks.open_generators()

    def _latency(self) -> random.Random:
        return random.Random(self._plan.seed)


def kept(error: BaseException) -> BaseException:
    """Return *error* without the frames that it would keep alive, and all that is in them."""
    seen: list[BaseException] = [error, *leaves(error)]
    for one in seen:
        with contextlib.suppress(RuntimeError):
            traceback.clear_frames(one.__traceback__)
        for other in (one.__cause__, one.__context__):
            if other is not None and other not in seen:
                seen += [other, *leaves(other)]
    return collapse(error)
