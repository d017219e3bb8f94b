"""`LLMStage`: a model in a pipeline."""

from typing import Any, Final, cast

import attrs

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.errors import Category
from greenroom.actors.llm.frames import (
    Generate,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Status,
    TextDelta,
)
from greenroom.actors.llm.settings import Settings
from greenroom.runtime import Frame, Ref, ReplyStream, RequestError, Stage, frame, handles

__all__ = ["LLMStage", "Prompt"]

_FAILURES: Final = (Status.FAILED, Status.TIMED_OUT)


@frame
class Prompt(Frame):
    """Something to be answered, on its way down a pipeline."""

    context: Context
    """What the model is asked with."""
    settings: Settings | None = None
    """Merged over those of the LLM actor; None for those alone."""


class LLMStage(Stage):
    """
    Answers each `Prompt` that comes with the frames of one response, and passes all else on.

    The frames go down as they come: one `ResponseStarted`, the deltas, one `ResponseEnded`. A
    response that failed or timed out goes up as well, as its `ResponseEnded`, and the pipeline goes
    on. Where the pipeline is interrupted the response is closed at once, and its `ResponseEnded`,
    whose text is what went down until then, comes before all else afterwards.

    Args:
        llm: The actor that is asked; stages and agents may share one.
    """

    def __init__(self, llm: Ref) -> None:
        self._llm = llm
        self._cut_off: ResponseEnded | None = None  # of a response that was interrupted

    @handles
    async def answer(self, prompt: Prompt) -> None:  # noqa: ASYNC910 - a stream is waited for
        """
        Push the frames of one response.

        Cancellation: the response is closed; see `on_interrupt`.
        """
        went_down = _WentDown()
        stream = self._llm.stream(Generate(prompt.context, prompt.settings), buffer=1)
        failed: RequestError | None = None
        try:
            try:
                async with stream:
                    async for part in stream:
                        went_down.last = part
                        await self.push(part)
                        went_down.note(part)
            except RequestError as error:
                failed = error  # the actor that was asked is gone, or will be started again
            ended = went_down.ended(stream, failed)
            if failed is not None and ended is not None:
                await self.push(ended)
                went_down.note(ended)
            if ended is not None and ended.status in _FAILURES:
                await self.push_up(ended)
        finally:
            self._cut_off = went_down.cut_off(stream)

    async def on_interrupt(self) -> None:  # noqa: ASYNC910 - there may be nothing
        """Push the end of the response that was cut off."""
        ended, self._cut_off = self._cut_off, None
        if ended is not None:
            await self.push(ended)


class _WentDown:
    """What of one response the stages below have."""

    def __init__(self) -> None:
        self.last: ResponseFrame | None = None  # that was taken, and perhaps not pushed
        self._started: ResponseStarted | None = None
        self._texts: list[str] = []  # at most those of one response
        self._has_ended = False

    def note(self, part: ResponseFrame) -> None:
        """Note that *part* was pushed."""
        if isinstance(part, ResponseStarted):
            self._started = part
        elif isinstance(part, TextDelta):
            self._texts.append(part.text)
        elif isinstance(part, ResponseEnded):
            self._has_ended = True

    def ended(
        self, stream: ReplyStream[ResponseFrame], failed: RequestError | None
    ) -> ResponseEnded | None:
        """Return how the response ended; None if nothing of it went down, nor failed."""
        for part in (self.last, *stream.untaken):
            if isinstance(part, ResponseEnded):
                frame: Any = part  # an attrs class, by `frame`
                return cast("ResponseEnded", attrs.evolve(frame, text="".join(self._texts)))
        if failed is None:
            return None
        return ResponseEnded(
            Status.FAILED,
            id=self._started.id if self._started is not None else "",
            model=self._started.model if self._started is not None else "",
            text="".join(self._texts),
            detail=str(failed),
            category=Category.UNKNOWN,
        )

    def cut_off(self, stream: ReplyStream[ResponseFrame]) -> ResponseEnded | None:
        """Return the end that is still to be pushed, so that the start that was has one (I5)."""
        if self._started is None or self._has_ended:
            return None
        return self.ended(stream, None)
