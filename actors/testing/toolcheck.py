"""What every tool has to keep, as one call: `check_tool`, for tools that others write."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import attrs
import trio

from greenroom.actors.llm import ToolCall
from greenroom.actors.llm.frozen import thaw
from greenroom.actors.tools import Dispatch, Dispatcher, DispatchFrame, Tool, ToolResult
from greenroom.runtime import HandlerStarted, Ref
from greenroom.runtime.testing import World, simulate, sweep

__all__ = ["check_tool"]

_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_UNKNOWN: Final = "no_such_argument"
# What a schema says of its value, if it says anything.
_TELLING: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"})
# One of these fits no parameter but one that takes anything.
_MISFITS: Final[tuple[Any, ...]] = (
    {"no": {"such": "thing"}},
    [["no"]],
    "no such thing",
    -1.5,
    True,
)


def check_tool(
    tool: Tool[..., Any] | Callable[..., Any],
    *examples: Mapping[str, Any],
    owns: Mapping[str, Callable[[], bool]] | None = None,
) -> int:
    """
    Check that a tool keeps what models, dispatchers and agents rely on.

    - Its schema is JSON Schema of an object, and the same before and after the calls.
    - Arguments that do not fit - not JSON, one missing, one too many, one of another type - are an
      error result that names the argument, and the function is not called.
    - Each example is called, with the other ones at once, and gives exactly one result, which is no
      error and has the value that was returned, falsy ones too (I3).
    - Cut off at any position, or hit by Ctrl-C, each call that began has one result, and nothing is
      left: no task, generator or descriptor, and nothing of *owns* (I4). A cleanup has to end within
      ``cleanup_grace`` (R10). The same call works again after that.

    A function that runs in a thread is called in a task here, so that time can be virtual: what it
    does while it is cut off is not seen.

    Args:
        tool: The tool, or a function to make one of.
        examples: Arguments by name, of calls that are to succeed; at least one. They are called again
            and again, so what they change has to be the test's own.
        owns: By name, what has to be free at the end: see `World.own`.

    Returns:
        How many runs it took.

    Raises:
        AssertionError: something does not hold; the text says what, and what was done.
        TypeError, ValueError: no tool can be made of *tool*, or there are no *examples*.
    """
    if not examples:
        raise ValueError("give at least one example: check_tool(search, {'query': 'x'})")
    made = cast("Tool[..., Any]", tool if isinstance(tool, Tool) else Tool.of(tool))
    what = f"tool {made.name!r}"
    before = _text_of_schema(made)
    schema = json.loads(before)
    for fault in _faults(schema, schema, "its schema"):
        raise AssertionError(f"{what}: {fault}")
    calls = tuple(json.dumps(dict(example)) for example in examples)
    try:
        simulate(partial(_misfits, made, schema, examples[0])).check()
        scenario = partial(_calls, made, calls, owns or {})
        simulate(scenario).check()
        swept = sweep(scenario, faults=("cancel", "interrupt"), targets=("root", "asker")).check()
    except AssertionError as error:
        raise AssertionError(f"{what} does not hold: {error}") from None
    if _text_of_schema(made) != before:
        raise AssertionError(f"{what}: its schema is another one after it was called")
    return swept.runs + 2


def _text_of_schema(tool: Tool[..., Any]) -> str:
    try:
        return json.dumps(thaw(tool.spec.parameters), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"tool {tool.name!r}: its schema is not JSON: {error}") from None


def _faults(schema: Any, root: Any, where: str) -> Iterator[str]:
    """Yield what keeps *schema*, a part of *root*, from being JSON Schema."""
    if schema in (True, False):
        return
    if not isinstance(schema, dict):
        yield f"{where} must be an object, not {schema!r}"
        return
    parts = cast("dict[str, Any]", schema)
    if schema is root and (parts.get("type") != "object" or "properties" not in parts):
        yield f"{where} must be that of an object, with 'type': 'object' and 'properties'"
    kinds: Any = parts.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in _TYPES:
            yield f"{where} has the type {kind!r}, which JSON has not"
    properties: dict[str, Any] = parts.get("properties", {})
    for name in parts.get("required", []):
        if name not in properties:
            yield f"{where} requires {name!r}, which is none of its properties"
    if not isinstance(parts.get("enum", []), list):
        yield f"{where} has an enum that is no list: {parts['enum']!r}"
    reference = parts.get("$ref")
    if reference is not None and not _resolves(reference, root):
        yield f"{where} refers to {reference!r}, which is not there"
    for key in ("properties", "$defs"):
        for name, part in parts.get(key, {}).items():
            yield from _faults(part, root, f"{where}, at {name!r},")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in parts.get(key, []):
            yield from _faults(part, root, f"{where}, in {key},")
    for key in ("items", "additionalProperties", "not"):
        if key in parts:
            yield from _faults(parts[key], root, f"{where}, in {key},")


def _resolves(reference: str, root: Any) -> bool:
    start, *path = reference.split("/")
    for step in path:
        if not isinstance(root, dict) or step not in root:
            return False
        root = cast("dict[str, Any]", root)[step]
    return start == "#"


async def _results(
    w: World, ref: Ref, scope: str, name: str, texts: Sequence[str]
) -> tuple[ToolResult, ...]:
    """
    Return the results of calls of the tool *name* with the arguments *texts*, in their order.

    Raises:
        AssertionError: the dispatcher began, and not each call has one.
    """
    calls = tuple(ToolCall(f"{scope}-{n}", name, text) for n, text in enumerate(texts))
    began = w.history.count(HandlerStarted)
    stream = ref.stream(Dispatch(calls), buffer=1)
    frames: list[DispatchFrame] = []
    with w.scope(scope):
        async with stream:
            async for frame in stream:
                frames.append(frame)  # noqa: PERF401 - what came before the cut counts
    frames += stream.untaken
    results = sorted((f for f in frames if isinstance(f, ToolResult)), key=lambda f: f.call_id)
    found = [result.call_id for result in results]
    if w.history.count(HandlerStarted) > began and found != sorted(call.id for call in calls):
        raise AssertionError(f"{len(calls)} calls gave the results {found}, not one each (I3)")
    by_id = {result.call_id: result for result in results}
    return tuple(by_id[call.id] for call in calls if call.id in by_id)


async def _misfits(
    tool: Tool[..., Any], schema: dict[str, Any], example: Mapping[str, Any], w: World
) -> None:
    """Call it with arguments that do not fit; its function is not run for it."""
    called: list[dict[str, Any]] = []

    async def function(**arguments: Any) -> None:
        called.append(arguments)
        await trio.lowlevel.checkpoint()

    stub = attrs.evolve(tool, function=function, is_async=True, abandon=False)
    ref = await w.runtime.spawn(Dispatcher, [stub], name="dispatcher")

    async def refused(what: str, arguments: object, name: str) -> bool:
        """Tell whether *arguments* are refused, as they should be: without a call, and by name."""
        called.clear()
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        (result,) = await _results(w, ref, "misfit", tool.name, [text])
        if not result.is_error:
            return False
        if called:
            raise AssertionError(f"with {what} the function is called, and the result an error")
        if name not in result.text:
            raise AssertionError(
                f"with {what} the result does not name {name!r}, so that no model can mend the "
                f"call: {result.text!r}"
            )
        return True

    if not await refused("arguments that are not JSON", '{"', ""):
        raise AssertionError("arguments that are not JSON are let through")
    properties: dict[str, Any] = schema["properties"]
    for name in schema.get("required", []):
        rest = {key: value for key, value in example.items() if key != name}
        if not await refused(f"no {name!r}", rest, name):
            raise AssertionError(f"a call without {name!r}, which is required, is let through")
    if schema.get("additionalProperties") is False:
        more = {**example, _UNKNOWN: 1}
        if not await refused("an argument that is not there", more, _UNKNOWN):
            raise AssertionError("a call with an argument that is not there is let through")
    for name, part in properties.items():
        if _TELLING.isdisjoint(part):
            continue  # it takes anything
        answers = [
            await refused(f"{name}={misfit!r}", {**example, name: misfit}, name)
            for misfit in _MISFITS
        ]
        if not any(answers):
            raise AssertionError(f"anything is let through as {name!r}, whatever its schema says")


async def _calls(
    tool: Tool[..., Any],
    texts: Sequence[str],
    owns: Mapping[str, Callable[[], bool]],
    w: World,
) -> None:
    """Call it by an asker that may be cut off, and then again."""
    for name, is_free in owns.items():
        w.own(name, is_free)
    values: list[object] = []

    async def function(**arguments: Any) -> Any:
        if tool.is_async:
            value = await tool.function(**arguments)
        else:
            await trio.lowlevel.checkpoint()
            value = tool.function(**arguments)
        values.append(value)
        return value

    here = attrs.evolve(tool, function=function, is_async=True, abandon=False)
    ref = await w.runtime.spawn(Dispatcher, [here], name="dispatcher")
    await _results(w, ref, "asker", tool.name, texts)
    for text in texts:
        values.clear()
        for result in await _results(w, ref, "next", tool.name, [text]):
            if result.is_error:
                raise AssertionError(
                    f"the call with {text} gave an error: {result.text} {result.detail}".rstrip()
                )
            value = values[-1]
            if not value:  # no other value is taken for none so easily
                wanted = value if isinstance(value, str) else json.dumps(value)
                if result.text != wanted:
                    raise AssertionError(
                        f"the call with {text} gave {result.text!r}, not {wanted!r}"
                    )
