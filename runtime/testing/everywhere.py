"""A sweep as a test: one decorator over a scenario."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Final

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import FaultKind
from greenroom.runtime.testing.simulate import Scenario, simulate
from greenroom.runtime.testing.sweep import sweep

__all__ = ["cancel_everywhere"]

PLAN: Final = "GREENROOM_PLAN"


def cancel_everywhere(
    *,
    targets: Sequence[str] | None = None,
    faults: Sequence[FaultKind] = ("cancel",),
    laws: Sequence[Law] = LAWS,
    expect: tuple[type[BaseException], ...] = (),
    floor: int = 1,
) -> Callable[[Scenario], Callable[[], None]]:
    """
    Make a test of a scenario: it is run once for each fault at each position, as by `sweep`.

    With ``GREENROOM_PLAN`` set in the environment it is run once, with that plan: so what a failure
    printed is seen again.

    Args:
        targets: The scopes to cancel; by default all.
        faults: Which kinds.
        laws: What has to hold.
        expect: Exceptions that the scenario may end by.
        floor: How many positions there are at least; with fewer the test fails, since it no longer
            tests what it did.
    """

    def make(scenario: Scenario) -> Callable[[], None]:
        def test() -> None:
            if plan := os.environ.get(PLAN):
                simulate(scenario, plan=plan, laws=laws, expect=expect).check()
                return
            report = sweep(scenario, targets=targets, faults=faults, laws=laws, expect=expect)
            name = getattr(scenario, "__name__", "a scenario")
            print(f"swept {name}: {report.runs} runs, {report.positions} positions")
            report.check()
            assert report.positions >= floor, f"only {report.positions} positions, not {floor}"

        functools.update_wrapper(test, scenario)
        del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for its arguments
        return test

    return make
