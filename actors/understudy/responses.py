"""
The Responses API of the understudy: its requests as chat completions, and completions as its events.

Pure. There is one mind and one set of rules for conversations: a request is turned into the chat
completion request that means the same, which is then checked and answered like any other. What the
understudy does not have (stored conversations, tools of the provider's own, images, log
probabilities) is refused rather than ignored.

Source: https://platform.openai.com/docs/api-reference/responses
"""

import itertools
from collections.abc import Iterator
from typing import Any

from greenroom.actors.understudy.completions import (
    CREATED,
    MODEL,
    Completion,
    Sent,
    faulty,
    fragments,
)
from greenroom.actors.understudy.faults import Fault
from greenroom.actors.understudy.requests import Problem, array, obj

__all__ = ["as_chat", "response_events", "whole_response"]

# Parameters that mean the same there under the same name, and those with another one.
_SAME = frozenset(
    {"metadata", "model", "parallel_tool_calls", "prompt_cache_key", "safety_identifier"}
    | {"service_tier", "store", "stream", "temperature", "top_p", "user"}
)
_OTHER = {"max_output_tokens": "max_completion_tokens"}

# Parameters that the API has and that ask for what the understudy does not have.
_UNSUPPORTED = frozenset(
    {"background", "context_management", "conversation", "include", "max_tool_calls"}
    | {"moderation", "previous_response_id", "prompt", "top_logprobs", "truncation"}
)


def as_chat(body: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """
    Return the chat completion request that *body* means, and what has no such meaning.

    Args:
        body: A request to the Responses API, as decoded from JSON.
    """
    chat: dict[str, Any] = {"messages": []}
    found: list[Problem] = []
    if body.get("input") is None:
        found.append(Problem("Missing required parameter: 'input'.", "input"))
    for name, value in body.items():
        if name in _SAME:
            chat[name] = value
        elif name in _OTHER:
            chat[_OTHER[name]] = value
        elif name == "instructions":
            if value is not None:
                chat["messages"].insert(0, {"role": "system", "content": value})
        elif name == "input":
            chat["messages"] += _messages(value, found)
        elif name == "tools":
            chat["tools"] = [_nested(tool, found) for tool in array(value)]
        elif name == "tool_choice":
            chat[name] = value if isinstance(value, str) else _nested(value, found)
        elif name == "reasoning":
            chat["reasoning_effort"] = obj(value).get("effort")
        elif name == "text":
            chat["response_format"] = obj(value).get("format")
            chat["verbosity"] = obj(value).get("verbosity")
        elif name in _UNSUPPORTED:
            if value:
                found.append(Problem(f"Unsupported parameter: '{name}'.", name, "unsupported"))
        else:
            found.append(Problem(f"Unknown parameter: '{name}'.", name, "unknown_parameter"))
    return chat, found


def _nested(tool: Any, found: list[Problem]) -> dict[str, Any]:
    """Return a tool or the choice of one as chat completions have it: nested in ``function``."""
    if obj(tool).get("type") != "function":
        found.append(Problem("Invalid 'tools': this server has functions only.", "tools"))
        return {}
    function = {name: value for name, value in obj(tool).items() if name != "type"}
    return {"type": "function", "function": function}


def _messages(given: Any, found: list[Problem]) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(map(obj, array(given))):
        kind = item.get("type") or "message"
        if kind == "message":
            messages.append({"role": item.get("role"), "content": _content(item)})
        elif kind == "function_call":
            # The calls of one response follow its text.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            answer = {"role": "tool", "tool_call_id": item.get("call_id")}
            messages.append({**answer, "content": item.get("output")})
        else:
            why = f"Invalid 'input[{number}].type': this server has no {kind!r}."
            found.append(Problem(why, f"input[{number}].type"))
    return messages


def _content(item: dict[str, Any]) -> Any:
    """Return the content of a message, its kinds of text under their name in chat completions."""
    content = item.get("content")
    if not isinstance(content, list):
        return content
    parts: list[Any] = []
    for part in array(item.get("content")):
        is_text = obj(part).get("type") in ("input_text", "output_text")
        parts.append({"type": "text", "text": part.get("text")} if is_text else part)
    return parts


def whole_response(completion: Completion, *, status: str | None = None) -> dict[str, Any]:
    """
    Return the response object.

    Args:
        completion: What the response holds.
        status: As at this moment; None for that of the end, with output and usage.
    """
    is_cut = completion.finish_reason == "length"
    final = "incomplete" if is_cut else "completed"
    return {
        "id": _id("resp", completion),
        "object": "response",
        "created_at": CREATED,
        "status": status or final,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut and not status else None,
        "model": MODEL,
        "output": [] if status else _output(completion),
        "usage": None if status else _usage(completion),
    }


def _usage(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }


def _id(kind: str, completion: Completion, number: int = 0) -> str:
    digest = completion.id.partition("-")[2]
    return f"{kind}_{digest}" + (f"_{number}" if kind == "fc" else "")


def _output(completion: Completion) -> list[dict[str, Any]]:
    if completion.calls:
        return [
            _call_item(completion, number, call["function"]["arguments"])
            for number, call in enumerate(completion.calls)
        ]
    return [_message_item(completion, "".join(completion.pieces))]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_item(completion: Completion, text: str | None) -> dict[str, Any]:
    return {
        "id": _id("msg", completion),
        "type": "message",
        "role": "assistant",
        "status": "in_progress" if text is None else "completed",
        "content": [] if text is None else [_part(text)],
    }


def _call_item(completion: Completion, number: int, arguments: str | None) -> dict[str, Any]:
    call = completion.calls[number]
    return {
        "id": _id("fc", completion, number),
        "type": "function_call",
        "call_id": call["id"],
        "name": call["function"]["name"],
        "arguments": arguments or "",
        "status": "in_progress" if arguments is None else "completed",
    }


def response_events(completion: Completion, fault: Fault) -> Iterator[tuple[bytes, int]]:
    """
    Yield the events of a stream as bytes, each with the tokens that it brings, as *fault* has them.

    A fault that leaves ``[DONE]`` out leaves the last event out.
    """
    sent: list[Sent] = []
    for number, (kind, fields, tokens) in enumerate(_events(completion)):
        payload = {"type": kind, "sequence_number": number, **fields}
        holder = payload if kind == "response.output_text.delta" else {}
        sent.append(Sent(payload, tokens, holder, "delta", kind))
    if fault.no_done:
        sent.pop()
    why = {"code": "server_error", "message": "the understudy was told to fail", "param": None}
    failure = {"type": "error", **why}
    return faulty(sent, fault, Sent(failure, 0, {}, "", "error"))


def _events(completion: Completion) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Yield type, fields and tokens of each event."""
    for kind, status in (("created", "in_progress"), ("in_progress", "in_progress")):
        yield f"response.{kind}", {"response": whole_response(completion, status=status)}, 0
    yield from _call_events(completion) if completion.calls else _text_events(completion)
    response = whole_response(completion)
    yield f"response.{response['status']}", {"response": response}, 0


def _text_events(completion: Completion) -> Iterator[tuple[str, dict[str, Any], int]]:
    text = "".join(completion.pieces)
    item = {"output_index": 0, "item_id": _id("msg", completion), "content_index": 0}
    added = {"output_index": 0, "item": _message_item(completion, None)}
    yield "response.output_item.added", added, 0
    yield "response.content_part.added", {**item, "part": _part("")}, 0
    for piece in completion.pieces:
        yield "response.output_text.delta", {**item, "delta": piece, "logprobs": []}, 1
    yield "response.output_text.done", {**item, "text": text, "logprobs": []}, 0
    yield "response.content_part.done", {**item, "part": _part(text)}, 0
    done = {"output_index": 0, "item": _message_item(completion, text)}
    yield "response.output_item.done", done, 0


def _call_events(completion: Completion) -> Iterator[tuple[str, dict[str, Any], int]]:
    for number in range(len(completion.calls)):
        item = _call_item(completion, number, None)
        yield "response.output_item.added", {"output_index": number, "item": item}, 1
    # parallel calls take turns, a fragment each: clients have to sort them by index
    for row in itertools.zip_longest(*map(fragments, completion.calls)):
        for number, fragment in enumerate(row):
            if fragment is not None:
                item = {"output_index": number, "item_id": _id("fc", completion, number)}
                yield "response.function_call_arguments.delta", {**item, "delta": fragment}, 1
    for number, call in enumerate(completion.calls):
        arguments = call["function"]["arguments"]
        item = {"output_index": number, "item_id": _id("fc", completion, number)}
        yield "response.function_call_arguments.done", {**item, "arguments": arguments}, 0
        done = {"output_index": number, "item": _call_item(completion, number, arguments)}
        yield "response.output_item.done", done, 0
