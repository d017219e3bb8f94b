"""Other orders of tasks: many runs, each in an order by chance, until something is wrong."""

import time
from collections.abc import Iterator, Sequence

import attrs

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Plan
from greenroom.runtime.testing.report import Report, RunsReport
from greenroom.runtime.testing.simulate import Rules, run_once
from greenroom.runtime.testing.sweep import collected
from greenroom.runtime.testing.world import Scenario

__all__ = ["ExploreReport", "explore", "orders"]

SKEW = 1.0
_DEPTHS = (None, 2, 3, 5)  # of pct; None is the policy random


@attrs.frozen(kw_only=True)
class ExploreReport(RunsReport):
    """What the runs of an exploration came to: a sample of the orders, and no proof."""

    orders: int
    """How many different runs there were among them, by their events."""
    in_batch: bool | None = None
    """
    Whether what is wrong was also seen with whole batches, as today's Trio has them; None if
    nothing is wrong.
    """


def explore(
    scenario: Scenario,
    *,
    runs: int = 200,
    seconds: float | None = None,
    seed: int = 0,
    skew: float = SKEW,
    laws: Sequence[Law] = LAWS,
    stop_after: int = 1,
    expect: tuple[type[BaseException], ...] = (),
) -> ExploreReport:
    """
    Run *scenario* in orders by chance: in turn ``random``, and ``pct`` with depth 2, 3 and 5.

    Args:
        scenario: An async function of a `World`.
        runs: How many, at most.
        seconds: Of this process's CPU time, after which no further run is begun.
        seed: The first of those that the policies have.
        skew: How much virtual time may pass while tasks could run, in every other run.
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by.
    """
    rules = Rules(laws=laws, expect=expect)
    began = time.process_time()
    with collected():
        base = run_once(scenario, Plan(), rules)
        logs = {hash(base.log)}
        failures = [base] if base.problems else []
        done = 1
        for plan in orders(base, seed=seed, skew=skew, count=runs - 1):
            if len(failures) >= stop_after:
                break
            if seconds is not None and time.process_time() - began > seconds:
                break
            report = run_once(scenario, plan, rules)
            done += 1
            logs.add(hash(report.log))
            if report.problems:
                failures.append(report)
        in_batch = _is_in_batch(scenario, failures[0], rules, runs) if failures else None
    return ExploreReport(runs=done, failures=tuple(failures), orders=len(logs), in_batch=in_batch)


def orders(base: Report, *, seed: int, skew: float, count: int) -> Iterator[Plan]:
    """Return an iterator over *count* plans for other orders of the run of *base*."""
    for n in range(count):
        depth = _DEPTHS[n % len(_DEPTHS)]
        passing = skew if n // len(_DEPTHS) % 2 else 0.0
        if depth is None:
            yield Plan(policy="random", seed=seed + n, skew=passing)
        else:
            yield Plan(policy="pct", seed=seed + n, depth=depth, steps=base.steps, skew=passing)


def _is_in_batch(scenario: Scenario, failure: Report, rules: Rules, runs: int) -> bool:
    """Tell whether some order within whole batches shows the same."""
    plans = (Plan(policy="random", seed=n, mode="batch") for n in range(runs))
    found = (run_once(scenario, plan, rules).codes for plan in (Plan(mode="batch"), *plans))
    return any(set(codes) & set(failure.codes) for codes in found)
