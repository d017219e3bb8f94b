"""Plans that Hypothesis draws: what they are made of, and what a failing one is shrunk to."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from greenroom.runtime import fault_point
from greenroom.runtime.testing.plan import FaultKind, Plan
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.strategies import plans
from greenroom.runtime.testing.sweep import FAULTS
from greenroom.runtime.testing.world import Scenario, World
from tests.testing.planted import three as planted

FIRST = settings(max_examples=1000, database=None, deadline=None, derandomize=True)


def shrunk(scenario: Scenario, **options: Any) -> Plan:
    """Return what Hypothesis shrinks the first plan to with which *scenario* fails."""
    fails: Callable[[Plan], bool] = lambda plan: not simulate(scenario, plan=plan).ok
    return find(plans(scenario, **options), fails, settings=FIRST)


@pytest.mark.parametrize("scenario", [planted.close_without_shield, planted.message_lost])
def test_a_bug_that_one_fault_shows_is_shrunk_to_one_fault(scenario: Scenario) -> None:
    """And to no other order of tasks."""
    plan = shrunk(scenario)

    assert len(plan.faults) == 1
    assert plan.preempt == ()
    assert not simulate(scenario, plan=plan).ok


def test_a_bug_that_an_order_shows_is_shrunk_to_one_turn() -> None:
    """And to no fault: a task that has gone first is gone on with."""
    assert simulate(planted.lost_wakeup).ok

    plan = shrunk(planted.lost_wakeup)

    assert plan.faults == ()
    assert len(plan.preempt) == 1
    assert simulate(planted.lost_wakeup, plan=plan).codes == ("HANG",)


def test_the_empty_plan_is_the_simplest() -> None:
    """What always fails is shown by the run as it comes."""
    assert find(plans(planted.message_lost), lambda _: True, settings=FIRST) == Plan()


def test_a_bug_that_two_faults_show_is_found() -> None:
    """Time that jumps while a cancel is cleaned up, within a bound: neither shows it alone."""

    async def bounded(w: World) -> None:
        held = [1]
        w.own("it", lambda: not held)
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            with trio.move_on_after(1, shield=True):
                await trio.sleep(0.5)
                held.clear()
            raise
        held.clear()

    plan = shrunk(bounded, kinds=["cancel", "jump"])

    assert [fault.kind for fault in plan.faults] == ["cancel", "jump"]
    assert plan.preempt == ()


async def with_a_store(w: World) -> None:
    with w.scope("turn"), w.action("look", w.runtime.accounts):
        fault_point("store.write")
        await trio.sleep(1)


@pytest.mark.parametrize("kind", [*FAULTS, "jump"])
def test_every_kind_can_be_drawn(kind: FaultKind) -> None:
    """By default all that need nothing else; the others when they are asked for."""

    def has_it(plan: Plan) -> bool:
        return any(fault.kind == kind for fault in plan.faults)

    plan = find(plans(with_a_store, kinds=[kind]), has_it, settings=FIRST)

    assert [fault.kind for fault in plan.faults] == [kind]
    assert simulate(with_a_store, plan=plan).ok


def drawn(strategy: st.SearchStrategy[Plan]) -> list[Plan]:
    """Return a hundred plans that *strategy* gives."""
    found: list[Plan] = []

    @settings(parent=FIRST, max_examples=100, phases=[Phase.generate])
    @given(strategy)
    def collect(plan: Plan) -> None:
        found.append(plan)

    collect()
    return found


def test_a_plan_has_no_more_than_was_asked_for() -> None:
    """At most so many faults and turns, of these kinds and for these scopes."""
    kinds: Sequence[FaultKind] = ["cancel", "interrupt"]
    found = drawn(
        plans(planted.message_lost, max_faults=1, max_preempt=2, kinds=kinds, targets=["relay"])
    )
    faults = [fault for plan in found for fault in plan.faults]

    assert {len(plan.faults) for plan in found} == {0, 1}
    assert {len(plan.preempt) for plan in found} == {0, 1, 2}
    assert {(fault.kind, fault.target) for fault in faults} == {
        ("cancel", "relay"),
        ("interrupt", ""),
    }
    assert drawn(plans(with_a_store, max_faults=0, max_preempt=0)) == [Plan()]
    assert {len(plan.faults) for plan in drawn(plans(with_a_store, kinds=[]))} == {0}


def test_a_negative_number_is_refused() -> None:
    """At once, not when the first plan is drawn."""
    with pytest.raises(ValueError, match="max_preempt must be an int >= 0, not -1"):
        plans(with_a_store, max_preempt=-1)


def test_the_scenario_is_run_once_and_when_the_first_plan_is_drawn() -> None:
    """However many plans are drawn; a scenario with other arguments is given with a value of them."""
    runs: list[str] = []

    async def counted(w: World, *, order: str) -> None:
        runs.append(order)
        await trio.sleep(1)

    strategy = plans(partial(counted, order="one"))
    assert runs == []
    drawn(strategy)
    drawn(strategy)

    assert runs == ["one"]
