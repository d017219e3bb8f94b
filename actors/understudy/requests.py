"""
What makes a chat completion request valid: as strict as the real API, and pure.

The real API refuses a conversation in which a tool call has no answer, an answer has no call, or
anything stands between the two; many compatible servers do not, and hide the mistake. The
understudy refuses them all, so that a context that passes here passes there (I8). Features that it
does not have (several choices, log probabilities, schemas for the answer, audio) are refused too,
rather than ignored.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, TypeGuard

import attrs

__all__ = ["PARAMETERS", "Problem", "array", "obj", "problems"]


@attrs.frozen
class Problem:
    """One thing that is wrong with a request, as the ``error`` object of a 400 response has it."""

    message: str
    """What is wrong, and what was expected."""

    param: str | None = None
    """The place, such as ``messages[1].content``; None for the request as a whole."""

    code: str = "invalid_value"
    """A word for the kind of mistake."""


# {parameter: (kind, limits)}; limits are a range for numbers, else the values that are allowed
_SPECS: dict[str, tuple[str, Any]] = {
    "model": ("string", None),
    "messages": ("array", None),
    "tools": ("array", None),
    "tool_choice": ("any", None),
    "stop": ("any", None),
    **dict.fromkeys(
        ("audio", "function_call", "functions", "moderation", "prediction", "web_search_options"),
        ("unsupported", None),
    ),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), ("number", (-2, 2))),
    **dict.fromkeys(("max_completion_tokens", "max_tokens"), ("integer", (1, math.inf))),
    **dict.fromkeys(("parallel_tool_calls", "store", "stream"), ("boolean", None)),
    "temperature": ("number", (0, 2)),
    "top_p": ("number", (0, 1)),
    "n": ("integer", (1, 1)),
    "seed": ("integer", (-(2**63), 2**63 - 1)),
    "top_logprobs": ("integer", (0, 0)),
    "logprobs": ("boolean", (False,)),
    **dict.fromkeys(("logit_bias", "metadata", "prompt_cache_options"), ("object", None)),
    "modalities": ("array", (["text"],)),
    "response_format": ("object", ({"type": "text"}, {"type": "json_object"})),
    "stream_options": ("object", None),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention"), ("string", None)),
    **dict.fromkeys(("safety_identifier", "user"), ("string", None)),
    "reasoning_effort": ("string", ("none", "minimal", "low", "medium", "high", "xhigh")),
    "service_tier": ("string", ("auto", "default", "flex", "scale", "priority")),
    "verbosity": ("string", ("low", "medium", "high")),
}

#: Every parameter that the API documents; any other is refused.
PARAMETERS = frozenset(_SPECS)

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}

# {role: (the fields that a message of that role may have, the kinds of its content parts)}; the
# last three of an assistant must be empty: the SDK's own message objects dump them
_ROLES = {
    "system": ("role content name", "text"),
    "developer": ("role content name", "text"),
    "user": ("role content name", "text image_url input_audio file"),
    "assistant": (
        "role content name refusal tool_calls audio annotations function_call",
        "text refusal",
    ),
    "tool": ("role content tool_call_id", "text"),
}

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_TOOLS = 128

Found = Iterator[Problem]


def _is(kind: str, value: object) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def obj(value: Any) -> dict[str, Any]:
    """Return the JSON object *value*, or an empty one if it is something else."""
    return value if _is_object(value) else {}


def array(value: Any) -> list[Any]:
    """Return the JSON array *value*, or an empty one if it is something else."""
    return value if _is_array(value) else []


def problems(body: Any) -> tuple[Problem, ...]:
    """
    Return all that is wrong with the chat completion request *body*.

    Args:
        body: The request as decoded from JSON.
    """
    return tuple(_request(body) if _is_object(body) else _wrong_type("", "object", body))


def _wrong_type(at: str, expected: str, value: Any) -> Found:
    got = next((kind for kind in _KINDS if _is(kind, value)), "null")
    message = f"Invalid type for '{at or 'body'}': expected {expected}, but got {got} instead."
    yield Problem(message, at or None, "invalid_type")


def _invalid(at: str, why: str) -> Found:
    yield Problem(f"Invalid '{at}': {why}.", at)


def _missing(at: str) -> Found:
    yield Problem(f"Missing required parameter: '{at}'.", at, "missing_required_parameter")


def _unknown(at: str) -> Found:
    yield Problem(f"Unknown parameter: '{at}'.", at, "unknown_parameter")


def _unsupported(at: str) -> Found:
    yield Problem(f"Unsupported parameter: '{at}'.", at, "unsupported_parameter")


def _typed(at: str, kind: str, value: Any) -> Found:
    if value is not None and not _is(kind, value):
        yield from _wrong_type(at, kind, value)


def _request(body: dict[str, Any]) -> Found:
    for name in ("model", "messages"):
        if body.get(name) is None:
            yield from _missing(name)
    for name, value in body.items():
        if name not in PARAMETERS:
            yield from _unknown(name)
        elif value is not None:
            yield from _parameter(name, value)
    yield from _together(body)
    yield from _messages(body.get("messages"))
    yield from _tools(body.get("tools"))
    yield from _tool_choice(body)


def _parameter(name: str, value: Any) -> Found:
    kind, limits = _SPECS[name]
    if kind == "unsupported":
        yield from _unsupported(name)
    elif kind == "any":
        return
    elif not _is(kind, value):
        yield from _wrong_type(name, kind, value)
    elif kind in ("number", "integer"):
        if not limits[0] <= value <= limits[1]:
            yield from _invalid(name, f"expected {limits[0]} to {limits[1]}, but got {value}")
    elif limits and value not in limits:
        here = " or ".join(map(str, limits))
        yield from _invalid(name, f"this server has {here} only, but got {value!r}")


def _together(body: dict[str, Any]) -> Found:
    """Check what depends on more than one parameter, and those with a form of their own."""
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        yield from _invalid("max_tokens", "send max_tokens or max_completion_tokens, not both")
    if body.get("stream_options") is not None and not body.get("stream"):
        yield from _invalid("stream_options", "it is only allowed when 'stream' is true")
    for key, value in obj(body.get("stream_options")).items():
        if key not in ("include_usage", "include_obfuscation"):
            yield from _unknown(f"stream_options.{key}")
        yield from _typed(f"stream_options.{key}", "boolean", value)
    stop = body.get("stop")
    stops = array(stop) or [stop]
    if stop is not None and not (len(stops) <= 4 and all(_is("string", s) and s for s in stops)):
        yield from _invalid("stop", "expected a string or an array of 1 to 4 strings")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            yield from _invalid(name, "it is only allowed when 'tools' are specified")


def _tool_choice(body: dict[str, Any]) -> Found:
    choice = body.get("tool_choice")
    if choice in (None, "none", "auto", "required"):
        return
    names = [obj(obj(tool).get("function")).get("name") for tool in array(body.get("tools"))]
    chosen = obj(obj(choice).get("function")).get("name")
    if obj(choice).get("type") != "function" or chosen is None:
        why = "expected none, auto, required, or an object with type 'function' and its name"
        yield from _invalid("tool_choice", why)
    elif chosen not in names:
        yield from _invalid("tool_choice", f"there is no tool named {chosen!r}")


def _tools(tools: Any) -> Found:
    if _is_array(tools) and not 1 <= len(tools) <= _MAX_TOOLS:
        yield from _invalid("tools", f"expected 1 to {_MAX_TOOLS} tools, but got {len(tools)}")
    seen: list[Any] = []
    for number, tool in enumerate(array(tools)):
        at, function = f"tools[{number}].function", obj(tool).get("function")
        if obj(tool).get("type") != "function" or not _is_object(function):
            yield from _invalid(f"tools[{number}]", "expected type 'function' and a function")
            continue
        yield from _name(f"{at}.name", function.get("name"))
        if function.get("name") in seen:
            yield from _invalid(f"{at}.name", f"the name {function['name']!r} stands twice")
        seen.append(function.get("name"))
        kinds = {"description": "string", "parameters": "object", "strict": "boolean"}
        for key, value in function.items():
            if key in kinds:
                yield from _typed(f"{at}.{key}", kinds[key], value)
            elif key != "name":
                yield from _unknown(f"{at}.{key}")
        schema = obj(function.get("parameters"))
        if schema and schema.get("type") != "object":
            yield from _invalid(f"{at}.parameters", "the schema must have type 'object'")
        yield from _schema(f"{at}.parameters", schema)


def _schema(at: str, schema: dict[str, Any]) -> Found:
    """Check what the real API refuses: properties, required and items of a wrong form."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    yield from _typed(f"{at}.properties", "object", properties)
    if schema.get("type") == "array" and "items" not in schema:
        yield from _invalid(at, "an array schema needs 'items'")
    if not _is_array(required) or not all(name in obj(properties) for name in map(str, required)):
        why = "expected an array of names that stand in 'properties'"
        yield from _invalid(f"{at}.required", why)
    for name, part in obj(properties).items():
        if not isinstance(part, bool):  # true and false are schemas too
            yield from _typed(f"{at}.properties.{name}", "object", part)
        yield from _schema(f"{at}.properties.{name}", obj(part))


def _name(at: str, value: Any) -> Found:
    if value is None:
        yield from _missing(at)
    elif not isinstance(value, str):
        yield from _wrong_type(at, "string", value)
    elif not _NAME.fullmatch(value):
        yield from _invalid(at, f"expected 1 to 64 letters, digits, _ or -, but got {value!r}")


def _messages(messages: Any) -> Found:
    if messages == []:
        yield Problem("Invalid 'messages': the array is empty.", "messages", "empty_array")
    open_calls: list[Any] = []  # ids of the last assistant message that nothing has answered yet
    for number, message in enumerate(array(messages)):
        at, answered = f"messages[{number}]", obj(message).get("tool_call_id")
        yield from _message(at, message)
        if obj(message).get("role") != "tool":
            yield from _unanswered(open_calls)
            is_assistant = obj(message).get("role") == "assistant"
            calls = obj(message).get("tool_calls") if is_assistant else None
            open_calls = [obj(call).get("id") for call in array(calls)]
        elif answered in open_calls:
            open_calls.remove(answered)
        else:
            why = f"{answered!r} answers no tool call of the assistant message right before it"
            yield from _invalid(f"{at}.tool_call_id", why)
    yield from _unanswered(open_calls)


def _unanswered(ids: list[Any]) -> Found:
    if ids:
        yield Problem(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to"
            " each 'tool_call_id'. These tool_call_ids did not have response messages: "
            + ", ".join(map(str, ids)),
            "messages",
        )


def _message(at: str, message: Any) -> Found:
    role = obj(message).get("role")
    if not _is_object(message):
        yield from _wrong_type(at, "object", message)
        return
    if not isinstance(role, str) or role not in _ROLES:
        yield from _invalid(f"{at}.role", f"expected one of {', '.join(_ROLES)}, but got {role!r}")
        return
    fields, parts = (text.split() for text in _ROLES[role])
    for key, value in message.items():
        if key not in fields:
            yield from _unknown(f"{at}.{key}")
        elif key in ("audio", "annotations", "function_call") and value:
            yield from _unsupported(f"{at}.{key}")
        elif key in ("name", "refusal", "tool_call_id"):
            yield from _typed(f"{at}.{key}", "string", value)
    calls = message.get("tool_calls") if role == "assistant" else None
    if role == "tool" and message.get("tool_call_id") is None:
        yield from _missing(f"{at}.tool_call_id")
    if calls is not None:
        yield from _tool_calls(f"{at}.tool_calls", calls)
    # an assistant may go without content if it has something else to say
    if message.get("content") is not None or not (calls or message.get("refusal")):
        yield from _content(f"{at}.content", message.get("content"), parts)


def _content(at: str, content: Any, kinds: list[str]) -> Found:
    if content == []:
        yield from _invalid(at, "the array is empty")
    elif not isinstance(content, (str, list)):
        yield from _wrong_type(at, "string or array of objects", content)
    for number, part in enumerate(array(content)):
        kind = obj(part).get("type")
        if kind not in kinds:
            why = f"expected one of {', '.join(kinds)}, but got {kind!r}"
            yield from _invalid(f"{at}[{number}].type", why)
        elif not _is("string" if kind in ("text", "refusal") else "object", part.get(kind)):
            yield from _missing(f"{at}[{number}].{kind}")


def _tool_calls(at: str, calls: Any) -> Found:
    if not array(calls):
        yield from _invalid(at, "expected an array with at least one call")
    seen: list[Any] = []
    for number, call in enumerate(array(calls)):
        place, call_id = f"{at}[{number}]", obj(call).get("id")
        function = obj(obj(call).get("function"))
        if not _is("string", call_id) or not call_id or call_id in seen:
            why = "expected a string that no other call of this message has"
            yield from _invalid(f"{place}.id", why)
        seen.append(call_id)
        if obj(call).get("type") != "function":
            yield from _invalid(f"{place}.type", "expected 'function'")
        yield from _name(f"{place}.function.name", function.get("name"))
        if not _is("string", function.get("arguments")):
            here = f"{place}.function.arguments"
            yield from _wrong_type(here, "string", function.get("arguments"))
