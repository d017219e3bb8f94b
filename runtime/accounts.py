"""
Message accounting: every frame that was sent ends in exactly one way, and the sums agree.

A `Tally` is one actor's, counted up as frames end; when the actor is over it is added to the
runtime's. `Accounts` is what users see of either, and `ActorStatistics` all figures of one actor.
"""

import attrs

from greenroom.runtime.frames import Frame

__all__ = ["Accounts", "ActorStatistics", "Quarantined", "Tally"]


@attrs.frozen
class Accounts:
    """Where the frames went, that were sent to one actor or to all actors of a runtime."""

    sent: int
    """Into a mailbox, or dropped at its door by policy. The sum of all that follow."""
    handled: int
    """A handler returned, a control handler included."""
    refused: int
    """The handler raised `Refused`."""
    crashed: int
    """The handler crashed, and the frame was not delivered again."""
    cancelled: int
    """The asker left, or the actor was cancelled while a handler ran."""
    interrupted: int
    """By an interrupt, while a handler ran or in the queue."""
    stale: int
    """Told by a handler that an interrupt had taken, to an actor that it took as well."""
    dropped: int
    """By the policy of a full mailbox."""
    undelivered: int
    """In the mailbox when the actor stopped."""
    pending: int
    """Still queued, or being handled; 0 once the actor is over."""


@attrs.frozen
class Quarantined:
    """A frame that crashed its handlers, and will not be delivered again."""

    frame: Frame
    attempts: int
    """How many handlers it crashed."""
    error: BaseException
    """The last crash."""


@attrs.frozen
class ActorStatistics:
    """An actor at one moment."""

    state: str
    """``"starting"``, ``"running"``, ``"stopping"``, ``"restarting"`` or ``"stopped"``."""
    capacity: int
    """Of each lane of the mailbox, in frames."""
    queued: int
    """In the data lane, tombstones of cancelled requests included."""
    peak: int | None
    """The most that was ever queued in the data lane; None with Trio before 0.34, which doesn't say."""
    control: int
    """In the control lane."""
    express: int
    """In the express lane."""
    waiting: int
    """Senders blocked for room."""
    dropped: int
    """Dropped by the policy of a full mailbox."""
    waits: int
    """How often a sender had to wait for room."""
    running: int
    """Handlers at work."""
    restarts: int
    quarantined: tuple[Quarantined, ...]
    """The last 16 frames that crashed their handlers for good."""
    accounts: Accounts
    """Where the frames went that were sent to it."""
    handler_seconds: float
    """In handlers so far, waits included; 0 unless ``open_runtime(measure=True)``."""


class Tally:
    """Counts frames by how they ended."""

    __slots__ = (
        "cancelled",
        "crashed",
        "dropped",
        "handled",
        "interrupted",
        "refused",
        "stale",
        "undelivered",
        "unsent",
    )

    def __init__(self) -> None:
        self.handled = 0
        self.refused = 0
        self.crashed = 0
        self.cancelled = 0
        self.interrupted = 0
        self.stale = 0
        self.dropped = 0
        self.undelivered = 0
        self.unsent = 0  # numbered, but not sent: the sender still waits, or got an error

    def add(self, other: "Tally") -> None:
        """Count what *other* counted."""
        self.handled += other.handled
        self.refused += other.refused
        self.crashed += other.crashed
        self.cancelled += other.cancelled
        self.interrupted += other.interrupted
        self.stale += other.stale
        self.dropped += other.dropped
        self.undelivered += other.undelivered
        self.unsent += other.unsent

    def accounts(self, numbered: int) -> Accounts:
        """Return the figures of this moment, given how many frames were numbered."""
        ends = {kind: getattr(self, kind) for kind in self.__slots__ if kind != "unsent"}
        sent = numbered - self.unsent
        return Accounts(sent=sent, pending=sent - sum(ends.values()), **ends)
