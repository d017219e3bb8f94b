"""
What of an actor outlives its incarnations: its name, its mailbox, its life cycle and its end.

Everything here is a plain call, but for the waits of senders. `Cell` decides and marks; the tasks in
`loop` look at the marks.

Two of these marks keep the common case fast. `Cell.quick` holds the frames that may be put into the
mailbox without a further look, and is empty as soon as there is anything to look at: observers, a
closed intake, slots still to be started, an interrupt under way. `Cell.attention` tells the slots
that there may be a reason not to start the next frame.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import trio

from greenroom.runtime.accounts import ActorStatistics, Quarantined, Tally
from greenroom.runtime.alarms import Alarm
from greenroom.runtime.envelope import Envelope, Exchange, Exile, Slot, frame_in
from greenroom.runtime.errors import (
    ActorStopped,
    DeadlockError,
    Dropped,
    Interrupted,
    MailboxFull,
    NotHandled,
    RequestError,
)
from greenroom.runtime.events import (
    ActorEnded,
    ActorInterrupted,
    ActorRestarting,
    FrameQuarantined,
    FrameSent,
    SenderWaited,
)
from greenroom.runtime.frames import ControlFrame, Frame, StreamRequest, frame
from greenroom.runtime.lifecycle import ACTOR_MOVES, ActorState, moved
from greenroom.runtime.mailbox import Mailbox, is_tombstone
from greenroom.runtime.routes import Form, Routes
from greenroom.runtime.stage import Stage
from greenroom.runtime.waits import Wait, cycle_text, find_cycle

__all__ = ["Cell", "Down", "DownReason", "check_wait"]

DownReason: TypeAlias = Literal["stopped", "cancelled", "crashed"]

_NOTHING: Final[Mapping[type, bool]] = {}
_KEPT_IN_QUARANTINE: Final = 16


@frame
class Down(Frame):
    """How an actor ended; also the frame that a watching actor is told (see ``Actor.watch``)."""

    uninterruptible = True

    actor: str
    """The name of the actor that ended."""
    reason: DownReason
    error: BaseException | None = None
    """The crash, where *reason* is ``"crashed"``."""


def check_wait(waiter: Slot, wait: Wait) -> None:
    """
    Refuse a wait that could never end (R24).

    Raises:
        DeadlockError: *waiter*, by waiting for *wait*, would close a cycle.
    """
    if wait.blockers() is not None and (cycle := find_cycle(waiter, wait)) is not None:
        text = cycle_text(cycle)
        raise DeadlockError(
            f"this wait would never end: {text}; break the cycle, for example by telling instead "
            f"of asking",
            tuple(step.actor for step, _ in cycle),
        )


class _Room:
    """What a sender waits for whose frame does not fit; a `waits.Wait`."""

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell

    def blockers(self) -> Sequence[Slot] | None:
        # senders are let in in order; the first may be in, and not have noticed yet
        rooms = list(self._cell.rooms)
        let_in = len(rooms) - self._cell.mailbox.data.tasks_waiting_send
        return None if self in rooms[:let_in] else self._cell.blockers()

    def describe(self) -> str:
        return f"waits for room in {self._cell.name!r}"


class Cell:
    """
    One actor, as the runtime sees it.

    Attributes:
        name: Unique among the runtime's living actors.
        kind: The name of its class, for people.
        stage: What it shares with the others.
        thread: The runtime's, by its ident.
        mailbox: Outlives incarnations; a new one only for an actor restarted after it stopped.
        routes: Its handlers.
        concurrency: How many slots it may have.
        wants_deadlines: Its handlers look at the deadlines of their askers.
        state: Moves as `lifecycle` allows.
        quick: The frames to let in without a further look, and whether each is a request.
        attention: The slots are to look around before they start a frame; see `calm`.
        number: Of the last envelope; counts on when one is made.
        skip_before: Interruptible envelopes below it are skipped (R2).
        tally: How frames ended; the runtime's own once the actor is over.
        slots: Its handler tasks; kept by the loop.
        children: The actors that it spawned, and that live; kept by `supervisor`.
        has_helpers: The actor may have tasks of its own beside its handlers.
        held: How many reasons there are to start no further frame: cleanups that overran (R10).
        interrupt_pending: ``on_interrupt`` is to run before the next frame.
        ending: Makes the error of each request that the end takes; None while it lives.
        need_slot: Called when a frame finds no slot waiting for it; set while there may be more.
        redeliver: How often a frame is delivered again after a crash.
        again: Frames to handle before all others, as an incarnation ended with them: those that
            crashed it, and those that were taken but not started. At most two for each slot.
        rooms: The waits of senders for room, in order, until they are over.
        restarts: How often it was restarted.
        handler_seconds: Spent in handlers, where measured.
        abandon: Called by a stop while the actor is between incarnations; set by `supervisor`.
    """

    __slots__ = (
        "_attempts",
        "_dead",
        "_down",
        "_drain",
        "_exiles",
        "_final",
        "_interrupt_reason",
        "_late",
        "_lot",
        "_quarantined",
        "_waits",
        "abandon",
        "again",
        "attention",
        "children",
        "concurrency",
        "ending",
        "handler_seconds",
        "has_helpers",
        "held",
        "interrupt_pending",
        "kind",
        "mailbox",
        "name",
        "need_slot",
        "number",
        "quick",
        "redeliver",
        "restarts",
        "rooms",
        "routes",
        "send_nowait",
        "skip_before",
        "slots",
        "stage",
        "state",
        "tally",
        "thread",
        "wants_deadlines",
    )

    def __init__(
        self,
        name: str,
        stage: Stage,
        mailbox: Mailbox,
        routes: Routes,
        *,
        kind: str,
        concurrency: int = 1,
        wants_deadlines: bool = False,
        redeliver: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.stage = stage
        self.thread = stage.thread
        self.mailbox = mailbox
        self.send_nowait = mailbox.send_nowait
        self.routes = routes
        self.concurrency = concurrency
        self.wants_deadlines = wants_deadlines
        self.state = ActorState.STARTING
        self.attention = False
        self.number = 0
        self.skip_before = 0
        self.tally = Tally()
        self.slots: list[Slot] = []
        self.children: dict[Cell, None] | None = None
        self.has_helpers = False
        self.held = 0
        self.interrupt_pending = False
        self.ending: Callable[[], RequestError] | None = None
        self.need_slot: Callable[[], None] | None = None
        self.redeliver = redeliver
        self.again: deque[Envelope] | None = None
        self.rooms: dict[_Room, None] = {}
        self.restarts = 0
        self.handler_seconds = 0.0
        self.abandon: Callable[[], None] | None = None
        self._lot: trio.lowlevel.ParkingLot | None = None  # slots that may not go on yet
        self._interrupt_reason = ""  # of the last interrupt
        self._exiles = 0  # interrupts of its family that still have handlers cleaning up
        self._attempts: dict[int, int] | None = None  # crashes so far, by number, of those in again
        self._quarantined: deque[Quarantined] | None = None
        self._waits = 0  # how often a sender waited for room
        self._down: Down | None = None
        self._final: Tally | None = None  # its own, set with it
        self._drain: Alarm | None = None  # ends the draining; set by `stop`
        self._late: Alarm | None = None  # names what outlives `end_all`; set by it
        self._dead: trio.Event | None = None  # made when first waited for
        self.quick = _NOTHING
        self.look_again()

    def __repr__(self) -> str:
        return f"<Cell {self.name!r} {self.state.value}>"

    # -- frames in

    @property
    def is_open(self) -> bool:
        """Whether frames are let in; while first starting, only the actor itself can send any."""
        return self.state is not ActorState.STOPPED and self.state is not ActorState.STOPPING

    def look_again(self) -> None:
        """Set `quick` anew; called whenever something changed that frames are let in by."""
        stage = self.stage
        is_quick = (
            self.is_open and self.need_slot is None and not self._exiles and not stage.observers
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
        self.stage.check_thread()
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
        if form is Form.CONTROL:
            try:
                self.mailbox.put_control_nowait(envelope)
            except MailboxFull:
                return envelope
            self._was_put(envelope)
        elif self._exiles and not frame.uninterruptible and self._is_stale():
            self.tally.stale += 1
            self.dead_letter(envelope, "of a turn that was interrupted")
        elif not self.put_nowait(envelope):
            return envelope
        return None

    def _is_stale(self) -> bool:
        """Tell whether the sender is a handler that an interrupt of this actor took too (R21)."""
        sender = self.stage.calling()
        return isinstance(sender, Slot) and sender.exile is not None and self in sender.exile.family

    def put_nowait(self, envelope: Envelope) -> bool:
        """
        Put *envelope* in the data lane.

        Returns:
            False if it is full and its policy is to wait.

        Raises:
            MailboxFull: by the policy.
        """
        try:
            self.send_nowait(envelope)
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
            dropped = self.mailbox.put_nowait(envelope)
        except MailboxFull:
            self.tally.unsent += 1
            raise
        if dropped is not None:
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
        if self.stage.observers:
            self.stage.observers.notify(
                FrameSent(
                    trio.current_time(),
                    self.name,
                    envelope[0],
                    frame_in(envelope),
                    self.stage.sender(),
                )
            )

    async def put(self, envelope: Envelope) -> None:
        """
        Wait for room, and put *envelope*; what `tell` and `put_nowait` left to do.

        Raises:
            ActorStopped: the actor stopped meanwhile.
            DeadlockError: there would never be room (R24).

        Cancellation: nothing was sent (I1).

        Checkpoint: always.
        """
        control = isinstance(frame := frame_in(envelope), ControlFrame)
        self.tally.unsent += 1  # until it is
        slot = self.stage.slots.get(trio.lowlevel.current_task())
        if not isinstance(slot, Slot) or control:
            slot = None
        began = trio.current_time()
        waiting = slot.waiting if slot is not None else None
        room = _Room(self)
        if slot is not None:
            check_wait(slot, room)
            slot.waiting = room
        self._waits += 1
        if not control:
            self.rooms[room] = None
        try:
            if control:
                await self.mailbox.put_control(envelope)
            else:
                if self.need_slot is not None:
                    self.need_slot()
                await self.mailbox.send(envelope)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self.stopped_error(frame) from None
        finally:
            self.rooms.pop(room, None)
            if slot is not None:
                slot.waiting = waiting
        self.tally.unsent -= 1
        self._was_put(envelope)
        if self.stage.observers:
            now = trio.current_time()
            self.stage.observers.notify(SenderWaited(now, self.name, envelope[0], now - began))

    def _dropped(self, envelope: Envelope) -> None:
        if is_tombstone(envelope):
            self.tally.cancelled += 1  # its asker has left
            return
        policy = self.mailbox.full
        self.tally.dropped += 1
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
        self.stage.dead_letter(self.name, envelope[0], frame_in(envelope), reason)

    def stopped_error(self, frame: Frame) -> ActorStopped:
        """Return the error for *frame*, sent too late."""
        self.stage.check_no_other_run()
        reason = self._down.reason if self._down else "stopped"
        error = ActorStopped(
            f"<Ref {self.name!r}> {reason} before handling {type(frame).__name__}", reason
        )
        error.__cause__ = self._down.error if self._down else None
        return error

    # -- waits for this actor (R24)

    def blockers(self) -> Sequence[Slot] | None:
        """Return the slots of which one must go on before a frame is taken; None: none must."""
        if self.ending is not None or self.held or self.state is ActorState.RESTARTING:
            return None
        busy = [s for s in self.slots if s.running is not None or s.waiting is not None]
        slots = 1 if self.state is ActorState.STARTING else self.concurrency
        return busy if len(busy) >= slots else None

    # -- interruption

    def family(self) -> Iterator["Cell"]:
        """Return an iterator over the actor and all that it owns: its children, and theirs."""
        yield self
        for child in self.children or ():
            yield from child.family()

    def interrupt(self, reason: str) -> None:
        """
        Cancel what runs and mark what is queued *now* as skipped (R2, R20).

        So with all actors that it owns, in this one step (R21).
        """
        if self.state is ActorState.STOPPED:
            return
        family = tuple(self.family())
        exile = Exile(family)
        for cell in family:
            cell._interrupt(reason, exile)
        if exile:
            for cell in family:
                cell.exclude()

    def _interrupt(self, reason: str, exile: Exile) -> None:
        self.skip_before = self.number + 1
        self.attention = True
        self._interrupt_reason = reason
        if self.state not in (ActorState.RUNNING, ActorState.STOPPING):
            return  # no handler, and nothing for on_interrupt to react to
        self.interrupt_pending = True
        running = 0
        for slot in self.slots:
            envelope = slot.running
            if envelope is not None and not frame_in(envelope).uninterruptible:
                running += 1
                exile.add(slot)
                slot.cancel(reason, self.interrupted_error(envelope))
                if (request := slot.request) is not None:
                    request.discard_unread()
        if self.stage.observers:
            self.stage.observers.notify(
                ActorInterrupted(trio.current_time(), self.name, reason, running)
            )

    def exclude(self) -> None:
        """Look, from now on, whether a frame is from a handler that an interrupt took (R21)."""
        self._exiles += 1
        self.look_again()

    def readmit(self) -> None:
        """Note that one interrupt of the family is over, with all handlers that it took."""
        self._exiles -= 1
        self.look_again()

    def skips(self, envelope: Envelope) -> bool:
        """Tell whether an interrupt came after *envelope* was sent, and takes it (R2)."""
        return envelope[0] < self.skip_before and not frame_in(envelope).uninterruptible

    def interrupted_error(self, envelope: Envelope) -> Interrupted:
        """Return the error for *envelope*, which the last interrupt took."""
        reason = self._interrupt_reason
        return Interrupted(
            f"<Ref {self.name!r}> was interrupted ({reason}) before it was done with "
            f"{type(frame_in(envelope)).__name__}",
            reason,
        )

    # -- going on, and not

    def hold(self) -> None:
        """Start no further frame until `release`: a cleanup overran (R10)."""
        self.held += 1
        self.attention = True

    def release(self) -> None:
        """Take back one `hold`."""
        self.held -= 1
        self.go_on()

    def go_on(self) -> None:
        """Let held slots look again."""
        if self._lot is not None:
            self._lot.unpark_all()

    async def wait_go_on(self) -> None:
        """Park until something changed for the better; cancellable, and always a checkpoint."""
        if self._lot is None:
            self._lot = trio.lowlevel.ParkingLot()
        await self._lot.park()

    @property
    def is_interrupting(self) -> bool:
        """Whether an interrupted handler is still cleaning up."""
        return any(isinstance(slot.ending, Interrupted) for slot in self.slots)

    # -- crashes

    def attempts(self, envelope: Envelope) -> int:
        """Return how many handlers *envelope* has crashed so far."""
        return self._attempts.get(envelope[0], 0) if self._attempts else 0

    def deliver_again(self, envelope: Envelope) -> None:
        """Keep *envelope*, which crashed its handler, for the next incarnation (R19)."""
        if self._attempts is None:
            self._attempts = {}
        self._attempts[envelope[0]] = self.attempts(envelope) + 1
        if isinstance(request := envelope[1], Exchange):
            request.requeue()
        self.put_back(envelope)

    def put_back(self, envelope: Envelope) -> None:
        """Keep *envelope*, in its order, for the next incarnation; at the end it is left over."""
        kept = sorted([*(self.again or ()), envelope], key=lambda kept: kept[0])
        self.again = deque(kept)  # at most two for each slot

    def forget_attempts(self, envelope: Envelope) -> None:
        """Note that *envelope* is over, however."""
        if self._attempts:
            self._attempts.pop(envelope[0], None)

    def quarantine(self, envelope: Envelope, error: BaseException) -> None:
        """Set *envelope* aside, whose handler crashed with *error* and who gets no other."""
        self.tally.crashed += 1
        kept = Quarantined(frame_in(envelope), self.attempts(envelope) + 1, error)
        self.forget_attempts(envelope)
        if self._quarantined is None:
            self._quarantined = deque(maxlen=_KEPT_IN_QUARANTINE)
        self._quarantined.append(kept)
        if self.stage.observers:
            self.stage.observers.notify(
                FrameQuarantined(
                    trio.current_time(), self.name, envelope[0], kept.frame, kept.attempts, error
                )
            )

    # -- the end

    @property
    def is_stopping(self) -> bool:
        """Whether somebody called `stop`, also while the actor was starting."""
        return self.state is ActorState.STOPPING or self._drain is not None

    def stop(self) -> None:
        """
        Close the intake; what is queued is still handled, within ``drain_grace`` (R20).

        An actor that is starting may end its start first, within the same grace.
        """
        if self.state is ActorState.RESTARTING:
            if self.abandon is not None:
                self.abandon()
            return
        # with every slot waiting for a frame that will not come, there is nothing to bound
        idle = self.mailbox.data.tasks_waiting_receive
        is_idle = 0 < idle == len(self.slots) and not self.children
        if self.is_open and self._drain is None and not is_idle:
            self._drain = self.stage.alarms.set(
                trio.current_time() + self.stage.drain_grace, lambda: self.end_all("stopped")
            )
        if self.state is ActorState.RUNNING:
            self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPING)
            self.look_again()
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
            self.attention = True
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
                self.stage.report_overrun(self.name, slot.running[0], self.name, slot.task)

    def _forget_alarms(self) -> None:
        for alarm in (self._drain, self._late):
            if alarm is not None:
                alarm.cancel()
        self._drain = self._late = None

    def rest(self, error: BaseException | None, delay: float) -> None:
        """
        Note the end of an incarnation that is to be followed by another; the mailbox stays (R19).

        Args:
            error: The crash, if it ended by one.
            delay: Until the restart (seconds).
        """
        self._forget_alarms()
        if self.state is ActorState.STOPPING:  # it stopped by itself: what is left was handled
            self.mailbox.close(self._left_over)
            self.mailbox = self.mailbox.renewed()
            self.send_nowait = self.mailbox.send_nowait
        self.state = moved(ACTOR_MOVES, self.state, ActorState.RESTARTING)
        self.ending = None
        self.interrupt_pending = False
        self.has_helpers = False
        self.look_again()
        if self.stage.observers:
            self.stage.observers.notify(
                ActorRestarting(trio.current_time(), self.name, error, delay)
            )

    def restart(self) -> None:
        """Note the beginning of a further incarnation."""
        self.state = moved(ACTOR_MOVES, self.state, ActorState.STARTING)
        self.restarts += 1

    def close(self, down: Down) -> None:
        """Note the end: settle what is left in the mailbox, and tell those who wait for it."""
        self._down = down
        self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPED)
        self.look_again()
        self._forget_alarms()
        while self.again:
            self._left_over(self.again.popleft())
        self.mailbox.close(self._left_over)
        self._final = self.tally
        self.stage.numbered += self.number
        self.stage.tally.add(self.tally)
        self.tally = self.stage.tally  # for senders who are only now told
        if self._dead is not None:
            self._dead.set()
        if self.stage.observers:
            self.stage.observers.notify(
                ActorEnded(trio.current_time(), self.name, down.reason, down.error)
            )

    def _left_over(self, envelope: Envelope) -> None:
        if is_tombstone(envelope):
            self.tally.cancelled += 1
            return
        self.tally.undelivered += 1
        if isinstance(request := envelope[1], Exchange):
            request.settle(error=self.stopped_error(request.frame))
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

    # -- figures

    def statistics(self) -> ActorStatistics:
        """Return the figures of this moment."""
        data, control = self.mailbox.data, self.mailbox.control
        accounts = (self._final or self.tally).accounts(self.number)
        return ActorStatistics(
            state=self.state.value,
            capacity=self.mailbox.capacity,
            queued=data.current_buffer_used,
            peak=data.peak_buffer_used,
            control=control.current_buffer_used if control else 0,
            waiting=data.tasks_waiting_send + (control.tasks_waiting_send if control else 0),
            dropped=accounts.dropped,
            waits=self._waits,
            running=sum(slot.running is not None for slot in self.slots),
            restarts=self.restarts,
            quarantined=tuple(self._quarantined or ()),
            accounts=accounts,
            handler_seconds=self.handler_seconds,
        )
