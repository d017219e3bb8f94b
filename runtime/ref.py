"""A `Ref`: all of an actor that others may hold."""

from collections.abc import Callable, Iterable
from contextvars import copy_context
from operator import attrgetter
from threading import get_ident
from typing import Final, TypeVar, cast

import trio

from greenroom.runtime.accounts import ActorStatistics
from greenroom.runtime.cell import Cell, Down
from greenroom.runtime.envelope import Envelope, Exchange, Slot
from greenroom.runtime.errors import DeadlockError
from greenroom.runtime.frames import Frame, Request, StreamRequest
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.routes import Form
from greenroom.runtime.shared import Occupant
from greenroom.runtime.stream import ReplyStream
from greenroom.runtime.waits import check_wait

__all__ = ["DEFAULT_BUFFER", "Ref", "cell_of"]

ReplyT = TypeVar("ReplyT")
FrameT = TypeVar("FrameT", bound=Frame)

DEFAULT_BUFFER: Final = 16

_SETTLED: Final = RequestState.SETTLED


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
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except RuntimeError:  # this is no Trio task
            raise cell.shared.outside_error() from None
        if type(frame) in cell.quick and get_ident() == cell.thread:
            cell.number = number = cell.number + 1
            envelope: Envelope | None = None
            try:
                cell.inlet.send_nowait((number, frame))
            except trio.WouldBlock:
                if cell.mailbox.full == "wait":
                    envelope = (number, frame)
                else:
                    cell.overflow((number, frame))
        else:
            cell.shared.check_thread()
            cell.shared.check_run()
            envelope = cell.tell(frame)
        if envelope is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await cell.put(envelope)

    def tell_nowait(self, frame: Frame) -> None:
        """
        Send *frame* at once: the fast path; also from the asyncio code around a guest.

        Raises:
            MailboxFull: there is no room, under any policy that does not drop; nothing was sent.
            NotHandled, TypeError, ActorStopped: as `tell`.

        Checkpoint: never.
        """
        cell = self._cell
        if type(frame) in cell.quick and get_ident() == cell.thread:
            cell.number = number = cell.number + 1
            try:
                cell.inlet.send_nowait((number, frame))
            except trio.WouldBlock:
                if cell.mailbox.full == "wait":
                    raise cell.unsent((number, frame)) from None
                cell.overflow((number, frame))
            return
        if (envelope := cell.tell(frame)) is not None:
            raise cell.unsent(envelope)

    def check_tell(self, frame: Frame) -> None:
        """
        Check that *frame* is one that can be told to this actor, without sending it.

        Raises:
            NotHandled, TypeError: as `tell`.
        """
        self._cell.check_told(frame)

    async def tell_all(self, frames: Iterable[Frame]) -> None:
        """
        Send *frames* in order, as so many `tell` calls, but with few checkpoints.

        Cancellation: what was sent before stays sent.

        Checkpoint: always, and at least every 64 frames.
        """
        cell = self._cell
        try:
            await trio.lowlevel.checkpoint()
        except RuntimeError:  # this is no Trio task
            raise cell.shared.outside_error() from None
        cell.shared.check_thread()
        count = 0
        for frame in frames:
            if (count := count + 1) >= 64:
                count = 0
                await trio.lowlevel.checkpoint()
            if type(frame) in cell.quick:
                cell.number = number = cell.number + 1
                try:
                    cell.inlet.send_nowait((number, frame))
                except trio.WouldBlock:
                    if not cell.put_nowait((number, frame)):
                        await cell.put((number, frame))
                        count = 0
            elif (envelope := cell.tell(frame)) is not None:
                await cell.put(envelope)

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
            DeadlockError: the actor, or one that it waits for, waits for this handler (R24).
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
        is_quick = cell.quick.get(type(request)) and get_ident() == cell.thread
        if is_quick:
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
            except RuntimeError:  # this is no Trio task
                raise cell.shared.outside_error() from None
        else:
            await self._check_ask(request)
        cell.number = number = cell.number + 1
        exchange = Exchange(number, request, cell, copy_context())
        if cell.wants_deadlines:
            exchange.deadline = trio.current_effective_deadline()
        task = trio.lowlevel.current_task()
        slot = cell.shared.slots.get(task)
        if slot is None:
            if is_quick:
                try:
                    cell.inlet.send_nowait((number, exchange))
                except trio.WouldBlock:
                    is_quick = False
            if not is_quick and not cell.put_nowait((number, exchange)):
                await cell.put((number, exchange))
            if exchange.state is not _SETTLED:
                exchange.asker = task
                await trio.lowlevel.wait_task_rescheduled(exchange.abort)
                if exchange.cancellation is not None:
                    exchange.raise_if_cancelled()
        else:
            await self._ask_within(slot, exchange)
        if exchange.error is not None:
            await exchange.outcome()
        reply: ReplyT = exchange.value
        return reply  # noqa: ASYNC910 - it waited for the reply

    async def _check_ask(self, request: object) -> None:
        """Raise what is wrong with asking *request* now, if anything is."""
        if not isinstance(request, Request):
            raise TypeError(
                f"ask takes a Request, not {request!r}; write ref.stream(...) for a StreamRequest, "
                f"ref.tell(...) for another frame"
            )
        frame = cast("Frame", request)
        self._cell.check_handled(frame, Form.RETURNING)
        self._cell.shared.check_thread()
        self._cell.shared.check_run()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._cell.check_open(frame)

    async def _ask_within(self, slot: Occupant, exchange: Exchange) -> None:
        """Send *exchange* from a handler's task and wait until it is settled (R24)."""
        assert isinstance(slot, Slot)
        try:
            check_wait(slot, exchange)
        except DeadlockError:
            self._cell.tally.unsent += 1
            raise
        waiting, slot.waiting = slot.waiting, exchange
        try:
            envelope = (exchange.number, exchange)
            if not self._cell.put_nowait(envelope):
                await self._cell.put(envelope)
            await exchange.wait()
        finally:
            slot.waiting = waiting

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
        self._cell.check_handled(request, Form.STREAMING)
        return ReplyStream(self._cell, request, buffer)

    def interrupt(self, reason: str = "interrupted") -> None:
        """
        Cancel what the actor and all that it owns are doing, and skip what is queued now (R20, R21).

        Owned are the actors that it spawned, and theirs; all this is one step, and what the
        cancelled handlers still tell one another from their cleanup is dropped.
        Uninterruptible frames are neither cancelled nor skipped, and keep their order. The actor's
        ``on_interrupt`` runs before its next frame. Askers get `Interrupted`, or their reply if the
        handler still makes one.

        Checkpoint: never.
        """
        self._cell.shared.check_thread()
        self._cell.interrupt(reason)

    def stop(self) -> None:
        """
        Ask the actor to end: nothing new is let in, what is queued is handled (R20).

        After ``drain_grace`` seconds what is left is cancelled. Idempotent; see `wait_stopped`.

        Checkpoint: never.
        """
        self._cell.shared.check_thread()
        self._cell.stop()

    async def wait_stopped(self) -> Down:
        """
        Wait until nothing of the actor is left, and return how it ended.

        Cancellation: the actor is not touched.

        Checkpoint: always.
        """
        return await self._cell.wait_stopped()

    def statistics(self) -> ActorStatistics:
        """Return the figures of the actor at this moment."""
        return self._cell.statistics()


# What a ref hides, for the runtime's own parts.
cell_of: Final[Callable[[Ref], Cell]] = attrgetter("_cell")
