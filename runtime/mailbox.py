"""
A mailbox: the bounded inbox of one actor, which outlives its incarnations.

Up to three lanes, each a `trio.open_memory_channel` of the mailbox's capacity: data, in order;
express, whose frames are handled as data is, but out of its order; and control, whose frames are
handled at once. The latter two are made only for actors that handle such frames, and a full data
lane holds none of them up (R1).

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

import trio

from greenroom.runtime.envelope import Envelope, Exchange, frame_in
from greenroom.runtime.errors import MailboxFull
from greenroom.runtime.frames import ControlFrame, Frame
from greenroom.runtime.lifecycle import RequestState

__all__ = ["DEFAULT_CAPACITY", "WAKE", "Expendable", "FullPolicy", "Mailbox", "is_tombstone"]

FullPolicy: TypeAlias = Literal["wait", "fail", "drop_newest", "drop_oldest"]

DEFAULT_CAPACITY: Final = 64

_POLICIES: Final[tuple[str, ...]] = get_args(FullPolicy)

WAKE: Final[Envelope] = (0, Frame())
"""Nothing to handle, but something to look at; see `Mailbox.wake`."""


class Expendable(Frame):
    """A frame of the runtime's own that a full mailbox may drop, also if it is uninterruptible."""

    __slots__ = ()


def _may_be_dropped(envelope: Envelope) -> bool:
    frame = frame_in(envelope)
    return not frame.uninterruptible or isinstance(frame, Expendable)


class Lane:
    """A lane beside the data lane: nothing is ever dropped from it."""

    __slots__ = ("_inlet", "_outlet", "name")

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self._inlet, self._outlet = trio.open_memory_channel[Envelope](max(1, capacity))

    def put_nowait(self, envelope: Envelope) -> bool:
        """Put *envelope*; False if there is no room. Raises `trio.ClosedResourceError`."""
        try:
            self._inlet.send_nowait(envelope)
        except trio.WouldBlock:
            return False
        return True

    async def put(self, envelope: Envelope) -> None:
        """Wait for room, and put *envelope*."""
        await self._inlet.send(envelope)

    async def take(self) -> Envelope:
        """Wait for the next; raises `trio.EndOfChannel` once closed and empty."""
        return await self._outlet.receive()

    def close_intake(self) -> None:
        """Let nothing more in. Idempotent."""
        self._inlet.close()

    def close(self, leftover: Callable[[Envelope], None]) -> None:
        """Close for good, handing each envelope that is left to *leftover*."""
        self._inlet.close()
        _drain(self._outlet, leftover)

    @property
    def is_full(self) -> bool:
        """Whether it has no room now."""
        figures = self.statistics
        return figures.current_buffer_used >= figures.max_buffer_size

    @property
    def statistics(self) -> trio.MemoryChannelStatistics:
        """The figures of this moment."""
        return self._inlet.statistics()


def _drain(
    outlet: trio.MemoryReceiveChannel[Envelope], leftover: Callable[[Envelope], None]
) -> None:
    while True:
        try:
            envelope = outlet.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
        leftover(envelope)


class Mailbox:
    """
    The lanes and the policy of one actor's inbox.

    Attributes:
        capacity: Of each lane, in frames.
        full: What a full data lane does.
        inlet, outlet: The two ends of the data lane; see `make_room` for its policy.
        control, express: The other lanes; None where there is none.
    """

    __slots__ = (
        "capacity",
        "control",
        "express",
        "full",
        "inlet",
        "outlet",
    )

    def __init__(
        self,
        *,
        capacity: int,
        full: FullPolicy,
        control: bool,
        express: bool,
    ) -> None:
        if not (isinstance(capacity, int) and not isinstance(capacity, bool) and capacity >= 0):
            raise ValueError(f"capacity must be an int >= 0 (frames), not {capacity!r}")
        if full not in _POLICIES:
            raise ValueError(f"full must be one of {', '.join(_POLICIES)}, not {full!r}")
        if capacity == 0 and full.startswith("drop"):
            raise ValueError(f"full={full!r} needs a capacity of at least 1, to drop from")
        self.capacity = capacity
        self.full: FullPolicy = full
        self.inlet, self.outlet = trio.open_memory_channel[Envelope](capacity)
        self.control = Lane("control", capacity) if control else None
        self.express = Lane("express", capacity) if express else None

    def renewed(self) -> "Mailbox":
        """Return an empty mailbox of the same kind."""
        return Mailbox(
            capacity=self.capacity,
            full=self.full,
            control=self.control is not None,
            express=self.express is not None,
        )

    # -- in

    def make_room(self, envelope: Envelope) -> Envelope:
        """
        Put *envelope* in the data lane, which is full, by the policy, in one sync step.

        Returns:
            The envelope dropped for it, perhaps itself.

        Raises:
            MailboxFull: there is nothing to drop, or nothing may be; nothing changed.
        """
        if self.full == "fail":
            raise self.full_error(envelope) from None
        queue: list[Envelope] = []
        while True:
            try:
                queue.append(self.outlet.receive_nowait())
            except trio.WouldBlock:
                break
        candidates = queue if self.full == "drop_oldest" else [envelope, *reversed(queue)]
        # a tombstone is nobody's loss, so it goes first
        victim = next((e for e in queue if is_tombstone(e)), None) or next(
            (e for e in candidates if _may_be_dropped(e)), None
        )
        for kept in queue if victim is None else [*queue, envelope]:
            if kept is not victim:
                self.inlet.send_nowait(kept)
        if victim is None:
            raise MailboxFull(
                f"{type(frame_in(envelope)).__name__} not sent: the mailbox holds {self.capacity} "
                f"uninterruptible frames, and none of them may be dropped"
            )
        return victim

    def full_error(self, envelope: Envelope) -> MailboxFull:
        """Return the error for *envelope*, for which there is no room."""
        frame = frame_in(envelope)
        name = type(frame).__name__
        if (lane := self.lane_of(frame)) is not None:
            return MailboxFull(f"{name} not sent: the {lane.name} lane is full")
        return MailboxFull(
            f"{name} not sent: the mailbox holds {self.capacity} frames and takes no more now"
        )

    def lane_of(self, frame: Frame) -> Lane | None:
        """Return the lane that *frame* goes into; None for the data lane."""
        if isinstance(frame, ControlFrame):
            return self.control
        return self.express if frame.express else None

    # -- out

    def wake(self) -> None:
        """Hand `WAKE` to each task that waits for an envelope, past the buffer and its capacity."""
        for _ in range(self.data.tasks_waiting_receive):
            self.inlet.send_nowait(WAKE)

    # -- the end

    def close_intake(self) -> None:
        """Let nothing more in; blocked senders get `trio.ClosedResourceError`. Idempotent."""
        self.inlet.close()
        for lane in (self.control, self.express):
            if lane is not None:
                lane.close_intake()

    def close(self, leftover: Callable[[Envelope], None]) -> None:
        """Close for good, handing each envelope that is left to *leftover*."""
        self.inlet.close()
        _drain(self.outlet, leftover)
        for lane in (self.express, self.control):
            if lane is not None:
                lane.close(leftover)

    @property
    def has_backlog(self) -> bool:
        """Whether frames wait in the data lane, that is, no slot was waiting for them."""
        return self.data.current_buffer_used > 0

    @property
    def data(self) -> trio.MemoryChannelStatistics:
        """The figures of the data lane."""
        return self.inlet.statistics()


def is_tombstone(envelope: Envelope) -> bool:
    """Tell whether *envelope* is a request that was cancelled while it waited (R2)."""
    content = envelope[1]
    return isinstance(content, Exchange) and content.state is RequestState.SETTLED
