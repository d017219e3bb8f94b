"""Context variables (R15)."""

from contextvars import ContextVar
from typing import Any

import trio
import trio.testing

from greenroom.runtime import Emit, HandlerEnded, open_runtime
from tests.runtime.cast import Do, Ledger, Number, Pair, Play, Stagehand, after

who: ContextVar[str] = ContextVar("who", default="nobody")


async def read(_: Any) -> str:
    """Return the variable after a checkpoint, so that the trampoline is in use."""
    await trio.lowlevel.checkpoint()
    return who.get()


async def read_below(_: Any) -> tuple[str, str]:
    """Return the variable as a child task and a thread see it."""
    seen: list[str] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(who.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    return seen[0], await trio.to_thread.run_sync(who.get)


async def test_a_handler_sees_its_askers_variables() -> None:
    """R15: also in its child tasks and threads, and for asks within asks."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        far = await runtime.spawn(Stagehand)

        async def relay(_: Any) -> str:
            return str(await far.ask(Do(read)))

        assert await ref.ask(Do(read)) == "nobody"
        who.set("me")
        assert await ref.ask(Do(read)) == "me"
        assert await ref.ask(Do(read_below)) == ("me", "me")
        assert await ref.ask(Do(relay)) == "me"
        who.set("somebody else")
        assert await ref.ask(Do(read)) == "somebody else"


async def test_a_streaming_handler_sees_its_askers_variables() -> None:
    """R15: at every step of it."""
    seen: list[str] = []

    async def play(_: Any, emit: Emit[Number]) -> None:
        for n in range(3):
            seen.append(who.get())
            await emit(Number(n))

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        who.set("me")
        async with ref.stream(Play(play), buffer=1) as stream:
            async for _ in stream:
                pass

    assert seen == ["me"] * 3


async def test_a_told_handler_sees_the_runtimes_variables() -> None:
    """R15: not the teller's, in whichever slot it runs."""
    seen: list[str] = []

    async def note(_: Any) -> None:
        seen.append(who.get())
        await trio.testing.wait_all_tasks_blocked()

    who.set("the runtime's")
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Pair)
        who.set("the teller's")
        for _ in range(2):  # the second needs a slot, which the teller's call starts
            ref.tell_nowait(Do(note))
        ref.stop()
        await ref.wait_stopped()

    assert seen == ["the runtime's"] * 2


async def test_a_cancel_goes_through_the_trampoline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R15, R7: a handler in its asker's context is cancelled like any."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand)
        who.set("me")
        with trio.move_on_after(1):
            await ref.ask(Do(after(5)))

        assert trio.current_time() == 1
        assert await ref.ask(Do(read)) == "me"
    assert [e.outcome for e in ledger.of(HandlerEnded)] == ["cancelled", "replied"]


class Incomparable:
    """A value of a variable whose comparison raises, as that of an array does."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of this is ambiguous")

    __hash__ = None  # type: ignore[assignment]


thing: ContextVar[object] = ContextVar("thing")


async def test_a_variable_that_cannot_be_compared_crashes_nobody() -> None:
    """R15: the contexts are then taken to differ."""
    thing.set(Incomparable())
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        thing.set(Incomparable())
        who.set("me")

        assert await ref.ask(Do(read)) == "me"
