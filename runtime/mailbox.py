"""
A mailbox: the bounded inbox of one actor, which outlives its incarnations.

Two lanes, each a `trio.open_memory_channel` of the mailbox's capacity: data, in order; and control,
made only for actors that handle control frames, so that a full data lane holds none of them up (R1).

When the data lane is full, the policy decides (R4):

``wait``
    the sender waits for room: back-pressure, the default;
``fail``
    `MailboxFull` at once;
``drop_newest``, ``drop_oldest``
    a frame is dropped, counted and returned to the caller, who reports it. Uninterruptible frames
    are never dropped.

Nothing is ever taken out and put back while senders may be blocked: that would let them in (R2).
Under the ``drop_*`` policies no sender blocks, so there it is safe.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import attrs
import trio

from greenroom.runtime.envelope import Envelope, Exchange
from greenroom.runtime.errors import MailboxFull
from greenroom.runtime.lifecycle import RequestState

__all__ = ["DEFAULT_CAPACITY", "FullPolicy", "Mailbox", "MailboxStatistics", "is_tombstone"]

FullPolicy: TypeAlias = Literal["wait", "fail", "drop_newest", "drop_oldest"]

DEFAULT_CAPACITY: Final = 64


@attrs.frozen
class MailboxStatistics:
    """A mailbox at one moment, in frames."""

    capacity: int
    queued: int
    """In the data lane, tombstones of cancelled requests included."""
    control: int
    """In the control lane."""
    waiting: int
    """Senders blocked for room."""
    dropped: int
    """Dropped by policy."""


class Mailbox:
    """The lanes, the numbers and the policy of one actor's inbox."""

    __slots__ = (
        "_control_receive",
        "_control_send",
        "_receive",
        "_send",
        "capacity",
        "dropped",
        "full",
        "number",
        "receive",
        "receive_nowait",
        "skip_before",
    )

    def __init__(
        self, *, capacity: int = DEFAULT_CAPACITY, full: FullPolicy = "wait", control: bool
    ) -> None:
        if not (isinstance(capacity, int) and not isinstance(capacity, bool) and capacity >= 0):
            raise ValueError(f"capacity must be an int >= 0 (frames), not {capacity!r}")
        if full not in get_args(FullPolicy):
            raise ValueError(f"full must be one of {', '.join(get_args(FullPolicy))}, not {full!r}")
        if capacity == 0 and full.startswith("drop"):
            raise ValueError(f"full={full!r} needs a capacity of at least 1, to drop from")
        self.capacity = capacity
        self.full = full
        self.number = 0  # of the last envelope; counts on when an envelope is made
        self.skip_before = 0  # interruptible envelopes below it are skipped; set by an interrupt
        self.dropped = 0
        self._send, self._receive = trio.open_memory_channel[Envelope](capacity)
        self.receive = self._receive.receive
        self.receive_nowait = self._receive.receive_nowait
        self._control_send: trio.MemorySendChannel[Envelope] | None = None
        self._control_receive: trio.MemoryReceiveChannel[Envelope] | None = None
        if control:
            lane = trio.open_memory_channel[Envelope](max(1, capacity))
            self._control_send, self._control_receive = lane

    def next_number(self) -> int:
        """Number an envelope; called when it is sent, before any wait for room."""
        self.number += 1
        return self.number

    # -- in

    def put_nowait(self, envelope: Envelope) -> Envelope | None:
        """
        Put *envelope* in the data lane.

        Returns:
            The envelope dropped for it (perhaps itself), or None.

        Raises:
            MailboxFull: there is no room and nothing to drop; nothing changed.
            trio.ClosedResourceError: the intake is closed.
        """
        try:
            self._send.send_nowait(envelope)
        except trio.WouldBlock:
            if self.full in ("wait", "fail"):
                raise MailboxFull(
                    f"{type(envelope.frame).__name__} not sent: the mailbox holds "
                    f"{self.capacity} frames and takes no more now"
                ) from None
            return self._drop_for(envelope)
        return None

    async def put(self, envelope: Envelope) -> None:
        """Wait for room; as `trio.MemorySendChannel.send`, cancelled means not sent (I1)."""
        await self._send.send(envelope)

    def _drop_for(self, envelope: Envelope) -> Envelope:
        """Make room by the policy, in one sync step, and return what was dropped."""
        queue: list[Envelope] = []
        while True:
            try:
                queue.append(self.receive_nowait())
            except trio.WouldBlock:
                break
        candidates = queue if self.full == "drop_oldest" else [envelope, *reversed(queue)]
        # a tombstone is nobody's loss, so it goes first
        victim = next((e for e in queue if is_tombstone(e)), None) or next(
            (e for e in candidates if not e.frame.uninterruptible), None
        )
        for kept in queue if victim is None else [*queue, envelope]:
            if kept is not victim:
                self._send.send_nowait(kept)
        if victim is None:
            raise MailboxFull(
                f"{type(envelope.frame).__name__} not sent: the mailbox holds {self.capacity} "
                f"uninterruptible frames, and none of them may be dropped"
            )
        if not is_tombstone(victim):
            self.dropped += 1
        return victim

    def put_control_nowait(self, envelope: Envelope) -> None:
        """Put *envelope* in the control lane; raises as `put_nowait`."""
        assert self._control_send is not None  # admitted only with a control handler
        try:
            self._control_send.send_nowait(envelope)
        except trio.WouldBlock:
            raise MailboxFull(
                f"{type(envelope.frame).__name__} not sent: the control lane is full"
            ) from None

    async def put_control(self, envelope: Envelope) -> None:
        """Wait for room in the control lane."""
        assert self._control_send is not None
        await self._control_send.send(envelope)

    # -- out

    async def take_control(self) -> Envelope:
        """Wait for the next control frame; raises `trio.EndOfChannel` once closed and empty."""
        assert self._control_receive is not None
        return await self._control_receive.receive()

    def skips(self, envelope: Envelope) -> bool:
        """Tell whether an interrupt came after *envelope* was sent, and takes it (R2)."""
        return envelope.number < self.skip_before and not envelope.frame.uninterruptible

    # -- the end

    def close_intake(self) -> None:
        """Let nothing more in; blocked senders get `trio.ClosedResourceError`. Idempotent."""
        self._send.close()
        if self._control_send is not None:
            self._control_send.close()

    def close(self, leftover: Callable[[Envelope], None]) -> None:
        """Close for good, handing each envelope that is left to *leftover*."""
        self.close_intake()
        for lane in (self._receive, self._control_receive):
            if lane is None:
                continue
            while True:
                try:
                    envelope = lane.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
                leftover(envelope)
            lane.close()

    @property
    def has_backlog(self) -> bool:
        """Whether frames wait in the data lane, that is, no slot was waiting for them."""
        return self._send.statistics().current_buffer_used > 0

    def statistics(self) -> MailboxStatistics:
        """Return the figures of this moment."""
        data = self._send.statistics()
        control = self._control_send.statistics() if self._control_send else None
        return MailboxStatistics(
            capacity=self.capacity,
            queued=data.current_buffer_used,
            control=control.current_buffer_used if control else 0,
            waiting=data.tasks_waiting_send + (control.tasks_waiting_send if control else 0),
            dropped=self.dropped,
        )


def is_tombstone(envelope: Envelope) -> bool:
    """Tell whether *envelope* is a request that was cancelled while it waited (R2)."""
    return isinstance(envelope, Exchange) and envelope.state is RequestState.SETTLED
