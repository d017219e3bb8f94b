"""
What of an actor outlives its incarnations: its name, its mailbox, its life cycle and its end.

Everything here is a plain call, but for the wait for its end. `Cell` decides and marks; the tasks in
`loop` look at the marks. One of these keeps the common case fast: `Cell.attention` tells the slots
that there may be a reason not to start the next frame.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import trio

from greenroom.runtime.accounts import ActorStatistics, Quarantined, Tally
from greenroom.runtime.alarms import Alarm
from greenroom.runtime.envelope import Envelope, Exchange, Exile, Slot, frame_in
from greenroom.runtime.errors import ActorStopped, Interrupted, RequestError
from greenroom.runtime.events import (
    ActorEnded,
    ActorInterrupted,
    ActorRestarting,
    FrameQuarantined,
)
from greenroom.runtime.frames import Frame, frame
from greenroom.runtime.intake import Intake
from greenroom.runtime.lifecycle import ACTOR_MOVES, ActorState, moved
from greenroom.runtime.mailbox import WAKE, Mailbox, is_tombstone
from greenroom.runtime.routes import Routes
from greenroom.runtime.shared import Shared
from greenroom.runtime.turn import Turn

__all__ = ["Cell", "Down", "DownReason"]

DownReason: TypeAlias = Literal["stopped", "cancelled", "crashed"]

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


class Cell(Intake):
    """
    One actor, as the runtime sees it; how frames get in is said by `Intake`.

    Attributes:
        kind: The name of its class, for people.
        concurrency: How many slots it may have.
        wants_deadlines: Its handlers look at the deadlines of their askers.
        state: Moves as `lifecycle` allows.
        attention: The slots are to look around before they start a frame; see `loop`.
        skip_before: Interruptible envelopes below it are skipped (R2).
        slots: Its handler tasks; kept by the loop.
        is_cut: A nursery that it runs in was cancelled, or may have been.
        is_fresh: Its first task waits for its first frame, and is no slot before that.
        children: The actors that it spawned, and that live; kept by `supervisor`.
        has_helpers: The actor may have tasks of its own beside its handlers.
        held: How many reasons there are to start no further frame: cleanups that overran (R10).
        interrupt_pending: ``on_interrupt`` is to run before the next frame.
        ending: Makes the error of each request that the end takes; None while it lives.
        redeliver: How often a frame is delivered again after a crash.
        again: Frames to handle before all others, in order: those that crashed an incarnation, those
            that were taken but not started, and an incarnation's first. At most two for each slot.
        restarts: How often it was restarted.
        last_crash: What its last incarnation ended by, until the next begins; None: no crash.
        handler_seconds: Spent in handlers, where measured.
        cause: The crash that ended it, its own or a sibling's that took it along; None till then.
        turn: Which of its lanes has a handler run; None where there is no express lane.
        interrupted: Called with the reason in the step of each interrupt; None: nobody is to know.
        heir: Called in the step of its end with how it ended, and the frames that were left, in the
            order of each lane; None: nobody is to know.
        abandon: Called by a stop while the actor is between incarnations; set by `supervisor`.
    """

    __slots__ = (
        "_attempts",
        "_dead",
        "_down",
        "_drain",
        "_final",
        "_interrupt_reason",
        "_late",
        "_lot",
        "_quarantined",
        "abandon",
        "again",
        "attention",
        "cause",
        "children",
        "concurrency",
        "ending",
        "handler_seconds",
        "has_helpers",
        "heir",
        "held",
        "interrupt_pending",
        "interrupted",
        "is_cut",
        "is_fresh",
        "kind",
        "last_crash",
        "redeliver",
        "restarts",
        "skip_before",
        "slots",
        "state",
        "turn",
        "wants_deadlines",
    )

    def __init__(
        self,
        name: str,
        shared: Shared,
        mailbox: Mailbox,
        routes: Routes,
        *,
        kind: str,
        concurrency: int = 1,
        wants_deadlines: bool = False,
        redeliver: int = 0,
    ) -> None:
        super().__init__(name, shared, mailbox, routes)
        self.kind = kind
        self.concurrency = concurrency
        self.wants_deadlines = wants_deadlines
        self.state = ActorState.STARTING
        self.attention = False
        self.skip_before = 0
        self.slots: tuple[Slot, ...] = ()
        self.children: Mapping[Cell, object] | None = None
        self.is_cut = False
        self.is_fresh = False
        self.has_helpers = False
        self.held = 0
        self.interrupt_pending = False
        self.ending: Callable[[], RequestError] | None = None
        self.redeliver = redeliver
        self.again: tuple[Envelope, ...] = ()
        self.restarts = 0
        self.last_crash: BaseException | None = None
        self.handler_seconds = 0.0
        self.turn = Turn() if mailbox.express is not None else None
        self.interrupted: Callable[[str], None] | None = None
        self.heir: Callable[[Down, Sequence[Frame]], None] | None = None
        self.abandon: Callable[[], None] | None = None
        self._lot: trio.lowlevel.ParkingLot | None = None  # slots that may not go on yet
        self._interrupt_reason = ""  # of the last interrupt
        self._attempts: dict[int, int] | None = None  # crashes so far, by number, of those in again
        self._quarantined: deque[Quarantined] | None = None
        self._down: Down | None = None
        self.cause: BaseException | None = None
        self._final: Tally | None = None  # its own, set with it
        self._drain: Alarm | None = None  # ends the draining; set by `stop`
        self._late: Alarm | None = None  # names what outlives `end_all`; set by it
        self._dead: trio.Event | None = None  # made when first waited for
        self.look_again()

    def __repr__(self) -> str:
        return f"<Cell {self.name!r} {self.state.value}>"

    # -- open or not

    @property
    def is_open(self) -> bool:
        """Whether frames are let in; while first starting, only the actor itself can send any."""
        return self.state is not ActorState.STOPPED and self.state is not ActorState.STOPPING

    def stopped_error(self, frame: Frame) -> ActorStopped:
        """Return the error for *frame*, sent too late."""
        self.shared.check_no_other_run()
        reason = self._down.reason if self._down else "stopped"
        error = ActorStopped(
            f"<Ref {self.name!r}> {reason} before handling {type(frame).__name__}", reason
        )
        error.__cause__ = self.cause
        return error

    # -- waits for this actor (R24)

    def blockers(self, *, express: bool = False) -> Sequence[Slot] | None:
        """Return the slots of which one must go on before a frame is taken; None: none must."""
        if self.ending is not None or self.held or self.state is ActorState.RESTARTING:
            return None
        busy = [
            slot
            for slot in self.slots
            if slot.is_express is express and (slot.running is not None or slot.waiting is not None)
        ]
        slots = 1 if self.state is ActorState.STARTING or express else self.concurrency
        if len(busy) >= slots:
            return busy
        # the data slot is at rest, but starts nothing before it has its turn back
        lent = self.turn.express if self.turn is not None and self.turn.is_lent else None
        return (lent,) if lent is not None and not express else None

    # -- interruption

    def family(self) -> Iterator["Cell"]:
        """Return an iterator over the actor and all that it owns: its children, and theirs."""
        yield self
        for child in self.children or ():
            yield from child.family()

    def interrupt(self, reason: str, spare: Slot | None = None) -> None:
        """
        Cancel what runs and mark what is queued *now* as skipped (R2, R20).

        So with all actors that it owns, in this one step (R21). What *spare* runs goes on.
        """
        if self.state is ActorState.STOPPED:
            return
        family = tuple(self.family())
        exile = Exile(family)
        for cell in family:
            cell._interrupt(reason, exile, spare)
        if exile:
            for cell in family:
                cell.exclude()

            def name_who_cleans_up() -> None:
                for cell in family:
                    cell._name_exiled(exile)

            exile.alarm = self.shared.alarms.set(
                trio.current_time() + self.shared.cleanup_grace, name_who_cleans_up
            )

    def _name_exiled(self, exile: Exile) -> None:
        """Name the handlers that an interrupt took a grace ago, and that still clean up (R10)."""
        for slot in self.slots:
            request = slot.request
            if request is not None and request.is_left:
                continue  # its asker has left, and names it
            if slot.exile is exile and slot.running is not None and slot.asking is None:
                self.shared.report_overrun(self.name, slot.running[0], self.name, slot.task)

    def _interrupt(self, reason: str, exile: Exile, spare: Slot | None) -> None:
        self.skip_before = self.number + 1
        self.attention = True
        self._interrupt_reason = reason
        if self.interrupted is not None:
            self.interrupted(reason)
        if self.state not in (ActorState.RUNNING, ActorState.STOPPING):
            return  # no handler, and nothing for on_interrupt to react to
        self.interrupt_pending = True
        running = 0
        for slot in self.slots:
            envelope = slot.running
            if slot is spare or envelope is None:
                continue
            if not frame_in(envelope).uninterruptible:
                running += 1
                exile.add(slot)
                slot.cancel(reason, self.interrupted_error(envelope))
                if (request := slot.request) is not None:
                    request.discard_unread()
        if self.shared.observers:
            self.shared.observers.notify(
                ActorInterrupted(trio.current_time(), self.name, reason, running)
            )

    def is_stale(self, frame: Frame) -> bool:
        """Tell whether an interrupt of this actor took the sender of *frame*, and so it (R21)."""
        if not self._exiles or frame.uninterruptible:
            return False
        sender = self.shared.calling()
        return isinstance(sender, Slot) and sender.exile is not None and self in sender.exile.family

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

    def cut_family(self) -> None:
        """Have the actor, and all that it owns, look for a cancel before they start a frame (R22)."""
        for cell in self.family():
            cell.is_cut = cell.attention = True

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
        """Keep *envelope*, in its order, to be handled first; at the end it is left over."""
        if envelope is not WAKE:
            self.again = tuple(sorted((*self.again, envelope), key=lambda kept: kept[0]))

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
        if self.shared.observers:
            self.shared.observers.notify(
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
        if self.is_open and not self._is_idle:
            self.limit_drain()
        if self.state is ActorState.RUNNING:
            self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPING)
            self.look_again()
            self.mailbox.close_intake()

    def limit_drain(self) -> None:
        """Let it end within ``drain_grace``, if that is not seen to yet."""
        if self._drain is None and self.ending is None:
            self._drain = self.shared.alarms.set(
                trio.current_time() + self.shared.drain_grace, lambda: self.end_all("stopped")
            )

    @property
    def _is_idle(self) -> bool:
        """Whether there is nothing to drain: every task of it waits for a frame."""
        if self.state is not ActorState.RUNNING or self.children:
            return False
        if not self.number:  # nothing was ever sent to it
            return True
        return 0 < self.mailbox.data.tasks_waiting_receive == len(self.slots) + self.is_fresh

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
            self.mailbox.wake()  # what waits outside of a slot's scope
            self._late = self.shared.alarms.set(
                trio.current_time() + self.shared.cleanup_grace, self._name_slots
            )
            self.go_on()

    def _name_slots(self) -> None:
        """Name the handlers that are still there a grace after `end_all` (R10)."""
        for slot in self.slots:
            if slot.running is not None and slot.asking is None:
                self.shared.report_overrun(self.name, slot.running[0], self.name, slot.task)

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
            self.inlet = self.mailbox.inlet
        self.state = moved(ACTOR_MOVES, self.state, ActorState.RESTARTING)
        self.ending = None
        self.last_crash = error
        self.interrupt_pending = False
        self.has_helpers = False
        self.look_again()
        if self.shared.observers:
            self.shared.observers.notify(
                ActorRestarting(trio.current_time(), self.name, error, delay)
            )

    def restart(self) -> None:
        """Note the beginning of a further incarnation."""
        self.state = moved(ACTOR_MOVES, self.state, ActorState.STARTING)
        self.last_crash = None
        self.restarts += 1

    def close(self, down: Down, cause: BaseException | None = None) -> None:
        """
        Note the end: settle what is left in the mailbox, and tell those who wait for it.

        Args:
            down: How it ended.
            cause: The crash of a sibling that took it along.
        """
        self._down = down
        self.cause = down.error or cause
        self.state = moved(ACTOR_MOVES, self.state, ActorState.STOPPED)
        self.look_again()
        self._forget_alarms()
        left, self.again = list(self.again), ()
        self.mailbox.close(left.append)
        for envelope in left:
            self._left_over(envelope)
        self._final = self.tally
        self.shared.numbered += self.number
        self.shared.tally.add(self.tally)
        self.tally = self.shared.tally  # for senders who are only now told
        if self._dead is not None:
            self._dead.set()
        if self.heir is not None:
            self.heir(down, [frame_in(envelope) for envelope in left])
        if self.shared.observers:
            self.shared.observers.notify(
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
        self.shared.check_thread()
        self.shared.check_run()
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
        data, control, express = (
            self.mailbox.data,
            *(lane and lane.statistics for lane in (self.mailbox.control, self.mailbox.express)),
        )
        accounts = (self._final or self.tally).accounts(self.number)
        return ActorStatistics(
            state=self.state.value,
            capacity=self.mailbox.capacity,
            queued=data.current_buffer_used,
            peak=getattr(data, "peak_buffer_used", None),  # not before trio 0.34
            control=control.current_buffer_used if control else 0,
            express=express.current_buffer_used if express else 0,
            waiting=sum(lane.tasks_waiting_send for lane in (data, control, express) if lane),
            dropped=accounts.dropped,
            waits=self._waits,
            running=sum(slot.running is not None for slot in self.slots),
            restarts=self.restarts,
            quarantined=tuple(self._quarantined or ()),
            accounts=accounts,
            handler_seconds=self.handler_seconds,
        )
