"""
Envelopes: what travels in a mailbox.

A bare `Envelope` carries a ``tell``. An `Exchange` is one request from its sending to its outcome:
the reply slot, the cancel link, the asker's context and its deadline in one object, so that every
party settles the same thing (R7-R13). A `Slot` is one of an actor's handler tasks.

The cancel link, in full. An asker parks in `Exchange.wait`. When its scope is cancelled, Trio calls
the abort function, which is sync and may start nothing:

- QUEUED: the exchange becomes a tombstone, and the asker is let go at once;
- RUNNING: the handler's scope is cancelled, an alarm is set to the cleanup bound, and the asker
  stays parked until the handler is over. If the handler made its reply all the same, the asker
  gets it, and the cancel hits the asker's next checkpoint (I9).
"""

import contextvars
import math
from collections.abc import Callable
from typing import NoReturn, Protocol

import trio

from greenroom.runtime.alarms import Alarm
from greenroom.runtime.errors import ActorStopped, RequestError
from greenroom.runtime.frames import Frame
from greenroom.runtime.lifecycle import REQUEST_MOVES, RequestState, moved
from greenroom.runtime.stage import Stage

__all__ = ["Addressee", "Envelope", "Exchange", "Slot"]


class Addressee(Protocol):
    """What an exchange needs to know of the actor that it was sent to."""

    @property
    def name(self) -> str: ...

    @property
    def stage(self) -> Stage: ...

    def hold(self) -> None:
        """Start no further frame until `release`."""
        ...

    def release(self) -> None: ...


class Envelope:
    """A frame on its way, numbered when it was sent."""

    __slots__ = ("frame", "number")

    def __init__(self, number: int, frame: Frame) -> None:
        self.number = number
        self.frame = frame


class Slot:
    """One handler task of an actor, and what it is doing."""

    __slots__ = (
        "actor",
        "asking",
        "ending",
        "held",
        "is_cancelled",
        "reason",
        "running",
        "scope",
        "task",
    )

    def __init__(self, actor: str, task: trio.lowlevel.Task) -> None:
        self.actor = actor
        self.task = task
        # around everything the slot does; replaced by the loop after each cancel (R9)
        self.scope = trio.CancelScope()
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

    def cancel(self, reason: str, ending: RequestError | None = None) -> None:
        """Cancel what runs; the first *ending* given is the one its asker gets."""
        self.is_cancelled = True
        self.reason = reason
        if self.ending is None:
            self.ending = ending
        if isinstance(self.running, Exchange):
            self.running.close()
        self.scope.cancel(reason=reason)


class Exchange(Envelope):
    """
    One request, from its sending to its outcome.

    Attributes:
        addressee: The actor it was sent to.
        state: Moves as `lifecycle` allows.
        value: The reply, once settled with one.
        error: Why there is none, once settled without.
        context: The asker's context variables, for the handler (R15).
        deadline: The asker's effective deadline when it asked: information only (R8).
        cleanup_by: When the caller will stop waiting for a cancelled handler; ``inf`` before that.
    """

    __slots__ = (
        "_alarm",
        "_asker",
        "_asking",
        "_overran",
        "_raise_cancel",
        "addressee",
        "cleanup_by",
        "context",
        "deadline",
        "error",
        "is_left",
        "slot",
        "state",
        "value",
    )

    def __init__(self, number: int, frame: Frame, addressee: Addressee) -> None:
        super().__init__(number, frame)
        self.addressee = addressee
        self.state = RequestState.QUEUED
        self.value: object = None
        self.error: BaseException | None = None
        self.context: contextvars.Context | None = None
        self.deadline = math.inf
        self.cleanup_by = math.inf
        self.is_left = False  # the asker is gone or going; an error no longer reaches it
        self.slot: Slot | None = None  # set by `start`
        self._asker: trio.lowlevel.Task | None = None  # set while parked in `wait`
        # of the handler that asked; set when a cancel crosses, and taken back by `_wake`
        self._asking: Slot | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None
        self._alarm: Alarm | None = None
        self._overran = False

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
        if self.state is not RequestState.SETTLED:
            self._asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort if link else self._stop_waiting)
            if self._raise_cancel is not None and not self._has_value():
                self._raise_cancel()

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

    def _has_value(self) -> bool:
        return self.state is RequestState.SETTLED and self.error is None

    async def wait_over(self) -> None:  # noqa: ASYNC910
        """
        Wait until the handler of a cancelled request is over, or its cleanup bound is reached.

        Not cancellable, hence bounded: the alarm was set by `cancel`.
        """
        if self.state is not RequestState.SETTLED:
            self._asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def _abort(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        """Carry the asker's cancel across; called by Trio, so it starts nothing."""
        self._raise_cancel = raise_cancel
        queued = self.state is RequestState.QUEUED
        self.cancel("the asker was cancelled")
        if queued:
            self._asker = None
            return trio.lowlevel.Abort.SUCCEEDED
        return trio.lowlevel.Abort.FAILED

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._asker = None
        return trio.lowlevel.Abort.SUCCEEDED

    def cancel(self, reason: str) -> None:
        """
        Cancel the request on behalf of its asker; a no-op once it is settled, or was cancelled so.

        A queued one becomes a tombstone: it keeps its place, and is skipped. A running one closes:
        its handler is cancelled, and the cleanup bound is set, the earlier of this runtime's grace
        from now and the bound of the request whose handler asked (R10).
        """
        self.is_left = True
        if self.state is RequestState.QUEUED:
            self.state = RequestState.SETTLED
        elif self.state is not RequestState.SETTLED and self._alarm is None:
            self.close()
            stage = self.addressee.stage
            self.cleanup_by = trio.current_time() + stage.cleanup_grace
            asking = stage.occupant(self._asker or trio.lowlevel.current_task())
            if isinstance(asking, Slot):
                self._asking = asking
                asking.asking = self
                if asking.is_cancelled and asking.reason is not None:
                    reason = asking.reason
                if isinstance(asking.running, Exchange):
                    self.cleanup_by = min(self.cleanup_by, asking.running.cleanup_by)
            self._alarm = stage.alarms.set(self.cleanup_by, self._overrun)
            if self.slot is not None:
                self.slot.cancel(reason)

    def close(self) -> None:
        """Note that the handler is cancelled, whoever did it; no-op if it was before."""
        if self.state is RequestState.RUNNING:
            self.state = RequestState.CLOSING

    def _overrun(self) -> None:
        """Let the caller go at the bound, and name the task that it waited for (R10)."""
        leaf: Exchange = self
        while leaf.slot is not None and leaf.slot.asking is not None:
            leaf = leaf.slot.asking
        if not leaf._overran:
            leaf._mark_overran()
            if leaf.slot is not None:
                leaf.addressee.stage.report_overrun(
                    leaf.addressee.name, leaf.number, self.addressee.name, leaf.slot.task
                )
        if not self._overran:
            self._mark_overran()
        self._wake()

    def _mark_overran(self) -> None:
        self._overran = True
        self.addressee.hold()

    def _wake(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None and asking.asking is self:
            asking.asking = None
        asker, self._asker = self._asker, None
        if asker is not None:
            trio.lowlevel.reschedule(asker)

    # -- the actor's side

    def discard_unread(self) -> None:
        """Forget replies that the asker has not taken; an interrupt does, once it cancelled."""

    def begin(self) -> None:
        """Note that the request is no longer queued: to cancel it is to wait for its end."""
        self.state = moved(REQUEST_MOVES, self.state, RequestState.RUNNING)

    def start(self, slot: Slot) -> None:
        """Note that *slot* runs the handler from now on."""
        self.begin()
        self.slot = slot

    def settle(self, value: object = None, error: BaseException | None = None) -> None:
        """Give the request its one outcome, and wake the asker."""
        self.state = moved(REQUEST_MOVES, self.state, RequestState.SETTLED)
        self.value = value
        self.error = error
        if self._alarm is not None:
            self._alarm.cancel()
        if self._overran:
            self.addressee.release()
        self._wake()
