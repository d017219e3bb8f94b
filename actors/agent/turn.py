"""
One running turn: model and tools alternate until there is an answer. A thin shell.

What the conversation becomes is decided by `Transcript`; here frames are moved from the model, the
dispatcher and other agents to the asker, in that order of events, and each is fed to the transcript
before it is emitted.

Every way out of a turn ends in `close`, a plain call: open calls are settled, and what the asker
has not taken but must see - the start and end of each response, each call and its result - goes out
again among the closing frames, with `TurnEnded` as the last (I3, I5).
"""

from collections.abc import Mapping
from typing import Any, Protocol

import trio

from greenroom.actors.agent.frames import (
    HandedOff,
    Outcome,
    TakeOver,
    TurnEnded,
    TurnFrame,
)
from greenroom.actors.agent.transcript import Phase, Transcript
from greenroom.actors.llm.context import Context, ToolCall, ToolSpec
from greenroom.actors.llm.frames import (
    Generate,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    Status,
    TextDelta,
    ToolCallStarted,
    TranscriptDelta,
)
from greenroom.actors.llm.settings import Settings
from greenroom.actors.tools.frames import Dispatch, DispatchFrame, ToolResult
from greenroom.runtime import Ref, ReplyStream, RequestError

__all__ = ["Sink", "Turn", "Unheard"]

# What an asker that left may miss: the rest goes out again, see `Turn.close`.
_DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, TranscriptDelta, ToolCallStarted)

_OUTCOMES = {
    Status.COMPLETED: Outcome.ANSWERED,
    Status.TRUNCATED: Outcome.TRUNCATED,
    Status.FILTERED: Outcome.FILTERED,
    Status.REFUSED: Outcome.REFUSED,
    Status.EMPTY: Outcome.EMPTY,
    Status.TIMED_OUT: Outcome.TIMED_OUT,
    Status.FAILED: Outcome.FAILED,
    # the model was interrupted while this turn was not: another party did it, so the turn failed
    Status.INTERRUPTED: Outcome.FAILED,
}


class Sink(Protocol):
    """Where the frames of a turn go; an `Emit` is one."""

    async def __call__(self, frame: TurnFrame) -> None: ...

    def close(self, *frames: TurnFrame) -> None: ...

    def discard_unread(self) -> int: ...


class Unheard:
    """The sink of a turn of which only the answer is wanted: takes every frame, keeps none."""

    def __init__(self) -> None:
        self._taken = 0

    async def __call__(self, frame: TurnFrame) -> None:
        """Take *frame*. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        self._taken += 1

    def close(self, *frames: TurnFrame) -> None:
        """Take the last *frames*."""

    def discard_unread(self) -> int:
        """Return how many frames were taken."""
        return self._taken


class Turn:
    """
    One turn, as its asker sees it; it may pass through several agents.

    Args:
        agent: The name of the agent that was asked.
        context: The conversation, what is to be answered included.
        emit: Where the frames go.
    """

    def __init__(self, agent: str, context: Context, emit: Sink) -> None:
        self._agent = agent  # that has the conversation
        self._emit = emit
        self._transcript = Transcript(context)
        self._must_see: list[tuple[int, TurnFrame]] = []  # with their numbers among those fed
        self._fed = 0  # frames given to the transcript
        self._emitted = 0  # of these, the first so many went out
        self._outcome = Outcome.FAILED
        self._detail = "the turn did not begin"

    async def run_here(
        self,
        agent: str,
        llm: Ref,
        dispatcher: Ref,
        tools: tuple[ToolSpec, ...],
        handoffs: Mapping[str, Ref],
        settings: Settings,
        max_steps: int,
    ) -> Ref | None:
        """
        Let *agent* alternate between *llm* and *dispatcher* until there is an answer.

        Returns:
            The agent that is to go on, if the model handed off.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        self._agent = agent
        try:
            for _ in range(max_steps):
                ended = await self._respond(llm, tools, settings)
                if ended.status is not Status.TOOL_CALLS:
                    self._outcome, self._detail = _OUTCOMES[ended.status], ended.detail
                    return None
                calls = self._transcript.open_calls()
                await self._dispatch(dispatcher, [c for c in calls if c.name not in handoffs])
                taker = await self._hand_off(handoffs)
                if taker is not None:
                    return taker
            self._outcome = Outcome.EXHAUSTED
            self._detail = f"{max_steps} responses and no answer; raise max_steps if that is right"
        except RequestError as error:
            self._outcome, self._detail = Outcome.FAILED, str(error)
        return None

    async def continue_at(self, agent: Ref) -> Ref | None:
        """
        Let *agent* go on with the turn; its frames are this turn's frames.

        Returns:
            The agent that is to go on after it, if it handed off.

        Checkpoint: always.
        """
        self._agent = agent.name
        taker: Ref | None = None
        stream: ReplyStream[TurnFrame] = agent.stream(TakeOver(self._transcript.commit()))
        try:
            async with stream:
                async for frame in stream:
                    if isinstance(frame, TurnEnded):
                        self._outcome, self._detail = frame.outcome, frame.detail
                    else:
                        await self._forward(frame)
                        if isinstance(frame, HandedOff):
                            taker = frame.to
        except RequestError as error:
            self._outcome, self._detail = Outcome.FAILED, str(error)
            return None  # noqa: ASYNC910
        finally:
            self._feed_untaken(stream)
        return taker

    async def _respond(
        self, llm: Ref, tools: tuple[ToolSpec, ...], settings: Settings
    ) -> ResponseEnded:
        """Forward one response, and return its end."""
        context = self._transcript.commit().with_tools(tools)
        stream: ReplyStream[ResponseFrame] = llm.stream(Generate(context, settings))
        ended: ResponseEnded | None = None
        try:
            async with stream:
                async for frame in stream:
                    if isinstance(frame, ResponseEnded):
                        ended = frame
                    await self._forward(frame)
        finally:
            self._feed_untaken(stream)
        assert ended is not None, "a response without an end (I5)"
        return ended

    async def _dispatch(self, dispatcher: Ref, calls: list[ToolCall]) -> None:
        """Run *calls* and forward their results. Checkpoint: unless there are none."""
        if not calls:
            return  # noqa: ASYNC910
        stream: ReplyStream[DispatchFrame] = dispatcher.stream(Dispatch(tuple(calls)))
        try:
            async with stream:
                async for frame in stream:
                    await self._forward(frame)
        finally:
            self._feed_untaken(stream)

    async def _hand_off(self, handoffs: Mapping[str, Ref]) -> Ref | None:
        """Settle the calls that hand off, the first of which does. Checkpoint: as emit."""
        taker: Ref | None = None
        for call in self._transcript.open_calls():
            if taker is None:
                taker = handoffs[call.name]
                result = ToolResult(call.id, call.name, f"{taker.name} has the conversation now")
            else:
                text = f"not done: {taker.name} has the conversation now"
                result = ToolResult(call.id, call.name, text, is_error=True)
            await self._forward(result)
        if taker is not None:
            self._outcome, self._detail = Outcome.HANDED_OFF, ""
            await self._forward(HandedOff(self._agent, taker))
        return taker  # noqa: ASYNC910

    # -- frames

    async def _forward(self, frame: TurnFrame) -> None:
        self._feed(frame)
        await self._emit(frame)
        self._emitted += 1

    def _feed(self, frame: TurnFrame) -> None:
        self._transcript.feed(frame)
        if not isinstance(frame, _DELTAS):
            self._must_see.append((self._fed, frame))
        self._fed += 1

    def _feed_untaken(self, stream: ReplyStream[Any]) -> None:
        """Take in what a stream that was left early still had: it happened, and was not seen."""
        for frame in stream.untaken:
            if not isinstance(frame, TurnEnded):
                self._feed(frame)

    def fail(self, detail: str) -> None:
        """Note that the turn came to nothing."""
        self._outcome, self._detail = Outcome.FAILED, detail

    def close(self, interrupted: str | None) -> tuple[Context, TurnEnded]:
        """
        End the turn, in one step, and return what the conversation is now.

        Args:
            interrupted: Why the turn is broken off; None where it came to its end.
        """
        transcript = self._transcript
        seen = self._emitted
        if interrupted is not None:
            seen = self._emit.discard_unread()
            self._outcome, self._detail = Outcome.INTERRUPTED, interrupted
        reason = self._detail or self._outcome.value
        if transcript.phase is Phase.STREAMING:
            self._feed(ResponseEnded(Status.FAILED, id=transcript.response_id, detail=reason))
        for call in transcript.open_calls():
            self._feed(ToolResult(call.id, call.name, f"cancelled: {reason}", is_error=True))
        ended = TurnEnded(
            self._outcome,
            answer=transcript.answer(seen),
            usage=transcript.usage,
            detail=self._detail,
            agent=self._agent,
            steps=transcript.steps,
            calls=transcript.calls,
        )
        self._emit.close(*(frame for number, frame in self._must_see if number >= seen), ended)
        return transcript.commit(seen, reason), ended
