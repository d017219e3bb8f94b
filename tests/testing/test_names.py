"""What has a name has one that a plan can be written with."""

import pytest
import trio

from greenroom.runtime import fault_point
from greenroom.runtime.testing import Fault, Plan, World, simulate, sweep

BAD = ["", " ", "my turn", "a;b", "a(b)", "a)", "a\nb", "a\tb"]
GOOD = ["turn", "a@3", "batch", "é", "customer's", "tools/add~2", "-"]


@pytest.mark.parametrize("name", BAD)
async def test_a_scope_or_action_that_no_plan_could_name_is_refused(name: str) -> None:
    """With the reason, and a name that will do."""

    async def scoped(w: World) -> None:
        with w.scope(name):
            pass

    async def acting(w: World) -> None:
        with w.action(name, lambda: None):
            pass

    for scenario in (scoped, acting):
        (problem,) = (await trio.to_thread.run_sync(simulate, scenario)).problems

        assert problem.code == "RAISED"
        assert f"{name!r} is no name for a" in problem.text


@pytest.mark.parametrize("name", [bad for bad in BAD if bad])
def test_a_fault_for_such_a_name_is_refused(name: str) -> None:
    """So that every plan that is printed can be read."""
    with pytest.raises(ValueError, match="is no name for the target"):
        Fault("cancel", 3, name)


@pytest.mark.parametrize("name", GOOD)
def test_any_other_name_is_read_as_it_was_written(name: str) -> None:
    """For each kind of fault that has a target."""
    plan = Plan((Fault("cancel", 3, name), Fault("call", 4, name), Fault("raise", 5, name)))

    assert Plan.parse(str(plan)) == plan


def test_the_name_of_a_nursery_is_not_one_for_a_scope() -> None:
    """They would be one target."""

    async def scenario(w: World) -> None:
        with w.scope("main#0"):
            pass

    assert "without a '#'" in simulate(scenario).problems[0].text


@pytest.mark.parametrize("name", [*BAD, "a(b) c", "<locals>.f"])
def test_tasks_and_fault_points_may_have_any_name(name: str) -> None:
    """They come from production code; a plan has a dash in place of what it can't have."""

    async def child() -> None:
        fault_point(name)
        await trio.sleep(1)

    async def scenario(w: World) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, name=name)

    report = sweep(scenario, faults=["raise", "fail"], expect=(LookupError,), stop_after=1000)

    base = simulate(scenario)
    hit = {target for names in base.blocked for target in names} | base.points.keys()
    assert len(hit) >= 2
    for target in hit:
        assert Plan.parse(str(Plan((Fault("raise", 1, target),)))).faults[0].target == target
    assert report.ok
    assert report.runs >= 5
