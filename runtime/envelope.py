"""
What travels in a mailbox, and who works on it.

An `Envelope` is a number and what was sent: a bare frame, told, or an `Exchange`, which is one
request from its sending to its outcome: the reply slot, the cancel link, the wait edge, the asker's
context and its deadline in one object, so that every party settles the same thing (R7-R13, R24). A
`Slot` is one of an actor's handler tasks.

The cancel link, in full. An asker parks on `Exchange.abort`. When its scope is cancelled, Trio calls
that function, which is sync and may start nothing:

- QUEUED: the exchange becomes a tombstone, and the asker is let go at once;
- RUNNING: the handler's scope is cancelled, an alarm is set to the cleanup bound, and the asker
  stays parked until the handler is over. If the handler made its reply all the same, the asker
  gets it, and the cancel hits the asker's next checkpoint (I9).
"""

import contextvars
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, Union

import trio

from greenroom.runtime.alarms import Alarm
from greenroom.runtime.errors import ActorStopped, RequestError
from greenroom.runtime.frames import Frame
from greenroom.runtime.lifecycle import REQUEST_MOVES, RequestState, moved
from greenroom.runtime.shared import Shared
from greenroom.runtime.waits import Wait

__all__ = ["Addressee", "Envelope", "Exchange", "Slot", "frame_in"]

# numbered when it was sent; a plain tuple, as one is made for each frame
Envelope: TypeAlias = tuple[int, Union[Frame, "Exchange"]]

_QUEUED, _RUNNING = RequestState.QUEUED, RequestState.RUNNING
_CLOSING, _SETTLED = RequestState.CLOSING, RequestState.SETTLED


def frame_in(envelope: Envelope) -> Frame:
    """Return the frame that *envelope* carries, bare or as a request."""
    content = envelope[1]
    return content.frame if isinstance(content, Exchange) else content


class Addressee(Protocol):
    """What an exchange needs to know of the actor that it was sent to."""

    @property
    def name(self) -> str: ...

    @property
    def shared(self) -> Shared: ...

    @property
    def has_helpers(self) -> bool:
        """Whether it may have tasks of its own beside its handlers."""
        ...

    def hold(self) -> None:
        """Start no further frame until `release`."""
        ...

    def release(self) -> None: ...

    def readmit(self) -> None:
        """Note that an `Exile` is over."""
        ...

    def blockers(self) -> Sequence["Slot"] | None:
        """Return the slots of which one must go on before a queued request is taken; None: none."""
        ...


class Slot:
    """One handler task of an actor, and what it is doing; a `waits.Waiter`."""

    __slots__ = (
        "asking",
        "ending",
        "exile",
        "held",
        "is_cancelled",
        "is_express",
        "owner",
        "reason",
        "running",
        "scope",
        "task",
        "waiting",
    )

    def __init__(
        self, owner: Addressee, task: trio.lowlevel.Task, *, is_express: bool = False
    ) -> None:
        self.owner = owner
        self.task = task
        # it handles what is in the express lane, and nothing else
        self.is_express = is_express
        # around everything the slot does; made by the loop, and anew after each cancel (R9)
        self.scope: trio.CancelScope | None = None
        # that scope was cancelled; the scope itself would look at the clock to tell
        self.is_cancelled = False
        # taken out of the mailbox, but not started yet; set and cleared by the loop
        self.held: Envelope | None = None
        # set by the loop when a handler starts, cleared when it ends
        self.running: Envelope | None = None
        # why the running handler is being cancelled; set by interrupt, stop and crash
        self.ending: RequestError | None = None
        # what the last `cancel` gave; it goes on to the requests that the handler waits for
        self.reason: str | None = None
        # the request whose cleanup this slot's handler waits for; set when a cancel crosses (R8)
        self.asking: Exchange | None = None
        # what the handler, in this very task, waits for (R24)
        self.waiting: Wait | None = None
        # the actors that take nothing more from the handler, as an interrupt took it (R21)
        self.exile: Exile | None = None

    @property
    def actor(self) -> str:
        """The name of the actor."""
        return self.owner.name

    @property
    def shared(self) -> Shared:
        """The runtime's, of the actor."""
        return self.owner.shared

    @property
    def waits(self) -> Wait | None:
        """What it waits for; None while it can go on, as a cancelled one always can."""
        return None if self.is_cancelled else self.waiting

    @property
    def request(self) -> "Exchange | None":
        """The request that runs, if it is one."""
        content = self.running[1] if self.running is not None else None
        return content if isinstance(content, Exchange) else None

    def cancel(self, reason: str, ending: RequestError | None = None) -> None:
        """Cancel what runs; the first *ending* given is the one its asker gets."""
        self.is_cancelled = True
        self.reason = reason
        if self.ending is None:
            self.ending = ending
        if (request := self.request) is not None:
            request.close()
        if self.scope is not None:
            self.scope.cancel(reason=reason)


class Exile:
    """
    The actors of one interrupted family, while handlers that the interrupt took still clean up.

    What these handlers tell the family meanwhile is of the turn that is over, and is dropped (R21).
    """

    __slots__ = ("_slots", "alarm", "family")

    def __init__(self, family: tuple[Addressee, ...]) -> None:
        self.family = family
        self.alarm: Alarm | None = None  # names who still cleans up at the bound (R10)
        self._slots = 0

    def __bool__(self) -> bool:
        return self._slots > 0

    def add(self, slot: Slot) -> None:
        """Count *slot* in, until `end`."""
        if slot.exile is not None:
            slot.exile.end(slot)
        slot.exile = self
        self._slots += 1

    def end(self, slot: Slot) -> None:
        """Note that *slot*'s handler is over."""
        slot.exile = None
        self._slots -= 1
        if not self._slots:
            if self.alarm is not None:
                self.alarm.cancel()
            for member in self.family:
                member.readmit()


class Cancellation:
    """What the cancel of a running request needs; made by `Exchange.cancel`."""

    __slots__ = ("alarm", "asking", "by", "overran", "raise_cancel")

    def __init__(self, by: float, asking: Slot | None) -> None:
        self.by = by  # when the caller stops waiting for the handler (R10)
        self.asking = asking  # of the handler that asked
        self.alarm: Alarm | None = None  # rings at *by*
        self.overran = False
        self.raise_cancel: Callable[[], NoReturn] | None = None  # set by `abort`


class Exchange:
    """
    One request, from its sending to its outcome; a `waits.Wait` while its asker waits.

    Attributes:
        number: Its envelope's.
        frame: The request itself.
        addressee: The actor it was sent to.
        state: Moves as `lifecycle` allows.
        value: The reply, once settled with one.
        error: Why there is none, once settled without.
        context: The asker's context variables, for the handler (R15).
        deadline: The asker's effective deadline when it asked, if the actor wants it: information
            only (R8).
        slot: The handler's, once it runs.
        asker: The task that is parked on `abort`.
        cancellation: What its cancel needs, once it was cancelled while it ran.
    """

    __slots__ = (
        "addressee",
        "asker",
        "cancellation",
        "context",
        "deadline",
        "error",
        "frame",
        "number",
        "slot",
        "state",
        "value",
    )

    def __init__(
        self,
        number: int,
        frame: Frame,
        addressee: Addressee,
        context: contextvars.Context | None = None,
    ) -> None:
        self.number = number
        self.frame = frame
        self.addressee = addressee
        self.state = _QUEUED
        self.value: Any = None
        self.error: BaseException | None = None
        self.context = context
        self.deadline = math.inf
        self.slot: Slot | None = None
        self.asker: trio.lowlevel.Task | None = None
        self.cancellation: Cancellation | None = None

    # -- the asker's side

    async def wait(self, *, link: bool = True) -> None:  # noqa: ASYNC910
        """
        Wait until the request is settled; the outcome is then in `value` or `error`.

        Args:
            link: Whether a cancel of the caller crosses to the handler. Without it the caller just
                stops waiting.

        Raises:
            trio.Cancelled: the caller was cancelled and there is no reply.

        Cancellation: as this module says. At the cleanup bound the caller goes on (R10).

        Checkpoint: only if it has to wait.
        """
        if self.state is not _SETTLED:
            self.asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self.abort if link else self._stop_waiting)
            self.raise_if_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise the cancel that hit the asker while it was parked, unless a reply was made (I9)."""
        cancellation = self.cancellation
        if cancellation is None or cancellation.raise_cancel is None:
            return
        if self.error is not None or self.state is not _SETTLED:
            cancellation.raise_cancel()

    async def outcome(self) -> object:
        """
        Return the reply of a settled request, or raise its error.

        An asker that was cancelled together with the actor ends as cancelled.

        Checkpoint: only to raise `trio.Cancelled`.
        """
        if self.error is None:
            return self.value  # noqa: ASYNC910 - as documented
        if isinstance(self.error, ActorStopped) and self.error.reason == "cancelled":
            await trio.lowlevel.checkpoint_if_cancelled()
        raise self.error

    async def wait_over(self) -> None:  # noqa: ASYNC910
        """
        Wait until the handler of a cancelled request is over, or its cleanup bound is reached.

        Not cancellable, hence bounded: the alarm was set by `cancel`.
        """
        if self.state is not _SETTLED:
            self.asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def abort(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        """Carry the asker's cancel across; called by Trio, so it starts nothing."""
        if self.state is _QUEUED:
            self.cancel("the asker was cancelled")
            self.asker = None
            return trio.lowlevel.Abort.SUCCEEDED
        self.cancel("the asker was cancelled")
        assert self.cancellation is not None
        self.cancellation.raise_cancel = raise_cancel
        return trio.lowlevel.Abort.FAILED

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self.asker = None
        return trio.lowlevel.Abort.SUCCEEDED

    def cancel(self, reason: str) -> None:
        """
        Cancel the request on behalf of its asker; a no-op once it is settled, or was cancelled so.

        A queued one becomes a tombstone: it keeps its place, and is skipped. A running one closes:
        its handler is cancelled, and the cleanup bound is set, the earlier of this runtime's grace
        from now and the bound of the request whose handler asked (R10).
        """
        if self.state is _QUEUED:
            self.state = moved(REQUEST_MOVES, self.state, _SETTLED)
        elif self.state is not _SETTLED and self.cancellation is None:
            self.close()
            shared = self.addressee.shared
            by = trio.current_time() + shared.cleanup_grace
            asking = shared.occupant(self.asker or trio.lowlevel.current_task())
            if not isinstance(asking, Slot):
                asking = None
            else:
                asking.asking = self
                if asking.is_cancelled and asking.reason is not None:
                    reason = asking.reason
                if asking.request is not None:
                    by = min(by, asking.request.cleanup_by)
            self.cancellation = Cancellation(by, asking)
            self.cancellation.alarm = shared.alarms.set(by, self._overrun)
            if self.slot is not None:
                self.slot.cancel(reason)

    @property
    def is_left(self) -> bool:
        """Whether the asker of a running request is gone or going: an error won't reach it."""
        return self.cancellation is not None

    @property
    def cleanup_by(self) -> float:
        """When the caller will stop waiting for the cancelled handler; ``inf`` before that."""
        return self.cancellation.by if self.cancellation is not None else math.inf

    def close(self) -> None:
        """Note that the handler is cancelled, whoever did it; no-op if it was before."""
        if self.state is _RUNNING:
            self.state = _CLOSING

    def _overrun(self) -> None:
        """Let the caller go at the bound, and name the task that it waited for (R10)."""
        leaf: Exchange = self
        while leaf.slot is not None and leaf.slot.asking is not None:
            leaf = leaf.slot.asking
        if leaf._mark_overran() and leaf.slot is not None:
            leaf.addressee.shared.report_overrun(
                leaf.addressee.name, leaf.number, self.addressee.name, leaf.slot.task
            )
        self._mark_overran()
        self._forget_asking()
        self._wake()

    def _mark_overran(self) -> bool:
        """Hold the addressee back until this is settled; tell whether that is new."""
        assert self.cancellation is not None
        is_new = not self.cancellation.overran
        if is_new:
            self.cancellation.overran = True
            self.addressee.hold()
        return is_new

    def _forget_asking(self) -> None:
        """Note that the handler that asked no longer waits for this one's cleanup."""
        assert self.cancellation is not None
        asking = self.cancellation.asking
        if asking is not None and asking.asking is self:
            asking.asking = None

    def _wake(self) -> None:
        asker, self.asker = self.asker, None
        if asker is not None:
            trio.lowlevel.reschedule(asker)

    # -- the actor's side

    @property
    def may_be_redelivered(self) -> bool:
        """Whether a crashed handler has left nothing behind with the asker."""
        return self.state is _RUNNING

    def discard_unread(self) -> None:
        """Forget replies that the asker has not taken; an interrupt does, once it cancelled."""

    def start(self, slot: Slot | None) -> None:
        """Note that *slot* runs the handler from now on: to cancel it is to wait for its end."""
        if self.state is not _QUEUED:  # the one legal move; asked for first, as this is on the way
            moved(REQUEST_MOVES, self.state, _RUNNING)
        self.state = _RUNNING
        self.slot = slot

    def requeue(self) -> None:
        """Note that a handler crashed with it and another is to try (R19)."""
        self.state = moved(REQUEST_MOVES, self.state, _QUEUED)
        self.slot = None

    def settle(self, value: object = None, error: BaseException | None = None) -> None:
        """Give the request its one outcome, and wake the asker."""
        if self.state is _SETTLED:  # from everywhere else it is legal
            moved(REQUEST_MOVES, self.state, _SETTLED)
        self.state = _SETTLED
        self.value = value
        self.error = error
        cancellation = self.cancellation
        if cancellation is not None:
            if cancellation.alarm is not None:
                cancellation.alarm.cancel()
            if cancellation.overran:
                self.addressee.release()
            self._forget_asking()
        if (asker := self.asker) is not None:  # as `_wake`, a call less
            self.asker = None
            trio.lowlevel.reschedule(asker)

    # -- the wait edge (R24)

    def blockers(self) -> Sequence[Slot] | None:
        """Return of whom one must go on before this is settled; None: nobody in particular."""
        if self.state is _QUEUED:
            return self.addressee.blockers()
        return (self.slot,) if self.state is _RUNNING and self.slot is not None else None

    def describe(self) -> str:
        """Return what the asker waits for, for messages."""
        return f"asks {self.addressee.name!r} {type(self.frame).__name__}"
