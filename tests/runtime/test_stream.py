# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Streams: credit, closing frames, and the ends of both sides (R11, R12)."""

import itertools
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    ActorCrashed,
    DeadLetter,
    Emit,
    Interrupted,
    Ref,
    Refused,
    open_runtime,
)
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Ledger,
    Note,
    Number,
    Play,
    Stagehand,
    Steps,
    stubborn,
)

Clock = trio.testing.MockClock


async def numbers(ref: Ref, request: Any, *, buffer: int = 16) -> list[int]:
    async with ref.stream(request, buffer=buffer) as stream:
        return [number.n async for number in stream]


async def test_a_stream_yields_every_frame_in_order(autojump_clock: Clock) -> None:
    """I2: whatever the buffer, all of them arrive, once."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        for buffer in (1, 2, 16, 500):
            assert await numbers(ref, Count(300), buffer=buffer) == list(range(300))


async def test_the_buffer_is_the_credit(autojump_clock: Clock) -> None:
    """R12: a handler is never more than the buffer ahead of its reader."""
    sent = 0

    async def count(_: Any, emit: Emit[Number]) -> None:
        nonlocal sent
        for n in range(10):
            await emit(Number(n))
            sent += 1

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(count), buffer=3) as stream:
            for taken in range(1, 5):
                await trio.testing.wait_all_tasks_blocked()
                assert sent <= taken - 1 + 3
                assert (await anext(stream)).n == taken - 1
            assert sent >= 3


@pytest.mark.parametrize("side", ["emit", "read"])
async def test_both_ends_checkpoint_at_least_every_64_frames(side: str) -> None:
    """R12: neither end keeps the loop from others for more than 64 frames."""
    steps = Steps()
    seen: list[int] = []  # the number of the step in which each frame passed

    async def count(_: Any, emit: Emit[Number]) -> None:
        for n in range(300):
            await emit(Number(n))
            if side == "emit":
                seen.append(steps.count)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        trio.lowlevel.add_instrument(steps)
        async with ref.stream(Play(count), buffer=1000) as stream:
            await trio.testing.wait_all_tasks_blocked()
            async for _ in stream:
                if side == "read":
                    seen.append(steps.count)  # noqa: PERF401 - one by one
        trio.lowlevel.remove_instrument(steps)

    in_a_row = [len(list(group)) for _, group in itertools.groupby(seen)]
    assert sum(in_a_row) == 300
    assert max(in_a_row) == 64


async def test_leaving_the_block_cancels_the_handler_and_waits(autojump_clock: Clock) -> None:
    """I4, R8: when the block ends, the handler is over; its cancel crosses when it is left."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        async def play(_: Any, emit: Emit[Number]) -> None:
            await emit(Number(1))
            await stubborn(2)(_)

        async with ref.stream(Play(play)) as stream:
            async for _ in stream:
                break

        assert trio.current_time() == 2
        assert await ref.ask(Echo("next")) == "next"


async def test_a_stream_of_an_overrunning_handler_ends_at_the_bound(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: the block ends as it would have, and the culprit is named."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="slow")
        with pytest.raises(KeyError, match="mine"):
            async with ref.stream(Play(stubborn(60))):
                await trio.sleep(1)
                raise KeyError("mine")

        assert trio.current_time() == 6
        assert "'slow' was still cleaning up" in caplog.text


async def test_a_stream_left_while_queued_never_starts(autojump_clock: Clock) -> None:
    """R2: its request is a tombstone."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)

        async def play(hand: Stagehand, _: Any) -> None:
            hand.log.append("started")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Echo("first", 5))
            await trio.testing.wait_all_tasks_blocked()
            async with ref.stream(Play(play)):
                pass
            assert trio.current_time() == 0

    assert log == ["echo first", "on_stop"]


async def test_the_cancel_of_a_stream_crosses_when_its_block_is_left(
    autojump_clock: Clock,
) -> None:
    """R8: the handler goes on while a cancelled body cleans up."""
    log: list[str] = []

    async def play(hand: Stagehand, _: Any) -> None:
        for _n in range(10):
            await trio.sleep(1)
            hand.log.append(f"{trio.current_time():g}")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        with trio.move_on_after(2.5):
            async with ref.stream(Play(play)) as stream:
                try:
                    await anext(stream)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(2)

        assert trio.current_time() == 4.5
    assert log == ["1", "2", "3", "4", "on_stop"]


async def test_closing_frames_come_last_and_before_the_handler_ends(
    autojump_clock: Clock,
) -> None:
    """R11: the reader gets what is buffered, then these, then the outcome."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        await emit(Number(1))
        emit.close(Number(8), Number(9))
        await trio.sleep(5)

    times: list[tuple[int, float]] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play), buffer=1) as stream:
            async for number in stream:
                times.append((number.n, trio.current_time()))  # noqa: PERF401

        assert times == [(1, 0), (8, 0), (9, 0)]
        assert trio.current_time() == 5
        assert stream.closing == ()


async def test_closing_frames_pass_a_full_channel_while_cancelled(
    autojump_clock: Clock,
) -> None:
    """R11: after the block ended early they are in ``stream.closing``."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        try:
            while True:
                await emit(Number(0))
        finally:
            emit.close(Number(9))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play), buffer=2) as stream:
            await trio.testing.wait_all_tasks_blocked()
            before = stream.closing

        assert before == ()
        assert stream.closing == (Number(9),)
        assert stream.untaken == (Number(0), Number(0), Number(9))


@pytest.mark.parametrize("waiting", [False, True])
async def test_an_interrupt_leaves_only_the_closing_frames(
    autojump_clock: Clock, waiting: bool
) -> None:
    """R12: it empties the buffer, so that delivered is what was taken; Interrupted comes last."""
    told: list[int] = []
    taken: list[int] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        try:
            for n in range(3 if waiting else 100):
                await emit(Number(n))
            await trio.sleep_forever()
        finally:
            told.append(emit.discard_unread())
            emit.close(Number(-1))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        async def read() -> None:
            async with ref.stream(Play(play), buffer=4) as stream:
                for _ in range(3):
                    taken.append((await anext(stream)).n)  # noqa: PERF401
                if not waiting:
                    await trio.sleep(2)
                with pytest.raises(Interrupted, match=r"was interrupted \(enough\) before"):
                    while True:
                        taken.append((await anext(stream)).n)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(1)
            ref.interrupt("enough")

    assert taken == [0, 1, 2, -1]
    assert told == [3]


async def test_an_interrupted_handler_emits_no_more(autojump_clock: Clock) -> None:
    """R12: the fast path of emit sees an interrupt too, without a wait between."""
    emitted: list[int] = []
    event = trio.Event()

    async def play(_: Any, emit: Emit[Number]) -> None:
        await event.wait()
        for n in range(10):
            await emit(Number(n))
            emitted.append(n)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play)) as stream:
            await trio.testing.wait_all_tasks_blocked()
            event.set()  # the handler is on its way, and no cancel can stop this wait
            ref.interrupt()
            with pytest.raises(Interrupted):
                await anext(stream)

        assert emitted == []


async def test_emit_in_a_shield_after_a_cancel_says_what_to_use(autojump_clock: Clock) -> None:
    """R12: where Cancelled cannot be raised, a RuntimeError names emit.close."""
    texts: list[str] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await emit(Number(1))
                except RuntimeError as error:
                    texts.append(str(error))
            emit.close(Number(2))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play)) as stream:
            await trio.testing.wait_all_tasks_blocked()

        assert stream.untaken == (Number(2),)
    assert texts == [
        "emit(Number) after its request was over or cancelled; give last frames to emit.close()"
    ]


async def test_nothing_follows_emit_close(autojump_clock: Clock) -> None:
    """R11: emit and close after close are errors with a text."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        emit.close()
        with pytest.raises(RuntimeError, match=r"emit\(Number\) after emit.close\(\): nothing"):
            await emit(Number(1))
        with pytest.raises(RuntimeError, match="can be called once; give it all the last frames"):
            emit.close(Number(1))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        assert await numbers(ref, Play(play)) == []


async def test_a_child_that_waits_in_emit_while_another_closes(autojump_clock: Clock) -> None:
    """R12: no ClosedResourceError reaches a handler."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        async def flood() -> None:
            with pytest.raises(RuntimeError, match=r"emit\(Number\) waited while its stream was"):
                for n in range(10):
                    await emit(Number(n))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            emit.close(Number(99))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play), buffer=2) as stream:
            await trio.sleep(1)
            taken = [number.n async for number in stream]

        assert taken == [0, 1, 99]


async def test_a_handlers_children_may_emit(autojump_clock: Clock) -> None:
    """I2: what several tasks of a handler emit arrives, each task's in order."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        async def some(base: int) -> None:
            for n in range(5):
                await emit(Number(base + n))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(some, 0)
            nursery.start_soon(some, 10)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        taken = await numbers(ref, Play(play), buffer=1)

        assert [n for n in taken if n < 10] == [0, 1, 2, 3, 4]
        assert [n for n in taken if n >= 10] == [10, 11, 12, 13, 14]


async def test_a_stale_emit_is_of_no_use(autojump_clock: Clock) -> None:
    """A helper that kept the emit of a request that is over gets an error, and sends nothing."""
    kept: list[Emit[Number]] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        kept.append(emit)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        assert await numbers(ref, Play(play)) == []
        with pytest.raises(RuntimeError, match="after its request was over or cancelled"):
            await kept[0](Number(1))


@pytest.mark.parametrize("close_first", [False, True])
async def test_a_crash_comes_after_the_frames(autojump_clock: Clock, close_first: bool) -> None:
    """R11, R13: what was emitted, then the closing frames, then ActorCrashed."""
    taken: list[int] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        await emit(Number(1))
        if close_first:
            emit.close(Number(9))
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            with trio.CancelScope(shield=True):
                async with ref.stream(Play(play)) as stream:
                    with pytest.raises(ActorCrashed):
                        while True:
                            taken.append((await anext(stream)).n)

    assert taken == [1, 9][: 1 + close_first]


async def test_an_outcome_that_nobody_read_is_a_dead_letter(autojump_clock: Clock) -> None:
    """R11: a stream that refused, whose reader had left the loop, is reported."""
    ledger = Ledger()

    async def play(_: Any, emit: Emit[Number]) -> None:
        await emit(Number(1))
        raise Refused("late")

    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play)) as stream:
            await anext(stream)
            await trio.sleep(1)

    (dead,) = ledger.of(DeadLetter)
    assert dead.reason == "Refused, which nobody read"
    ledger.check()


async def test_the_outcome_can_be_read_twice(autojump_clock: Clock) -> None:
    """A loop over a stream that is over ends at once, and its error stays."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        raise Refused("no")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Count(1)) as stream:
            assert [n async for n in stream] == [Number(0)]
            assert [n async for n in stream] == []
        async with ref.stream(Play(play)) as stream:
            for _ in range(2):
                with pytest.raises(Refused, match="no"):
                    await anext(stream)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_stream_has_one_reader(autojump_clock: Clock, closed: bool) -> None:
    """A second task that would wait for the same stream gets BusyResourceError, as in Trio."""
    readers: list[str] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        if closed:
            emit.close()
        await trio.sleep(1)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play)) as stream:

            async def read() -> None:
                try:
                    await anext(stream)
                except StopAsyncIteration:
                    readers.append(f"ended at {trio.current_time():g}")
                except trio.BusyResourceError as error:
                    readers.append(str(error))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)

    assert readers == ["another task is already reading this stream", "ended at 1"]


async def test_a_cancelled_reader_loses_no_frame(autojump_clock: Clock) -> None:
    """R12: a reader that gave up waiting goes on where it was."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        for n in range(3):
            await trio.sleep(1)
            await emit(Number(n))
        emit.close()
        await trio.sleep(1)

    taken: list[int] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with ref.stream(Play(play)) as stream:
            over = False
            while not over:
                with trio.move_on_after(0.3):
                    try:
                        taken.append((await anext(stream)).n)
                    except StopAsyncIteration:
                        over = True

        assert trio.current_time() == 4
    assert taken == [0, 1, 2]


async def test_misuse_of_a_stream_has_a_text(autojump_clock: Clock) -> None:
    """Each mistake with ``ref.stream`` says what to write instead."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(ValueError, match=r"buffer must be an int >= 1 \(frames\), not 0"):
            ref.stream(Count(1), buffer=0)
        with pytest.raises(TypeError, match=r"stream takes a StreamRequest, not Note"):
            ref.stream(Note("a"))  # type: ignore[arg-type]  # pyright: ignore
        stream = ref.stream(Count(1))
        with pytest.raises(RuntimeError, match=r"use 'async with ref\.stream"):
            await anext(stream)
        async with stream:
            with pytest.raises(
                RuntimeError, match=r"a stream can be entered once; call ref\.stream"
            ):
                await stream.__aenter__()


async def test_a_body_error_passes_a_stream_unwrapped(autojump_clock: Clock) -> None:
    """R14: also a group of its own."""
    mine = ExceptionGroup("mine", [KeyError("a")])
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(ExceptionGroup) as caught:
            async with ref.stream(Count(1)):
                raise mine

        assert caught.value is mine


async def test_the_reason_of_a_cancel_reaches_the_handler(autojump_clock: Clock) -> None:
    """R8: whoever cancels says why once, and every request down the link is told."""
    seen: list[str | None] = []

    async def wait(_: Any, emit: Emit[Number]) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            seen.append(cancelled.reason)
            raise

    async def relay(_: Any) -> None:
        async with far.stream(Play(wait)) as stream:
            async for _frame in stream:
                pass

    async with open_runtime() as runtime:
        near = await runtime.spawn(Stagehand)
        far = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.tell, Do(relay))
            await trio.testing.wait_all_tasks_blocked()
            near.interrupt("barge-in")
        with trio.CancelScope() as scope:
            async with far.stream(Play(wait)) as stream:
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel(reason="Ctrl-C")
                async for _frame in stream:
                    pass

    assert seen == ["barge-in", "Ctrl-C"]
