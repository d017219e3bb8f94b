"""A `Ref`: all of an actor that others may hold."""

from collections.abc import Iterable
from typing import Final, TypeVar, cast

import trio

from greenroom.runtime.cell import Cell, Down
from greenroom.runtime.envelope import Envelope, Exchange
from greenroom.runtime.errors import MailboxFull
from greenroom.runtime.frames import Frame, Request, StreamRequest
from greenroom.runtime.mailbox import MailboxStatistics
from greenroom.runtime.routes import Form
from greenroom.runtime.stream import ReplyStream

__all__ = ["DEFAULT_BUFFER", "Ref"]

ReplyT = TypeVar("ReplyT")
FrameT = TypeVar("FrameT", bound=Frame)

DEFAULT_BUFFER: Final = 16


class Ref:
    """
    The handle of one actor; made by ``spawn``.

    Refs may be passed around freely, inside frames too, and between runtimes of one ``trio.run``
    (R30). What was sent to an actor by one sender arrives in order, per lane (I2).
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    def __repr__(self) -> str:
        return f"<Ref {self._cell.name!r}>"

    @property
    def name(self) -> str:
        """The actor's name, unique among the living actors of its runtime."""
        return self._cell.name

    async def tell(self, frame: Frame) -> None:
        """
        Send *frame* and expect no reply, waiting while the mailbox is full.

        A `Request` may be told too: its reply is discarded, and its refusal a dead letter.

        Raises:
            NotHandled: the actor has no handler for it; nothing was sent.
            TypeError: *frame* is a `StreamRequest`, or no frame.
            ActorStopped: the actor takes no more frames.
            MailboxFull: the mailbox is full, and its policy is not to wait.

        Cancellation: nothing was sent (I1).

        Checkpoint: always.

        Source: Elixir ``GenServer.cast/2``, with back-pressure.
        """
        cell = self._cell
        cell.stage.check_thread()
        cell.stage.check_run()
        await trio.lowlevel.checkpoint_if_cancelled()
        control = cell.admit(frame)
        envelope = Envelope(cell.mailbox.next_number(), frame)
        try:
            self._put_nowait(envelope, control=control)
        except MailboxFull:
            if cell.mailbox.full != "wait" and not control:
                raise
            await cell.put(envelope, control=control)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def tell_nowait(self, frame: Frame) -> None:
        """
        Send *frame* at once: the fast path.

        Raises:
            MailboxFull: there is no room, under any policy that does not drop; nothing was sent.
            NotHandled, TypeError, ActorStopped: as `tell`.

        Checkpoint: never.
        """
        cell = self._cell
        control = cell.admit(frame)
        self._put_nowait(Envelope(cell.mailbox.next_number(), frame), control=control)

    def _put_nowait(self, envelope: Envelope, *, control: bool) -> None:
        if control:
            self._cell.mailbox.put_control_nowait(envelope)
            self._cell.was_put(envelope)
        else:
            self._cell.put_nowait(envelope)

    async def tell_all(self, frames: Iterable[Frame]) -> None:
        """
        Send *frames* in order, as so many `tell` calls, but with few checkpoints.

        Cancellation: what was sent before stays sent.

        Checkpoint: always, and at least every 64 frames.
        """
        await trio.lowlevel.checkpoint()
        for count, frame in enumerate(frames, 1):
            if count % 64 == 0:
                await trio.lowlevel.checkpoint()
            try:
                self.tell_nowait(frame)
            except MailboxFull:
                await self.tell(frame)

    async def ask(self, request: Request[ReplyT]) -> ReplyT:
        """
        Send *request* and wait for its one reply.

        Returns:
            What the handler returned.

        Raises:
            Refused: the handler declined; the actor lives on.
            NotHandled: the actor has no handler for it; nothing was sent.
            TypeError: *request* is no `Request`.
            Interrupted: the actor was interrupted first.
            ActorCrashed: handling it raised; see ``__cause__``.
            ActorRestarted: another crash took it along.
            ActorStopped: the actor stopped before it handled the request.
            MailboxFull, Dropped: by the mailbox's policy.

        Cancellation:
            While it waits for room: nothing was sent. Afterwards: a handler that has not begun
            never will, and one that has is cancelled; the call ends once the handler's cleanup is
            over, at most ``cleanup_grace`` seconds later (R10). A reply that the handler makes all
            the same is returned, and the cancel hits the caller's next checkpoint (I9).

        Checkpoint: always on return, perhaps on raise.

        Source: Elixir ``GenServer.call/3``; the cancellation is ours.
        """
        cell = self._cell
        if not isinstance(request, Request):
            raise TypeError(
                f"ask takes a Request, not {request!r}; write ref.stream(...) for a StreamRequest, "
                f"ref.tell(...) for another frame"
            )
        cell.route(request, Form.RETURNING)
        exchange = Exchange(cell.mailbox.next_number(), request, cell)
        await cell.send(exchange)
        await exchange.wait()
        return cast("ReplyT", await exchange.outcome())

    def stream(
        self, request: StreamRequest[FrameT], *, buffer: int = DEFAULT_BUFFER
    ) -> ReplyStream[FrameT]:
        """
        Return the stream of frames that answers *request*; see `ReplyStream`.

        Write ``async with ref.stream(request) as frames: async for frame in frames: ...``.

        Args:
            request: The request.
            buffer: Frames that the handler may be ahead, >= 1: its credit.

        Raises:
            NotHandled: the actor has no handler for it; nothing was sent.
            TypeError: *request* is no `StreamRequest`.
        """
        if not isinstance(request, StreamRequest):
            raise TypeError(
                f"stream takes a StreamRequest, not {request!r}; write ref.ask(...) for a Request, "
                f"ref.tell(...) for another frame"
            )
        self._cell.route(request, Form.STREAMING)
        return ReplyStream(self._cell, request, buffer)

    def interrupt(self, reason: str = "interrupted") -> None:
        """
        Cancel what the actor is doing and skip what is queued now (R20).

        Uninterruptible frames are neither cancelled nor skipped, and keep their order. The actor's
        ``on_interrupt`` runs before its next frame. Askers get `Interrupted`, or their reply if the
        handler still makes one.

        Checkpoint: never.
        """
        self._cell.stage.check_thread()
        self._cell.interrupt(reason)

    def stop(self) -> None:
        """
        Ask the actor to end: nothing new is let in, what is queued is handled (R20).

        After ``drain_grace`` seconds what is left is cancelled. Idempotent; see `wait_stopped`.

        Checkpoint: never.
        """
        self._cell.stage.check_thread()
        self._cell.stop()

    async def wait_stopped(self) -> Down:
        """
        Wait until nothing of the actor is left, and return how it ended.

        Cancellation: the actor is not touched.

        Checkpoint: always.
        """
        return await self._cell.wait_stopped()

    def statistics(self) -> MailboxStatistics:
        """Return the figures of the actor's mailbox at this moment."""
        return self._cell.mailbox.statistics()
