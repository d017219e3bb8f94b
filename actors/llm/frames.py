"""
The frames of the LLM actor: what it is asked, and what a response is made of.

A response comes as `ResponseStarted`, then any of `TextDelta`, `ReasoningDelta`, `RefusalDelta`,
`TranscriptDelta` and `ToolCallStarted`, then `ToolCallsReady` if the model made calls, then
`UsageReported` at most once, then `ResponseEnded`. Every start has exactly one end (I5). Among the
deltas stand `LogprobsDelta` and `RawEvent`, for those who ask for them.
"""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

import attrs

from greenroom.actors.llm.context import Context, ToolCall
from greenroom.actors.llm.errors import Category
from greenroom.actors.llm.patience import Deadline
from greenroom.actors.llm.settings import Settings
from greenroom.runtime import Frame, Refused, Request, StreamRequest, frame

__all__ = [
    "DELTAS",
    "Complete",
    "Completion",
    "Generate",
    "LogprobsDelta",
    "RawEvent",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseEnded",
    "ResponseFailed",
    "ResponseFrame",
    "ResponseStarted",
    "Status",
    "TextDelta",
    "Timings",
    "TokenLogprob",
    "ToolCallStarted",
    "ToolCallsReady",
    "TranscriptDelta",
    "UpdateSettings",
    "Usage",
    "UsageReported",
]


class Status(Enum):
    """How a response ended."""

    COMPLETED = "completed"
    """The model said all it had to say."""
    TRUNCATED = "truncated"
    """The limit on tokens cut it off."""
    FILTERED = "filtered"
    """The provider withheld the rest."""
    REFUSED = "refused"
    """The model refused, in a refusal of its own kind."""
    TOOL_CALLS = "tool_calls"
    """The model waits for the outputs of its calls."""
    EMPTY = "empty"
    """It ended well and held neither text nor calls."""
    INTERRUPTED = "interrupted"
    """Whoever asked for it, or an interrupt, broke it off."""
    TIMED_OUT = "timed_out"
    """A deadline of `Patience` passed."""
    FAILED = "failed"
    """The provider or the connection failed."""


@attrs.frozen(kw_only=True)
class Usage:
    """What a response cost; all in tokens, >= 0, and 0 where the provider says nothing."""

    input: int = 0
    """The prompt, cached tokens included."""
    output: int = 0
    """The response, reasoning included."""
    total: int = 0
    """Both."""
    cached: int = 0
    """Of the prompt: read from the provider's cache."""
    cache_written: int = 0
    """Of the prompt: written to the provider's cache."""
    reasoning: int = 0
    """Of the response: reasoning."""
    audio: int = 0
    """Of both: audio."""

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum, field by field."""
        pairs = zip(attrs.astuple(self), attrs.astuple(other), strict=True)
        return Usage(**dict(zip(_USAGE, (a + b for a, b in pairs), strict=True)))


_USAGE = tuple(field.name for field in attrs.fields(Usage))


@attrs.frozen(kw_only=True)
class Timings:
    """When things came; seconds on the Trio clock since the request, None for what never came."""

    first_chunk: float | None = None
    """The first event of the stream, be it empty."""
    first_token: float | None = None
    """The first token of any kind, reasoning too."""
    first_answer_token: float | None = None
    """The first token of text, of a refusal or of a call."""
    total: float = 0.0
    """The end."""


@frame
class ResponseStarted(Frame):
    """A response was asked for."""

    uninterruptible = True  # in a pipeline no interruption takes a start or an end away (I5)

    id: str
    """Our own id of the response."""
    model: str
    """The model asked for."""


@frame
class TextDelta(Frame):
    """More of the answer."""

    text: str
    """Never empty."""


@frame
class ReasoningDelta(Frame):
    """More of the reasoning that the provider shows."""

    text: str
    """Never empty."""


@frame
class RefusalDelta(Frame):
    """More of a refusal."""

    text: str
    """Never empty."""


@frame
class TranscriptDelta(Frame):
    """More of what is said in the audio."""

    text: str
    """Never empty."""


@attrs.frozen
class TokenLogprob:
    """How probable the model found a token."""

    token: str
    """The token as text; a piece of a character may be escaped."""
    logprob: float
    """The natural logarithm of its probability, <= 0."""
    top: "tuple[TokenLogprob, ...]" = ()
    """The likeliest tokens at its place, as many as `Settings.top_logprobs` asked for."""


@frame
class LogprobsDelta(Frame):
    """
    How probable the tokens of the last delta were; for `Settings.logprobs`.

    It comes right after the delta that it belongs to, or alone if that had no text of its own.
    """

    tokens: tuple[TokenLogprob, ...]
    """In order; at least one."""


@frame
class RawEvent(Frame):
    """
    An event of the stream as the provider sent it, right before what was read from it.

    It comes only from a provider that was made with ``raw=True``, and counts for nothing: it is
    where fields are to be found that no other frame has.
    """

    payload: bytes
    """The data of the event, mostly JSON; an event that turns out to be malformed included."""

    def fields(self) -> Any:
        """
        Return *payload* decoded, anew at each call.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.payload)


@frame
class ToolCallStarted(Frame):
    """The model began a call; only `ToolCallsReady` says that it is whole."""

    index: int
    """Its place among the calls of the response, from 0."""
    name: str
    """The tool's name."""
    id: str
    """The call's id."""


@frame
class ToolCallsReady(Frame):
    """All calls of the response are whole and wait for their outputs."""

    calls: tuple[ToolCall, ...]
    """In the order in which the model began them; at least one."""


@frame
class UsageReported(Frame):
    """What the response cost, as far as the provider said."""

    usage: Usage
    """The last of the provider's snapshots."""


@frame
class ResponseEnded(Frame):
    """The end of a response; nothing of it comes after this."""

    uninterruptible = True

    status: Status
    """How it ended."""
    id: str = attrs.field(kw_only=True)
    """The id that `ResponseStarted` gave."""
    model: str = attrs.field(kw_only=True, default="")
    """The model as the provider named it, or as it was asked for."""
    text: str = attrs.field(kw_only=True, default="")
    """The text that was delivered, what was said in audio included."""
    finish_reason: str | None = attrs.field(kw_only=True, default=None)
    """As the provider sent it."""
    detail: str = attrs.field(kw_only=True, default="")
    """Why, for interrupted, timed out and failed; one line."""
    deadline: Deadline | None = attrs.field(kw_only=True, default=None)
    """Which deadline passed, for timed out."""
    category: Category | None = attrs.field(kw_only=True, default=None)
    """What kind of failure, for failed."""
    request_id: str | None = attrs.field(kw_only=True, default=None)
    """The provider's own id of the request."""
    chunks: int = attrs.field(kw_only=True, default=0)
    """Deltas that came, of any kind."""
    timings: Timings = attrs.field(kw_only=True, factory=Timings)
    """When things came."""
    earlier: tuple[str, ...] = attrs.field(kw_only=True, default=())
    """Why each attempt before the one that counts was given up, in order; see `Retry`."""


#: What of a response may come any number of times, between its start and its end.
DELTAS: Final = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    TranscriptDelta,
    LogprobsDelta,
    RawEvent,
    ToolCallStarted,
)

ResponseFrame: TypeAlias = (
    ResponseStarted
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | TranscriptDelta
    | LogprobsDelta
    | RawEvent
    | ToolCallStarted
    | ToolCallsReady
    | UsageReported
    | ResponseEnded
)


@frame
class Generate(StreamRequest[ResponseFrame]):
    """Ask for one response, as a stream of `ResponseFrame`."""

    context: Context
    """What the model is asked with."""
    settings: Settings | None = None
    """Merged over the actor's own; None for those alone."""


@frame
class Completion(Frame):
    """A whole response."""

    text: str
    """The answer; empty if there is none."""
    calls: tuple[ToolCall, ...] = attrs.field(kw_only=True, default=())
    """What the model wants to be called."""
    reasoning: str = attrs.field(kw_only=True, default="")
    """What the provider shows of the reasoning."""
    refusal: str = attrs.field(kw_only=True, default="")
    """What the model refused with."""
    transcript: str = attrs.field(kw_only=True, default="")
    """What is said in the audio."""
    usage: Usage | None = attrs.field(kw_only=True, default=None)
    """What it cost; None if the provider did not say."""
    ended: ResponseEnded = attrs.field(kw_only=True)
    """How it ended; never timed out or failed."""


class ResponseFailed(Refused):
    """
    The response to a `Complete` failed or timed out.

    Attributes:
        ended: How.
    """

    def __init__(self, ended: ResponseEnded) -> None:
        super().__init__(ended.detail)
        self.ended = ended


@frame
class Complete(Request[Completion]):
    """
    Ask for one response, whole; with the same deadlines, retries and metrics as a stream.

    Raises:
        ResponseFailed: it failed or timed out.
    """

    context: Context
    """What the model is asked with."""
    settings: Settings | None = None
    """Merged over the actor's own; None for those alone."""


@frame
class UpdateSettings(Request[Mapping[str, Any]]):
    """
    Change the actor's settings for the responses that begin after this one was handled.

    The reply is what `Settings.merge` says was changed. A restart begins with the settings that the
    actor was made with.
    """

    delta: Settings
    """What changes; fields that are `UNSET` stay."""
