"""
`ResponseReducer`: what a response has come to, from the events of its provider. Pure.

It is fed events with the time at which they came and says which frames to emit, and at the end it
says how the response ended. However and whenever it ends, the frames are one `ResponseStarted`,
deltas, perhaps `ToolCallsReady`, at most one `UsageReported`, and one `ResponseEnded` (I5).

A status is never better than the truth: a response is only completed if the provider said that it
was done. Once it has said so, a connection or a deadline that fails while the rest is awaited (the
usage, the end mark) takes nothing from it; an interrupt does, and a deadline that passes while the
consumer lets frames wait, for it may lack a part.
"""

from collections.abc import Collection, Iterable

from greenroom.actors.llm.assembly import Assembly
from greenroom.actors.llm.errors import Category, ProviderError, ProviderTimeout
from greenroom.actors.llm.frames import (
    LogprobsDelta,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Status,
    TextDelta,
    Timings,
    ToolCallsReady,
    TranscriptDelta,
    Usage,
    UsageReported,
)
from greenroom.actors.llm.patience import Deadline
from greenroom.actors.llm.provider import (
    AttemptFailed,
    CallFragment,
    Event,
    Finished,
    ModelSeen,
    UsageSeen,
)

__all__ = ["ResponseReducer"]

# Finish reasons that say more than that the model is done.
# Source: OpenAI, "The chat completion chunk object"; Mistral ("model_length"); OpenRouter
# ("error"); DeepSeek ("insufficient_system_resource"); OpenAI, "The response object", whose reasons
# for an incomplete one are the next four.
_REASONS = {
    "length": Status.TRUNCATED,
    "model_length": Status.TRUNCATED,
    "max_output_tokens": Status.TRUNCATED,
    "max_messages": Status.TRUNCATED,
    "steered": Status.TRUNCATED,
    "incomplete": Status.TRUNCATED,
    "content_filter": Status.FILTERED,
    "error": Status.FAILED,
    "insufficient_system_resource": Status.FAILED,
}


class ResponseReducer:
    """
    One response.

    Args:
        id: Our own id for it.
        model: The model asked for.
        provider: What messages call the provider.
        started_at: When the request was begun (Trio clock).
        tools: Names of the tools on offer, see `Assembly`.
    """

    __slots__ = (
        "_answer_at",
        "_assembly",
        "_chunk_at",
        "_chunks",
        "_earlier",
        "_has_started",
        "_id",
        "_is_over",
        "_last_token_at",
        "_model",
        "_provider",
        "_reason",
        "_refused",
        "_started_at",
        "_texts",
        "_token_at",
        "_usage",
        "request_id",
    )

    def __init__(
        self,
        *,
        id: str,
        model: str,
        provider: str,
        started_at: float,
        tools: Collection[str] = (),
    ) -> None:
        self._id = id
        self._model = model
        self._provider = provider
        self._started_at = started_at
        self._assembly = Assembly(tools)
        self._has_started = False
        self._is_over = False
        self._reason: Finished | None = None
        self._refused = False
        self._usage: Usage | None = None
        self._chunks = 0
        self._earlier: list[str] = []  # at most the attempts that a provider makes
        # One entry for each frame handed out: its text if it is a part of the answer, else "".
        self._texts: list[str] = []
        self._chunk_at: float | None = None
        self._token_at: float | None = None
        self._answer_at: float | None = None
        self._last_token_at: float | None = None
        #: The provider's own id of the request; set by the owner once the head has come.
        self.request_id: str | None = None

    @property
    def last_token_at(self) -> float | None:
        """When the last token came (Trio clock); None before the first. See `Patience.due`."""
        return self._last_token_at

    def start(self) -> tuple[ResponseFrame, ...]:
        """Return `ResponseStarted`, once; `feed` and `finish` see to it if nobody else does."""
        if self._has_started:
            return ()
        self._has_started = True
        self._texts.append("")
        return (ResponseStarted(self._id, self._model),)

    def feed(self, events: Iterable[Event], now: float) -> list[ResponseFrame]:
        """
        Take in *events*, which came at *now* (Trio clock), and return the frames to emit.

        Raises:
            RuntimeError: the response was finished before.
        """
        if self._is_over:
            raise RuntimeError(f"response {self._id!r} has ended and takes no more events")
        frames = list(self.start())
        texts = self._texts
        for event in events:
            if isinstance(event, AttemptFailed):
                self._earlier.append(event.reason)
                continue
            if self._chunk_at is None:
                self._chunk_at = now
            if isinstance(event, (TextDelta, TranscriptDelta)):
                self._note_token(now, is_answer=True)
                texts.append(event.text)
                frames.append(event)
            elif isinstance(event, CallFragment):
                self._note_token(now, is_answer=True)
                self._add(frames, self._assembly.feed((event,)))
            elif isinstance(event, (ReasoningDelta, RefusalDelta)):
                is_refusal = isinstance(event, RefusalDelta)
                self._refused |= is_refusal
                self._note_token(now, is_answer=is_refusal)
                self._add(frames, (event,))
            elif isinstance(event, (LogprobsDelta, RawEvent)):
                self._add(frames, (event,))
            elif isinstance(event, UsageSeen):
                self._usage = event.usage
            elif isinstance(event, ModelSeen):
                self._model = event.name or self._model
            else:
                self._reason = event
                self._add(frames, self._assembly.announce())
        return frames

    def finish(
        self,
        now: float,
        *,
        interrupted: str | None = None,
        timed_out: Deadline | None = None,
        error: Exception | None = None,
        taken: int | None = None,
    ) -> tuple[ResponseFrame, ...]:
        """
        End the response, and return the frames that close it.

        With none of *interrupted*, *timed_out* and *error*, the stream came to its end.

        Args:
            now: The time (Trio clock).
            interrupted: Why the response was broken off.
            timed_out: The deadline that passed.
            error: What the provider raised.
            taken: How many of the frames handed out so far the consumer took; None for all.

        Raises:
            RuntimeError: the response was finished before.
        """
        if self._is_over:
            raise RuntimeError(f"response {self._id!r} has ended already")
        self._is_over = True
        delivered = "".join(self._texts[:taken])
        frames = list(self.start())
        if isinstance(error, ProviderTimeout) and timed_out is None:
            timed_out = error.deadline
        cut_short = taken is not None and taken < len(self._texts)
        status, detail, category = self._verdict(interrupted, timed_out, error, cut_short)
        if status is Status.TOOL_CALLS:
            frames.extend(self._assembly.announce())
            frames.append(ToolCallsReady(self._assembly.finish()))
        if self._usage is not None:
            frames.append(UsageReported(self._usage))
        frames.append(
            ResponseEnded(
                status,
                id=self._id,
                model=self._model,
                text=delivered,
                finish_reason=None if self._reason is None else self._reason.reason,
                detail=detail,
                deadline=timed_out if status is Status.TIMED_OUT else None,
                category=category,
                request_id=self.request_id or getattr(error, "request_id", None),
                chunks=self._chunks,
                timings=Timings(
                    first_chunk=self._since_start(self._chunk_at),
                    first_token=self._since_start(self._token_at),
                    first_answer_token=self._since_start(self._answer_at),
                    total=now - self._started_at,
                ),
                earlier=getattr(error, "earlier", ()) or tuple(self._earlier),
            )
        )
        return tuple(frames)

    def _verdict(
        self,
        interrupted: str | None,
        timed_out: Deadline | None,
        error: Exception | None,
        cut_short: bool,
    ) -> tuple[Status, str, Category | None]:
        """Return status, detail and category."""
        if interrupted is not None:
            return Status.INTERRUPTED, interrupted, None
        category = getattr(error, "category", Category.UNKNOWN)
        if (
            self._reason is None
            or cut_short
            or (error is not None and category is not Category.CONNECTIVITY)
        ):
            if timed_out is not None:
                passed = f"{self._provider} let a deadline pass: {timed_out.value}"
                return Status.TIMED_OUT, str(error or passed), None
            if error is not None:
                if not isinstance(error, ProviderError):
                    error = ProviderError(f"{type(error).__name__}: {error}", category=category)
                return Status.FAILED, str(error), category
            detail = f"{self._provider} closed the stream after {self._chunks} tokens"
            return Status.FAILED, f"{detail} without an end event", Category.CONNECTIVITY
        status = _REASONS.get(self._reason.reason or "")
        if status is Status.FAILED:
            said = f"{self._provider} broke the response off: {self._reason.reason}"
            return status, said, Category.SERVER
        if status is None:
            status = self._outcome()
        return status, "", None

    def _outcome(self) -> Status:
        """Return the status of a response that ended well, by what it holds."""
        if len(self._assembly):
            return Status.TOOL_CALLS
        if self._refused:
            return Status.REFUSED
        return Status.COMPLETED if any(self._texts) else Status.EMPTY

    def _add(self, frames: list[ResponseFrame], more: Collection[ResponseFrame]) -> None:
        frames.extend(more)
        self._texts.extend("" for _ in more)

    def _note_token(self, now: float, *, is_answer: bool) -> None:
        self._chunks += 1
        self._last_token_at = now
        if self._token_at is None:
            self._token_at = now
        if is_answer and self._answer_at is None:
            self._answer_at = now

    def _since_start(self, at: float | None) -> float | None:
        return None if at is None else at - self._started_at
