"""Other orders of tasks: by chance, with a clock that goes first, within batches as Trio has them."""

import pytest
import trio

from greenroom.runtime.testing import World, explore, seam, simulate, sweep
from tests.testing.test_simulate import five


class Box:
    """A mailbox with a lost wake-up: it looks, is held up, and only then waits."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.filled = trio.Event()

    def put(self, item: int) -> None:
        self.items.append(item)
        self.filled.set()

    async def get(self) -> int:
        if not self.items:
            await trio.lowlevel.checkpoint()
            self.filled = trio.Event()
            await self.filled.wait()
        return self.items.pop()


async def hand_over(w: World) -> None:
    """One waits for what another brings a little later: no order at all, as long as time is virtual."""
    box = Box()

    async def bring() -> None:
        await trio.sleep(0.3)
        box.put(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bring)
        assert await box.get() == 1


def test_time_that_passes_while_tasks_could_run_shows_what_sleeps_hide() -> None:
    """Virtual time orders all that sleeps; with a skew the clock is one more that may go first."""
    assert sweep(hand_over, faults=("cancel",)).ok
    assert explore(hand_over, runs=200, skew=0).ok
    report = explore(hand_over, runs=200)
    plan = str(report.first.plan)

    assert report.first.codes == ("HANG",)
    assert "skew 1.0" in plan
    assert simulate(hand_over, plan=plan).codes == ("HANG",)


def test_no_more_time_passes_than_the_skew() -> None:
    """A limit that is longer than it never runs out while its task could go on."""

    async def busy(w: World) -> None:
        with trio.fail_after(1.5):
            for _ in range(20):
                await trio.lowlevel.checkpoint()

    assert explore(busy, runs=100, skew=1).ok
    assert explore(busy, runs=100, skew=2).first.codes == ("RAISED",)


async def race(w: World) -> None:
    """Two that each look, wait once, and take."""
    left = [1]
    w.own("the account", lambda: left[0] >= 0)

    async def take() -> None:
        if left[0]:
            await trio.lowlevel.checkpoint()
            left[0] -= 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)


async def slow_race(w: World) -> None:
    """The same, but one of them comes so late that only a task that is held up can meet it."""
    left = [1]
    w.own("the account", lambda: left[0] >= 0)

    async def take(before: int) -> None:
        for _ in range(before):
            await trio.lowlevel.checkpoint()
        if left[0]:
            await trio.lowlevel.checkpoint()
            left[0] -= 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 0)
        nursery.start_soon(take, 6)


def test_it_is_said_whether_todays_trio_could_show_it() -> None:
    """Within a batch each task makes one step, so nobody is ever held up for long."""
    assert simulate(race, plan="batch").codes == ("HELD",)
    assert simulate(slow_race, plan="batch").ok
    assert explore(race).in_batch is True
    assert explore(slow_race).first.codes == ("HELD",)
    assert explore(slow_race).in_batch is False
    assert explore(five, runs=20).in_batch is None


async def lend(w: World) -> None:
    """What is lent comes back, unless another task was quicker and a cancel comes then."""
    asked: list[int] = []
    lent: list[int] = []
    w.own("the book", lambda: not lent)

    async def ask() -> None:
        asked.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.lowlevel.checkpoint()
        lent += asked
        await trio.lowlevel.checkpoint()
        lent.clear()


def test_each_order_can_be_swept() -> None:
    """What needs a cancel and another order as well; the plan that is printed has both."""
    assert sweep(lend).ok
    found = [sweep(lend, order=f"random {seed}") for seed in range(4)]
    (failure, *_) = [report.first for report in found if not report.ok]

    assert failure.codes == ("HELD",)
    assert simulate(lend, plan=str(failure.plan)).codes == ("HELD",)
    assert sweep(lend, order="batch").runs > 10
    for order in ("cancel(root)@3", "public", "live"):
        with pytest.raises(ValueError, match="order must be a plan that can be repeated"):
            sweep(lend, order=order)


def test_a_stride_leaves_faults_out() -> None:
    """Of what would take too long, every so many are tried; the first always."""
    runs = [sweep(lend, stride=stride).runs - 2 for stride in (1, 3)]

    assert runs[1] == -(-runs[0] // 3)
    with pytest.raises(ValueError, match="stride must be an int >= 1, not 0"):
        sweep(lend, stride=0)


def test_whole_batches_repeat_too() -> None:
    """The same plan is the same run, and other seeds are others; faults come as well."""
    for plan in ("batch", "random 3; batch", "cancel(turn)@20; random 3; batch"):
        one, two = simulate(five, plan=plan), simulate(five, plan=plan)
        assert one == two
        assert one.ok
        assert one.log == two.log
    logs = {simulate(five, plan=f"random {seed}; batch").log for seed in range(10)}
    assert len(logs) > 3
    assert simulate(five, plan="cancel(turn)@20; batch").fired


def test_without_the_seam_the_order_is_trios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public instruments still count steps and cancel; an error in an await is not theirs to raise."""
    monkeypatch.setattr(seam, "_EXPECTED", "another")
    with pytest.raises(seam.SeamMismatch, match='mode="public"'):
        simulate(five)
    base = simulate(five, plan="public")

    assert base.ok
    assert base.positions > 30
    for position in range(0, base.positions, 5):
        report = simulate(five, plan=f"cancel(root)@{position}; public")
        assert report.ok
        assert report.fired or report.positions <= position
    assert simulate(five, plan="raise(a0)@20; public").fired == ()
