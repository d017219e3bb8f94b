"""The check of a tool: ours pass, and each broken one fails by what is wrong with it."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal

import attrs
import pytest
import trio

from greenroom.actors.demo.calculator import calculate
from greenroom.actors.demo.facts import planet_fact, rank_planets
from greenroom.actors.llm import ToolSpec
from greenroom.actors.testing import FakeTool, Slow, check_tool
from greenroom.actors.tools import Tool, tool


@tool
async def search(query: str, limit: int = 10, order: Literal["new", "old"] = "new") -> list[str]:
    """Search the notes."""
    await trio.sleep(1)
    return [query][:limit]


GOOD: list[tuple[Any, list[dict[str, Any]]]] = [
    (search, [{"query": "x"}, {"query": "y", "limit": 0}]),
    (calculate, [{"expression": "1 - 1"}]),
    (planet_fact, [{"planet": "Jupiter", "fact": "mass"}]),
    (rank_planets, [{"fact": "mass"}]),
    (FakeTool("fake", 0).tool, [{}]),
    (FakeTool("fake", Slow("", 1), parameters={"a": int}).tool, [{"a": 1}]),
    (FakeTool("fake", False, parameters={"a": Any}).tool, [{"a": 1}]),
    (FakeTool("fake", None, []).tool, [{}, {}]),
]


@pytest.mark.parametrize(("given", "examples"), GOOD)
def test_a_tool_that_keeps_its_promises_passes(given: Any, examples: list[dict[str, Any]]) -> None:
    """I3, I4: async and plain functions, of the demo too; whatever they return, falsy or not."""
    assert check_tool(given, *examples) >= 30


# -- broken, each in its own way


class Lax:
    """Takes all arguments for right."""

    schema = search.arguments.schema

    def read(self, text: str) -> dict[str, Any]:
        return {"query": text}


class Silent(Lax):
    """Does not say which argument is wrong."""

    def read(self, text: str) -> dict[str, Any]:
        try:
            return search.arguments.read(text)
        except Exception as error:
            raise ValueError("no") from error


def reading(arguments: Any) -> Tool[..., Any]:
    return attrs.evolve(search, arguments=arguments)


def described(**schema: Any) -> Tool[..., Any]:
    return attrs.evolve(search, spec=ToolSpec("search", parameters=schema))


async def leaves_a_generator(query: str) -> str:
    async def results() -> AsyncGenerator[str]:
        try:
            yield query
        finally:
            await trio.lowlevel.checkpoint()

    async for result in results():
        return result
    return ""


async def cleans_up_for_a_minute(query: str) -> str:
    try:
        await trio.sleep(1)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)
    return query


def keeps_its_place() -> Callable[..., Any]:
    places = trio.Semaphore(1)

    async def books(query: str) -> str:
        await places.acquire()
        await trio.sleep(1)
        places.release()
        return query

    return books


async def raises(query: str) -> str:
    raise LookupError(query)


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (reading(Lax()), "arguments that are not JSON are let through"),
        (reading(Silent()), "the result does not name 'query'"),
        (described(type="array"), "must be that of an object"),
        (described(type="object", properties={"query": {"type": "text"}}), "the type 'text'"),
        (described(type="object", properties={}, required=["query"]), "requires 'query', which"),
        (
            described(type="object", properties={"query": {"$ref": "#/$defs/Gone"}}),
            "'#/$defs/Gone', which is not there",
        ),
        (leaves_a_generator, "LEAK_ASYNCGEN"),
        (cleans_up_for_a_minute, "was still cleaning up"),
        (keeps_its_place(), "HANG"),
        (raises, "gave an error: tool 'raises' failed (LookupError)"),
    ],
)
def test_a_tool_that_is_broken_fails(broken: Any, text: str) -> None:
    """By its name, and what is wrong with it."""
    with pytest.raises(AssertionError) as caught:
        check_tool(broken, {"query": "x"})

    assert text in str(caught.value)
    assert str(caught.value).startswith("tool '")


def test_what_a_tool_owns_is_free_at_the_end() -> None:
    """Wherever its call was cut off."""
    taken: list[str] = []

    async def borrows(query: str) -> str:
        taken.append(query)
        await trio.sleep(1)
        return taken.pop()

    with pytest.raises(AssertionError, match="HELD the book is not free"):
        check_tool(borrows, {"query": "x"}, owns={"the book": lambda: not taken})


def test_misuse_is_refused() -> None:
    """No example, and what is no tool."""
    with pytest.raises(ValueError, match="give at least one example"):
        check_tool(search)

    async def bare(*words: str) -> None: ...

    with pytest.raises(TypeError, match="takes any number of arguments"):
        check_tool(bare, {"words": []})
