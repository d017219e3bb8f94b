"""What a request offers and has brought so far: its tools, and the calls and results of the turn."""

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs

from greenroom.actors.understudy.requests import array, obj
from greenroom.actors.understudy.rules import stem, words

__all__ = [
    "Call",
    "Reply",
    "Result",
    "Tool",
    "call",
    "is_handoff",
    "offered",
    "results_of",
    "text_of",
]


@attrs.frozen
class Call:
    """A tool call that the understudy wants made."""

    name: str
    """The tool."""

    arguments: str
    """A JSON object; equal arguments are equal texts."""


@attrs.frozen
class Reply:
    """What the understudy says next: a text, or tool calls."""

    text: str = ""
    """The answer; empty if there are calls."""

    calls: tuple[Call, ...] = ()
    """The calls, to be run in parallel; empty if there is a text."""


@attrs.frozen
class Result:
    """What came of a tool call."""

    call: Call
    """The call."""

    text: str
    """The content of the tool message."""

    value: Any
    """The text decoded, if it is JSON; else the text."""

    @property
    def fault(self) -> str | None:
        """What went wrong, if the result says that something did."""
        if obj(self.value).get("error"):
            return str(self.value["error"])
        cues = (
            r"error\b|tool '|no function|invalid|cancel|interrupted|timed out|.*\b(failed|raised)\b"
        )
        told = isinstance(self.value, str) and re.match(cues, self.text, re.IGNORECASE)
        return self.text if told else None


@attrs.frozen
class Tool:
    """A function that the request offers."""

    name: str
    """Its name."""

    description: str
    """What it says of itself; empty if nothing."""

    parameters: dict[str, dict[str, Any]]
    """The schema of each parameter, references followed."""

    required: frozenset[str]
    """The parameters that every call needs."""

    @property
    def words(self) -> frozenset[str]:
        """The words of its name and description, without plural endings."""
        return frozenset(map(stem, words(f"{self.name} {self.description}")))

    def options(self, parameter: str) -> list[str]:
        """Return the values that *parameter* may have, if its schema lists them."""
        schema = self.parameters[parameter]
        values = array(schema.get("enum")) or [schema.get("const")]
        return [value for value in values if value and isinstance(value, str)]


def is_handoff(name: str) -> bool:
    """Tell whether the tool of this name hands the conversation to somebody else."""
    return bool(re.match(r"(transfer|hand_?off|handover|delegate)_to_", name))


def call(name: str, arguments: dict[str, Any]) -> Call:
    """Return the call of tool *name* with *arguments*."""
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def offered(body: dict[str, Any]) -> Iterator[Tool]:
    """Return an iterator over the tools of the valid request *body*."""
    for tool in array(body.get("tools")):
        function = tool["function"]
        schema = obj(function.get("parameters"))
        parts = obj(schema.get("properties")).items()
        yield Tool(
            function["name"],
            function.get("description") or "",
            {name: _resolved(part, obj(schema.get("$defs"))) for name, part in parts},
            frozenset(map(str, array(schema.get("required")))),
        )


def _resolved(part: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into ``$defs``, and take the first choice of a union that is not null."""
    name = str(obj(part).get("$ref", "")).rpartition("/")[2]
    choices = [obj(choice) for choice in array(obj(part).get("anyOf"))]
    choice = next((choice for choice in choices if choice.get("type") != "null"), obj(None))
    if not name and not choice:
        return obj(part)
    # without the reference itself, so that one that leads to itself ends
    rest = {key: value for key, value in obj(part).items() if key not in ("$ref", "anyOf")}
    return {**rest, **obj(definitions.get(name)), **choice}


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message, its parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(obj(part).get("text", "")) for part in array(content))


def results_of(turn: list[Any]) -> dict[Call, Result]:
    """Return the results that the messages of *turn* hold, by call and in their order."""
    calls: dict[str, Call] = {}
    results: dict[Call, Result] = {}
    for message in turn:
        for made in array(message.get("tool_calls")):
            function = made["function"]
            calls[made["id"]] = call(function["name"], obj(_decoded(function["arguments"])))
        answered = calls.get(message.get("tool_call_id") or "")
        if answered:
            text = text_of(message)
            results[answered] = Result(answered, text, _decoded(text))
    return results


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
