"""
The events of a chat completions stream: typed decoding of each, and what it means to us. Pure.

Decoding is tolerant where servers are known to differ (``choices`` missing, null or empty, a null
``delta``, numbers or texts as codes, arguments as an object) and strict elsewhere. Fields that are
not named here are skipped while decoding; `ChunkReader.payload` has the event as it was sent.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from greenroom.actors.llm.errors import Category, ProviderError, categorize, error_in
from greenroom.actors.llm.frames import ReasoningDelta, RefusalDelta, TextDelta, Usage
from greenroom.actors.llm.provider import CallFragment, Event, Finished, ModelSeen, UsageSeen

__all__ = ["ChunkReader"]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    # DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: int | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


class ChunkReader:
    """
    Turns the payloads of one stream into events.

    Args:
        provider: What errors call the provider.
        reasoning: The fields of a delta that may hold reasoning, see `Profile.reasoning`.

    Attributes:
        payload: The payload read last, as it was sent; what we don't decode is to be found there.
        model: The model as served, empty until the provider says.
        is_done: Whether ``[DONE]`` has come.
        is_finished: Whether a finish reason or ``[DONE]`` has come.
    """

    __slots__ = (
        "_has_begun",
        "_provider",
        "_reasoning",
        "is_done",
        "is_finished",
        "model",
        "payload",
    )

    def __init__(self, provider: str, reasoning: Iterable[str]) -> None:
        self._provider = provider
        self._reasoning = tuple(reasoning)
        self._has_begun = False
        self.payload = b""
        self.model = ""
        self.is_done = False
        self.is_finished = False

    def read(self, payload: bytes, name: bytes = b"message") -> list[Event]:
        """
        Return what the event *name* with data *payload* says.

        Raises:
            ProviderError: the event is an error, or is no chunk.
        """
        if self.is_done:
            return []
        self.payload = payload
        if name == b"error":
            raise self.failure(payload)
        if payload.strip() == b"[DONE]":
            self.is_done = True
            if self.is_finished:
                return []
            self.is_finished = True
            return [Finished(None)]
        try:
            chunk = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProviderError(
                f"{self._provider} sent an event that is no chat completion chunk ({error}): "
                f"{payload[:80].decode('utf-8', 'replace')!r}",
                category=Category.MALFORMED,
            ) from error
        if chunk.error:
            raise self.failure(payload)
        events: list[Event] = []
        if not self._has_begun or (chunk.model and chunk.model != self.model):
            self._has_begun = True
            self.model = chunk.model or self.model
            events.append(ModelSeen(self.model))
        for choice in chunk.choices or ():
            # A stream has one choice, as `Settings` sees to; what else comes is not of it.
            if not choice.index:
                self._read_choice(choice, events)
        if chunk.usage is not None:
            events.append(UsageSeen(_usage(chunk.usage)))
        return events

    def failure(self, payload: bytes) -> ProviderError:
        """Return the exception for an error that the provider sent in place of a chunk."""
        message, code, kind = error_in(payload)
        return ProviderError(
            f"{self._provider} broke the response off: {message}",
            category=categorize(None, code, kind),
        )

    def _read_choice(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta
        if delta is not None:
            for name in self._reasoning:
                if text := getattr(delta, name):
                    events.append(ReasoningDelta(text))
                    break
            if delta.content:
                events.append(TextDelta(delta.content))
            if delta.refusal:
                events.append(RefusalDelta(delta.refusal))
            for call in delta.tool_calls or ():
                function = call.function or _Function()
                arguments = function.arguments or ""
                if not isinstance(arguments, str):
                    arguments = json.dumps(arguments)
                events.append(CallFragment(call.index, call.id, function.name or "", arguments))
        if choice.finish_reason:
            self.is_finished = True
            events.append(Finished(choice.finish_reason))


def _usage(usage: _Usage) -> Usage:
    of_input = usage.prompt_tokens_details or _InputDetails()
    of_output = usage.completion_tokens_details or _OutputDetails()
    sent, received = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return Usage(
        input=sent,
        output=received,
        total=usage.total_tokens or sent + received,
        cached=of_input.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        cache_written=of_input.cache_write_tokens or 0,
        reasoning=of_output.reasoning_tokens or 0,
        audio=(of_input.audio_tokens or 0) + (of_output.audio_tokens or 0),
    )
