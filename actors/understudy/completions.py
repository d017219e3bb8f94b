"""
Completions as the API sends them: whole, or as a stream of events, with faults worked in. Pure.

Tokens are estimated, the same way everywhere: a text has one for each word and the space before it,
and long words have one for every eight characters; the arguments of a call are cut every eight
characters. Each message costs four more, and the tools cost what their JSON does. What is streamed
as one event is one token.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from greenroom.actors.understudy.faults import Fault
from greenroom.actors.understudy.mind import decide
from greenroom.actors.understudy.requests import array, obj
from greenroom.actors.understudy.turn import text_of

__all__ = [
    "CREATED",
    "FINGERPRINT",
    "MODEL",
    "Completion",
    "Sent",
    "complete",
    "encoded",
    "events",
    "faulty",
    "fragments",
]

#: The name of the one model; it says what it is.
MODEL = "understudy-rules-1"

#: What ``system_fingerprint`` says in every response.
FINGERPRINT = "fp_rules_not_a_model"

#: The time that every response bears: the same request gets the same bytes (2026-01-01, UTC).
CREATED = 1_767_225_600

_MESSAGE_TOKENS = 4


@attrs.frozen
class Completion:
    """What answers one request, in the pieces in which it is streamed."""

    id: str
    """The id of the response; the same for the same request."""

    pieces: tuple[str, ...]
    """The text, a token each; empty if there are calls."""

    calls: tuple[dict[str, Any], ...]
    """The tool calls, as messages have them; empty if there is a text."""

    finish_reason: str
    """``stop``, ``tool_calls`` or ``length``."""

    prompt_tokens: int
    """Tokens of the request, estimated."""

    @property
    def usage(self) -> dict[str, Any]:
        """The usage object."""
        of_calls = sum(1 + len(fragments(call)) for call in self.calls)
        completion_tokens = len(self.pieces) + of_calls
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": CREATED,
            "model": MODEL,
            "system_fingerprint": FINGERPRINT,
            "service_tier": "default",
            "choices": choices,
        }

    def whole(self) -> dict[str, Any]:
        """Return the response to a request that is not streamed."""
        text = "".join(self.pieces) if not self.calls else None
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        message |= {"tool_calls": list(self.calls)} if self.calls else {}
        ended = {"logprobs": None, "finish_reason": self.finish_reason}
        choice = {"index": 0, "message": message, **ended}
        return {**self._body("chat.completion", [choice]), "usage": self.usage}

    def chunks(self, *, include_usage: bool) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield each event of a stream with the tokens that it brings: the role first."""
        for delta, tokens in self._deltas():
            finish_reason = None if delta else self.finish_reason
            ended = {"logprobs": None, "finish_reason": finish_reason}
            chunk = self._body("chat.completion.chunk", [{"index": 0, "delta": delta, **ended}])
            yield chunk | ({"usage": None} if include_usage else {}), tokens
        if include_usage:
            yield self._body("chat.completion.chunk", []) | {"usage": self.usage}, 0

    def _deltas(self) -> Iterator[tuple[dict[str, Any], int]]:
        content = None if self.calls else ""
        yield {"role": "assistant", "content": content, "refusal": None}, 0
        for piece in self.pieces:
            yield {"content": piece}, 1
        for index, call in enumerate(self.calls):
            function = {"name": call["function"]["name"], "arguments": ""}
            yield {"tool_calls": [{"index": index, **call, "function": function}]}, 1
        # parallel calls take turns, a fragment each: clients have to sort them by index
        for row in itertools.zip_longest(*map(fragments, self.calls)):
            for index, fragment in enumerate(row):
                if fragment is not None:
                    part = {"index": index, "function": {"arguments": fragment}}
                    yield {"tool_calls": [part]}, 1
        yield {}, 0


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S{1,8}|\s+$", text)


def fragments(call: dict[str, Any]) -> list[str]:
    """Return the arguments of *call* in the pieces in which they are streamed, a token each."""
    return re.findall(r".{1,8}", call["function"]["arguments"], re.DOTALL)


def _prompt_tokens(body: dict[str, Any]) -> int:
    tokens = len(_pieces(json.dumps(body["tools"]))) if body.get("tools") else 0
    for message in map(obj, array(body["messages"])):
        tokens += _MESSAGE_TOKENS + len(_pieces(text_of(message)))
        tokens += sum(1 + len(fragments(call)) for call in array(message.get("tool_calls")))
    return tokens


def complete(body: dict[str, Any]) -> Completion:
    """
    Return the completion of the valid request *body*; the same for the same request.

    Args:
        body: A chat completion request, as decoded from JSON.
    """
    reply = decide(body)
    said = json.dumps(body["messages"], sort_keys=True).encode()
    digest = hashlib.sha256(said).hexdigest()[:16]
    calls = tuple(
        {
            "id": f"call_{digest}_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(reply.calls)
    )
    text = reply.text
    if obj(body.get("response_format")).get("type") == "json_object" and not calls:
        text = json.dumps({"answer": text}, ensure_ascii=False)
    for stop in array(body.get("stop")) or [body.get("stop")]:
        text = text.partition(stop)[0] if stop else text
    pieces, most = _pieces(text), body.get("max_completion_tokens") or body.get("max_tokens")
    finish = "tool_calls" if calls else "stop"
    if most and calls:
        calls, cut = _cut(calls, most)
        finish = "length" if cut else finish
    elif most and len(pieces) > most:
        pieces, finish = pieces[:most], "length"
    return Completion(f"chatcmpl-{digest}", tuple(pieces), calls, finish, _prompt_tokens(body))


def _cut(calls: tuple[dict[str, Any], ...], most: int) -> tuple[tuple[dict[str, Any], ...], bool]:
    """Keep what *most* tokens of *calls* hold, in the order of the calls; tell whether that is less."""
    kept: list[dict[str, Any]] = []
    for call in calls:
        if most < 1:
            return tuple(kept), True
        pieces = fragments(call)
        function = {**call["function"], "arguments": "".join(pieces[: most - 1])}
        kept.append({**call, "function": function})
        most -= 1 + len(pieces)
    return tuple(kept), most < 0


def encoded(value: Any) -> bytes:
    """Return *value* as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.frozen
class Sent:
    """One event of a stream, before anything goes wrong with it."""

    payload: dict[str, Any]
    """Its data."""

    tokens: int
    """The tokens that it brings."""

    holder: dict[str, Any]
    """The part of *payload* that holds its text, if it has one."""

    key: str
    """The name of the text there."""

    name: str = ""
    """The event's own name; empty for none."""

    def framed(self, payload: bytes) -> bytes:
        """Return the event with *payload* as its data."""
        return (b"event: %s\n" % self.name.encode() if self.name else b"") + (
            b"data: %s\n\n" % payload
        )


def events(
    completion: Completion, fault: Fault, *, include_usage: bool
) -> Iterator[tuple[bytes, int]]:
    """
    Yield the events of a stream as bytes, each with the tokens that it brings, as *fault* has them.

    Args:
        completion: What is streamed.
        fault: What is to go wrong with single events.
        include_usage: Whether the event before the last holds the usage.
    """
    why = {"message": "the understudy was told to fail", "type": "server_error"}
    failure = Sent({"error": why | {"param": None, "code": None}}, 0, {}, "")
    sent: list[Sent] = []
    for chunk, tokens in completion.chunks(include_usage=include_usage):
        delta = obj(chunk["choices"][0]["delta"]) if chunk["choices"] else {}
        sent.append(Sent(chunk, tokens, delta, "content"))
    yield from faulty(sent, fault, failure)
    if not fault.no_done and not (fault.error and fault.error <= len(sent)):
        yield b"data: [DONE]\n\n", 0


def faulty(sent: Iterable[Sent], fault: Fault, failure: Sent) -> Iterator[tuple[bytes, int]]:
    """Yield *sent* as bytes, each with its tokens, as *fault* has them; *failure* is its error."""
    giant = fault.giant
    for number, event in enumerate(sent, 1):
        holder, key = event.holder, event.key
        if giant and holder.get(key):
            holder[key], giant = holder[key] + " " + "x" * (giant - 1), 0
        payload = encoded(event.payload)
        if number == fault.error:
            yield failure.framed(encoded(failure.payload)), 0
            return
        if number == fault.malformed:
            payload = payload[: len(payload) // 2]
        if number == fault.truncate_utf8:
            holder[key] = (holder.get(key) or "") + "\u20ac"
            before, _, after = encoded(event.payload).rpartition("\u20ac".encode())
            payload = before + "\u20ac".encode()[:2] + after
        yield event.framed(payload), event.tokens
