"""The model that follows a script: what it says, when, what goes wrong and where, what is counted."""

import math

import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    CallFragment,
    Category,
    Context,
    Event,
    Finished,
    Generate,
    ProviderError,
    ResponseEnded,
    Settings,
    Status,
    TextDelta,
    ToolCall,
    ToolCallsReady,
    Usage,
    UsageSeen,
    User,
)
from greenroom.actors.testing import HANG, Script, ScriptedProvider, call, says
from greenroom.runtime import open_runtime
from greenroom.runtime.testing import World, sweep

ASKED = Context.of(User("hi"))
GONE = ProviderError("gone", category=Category.CONNECTIVITY)


async def play(
    provider: ScriptedProvider, came: list[tuple[float, Event]] | None = None
) -> list[tuple[float, Event]]:
    """Return the events of one response, each with when it came; *came* has them on an error too."""
    came = [] if came is None else came
    stream = await provider.request(ASKED, Settings())
    try:
        while events := await stream.events():
            came += [(trio.current_time(), event) for event in events]
    finally:
        stream.close()
    return came


def test_a_script_is_written_as_it_reads() -> None:
    """Bars part the chunks; calls get their places as indexes and ids."""
    made = says("Hel|lo", call("add", a=1), call("add", b="x"), usage=Usage(total=3))

    assert made.steps == (
        TextDelta("Hel"),
        TextDelta("lo"),
        CallFragment(0, "call_0", "add", '{"a":1}'),
        CallFragment(1, "call_1", "add", '{"b":"x"}'),
        Finished("tool_calls"),
        UsageSeen(Usage(total=3)),
    )
    assert says("").steps == (Finished("stop"),)
    assert says(finish="length").steps == (Finished("length"),)
    assert Script.of("Hel|lo") == says("Hel|lo")
    assert Script.of([1.0, TextDelta("x"), 2.0]) == Script((TextDelta("x"), 2.0), head=(1.0,))


async def test_chunks_come_when_the_script_says(autojump_clock: object) -> None:
    """Seconds of virtual time before the request, before the head, and between chunks."""
    script = says("a|b").before_request(1).before_head(2).after(0, 4).after(1, 8).after(3, 16)
    began = trio.current_time()
    came = await play(ScriptedProvider(script))

    assert [(at - began, event) for at, event in came] == [
        (7, TextDelta("a")),
        (15, TextDelta("b")),
        (15, Finished("stop")),
    ]
    assert trio.current_time() - began == 31


@pytest.mark.parametrize(
    ("script", "requests", "chunks"),
    [
        (says("a|b").before_request(GONE), 0, 0),
        (says("a|b").before_head(GONE), 1, 0),
        (says("a|b").after(0, GONE), 1, 0),
        (says("a|b").after(2, GONE), 1, 2),
        (says("a|b").after(3, GONE), 1, 3),
        (says("a|b").at_close(GONE), 1, 3),
    ],
)
async def test_an_error_comes_where_the_script_says(
    script: Script, requests: int, chunks: int, autojump_clock: object
) -> None:
    """Before the request, before the head, after any chunk, at close; and no stream stays open."""
    came: list[tuple[float, Event]] = []
    provider = ScriptedProvider(script)
    with pytest.raises(ProviderError, match="gone"):
        await play(provider, came)

    assert (provider.requests, provider.opened, len(came)) == (requests, requests, chunks)
    assert provider.all_closed()


async def test_a_script_hangs_until_it_is_let_go(autojump_clock: object) -> None:
    """A `trio.Event` holds it up for as long as the test wants; `HANG` for ever."""
    gate = trio.Event()
    provider = ScriptedProvider(says("a|b").after(1, gate), says("a").before_head(HANG))
    came: list[Event] = []

    async def read() -> None:
        came.extend(event for _, event in await play(provider))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        was_open = provider.open_streams
        gate.set()
    with trio.move_on_after(100) as scope:
        await play(provider)

    assert (was_open, came) == (1, [TextDelta("a"), TextDelta("b"), Finished("stop")])
    assert scope.cancelled_caught
    assert provider.all_closed()


async def test_what_it_was_asked_is_kept_within_bounds(autojump_clock: object) -> None:
    """The last ones; and `then` answers all that have no script of their own."""
    provider = ScriptedProvider("one", then="more", remember=2)
    answers = [(await play(provider))[0][1] for _ in range(4)]

    assert answers == [TextDelta("one"), *[TextDelta("more")] * 3]
    assert provider.requests == 4
    assert [asked.context for asked in provider.asked] == [ASKED, ASKED]
    with pytest.raises(AssertionError, match="asked 1 times, once too often"):
        await play(ScriptedProvider())


async def test_a_stream_that_nobody_closes_shows(autojump_clock: object) -> None:
    """One that came to its end, or failed, is not closed by that."""
    provider = ScriptedProvider(says("a").after(0, GONE), "b")
    failed = await provider.request(ASKED, Settings())
    with pytest.raises(ProviderError):
        await failed.events()
    ended = await provider.request(ASKED, Settings())
    while await ended.events():
        pass

    assert (provider.opened, provider.open_streams) == (2, 2)
    failed.close()
    failed.close()
    ended.close()
    assert (provider.opened, provider.open_streams) == (2, 0)
    with pytest.raises(ProviderError, match="the stream was closed"):
        await ended.events()


def test_a_place_that_the_script_lacks_is_refused() -> None:
    """The text says how many chunks there are."""
    with pytest.raises(ValueError, match=r"chunks must be 0 to 3 in this script, not 4"):
        says("a|b").after(4, 1.0)


async def test_the_llm_actor_takes_what_it_says(autojump_clock: object) -> None:
    """Calls are whole, and a response that fails in the middle ends as one that failed."""
    provider = ScriptedProvider(
        says("Hm.", call("add", a=1)), says("a|b").after(1, GONE), says("a").after(0, math.inf)
    )
    ends: list[ResponseEnded] = []
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        for _ in range(2):
            async with llm.stream(Generate(ASKED)) as frames:
                every = [frame async for frame in frames]
            ends += [frame for frame in every if isinstance(frame, ResponseEnded)]
            if len(ends) == 1:
                assert ToolCallsReady((ToolCall("call_0", "add", '{"a":1}'),)) in every

    assert [end.status for end in ends] == [Status.TOOL_CALLS, Status.FAILED]
    assert provider.all_closed()
    assert provider.closed


def test_nothing_of_it_leaks_wherever_it_is_cut() -> None:
    """I4, I5: swept with the actor that owns its streams."""

    async def scenario(w: World) -> None:
        provider = ScriptedProvider(says("a|b").before_head(1).after(1, 1), then="c")
        w.own("the model", provider.all_closed)
        llm = await w.runtime.spawn(LLM, provider)
        for _ in range(2):
            with w.scope("turn"):
                async with llm.stream(Generate(ASKED)) as frames:
                    async for _ in frames:
                        pass

    sweep(scenario, faults=("cancel", "interrupt")).check()
