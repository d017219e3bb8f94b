"""
Every fault at every position, one at a time: complete for the order of tasks that it sweeps.

Between two steps of a task Trio runs nothing else, so the positions are all the moments at which a
cancel, a signal or an error of something waited for can come from outside.
"""

import gc
from collections.abc import Iterator, Sequence

import attrs

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Fault, FaultKind, Plan
from greenroom.runtime.testing.simulate import Report, RunsReport, Scenario, simulate

__all__ = ["SweepReport", "sweep"]


@attrs.frozen
class SweepReport(RunsReport):
    """What the runs of a sweep came to."""

    positions: int
    """Of the run without faults."""


def sweep(
    scenario: Scenario,
    *,
    faults: Sequence[FaultKind] = ("cancel",),
    targets: Sequence[str] | None = None,
    laws: Sequence[Law] = LAWS,
    stop_after: int = 1,
    expect: tuple[type[BaseException], ...] = (),
    cancel_budget: float = 10.0,
) -> SweepReport:
    """
    Run *scenario* once as it comes, twice to see that it can be repeated, and once for each fault.

    Args:
        scenario: An async function of a `World`.
        faults: Which kinds: ``"cancel"``, ``"raise"``, ``"interrupt"``.
        targets: The scopes to cancel; by default the root, each named scope, and each nursery.
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by, beside those that faults bring.
        cancel_budget: See `simulate`.

    Raises:
        AssertionError: the scenario is not the same when it is run again, so that a plan would not
            repeat what it found; the text has the first line of the log that differs.
    """

    def once(plan: Plan) -> Report:
        return simulate(scenario, plan=plan, laws=laws, expect=expect, cancel_budget=cancel_budget)

    gc.collect()
    gc.freeze()
    try:
        base, again = once(Plan()), once(Plan())
        if base.log != again.log:
            raise AssertionError(_difference(base.log, again.log))
        failures = [base] if base.problems else []
        runs = 2
        for fault in _singles(base, faults, targets):
            if len(failures) >= stop_after:
                break
            report = once(Plan((fault,)))
            runs += 1
            if report.problems:
                failures.append(report)
        return SweepReport(runs, tuple(failures), base.positions)
    finally:
        gc.unfreeze()


def _singles(
    base: Report, kinds: Sequence[FaultKind], targets: Sequence[str] | None
) -> Iterator[Fault]:
    for kind in kinds:
        match kind:
            case "cancel":
                for target, (first, last) in base.targets.items():
                    if targets is None or target in targets:
                        for position in range(first, last + 1):
                            yield Fault("cancel", position, target)
            case "raise":
                for position, names in enumerate(base.blocked):
                    for name in names:
                        yield Fault("raise", position, name)
            case "interrupt":
                for position in range(base.positions):
                    yield Fault("interrupt", position)
            case "jump":
                raise ValueError("a jump alone finds nothing; put it behind a cancel, in a plan")


def _difference(one: str, other: str) -> str:
    pairs = zip(one.splitlines(), other.splitlines(), strict=False)
    line = next((f"{a!r}, and then {b!r}" for a, b in pairs if a != b), "one is longer")
    return f"the scenario is not the same when it is run again: {line}"
