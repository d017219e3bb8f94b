"""
The events of a chat completions stream: typed decoding of each, and what it means to us. Pure.

Decoding is tolerant where servers are known to differ (``choices`` missing, null or empty, a null
``delta``, content as a text or as parts, numbers or texts as codes, arguments as an object) and
strict elsewhere. Fields that are not named here are skipped while decoding; `ChunkReader.payload`
has the event as it was sent.
"""

import json
from typing import Any, TypeAlias

import msgspec

from greenroom.actors.llm.errors import Category, ProviderError, categorize, error_in
from greenroom.actors.llm.frames import (
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    TranscriptDelta,
    Usage,
)
from greenroom.actors.llm.profile import Profile
from greenroom.actors.llm.provider import CallFragment, Event, Finished, ModelSeen, UsageSeen
from greenroom.actors.llm.thinking import ThinkSplitter

__all__ = ["ChunkReader", "Logprob", "logprobs_of"]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Part(msgspec.Struct, gc=False):
    """A part of a content; Mistral's reasoning is one of type ``thinking``, with parts of its own."""

    text: str | None = None
    thinking: "str | list[_Part] | None" = None


class _Audio(msgspec.Struct, gc=False):
    transcript: str | None = None


class Logprob(msgspec.Struct, gc=False):
    """The log probability of a token, as both APIs send it."""

    token: str
    logprob: float
    top_logprobs: "list[Logprob] | None" = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[Logprob] | None = None
    refusal: list[Logprob] | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    audio: _Audio | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    # Some servers have forms of their own here, which are left alone.
    logprobs: Any = None


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    # DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode

_Text: TypeAlias = TextDelta | ReasoningDelta


class ChunkReader:
    """
    Turns the payloads of one stream into events.

    Args:
        profile: The dialect: what errors call the provider, and where reasoning and its tokens are.

    Attributes:
        payload: The payload read last, as it was sent; what we don't decode is to be found there.
        model: The model as served, empty until the provider says.
        is_done: Whether ``[DONE]`` has come.
        is_finished: Whether a finish reason or ``[DONE]`` has come.
    """

    __slots__ = (
        "_has_begun",
        "_profile",
        "_provider",
        "_reason",
        "_splitter",
        "is_done",
        "is_finished",
        "model",
        "payload",
    )

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._provider = profile.name
        self._splitter: ThinkSplitter | None = None
        if profile.think_tags is not None:
            self._splitter = ThinkSplitter(*profile.think_tags, is_begun=profile.thinking_begun)
        self._has_begun = False
        self._reason: str | None = None  # the finish reason that came last
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
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            if payload.strip() == b"[DONE]":  # looked for here, since it comes but once
                return self._finish()
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
            events.append(UsageSeen(_usage(chunk.usage, apart=self._profile.reasoning_apart)))
        return events

    def end(self) -> list[_Text]:
        """Return what was held because it might have become a tag; for the end of the stream."""
        return [] if self._splitter is None else self._splitter.end()

    def failure(self, payload: bytes) -> ProviderError:
        """Return the exception for an error that the provider sent in place of a chunk."""
        message, code, kind = error_in(payload)
        return ProviderError(
            f"{self._provider} broke the response off: {message}",
            category=categorize(None, code, kind),
        )

    def _finish(self) -> list[Event]:
        self.is_done = True
        if self.is_finished:
            return []
        self.is_finished = True
        return [*self.end(), Finished(None)]

    def _read_choice(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta
        if delta is not None:
            if delta.reasoning_content or delta.reasoning:
                for name in self._profile.reasoning:
                    if text := getattr(delta, name):
                        events.append(ReasoningDelta(text))
                        break
            if content := delta.content:
                if isinstance(content, str) and self._splitter is None:
                    events.append(TextDelta(content))  # nearly every chunk is this
                else:
                    self._read_content(content, events)
            if delta.refusal:
                events.append(RefusalDelta(delta.refusal))
            if delta.audio is not None and delta.audio.transcript:
                events.append(TranscriptDelta(delta.audio.transcript))
            for call in delta.tool_calls or ():
                function = call.function or _Function()
                arguments = function.arguments or ""
                if not isinstance(arguments, str):
                    arguments = json.dumps(arguments)
                events.append(CallFragment(call.index, call.id, function.name or "", arguments))
        if choice.logprobs is not None:
            self._read_logprobs(choice.logprobs, events)
        # Some servers give a reason with every chunk: the last one that is another counts.
        if choice.finish_reason and choice.finish_reason != self._reason:
            self.is_finished = True
            self._reason = choice.finish_reason
            events.extend(self.end())
            events.append(Finished(choice.finish_reason))

    def _read_content(self, content: str | list[_Part], events: list[Event]) -> None:
        if not isinstance(content, str):
            for part in content:
                if thinking := _thinking_in(part):
                    events.append(ReasoningDelta(thinking))
                if part.text:
                    self._read_content(part.text, events)
        elif self._splitter is None:
            events.append(TextDelta(content))
        else:
            events.extend(self._splitter.feed(content))

    def _read_logprobs(self, sent: Any, events: list[Event]) -> None:
        try:
            logprobs = msgspec.convert(sent, _Logprobs)
        except msgspec.ValidationError:
            return
        events.extend(logprobs_of([*(logprobs.content or ()), *(logprobs.refusal or ())]))


def logprobs_of(sent: list[Logprob] | None) -> list[LogprobsDelta]:
    """Return the frame for *sent*, if it holds anything."""
    if not sent:
        return []
    return [LogprobsDelta(tuple(map(_token, sent)))]


def _token(sent: Logprob) -> TokenLogprob:
    return TokenLogprob(sent.token, sent.logprob, tuple(map(_token, sent.top_logprobs or ())))


def _thinking_in(part: _Part) -> str:
    """Return the reasoning that *part* holds, perhaps empty."""
    thinking = part.thinking or ""
    if isinstance(thinking, str):
        return thinking
    return "".join((inner.text or "") + _thinking_in(inner) for inner in thinking)


def _usage(usage: _Usage, *, apart: bool) -> Usage:
    of_input = usage.prompt_tokens_details or _InputDetails()
    of_output = usage.completion_tokens_details or _OutputDetails()
    sent, received = usage.prompt_tokens or 0, usage.completion_tokens or 0
    reasoning = of_output.reasoning_tokens or 0
    if apart:
        received += reasoning
    return Usage(
        input=sent,
        output=received,
        total=usage.total_tokens or sent + received,
        cached=of_input.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        cache_written=of_input.cache_write_tokens or 0,
        reasoning=reasoning,
        audio=(of_input.audio_tokens or 0) + (of_output.audio_tokens or 0),
    )
