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

import math
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.alarms import Alarm
from greenroom.runtime.cell import Cell
from greenroom.runtime.envelope import Envelope, Exchange, Slot, frame_in
from greenroom.runtime.errors import (
    ActorCrashed,
    ActorRestarted,
    ActorStopped,
    Interrupted,
    Refused,
    RequestError,
)
from greenroom.runtime.events import HandlerEnded, HandlerStarted
from greenroom.runtime.frames import Frame
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
        poison: Frames whose handlers crashed, for the next incarnation if there is one (R19).
        control_runs: The reader of the control lane is not over.
    """

    def __init__(self, cell: Cell, actor: Actor, helpers: InnerNursery) -> None:
        self.crashed: BaseException | None = None
        self.poison: list[tuple[Envelope, BaseException]] = []
        self.control_runs = False
        self._cell = cell
        self._actor = actor
        self._helpers = helpers  # where further slots run
        self._slots = 1  # started so far; grows up to the actor's concurrency
        self._hook_runs = False  # on_interrupt is running in some slot
        stage = cell.stage
        # whether there is more to do about a handler than to run it
        self._watched = bool(stage.observers) or stage.measure or stage.slow_after != math.inf
        # handlers by the class of their frame, as they are first needed; none while watched
        self._handlers: dict[type, Callable[..., Any]] = {}

    def start(self) -> None:
        """Start further slots from now on, when frames find no slot waiting for them (R17)."""
        if self._cell.concurrency > 1:
            self._cell.need_slot = self._add_slot
            self._cell.look_again()
            if self._cell.mailbox.has_backlog:
                self._add_slot()

    # -- slots

    def occupy(self) -> Slot:
        """Make the current task a slot, until `vacate`."""
        slot = Slot(self._cell, trio.lowlevel.current_task())
        self._cell.slots.append(slot)
        self._cell.stage.slots[slot.task] = slot
        return slot

    def vacate(self, slot: Slot) -> None:
        """Take *slot* off, and settle what it was cut off from."""
        if slot.running is not None:
            slot.ending = slot.ending or self._end_error()
            self._settle_cancelled(slot)
        if slot.held is not None:
            envelope, slot.held = slot.held, None
            self._cell.put_back(envelope)
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
        if self._slots == self._cell.concurrency:
            self._cell.need_slot = None
            self._cell.look_again()
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
                    if cell.again:
                        await self._handle_again(slot)
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
        cell, handlers = self._cell, self._handlers
        receive_nowait, receive = cell.mailbox.receive_nowait, cell.mailbox.receive
        tally = cell.tally
        envelope: Envelope | None
        content: Frame | Exchange | None
        taken = 0  # frames since the last checkpoint
        if cell.interrupt_pending:
            await self._hold()
        while not slot.is_cancelled:
            if (taken := taken + 1) > _MOST_WITHOUT_CHECKPOINT:
                taken = 1
                await trio.lowlevel.checkpoint()
            try:
                envelope = receive_nowait()
            except trio.WouldBlock:
                taken = 1
                # or what the last frame carries would live as long as the actor is idle
                envelope = content = None
                try:
                    envelope = await receive()
                except trio.EndOfChannel:
                    return True  # noqa: ASYNC910
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
                return True
            if cell.attention and not await self._may_start(slot, envelope):
                continue
            content = envelope[1]
            handler = handlers.get(type(content))
            if handler is not None:  # told, to an actor that nobody watches: the short way
                slot.running = envelope
                await handler(content)
                slot.running = None
                tally.handled += 1
            else:
                await self._handle(slot, envelope)
        return False  # noqa: ASYNC910

    async def _handle_again(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Handle the frames that crashed an incarnation before this one (R19)."""
        cell = self._cell
        while cell.again and not slot.is_cancelled:  # noqa: ASYNC913
            envelope = cell.again.popleft()
            if not cell.attention or await self._may_start(slot, envelope):
                await self._handle(slot, envelope)

    async def _may_start(self, slot: Slot, envelope: Envelope) -> bool:
        """
        Wait until nothing holds *envelope* back, and tell whether it is to be handled.

        Checkpoint: only if it waits.
        """
        cell = self._cell
        slot.held = envelope
        if cell.held or cell.interrupt_pending or self._hook_runs:
            await self._hold()
        if cell.ending is not None:
            slot.is_cancelled = True  # what is held is settled by `vacate`
            return False  # noqa: ASYNC910
        slot.held = None
        if cell.skips(envelope):
            if is_tombstone(envelope):
                cell.tally.cancelled += 1
            else:
                self._settle(envelope, error=cell.interrupted_error(envelope))
                cell.tally.interrupted += 1
                cell.dead_letter(envelope, "interrupted")
            return False  # noqa: ASYNC910
        if envelope[0] >= cell.skip_before and not (
            cell.held or cell.interrupt_pending or self._hook_runs
        ):
            cell.attention = False
        return True  # noqa: ASYNC910

    async def _hold(self) -> None:  # noqa: ASYNC910
        """Wait until nothing holds frames back; run ``on_interrupt`` if it is due (R17)."""
        cell = self._cell
        while cell.held or cell.interrupt_pending or self._hook_runs:
            if cell.held or self._hook_runs or cell.is_interrupting:
                await cell.wait_go_on()
            else:
                cell.interrupt_pending = False
                self._hook_runs = True
                cell.attention = True
                try:
                    await self._actor.on_interrupt()
                finally:
                    self._hook_runs = False
                    cell.go_on()

    def _handler(self, frame: Frame) -> Callable[..., Any]:
        """Return the handler of *frame*, which was admitted."""
        handler = self._handlers.get(type(frame))
        if handler is None:
            route = self._cell.routes.find(type(frame))
            assert route is not None
            handler = getattr(self._actor, route.name)
            if not self._watched:
                self._handlers[type(frame)] = handler
        return handler

    async def _handle(self, slot: Slot, envelope: Envelope) -> None:
        """
        Run the handler of *envelope*; what it raises is settled by `serve`.

        Checkpoint: as the handler; never for a request whose asker has left.
        """
        content = envelope[1]
        if not isinstance(content, Exchange):
            if self._watched:
                await self._watch(slot, envelope, content)
            else:
                handler = self._handler(content)
                slot.running = envelope
                await handler(content)
            slot.running = None
            self._cell.tally.handled += 1
        elif content.state is RequestState.SETTLED:
            self._cell.tally.cancelled += 1  # its asker has left
            return  # noqa: ASYNC910
        elif self._watched:
            await self._watch(slot, envelope, content.frame)
        else:
            await self._answer(slot, envelope, content)
        if self._cell.redeliver:
            self._cell.forget_attempts(envelope)

    async def _answer(self, slot: Slot, envelope: Envelope, exchange: Exchange) -> None:
        """Run the handler of a request, and settle it with what that returns."""
        frame = exchange.frame
        handler = self._handlers.get(type(frame)) or self._handler(frame)
        slot.running = envelope
        exchange.start(slot)
        if isinstance(exchange, StreamExchange):
            call = handler(frame, Emit(exchange, self._cell))
        else:
            call = handler(frame)
        context = exchange.context
        if context is not None and not _is_same(context, slot.task.context):
            value = await _InContext(call, context)
        else:
            value = await call
        slot.running = None
        exchange.settle(value)
        self._cell.tally.handled += 1

    async def _watch(self, slot: Slot, envelope: Envelope, frame: Frame) -> None:
        """Run a handler for those who want to know: observers, the clock, the watchdog."""
        cell = self._cell
        stage = cell.stage
        began = trio.current_time()
        if stage.observers:
            stage.observers.notify(HandlerStarted(began, cell.name, envelope[0], frame))
        watchdog: Alarm | None = None
        if stage.slow_after != math.inf:

            def name_slow() -> None:
                seconds = trio.current_time() - began
                stage.report_slow(cell.name, envelope[0], frame, seconds, slot.task)

            watchdog = stage.alarms.set(began + stage.slow_after, name_slow)
        try:
            if isinstance(exchange := envelope[1], Exchange):
                await self._answer(slot, envelope, exchange)
            else:
                slot.running = envelope
                await self._handler(frame)(frame)
                slot.running = None
        finally:
            if watchdog is not None:
                watchdog.cancel()
            cell.handler_seconds += trio.current_time() - began
        self._ended(envelope, "replied")

    # -- how a handler ended, other than by returning

    def _settle_failed(self, slot: Slot, exc: Exception) -> None:
        """Move a refusal to its asker; anything else is a crash, and stays (R13, R14)."""
        error = sole_leaf(exc)
        cell = self._cell
        envelope, slot.running, slot.ending = slot.running, None, None
        if slot.exile is not None:
            slot.exile.end(slot)
        if envelope is None:
            self.crash(error)
        elif isinstance(error, Refused):
            self._settle(envelope, error=error)
            cell.tally.refused += 1
            cell.forget_attempts(envelope)
            if not isinstance(envelope[1], Exchange):
                cell.dead_letter(envelope, "Refused, which nobody read")
        else:
            request = envelope[1] if isinstance(envelope[1], Exchange) else None
            if cell.attempts(envelope) < cell.redeliver and (
                request is None or request.may_be_redelivered
            ):
                self.poison.append((envelope, error))  # it may have another handler
            else:
                self.give_up_on(envelope, error)
            self.crash(error)
        if envelope is not None:
            self._ended(envelope, type(error).__name__)
        cell.go_on()

    def give_up_on(self, envelope: Envelope, error: BaseException) -> None:
        """Settle *envelope*, whose handler crashed, and who gets no other."""
        self._settle(envelope, error=self.crash_error(frame_in(envelope), error))
        self._cell.quarantine(envelope, error)

    def _settle_cancelled(self, slot: Slot) -> None:
        """Settle what the slot's scope was cancelled for, if anything."""
        envelope, slot.running = slot.running, None
        ending, slot.ending = slot.ending, None
        if slot.exile is not None:
            slot.exile.end(slot)
        if envelope is not None:
            error = ending or Interrupted(
                f"the asker left {type(frame_in(envelope)).__name__}", "the asker left"
            )
            self._settle(envelope, error=error)
            if isinstance(ending, Interrupted):
                self._cell.tally.interrupted += 1
            else:
                self._cell.tally.cancelled += 1
            self._cell.forget_attempts(envelope)
            self._ended(envelope, "cancelled")
        self._cell.go_on()

    def _settle(self, envelope: Envelope, error: BaseException) -> None:
        request = envelope[1]
        if isinstance(request, Exchange) and request.state is not RequestState.SETTLED:
            request.settle(error=error)

    def crash_error(self, frame: Frame, crash: BaseException) -> ActorCrashed:
        """Return the error of the asker of *frame*."""
        error = ActorCrashed(
            f"<Ref {self._cell.name!r}> crashed handling {type(frame).__name__}: {crash!r}"
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
                    envelope[0],
                    frame_in(envelope),
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
            frame = frame_in(envelope)
            if cell.stage.observers:
                cell.stage.observers.notify(
                    HandlerStarted(trio.current_time(), cell.name, envelope[0], frame)
                )
            try:
                self._handler(frame)(frame)
            except Exception as exc:
                self._ended(envelope, type(exc).__name__)
                cell.quarantine(envelope, exc)
                self.crash(exc)
                return  # noqa: ASYNC910
            cell.tally.handled += 1
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
