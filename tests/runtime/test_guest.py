# ruff: noqa: PT012, ASYNC - what raises is often the end of the block that the story is told in;
# and these are asyncio's functions, not Trio's
"""A runtime as a guest of asyncio: cancels cross both ways, and nothing is left (I4, I9, R7-R14)."""

import asyncio
import contextvars
import math
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, TypeVarTuple

import anyio
import pytest
import sniffio
import trio

from greenroom.runtime import (
    ActorCrashed,
    ActorStopped,
    Emit,
    FrameSent,
    Interrupted,
    MailboxFull,
    Ref,
    Refused,
    open_runtime,
)
from greenroom.runtime.guest import Guest, GuestEnded, open_guest
from greenroom.runtime.testing.leaks import Leaks
from greenroom.runtime.testing.sweep import collected
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Ledger,
    Note,
    Number,
    Play,
    Stagehand,
    crash,
    hang,
    refuse,
    stubborn,
)

ROOT = Path(__file__).parent.parent.parent
Ts = TypeVarTuple("Ts")


@asynccontextmanager
async def stage(log: list[str] | None = None, **options: Any) -> AsyncGenerator[Ref]:
    """Open a runtime in the guest with one actor in it."""
    async with open_runtime(name="house", **options) as runtime:
        yield await runtime.spawn(Stagehand, log)


def noting(log: list[str], what: Callable[..., Awaitable[Any]] = hang) -> Callable[..., Any]:
    """Return a handler that notes in *log* when it is in, and that it is out after its cleanup."""

    async def run(*args: Any) -> Any:
        log.append("in")
        try:
            return await what(*args)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            log.append("out")

    return run


def hosted(main: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run *main* in asyncio; a test that hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main(*args)

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Let others run until *condition* holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of what tells nobody
            await asyncio.sleep(0.001)


async def log_of(_: Any) -> list[str]:
    return list(_.log)


# -- the ordinary


def test_ask_tell_and_stream_from_the_host() -> None:
    """A runtime in an asyncio program: each way to use a ref, and a spawn."""

    async def main() -> None:
        async with open_guest(open_runtime(name="house")) as guest:
            ref = await guest.run(guest.opened.spawn, Stagehand)
            ref.tell_nowait(Note("one"))
            await guest.run(ref.tell, Note("two"))

            assert await guest.run(ref.ask, Echo("hi")) == "hi"
            assert await guest.run(ref.ask, Do(log_of)) == ["one", "two", "echo hi"]
            async with guest.stream(ref.stream(Count(200))) as frames:
                assert [frame.n async for frame in frames] == list(range(200))
            assert repr(guest) == "<Guest of <Runtime 'house', 1 actors>>"
        assert "(over)" in repr(guest)

    hosted(main)


def test_the_outcomes_of_requests_cross() -> None:
    """R13: a refusal, an interrupt by the host and a stop by the host, each as itself."""

    async def main() -> None:
        async with open_guest(stage()) as guest:
            ref = guest.opened
            with pytest.raises(Refused, match="no"):
                await guest.run(ref.ask, Do(refuse))
            asking = asyncio.create_task(guest.run(ref.ask, Do(hang)))
            await until(lambda: ref.statistics().running)
            ref.interrupt("enough")
            with pytest.raises(Interrupted, match="enough"):
                await asking
            ref.stop()
            with pytest.raises(ActorStopped):
                ref.tell_nowait(Note())
            assert (await guest.run(ref.wait_stopped)).reason == "stopped"

    hosted(main)


def test_many_asks_at_once() -> None:
    """Each asyncio task gets the reply to its own request, in a TaskGroup and by gather."""

    async def main() -> None:
        async with open_guest(stage()) as guest:
            ref = guest.opened
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(guest.run(ref.ask, Echo(f"{n}"))) for n in range(200)]

            assert [task.result() for task in tasks] == [f"{n}" for n in range(200)]
            assert await asyncio.gather(*(guest.run(ref.ask, Echo(str(n))) for n in range(9)))

    hosted(main)


def test_context_variables_cross() -> None:
    """R15: the handler of an ask runs in the context variables of the asyncio task."""
    request_id = contextvars.ContextVar("request_id", default="none")

    async def read(_: Any) -> str:
        return request_id.get()

    async def main() -> None:
        async with open_guest(stage()) as guest:
            request_id.set("r1")
            assert await guest.run(guest.opened.ask, Do(read)) == "r1"

    hosted(main)


def test_libraries_on_anyio_find_the_right_loop_on_each_side() -> None:
    """Trio in handlers and asyncio in the host, also in what each calls of the other."""

    async def library(_: Any) -> tuple[str, bool]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
        with anyio.move_on_after(0) as scope:
            await anyio.sleep_forever()
        return sniffio.current_async_library(), scope.cancelled_caught

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def across(_: Any) -> Any:
                return await guest.run_in_host(library, None)

            assert await guest.run(guest.opened.ask, Do(library)) == ("trio", True)
            assert await guest.run(guest.opened.ask, Do(across)) == ("asyncio", True)
            assert await library(None) == ("asyncio", True)

    hosted(main)
    anyio.run(main)


def test_plain_calls_of_the_host_reach_observers() -> None:
    """A tell_nowait of the host is put once, and told of as nobody's."""
    ledger = Ledger()

    async def main() -> None:
        async with open_guest(stage(observers=[ledger])) as guest:
            guest.opened.tell_nowait(Note("observed"))
            assert await guest.run(guest.opened.ask, Do(log_of)) == ["observed"]
            guest.opened.interrupt()

    hosted(main)
    first, _ask = ledger.of(FrameSent)
    assert (first.frame, first.sender) == (Note("observed"), None)
    ledger.check()


def test_a_full_mailbox_is_the_hosts_to_wait_for() -> None:
    """R4, R5: tell_nowait says that it is full; a tell that is awaited waits for room."""

    async def main() -> None:
        async with open_guest(open_runtime()) as guest:
            ref = await guest.run(partial(guest.opened.spawn, Stagehand, capacity=1))
            ref.tell_nowait(Do(stubborn(0)))
            await until(lambda: ref.statistics().running)
            ref.tell_nowait(Note("one"))
            with pytest.raises(MailboxFull):
                ref.tell_nowait(Note("no room"))
            telling = asyncio.create_task(guest.run(ref.tell, Note("two")))
            await until(lambda: ref.statistics().waiting)
            telling.cancel()  # I1
            with pytest.raises(asyncio.CancelledError):
                await telling
            telling = asyncio.create_task(guest.run(ref.tell, Note("three")))
            await until(lambda: ref.statistics().waiting)
            ref.interrupt()
            await telling
            assert "two" not in await guest.run(ref.ask, Do(log_of))

    hosted(main)


# -- the host cancels


def test_a_cancelled_ask_ends_after_the_handlers_cleanup() -> None:
    """R7, I4: the CancelledError surfaces once the handler is over, and the actor is free."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def asking() -> None:
                try:
                    await guest.run(guest.opened.ask, Do(noting(log)))
                finally:
                    log.append("surfaced")

            task = asyncio.create_task(asking())
            await until(lambda: log)
            task.cancel("mine")
            with pytest.raises(asyncio.CancelledError, match="mine"):
                await task

            assert log == ["in", "out", "surfaced"]
            assert await guest.run(guest.opened.ask, Echo("free")) == "free"

    hosted(main)


def test_further_cancels_change_nothing() -> None:
    """A task that is cancelled again and again still waits for the handler's cleanup."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:
            task = asyncio.create_task(guest.run(guest.opened.ask, Do(noting(log))))
            await until(lambda: log)
            cancels = 0
            while not task.done():
                cancels += task.cancel()
                await asyncio.sleep(0)

            assert task.cancelled()
            assert cancels > 2
            assert log == ["in", "out"]

    hosted(main)


def test_the_wait_for_cleanup_is_bounded() -> None:
    """R10: the caller goes on after cleanup_grace, and the actor is named."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage(cleanup_grace=0.01)) as guest:
            let_go = asyncio.Event()

            async def overrun(_: Any) -> None:
                try:
                    log.append("in")
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await guest.run_in_host(let_go.wait)
                    log.append("out")

            task = asyncio.create_task(guest.run(guest.opened.ask, Do(overrun)))
            await until(lambda: log)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert log == ["in"]
            let_go.set()
        assert log == ["in", "out"]

    hosted(main)


def test_a_queued_request_of_a_cancelled_task_never_starts() -> None:
    """R7: and the task goes on at once."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage(log)) as guest:
            ref = guest.opened
            first = asyncio.create_task(guest.run(ref.ask, Do(noting(log))))
            await until(lambda: log)
            second = asyncio.create_task(guest.run(ref.ask, Echo("second")))
            await until(lambda: ref.statistics().queued)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert log == ["in"]
            first.cancel()
            await asyncio.wait([first])

    hosted(main)
    assert log == ["in", "out", "on_stop"]


def test_a_task_that_was_cancelled_before_sends_nothing() -> None:
    """A call in a task that is being cancelled already never begins in the guest."""
    begun: list[str] = []

    async def spin() -> None:
        begun.append("spin")
        while True:
            await trio.lowlevel.checkpoint()

    async def note() -> None:
        begun.append("note")

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def late() -> None:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await guest.run(note)

            spinning = asyncio.create_task(guest.run(spin))  # so that the guest is never asleep
            await until(lambda: begun)
            for _ in range(20):
                task = asyncio.create_task(late())
                await asyncio.wait([task])
                assert task.cancelled()
            spinning.cancel()
            await asyncio.wait([spinning])

    hosted(main)
    assert begun == ["spin"]


def test_a_reply_made_in_spite_of_a_cancel_is_returned() -> None:
    """I9: the task gets it, and the cancel hits its next wait."""
    log: list[object] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def completes(_: Any) -> str:
                log.append("in")
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.01)
                return "reply"

            async def asking() -> None:
                log.append(await guest.run(guest.opened.ask, Do(completes)))
                await asyncio.sleep(10)
                log.append("never")

            task = asyncio.create_task(asking())
            await until(lambda: log)
            task.cancel("mine")
            with pytest.raises(asyncio.CancelledError, match="mine"):
                await task
            assert task.cancelling() == 1

    hosted(main)
    assert log == ["in", "reply"]


def test_an_error_made_in_spite_of_a_cancel_is_raised() -> None:
    """And the cancel hits the task's next wait: a cancel always cancels."""
    log: list[object] = []

    async def fails() -> None:
        log.append("in")
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in its cleanup")

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def calling() -> None:
                with pytest.raises(ValueError, match="in its cleanup"):
                    await guest.run(fails)
                log.append("caught")
                await asyncio.sleep(10)
                log.append("never")

            task = asyncio.create_task(calling())
            await until(lambda: log)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    hosted(main)
    assert log == ["in", "caught"]


def test_timeouts_of_asyncio_around_an_ask() -> None:
    """The block of the timeout ends after the cleanup, as TimeoutError, and so does wait_for."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:

            def ask() -> Coroutine[Any, Any, Any]:
                return guest.run(guest.opened.ask, Do(noting(log)))

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask()
            assert log == ["in", "out"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(), 0.02)
            assert log == ["in", "out"] * 2
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(0.001)

    hosted(main)


def test_a_timeout_that_gets_a_reply_all_the_same_leaves_no_cancel() -> None:
    """I9: its block ends with the reply, and nothing hits what comes after it."""

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def completes(_: Any) -> str:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.05)
                return "reply"

            async with asyncio.timeout(0.01) as timeout:
                reply = await guest.run(guest.opened.ask, Do(completes))
            assert reply == "reply"
            assert timeout.expired()
            for _ in range(3):
                await asyncio.sleep(0.001)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    hosted(main)


def test_a_failing_task_group_cancels_its_asks() -> None:
    """A sibling's failure crosses to the handler; the group ends after the cleanup."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:

            async def fail() -> None:
                await until(lambda: log)
                raise KeyError("sibling")

            with pytest.RaisesGroup(pytest.RaisesExc(KeyError)):
                async with asyncio.TaskGroup() as group:
                    group.create_task(guest.run(guest.opened.ask, Do(noting(log))))
                    group.create_task(fail())
            assert log == ["in", "out"]

    hosted(main)


def test_a_scope_of_anyio_around_an_ask() -> None:
    """anyio cancels a task at each turn of the loop until it is out: all but one are in vain."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:
            with anyio.move_on_after(0.02) as scope:
                await guest.run(guest.opened.ask, Do(noting(log)))
            assert scope.cancelled_caught
            assert log == ["in", "out"]
            await asyncio.sleep(0.001)

    hosted(main)


# -- streams


def test_leaving_a_streams_block_cancels_its_handler() -> None:
    """I4, R8: by break, by an exception and by a cancel of the task."""
    log: list[str] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        for n in range(1_000):
            await emit(Number(n))

    async def main() -> None:
        async with open_guest(stage()) as guest:
            request = Play(noting(log, play))
            async with guest.stream(guest.opened.stream(request)) as frames:
                async for frame in frames:
                    if frame.n == 20:
                        break
            assert log == ["in", "out"]
            with pytest.raises(KeyError):
                async with guest.stream(guest.opened.stream(request)) as frames:
                    raise KeyError
            assert log[2:] in (["in", "out"], [])
            del log[:]

            async def reading() -> None:
                async with guest.stream(guest.opened.stream(Play(noting(log)))) as frames:
                    async for _ in frames:
                        pass

            task = asyncio.create_task(reading())
            await until(lambda: log)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert log == ["in", "out"]

    hosted(main)


def test_the_buffer_is_the_credit_of_the_hosts_stream() -> None:
    """R12: a handler is at most the buffer ahead of what the host took."""
    emitted: list[int] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        for n in range(100):
            await emit(Number(n))
            emitted.append(n)

    async def main() -> None:
        async with open_guest(stage()) as guest:
            async with guest.stream(guest.opened.stream(Play(play), buffer=2)) as frames:
                assert (await anext(frames)).n == 0
                await asyncio.sleep(0.02)
                assert len(emitted) <= 4
                taken = [frame.n async for frame in frames]
            assert taken == list(range(1, 100))
            assert frames.untaken == ()

    hosted(main)


def test_closing_frames_reach_the_host() -> None:
    """R11: taken, or in closing and untaken when the block was left before."""

    async def play(_: Any, emit: Emit[Number]) -> None:
        try:
            await emit(Number(1))
            await trio.sleep_forever()
        finally:
            emit.close(Number(9))

    async def main() -> None:
        async with open_guest(stage()) as guest:
            async with guest.stream(guest.opened.stream(Play(play))) as frames:
                assert (await anext(frames)).n == 1
            assert frames.closing == frames.untaken == (Number(9),)

    hosted(main)


def test_a_cancelled_wait_for_a_frame_loses_none() -> None:
    """R8: the stream goes on, and the next wait gets the frame."""

    async def main() -> None:
        async with open_guest(stage()) as guest:
            let_go = trio.Event()

            async def play(_: Any, emit: Emit[Number]) -> None:
                await let_go.wait()
                await emit(Number(1))

            async with guest.stream(guest.opened.stream(Play(play))) as frames:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(frames), 0.01)
                let_go.set()
                assert [frame.n async for frame in frames] == [1]

    hosted(main)


def test_a_cancel_while_a_streams_block_ends() -> None:
    """It surfaces there, after the cleanup; beside another error it waits for that to be handled."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage()) as guest:
            cleaning = asyncio.Event()

            async def slow(_: Any, emit: Emit[Number]) -> None:
                try:
                    await emit(Number(1))
                    await trio.sleep_forever()
                finally:
                    cleaning.set()
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.02)
                    log.append("out")

            async def reading(error: Exception | None) -> None:
                try:
                    async with guest.stream(guest.opened.stream(Play(slow))) as frames:
                        await anext(frames)
                        if error is not None:
                            raise error
                    log.append("never")
                except KeyError:
                    log.append("caught")
                    await asyncio.sleep(10)
                    log.append("never")

            for error in (None, KeyError()):
                cleaning.clear()
                task = asyncio.create_task(reading(error))
                await cleaning.wait()
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            assert log == ["out", "out", "caught"]

    hosted(main)


def test_a_stream_of_a_guest_that_is_over_ends_quietly() -> None:
    """A block that outlives the guest has nothing left to end; its next frame is an error."""

    async def main() -> None:
        async with open_guest(stage(drain_grace=0)) as guest:
            frames = guest.stream(guest.opened.stream(Play(hang)))
            await frames.__aenter__()
        with pytest.raises(GuestEnded, match="its host has left the block"):
            await anext(frames)
        await frames.__aexit__(None, None, None)

    hosted(main)


# -- the end of the guest


def test_a_crash_ends_the_hosts_block_as_itself() -> None:
    """R14: the host's task is cancelled, the block raises the crash bare, and no cancel is left."""

    async def main() -> None:
        log: list[str] = []
        with pytest.raises(ValueError, match="boom") as caught:
            async with open_guest(stage()) as guest:
                guest.opened.tell_nowait(Do(crash))
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    log.append("cancelled")
                    raise

        assert log == ["cancelled"]
        assert caught.value.__context__ is None
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0.001)

    hosted(main)


def test_an_uncaught_ask_of_a_crash_is_its_echo() -> None:
    """R14: the block raises the crash itself, also out of a TaskGroup."""

    async def main() -> None:
        with pytest.raises(ValueError, match="boom"):
            async with open_guest(stage()) as guest:
                await guest.run(guest.opened.ask, Do(crash))
        with pytest.raises(ValueError, match="boom"):
            async with open_guest(stage()) as guest, asyncio.TaskGroup() as group:
                group.create_task(guest.run(guest.opened.ask, Do(crash)))
                group.create_task(guest.run(trio.sleep_forever))

    hosted(main)


def test_a_crash_wakes_all_who_wait() -> None:
    """Each call under way ends with what it can know, and those after it with the crash's name."""

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []
        guests: list[Guest[Ref]] = []
        with pytest.raises(ValueError, match="boom") as crashed:
            async with open_guest(stage()) as guest:
                guests.append(guest)
                ref, let_go = guest.opened, trio.Event()

                async def crash_then(_: Any) -> None:
                    await let_go.wait()
                    raise ValueError("boom")

                tasks.append(asyncio.create_task(guest.run(trio.sleep_forever)))
                tasks.append(asyncio.create_task(guest.run(ref.ask, Do(crash_then))))
                await until(lambda: ref.statistics().running)
                tasks.append(asyncio.create_task(guest.run(ref.ask, Echo())))
                await until(lambda: ref.statistics().queued)
                let_go.set()
                await asyncio.sleep(10)
        errors = [task.exception() for task in tasks]

        assert [type(error) for error in errors] == [GuestEnded, ActorCrashed, ActorStopped]
        assert [str(errors[0]), errors[0].__cause__] == [  # type: ignore[union-attr]
            "the guest has ended, by ValueError('boom'); open a new one",
            crashed.value,
        ]
        with pytest.raises(GuestEnded, match="by ValueError"):
            await guests[0].run(trio.sleep, 0)

    hosted(main)


def test_a_crash_right_at_the_end_of_the_block() -> None:
    """The cancel that came too late for the block does not hit what follows it."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for turns in range(40):
            with pytest.raises(ValueError, match="boom"):
                async with open_guest(stage()) as guest:
                    guest.opened.tell_nowait(Do(crash))
                    for _ in range(turns):
                        try:
                            await asyncio.sleep(0)
                        except asyncio.CancelledError:
                            break  # a block that keeps its cancel to itself
            assert task.cancelling() == 0
            for _ in range(3):
                await asyncio.sleep(0)

    hosted(main)


def test_the_bodys_error_comes_out_bare_and_the_runtime_is_cancelled() -> None:
    """R14, R22: the same object; no drain."""
    log: list[str] = []
    mine = KeyError("mine")

    async def main() -> None:
        with pytest.raises(KeyError) as caught:
            async with open_guest(stage(log)) as guest:
                guest.opened.tell_nowait(Do(noting(log)))
                guest.opened.tell_nowait(Note("not drained"))
                await until(lambda: log)
                raise mine
        assert caught.value is mine

    hosted(main)
    assert log == ["in", "out", "on_stop"]


def test_what_was_opened_sees_the_bodys_error() -> None:
    """As if the block were its own: it may suppress it."""
    seen: list[Exception] = []

    @asynccontextmanager
    async def forgiving() -> AsyncGenerator[str]:
        try:
            yield "open"
        except KeyError as error:
            seen.append(error)

    async def main() -> None:
        async with open_guest(forgiving()) as guest:
            raise KeyError(guest.opened)

    hosted(main)
    assert [error.args for error in seen] == [("open",)]


def test_a_body_error_beside_a_crash_is_one_group() -> None:
    """R14: neither hides the other."""

    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(KeyError), pytest.RaisesExc(ValueError)):
            async with open_guest(stage()) as guest:
                guest.opened.tell_nowait(Do(crash))
                try:
                    await asyncio.sleep(10)
                finally:
                    raise KeyError("mine")

    hosted(main)


def test_leaving_the_block_drains_in_order() -> None:
    """R22: what is queued is handled, and a call of another task gets its reply meanwhile."""
    log: list[str] = []

    async def main() -> None:
        async with open_guest(stage(log)) as guest:
            asking = asyncio.create_task(guest.run(guest.opened.ask, Echo("slow", 0.01)))
            await until(lambda: log)
            guest.opened.tell_nowait(Note("queued"))
        assert await asking == "slow"

    hosted(main)
    assert log == ["echo slow", "queued", "on_stop"]


def test_a_call_that_nothing_ends_is_ended_by_the_guests_end() -> None:
    """I4: leaving the block cancels what the runtime's stop did not end."""

    async def main() -> None:
        async with open_guest(stage()) as guest:
            task = asyncio.create_task(guest.run(trio.sleep_forever))
            await asyncio.sleep(0.001)
        with pytest.raises(GuestEnded, match="its host has left the block"):
            await task

    hosted(main)


def test_a_call_that_fails_while_the_guest_is_cancelled_keeps_its_error() -> None:
    """A nursery that fails in its cleanup fails for its caller, and not for the guest."""

    async def fails() -> None:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in its cleanup")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)

    async def main() -> None:
        async with open_guest(stage()) as guest:
            task = asyncio.create_task(guest.run(fails))
            await asyncio.sleep(0.01)
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="in its cleanup")):
            await task

    hosted(main)


def test_a_cancelled_host_cancels_the_runtime_at_once() -> None:
    """R22: in the block, no drain; the CancelledError surfaces when nothing is left."""
    log: list[str] = []

    async def hosting() -> None:
        try:
            async with open_guest(stage(log)) as guest:
                guest.opened.tell_nowait(Do(noting(log)))
                guest.opened.tell_nowait(Note("not drained"))
                await asyncio.sleep(10)
        finally:
            log.append("surfaced")

    async def main() -> None:
        task = asyncio.create_task(hosting())
        await until(lambda: log)
        while not task.done():
            task.cancel("mine")
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await task

    hosted(main)
    assert log == ["in", "out", "on_stop", "surfaced"]


def test_a_host_that_is_cancelled_while_it_drains_drains_no_longer() -> None:
    """R22: the wait at the block's end goes on, but the runtime is cancelled."""
    log: list[str] = []

    async def hosting() -> None:
        async with open_guest(stage(log, drain_grace=math.inf)) as guest:
            guest.opened.tell_nowait(Do(noting(log)))
            await until(lambda: log)
        log.append("never")

    async def main() -> None:
        task = asyncio.create_task(hosting())
        await until(lambda: log)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    hosted(main)
    assert log == ["in", "out", "on_stop"]


def test_a_failing_entry_is_raised_and_leaves_nothing() -> None:
    """What can't be opened raises out of the block's entry; and a cancel there cancels it."""
    log: list[str] = []

    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        async with open_runtime():
            raise KeyError("broken")
        yield

    @asynccontextmanager
    async def slow() -> AsyncGenerator[None]:
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand, log)
            await noting(log)(None)
        yield

    async def entering() -> None:
        async with open_guest(slow()):
            pass

    async def main() -> None:
        with pytest.raises(KeyError, match="broken"):
            async with open_guest(broken()):
                pass
        task = asyncio.create_task(entering())
        await until(lambda: log)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log[0] == "in"
        assert sorted(log[1:]) == ["on_stop", "out"]  # both were cancelled at once

    hosted(main)


def test_guests_follow_one_another() -> None:
    """One at a time in a thread, as many as you like, and no descriptor is left."""

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            async with open_guest(stage()) as guest:
                assert await guest.run(guest.opened.ask, Echo("hi")) == "hi"
        assert len(os.listdir("/proc/self/fd")) == before

    hosted(main)


def test_two_runtimes_in_one_guest() -> None:
    """R30: refs work across them."""

    @asynccontextmanager
    async def both() -> AsyncGenerator[tuple[Ref, Ref]]:
        async with open_runtime(name="one") as one, open_runtime(name="two") as two:
            yield await one.spawn(Stagehand), await two.spawn(Stagehand)

    async def main() -> None:
        async with open_guest(both()) as guest:
            here, there = guest.opened

            async def relay(_: Any) -> str:
                return await there.ask(Echo("across"))

            assert await guest.run(here.ask, Do(relay)) == "across"

    hosted(main)


# -- from the guest into the host


def test_a_handler_runs_an_asyncio_function() -> None:
    """Its result, its error, and the cancel that crosses from the asker through both loops."""
    log: list[str] = []

    async def library(text: str) -> str:
        await asyncio.sleep(0)
        if text == "bad":
            raise KeyError(text)
        if text == "long":
            log.append("in")
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(0.01)
                log.append("out")
        return text

    async def main() -> None:
        async with open_guest(stage()) as guest:

            def call(text: str) -> Coroutine[Any, Any, Any]:
                async def handler(_: Any) -> str:
                    try:
                        return await guest.run_in_host(library, text)
                    except KeyError:
                        return "error"

                return guest.run(guest.opened.ask, Do(handler))

            assert [await call("good"), await call("bad")] == ["good", "error"]
            task = asyncio.create_task(call("long"))
            await until(lambda: log)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert log == ["in", "out"]

    hosted(main)


def test_an_asyncio_function_whose_task_is_cancelled_by_others_is_an_error() -> None:
    """trio.Cancelled means the caller's own cancel, and nothing else (R13)."""

    async def library() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def main() -> None:
        async with open_guest(stage()) as guest:
            with pytest.raises(RuntimeError, match="was cancelled in the host"):
                await guest.run(guest.run_in_host, library)

    hosted(main)


# -- misuse


def test_what_waits_is_refused_outside_of_trio_before_anything_is_sent() -> None:
    """R30: awaiting a ref in asyncio code says what to write instead."""
    ledger = Ledger()

    async def attempt(call: Coroutine[Any, Any, Any]) -> None:
        with pytest.raises(
            RuntimeError, match=r"outside of Trio's tasks.*await guest.run\(ref.ask"
        ):
            await call

    async def main(observers: list[Ledger]) -> None:
        async with open_guest(open_runtime(observers=observers)) as guest:
            runtime = guest.opened
            ref = await guest.run(runtime.spawn, Stagehand)
            before = ref.statistics()
            await attempt(ref.ask(Echo()))
            await attempt(ref.tell(Note()))
            await attempt(ref.tell_all([Note()]))
            await attempt(ref.stream(Count(1)).__aenter__())
            await attempt(ref.wait_stopped())
            await attempt(runtime.spawn(Stagehand))
            await attempt(runtime.terminate(ref))
            await attempt(runtime.stop())
            await attempt(runtime.wait_for("nobody"))
            await attempt(runtime.topic("news").publish(Note()))
            assert ref.statistics() == before

    hosted(main, [])
    hosted(main, [ledger])
    assert ledger.of(FrameSent) == []


def test_misuse_of_a_guest_says_what_to_write() -> None:
    """A coroutine instead of a function, the wrong side, another loop, a guest in a guest."""

    async def main() -> None:
        async with open_guest(stage()) as guest:
            ref = guest.opened
            with pytest.raises(TypeError, match="pass the function itself"):
                await guest.run(ref.ask(Echo()))  # type: ignore[arg-type]  # pyright: ignore
            with pytest.raises(RuntimeError, match=r"in Trio code, write 'await ref.ask"):
                await guest.run(guest.run, ref.ask, Echo())
            with pytest.raises(RuntimeError, match=r"guest\.run_in_host is for"):
                await guest.run_in_host(asyncio.sleep, 0)
            with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
                await asyncio.to_thread(asyncio.run, guest.run(ref.ask, Echo()))
            with pytest.raises(RuntimeError, match="open a second runtime inside"):
                async with open_guest(open_runtime()):
                    pass
            loop = asyncio.get_running_loop()
            replies: list[str] = []

            def elsewhere() -> None:
                ask = guest.run(ref.ask, Echo("from afar"))
                replies.append(asyncio.run_coroutine_threadsafe(ask, loop).result())

            await asyncio.to_thread(elsewhere)
            assert replies == ["from afar"]

    hosted(main)


def test_a_ref_of_a_run_that_is_over() -> None:
    """Outside of any run a stopped actor is what it is, and waiting for it is refused."""
    refs: list[Ref] = []

    async def run() -> None:
        async with stage() as ref:
            refs.append(ref)

    trio.run(run)
    with pytest.raises(ActorStopped):
        refs[0].tell_nowait(Note())
    with pytest.raises(RuntimeError, match="outside of Trio's tasks"):
        asyncio.run(refs[0].wait_stopped())


def test_the_core_imports_no_asyncio() -> None:
    """Importing asyncio costs; only the module of the guest does."""
    program = "import sys, greenroom.runtime; print('asyncio' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"


# -- Ctrl-C

WITH_CTRL_C = """
import asyncio, os, signal, sys
from greenroom.runtime import open_runtime
from greenroom.runtime.guest import open_guest
from tests.runtime.cast import Do, Stagehand, hang

async def main():
    log = []
    try:
        async with open_guest(open_runtime()) as guest:
            ref = await guest.run(guest.opened.spawn, Stagehand, log)
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
            await guest.run(ref.ask, Do(hang))
    finally:
        print(*log, flush=True)

before = signal.getsignal(signal.SIGINT)
try:
    RUN
except KeyboardInterrupt:
    print("KeyboardInterrupt", signal.getsignal(signal.SIGINT) is before)
"""


@pytest.mark.parametrize(
    "run", ["asyncio.run(main())", "asyncio.new_event_loop().run_until_complete(main())"]
)
def test_ctrl_c_ends_the_guest_in_order(run: str) -> None:
    """Under asyncio.run, which handles SIGINT, and in a loop that leaves it to Python."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_CTRL_C.replace("RUN", run)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "on_stop\nKeyboardInterrupt True\n", done.stderr


# -- cancel at every step, from the host


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop that tells its cut of the start and the end of each callback."""

    cut: "HostCut | None" = None

    def _stepped(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        if self.cut is not None:
            self.cut.count()
        callback(*args)
        if self.cut is not None:
            self.cut.count()

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon(self._stepped, callback, *args, context=context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._stepped, callback, *args, context=context)


class HostCut(trio.abc.Instrument):
    """
    Cancels an asyncio task at one point, or from that on at each.

    Points are the starts and ends of the loop's callbacks and of the steps of Trio's tasks.
    """

    def __init__(self, point: int, *, again: bool) -> None:
        self.point = point
        self.again = again
        self.seen = 0
        self.reached = False
        self.task: asyncio.Task[Any] | None = None

    def count(self) -> None:
        if self.task is None or self.task.done():
            return
        if self.seen == self.point or (self.again and self.seen > self.point):
            self.reached = True
            self.task.cancel(f"point {self.point}")
        self.seen += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count()

    async def run(self, coroutine: Coroutine[Any, Any, Any], *, instrument: bool = True) -> None:
        """Run *coroutine* as a task that is cut; ends when it has, and raises its errors."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        loop.cut = self
        if instrument:
            trio.lowlevel.add_instrument(self)
        self.task = asyncio.create_task(coroutine)
        await asyncio.wait([self.task])
        if instrument:
            trio.lowlevel.remove_instrument(self)
        loop.cut = None
        if not self.task.cancelled():
            self.task.result()


Scenario = Callable[[HostCut], Coroutine[Any, Any, None]]


def host_sweep(name: str, scenario: Scenario, *, again: bool) -> int:
    """
    Run *scenario* for point 0, 1 and so on, until its task ends before the point.

    The test kit can't do this: it owns the call of `trio.run`, and so the order, the clock and the
    positions of Trio's tasks, while here Trio is a guest, asyncio's loop says when it goes on, and
    what is cancelled, at its callbacks too, is a task of asyncio. What is left behind the kit finds.
    """
    with collected():
        for point in range(5_000):
            cut = HostCut(point, again=again)
            with Leaks() as leaks:
                try:
                    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
                        runner.run(scenario(cut))
                except BaseException as error:
                    error.add_note(f"cancelled at point {point} of the sweep {name}")
                    raise
            assert not leaks.found, f"at point {point} of {name}: {leaks.found}"
            if not cut.reached:
                print(f"sweep {name}{', again and again' if again else ''}: {point} points")
                return point
    raise AssertionError(f"the sweep {name} does not end")


class Running:
    """Counts the handlers that run."""

    def __init__(self) -> None:
        self.now = 0
        self.begun = 0

    async def handler(self, _: Any, emit: Emit[Number] | None = None) -> str:
        self.now += 1
        self.begun += 1
        try:
            for n in range(3):
                if emit is not None:
                    await emit(Number(n))
                await trio.lowlevel.checkpoint()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                await trio.sleep(0.001)
            self.now -= 1
        return "done"


async def sweep_ask(cut: HostCut) -> None:
    running, ledger, replies = Running(), Ledger(), list[str]()
    async with open_guest(stage(observers=[ledger])) as guest:

        async def asking() -> None:
            replies.append(await guest.run(guest.opened.ask, Do(running.handler)))
            assert running.now == 0
            await asyncio.sleep(0)

        await cut.run(asking())
        assert running.now == 0
        assert replies in ([], ["done"])
        assert await guest.run(guest.opened.ask, Echo("free")) == "free"
    ledger.check(tombstones=1)


async def sweep_queued(cut: HostCut) -> None:
    ledger = Ledger()
    async with open_guest(stage(observers=[ledger])) as guest:
        ref, let_go = guest.opened, trio.Event()

        async def wait(_: Any) -> None:
            await let_go.wait()

        ref.tell_nowait(Do(wait))
        asyncio.get_running_loop().call_later(0.003, let_go.set)
        await cut.run(guest.run(ref.ask, Echo("queued")))
        assert await guest.run(ref.ask, Echo("free")) == "free"
    ledger.check(tombstones=1)


async def sweep_stream(cut: HostCut, *, leave: bool) -> None:
    running, ledger = Running(), Ledger()
    async with open_guest(stage(observers=[ledger])) as guest:
        taken: list[int] = []

        async def reading() -> None:
            stream = guest.opened.stream(Play(running.handler), buffer=1)
            try:
                async with guest.stream(stream) as frames:
                    async for frame in frames:
                        taken.append(frame.n)
                        if leave and frame.n == 1:
                            break
            finally:
                assert running.now == 0

        await cut.run(reading())
        assert running.now == 0
        assert taken == list(range(len(taken)))
        assert await guest.run(guest.opened.ask, Echo("free")) == "free"
    ledger.check(tombstones=1)


async def sweep_guest(cut: HostCut) -> None:
    running, log = Running(), list[str]()

    async def hosting() -> None:
        async with open_guest(stage(log)) as guest:
            trio.lowlevel.add_instrument(cut)
            assert await guest.run(guest.opened.ask, Do(running.handler)) == "done"
            guest.opened.tell_nowait(Do(running.handler))

    await cut.run(hosting(), instrument=False)
    assert running.now == 0
    assert log in ([], ["on_stop"])
    assert not trio.lowlevel.in_trio_run()
    if not cut.reached:
        assert running.begun == 2


async def sweep_host(cut: HostCut) -> None:
    running, ledger = Running(), Ledger()
    in_host = 0

    async def library() -> None:
        nonlocal in_host
        in_host += 1
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            in_host -= 1

    async with open_guest(stage(observers=[ledger])) as guest:

        async def handler(_: Any) -> str:
            await guest.run_in_host(library)
            return await running.handler(_)

        await cut.run(guest.run(guest.opened.ask, Do(handler)))
        assert (running.now, in_host) == (0, 0)
        assert await guest.run(guest.opened.ask, Echo("free")) == "free"
    ledger.check(tombstones=1)


# Fewer points than these, and a scenario no longer does what it says.
SWEEPS: dict[str, tuple[Scenario, int]] = {
    "ask": (sweep_ask, 30),
    "ask, queued": (sweep_queued, 10),
    "stream": (partial(sweep_stream, leave=False), 50),
    "stream, left": (partial(sweep_stream, leave=True), 40),
    "guest": (sweep_guest, 50),
    "handler, in host": (sweep_host, 40),
}


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize("name", SWEEPS)
def test_cancels_at_every_step_of_the_host(name: str, again: bool) -> None:
    """I1, I3, I4: whenever the asyncio task is cancelled, nothing of it is left, and others work."""
    scenario, floor = SWEEPS[name]

    assert host_sweep(name, scenario, again=again) >= floor
