"""
What an observer is told: one immutable record for each thing that happens to an actor or a frame.

Observers are sync, told after the fact, and can neither delay nor fail a frame (R26). Events are
made only while there is an observer; without one they cost a truth test.

Every event has *at*, the Trio clock in seconds, and *actor*, the name of the actor that it happened
to. A frame is known by *number*, which counts the frames sent to that actor.
"""

import logging
from collections.abc import Callable
from typing import TypeAlias

import attrs

from greenroom.runtime.frames import Frame

__all__ = [
    "ActorEnded",
    "ActorInterrupted",
    "ActorSpawned",
    "CleanupOverran",
    "DeadLetter",
    "Event",
    "FrameEmitted",
    "FrameSent",
    "HandlerEnded",
    "HandlerStarted",
    "Observer",
    "Observers",
    "SenderWaited",
]

_log = logging.getLogger("greenroom.runtime")


@attrs.frozen
class ActorSpawned:
    """An actor's ``on_start`` is over, and it takes frames."""

    at: float
    actor: str
    parent: str | None
    """The actor that spawned it; None for a child of the runtime."""


@attrs.frozen
class ActorEnded:
    """An actor is over: nothing of it runs any more."""

    at: float
    actor: str
    reason: str
    """``"stopped"``, ``"cancelled"`` or ``"crashed"``."""
    error: BaseException | None


@attrs.frozen
class ActorInterrupted:
    """An actor was interrupted."""

    at: float
    actor: str
    reason: str
    running: int
    """How many handlers were cancelled."""


@attrs.frozen
class FrameSent:
    """A frame is in an actor's mailbox."""

    at: float
    actor: str
    number: int
    frame: Frame
    sender: str | None
    """The actor whose handler sent it; None from anywhere else."""


@attrs.frozen
class SenderWaited:
    """A sender had to wait for room in a full mailbox, and got it."""

    at: float
    actor: str
    number: int
    seconds: float


@attrs.frozen
class HandlerStarted:
    """A handler began with a frame."""

    at: float
    actor: str
    number: int
    frame: Frame


@attrs.frozen
class FrameEmitted:
    """A streaming handler emitted *frame* in answer to the frame *number*."""

    at: float
    actor: str
    number: int
    frame: Frame


@attrs.frozen
class HandlerEnded:
    """A handler is over."""

    at: float
    actor: str
    number: int
    frame: Frame
    outcome: str
    """``"replied"``, ``"cancelled"``, or the name of the error's class."""


@attrs.frozen
class DeadLetter:
    """A frame that nobody will handle, or an outcome that nobody read."""

    at: float
    actor: str
    number: int
    frame: Frame
    reason: str


@attrs.frozen
class CleanupOverran:
    """
    A cancelled handler was still cleaning up at its bound (R10).

    Its caller went on; the handler is named here because Trio can end no task by force.
    """

    at: float
    actor: str
    """The culprit: the last of the chain of actors that wait for one another."""
    number: int | None
    waited_by: str
    """The actor whose caller was let go; the culprit itself where there is no chain."""
    stack: tuple[str, ...]
    """Where the culprit's task waits, outermost first: ``file:line in function``."""


Event: TypeAlias = (
    ActorSpawned
    | ActorEnded
    | ActorInterrupted
    | FrameSent
    | SenderWaited
    | HandlerStarted
    | FrameEmitted
    | HandlerEnded
    | DeadLetter
    | CleanupOverran
)

Observer: TypeAlias = Callable[[Event], None]


class Observers(list[Observer]):
    """The observers of one runtime; false while there are none, which is all that this costs."""

    __slots__ = ()

    def notify(self, event: Event) -> None:
        """Tell every observer; one that raises is logged and told nothing more."""
        for observer in tuple(self):
            try:
                observer(event)
            except Exception:
                self.remove(observer)
                _log.exception("observer %r raised and is told nothing more", observer)
