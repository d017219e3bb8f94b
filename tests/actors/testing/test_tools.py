"""Fake tools: what they record, what they come to, and how they take a cancel."""

from typing import Literal

import pytest
import trio

from greenroom.actors.llm import ToolCall
from greenroom.actors.testing import FakeTool, Slow
from greenroom.actors.tools import (
    Dispatch,
    Dispatcher,
    DispatchFrame,
    Tool,
    ToolError,
    ToolResult,
    tool,
)
from greenroom.runtime import CleanupOverran, open_runtime
from greenroom.runtime.testing import World, simulate, sweep


@tool(patience=7)
def search(query: str, order: Literal["new", "old"] = "new") -> list[str]:
    """Search the notes.

    Args:
        query: Words to look for.
    """
    raise AssertionError("the real one was called")


async def dispatch(fake: FakeTool, *arguments: str) -> list[ToolResult]:
    """Return the results of one call for each of *arguments*, in turn."""
    calls = tuple(ToolCall(f"c{n}", fake.tool.name, text) for n, text in enumerate(arguments))
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Dispatcher, [fake.tool])
        async with ref.stream(Dispatch(calls, parallel=False)) as frames:
            every: list[DispatchFrame] = [frame async for frame in frames]
    return [frame for frame in every if isinstance(frame, ToolResult)]


async def test_it_stands_for_a_real_tool(autojump_clock: object) -> None:
    """Name, schema, description and options are the real one's; the function is not."""
    fake = FakeTool(search, ["a note"])
    good, bad = await dispatch(fake, '{"query": "x"}', '{"query": 1}')

    assert fake.tool.spec == search.spec
    assert fake.tool.patience == 7
    assert FakeTool(search.function).tool.spec == search.spec
    assert (good.text, good.is_error) == ('["a note"]', False)
    assert "argument 'query' should be str" in bad.text
    assert list(fake.calls) == [{"query": "x"}]


async def test_each_call_takes_the_next_outcome(autojump_clock: object) -> None:
    """Values, falsy ones too, errors, and what takes its time; the last is for all further calls."""
    fake = FakeTool("fake", 0, ToolError("closed"), Slow("late", 5), ValueError("x"), remember=3)
    results = await dispatch(fake, *["{}"] * 5)

    assert [(r.text, r.is_error, r.seconds) for r in results] == [
        ("0", False, 0),
        ("closed", True, 0),
        ("late", False, 5),
        ("tool 'fake' failed (ValueError)", True, 0),
        ("tool 'fake' failed (ValueError)", True, 0),
    ]
    assert (fake.begun, fake.running, fake.cancelled, len(fake.calls)) == (5, 0, 0, 3)


async def test_a_fake_of_nothing_has_the_parameters_that_it_is_given(
    autojump_clock: object,
) -> None:
    """And none by default."""
    fake = FakeTool("add", 3, parameters={"a": int, "b": int})
    await dispatch(fake, '{"a": 1, "b": 2}')

    assert list(fake.calls) == [{"a": 1, "b": 2}]
    assert "it takes no arguments" in (await dispatch(FakeTool("none"), '{"a": 1}'))[0].text
    with pytest.raises(TypeError, match="leave them out"):
        FakeTool(search, parameters={"a": int})


def test_one_that_hangs_is_cancelled_at_once_and_one_that_lingers_later() -> None:
    """R10: what ignores a cancel for longer than the bound is found, and nothing else is."""

    async def scenario(w: World, outcome: Slow) -> None:
        fake = FakeTool("fake", outcome)
        w.own("the tool", fake.is_idle)
        ref = await w.runtime.spawn(Dispatcher, [fake.tool])
        with w.scope("asker"), trio.move_on_after(1):
            async with ref.stream(Dispatch((ToolCall("c", "fake"),))) as frames:
                async for _ in frames:
                    pass
        assert fake.cancelled == fake.begun

    async def hangs(w: World) -> None:
        await scenario(w, Slow())

    async def lingers(w: World) -> None:
        await scenario(w, Slow(lingers=3))

    async def overruns(w: World) -> None:
        await scenario(w, Slow(lingers=6))

    sweep(hangs).check()
    sweep(lingers).check()
    assert simulate(lingers).seconds == 4
    report = simulate(overruns)
    assert report.codes == ("LAW",)
    assert any(isinstance(event, CleanupOverran) for event in report.events)


def test_a_tool_made_of_it_is_a_tool() -> None:
    """So it goes wherever tools go."""
    assert isinstance(FakeTool("fake").tool, Tool)
    assert repr(FakeTool("fake")) == "<FakeTool 'fake'>"
