# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Requests, their outcomes, and their cancellation (R7-R10, R13)."""

import contextlib
import logging
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    ActorCrashed,
    ActorStopped,
    CleanupOverran,
    Emit,
    FrameSent,
    HandlerEnded,
    NotHandled,
    Refused,
    Runtime,
    open_runtime,
)
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Ledger,
    Note,
    Number,
    Pair,
    Play,
    Stagehand,
    Unknown,
    after,
    hang,
    outcome_of,
    refuse,
    stubborn,
)


async def test_a_reply_is_what_the_handler_returned(autojump_clock: trio.testing.MockClock) -> None:
    """I3: ask returns the reply, exactly when the handler is over."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with trio.testing.assert_checkpoints():
            reply = await ref.ask(Echo("hello", 3))

        assert reply == "hello"
        assert trio.current_time() == 3


async def test_a_refusal_goes_to_the_asker_alone(autojump_clock: trio.testing.MockClock) -> None:
    """R13: Refused is raised at the asker, and the actor lives on."""

    async def refuse_below(_: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse, _)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(Refused, match="no"):
            await ref.ask(Do(refuse))
        with pytest.raises(Refused, match="no"):  # R14: the nursery's group is unwrapped
            await ref.ask(Do(refuse_below))

        assert await ref.ask(Echo("still here")) == "still here"


async def test_asking_for_what_nobody_handles_sends_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R16: NotHandled is raised at the call, and is a TypeError."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand, name="hand")
        with pytest.raises(
            NotHandled, match="<Ref 'hand'> has no handler for Unknown; it handles Count, Do, Echo"
        ):
            await ref.ask(Unknown())
        with pytest.raises(TypeError, match=r"ask takes a Request, not Note\(.*; write ref.stream"):
            await ref.ask(Note("a"))  # type: ignore[arg-type]  # pyright: ignore
        with pytest.raises(TypeError, match=r"ask takes a Request, not Count\("):
            await ref.ask(Count(1))  # type: ignore[arg-type]  # pyright: ignore

    assert ledger.of(FrameSent) == []


async def test_a_queued_request_is_never_started_once_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R7, R2: the asker goes at once; the tombstone keeps its place, counts, and is skipped."""
    async with open_runtime() as runtime:
        hand = Stagehand()
        ref = await runtime.spawn(lambda: hand, capacity=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Do(after(10)))
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1) as scope:
                await ref.ask(Echo("never"))

            assert scope.cancelled_caught
            assert trio.current_time() == 1
            assert ref.statistics().queued == 1
            await ref.tell(Note("after"))
            assert trio.current_time() == 10
        await ref.ask(Echo("last"))

        assert hand.log == ["after", "echo last"]


async def test_a_running_handler_is_cancelled_with_its_asker(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R7, R8: the cancel crosses at once, and the ask ends when the cleanup is over."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with trio.move_on_after(1) as scope:
            await ref.ask(Do(stubborn(2)))

        assert scope.cancelled_caught
        assert trio.current_time() == 3
        assert await ref.ask(Echo("next")) == "next"


async def test_a_reply_made_although_cancelled_is_returned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """I9, R7: the reply arrives, and the cancel hits the asker's next checkpoint."""

    async def finish_anyway(_: Any) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
        return "done"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        replies: list[object] = []
        with trio.move_on_after(1) as scope:
            replies.append(await ref.ask(Do(finish_anyway)))
            replies.append("before the checkpoint")
            await trio.lowlevel.checkpoint()
            replies.append("not reached")

        assert replies == ["done", "before the checkpoint"]
        assert scope.cancelled_caught
        assert trio.current_time() == 3


async def test_a_handler_that_swallows_its_cancel_still_replies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """I9, R9: a handler that catches Cancelled and returns has made a reply."""

    async def swallow(_: Any) -> str:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()
        return "swallowed"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with trio.move_on_after(1):
            assert await ref.ask(Do(swallow)) == "swallowed"

        assert await ref.ask(Echo("next")) == "next"


async def test_a_cancel_that_comes_too_late_does_not_hit_the_next_frame(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R9: a handler that does not notice its cancel leaves nothing of it to the one after it."""
    log: list[str] = []

    async def in_a_shield(_: Any) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        return "done all the same"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(ref.ask, Echo("next", 3))
                await ref.ask(Do(in_a_shield))
        assert await ref.ask(Echo("last")) == "last"

    assert log == ["echo next", "echo last", "on_stop"]


async def test_a_swallowed_cancel_starts_no_further_frame_in_a_cancelled_runtime() -> None:
    """R9: where the runtime is cancelled too, what is queued behind stays unhandled."""
    log: list[str] = []

    async def swallow(_: Any) -> None:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()

    async def ask(ref: Any, scope: trio.CancelScope) -> None:
        with scope:
            await ref.ask(Do(swallow))

    with trio.CancelScope() as everything:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(lambda: Stagehand(log))
            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, ref, scope)
                await trio.testing.wait_all_tasks_blocked()
                for n in range(5):
                    ref.tell_nowait(Note(f"{n}"))
                scope.cancel()
                everything.cancel()

    assert log == ["on_stop"]


async def test_an_error_after_the_cancel_is_a_crash_and_no_reply(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R7: the asker ends cancelled, and the crash ends the runtime as itself (I7)."""

    async def crash_in_cleanup(_: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    outcomes: list[object] = []
    with pytest.raises(ValueError, match="in the cleanup"):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            with trio.move_on_after(1):
                await outcome_of(ref, Do(crash_in_cleanup), outcomes)

    assert outcomes == ["cancelled"]


async def test_a_request_may_be_over_before_its_asker_parks() -> None:
    """R7: an asker that was blocked for room finds its request settled."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=0)
        for seed in range(20):  # Trio shuffles who runs first
            outcomes: list[object] = []
            async with trio.open_nursery() as nursery:
                for n in range(4):
                    nursery.start_soon(outcome_of, ref, Echo(f"{seed} {n}"), outcomes)

            assert sorted(map(str, outcomes)) == [f"{seed} {n}" for n in range(4)]


async def test_an_abort_starts_no_task() -> None:
    """R7: many askers cancelled by one scope reach many busy handlers."""
    async with open_runtime() as runtime:
        refs = [await runtime.spawn(Stagehand) for _ in range(20)]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for ref in refs:
                    nursery.start_soon(ref.ask, Do(hang))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        for ref in refs:
            assert await ref.ask(Echo("next")) == "next"


async def test_the_callee_has_no_deadline_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R8: a caller that extends its scope extends the handler's time."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            with trio.fail_after(2) as scope:

                async def extend() -> None:
                    await trio.sleep(1)
                    scope.deadline = 10

                nursery.start_soon(extend)
                assert await ref.ask(Echo("late", 5)) == "late"

        assert trio.current_time() == 5


async def test_the_deadline_is_information(autojump_clock: trio.testing.MockClock) -> None:
    """R8: ``self.deadline`` is the asker's when it asked; none for a tell, or elsewhere."""

    async def deadline(hand: Stagehand) -> float:
        return hand.deadline

    class Told(Stagehand, deadlines=True):
        async def on_start(self) -> None:
            self.log.append(str(self.deadline))

    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Told, log)
        with trio.fail_after(7):
            assert await ref.ask(Do(deadline)) == 7
        assert await ref.ask(Do(deadline)) == float("inf")

    assert log[0] == "inf"


async def test_a_told_handler_outlives_its_sender(autojump_clock: trio.testing.MockClock) -> None:
    """R8: only ask and stream link; the reply of a told request is thrown away."""
    log: list[str] = []

    async def slow(hand: Stagehand) -> str:
        await trio.sleep(5)
        hand.log.append("done")
        return "discarded"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        with trio.CancelScope() as scope:
            await ref.tell(Do(slow))
            await trio.sleep(1)
            scope.cancel()

    assert log == ["done", "on_stop"]


async def chain(runtime: Runtime, end: Any) -> Any:
    """Spawn A, B and C, and return a request to A that asks B, which asks C to do *end*."""
    refs = {name: await runtime.spawn(Stagehand, name=name) for name in "ABC"}

    async def b(_: Any) -> Any:
        return await refs["C"].ask(Do(end))

    async def a(_: Any) -> Any:
        return await refs["B"].ask(Do(b))

    return refs["A"], Do(a)


async def test_a_cancel_crosses_a_chain(autojump_clock: trio.testing.MockClock) -> None:
    """R7, I4: A asks B asks C; the leaf is cancelled at once, and all wait for its cleanup."""
    async with open_runtime() as runtime:
        ref, request = await chain(runtime, stubborn(2))
        with trio.move_on_after(1):
            await ref.ask(request)

        assert trio.current_time() == 3
        for name in "ABC":
            assert await runtime.find(name).ask(Echo(name)) == name


async def test_an_overrun_names_the_leaf_of_the_chain_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: the caller goes on exactly at the bound; one WARNING and one event name the culprit."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref, request = await chain(runtime, stubborn(60))
        with trio.move_on_after(1):
            await ref.ask(request)

        assert trio.current_time() == 6
        assert await ref.ask(Echo("A goes on")) == "A goes on"
        assert await runtime.find("B").ask(Echo("so does B")) == "so does B"
        assert trio.current_time() == 6
        assert await runtime.find("C").ask(Echo("C has to end first")) == "C has to end first"
        assert trio.current_time() == 61

    (event,) = ledger.of(CleanupOverran)
    assert (event.at, event.actor, event.waited_by) == (6, "C", "A")
    assert any("in stubborn.<locals>.run" in line for line in event.stack)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "'C' was still cleaning up 5 s after it was cancelled" in record.getMessage()
    ledger.check()


async def test_an_overrun_below_a_handlers_nursery_names_the_leaf(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: the chain leads through a handler's child tasks."""
    async with open_runtime() as runtime:
        leaf = await runtime.spawn(Stagehand, name="leaf")
        top = await runtime.spawn(Stagehand, name="top")

        async def below(_: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leaf.ask, Do(stubborn(60)))

        with trio.move_on_after(1):
            await top.ask(Do(below))

        assert trio.current_time() == 6
        assert ["'leaf'" in r.getMessage() for r in caplog.records] == [True]


async def test_a_wait_that_is_over_is_no_longer_part_of_the_chain(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: a handler that gave up on another and then overruns is itself the culprit."""
    async with open_runtime(cleanup_grace=2) as runtime:
        other = await runtime.spawn(Stagehand, name="other")
        mine = await runtime.spawn(Stagehand, name="mine")

        async def moved_on(_: Any) -> None:
            with trio.move_on_after(1):
                await other.ask(Do(hang))
            await stubborn(30)(_)

        with trio.move_on_after(5):
            await mine.ask(Do(moved_on))

        assert trio.current_time() == 7
        assert ["'mine'" in r.getMessage() for r in caplog.records] == [True]
        assert await other.ask(Echo("free")) == "free"
        assert trio.current_time() == 7


async def test_callees_use_the_earlier_cleanup_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R10: a handler that in its cleanup gives up an ask gets no second grace."""
    async with open_runtime() as runtime:
        leaf = await runtime.spawn(Stagehand, name="leaf")
        top = await runtime.spawn(Stagehand, name="top")

        async def cleanup_asks(_: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(3) as scope:
                    scope.shield = True
                    await leaf.ask(Do(stubborn(60)))

        with trio.move_on_after(1):
            await top.ask(Do(cleanup_asks))
        await top.ask(Echo())

        assert trio.current_time() == 6  # not 1 + 3 + 5


async def test_an_overrun_does_not_hide_a_reply(autojump_clock: trio.testing.MockClock) -> None:
    """R10, I3: a reply that comes after the bound is late; the asker has gone, cancelled."""
    async with open_runtime(cleanup_grace=0) as runtime:
        ref = await runtime.spawn(Stagehand)
        outcomes: list[object] = []

        async def late(_: Any) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            return "late"

        with trio.move_on_after(1):
            await outcome_of(ref, Do(late), outcomes)

        assert outcomes == ["cancelled"]
        assert trio.current_time() == 1
        assert await ref.ask(Echo("next")) == "next"
        assert trio.current_time() == 10


async def test_an_overrun_holds_every_slot(autojump_clock: trio.testing.MockClock) -> None:
    """R17, R10: an actor with an overrunning slot starts nothing in the other."""
    async with open_runtime(cleanup_grace=1) as runtime:
        ref = await runtime.spawn(Pair)
        with trio.move_on_after(1):
            await ref.ask(Do(stubborn(10)))
        assert trio.current_time() == 2
        await ref.ask(Echo("held"))

        assert trio.current_time() == 11


async def test_the_runtimes_end_waits_for_an_overrun(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10, I4: bounded means named, not abandoned."""
    with trio.move_on_after(1):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand, name="slow")
            await ref.tell(Do(stubborn(30)))
            await trio.sleep_forever()

    assert trio.current_time() == 31
    assert ["'slow'" in r.getMessage() for r in caplog.records] == [True]


async def test_an_asker_in_a_cancelled_runtime_elsewhere_gets_actor_stopped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R13, R30: an asker outside the runtime hears that the actor was cancelled."""
    outcomes: list[str] = []
    refs: list[Any] = []
    ready = trio.Event()

    async def host(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with open_runtime() as runtime:
                refs.append(await runtime.spawn(Stagehand, name="hand"))
                ready.set()
                task_status.started(scope)
                await trio.sleep_forever()

    async def ask(request: Any) -> None:
        try:
            await refs[0].ask(request)
        except ActorStopped as error:
            outcomes.append(f"{error.reason}: {error}")

    async with trio.open_nursery() as nursery:
        scope = await nursery.start(host)
        nursery.start_soon(ask, Do(hang))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, Echo("queued"))
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()

    assert sorted(outcomes) == [
        "cancelled: <Ref 'hand'> cancelled before handling Echo",
        "cancelled: <Ref 'hand'> was cancelled",
    ]


async def test_a_refusal_amid_a_cancel_still_goes_to_the_asker() -> None:
    """R13, R14: a nursery that raises Refused beside Cancelled ends in the loop."""
    ledger = Ledger()
    with trio.CancelScope() as scope:
        async with open_runtime(observers=[ledger]) as runtime:

            async def refuse_when_cancelled(_: Any) -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(late_refusal)

            async def late_refusal() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    raise Refused("late")

            ref = await runtime.spawn(Stagehand)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.ask, Do(refuse_when_cancelled))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

    assert scope.cancelled_caught
    assert [event.outcome for event in ledger.of(HandlerEnded)] == ["Refused"]
    ledger.check()


async def test_a_crash_is_the_cause_of_its_askers_error() -> None:
    """R13: ActorCrashed names the frame, and the crash stays where it is."""
    boom = ValueError("boom")

    async def crash(_: Any) -> None:
        raise boom

    with pytest.raises(ValueError, match="boom") as caught:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand, name="hand")
            with pytest.raises(ActorCrashed, match="<Ref 'hand'> crashed handling Do: ") as asked:
                await ref.ask(Do(crash))

            assert asked.value.__cause__ is boom
            await trio.sleep_forever()

    assert caught.value is boom


async def test_play_is_not_for_ask() -> None:
    """R16: a StreamRequest has no single reply."""

    async def nothing(_: Any, emit: Emit[Number]) -> None:
        emit.close()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(TypeError, match=r"write ref\.stream"):
            await ref.ask(Play(nothing))  # type: ignore[arg-type]  # pyright: ignore
