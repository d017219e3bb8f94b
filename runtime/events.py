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

from greenroom.runtime.frames import Frame, frame

__all__ = [
    "ActorEnded",
    "ActorInterrupted",
    "ActorRestarting",
    "ActorSpawned",
    "CleanupOverran",
    "DeadLetter",
    "Event",
    "FrameEmitted",
    "FrameQuarantined",
    "FrameSent",
    "HandlerEnded",
    "HandlerSlow",
    "HandlerStarted",
    "Observer",
    "Observers",
    "SenderWaited",
    "StageStalled",
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
class ActorRestarting:
    """An incarnation is over, and its supervisor begins another; the mailbox and the ref stay."""

    at: float
    actor: str
    error: BaseException | None
    """The crash; None if it was stopped, by itself or along with a sibling."""
    delay: float
    """Seconds until then, as the back-off has it."""


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


@frame
class DeadLetter(Frame):
    """
    A frame that nobody will handle, or an outcome that nobody read.

    It is a frame itself, for actors that subscribe to ``runtime.dead_letters``. One that is lost on
    the way there is told to observers alone.
    """

    at: float
    actor: str
    number: int
    frame: Frame
    reason: str


@attrs.frozen
class FrameQuarantined:
    """A frame crashed its handler, and will not be delivered again."""

    at: float
    actor: str
    number: int
    frame: Frame
    attempts: int
    """How many handlers it crashed."""
    error: BaseException


@attrs.frozen
class HandlerSlow:
    """A handler has run for longer than ``slow_after``; it goes on."""

    at: float
    actor: str
    number: int
    frame: Frame
    seconds: float
    """For how long, so far."""
    stack: tuple[str, ...]
    """Where it waits, outermost first: ``file:line in function``."""


@attrs.frozen
class StageStalled:
    """
    A stage of a pipeline has made no progress since the heartbeat before; told again at each.

    Progress is a frame taken, done with or passed on; a stage that waits for room, or is paused, is
    not to blame.
    """

    at: float
    actor: str
    pipeline: str
    frame: Frame | None
    """What it is handling; None if it is not even there to answer, as between two incarnations."""
    seconds: float
    """For how long, as far as heartbeats can tell."""
    stack: tuple[str, ...]
    """Where it waits, outermost first: ``file:line in function``."""


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
    | ActorRestarting
    | ActorEnded
    | ActorInterrupted
    | FrameSent
    | SenderWaited
    | HandlerStarted
    | FrameEmitted
    | HandlerEnded
    | HandlerSlow
    | StageStalled
    | FrameQuarantined
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
