"""
How frames get into an actor's mailbox: checked, numbered, put, and let wait while it is full.

`Intake` is the part of a `cell.Cell` that senders deal with. One mark keeps the common case fast:
`Intake.quick` holds the frames that may be put into the mailbox without a further look, and is empty
as soon as there is anything to look at: observers, a closed intake, slots still to be started, an
interrupt under way.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from greenroom.runtime.accounts import Tally
from greenroom.runtime.envelope import Envelope, Exchange, Slot, frame_in
from greenroom.runtime.errors import (
    ActorStopped,
    Dropped,
    MailboxFull,
    NotHandled,
)
from greenroom.runtime.events import FrameSent, SenderWaited
from greenroom.runtime.frames import ControlFrame, Frame, StreamRequest
from greenroom.runtime.mailbox import Lane, Mailbox, is_tombstone
from greenroom.runtime.routes import Form, Routes
from greenroom.runtime.shared import Shared
from greenroom.runtime.waits import check_wait

__all__ = ["Intake", "Room"]

_NOTHING: Final[Mapping[type, bool]] = {}


class Room:
    """What a sender waits for whose frame does not fit; a `waits.Wait`."""

    __slots__ = ("_asks", "intake", "lane")

    def __init__(self, intake: "Intake", lane: Lane | None, asks: Exchange | None = None) -> None:
        self.intake = intake
        self.lane = lane  # None: the data lane
        self._asks = asks  # what the sender waits for next

    def blockers(self) -> Sequence[Slot] | None:
        # senders are let in in order; the first may be in, and not have noticed yet
        rooms = [room for room in self.intake.rooms or () if room.lane is self.lane]
        lane = self.intake.mailbox.data if self.lane is None else self.lane.statistics
        let_in = len(rooms) - lane.tasks_waiting_send
        if self in rooms[:let_in]:
            return self._asks.blockers() if self._asks is not None else None
        return self.intake.blockers(express=self.lane is not None)

    def describe(self) -> str:
        return f"waits for room in {self.intake.name!r}"


class Intake(ABC):
    """
    The way into one actor.

    Attributes:
        name: The actor's, unique among the runtime's living actors.
        shared: What it shares with the others.
        thread: The runtime's, by its ident.
        mailbox: Outlives incarnations; a new one only for an actor restarted after it stopped.
        inlet: The mailbox's own, one step nearer.
        routes: The actor's handlers.
        quick: The frames to let in without a further look, and whether each is a request.
        number: Of the last envelope; counts on when one is made.
        tally: How frames ended; the runtime's own once the actor is over.
        need_slot: Called when a frame finds no slot waiting for it; set while there may be more.
        rooms: The waits of senders for room, in order, until they are over.
        on_drop: Told of each frame that the full mailbox drops by its policy; None: nobody is.
    """

    __slots__ = (
        "_exiles",
        "_waits",
        "inlet",
        "mailbox",
        "name",
        "need_slot",
        "number",
        "on_drop",
        "quick",
        "rooms",
        "routes",
        "shared",
        "tally",
        "thread",
    )

    def __init__(self, name: str, shared: Shared, mailbox: Mailbox, routes: Routes) -> None:
        self.name = name
        self.shared = shared
        self.thread = shared.thread
        self.mailbox = mailbox
        self.inlet = mailbox.inlet
        self.routes = routes
        self.quick = _NOTHING  # until `look_again`
        self.number = 0
        self.tally = Tally()
        self.need_slot: Callable[[], None] | None = None
        self.rooms: dict[Room, None] | None = None
        self.on_drop: Callable[[Frame], None] | None = None
        self._exiles = 0  # interrupts of its family that still have handlers cleaning up
        self._waits = 0  # how often a sender waited for room

    # -- what the actor's life decides

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether frames are let in."""

    @abstractmethod
    def stopped_error(self, frame: Frame) -> ActorStopped:
        """Return the error for *frame*, sent too late."""

    @abstractmethod
    def blockers(self, *, express: bool = False) -> Sequence[Slot] | None:
        """
        Return the slots of which one must go on before a frame is taken; None: none must.

        Args:
            express: A frame of the express lane, not of the data lane.
        """

    @abstractmethod
    def is_stale(self, frame: Frame) -> bool:
        """Tell whether an interrupt of this actor took the sender of *frame*, and so it (R21)."""

    # -- what is let in

    def look_again(self) -> None:
        """Set `quick` anew; called whenever something changed that frames are let in by."""
        shared = self.shared
        is_quick = (
            self.is_open and self.need_slot is None and not self._exiles and not shared.observers
        )
        self.quick = self.routes.quick if is_quick else _NOTHING

    def next_number(self) -> int:
        """Number an envelope; called when it is sent, before any wait for room."""
        self.number += 1
        return self.number

    def check_handled(self, frame: Frame, form: Form) -> None:
        """
        Check that there is a handler of *frame*, to be called as *form*.

        Raises:
            NotHandled: there is none; nothing was sent.
        """
        route = self.routes.find(type(frame))
        if route is None or route.form is not form:
            raise NotHandled(
                f"<Ref {self.name!r}> has no handler for {type(frame).__name__}; "
                f"it handles {self.routes.names()}"
            )

    def check_told(self, frame: Frame) -> Form:
        """
        Check that *frame* may be told to this actor, and return in which form.

        Raises:
            NotHandled: there is no handler for it.
            TypeError: it is no frame, or one that must be streamed.
        """
        route = self.routes.find(type(frame))
        if route is not None and route.form is not Form.STREAMING:
            return route.form
        if not isinstance(frame, Frame):
            raise TypeError(f"only frames can be sent, not {frame!r}; see @frame")
        if issubclass(type(frame), StreamRequest):
            raise TypeError(
                f"{type(frame).__name__} is answered by a stream; "
                f"write 'async with ref.stream(...)'"
            )
        self.check_handled(frame, Form.RETURNING)
        return Form.RETURNING

    def check_open(self, frame: Frame) -> None:
        """
        Check that *frame* can be sent from here and now.

        Raises:
            ActorStopped: the actor takes no more frames.
            RuntimeError: this is another thread or another ``trio.run``.
        """
        self.shared.check_thread()
        if not self.is_open:
            raise self.stopped_error(frame)

    def tell(self, frame: Frame) -> Envelope | None:
        """
        Put *frame*, told, into its lane.

        Returns:
            None; or, if the data lane is full and its policy is to wait, the envelope to `put`.

        Raises:
            NotHandled: there is no handler for it.
            TypeError: it is no frame, or one that must be streamed.
            MailboxFull: by the policy.
            ActorStopped, RuntimeError: as `check_open`.
        """
        form = self.check_told(frame)
        self.check_open(frame)
        envelope = (self.next_number(), frame)
        if form is not Form.CONTROL and self.is_stale(frame):
            self.tally.stale += 1
            self.dead_letter(envelope, "of a turn that was interrupted")
        elif (lane := self.mailbox.lane_of(frame)) is not None:
            if not lane.put_nowait(envelope):
                return envelope
            self._was_put(envelope)
        elif not self.put_nowait(envelope):
            return envelope
        return None

    def put_nowait(self, envelope: Envelope) -> bool:
        """
        Put *envelope* in the data lane.

        Returns:
            False if it is full and its policy is to wait.

        Raises:
            MailboxFull: by the policy.
        """
        try:
            self.inlet.send_nowait(envelope)
        except trio.WouldBlock:
            if self.mailbox.full == "wait":
                return False
            self.overflow(envelope)
        else:
            self._was_put(envelope)
        return True

    def overflow(self, envelope: Envelope) -> None:
        """
        Apply the policy of a full data lane to *envelope*, for a sender that can't wait.

        Raises:
            MailboxFull: nothing was sent.
        """
        try:
            dropped = self.mailbox.make_room(envelope)
        except MailboxFull:
            self.tally.unsent += 1
            raise
        self._dropped(dropped)
        if dropped is not envelope:
            self._was_put(envelope)

    def unsent(self, envelope: Envelope) -> MailboxFull:
        """Return the error for *envelope*, whose sender does not want to wait for room."""
        self.tally.unsent += 1
        return self.mailbox.full_error(envelope)

    def _was_put(self, envelope: Envelope) -> None:
        if self.need_slot is not None and self.mailbox.has_backlog:
            self.need_slot()
        if self.shared.observers:
            self.shared.observers.notify(
                FrameSent(
                    trio.current_time(),
                    self.name,
                    envelope[0],
                    frame_in(envelope),
                    self.shared.sender(),
                )
            )

    async def put(self, envelope: Envelope, room: Room | None = None) -> None:
        """
        Wait for room, and put *envelope*; what `tell` and `put_nowait` left to do.

        Args:
            envelope: It was numbered.
            room: What this wait is to be known by; made here if not given.

        Raises:
            ActorStopped: the actor stopped meanwhile.
            DeadlockError: there would never be room (R24).

        Cancellation: nothing was sent (I1).

        Checkpoint: always.
        """
        frame = frame_in(envelope)
        lane = self.mailbox.lane_of(frame)
        control = isinstance(frame, ControlFrame)
        self.tally.unsent += 1  # until it is
        slot = self.shared.slots.get(trio.lowlevel.current_task())
        if not isinstance(slot, Slot) or control:
            slot = None
        began = trio.current_time()
        waiting = slot.waiting if slot is not None else None
        asks = request if type(request := envelope[1]) is Exchange else None
        room = room or Room(self, lane, asks)
        if slot is not None:
            check_wait(slot, room)
            slot.waiting = room
        self._waits += 1
        if not control:
            if self.rooms is None:
                self.rooms = {}
            self.rooms[room] = None
        try:
            if lane is not None:
                await lane.put(envelope)
            else:
                if self.need_slot is not None:
                    self.need_slot()
                await self.inlet.send(envelope)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            error = self.stopped_error(frame)
            raise error from error.__cause__  # the crash, of which this is an echo (R14)
        finally:
            if self.rooms is not None:
                self.rooms.pop(room, None)
            if slot is not None:
                slot.waiting = waiting
        self.tally.unsent -= 1
        self._was_put(envelope)
        if self.shared.observers:
            now = trio.current_time()
            self.shared.observers.notify(SenderWaited(now, self.name, envelope[0], now - began))

    async def put_anyway(self, frame: Frame) -> None:
        """
        Tell *frame*, waiting for room also where the policy is ``fail``.

        Raises:
            MailboxFull: the policy drops, and there is nothing that may be dropped.
            ActorStopped, DeadlockError: as `put`.

        Cancellation: nothing was sent.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            envelope = self.tell(frame)
        except MailboxFull:
            if self.mailbox.full != "fail":
                raise
            self.tally.unsent -= 1  # the same attempt goes on, under its number; `put` counts it
            envelope = (self.number, frame)
        if envelope is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self.put(envelope)

    def _dropped(self, envelope: Envelope) -> None:
        if is_tombstone(envelope):
            self.tally.cancelled += 1  # its asker has left
            return
        policy = self.mailbox.full
        self.tally.dropped += 1
        if self.on_drop is not None:
            self.on_drop(frame_in(envelope))
        if isinstance(request := envelope[1], Exchange):
            request.settle(
                error=Dropped(
                    f"the full mailbox of <Ref {self.name!r}> dropped "
                    f"{type(request.frame).__name__} (policy {policy})",
                    policy,
                )
            )
        self.dead_letter(envelope, policy)

    def dead_letter(self, envelope: Envelope, reason: str) -> None:
        """Report that nobody will handle *envelope*, or that nobody read its outcome."""
        self.shared.dead_letter(self.name, envelope[0], frame_in(envelope), reason)

    def exclude(self) -> None:
        """Look, from now on, whether a frame is from a handler that an interrupt took (R21)."""
        self._exiles += 1
        self.look_again()

    def readmit(self) -> None:
        """Note that one interrupt of the family is over, with all handlers that it took."""
        self._exiles -= 1
        self.look_again()
