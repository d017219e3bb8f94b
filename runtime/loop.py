"""
How an actor's slots handle frames; the loop alone sees a handler crash.

A slot's life, once started::

    take a frame -> hold, if there is cause -> skip it, if it was cancelled or interrupted -> handle
    it -> settle it -> take the next

All of it runs inside one cancel scope, kept until it is cancelled (R9). Who cancels it leaves a mark
first: in the exchange (its asker left), in `Slot.ending` (interrupt, stop, crash). After a handler
the loop tests the flag without a checkpoint, so that a cancel meant for one frame never hits the
next.
"""

from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Final

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.cell import Cell
from greenroom.runtime.envelope import Envelope, Exchange, Slot
from greenroom.runtime.errors import (
    ActorCrashed,
    ActorRestarted,
    ActorStopped,
    Interrupted,
    Refused,
    RequestError,
)
from greenroom.runtime.events import HandlerEnded, HandlerStarted
from greenroom.runtime.groups import sole_leaf
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.mailbox import is_tombstone
from greenroom.runtime.stream import Emit, StreamExchange

__all__ = ["Loop"]

_MOST_WITHOUT_CHECKPOINT: Final = 64


class Loop:
    """
    The slots of one incarnation.

    Attributes:
        crashed: What ends the incarnation; the first crash wins.
        control_runs: The reader of the control lane is not over.
    """

    def __init__(self, cell: Cell, actor: Actor, helpers: InnerNursery) -> None:
        self.crashed: BaseException | None = None
        self.control_runs = False
        self._cell = cell
        self._actor = actor
        self._helpers = helpers  # where further slots run
        self._slots = 1  # started so far; grows up to the actor's concurrency
        self._hook_runs = False  # on_interrupt is running in some slot

    def start(self) -> None:
        """Start further slots from now on, when frames find no slot waiting for them (R17)."""
        if self._actor.concurrency > 1:
            self._cell.need_slot = self._add_slot
            if self._cell.mailbox.has_backlog:
                self._add_slot()

    # -- slots

    def occupy(self) -> Slot:
        """Make the current task a slot, until `vacate`."""
        slot = Slot(self._cell.name, trio.lowlevel.current_task())
        self._cell.slots.append(slot)
        self._cell.stage.slots[slot.task] = slot
        return slot

    def vacate(self, slot: Slot) -> None:
        """Take *slot* off, and settle what it was cut off from."""
        if slot.running is not None:
            envelope, slot.running = slot.running, None
            self._settle(envelope, error=slot.ending or self._end_error())
            self._ended(envelope, "cancelled")
        if slot.held is not None:
            envelope, slot.held = slot.held, None
            if not is_tombstone(envelope):
                self._settle(envelope, error=self._end_error())
                self._cell.dead_letter(envelope, "the actor stopped")
        self._cell.slots.remove(slot)
        del self._cell.stage.slots[slot.task]
        self._cell.go_on()

    def _end_error(self) -> RequestError:
        """Return the error of a request that the end of this incarnation takes."""
        if self._cell.ending is None:  # not from within, so the runtime itself was cancelled
            return ActorStopped(f"<Ref {self._cell.name!r}> was cancelled", "cancelled")
        return self._cell.ending()

    def _add_slot(self) -> None:
        self._slots += 1
        if self._slots == self._actor.concurrency:
            self._cell.need_slot = None
        self._cell.stage.context.run(
            self._helpers.start_soon, self._run_slot, name=f"{self._cell.name} ({self._slots})"
        )

    async def _run_slot(self) -> None:
        slot = self.occupy()
        try:
            await self.serve(slot)
        finally:
            self.vacate(slot)

    async def serve(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Handle frames until the mailbox is closed and empty, or the cell ends."""
        cell = self._cell
        over = False
        while not over and cell.ending is None:
            try:
                with trio.CancelScope() as slot.scope:
                    slot.is_cancelled = False
                    over = await self._handle_frames(slot)
            except Exception as exc:
                self._settle_failed(slot, exc)
            except BaseExceptionGroup as group:
                # the runtime is cancelled while a handler's own nursery failed: each its own way
                cancelled, failed = group.split(trio.Cancelled)
                if not isinstance(failed, Exception):
                    raise
                self._settle_failed(slot, failed)
                if cancelled is not None:
                    raise cancelled from None
            else:
                self._settle_cancelled(slot)
            # a runtime that is cancelled too must not start another frame (R9)
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _handle_frames(self, slot: Slot) -> bool:
        """
        Handle frames inside the slot's present scope.

        Returns:
            True once the mailbox is closed and empty; False as soon as the scope is cancelled.
        """
        cell = self._cell
        mailbox = cell.mailbox
        taken = 0  # frames since the last checkpoint
        if cell.interrupt_pending:
            await self._hold()
        while not slot.is_cancelled:
            if taken >= _MOST_WITHOUT_CHECKPOINT:
                taken = 0
                await trio.lowlevel.checkpoint()
            try:
                envelope = mailbox.receive_nowait()
                taken += 1
            except trio.WouldBlock:
                taken = 1
                try:
                    envelope = await mailbox.receive()
                except trio.EndOfChannel:
                    return True  # noqa: ASYNC910
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
                return True
            slot.held = envelope
            if cell.held or cell.interrupt_pending or self._hook_runs:
                await self._hold()
            if cell.ending is not None:
                break  # it ended between the frame's arrival and this step; see `vacate`
            slot.held = None
            if is_tombstone(envelope):
                continue
            if mailbox.skips(envelope):
                self._settle(envelope, error=cell.interrupted_error(envelope))
                cell.dead_letter(envelope, "interrupted")
                continue
            await self._handle(slot, envelope)
        return False  # noqa: ASYNC910

    async def _hold(self) -> None:  # noqa: ASYNC910
        """Wait until nothing holds frames back; run ``on_interrupt`` if it is due (R17)."""
        cell = self._cell
        while cell.held or cell.interrupt_pending or self._hook_runs:
            if cell.held or self._hook_runs or cell.is_interrupting:
                await cell.wait_go_on()
            else:
                cell.interrupt_pending = False
                self._hook_runs = True
                try:
                    await self._actor.on_interrupt()
                finally:
                    self._hook_runs = False
                    cell.go_on()

    async def _handle(self, slot: Slot, envelope: Envelope) -> None:
        """
        Run the handler of *envelope*; what it raises is settled by `serve`.

        Checkpoint: as the handler.
        """
        frame = envelope.frame
        route = self._cell.routes.find(type(frame))
        assert route is not None  # admitted
        method = getattr(self._actor, route.name)
        observers = self._cell.stage.observers
        if observers:
            began = trio.current_time()
            observers.notify(HandlerStarted(began, self._cell.name, envelope.number, frame))
        slot.running = envelope
        if not isinstance(envelope, Exchange):
            await method(frame)
            slot.running = None
        else:
            envelope.start(slot)
            if isinstance(envelope, StreamExchange):
                call = method(frame, Emit(envelope, self._cell))
            else:
                call = method(frame)
            context = envelope.context
            if context is not None and not _is_same(context, slot.task.context):
                value = await _InContext(call, context)
            else:
                value = await call
            slot.running = None
            envelope.settle(value)
        slot.ending = None
        if self._cell.interrupt_pending:
            self._cell.go_on()
        if observers:
            self._ended(envelope, "replied")

    # -- how a handler ended, other than by returning

    def _settle_failed(self, slot: Slot, exc: Exception) -> None:
        """Move a refusal to its asker; anything else is a crash, and stays (R13, R14)."""
        error = sole_leaf(exc)
        envelope, slot.running, slot.ending = slot.running, None, None
        if envelope is None or not isinstance(error, Refused):
            if envelope is not None:
                self._settle(envelope, error=self.crash_error(envelope, error))
            self.crash(error)
        else:
            self._settle(envelope, error=error)
            if not isinstance(envelope, Exchange):
                self._cell.dead_letter(envelope, "Refused, which nobody read")
        if envelope is not None:
            self._ended(envelope, type(error).__name__)
        self._cell.go_on()

    def _settle_cancelled(self, slot: Slot) -> None:
        """Settle what the slot's scope was cancelled for, if anything."""
        envelope, slot.running = slot.running, None
        ending, slot.ending = slot.ending, None
        if envelope is not None:
            error = ending or Interrupted(
                f"the asker left {type(envelope.frame).__name__}", "the asker left"
            )
            self._settle(envelope, error=error)
            self._ended(envelope, "cancelled")
        self._cell.go_on()

    def _settle(self, envelope: Envelope, error: BaseException) -> None:
        if isinstance(envelope, Exchange) and envelope.state is not RequestState.SETTLED:
            envelope.settle(error=error)

    def crash_error(self, envelope: Envelope, crash: BaseException) -> ActorCrashed:
        error = ActorCrashed(
            f"<Ref {self._cell.name!r}> crashed handling {type(envelope.frame).__name__}: {crash!r}"
        )
        error.__cause__ = crash
        return error

    def crash(self, error: BaseException) -> None:
        """End this incarnation; the first crash is the one that is raised."""
        if self.crashed is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.crashed = error

        def restarted() -> ActorRestarted:
            taken = ActorRestarted(f"<Ref {self._cell.name!r}> crashed in another of its tasks")
            taken.__cause__ = self.crashed
            return taken

        self._cell.end_all("crashed", restarted)

    def _ended(self, envelope: Envelope, outcome: str) -> None:
        observers = self._cell.stage.observers
        if observers:
            observers.notify(
                HandlerEnded(
                    trio.current_time(),
                    self._cell.name,
                    envelope.number,
                    envelope.frame,
                    outcome,
                )
            )

    # -- the control lane

    async def control(self) -> None:
        """Handle control frames at once, whatever the slots do (R1)."""
        cell = self._cell
        while True:  # noqa: ASYNC913
            try:
                envelope = await cell.mailbox.take_control()
            except trio.EndOfChannel:
                self.control_runs = False
                cell.go_on()
                return  # noqa: ASYNC910
            frame = envelope.frame
            route = cell.routes.find(type(frame))
            assert route is not None  # admitted
            if cell.stage.observers:
                cell.stage.observers.notify(
                    HandlerStarted(trio.current_time(), cell.name, envelope.number, frame)
                )
            try:
                getattr(self._actor, route.name)(frame)
            except Exception as exc:
                self._ended(envelope, type(exc).__name__)
                self.crash(exc)
                return  # noqa: ASYNC910
            self._ended(envelope, "replied")


def _is_same(context: Context, own: Context) -> bool:
    """Compare two contexts; a value that can't be compared makes them differ."""
    try:
        return context == own
    except Exception:
        return False


class _InContext:
    """Drive a coroutine in a context that is not the task's own (R15)."""

    __slots__ = ("_context", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> None:
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        run, send, throw = self._context.run, self._coroutine.send, self._coroutine.throw
        try:
            trap = run(send, None)
            while True:
                try:
                    result = yield trap
                except BaseException as exc:  # noqa: ASYNC103 - handed to the coroutine
                    trap = run(throw, exc)
                else:
                    trap = run(send, result)
        except StopIteration as stop:
            return stop.value
