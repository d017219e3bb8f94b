"""
Replies that are a stream: `Emit` at the handler's end, `ReplyStream` at the asker's.

Between them is a bounded memory channel, which is the credit: an emitter waits while the asker has
not taken what is there. Two exceptions to the usual rules, both for speed (R12): each end works
without a checkpoint while it need not wait, but makes one at least every 64 frames, before it puts
or takes anything.

Closing frames do not go through the channel (R11). `Emit.close` hands them over in a plain call, so
that no full channel and no cancellation can come between a start and its end; the reader gets what
is buffered, then these, then the outcome.
"""

import contextvars
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, cast

import trio

from greenroom.runtime.cell import Cell
from greenroom.runtime.envelope import Exchange, Slot
from greenroom.runtime.events import FrameEmitted
from greenroom.runtime.frames import Frame, StreamRequest
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.waits import check_wait

__all__ = ["Emit", "ReplyStream", "StreamExchange"]

FrameT = TypeVar("FrameT", bound=Frame)

_MOST_WITHOUT_CHECKPOINT: Final = 64


class StreamExchange(Exchange):
    """An exchange whose reply is a stream of frames."""

    __slots__ = ("closing", "consumer", "discarded", "receive", "send", "sent", "taken_back")

    def __init__(
        self,
        number: int,
        frame: Frame,
        cell: Cell,
        buffer: int,
        context: contextvars.Context | None = None,
    ) -> None:
        super().__init__(number, frame, cell, context)
        self.consumer: Slot | None = None  # the handler that entered the stream, if one did
        self.send, self.receive = trio.open_memory_channel[Frame](buffer)
        self.closing: deque[Frame] = deque()  # at most what one `emit.close` was given
        # how many frames went into the channel, and of these, those that `drain` took out again;
        # the rest is with the asker, or was handed to its waiting task, which will have it
        self.sent = 0
        self.discarded = 0
        self.taken_back: list[Frame] = []  # of these the last, at most as many as the buffer holds

    @property
    def may_be_redelivered(self) -> bool:
        return super().may_be_redelivered and not self.sent and not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be emitted."""
        return self.send.statistics().open_send_channels == 0

    def discard_unread(self) -> None:
        """Forget what is buffered, so that delivered is what the asker took (R12)."""
        self.drain()

    def drain(self) -> list[Frame]:
        """Take what is buffered off the asker's hands."""
        unread: list[Frame] = []
        try:
            while True:
                unread.append(self.receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            self.discarded += len(unread)
            self.taken_back = unread or self.taken_back
            return unread

    def settle(self, value: object = None, error: BaseException | None = None) -> None:
        """End the stream, then settle it as any request."""
        self.send.close()
        super().settle(value, error)


class _Reading:
    """What a consumer waits for: that its stream goes on. See `parked`."""

    __slots__ = ("_exchange", "parked")

    def __init__(self, exchange: StreamExchange) -> None:
        self._exchange = exchange
        # set when the wait has begun; from then on it may be over before its task goes on
        self.parked = False

    def blockers(self) -> Sequence[Slot] | None:
        exchange = self._exchange
        waiting = exchange.receive.statistics().tasks_waiting_receive
        if self.parked and not waiting and exchange.asker is None:
            return None
        # another task of the addressee than its handler's may emit; once all is emitted, only the
        # end of the handler counts
        slot = exchange.slot
        if (
            slot is not None
            and not exchange.is_closed
            and (slot.task.child_nurseries or exchange.addressee.has_helpers)
        ):
            return None
        return exchange.blockers()

    def describe(self) -> str:
        exchange = self._exchange
        return f"waits for {exchange.addressee.name!r} to stream {type(exchange.frame).__name__}"


class _Taking:
    """What an emitter waits for: that its consumer takes something. See `_Reading`."""

    __slots__ = ("_exchange", "parked")

    def __init__(self, exchange: StreamExchange) -> None:
        self._exchange = exchange
        self.parked = False

    def blockers(self) -> Sequence[Slot] | None:
        if self.parked and not self._exchange.send.statistics().tasks_waiting_send:
            return None
        # the task that entered the stream need not be the one that reads it; where any other could
        # be, that one may go on
        consumer = self._exchange.consumer
        if consumer is None or consumer.task.child_nurseries or consumer.owner.has_helpers:
            return None
        return (consumer,)

    def describe(self) -> str:
        frame = type(self._exchange.frame).__name__
        taker = self._exchange.consumer.actor if self._exchange.consumer else "somebody"
        return f"waits for {taker!r} to take what it streams for {frame}"


class Emit(Generic[FrameT]):
    """
    What a streaming handler answers with: ``await emit(frame)``, and `close` for the last frames.

    It belongs to one request, and is of no use once its handler is over.
    """

    __slots__ = ("_cell", "_closed", "_count", "_exchange")

    def __init__(self, exchange: StreamExchange, cell: Cell) -> None:
        self._exchange = exchange
        self._cell = cell
        self._count = 0  # frames since the last checkpoint
        self._closed = False

    async def __call__(self, frame: FrameT) -> None:  # noqa: ASYNC910
        """
        Send *frame* to the asker, waiting while its buffer is full.

        Raises:
            RuntimeError: after `close`, or from inside a shield after the request was cancelled,
                where only `close` is left.

        Cancellation:
            Raises `trio.Cancelled` when the asker has left or the handler is cancelled;
            *frame* was then not sent.

        Checkpoint: when it waits, and at least every 64 frames (R12).
        """
        exchange = self._exchange
        if self._closed:
            raise RuntimeError(
                f"emit({type(frame).__name__}) after emit.close(): nothing follows it"
            )
        if exchange.state is not RequestState.RUNNING or self._count >= _MOST_WITHOUT_CHECKPOINT:
            await trio.lowlevel.checkpoint()
            self._count = 0
            if exchange.state is not RequestState.RUNNING:
                raise RuntimeError(
                    f"emit({type(frame).__name__}) after its request was over or cancelled; "
                    f"give last frames to emit.close()"
                )
        try:
            exchange.send.send_nowait(frame)
            self._count += 1
        except trio.WouldBlock:
            await self._wait_to_emit(frame)
            self._count = 0
        exchange.sent += 1
        if self._cell.shared.observers:
            self._notify(frame)

    async def _wait_to_emit(self, frame: FrameT) -> None:
        exchange = self._exchange
        slot = exchange.slot
        if slot is not None and (
            slot.task is not trio.lowlevel.current_task() or slot.task.child_nurseries
        ):
            slot = None  # a task below the handler's may emit as well: no edge (R24)
        if slot is not None:
            wait = _Taking(exchange)
            check_wait(slot, wait)
            wait.parked = True
            slot.waiting = wait
        try:
            await exchange.send.send(frame)
        except trio.ClosedResourceError:
            raise RuntimeError(
                f"emit({type(frame).__name__}) waited while its stream was closed"
            ) from None
        finally:
            if slot is not None:
                slot.waiting = None

    def close(self, *frames: FrameT) -> None:
        """
        Hand over the last *frames* and end the stream; the handler may go on (R11).

        Legal while the handler is cancelled, whatever the buffer holds. The asker gets them after
        what is buffered; one that has left finds them in `ReplyStream.closing`.

        Raises:
            RuntimeError: called twice.

        Checkpoint: never.
        """
        if self._closed:
            raise RuntimeError("emit.close() can be called once; give it all the last frames")
        self._closed = True
        self._exchange.closing.extend(frames)
        self._exchange.send.close()
        if self._cell.shared.observers:
            # those that were taken back, to go out here, were told of when they were emitted
            told = {id(frame) for frame in self._exchange.taken_back}
            for frame in frames:
                if id(frame) not in told:
                    self._notify(frame)

    def discard_unread(self) -> int:
        """
        Take back what the asker has not taken yet; for handlers that are being cancelled.

        Together with `close`, in one step: then the closing frames follow directly on what was
        delivered, and can tell of it.

        Returns:
            How many frames the asker took.

        Checkpoint: never.
        """
        self._exchange.discard_unread()
        return self._exchange.sent - self._exchange.discarded

    def _notify(self, frame: Frame) -> None:
        self._cell.shared.observers.notify(
            FrameEmitted(trio.current_time(), self._cell.name, self._exchange.number, frame)
        )


class ReplyStream(Generic[FrameT]):
    """
    The frames of one stream request: ``async with ref.stream(request) as frames``.

    Entry sends the request, waiting for room in the mailbox, as ``ask`` does. Exit cancels the
    request if it is not over, and waits until its handler is, at most ``cleanup_grace`` seconds
    (R10): when the block ends, nothing of the request is left (I4).

    An outcome that nobody read, because the block was left early, is reported as a dead letter.
    """

    __slots__ = (
        "_buffer",
        "_cell",
        "_count",
        "_exchange",
        "_is_read",
        "_request",
        "_unread",
        "_waits",
    )

    def __init__(self, cell: Cell, request: StreamRequest[FrameT], buffer: int) -> None:
        if not buffer >= 1:
            raise ValueError(f"buffer must be an int >= 1 (frames), not {buffer!r}")
        self._cell = cell
        self._request = request
        self._buffer = buffer
        self._exchange: StreamExchange | None = None  # set on entry
        self._count = 0  # frames since the last checkpoint
        self._waits = False  # a task is reading, and waits
        self._is_read = False  # the outcome reached the asker
        self._unread: tuple[Frame, ...] = ()  # buffered frames that the block left

    @property
    def closing(self) -> tuple[FrameT, ...]:
        """The closing frames that were not taken; complete once the block has ended."""
        left = self._exchange.closing if self._exchange is not None else ()
        return cast("tuple[FrameT, ...]", tuple(left))

    @property
    def untaken(self) -> tuple[FrameT, ...]:
        """
        What the block left untaken: what was buffered, unless the handler took it back, and then
        the closing frames; complete once the block has ended.
        """
        return cast("tuple[FrameT, ...]", (*self._unread, *self.closing))

    def _opened(self) -> StreamExchange:
        if self._exchange is None:
            raise RuntimeError("use 'async with ref.stream(request) as frames', not the bare call")
        return self._exchange

    async def __aenter__(self) -> Self:
        """Send the request. Cancelled: nothing was sent. Checkpoint: always."""
        if self._exchange is not None:
            raise RuntimeError("a stream can be entered once; call ref.stream() again")
        cell = self._cell
        cell.shared.check_thread()
        cell.shared.check_run()
        await trio.lowlevel.checkpoint_if_cancelled()
        cell.check_open(self._request)
        exchange = StreamExchange(
            cell.next_number(), self._request, cell, self._buffer, contextvars.copy_context()
        )
        if cell.wants_deadlines:
            exchange.deadline = trio.current_effective_deadline()
        slot = cell.shared.slots.get(trio.lowlevel.current_task())
        exchange.consumer = slot if isinstance(slot, Slot) else None
        if not cell.put_nowait((exchange.number, exchange)):
            await cell.put((exchange.number, exchange))
        self._exchange = exchange  # from here on there is a request to end
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the request. Checkpoint: only if the handler is still to be waited for."""
        exchange = self._opened()
        was_settled = exchange.state is RequestState.SETTLED
        reason = "the block of its stream was left"
        if isinstance(exc, trio.Cancelled):
            reason = exc.reason or "the asker was cancelled"
        exchange.cancel(reason)
        await exchange.wait_over()  # noqa: ASYNC102 - bounded by the alarm that `cancel` set
        self._unread = tuple(exchange.drain())
        if was_settled and exchange.error is not None and not self._is_read:
            envelope = (exchange.number, exchange)
            self._cell.dead_letter(envelope, f"{type(exchange.error).__name__}, which nobody read")

    def __aiter__(self) -> Self:
        return self

    def take_nowait(self) -> FrameT:
        """
        Return the next frame if it is there; also from the asyncio code around a guest.

        Raises:
            trio.WouldBlock: there is none now, or the stream is over: `__anext__` will tell.

        Checkpoint: never.
        """
        try:
            return cast("FrameT", self._opened().receive.receive_nowait())
        except trio.EndOfChannel:
            raise trio.WouldBlock from None

    async def __anext__(self) -> FrameT:
        """
        Return the next frame.

        Raises:
            StopAsyncIteration: the handler returned, and every frame was taken.
            RequestError: the handler did not return; see ``Ref.ask``.
            DeadlockError: it never could (R24).
            trio.BusyResourceError: another task waits for the next frame.

        Cancellation: no frame is lost; the request is cancelled when the block is left (R8).

        Checkpoint: when it waits, and at least every 64 frames (R12).
        """
        exchange = self._opened()
        if self._count >= _MOST_WITHOUT_CHECKPOINT:
            self._count = 0
            await trio.lowlevel.checkpoint()
        try:
            frame = exchange.receive.receive_nowait()
            self._count += 1
        except trio.WouldBlock:
            self._count = 0
            self._check_sole_reader()
            slot = self._begin_wait(exchange)
            try:
                frame = await exchange.receive.receive()
            except trio.EndOfChannel:
                self._end_wait(slot)
                return await self._last()
            finally:
                self._end_wait(slot)
        except trio.EndOfChannel:
            return await self._last()
        return cast("FrameT", frame)  # noqa: ASYNC910

    def _begin_wait(self, exchange: StreamExchange) -> Slot | None:
        """Note that this task waits, and return the slot whose wait it is (R24)."""
        slot = self._cell.shared.slots.get(trio.lowlevel.current_task())
        if not isinstance(slot, Slot):
            slot = None
        else:
            wait = _Reading(exchange)
            check_wait(slot, wait)
            wait.parked = True
            slot.waiting = wait
        self._waits = True
        return slot

    def _end_wait(self, slot: Slot | None) -> None:
        self._waits = False
        if slot is not None:
            slot.waiting = None

    def _check_sole_reader(self) -> None:
        if self._waits:
            raise trio.BusyResourceError("another task is already reading this stream")

    async def _last(self) -> FrameT:
        exchange = self._opened()
        if exchange.closing:
            return cast("FrameT", exchange.closing.popleft())  # noqa: ASYNC910
        self._check_sole_reader()
        slot = self._begin_wait(exchange)
        try:
            await exchange.wait(link=False)
        finally:
            self._end_wait(slot)
        self._is_read = True
        await exchange.outcome()
        raise StopAsyncIteration
