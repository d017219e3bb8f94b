"""
What of an actor outlives its incarnations: its name, its mailbox, its life cycle and its end.

Everything here is a plain call. `Cell` decides and marks; the tasks in `loop` look at the marks.
"""

import contextvars
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs
import trio

from greenroom.runtime.alarms import Alarm
from greenroom.runtime.envelope import Envelope, Exchange, Slot
from greenroom.runtime.errors import (
    ActorStopped,
    Dropped,
    Interrupted,
    MailboxFull,
    NotHandled,
    RequestError,
)
from greenroom.runtime.events import (
    ActorEnded,
    ActorInterrupted,
    DeadLetter,
    FrameSent,
    SenderWaited,
)
from greenroom.runtime.frames import Frame, StreamRequest
from greenroom.runtime.lifecycle import ACTOR_MOVES, ActorState, RequestState, moved
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.routes import Form, Route, Routes
from greenroom.runtime.stage import Stage

__all__ = ["Cell", "Down", "DownReason"]

DownReason: TypeAlias = Literal["stopped", "cancelled", "crashed"]


@attrs.frozen
class Down:
    """How an actor ended."""

    reason: DownReason
    error: BaseException | None = None
    """The crash, where *reason* is ``"crashed"``."""


class Cell:
    """
    One actor, as the runtime sees it.

    Attributes:
        name: Unique among the runtime's living actors.
        stage: What it shares with the others.
        mailbox: Outlives incarnations.
        routes: Its handlers; set before it is started.
        state: Moves as `lifecycle` allows.
        slots: Its handler tasks; kept by the loop.
        held: How many reasons there are to start no further frame: cleanups that overran (R10).
        interrupt_pending: ``on_interrupt`` is to run before the next frame.
        ending: Makes the error of each request that the cell's end takes; None while it lives.
        need_slot: Called when a frame finds no slot waiting for it; set by actors that may have more.
    """

    __slots__ = (
        "_dead",
        "_down",
        "_drain",
        "_interrupt_reason",
        "_late",
        "_lot",
        "ending",
        "held",
        "interrupt_pending",
        "mailbox",
        "name",
        "need_slot",
        "routes",
        "slots",
        "stage",
        "state",
    )

    def __init__(self, name: str, stage: Stage, mailbox: Mailbox, routes: Routes) -> None:
        self.name = name
        self.stage = stage
        self.mailbox = mailbox
        self.routes = routes
        self.state = ActorState.STARTING
        self.slots: list[Slot] = []
        self.held = 0
        self.interrupt_pending = False
        self.ending: Callable[[], RequestError] | None = None
        self.need_slot: Callable[[], None] | None = None
        self._lot = trio.lowlevel.ParkingLot()  # slots that may not go on yet
        self._interrupt_reason = ""  # of the last interrupt
        self._down: Down | None = None
        self._drain: Alarm | None = None  # ends the draining; set by `stop`
        self._late: Alarm | None = None  # names what outlives `end_all`; set by it
        self._dead: trio.Event | None = None  # made when first waited for

    def __repr__(self) -> str:
        return f"<Cell {self.name!r} {self.state.value}>"

    # -- frames in

    @property
    def is_open(self) -> bool:
        """Whether frames are let in; while starting, only the actor itself can send any."""
        return self.state is ActorState.RUNNING or self.state is ActorState.STARTING

    def route(self, frame: Frame, form: Form) -> Route:
        """
        Return the handler of *frame*, to be called as *form*.

        Raises:
            NotHandled: there is none; nothing was sent.
        """
        route = self.routes.find(type(frame))
        if route is None or route.form is not form:
            raise NotHandled(
                f"<Ref {self.name!r}> has no handler for {type(frame).__name__}; "
                f"it handles {self.routes.names()}"
            )
        return route

    def admit(self, frame: Frame) -> bool:
        """
        Check that *frame* may be told to this actor now.

        Returns:
            Whether it goes to the control lane.

        Raises:
            NotHandled: there is no handler for it.
            TypeError: it is no frame, or one that must be streamed.
            ActorStopped: the actor takes no more frames.
            RuntimeError: this is another thread or another ``trio.run``.
        """
        self.stage.check_thread()
        route = self.routes.find(type(frame))
        if route is None or route.form is Form.STREAMING:
            if not isinstance(frame, Frame):
                raise TypeError(f"only frames can be sent, not {frame!r}; see @frame")
            if issubclass(type(frame), StreamRequest):
                raise TypeError(
                    f"{type(frame).__name__} is answered by a stream; "
                    f"write 'async with ref.stream(...)'"
                )
            self.route(frame, Form.RETURNING)
        if not self.is_open:
            raise self.stopped_error(frame)
        return route is not None and route.form is Form.CONTROL

    def stopped_error(self, frame: Frame) -> ActorStopped:
        """Return the error for *frame*, sent too late."""
        self.stage.check_run()
        reason = self._down.reason if self._down else "stopped"
        error = ActorStopped(
            f"<Ref {self.name!r}> {reason} before handling {type(frame).__name__}", reason
        )
        error.__cause__ = self._down.error if self._down else None
        return error

    def put_nowait(self, envelope: Envelope) -> None:
        """Put *envelope* in the data lane and report what was dropped; raises as the mailbox."""
        dropped = self.mailbox.put_nowait(envelope)
        if dropped is not None:
            self._dropped(dropped)
        if dropped is not envelope:
            self.was_put(envelope)

    def was_put(self, envelope: Envelope) -> None:
        """Note that *envelope* is in the mailbox."""
        if self.need_slot is not None and self.mailbox.has_backlog:
            self.need_slot()
        if self.stage.observers:
            self.stage.observers.notify(
                FrameSent(
                    trio.current_time(),
                    self.name,
                    envelope.number,
                    envelope.frame,
                    self.stage.sender(),
                )
            )

    async def put(self, envelope: Envelope, *, control: bool = False) -> None:
        """
        Wait for room, and put *envelope*.

        Raises:
            ActorStopped: the actor stopped meanwhile.
        """
        began = trio.current_time()
        try:
            if control:
                await self.mailbox.put_control(envelope)
            else:
                if self.need_slot is not None:
                    self.need_slot()
                await self.mailbox.put(envelope)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self.stopped_error(envelope.frame) from None
        self.was_put(envelope)
        if self.stage.observers:
            now = trio.current_time()
            self.stage.observers.notify(SenderWaited(now, self.name, envelope.number, now - began))

    async def send(self, exchange: Exchange) -> None:
        """
        Send a request whose asker will wait, with its context and its deadline.

        Raises:
            ActorStopped: the actor takes no more frames.
            MailboxFull: by the mailbox's policy.

        Cancellation: nothing was sent (I1).

        Checkpoint: cancelled always; otherwise only while the mailbox is full.
        """
        self.stage.check_thread()
        self.stage.check_run()
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.is_open:
            raise self.stopped_error(exchange.frame)
        exchange.context = contextvars.copy_context()
        exchange.deadline = trio.current_effective_deadline()
        try:
            self.put_nowait(exchange)
        except MailboxFull:
            if self.mailbox.full != "wait":
                raise
            await self.put(exchange)

    def _dropped(self, envelope: Envelope) -> None:
        policy = self.mailbox.full
        if isinstance(envelope, Exchange):
            if envelope.state is not RequestState.QUEUED:
                return  # a tombstone: its asker has left
            envelope.settle(
                error=Dropped(
                    f"the full mailbox of <Ref {self.name!r}> dropped "
                    f"{type(envelope.frame).__name__} (policy {policy})",
                    policy,
                )
            )
        self.dead_letter(envelope, policy)

    def dead_letter(self, envelope: Envelope, reason: str) -> None:
        """Report that nobody will handle *envelope*, or that nobody read its outcome."""
        if self.stage.observers:
            self.stage.observers.notify(
                DeadLetter(trio.current_time(), self.name, envelope.number, envelope.frame, reason)
            )

    # -- interruption

    def interrupt(self, reason: str) -> None:
        """Cancel what runs and mark what is queued *now* as skipped (R2, R20)."""
        if self.state not in (ActorState.RUNNING, ActorState.STOPPING):
            return
        self.mailbox.skip_before = self.mailbox.number + 1
        self.interrupt_pending = True
        self._interrupt_reason = reason
        running = 0
        for slot in self.slots:
            envelope = slot.running
            if envelope is not None and not envelope.frame.uninterruptible:
                running += 1
                slot.cancel(reason, self.interrupted_error(envelope))
                if isinstance(envelope, Exchange):
                    envelope.discard_unread()
        if self.stage.observers:
            self.stage.observers.notify(
                ActorInterrupted(trio.current_time(), self.name, reason, running)
            )

    def interrupted_error(self, envelope: Envelope) -> Interrupted:
        """Return the error for *envelope*, which the last interrupt took."""
        reason = self._interrupt_reason
        return Interrupted(
            f"<Ref {self.name!r}> was interrupted ({reason}) before it was done with "
            f"{type(envelope.frame).__name__}",
            reason,
        )

    # -- going on, and not

    def hold(self) -> None:
        """Start no further frame until `release`: a cleanup overran (R10)."""
        self.held += 1

    def release(self) -> None:
        """Take back one `hold`."""
        self.held -= 1
        self.go_on()

    def go_on(self) -> None:
        """Let held slots look again."""
        self._lot.unpark_all()

    async def wait_go_on(self) -> None:
        """Park until something changed for the better; cancellable, and always a checkpoint."""
        await self._lot.park()

    @property
    def is_interrupting(self) -> bool:
        """Whether an interrupted handler is still cleaning up."""
        return any(isinstance(slot.ending, Interrupted) for slot in self.slots)

    # -- the end

    def stop(self) -> None:
        """
        Close the intake; what is queued is still handled, within ``drain_grace`` (R20).

        An actor that is starting may end its start first, within the same grace.
        """
        if self.is_open and self._drain is None:
            self._drain = self.stage.alarms.set(
                trio.current_time() + self.stage.drain_grace, lambda: self.end_all("stopped")
            )
        if self.state is ActorState.RUNNING:
            self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPING)
            self.mailbox.close_intake()

    def start(self) -> None:
        """Note that the start is over; if `stop` was called meanwhile, it takes effect now."""
        self.state = moved(ACTOR_MOVES, self.state, ActorState.RUNNING)
        if self._drain is not None:
            self.stop()

    def end_all(self, reason: DownReason, error: Callable[[], RequestError] | None = None) -> None:
        """Cancel every slot; their requests, and the queued ones, end with *error*."""
        if self.ending is None:
            self.ending = error or (
                lambda: ActorStopped(f"<Ref {self.name!r}> {reason} before it was done", reason)
            )
            for slot in self.slots:
                slot.cancel(f"{self.name!r} {reason}", self.ending())
            self._late = self.stage.alarms.set(
                trio.current_time() + self.stage.cleanup_grace, self._name_slots
            )
            self.go_on()

    def _name_slots(self) -> None:
        """Name the handlers that are still there a grace after `end_all` (R10)."""
        for slot in self.slots:
            if slot.running is not None and slot.asking is None:
                self.stage.report_overrun(self.name, slot.running.number, self.name, slot.task)

    def close(self, down: Down) -> None:
        """Note the end: settle what is left in the mailbox, and tell those who wait for it."""
        self._down = down
        self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPED)
        for alarm in (self._drain, self._late):
            if alarm is not None:
                alarm.cancel()
        self.mailbox.close(self._left_over)
        if self._dead is not None:
            self._dead.set()
        if self.stage.observers:
            self.stage.observers.notify(
                ActorEnded(trio.current_time(), self.name, down.reason, down.error)
            )

    def _left_over(self, envelope: Envelope) -> None:
        if isinstance(envelope, Exchange):
            if envelope.state is not RequestState.QUEUED:
                return
            envelope.settle(error=self.stopped_error(envelope.frame))
        self.dead_letter(envelope, "the actor stopped")

    async def wait_stopped(self) -> Down:
        """Wait for the end; always a checkpoint, and a cancel changes nothing."""
        self.stage.check_thread()
        self.stage.check_run()
        if self._down is None:
            if self._dead is None:
                self._dead = trio.Event()
            await self._dead.wait()
        else:
            await trio.lowlevel.checkpoint()
        assert self._down is not None
        return self._down
