"""Other orders of tasks: many runs, each in an order by chance, until something is wrong."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

import attrs

from greenroom.runtime.testing.dpor import Search
from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Plan
from greenroom.runtime.testing.report import Report, RunsReport
from greenroom.runtime.testing.scout import Scout
from greenroom.runtime.testing.simulate import Rules, run_once
from greenroom.runtime.testing.sweep import check_laws, collected
from greenroom.runtime.testing.world import Scenario

__all__ = ["ExploreReport", "explore", "orders"]

Strategy: TypeAlias = Literal["portfolio", "dpor"]
Footprints: TypeAlias = Literal["reported"]

RUNS = 200
EVERY = 20_000
SKEW = 1.0
_DEPTHS = (None, 2, 3, 5)  # of pct; None is the policy random


@attrs.frozen(kw_only=True)
class ExploreReport(RunsReport):
    """What the runs of an exploration came to: a sample of the orders, and no proof."""

    orders: int
    """How many different runs there were among them, by their events."""
    verified: bool = False
    """
    Whether all orders were tried and nothing is wrong in any: with ``strategy="dpor"`` and enough
    runs. It holds for this scenario and its doubles, for the laws that were checked, and as far as
    all that tasks share was reported.
    """
    in_batch: bool | None = None
    """
    Whether what is wrong was also seen with whole batches, as today's Trio has them; None if
    nothing is wrong.
    """


def explore(
    scenario: Scenario,
    *,
    strategy: Strategy = "portfolio",
    runs: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    skew: float = SKEW,
    footprints: Footprints | None = None,
    bound: int | None = None,
    laws: Sequence[Law] = LAWS,
    stop_after: int = 1,
    expect: tuple[type[BaseException], ...] = (),
) -> ExploreReport:
    """
    Run *scenario* in other orders of its tasks.

    ``"portfolio"``: by chance, in turn ``random``, and ``pct`` with depth 2, 3 and 5. ``"dpor"``:
    every order, as a rule of small systems; one run for all orders that differ only in steps that
    have nothing to do with each other, where the scenario says so by *footprints*.

    Args:
        scenario: An async function of a `World`.
        strategy: As above.
        runs: How many, at most; by default 200, and 20 000 for every order.
        footprints: ``"reported"`` declares that all that tasks share is known to the kit: events,
            locks and channels of Trio and what happens to actors are, all else is to be said with
            `touch`. What is not said is not seen, and then "verified" is wrong. By default each step
            counts as touching everything, and every single order is run.
        bound: How many times a task is put off that could go on, at most, in every order; not to be
            had with *footprints*.
        seconds: Of this process's CPU time, after which no further run is begun.
        seed: The first of those that the policies have.
        skew: How much virtual time may pass while tasks could run, in every other run.
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {get_args(Strategy)}, not {strategy!r}")
    if footprints not in (None, *get_args(Footprints)):
        raise ValueError(f"footprints must be 'reported' or None, not {footprints!r}")
    if strategy != "dpor" and (footprints is not None or bound is not None):
        raise ValueError("footprints and bound are for strategy='dpor', which tries every order")
    if footprints is not None and bound is not None:
        raise ValueError("give footprints or bound, not both: a bound is for every single order")
    if runs is not None and runs < 1:
        raise ValueError(f"runs must be an int >= 1, or None, not {runs!r}")
    check_laws(laws)
    rules = Rules(laws=laws, expect=expect)
    tally = _Tally(stop_after, seconds)
    with collected():
        if strategy == "dpor":
            search = Search(reduce=footprints == "reported", bound=bound)
            _try_every_order(scenario, rules, search, tally, runs or EVERY)
            is_verified = search.is_complete and bound is None and not tally.failures
        else:
            _try_by_chance(scenario, rules, tally, seed, skew, runs or RUNS)
            is_verified = False
        found = tally.failures
        in_batch = _is_in_batch(scenario, found[0], rules) if found else None
    return ExploreReport(
        runs=tally.runs,
        failures=tuple(found),
        orders=len(tally.logs),
        verified=is_verified,
        in_batch=in_batch,
    )


class _Tally:
    """How far an exploration is."""

    def __init__(self, stop_after: int, seconds: float | None) -> None:
        self.runs = 0
        self.failures: list[Report] = []  # at most stop_after
        self.logs: set[int] = set()  # hashes, at most one for each run
        self._stop_after = stop_after
        self._until = math.inf if seconds is None else time.process_time() + seconds

    @property
    def is_enough(self) -> bool:
        return len(self.failures) >= self._stop_after or time.process_time() > self._until

    def add(self, report: Report) -> None:
        self.runs += 1
        self.logs.add(hash(report.log))
        if report.problems:
            self.failures.append(report)


def _try_by_chance(
    scenario: Scenario, rules: Rules, tally: _Tally, seed: int, skew: float, runs: int
) -> None:
    base = run_once(scenario, Plan(), rules)
    tally.add(base)
    for plan in orders(base, seed=seed, skew=skew, count=runs - 1):
        if tally.is_enough:
            return
        tally.add(run_once(scenario, plan, rules))


def _try_every_order(
    scenario: Scenario, rules: Rules, search: Search, tally: _Tally, runs: int
) -> None:
    while not (search.is_complete or tally.is_enough or tally.runs >= runs):
        scout = Scout(search)
        report = run_once(scenario, Plan(), rules, scout)
        scout.finish()
        plan = Plan(preempt=tuple(scout.preempt))
        tally.add(attrs.evolve(report, plan=plan))


def orders(base: Report, *, seed: int, skew: float, count: int) -> Iterator[Plan]:
    """Return an iterator over *count* plans for other orders of the run of *base*."""
    for n in range(count):
        depth = _DEPTHS[n % len(_DEPTHS)]
        passing = skew if n // len(_DEPTHS) % 2 else 0.0
        if depth is None:
            yield Plan(policy="random", seed=seed + n, skew=passing)
        else:
            yield Plan(policy="pct", seed=seed + n, depth=depth, steps=base.steps, skew=passing)


def _is_in_batch(scenario: Scenario, failure: Report, rules: Rules) -> bool:
    """Tell whether some order within whole batches shows the same."""
    plans = (Plan(policy="random", seed=n, mode="batch") for n in range(RUNS))
    found = (run_once(scenario, plan, rules).codes for plan in (Plan(mode="batch"), *plans))
    return any(set(codes) & set(failure.codes) for codes in found)
