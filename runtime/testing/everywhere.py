"""
An examination as a test: one decorator over a scenario.

What pytest's options say otherwise is in `overrides`, and what each test came to in `notes`; the
plugin (see `pytest_plugin`) fills the one and empties the other.
"""

import functools
import importlib
import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, overload
from weakref import WeakSet

import attrs

from greenroom.runtime.testing.examine import PAIRS, RUNS, ExamineReport, examine
from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import FaultKind, Plan
from greenroom.runtime.testing.report import PLAN_VARIABLE, Report
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.sweep import FAULTS, Targets
from greenroom.runtime.testing.world import Scenario

__all__ = ["Overrides", "cancel_everywhere", "made", "notes", "overrides"]


@attrs.define
class Overrides:
    """What is to be tried in place of what tests say."""

    orders: int | None = None
    pairs: int | None = None
    cover: tuple[str, ...] = ()
    """Modules whose awaits are looked at in addition; to miss one is no failure."""


overrides: Final = Overrides()

# Of the tests that were run last and not yet asked about: what they came to, for JSON.
notes: Final[deque[dict[str, Any]]] = deque(maxlen=1000)

# The tests that `cancel_everywhere` has made.
made: Final[WeakSet[Callable[[], None]]] = WeakSet()


@overload
def cancel_everywhere(scenario: Scenario, /) -> Callable[[], None]: ...


@overload
def cancel_everywhere(
    *,
    faults: Sequence[FaultKind] = ...,
    targets: Targets = ...,
    orders: int = ...,
    pairs: int = ...,
    laws: Sequence[Law] = ...,
    expect: tuple[type[BaseException], ...] = ...,
    recovery: Scenario | None = ...,
    cover: Sequence[str] = ...,
    floor: int = ...,
) -> Callable[[Scenario], Callable[[], None]]: ...


def cancel_everywhere(
    scenario: Scenario | None = None,
    /,
    *,
    faults: Sequence[FaultKind] = FAULTS,
    targets: Targets = None,
    orders: int = RUNS,
    pairs: int = PAIRS,
    laws: Sequence[Law] = LAWS,
    expect: tuple[type[BaseException], ...] = (),
    recovery: Scenario | None = None,
    cover: Sequence[str] = (),
    floor: int = 1,
) -> Callable[[], None] | Callable[[Scenario], Callable[[], None]]:
    """
    Make a test of a scenario, an async function of a `World`: it is examined as by `examine`.

    Written with brackets, ``@cancel_everywhere(floor=50)``, or without. With ``GREENROOM_PLAN`` set in the environment, or pytest's ``--greenroom-plan``, it is run once,
    with that plan: so what a failure printed is seen again.

    Args:
        faults: Which kinds.
        targets: Which scopes to cancel; see `sweep`.
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
            __tracebackhide__ = True
            text = os.environ.get(PLAN_VARIABLE)
            plan = Plan.parse(text) if text else None
            if plan is not None and plan != Plan():
                report = simulate(scenario, plan=plan, laws=laws, expect=expect, recovery=recovery)
                _note_replay(report)
                report.check()
                if plan.faults and not report.fired:
                    raise AssertionError(
                        f"nothing of the plan {text!r} happened: the run has {report.positions} "
                        f"positions, and the scenario may be another than when this was printed"
                    )
                return
            is_whole = plan is None  # else it is seen again as it comes, and in another process
            try:
                found = examine(
                    scenario,
                    faults=faults if is_whole else (),
                    targets=targets,
                    orders=_chosen(orders, overrides.orders) if is_whole else 0,
                    pairs=_chosen(pairs, overrides.pairs) if is_whole else 0,
                    laws=laws,
                    expect=expect,
                    recovery=recovery,
                    cover=(*cover, *overrides.cover) if is_whole else (),
                )
            except AssertionError as error:
                notes.append({"ok": False, "runs": 2, "problems": [str(error)]})
                raise
            _note(found)
            name = getattr(scenario, "__name__", "a scenario")
            print(f"{name}: {found.summary()}")
            found.check()
            _check(found, cover if is_whole else (), floor)

        functools.update_wrapper(test, scenario)
        test.scenario = scenario  # type: ignore[attr-defined]  # for `elsewhere`
        del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for its arguments
        made.add(test)
        return test

    return make if scenario is None else make(scenario)


def _chosen(said: int, instead: int | None) -> int:
    return said if instead is None else instead


def _check(found: ExamineReport, cover: Iterable[str], floor: int) -> None:
    """Raise AssertionError if *found* is less than the test has asked for."""
    __tracebackhide__ = True
    if found.positions < floor:
        raise AssertionError(f"only {found.positions} positions, not {floor}")
    files = {inspect.getsourcefile(importlib.import_module(name)) for name in cover}
    missed = [line for line in found.missed_awaits if line.rpartition(":")[0] in files]
    if missed:
        raise AssertionError(f"no cancel came out of {', '.join(missed)}")


def _note(found: ExamineReport) -> None:
    first = found.failures[0] if found.failures else None
    notes.append(
        {
            "ok": found.ok,
            "runs": found.runs,
            "positions": found.positions,
            "faults": found.faults,
            "orders": found.orders,
            "pairs": found.pairs,
            "elsewhere": found.elsewhere,
            "summary": found.summary(),
            "plan": None if first is None else str(first.plan),
            "problems": [] if first is None else [str(problem) for problem in first.problems],
            "missed_awaits": list(found.missed_awaits),
        }
    )


def _note_replay(report: Report) -> None:
    notes.append(
        {
            "ok": report.ok,
            "runs": 1,
            "positions": report.positions,
            "summary": f"tried the plan {str(report.plan)!r}",
            "plan": str(report.plan),
            "problems": [str(problem) for problem in report.problems],
        }
    )
