"""A sweep as a test: one decorator over a scenario."""

import functools
import os
from collections.abc import Callable, Sequence

from greenroom.runtime.testing.examine import PAIRS, RUNS, examine
from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import FaultKind
from greenroom.runtime.testing.report import PLAN_VARIABLE
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.sweep import FAULTS
from greenroom.runtime.testing.world import Scenario

__all__ = ["cancel_everywhere"]


def cancel_everywhere(
    *,
    faults: Sequence[FaultKind] = FAULTS,
    targets: Sequence[str] | None = None,
    orders: int = RUNS,
    pairs: int = PAIRS,
    laws: Sequence[Law] = LAWS,
    expect: tuple[type[BaseException], ...] = (),
    recovery: Scenario | None = None,
    cover: Sequence[str] = (),
    floor: int = 1,
) -> Callable[[Scenario], Callable[[], None]]:
    """
    Make a test of a scenario: it is examined as by `examine`.

    With ``GREENROOM_PLAN`` set in the environment, or pytest's ``--greenroom-plan``, it is run once,
    with that plan: so what a failure printed is seen again.

    Args:
        faults: Which kinds.
        targets: The scopes to cancel; by default all.
        orders: How many other orders to try, by chance.
        pairs: How many pairs of faults to try, by chance.
        laws: What has to hold.
        expect: Exceptions that the scenario may end by.
        recovery: What the next process does after a crash; without one, none is tried.
        cover: Names of modules whose every ``await`` a cancel has to come out of.
        floor: How many positions there are at least; with fewer the test fails, since it no longer
            tests what it did.
    """

    def make(scenario: Scenario) -> Callable[[], None]:
        def test() -> None:
            if plan := os.environ.get(PLAN_VARIABLE):
                report = simulate(scenario, plan=plan, laws=laws, expect=expect, recovery=recovery)
                report.check()
                return
            found = examine(
                scenario,
                faults=faults,
                targets=targets,
                orders=orders,
                pairs=pairs,
                laws=laws,
                expect=expect,
                recovery=recovery,
                cover=cover,
            )
            name = getattr(scenario, "__name__", "a scenario")
            print(f"{name}: {found.summary()}")
            found.check()
            assert found.positions >= floor, f"only {found.positions} positions, not {floor}"
            assert not found.missed_awaits, f"no cancel came out of {found.missed_awaits}"

        functools.update_wrapper(test, scenario)
        test.scenario = scenario  # type: ignore[attr-defined]  # for `elsewhere`
        del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for its arguments
        return test

    return make
