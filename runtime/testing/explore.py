"""Other orders of tasks: many runs, each in an order by chance, until something is wrong."""

import time
from collections.abc import Sequence

import attrs

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Plan
from greenroom.runtime.testing.simulate import RunsReport, Scenario, simulate

__all__ = ["ExploreReport", "explore"]


@attrs.frozen
class ExploreReport(RunsReport):
    """What the runs of an exploration came to: a sample of the orders, and no proof."""

    orders: int
    """How many different runs there were among them, by their events."""


def explore(
    scenario: Scenario,
    *,
    runs: int = 200,
    seconds: float | None = None,
    seed: int = 0,
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
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by.
    """
    began = time.process_time()
    base = simulate(scenario, laws=laws, expect=expect)
    logs = {base.log}
    failures = [base] if base.problems else []
    done = 1
    for n in range(runs - 1):
        if len(failures) >= stop_after:
            break
        if seconds is not None and time.process_time() - began > seconds:
            break
        depth = (None, 2, 3, 5)[n % 4]
        plan = (
            Plan(policy="random", seed=seed + n)
            if depth is None
            else Plan(policy="pct", seed=seed + n, depth=depth, steps=base.steps)
        )
        report = simulate(scenario, plan=plan, laws=laws, expect=expect)
        done += 1
        logs.add(report.log)
        if report.problems:
            failures.append(report)
    return ExploreReport(done, tuple(failures), len(logs))
