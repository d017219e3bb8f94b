# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""The runtime inside other people's programs (R22, R30, R14)."""

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing

from greenroom.runtime import Ref, Refused, open_runtime
from tests.runtime.cast import Do, Echo, Note, Stagehand, crash, hang

Clock = trio.testing.MockClock


async def test_a_runtime_in_a_hosts_nursery(autojump_clock: Clock) -> None:
    """I4: a cancel of the host's nursery ends the runtime and nothing is left."""
    log: list[str] = []

    async def host() -> None:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand, log)
            await ref.ask(Do(hang))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(host)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert log == ["on_stop"]


async def test_refs_work_across_two_runtimes(autojump_clock: Clock) -> None:
    """R30: of one run, also for cancels and for actors of one that ask the other."""
    async with open_runtime(name="one") as one, open_runtime(name="two") as two:
        here = await one.spawn(Stagehand)
        there = await two.spawn(Stagehand)

        async def relay(_: Any) -> Any:
            return await there.ask(Echo("across", 5))

        assert await here.ask(Do(relay)) == "across"
        with trio.move_on_after(1):
            await here.ask(Do(relay))

        assert trio.current_time() == 6
        assert await there.ask(Echo("free")) == "free"


async def test_another_thread_is_told_what_to_use() -> None:
    """R30: a RuntimeError, for each way to use a ref; and the way that works."""
    async with open_runtime(name="house") as runtime:
        ref = await runtime.spawn(Stagehand)
        texts: list[str] = []

        def attempt(use: Any, *args: Any) -> None:
            try:
                use(*args)
            except RuntimeError as error:
                texts.append(str(error))

        def attempts() -> None:
            attempt(ref.tell_nowait, Note())
            attempt(ref.interrupt)
            attempt(ref.stop)
            attempt(trio.run, ref.ask, Echo())
            attempt(trio.run, ref.tell, Note())
            attempt(trio.run, ref.wait_stopped)
            attempt(trio.run, runtime.spawn, Stagehand)

        await trio.to_thread.run_sync(attempts)
        expected = (
            "a ref of runtime 'house' was used in another thread; there, write "
            "trio.from_thread.run(ref.ask, frame, trio_token=token)"
        )
        assert texts == [expected] * 7
        token = trio.lowlevel.current_trio_token()
        reply: list[str] = []

        def ask() -> None:
            reply.append(trio.from_thread.run(ref.ask, Echo("from afar"), trio_token=token))

        with trio.CancelScope(shield=True):
            thread = threading.Thread(target=ask)
            thread.start()
            await trio.to_thread.run_sync(thread.join)

        assert reply == ["from afar"]


def test_a_ref_of_another_run_is_refused() -> None:
    """R30: an actor can't run in another ``trio.run``; the error says what to do."""
    refs: list[Ref] = []

    async def first() -> None:
        async with open_runtime(name="first") as runtime:
            refs.append(await runtime.spawn(Stagehand))

    async def second(method: str, *args: Any) -> None:
        await getattr(refs[0], method)(*args)

    trio.run(first)
    for method, args in [("ask", (Echo(),)), ("tell", (Note(),)), ("wait_stopped", ())]:
        with pytest.raises(RuntimeError, match=r"runtime 'first' was used in another trio.run\(\)"):
            trio.run(second, method, *args)


async def test_an_anyio_library_runs_inside_a_handler() -> None:
    """R15: task groups, threads and streams, in the asker's context and out of it."""

    async def library(_: Any) -> list[Any]:
        send, receive = anyio.create_memory_object_stream[int](1)
        got: list[Any] = []

        async def producer() -> None:
            async with send:
                for n in range(3):
                    await send.send(n)

        async with anyio.create_task_group() as group:
            group.start_soon(producer)
            async with receive:
                got.extend([n async for n in receive])
        got.append(await anyio.to_thread.run_sync(lambda: "thread"))
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        return got

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        assert await ref.ask(Do(library)) == [0, 1, 2, "thread"]


async def test_a_body_error_comes_out_bare() -> None:
    """R14: and its own group whole."""
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            raise mine
    with pytest.raises(ExceptionGroup, match="of mine") as group:  # Trio makes an equal one of it
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            raise ExceptionGroup("of mine", [mine])

    assert caught.value is mine
    assert group.value.exceptions == (mine,)


async def test_an_uncaught_ask_of_a_crash_ends_with_the_crash_itself() -> None:
    """R14: the ActorCrashed of the body is an echo, and dropped."""
    with pytest.raises(ValueError, match="boom") as caught:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(crash))

    assert type(caught.value) is ValueError


async def test_a_body_error_beside_a_crash_is_one_group(autojump_clock: Clock) -> None:
    """R14: neither hides the other."""
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError), pytest.RaisesExc(ValueError)) as caught:
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            try:
                await ref.tell(Do(crash))
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")

    assert len(caught.value.exceptions) == 2


async def test_a_keyboard_interrupt_in_a_handler_ends_the_runtime(autojump_clock: Clock) -> None:
    """R14: as itself; the asker elsewhere gets an outcome."""

    async def ctrl_c(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(ctrl_c))
    with pytest.raises(KeyboardInterrupt):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)

            async def nested(_: Any) -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ctrl_c, _)
                    nursery.start_soon(trio.sleep_forever)

            await ref.ask(Do(nested))


async def test_several_leaves_are_a_crash() -> None:
    """R14: a handler's nursery with Refused and another error does not decline the request."""

    async def both(_: Any) -> None:
        async def no() -> None:
            raise Refused("no")

        async def boom() -> None:
            raise ValueError("boom")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(no)
            nursery.start_soon(boom)

    with pytest.RaisesGroup(pytest.RaisesExc(Refused), pytest.RaisesExc(ValueError)):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.ask(Do(both))


async def test_a_bodys_cancelled_goes_through(autojump_clock: Clock) -> None:
    """R14: a scope around the runtime catches its own cancel, and nothing else comes out."""
    with trio.move_on_after(1) as scope:
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand)
            await trio.sleep_forever()

    assert scope.cancelled_caught


@pytest.mark.parametrize("field", ["cleanup_grace", "drain_grace"])
@pytest.mark.parametrize("value", [-1, float("nan")])
async def test_graces_are_checked(field: str, value: float) -> None:
    """A wrong bound is named, with its unit."""
    with pytest.raises(ValueError, match=f"{field} must be seconds >= 0 or math.inf, not {value}"):
        async with open_runtime(**{field: value}):  # type: ignore[arg-type]  # pyright: ignore
            pass


async def test_nothing_ticks(autojump_clock: Clock) -> None:
    """R23: an idle runtime lets the virtual clock jump, and its tasks take no step."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.ask(Echo())
        await trio.testing.wait_all_tasks_blocked()
        steps = 0

        class Count(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal steps
                steps += task is not me

        me = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(count := Count())
        await trio.sleep(80_000)
        trio.lowlevel.remove_instrument(count)

        assert steps == 0
        assert trio.current_time() == 80_000
