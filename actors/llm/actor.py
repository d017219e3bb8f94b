"""
`LLM`: the actor that owns the life of every model stream.

One request is one response, and its handler is a short shell around two things that decide nothing
twice: the provider, whose stream is closed by a plain function, and `ResponseReducer`, which says
what to emit. Whatever ends the handler - the model's end, an error, a deadline, an interrupt, the
asker leaving, the runtime going down - passes through one ``finally`` without an await in it: the
stream is closed, and the closing frames go out (I5).
"""

import itertools
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import trio

from greenroom.actors.llm.completion import Collected
from greenroom.actors.llm.context import Context
from greenroom.actors.llm.frames import (
    Complete,
    Completion,
    Generate,
    ResponseEnded,
    ResponseFailed,
    ResponseFrame,
    Status,
    UpdateSettings,
)
from greenroom.actors.llm.patience import Deadline, Patience
from greenroom.actors.llm.provider import Provider, ProviderStream
from greenroom.actors.llm.response import ResponseReducer
from greenroom.actors.llm.settings import UNSET, Settings
from greenroom.runtime import Actor, Emit, bare, handles

__all__ = ["LLM"]

_log = logging.getLogger("greenroom.llm")


class LLM(Actor, concurrency=8):
    """
    A model, as an actor: ``async with llm.stream(Generate(context)) as frames``.

    Up to eight responses run at once; further ones wait in the mailbox, or write
    ``class Wide(LLM, concurrency=100)``. No fault of a provider crashes it: faults are
    `ResponseEnded` frames, so that one conversation can't take the others along (R17).

    A `Generate` streams, a `Complete` is answered with the whole, and `UpdateSettings` changes what
    later ones start from.

    Args:
        provider: The model's API. The actor runs it and closes it. A `Retry`, `Fallback`, `Hedge` or
            `Limiter` is one, too.
        settings: What requests start from; those of a request are merged over them.
        patience: The deadlines of each response.
    """

    def __init__(
        self,
        provider: Provider,
        settings: Settings | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._provider = provider
        self._settings = settings or Settings()
        self._patience = patience or Patience()
        self._numbers = itertools.count(1)

    async def on_start(self) -> None:
        """Start the provider's background work. Checkpoint: always."""
        await self.nursery.start(self._provider.run, name=f"{self._provider.name} (provider)")

    async def on_stop(self) -> None:  # noqa: ASYNC124, ASYNC910 - the close is a plain call
        """Close the provider and every connection it has."""
        self._provider.close()

    @handles
    async def generate(self, request: Generate, emit: Emit[ResponseFrame]) -> None:  # noqa: ASYNC910
        """
        Stream one response.

        Cancellation: the stream is closed at once, without waiting; the asker finds
        `ResponseEnded` with what it had taken until then among the closing frames.
        """
        await self._respond(request.context, request.settings, emit)

    @handles
    async def complete(self, request: Complete) -> Completion:  # noqa: ASYNC910 - as generate
        """
        Reply with one whole response.

        Cancellation: as `generate`.
        """
        collected = Collected()
        ended = await self._respond(request.context, request.settings, collected)
        if ended.status in (Status.FAILED, Status.TIMED_OUT):
            raise ResponseFailed(ended)
        return collected.completion()

    @handles
    async def update_settings(  # noqa: ASYNC124 - in one step
        self, request: UpdateSettings
    ) -> Mapping[str, Any]:
        """Change the settings; a running response keeps its own."""
        self._settings, changed = self._settings.merge(request.delta)
        return changed  # noqa: ASYNC910

    async def _respond(  # noqa: ASYNC910 - as its handlers
        self, context: Context, own: Settings | None, emit: "_Sink"
    ) -> ResponseEnded:
        settings = self._settings
        if own is not None:
            settings, _ = settings.merge(own)
        reducer = ResponseReducer(
            id=f"{self.ref.name}/{next(self._numbers)}",
            model=self._provider.default_model if settings.model is UNSET else settings.model,
            provider=self._provider.name,
            started_at=trio.current_time(),
            tools=[spec.name for spec in context.tools],
        )
        response = _Response(self._provider, self._patience, reducer, emit)
        interrupted: str | None = "cancelled"  # as KeyboardInterrupt leaves it
        error: Exception | None = None
        try:
            error = await response.run(context, settings)
            interrupted = None
        except trio.Cancelled as cancelled:
            interrupted = cancelled.reason or "cancelled"
            raise
        finally:
            ended = response.close(interrupted, error)
        return ended


class _Sink(Protocol):
    """Where the frames of a response go; an `Emit` is one."""

    async def __call__(self, frame: ResponseFrame, /) -> None:
        """Take the next frame."""
        ...

    def close(self, *frames: ResponseFrame) -> None:
        """Take the last frames."""
        ...

    def discard_unread(self) -> int:
        """Return how many frames the consumer has, now that it gets no more but the last ones."""
        ...


class _Response:
    """One running response: the scope of its deadlines, and its stream."""

    def __init__(
        self,
        provider: Provider,
        patience: Patience,
        reducer: ResponseReducer,
        emit: _Sink,
    ) -> None:
        self._provider = provider
        self._patience = patience
        self._reducer = reducer
        self._emit = emit
        self._scope = trio.CancelScope()
        self._started_at = trio.current_time()
        self._stream: ProviderStream | None = None
        self._due: Deadline | None = None  # the deadline that the scope's is
        self._started: tuple[ResponseFrame, ...] = ()  # `ResponseStarted`, once made
        self._emitted = 0  # frames

    async def run(self, context: Context, settings: Settings) -> Exception | None:
        """
        Send the request and emit what comes, until the end or a deadline.

        Returns:
            What the provider raised.
        """
        try:
            with bare():
                await self._receive(context, settings)
        except Exception as error:
            # a provider that fails at being cancelled was cancelled all the same (I9)
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
            except trio.Cancelled:
                _log.warning(
                    "%s failed while it was cancelled", self._provider.name, exc_info=error
                )
                raise
            return error
        return None

    async def _receive(self, context: Context, settings: Settings) -> None:
        with self._scope:
            self._started = self._reducer.start()
            await self._send(self._started)
            self._wait_for(has_head=False)
            self._stream = await self._provider.request(context, settings)
            while True:
                self._wait_for(has_head=True)
                events = await self._stream.events()
                self._due = Deadline.RESPONSE
                self._scope.deadline = self._started_at + self._patience.response
                if not events:
                    break
                await self._send(self._reducer.feed(events, trio.current_time()))

    async def _send(self, frames: Iterable[ResponseFrame]) -> None:  # noqa: ASYNC910 - as emit
        for frame in frames:
            await self._emit(frame)
            self._emitted += 1

    def _wait_for(self, *, has_head: bool) -> None:
        """Set the deadline for the next wait; a slow consumer is not the provider's silence."""
        last_token_at = self._reducer.last_token_at
        at, self._due = self._patience.due(
            started_at=self._started_at,
            has_head=has_head,
            last_token_at=None if last_token_at is None else trio.current_time(),
        )
        if at != math.inf or self._scope.deadline != math.inf:
            self._scope.deadline = at

    def close(self, interrupted: str | None, error: Exception | None) -> ResponseEnded:
        """End the stream and the response, in one step; return how it ended."""
        if self._stream is not None:
            self._reducer.request_id = self._stream.request_id
            self._stream.close()
        timed_out = self._due if self._scope.cancelled_caught else None
        taken = self._emitted if interrupted is None else self._emit.discard_unread()
        closing = self._reducer.finish(
            trio.current_time(),
            interrupted=interrupted,
            timed_out=timed_out,
            error=error,
            taken=taken,
        )
        # an asker that left before it took the start gets both, so that no end stands alone
        self._emit.close(*(self._started if taken == 0 else ()), *closing)
        ended = closing[-1]
        assert isinstance(ended, ResponseEnded)
        return ended
