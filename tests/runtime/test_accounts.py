"""Message accounting, the watchdog, and what a runtime shows of itself."""

import logging

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Accounts,
    ActorCrashed,
    Event,
    HandlerSlow,
    Interrupted,
    Ref,
    Refused,
    Runtime,
    open_runtime,
)
from greenroom.runtime.testing import World, sweep
from tests.runtime.cast import (
    Do,
    Echo,
    Ledger,
    Note,
    Nudge,
    Stagehand,
    Steered,
    hang,
    outcome_of,
    refuse,
    stubborn,
)

Clock = trio.testing.MockClock


async def crash(_: Stagehand) -> None:
    raise ValueError("boom")


async def test_every_frame_has_its_one_end(autojump_clock: Clock) -> None:
    """Accounting: the sums of each kind, and that they agree; here, one of each."""

    async def busy(_: Stagehand) -> None:
        await trio.sleep(10)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(
            Steered, capacity=2, full="drop_newest", name="x", restart="transient"
        )
        await ref.tell(Note("handled"))
        await ref.tell(Nudge("handled"))
        with pytest.raises(Refused):
            await ref.ask(Do(refuse))
        with pytest.raises(ActorCrashed):
            await ref.ask(Do(crash))
        with trio.move_on_after(1):
            await ref.ask(Do(hang))  # cancelled while it ran
        await ref.tell(Do(busy))
        await trio.sleep(1)
        with trio.move_on_after(1):
            await ref.ask(Echo("cancelled while queued"))
        await ref.tell(Note("interrupted"))
        await ref.tell(Note("in the place of the tombstone"))
        await ref.tell(Note("dropped"))
        running = ref.statistics().accounts
        ref.interrupt()
        await trio.sleep(1)
        await ref.tell(Do(hang))
        await trio.sleep(1)
        await ref.tell(Note("undelivered"))
        figures = ref.statistics()
        ref.stop()
        await ref.wait_stopped()
        accounts = ref.statistics().accounts

    assert (running.pending, running.dropped) == (3, 1)
    assert figures.peak is None or figures.peak >= 1  # trio before 0.34 doesn't say
    assert accounts == runtime.accounts()
    assert accounts.pending == 0
    assert accounts == Accounts(
        sent=accounts.sent,
        handled=2,
        refused=1,
        crashed=1,
        cancelled=accounts.cancelled,
        interrupted=accounts.interrupted,
        stale=0,
        dropped=1,
        undelivered=1,
        pending=0,
    )
    assert accounts.cancelled >= 3  # while it ran, while it was queued, and by the stop
    assert accounts.interrupted >= 2  # while it ran, and while it was queued
    assert accounts.sent == 12


def test_the_sums_agree_wherever_a_runtime_is_cancelled() -> None:
    """Accounting, swept: open_runtime asserts it at a normal end, and here it is at every other."""
    runtimes: list[Runtime] = []

    async def scenario(w: World) -> None:
        runtimes.clear()
        with w.scope("cut"):
            async with open_runtime(observers=[w.history]) as runtime:
                runtimes.append(runtime)
                ref = await runtime.spawn(Stagehand, capacity=1)
                async with trio.open_nursery() as nursery:
                    for n in range(3):
                        nursery.start_soon(ref.tell, Note(str(n)))
                        nursery.start_soon(ref.ask, Echo(str(n), 0.5))
        for runtime in runtimes:
            accounts = runtime.accounts()
            assert accounts.pending == 0, accounts

    report = sweep(scenario, faults=("cancel", "interrupt")).check()
    print(f"sweep accounts: {report.summary()}")
    assert report.runs >= 100


async def test_a_handler_that_runs_too_long_is_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog: once, with its stack, and the handler goes on; nothing ticks for others (R23)."""
    events: list[Event] = []
    async with open_runtime(observers=[events.append], slow_after=3) as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        assert await ref.ask(Echo("quick", 2.9)) == "quick"
        assert await ref.ask(Echo("slow", 10)) == "slow"

    (slow,) = [e for e in events if isinstance(e, HandlerSlow)]
    assert (slow.actor, slow.frame) == ("x", Echo("slow", 10))
    assert slow.seconds == pytest.approx(3)
    assert any("in Stagehand.echo" in line for line in slow.stack)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("'x' has been handling Echo for 3 s; it waits at ")


async def test_time_in_handlers_is_added_up_where_asked_for(autojump_clock: Clock) -> None:
    """Inspection: waits included; 0 unless it was asked for."""
    for measure, seconds in ((True, 3), (False, 0)):
        async with open_runtime(measure=measure) as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Echo("", 1))
            await ref.ask(Echo("", 2))

            assert ref.statistics().handler_seconds == seconds


async def test_the_tree_shows_who_owns_whom(autojump_clock: Clock) -> None:
    """Inspection: in order of spawning, with the class and the figures of each."""

    class Parent(Stagehand):
        async def on_start(self) -> None:
            await self.spawn(Stagehand, name="child")

    async with open_runtime() as runtime:
        await runtime.spawn(Parent, name="parent")
        await runtime.spawn(Stagehand, name="other")
        parent, other = runtime.tree()

        assert [node.name for node in (parent, *parent.children, other)] == [
            "parent",
            "child",
            "other",
        ]
        assert str(parent).splitlines() == [
            "parent (Parent, running, 0 queued, 0 running)",
            "  child (Stagehand, running, 0 queued, 0 running)",
        ]
        assert set(runtime.statistics()) == {"parent", "child", "other"}


async def test_an_interrupt_takes_the_whole_family_in_one_step(autojump_clock: Clock) -> None:
    """R21: children and theirs, running and queued; a shared actor goes on for others."""
    log: list[str] = []
    ended: list[str] = []

    class Owner(Stagehand):
        def __init__(self, depth: int) -> None:
            super().__init__(log)
            self.depth = depth

        async def on_start(self) -> None:
            if self.depth:
                await self.spawn(Owner, self.depth - 1, name=f"owned-{self.depth}")

        async def on_interrupt(self) -> None:
            self.log.append(f"{self.ref.name} interrupted")

    async def work(hand: Stagehand) -> None:
        try:
            await trio.sleep(10)
        except trio.Cancelled:
            ended.append(f"{hand.ref.name} at {trio.current_time():g}")
            raise

    async with open_runtime() as runtime:
        top = await runtime.spawn(Owner, 2, name="top")
        shared = await runtime.spawn(Stagehand, log, name="shared")
        refs = [top, runtime.find("owned-2"), runtime.find("owned-1"), shared]
        for ref in refs:
            await ref.tell(Do(work))
            await ref.tell(Note(f"queued at {ref.name}"))
        await trio.sleep(1)
        top.interrupt("enough")
        await trio.sleep(1)
        assert sorted(ended) == ["owned-1 at 1", "owned-2 at 1", "top at 1"]
        assert sorted(log) == [f"{n} interrupted" for n in ("owned-1", "owned-2", "top")]
        await trio.sleep(10)

    assert "queued at shared" in log
    assert "queued at top" not in log


async def test_what_an_interrupted_handler_still_tells_its_family_is_dropped(
    autojump_clock: Clock,
) -> None:
    """R21: its turn is over; others, control frames and requests are not concerned."""
    log: list[str] = []
    ledger = Ledger()

    class Owner(Stagehand):
        async def on_start(self) -> None:
            await self.spawn(Steered, log, name="child")

    async def tell_late(_: Stagehand) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                child.tell_nowait(Note("stale"))
                await child.tell(Note("stale too"))
                child.tell_nowait(Nudge("control"))
                other.tell_nowait(Note("to another family"))
                log.append(await child.ask(Echo("asked")))

    async with open_runtime(observers=[ledger]) as runtime:
        owner = await runtime.spawn(Owner)
        other = await runtime.spawn(Stagehand, log)
        child = runtime.find("child")
        await owner.tell(Do(tell_late))
        await trio.sleep(1)
        owner.interrupt()
        await child.tell(Note("fresh"))  # from outside, after the interrupt
        await trio.sleep(5)
        await child.tell(Note("later"))
        assert child.statistics().accounts.stale == 2

    assert {"stale", "stale too"}.isdisjoint(log)
    assert {"fresh", "nudge control", "to another family", "asked", "later"} <= set(log)


async def test_askers_of_an_interrupted_family_are_told(autojump_clock: Clock) -> None:
    """R13, R21: also those of a child."""

    class Owner(Stagehand):
        async def on_start(self) -> None:
            await self.spawn(Stagehand, name="child")

    async with open_runtime() as runtime:
        owner = await runtime.spawn(Owner)

        async def interrupt() -> None:
            await trio.sleep(1)
            owner.interrupt("new turn")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)
            with pytest.raises(Interrupted) as caught:
                await runtime.find("child").ask(Do(hang))

    assert caught.value.reason == "new turn"


async def test_what_an_interrupt_took_is_counted_so_also_if_a_cancel_comes_next(
    autojump_clock: Clock,
) -> None:
    """R13, R22: its asker gets Interrupted, and the accounts say the same."""
    outcomes: list[object] = []
    refs: list[Ref] = []
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_runtime() as runtime:
                refs.append(ref := await runtime.spawn(Stagehand))
                nursery.start_soon(outcome_of, ref, Do(stubborn(2)), outcomes)
                await trio.sleep(1)
                ref.interrupt()
                scope.cancel()
                await trio.sleep_forever()
    accounts = refs[0].statistics().accounts

    assert outcomes == ["interrupted: interrupted"]
    assert (accounts.interrupted, accounts.cancelled) == (1, 0)
