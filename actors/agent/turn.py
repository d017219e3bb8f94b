"""
One running turn: model and tools alternate until there is an answer. A thin shell.

What the conversation becomes is decided by `Transcript`; here frames are moved from the model, the
dispatcher and other agents to the asker, in that order of events, and each is fed to the transcript
before it is emitted.

A turn is a block, and every way out of it is one plain call: open calls are settled, and what the
asker has not taken but must see - the start and end of each response, each call and its result -
goes out again among the closing frames, with `TurnEnded` as the last (I3, I5).
"""

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

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
    DELTAS,
    Generate,
    ResponseEnded,
    ResponseFrame,
    Status,
)
from greenroom.actors.llm.settings import Settings
from greenroom.actors.tools.frames import Dispatch, DispatchFrame, ToolResult
from greenroom.runtime import ActorStopped, IllegalMove, Ref, ReplyStream, RequestError

__all__ = ["Sink", "Turn", "Unheard"]

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
    """The sink of a turn of which only the answer is wanted; its asker sees none of the frames."""

    async def __call__(self, frame: TurnFrame) -> None:
        """Drop *frame*. Checkpoint: always."""
        await trio.lowlevel.checkpoint()

    def close(self, *frames: TurnFrame) -> None:
        """Drop the last *frames*."""

    def discard_unread(self) -> int:
        """Return 0: an asker that leaves before the answer was given nothing (R12)."""
        return 0


class Turn:
    """
    One turn, as its asker sees it; it may pass through several agents. Used as a block, once.

    Args:
        agent: The name of the agent that was asked.
        context: The conversation, what is to be answered included.
        emit: Where the frames go.
        owner: Whom the conversation was handed to before; None for nobody.

    Attributes:
        owner: Whom the conversation is handed to; None for nobody.
        context: What the conversation is; complete once the block has ended.
        ended: How the turn ended; there once the block has ended.
    """

    def __init__(self, agent: str, context: Context, emit: Sink, owner: Ref | None = None) -> None:
        self.owner = owner  # moved by _feed, in one step with what the transcript says of it
        self.context = context
        self.ended: TurnEnded  # set by __exit__
        self._agent = agent  # that has the conversation
        self._emit = emit
        self._transcript = Transcript(context)
        self._must_see: list[tuple[int, TurnFrame]] = []  # with their numbers among those fed
        self._emitted = 0  # of the frames fed to the transcript, the first so many went out
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
    ) -> bool:
        """
        Let *agent* alternate between *llm* and *dispatcher* until there is an answer.

        Returns:
            Whether the model handed off, so that `owner` is to go on.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        self._agent = agent
        try:
            for _ in range(max_steps):
                ended = await self._respond(llm, tools, settings)
                if ended.status is not Status.TOOL_CALLS:
                    self._outcome, self._detail = _OUTCOMES[ended.status], ended.detail
                    return False
                calls = self._transcript.open_calls()
                await self._dispatch(dispatcher, [c for c in calls if c.name not in handoffs])
                if await self._hand_off(handoffs):
                    return True
            self._outcome = Outcome.EXHAUSTED
            self._detail = f"{max_steps} responses and no answer; raise max_steps if that is right"
        except (RequestError, IllegalMove) as error:
            self.fail(str(error))
        return False

    async def continue_at(self, agent: Ref) -> bool:
        """
        Let *agent* go on with the turn; its frames are this turn's frames.

        An agent that has stopped has the conversation no longer: it comes home.

        Returns:
            Whether it handed off in turn, so that `owner` is to go on.

        Checkpoint: always.
        """
        self._agent = agent.name
        self.fail(f"{agent.name} ended its stream without a TurnEnded")
        stream: ReplyStream[TurnFrame] = agent.stream(TakeOver(self._transcript.commit()))
        try:
            async with stream:
                async for frame in stream:
                    if isinstance(frame, TurnEnded):
                        self._outcome, self._detail = frame.outcome, frame.detail
                    else:
                        await self._forward(frame)
        except (RequestError, IllegalMove) as error:
            self.fail(str(error))
            if isinstance(error, ActorStopped):
                self.owner = None
        finally:
            self._feed_untaken(stream)
        return self._outcome is Outcome.HANDED_OFF  # noqa: ASYNC910

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
        if ended is None:
            raise IllegalMove(f"{llm.name} ended its stream without a ResponseEnded")
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

    async def _hand_off(self, handoffs: Mapping[str, Ref]) -> bool:
        """Settle the calls that hand off, the first of which does. Checkpoint: as emit."""
        taker: Ref | None = None
        frames: list[TurnFrame] = []
        for call in self._transcript.open_calls():
            if taker is None:
                taker = handoffs[call.name]
                text = f"{taker.name} has the conversation now"
                frames.append(ToolResult(call.id, call.name, text))
            else:
                text = f"not done: {taker.name} has the conversation now"
                frames.append(ToolResult(call.id, call.name, text, is_error=True))
        if taker is None:
            return False  # noqa: ASYNC910
        frames.append(HandedOff(self._agent, taker))
        self._outcome, self._detail = Outcome.HANDED_OFF, ""
        for frame in frames:  # all before the first wait: nothing may say half of it
            self._feed(frame)
        for frame in frames:
            await self._emit(frame)
            self._emitted += 1
        return True  # noqa: ASYNC910

    # -- frames

    async def _forward(self, frame: TurnFrame) -> None:
        self._feed(frame)
        await self._emit(frame)
        self._emitted += 1

    def _feed(self, frame: TurnFrame) -> None:
        number = self._transcript.fed
        self._transcript.feed(frame)
        if isinstance(frame, HandedOff):
            self.owner = frame.to
        if not isinstance(frame, DELTAS):  # of those an asker that left may miss some
            self._must_see.append((number, frame))

    def _feed_untaken(self, stream: ReplyStream[Any]) -> None:
        """Take in what a stream that was left early still had: it happened, and was not seen."""
        with suppress(IllegalMove):  # what follows a frame out of place counts for nothing
            for frame in stream.untaken:
                if not isinstance(frame, TurnEnded):
                    self._feed(frame)

    def fail(self, detail: str) -> None:
        """Note that the turn came to nothing."""
        self._outcome, self._detail = Outcome.FAILED, detail

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the turn, in one step, by what ended its block."""
        transcript = self._transcript
        seen = self._emitted
        if isinstance(error, Exception):
            self.fail(f"{self._agent} crashed: {error!r}")
        elif error is not None:
            seen = self._emit.discard_unread()
            self._outcome = Outcome.INTERRUPTED
            self._detail = getattr(error, "reason", None) or "cancelled"
        reason = self._detail or self._outcome.value
        if transcript.phase is Phase.STREAMING:
            self._feed(ResponseEnded(Status.FAILED, id=transcript.response_id, detail=reason))
        for call in transcript.open_calls():
            self._feed(ToolResult(call.id, call.name, f"cancelled: {reason}", is_error=True))
        self.ended = TurnEnded(
            self._outcome,
            answer=transcript.answer(seen),
            usage=transcript.usage,
            detail=self._detail,
            agent=self._agent,
            steps=transcript.steps,
            calls=transcript.calls,
        )
        must_see = (frame for number, frame in self._must_see if number >= seen)
        self._emit.close(*must_see, self.ended)
        self.context = transcript.commit(seen, reason)
