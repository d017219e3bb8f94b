# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Interruption (R2, R17, R20)."""

import contextlib
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    ActorInterrupted,
    CleanupOverran,
    DeadLetter,
    Interrupted,
    Ref,
    open_runtime,
)
from tests.runtime.cast import (
    Do,
    Echo,
    Ledger,
    Note,
    Pair,
    Pinned,
    Stagehand,
    Trio,
    after,
    hang,
    outcome_of,
    stubborn,
)

Clock = trio.testing.MockClock


async def test_an_interrupt_takes_what_runs_and_what_is_queued(autojump_clock: Clock) -> None:
    """R2, R20: running and queued end as Interrupted, uninterruptible ones stay in order."""
    log: list[str] = []
    outcomes: list[object] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand, log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref, Do(hang), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(outcome_of, ref, Echo("queued"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell_all([Pinned("1"), Note("skipped"), Pinned("2")])
            ref.interrupt("changed my mind")
            await ref.tell(Note("after"))

    assert outcomes == ["interrupted: changed my mind"] * 2
    assert log == ["on_interrupt", "1", "2", "after", "on_stop"]
    assert [(e.frame, e.reason) for e in ledger.of(DeadLetter)] == [
        (Echo("queued"), "interrupted"),
        (Note("skipped"), "interrupted"),
    ]
    (event,) = ledger.of(ActorInterrupted)
    assert (event.reason, event.running) == ("changed my mind", 1)
    ledger.check()


async def test_senders_that_were_blocked_count_as_before(autojump_clock: Clock) -> None:
    """R2: a full channel of 2 with 3 blocked senders yields 5 skipped frames."""
    log: list[str] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=2)
        async with trio.open_nursery() as nursery:
            await ref.tell(Do(hang))
            await trio.testing.wait_all_tasks_blocked()
            for n in range(5):
                nursery.start_soon(ref.tell, Note(f"{n}"))
            await trio.testing.wait_all_tasks_blocked()
            assert ref.statistics().waiting == 3
            ref.interrupt()

    assert log == ["on_interrupt", "on_stop"]
    assert len(ledger.of(DeadLetter)) == 5
    ledger.check()


async def test_an_uninterruptible_frame_that_runs_is_left_alone(autojump_clock: Clock) -> None:
    """R2: the promise of the frame's class holds for its handler."""

    class Careful(Stagehand):
        async def note(self, frame: Note | Pinned) -> None:
            await trio.sleep(5)
            self.log.append(frame.text)

    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Careful, log)
        await ref.tell(Pinned("done"))
        await trio.sleep(1)
        ref.interrupt()
        await ref.ask(Echo("next"))

    assert log == ["done", "on_interrupt", "echo next", "on_stop"]


async def test_a_value_in_spite_of_an_interrupt_is_the_outcome(autojump_clock: Clock) -> None:
    """R13, I9: as for a cancel."""

    async def finish(_: Any) -> str:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()
        return "value"

    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref, Do(finish), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            ref.interrupt()
        assert await ref.ask(Echo("next")) == "next"

    assert outcomes == ["value"]


async def test_an_idle_actor_is_interrupted_before_its_next_frame(autojump_clock: Clock) -> None:
    """R20: on_interrupt runs once, however often it was interrupted meanwhile."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await trio.testing.wait_all_tasks_blocked()
        ref.interrupt()
        ref.interrupt()
        assert await ref.ask(Echo("first")) == "first"

    assert log == ["on_interrupt", "echo first", "on_stop"]


async def test_an_interrupt_from_inside_its_own_handler(autojump_clock: Clock) -> None:
    """R20: it hits the handler's next checkpoint."""

    async def itself(hand: Stagehand) -> None:
        hand.ref.interrupt("self")
        hand.log.append("not yet")
        await trio.lowlevel.checkpoint()
        hand.log.append("never")

    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        with pytest.raises(Interrupted) as caught:
            await ref.ask(Do(itself))

        assert caught.value.reason == "self"
        assert await ref.ask(Echo("next")) == "next"
    assert log == ["not yet", "on_interrupt", "echo next", "on_stop"]


async def test_on_interrupt_waits_for_every_interrupted_slot(autojump_clock: Clock) -> None:
    """R17: the last slot to end runs on_interrupt, once, while the others hold."""
    log: list[str] = []

    class Slow(Trio):
        async def on_interrupt(self) -> None:
            self.log.append(f"on_interrupt {trio.current_time():g}")
            await trio.sleep(10)
            self.log.append(f"over {trio.current_time():g}")

    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Slow, log)
        async with trio.open_nursery() as nursery:
            for seconds in (1, 3, 2):
                nursery.start_soon(outcome_of, ref, Do(stubborn(seconds)), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            ref.interrupt()
            await ref.ask(Echo("next"))

    assert outcomes == ["interrupted: interrupted"] * 3
    assert log == ["on_interrupt 3", "over 13", "echo next", "on_stop"]


async def test_an_interrupt_of_on_interrupt_runs_it_again(autojump_clock: Clock) -> None:
    """R20: what interrupts is not itself interrupted."""
    log: list[str] = []

    class Slow(Stagehand):
        async def on_interrupt(self) -> None:
            await trio.sleep(1)
            self.log.append("on_interrupt")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Slow, log)
        await ref.tell(Do(hang))
        await trio.testing.wait_all_tasks_blocked()
        ref.interrupt()
        await trio.sleep(0.5)
        ref.interrupt()
        await ref.ask(Echo("next"))

    assert log == ["on_interrupt", "on_interrupt", "echo next", "on_stop"]
    assert trio.current_time() == 2


async def test_an_asker_that_leaves_an_interrupted_handler_is_still_bounded(
    autojump_clock: Clock,
) -> None:
    """R10, R13: a cancel after the interrupt sets the bound; before it, none is."""
    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:

            async def asker() -> None:
                with trio.move_on_after(10):
                    await outcome_of(ref, Do(stubborn(100)), outcomes)
                outcomes.append(trio.current_time())

            nursery.start_soon(asker)
            await trio.sleep(1)
            ref.interrupt()

    assert outcomes == ["cancelled", 15]


async def test_an_on_interrupt_that_raises_is_a_crash(autojump_clock: Clock) -> None:
    """I7: with the frame that it held back settled."""
    ledger = Ledger()

    class Broken(Stagehand):
        async def on_interrupt(self) -> None:
            raise ValueError("on_interrupt")

    with pytest.raises(ValueError, match="on_interrupt"):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Broken)
            ref.interrupt()
            await ref.tell(Note("held"))
            await trio.sleep_forever()

    assert [e.frame for e in ledger.of(DeadLetter)] == [Note("held")]
    ledger.check()


async def test_interrupting_an_actor_that_is_over_does_nothing(autojump_clock: Clock) -> None:
    """R20: interrupt is idempotent and legal at any time."""

    async def interrupt_twice(ref: Ref) -> None:
        ref.interrupt()
        ref.interrupt()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        ref.stop()
        await ref.wait_stopped()
        await interrupt_twice(ref)


async def test_two_slots_and_an_idle_one(autojump_clock: Clock) -> None:
    """R17: an interrupt while one slot works and one idles runs on_interrupt once."""
    log: list[str] = []
    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Pair, log)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref, Do(after(5)), outcomes)
            nursery.start_soon(outcome_of, ref, Do(after(1)), outcomes)
            await trio.sleep(2)
            ref.interrupt()
            await trio.sleep(1)
            await ref.ask(Echo("next"))

    assert outcomes == [None, "interrupted: interrupted"]
    assert log == ["on_interrupt", "echo next", "on_stop"]


async def test_an_interrupted_handler_that_goes_on_cleaning_up_is_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: at the bound, also where nobody has left; one that is over by then is not."""
    ledger = Ledger()
    outcomes: list[object] = []
    async with open_runtime(cleanup_grace=3, observers=[ledger]) as runtime:
        slow = await runtime.spawn(Stagehand, name="slow")
        quick = await runtime.spawn(Stagehand, name="quick")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, slow, Do(stubborn(10)), outcomes)
            nursery.start_soon(outcome_of, quick, Do(stubborn(2)), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            slow.interrupt()
            quick.interrupt()
            await trio.sleep(2.5)
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 0.5
        assert trio.current_time() == 10

    assert [(e.actor, e.at, e.waited_by) for e in ledger.of(CleanupOverran)] == [
        ("slow", 3, "slow")
    ]
    assert "'slow' was still cleaning up 3 s after" in caplog.text
    assert "in stubborn" in caplog.text
    assert outcomes == ["interrupted: interrupted"] * 2
