"""
Cancels at every step of what can't be repeated: real sockets, real threads, and the real clock.

Virtual time jumps while a socket waits, and the kernel answers when it likes: no two runs are the
same. So nothing is counted beforehand; each run is cancelled one position later than the last, until
some in a row end before their positions.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Fault, Plan
from greenroom.runtime.testing.report import Report
from greenroom.runtime.testing.simulate import CANCEL_BUDGET, Rules, run_once
from greenroom.runtime.testing.sweep import SweepReport, check_laws, check_stride, collected
from greenroom.runtime.testing.world import ROOT, Scenario

__all__ = ["sweep_live"]

# So many runs in a row that end before their position: a single one may have been a short one.
_SHORT_RUNS: Final = 3


def sweep_live(
    scenario: Scenario,
    *,
    target: str = ROOT,
    stride: int = 1,
    laws: Sequence[Law] = LAWS,
    stop_after: int = 1,
    expect: tuple[type[BaseException], ...] = (),
    cancel_budget: float = CANCEL_BUDGET,
) -> SweepReport:
    """
    Run *scenario* once as it comes, and once for each position at which *target* can be cancelled.

    The order of tasks is Trio's, the clock is the real one, and threads are threads. So what is found
    need not come again: the plan of a failure, as ``cancel(turn)@12; live``, is a hint, and trying it
    often with `simulate` is the way to see it again. Where a double over memory can stand for the
    sockets, `sweep` sees more, and repeats it.

    Args:
        scenario: An async function of a `World`.
        target: The scope to cancel: the root, or one that ``world.scope`` opens. Positions are those
            before and after each step of a task while it is open.
        stride: Only every so many positions are tried, int >= 1.
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by.
        cancel_budget: See `simulate`; real seconds.

    Returns:
        A report whose ``positions`` are those at which a run was cancelled.

    Raises:
        ValueError: *stride* is out of range, or the scenario never opens *target*.
    """
    check_stride(stride)
    check_laws(laws)
    rules = Rules(laws=laws, expect=expect, cancel_budget=cancel_budget)
    failures: list[Report] = []
    runs, cancelled, short = 1, 0, 0
    with collected():
        report = run_once(scenario, Plan(mode="live"), rules)
        if report.problems:
            failures.append(report)
        elif target not in report.targets:
            raise ValueError(
                f"the scenario opens no scope {target!r}, only {', '.join(report.targets)}; "
                f"write `with world.scope({target!r}):` around what is to be cancelled"
            )
        for position in count(step=stride):
            if len(failures) >= stop_after or short == _SHORT_RUNS:
                break
            plan = Plan((Fault("cancel", position, target),), mode="live")
            report = run_once(scenario, plan, rules)
            runs += 1
            if report.problems:
                failures.append(report)
            cancelled += bool(report.fired)
            short = 0 if report.fired else short + 1
    return SweepReport(runs=runs, failures=tuple(failures), positions=cancelled)
