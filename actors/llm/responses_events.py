"""
The events of OpenAI's Responses API: typed decoding of each, and what it means to us. Pure.

A response is a list of output items, and every event says which item it is about by its place in
that list. Text, refusals, reasoning and arguments come as deltas and once more whole: the whole
counts only where no delta came, as some servers send them. There is no ``[DONE]``: the last event
says how the response ended.

Source: https://platform.openai.com/docs/api-reference/responses-streaming, and the types of the
openai package 3.54.
"""

from typing import Any

import msgspec

from greenroom.actors.llm.chunks import Logprob, logprobs_of
from greenroom.actors.llm.errors import Category, ProviderError, categorize, error_in
from greenroom.actors.llm.frames import (
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TranscriptDelta,
    Usage,
)
from greenroom.actors.llm.profile import Profile
from greenroom.actors.llm.provider import CallFragment, Event, Finished, ModelSeen, UsageSeen

__all__ = ["ResponsesReader"]

# Why a response is incomplete, where we know the reason; any other is told as "incomplete".
_REASONS = frozenset({"max_output_tokens", "max_messages", "content_filter", "steered"})


class _Item(msgspec.Struct):
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    # An object in items of other types.
    arguments: Any = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None
    # These are texts in the events that are read, and anything in others.
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    logprobs: Any = None


_decoder = msgspec.json.Decoder(_Event)

# {type of an event: the method that reads it}; any other event says nothing to us.
_READERS = {
    "response.output_text.delta": "_read_text",
    "response.output_text.done": "_read_whole_text",
    "response.refusal.delta": "_read_refusal",
    "response.refusal.done": "_read_whole_refusal",
    "response.audio.transcript.delta": "_read_transcript",
    "response.reasoning_summary_text.delta": "_read_reasoning",
    "response.reasoning_text.delta": "_read_reasoning",
    "response.output_item.added": "_read_item",
    "response.output_item.done": "_read_item",
    "response.function_call_arguments.delta": "_read_arguments",
    "response.function_call_arguments.done": "_read_whole_arguments",
    "response.completed": "_read_end",
    "response.incomplete": "_read_end",
    "response.failed": "_read_end",
    "response.cancelled": "_read_end",
}


class ResponsesReader:
    """
    Turns the payloads of one stream into events; an `EventReader`.

    Args:
        profile: What errors call the provider.

    Attributes:
        payload: The payload read last, as it was sent; what we don't decode is to be found there.
        model: The model as served, empty until the provider says.
        is_done: Whether the last event, or ``[DONE]``, has come.
    """

    def __init__(self, profile: Profile) -> None:
        self._provider = profile.name
        self._has_begun = False
        # (kind, place, part) of what came as deltas, so that the whole is not read once more, and
        # of calls whose name was read; at most a few for each item.
        self._seen: set[tuple[str, int, int]] = set()
        self._places: dict[str, int] = {}  # of items whose events bear no index, by their id
        # The kind of reasoning that came first, and the part that came last.
        self._reasoning: tuple[str, int, int] | None = None
        self.payload = b""
        self.model = ""
        self.is_done = False

    def read(self, payload: bytes, name: bytes = b"message") -> list[Event]:
        """
        Return what the event *name* with data *payload* says.

        Raises:
            ProviderError: the event is an error, or none of this API; or the response failed.
        """
        if self.is_done:
            return []
        self.payload = payload
        if payload.strip() == b"[DONE]":
            self.is_done = True
            return [Finished(None)]
        try:
            event = _decoder.decode(payload)
            event.type = kind = event.type or ("" if name == b"message" else name.decode())
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._malformed(str(error)) from error
        if kind == "error" or (event.error and event.response is None):
            raise self._failure(payload)
        if not kind:
            raise self._malformed("it has no type")
        events: list[Event] = []
        model = "" if event.response is None else event.response.model or ""
        if not self._has_begun or (model and model != self.model):
            self._has_begun = True
            self.model = model or self.model
            events.append(ModelSeen(self.model))
        if kind in _READERS:
            getattr(self, _READERS[kind])(event, events)
        return events

    def end(self) -> tuple[()]:
        """Return nothing: nothing is held back."""
        return ()

    def _malformed(self, why: str) -> ProviderError:
        return ProviderError(
            f"{self._provider} sent an event that is none of the Responses API ({why}): "
            f"{self.payload[:80].decode('utf-8', 'replace')!r}",
            category=Category.MALFORMED,
        )

    def _failure(self, payload: bytes) -> ProviderError:
        message, code, kind = error_in(payload)
        return ProviderError(
            f"{self._provider} broke the response off: {message}",
            category=categorize(None, code, kind),
        )

    def _text_of(self, value: Any) -> str:
        """Return *value*, which has to be a text or absent."""
        if value is None or isinstance(value, str):
            return value or ""
        raise self._malformed("a delta is no text")

    def _place(self, event: _Event) -> int:
        if event.output_index is not None:
            return event.output_index
        return self._places.setdefault(event.item_id or "", len(self._places))

    def _is_new(self, kind: str, event: _Event) -> bool:
        """Tell whether nothing of *kind* has come for this part of this item, and note that it has."""
        key = (kind, self._place(event), event.content_index or 0)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _read_text(self, event: _Event, events: list[Event]) -> None:
        if text := self._text_of(event.delta):
            self._is_new("text", event)
            events.append(TextDelta(text))
        if event.logprobs:
            events.extend(_logprobs(event.logprobs))

    def _read_whole_text(self, event: _Event, events: list[Event]) -> None:
        if self._is_new("text", event) and (text := self._text_of(event.text)):
            events.append(TextDelta(text))

    def _read_refusal(self, event: _Event, events: list[Event]) -> None:
        if text := self._text_of(event.delta):
            self._is_new("refusal", event)
            events.append(RefusalDelta(text))

    def _read_whole_refusal(self, event: _Event, events: list[Event]) -> None:
        if self._is_new("refusal", event) and (text := self._text_of(event.refusal)):
            events.append(RefusalDelta(text))

    def _read_transcript(self, event: _Event, events: list[Event]) -> None:
        if text := self._text_of(event.delta):
            events.append(TranscriptDelta(text))

    def _read_reasoning(self, event: _Event, events: list[Event]) -> None:
        """Read a summary or the reasoning itself, whichever comes first; parts are set apart."""
        index = event.summary_index if event.summary_index is not None else event.content_index
        part = (event.type.partition("_text")[0], self._place(event), index or 0)
        text = self._text_of(event.delta)
        if text and (self._reasoning is None or self._reasoning[0] == part[0]):
            if self._reasoning not in (None, part):
                text = "\n\n" + text
            self._reasoning = part
            events.append(ReasoningDelta(text))

    def _read_item(self, event: _Event, events: list[Event]) -> None:
        item = event.item
        if item is None or item.type != "function_call":
            return
        is_over = event.type.endswith(".done")
        is_new = self._is_new("call", event)
        arguments = ""
        if is_over and self._is_new("arguments", event):
            arguments = self._text_of(item.arguments)
        if is_new or arguments:
            name = (item.name or "") if is_new else ""
            events.append(CallFragment(self._place(event), item.call_id, name, arguments))

    def _read_arguments(self, event: _Event, events: list[Event]) -> None:
        if text := self._text_of(event.delta):
            self._is_new("arguments", event)
            events.append(CallFragment(self._place(event), None, "", text))

    def _read_whole_arguments(self, event: _Event, events: list[Event]) -> None:
        text = self._text_of(event.arguments)
        if text and self._is_new("arguments", event):
            events.append(CallFragment(self._place(event), None, "", text))

    def _read_end(self, event: _Event, events: list[Event]) -> None:
        """Read the last event. A response that failed or was cancelled there is an error."""
        response = event.response or _Response()
        status = event.type.rpartition(".")[2]
        self.is_done = True
        if status == "failed":
            raise self._failure(msgspec.json.encode({"error": response.error or {"message": ""}}))
        if status == "cancelled":
            raise ProviderError(
                f"{self._provider} broke the response off: it was cancelled there",
                category=Category.UNKNOWN,
            )
        reason = status
        if status == "incomplete":
            details = response.incomplete_details or _Incomplete()
            reason = details.reason if details.reason in _REASONS else status
        events.append(Finished(reason))
        if response.usage is not None:
            events.append(UsageSeen(_usage(response.usage)))


def _logprobs(sent: Any) -> list[LogprobsDelta]:
    try:
        return logprobs_of(msgspec.convert(sent, list[Logprob]))
    except msgspec.ValidationError:
        return []


def _usage(usage: _Usage) -> Usage:
    of_input = usage.input_tokens_details or _InputDetails()
    of_output = usage.output_tokens_details or _OutputDetails()
    sent, received = usage.input_tokens or 0, usage.output_tokens or 0
    return Usage(
        input=sent,
        output=received,
        total=usage.total_tokens or sent + received,
        cached=of_input.cached_tokens or 0,
        cache_written=of_input.cache_write_tokens or 0,
        reasoning=of_output.reasoning_tokens or 0,
    )
