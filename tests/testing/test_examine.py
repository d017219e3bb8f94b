"""All that the kit can do, by default: what finds what, how much was tried, and in which process."""

import os

import pytest
import trio

from greenroom.runtime.testing import Scenario, World, cancel_everywhere, examine, explore, sweep
from tests.runtime.cast import Note, Stagehand
from tests.testing.test_faults import close_two, find_them, keep_two_lines, write_twice
from tests.testing.test_orders import hand_over, slow_race
from tests.testing.test_simulate import five


@pytest.mark.parametrize(
    ("scenario", "kinds"),
    [
        (write_twice, ["cancel"]),
        (close_two, ["cancel", "jump"]),
        (hand_over, []),
        (slow_race, []),
    ],
)
def test_the_simplest_story_is_found(scenario: Scenario, kinds: list[str]) -> None:
    """One fault before other orders, and both before two faults."""
    report = examine(scenario, faults=["cancel", "fail"])

    assert [fault.kind for fault in report.first.plan.faults] == kinds
    assert (report.first.plan.policy == "fifo") == bool(kinds)


def test_crashes_are_tried_with_a_recovery() -> None:
    """And only then."""
    assert examine(keep_two_lines).ok
    assert "crash(torn)" in str(examine(keep_two_lines, recovery=find_them).first.plan)


def test_it_is_said_how_much_was_tried() -> None:
    """Numbers of faults, orders and pairs; and whether another process was asked."""
    report = examine(five, orders=10, pairs=20).check()

    assert report.faults > 150
    assert (report.orders, report.pairs) == (10, 20)
    assert report.runs == 2 + report.faults + 30
    assert report.elsewhere
    assert report.summary() == (
        f"swept {report.faults} faults at {report.positions} positions, explored 10 orders, "
        "tried 20 pairs of faults, compared with another process"
    )


# -- another process


async def depends_on_hashes(w: World) -> None:
    ref = await w.runtime.spawn(Stagehand)
    for word in {f"word {n}" for n in range(20)}:
        await ref.tell(Note(word))


async def depends_on_the_process(w: World) -> None:
    ref = await w.runtime.spawn(Stagehand)
    await ref.tell(Note(os.environ["PYTHONHASHSEED"] + " is set only elsewhere"))


def test_what_depends_on_hashes_is_seen_in_another_process() -> None:
    """Within one process a set of texts has always the same order."""
    assert explore(depends_on_hashes, runs=20).ok
    report = examine(depends_on_hashes, faults=(), orders=0, pairs=0)

    assert report.first.codes == ("FICKLE",)
    assert "in another process the scenario is not the same" in str(report.first.problems[0])


def test_what_differs_elsewhere_is_seen_again_by_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is empty: the scenario is run as it comes, here and in the other process."""
    test = cancel_everywhere()(depends_on_hashes)
    for plan in ("as it comes", None):
        if plan is None:
            monkeypatch.delenv("GREENROOM_PLAN")
        else:
            monkeypatch.setenv("GREENROOM_PLAN", plan)
        with pytest.raises(AssertionError, match=r"FICKLE[^$]*GREENROOM_PLAN='as it comes'"):
            test()


def test_a_scenario_without_a_name_is_not_compared() -> None:
    """Another process can't find it; the summary says so by its silence."""

    async def local(w: World) -> None:
        await trio.lowlevel.checkpoint()

    report = examine(local).check()

    assert not report.elsewhere
    assert "another process" not in report.summary()


def test_another_process_asks_no_further_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that examines when it is imported would start processes without end."""
    monkeypatch.setenv("GREENROOM_ELSEWHERE", "1")

    assert not examine(depends_on_hashes, faults=(), orders=0, pairs=0).check().elsewhere


# -- coverage


@cancel_everywhere(cover=["tests.testing.reached"])
async def test_every_await_of_a_module_is_reached(w: World) -> None:
    """A cancel has come out of each."""
    from tests.testing import reached

    await reached.all_of_it(straight=True)


def test_an_await_that_no_cancel_reaches_is_named() -> None:
    """By file and line."""
    from tests.testing import reached

    async def half(w: World) -> None:
        await reached.all_of_it(straight=False)

    report = examine(half, cover=["tests.testing.reached"]).check()
    swept = sweep(half, faults=["cancel"], cover=["tests.testing.reached"]).check()

    assert swept.missed_awaits == report.missed_awaits
    assert not sweep(half, faults=["cancel"]).missed_awaits
    assert [place.rpartition("/")[2] for place in report.missed_awaits] == ["reached.py:14"]
    with pytest.raises(AssertionError, match=r"no cancel came out of .*reached.py:14"):
        cancel_everywhere(cover=["tests.testing.reached"])(half)()
    with pytest.raises(ImportError):
        examine(half, cover=["tests.testing.nowhere"])
