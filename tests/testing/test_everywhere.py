"""A sweep in one decorator, other orders, and the story that a failure tells."""

from itertools import count

import pytest
import trio

from greenroom.runtime import Actor, Frame, Request, frame, handles
from greenroom.runtime.testing.everywhere import cancel_everywhere
from greenroom.runtime.testing.explore import explore
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.sweep import sweep
from greenroom.runtime.testing.world import World
from tests.runtime.cast import Echo, Note, Stagehand


@frame
class Book(Request[int]):
    """Asks for a seat."""


@frame
class Tick(Frame):
    """Wakes the waiter."""


class Office(Actor):
    """Books a seat, and forgets to give it back when it is cut off."""

    def __init__(self, seats: list[int]) -> None:
        self.seats = seats

    @handles
    async def book(self, request: Book) -> int:
        self.seats.append(1)
        await trio.sleep(1)  # pay
        self.seats.pop()
        return 1


async def booking(w: World) -> None:
    seats: list[int] = []
    w.own("the seat", lambda: not seats)
    office = await w.runtime.spawn(Office, seats, name="office")
    with w.scope("customer"):
        await office.ask(Book())


@cancel_everywhere(floor=15)
async def test_an_ask_survives_every_cancel(w: World) -> None:
    """The decorator makes a test of a scenario, with the scenario's name and docstring."""
    ref = await w.runtime.spawn(Stagehand)
    with w.scope("turn"):
        assert await ref.ask(Echo("x", 1)) == "x"


def test_the_decorated_scenario_is_a_test() -> None:
    """It takes nothing, and is called what the scenario is called."""
    assert test_an_ask_survives_every_cancel.__name__ == "test_an_ask_survives_every_cancel"
    assert (test_an_ask_survives_every_cancel.__doc__ or "").startswith("The decorator")


def test_a_failure_tells_the_story_and_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong, what was done, who did what, and the plan; which then gives the same failure."""
    test = cancel_everywhere()(booking)
    with pytest.raises(AssertionError) as caught:
        test()
    text = str(caught.value)
    plan = str(sweep(booking).first.plan)

    assert f"with the plan {plan!r}:\n  HELD the seat is not free at the end" in text
    assert f"!! {plan} ---" in text
    assert "cancelled: book (test_everywhere.py:" in text
    assert "<- Book 1" in text
    assert "1: cancelled" in text
    assert f"GREENROOM_PLAN={plan!r}" in text
    monkeypatch.setenv("GREENROOM_PLAN", plan)
    with pytest.raises(AssertionError, match="HELD the seat"):
        test()
    monkeypatch.setenv("GREENROOM_PLAN", "cancel(root)@0")
    test()  # there is no seat yet


def test_too_few_positions_fail() -> None:
    """A test that no longer reaches what it did is no test."""

    async def nothing(w: World) -> None:
        pass

    with pytest.raises(AssertionError, match=r"only .* positions, not 1000"):
        cancel_everywhere(floor=1000)(nothing)()


def test_a_race_that_plain_runs_never_show_is_found_by_other_orders() -> None:
    """Check, then wait, then act: two that do so at once are one too many."""

    async def overdraw(w: World) -> None:
        account = [1]

        async def take() -> None:
            if account[0] > 0:
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                account[0] -= 1

        async def first() -> None:
            await take()

        async def second() -> None:
            for _ in range(6):
                await trio.lowlevel.checkpoint()
            await take()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)
        w.own("the account", lambda: account[0] >= 0)

    assert simulate(overdraw).ok
    report = explore(overdraw, runs=100)

    assert report.first.codes == ("HELD",)
    assert simulate(overdraw, plan=str(report.first.plan)).codes == ("HELD",)


def test_an_exploration_says_how_much_it_has_seen() -> None:
    """How many runs, and how many different ones."""

    async def busy(w: World) -> None:
        refs = [await w.runtime.spawn(Stagehand) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(ref.tell, Note("a"))

    report = explore(busy, runs=40).check()

    assert report.runs == 40
    assert report.orders > 10


def test_an_exploration_ends_when_its_seconds_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further run is begun then; here each look at the clock of the CPU takes a second."""

    async def nothing(w: World) -> None:
        pass

    ticks = count()
    monkeypatch.setattr("time.process_time", lambda: float(next(ticks)))

    assert explore(nothing, runs=100, seconds=7).runs == 8  # the last was begun at the 7th second
    assert explore(nothing, runs=100).runs == 100


def test_a_diagram_has_the_same_story() -> None:
    """As the source of a Mermaid sequence diagram."""
    plan = str(sweep(booking).first.plan)
    report = simulate(booking, plan=plan)
    text = report.mermaid()

    assert [str(fault) for fault in report.fired] == [plan]
    assert text.startswith("sequenceDiagram\n")
    assert "->>office: Book 1" in text
    assert plan in text
