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
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.alarms import Alarm
from greenroom.runtime.cell import Cell
from greenroom.runtime.context import InContext, is_same
from greenroom.runtime.envelope import Envelope, Exchange, Slot, frame_in
from greenroom.runtime.events import HandlerStarted
from greenroom.runtime.frames import Frame
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.mailbox import is_tombstone
from greenroom.runtime.outcomes import Outcomes
from greenroom.runtime.stream import Emit, StreamExchange
from greenroom.runtime.turn import Turn

__all__ = ["Loop"]

_MOST_WITHOUT_CHECKPOINT: Final = 64
_QUEUED: Final = RequestState.QUEUED

_NONE: Final[Mapping[type, Callable[..., Any]]] = {}


class Loop(Outcomes):
    """
    The slots of one incarnation; how handlers end, other than by returning, is said by `Outcomes`.

    Attributes:
        control_runs: The reader of the control lane is not over.
    """

    __slots__ = (
        "_actor",
        "_hook_runs",
        "_inner",
        "_routes",
        "_slots",
        "_start_soon",
        "_watched",
        "control_runs",
    )

    def __init__(self, cell: Cell, actor: Actor, start_soon: Callable[..., None]) -> None:
        super().__init__(cell)
        self.control_runs = False
        self._actor = actor
        self._routes = type(actor).__routes__
        self._start_soon = start_soon  # of the nursery that the incarnation runs in
        self._inner: InnerNursery | None = None  # made when first used
        self._slots = 1  # started so far; grows up to the actor's concurrency
        self._hook_runs = False  # on_interrupt is running in some slot
        shared = cell.shared
        # whether there is more to do about a handler than to run it
        self._watched = bool(shared.observers) or shared.measure or shared.slow_after != math.inf

    @property
    def inner(self) -> InnerNursery:
        """Where tasks of the incarnation run, other than the first: slots, children, helpers."""
        if self._inner is None:
            cell = self._cell
            self._inner = InnerNursery(
                *(self._start_soon, cell.shared.context, cell.name, self.crash, cell.cut_family)
            )
        return self._inner

    async def close_inner(self) -> None:  # noqa: ASYNC910
        """End those tasks; as `InnerNursery.close`."""
        if self._inner is not None:
            await self._inner.close(self._cell.shared)

    def start(self) -> None:
        """
        Start the slot of the express lane, if there is one.

        Start further slots from now on, when frames find no slot waiting for them (R17).
        """
        if self._cell.mailbox.express is not None:
            self._cell.shared.context.run(
                self.inner.start_soon, self._run_express, name=f"{self._cell.name} (express)"
            )
        if self._cell.concurrency > 1:
            self._cell.need_slot = self._add_slot
            self._cell.look_again()
            if self._cell.mailbox.has_backlog:
                self._add_slot()

    # -- slots

    def occupy(self, *, is_express: bool = False) -> Slot:
        """Make the current task a slot, until `vacate`."""
        slot = Slot(self._cell, trio.lowlevel.current_task(), is_express=is_express)
        if self._cell.turn is not None and not is_express:
            self._cell.turn.data, self._cell.turn.crash = slot, self.crash
        self._cell.slots = (*self._cell.slots, slot)
        self._cell.shared.slots[slot.task] = slot
        return slot

    def vacate(self, slot: Slot) -> None:
        """Take *slot* off, and settle what it was cut off from."""
        if slot.running is not None:
            slot.ending = slot.ending or self._end_error()
            self._settle_cancelled(slot)
        if slot.held is not None:
            envelope, slot.held = slot.held, None
            self._cell.put_back(envelope)
        self._cell.slots = tuple(other for other in self._cell.slots if other is not slot)
        del self._cell.shared.slots[slot.task]
        if self._cell.turn is not None and not slot.is_express:
            self._cell.turn.data = self._cell.turn.crash = None
            self._cell.turn.offer()
        self._cell.go_on()

    def _add_slot(self) -> None:
        self._slots += 1
        if self._slots == self._cell.concurrency:
            self._cell.need_slot = None
            self._cell.look_again()
        self._cell.shared.context.run(
            self.inner.start_soon, self._run_slot, name=f"{self._cell.name} ({self._slots})"
        )

    async def _run_express(self) -> None:
        slot = self.occupy(is_express=True)
        try:
            await self.serve(slot)
        finally:
            self.vacate(slot)

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
                    if cell.interrupt_pending:
                        await self._hold(slot)
                    if slot.is_express:
                        over = await self._handle_express(slot)
                    else:
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
        cell, actor = self._cell, self._actor
        methods = self._routes.methods if not self._watched else _NONE
        own = slot.task.context
        outlet = cell.mailbox.outlet
        tally = cell.tally
        envelope: Envelope | None
        content: Frame | Exchange | None
        taken = 1  # frames since the last checkpoint; one may have been handled again
        while not slot.is_cancelled:
            if (taken := taken + 1) > _MOST_WITHOUT_CHECKPOINT:
                taken = 1
                await trio.lowlevel.checkpoint()
            try:
                envelope = outlet.receive_nowait()
            except trio.WouldBlock:
                # or what the last frame carries would live as long as the actor is idle
                envelope = content = None
            except trio.EndOfChannel:
                if cell.turn is not None:
                    cell.turn.offer()  # what came by the express lane is still to be handled
                await trio.lowlevel.checkpoint()
                return True
            if envelope is None:  # not up there, where the exception would live as long
                taken = 1
                if cell.turn is not None:
                    cell.turn.offer()
                try:
                    envelope = await outlet.receive()
                except trio.EndOfChannel:
                    return True  # noqa: ASYNC910
            if cell.attention and not await self._may_start(slot, envelope):
                continue
            content = envelope[1]
            method = methods.get(type(content))
            if method is not None:  # told, to an actor that nobody watches: the short way
                slot.running = envelope
                await method(actor, content)
                slot.running = None
                tally.handled += 1
            elif (
                type(content) is Exchange
                and content.state is _QUEUED
                and (method := methods.get(type(content.frame))) is not None
                and is_same(content.context, own)
            ):  # asked, likewise; nothing of it is kept in a variable, as that would live as long
                slot.running = envelope
                content.start(slot)
                content.settle(await method(actor, content.frame))
                slot.running = None
                tally.handled += 1
            else:
                await self._handle(slot, envelope)
        return False  # noqa: ASYNC910

    async def _handle_express(self, slot: Slot) -> bool:
        """Handle express frames, each when the data slot lends the turn; as `_handle_frames`."""
        cell = self._cell
        lane, turn = cell.mailbox.express, cell.turn
        assert lane is not None
        assert turn is not None
        while not slot.is_cancelled:
            envelope = self._take_again(slot)
            if envelope is None:
                try:
                    envelope = await lane.take()
                except trio.EndOfChannel:
                    return True  # noqa: ASYNC910
            slot.held = envelope
            cell.attention = True  # so that the data slot looks whether the turn is wanted
            try:
                await self._borrow(slot, turn)
                if await self._may_start(slot, envelope):
                    await self._handle(slot, envelope)
            finally:
                turn.give_back()
        return False  # noqa: ASYNC910

    async def _borrow(self, slot: Slot, turn: Turn) -> None:  # noqa: ASYNC910
        """
        Wait until the express *slot* has the turn and may use it.

        While it may not, it has no turn: a handler that rests would wait for it in vain.
        """
        cell = self._cell
        await turn.borrow(slot)
        while cell.held or (cell.interrupt_pending and cell.is_interrupting):
            turn.put_off()
            await cell.wait_go_on()
            await turn.borrow(slot)

    async def _handle_again(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Handle what is to be handled before all others; see `Cell.again`."""
        while not slot.is_cancelled:  # noqa: ASYNC913
            if (envelope := self._take_again(slot)) is None:
                return  # noqa: ASYNC910
            if not self._cell.attention or await self._may_start(slot, envelope):
                await self._handle(slot, envelope)

    def _take_again(self, slot: Slot) -> Envelope | None:
        """Take the first of what is to be handled before all others in the lane of *slot*."""
        cell = self._cell
        has_express = cell.mailbox.express is not None
        for n, envelope in enumerate(cell.again):
            if (has_express and frame_in(envelope).express) is slot.is_express:
                cell.again = (*cell.again[:n], *cell.again[n + 1 :])
                return envelope
        return None

    async def _may_start(self, slot: Slot, envelope: Envelope) -> bool:
        """
        Wait until nothing holds *envelope* back, and tell whether it is to be handled.

        Checkpoint: only if it waits.
        """
        cell = self._cell
        slot.held = envelope
        if cell.is_cut:  # as the last handler, in a shield of its own, may not have noticed
            await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_held(slot):
            await self._hold(slot)
        if cell.ending is not None:
            slot.is_cancelled = True  # what is held is settled by `vacate`
            return False  # noqa: ASYNC910
        slot.held = None
        if cell.skips(envelope):
            cell.forget_attempts(envelope)
            if is_tombstone(envelope):
                cell.tally.cancelled += 1
            else:
                self._settle(envelope, error=cell.interrupted_error(envelope))
                cell.tally.interrupted += 1
                cell.dead_letter(envelope, "interrupted")
            return False  # noqa: ASYNC910
        if (
            envelope[0] >= cell.skip_before
            and not self._is_held(slot)
            and not (cell.turn is not None and cell.turn.is_asked)
        ):
            cell.attention = False
        return True  # noqa: ASYNC910

    def _is_held(self, slot: Slot) -> bool:
        """Tell whether there is a reason for *slot* not to start a frame."""
        cell = self._cell
        if cell.held or cell.interrupt_pending:
            return True
        if slot.is_express:
            return False  # it has the turn, so the hook rests, if it runs at all
        return self._hook_runs or (cell.turn is not None and cell.turn.is_asked)

    async def _hold(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Wait until nothing holds frames back; run ``on_interrupt`` if it is due (R17)."""
        cell = self._cell
        turn = cell.turn if not slot.is_express else None
        while self._is_held(slot):
            if turn is not None and turn.is_asked:
                await turn.wait_back(slot)
            elif cell.held or self._hook_runs or cell.is_interrupting:
                await cell.wait_go_on()
            else:
                cell.interrupt_pending = False
                self._hook_runs = True
                cell.attention = True
                if turn is not None:
                    turn.runs_hook = True
                try:
                    await self._actor.on_interrupt()
                finally:
                    self._hook_runs = False
                    if turn is not None:
                        turn.runs_hook = False
                        turn.offer()
                    cell.go_on()

    def _method(self, frame: Frame) -> Callable[..., Any]:
        """Return the handler of *frame*, which was admitted, to be called with the actor first."""
        methods = self._routes.methods
        if type(frame) not in methods:  # a restart made an actor of another class
            self._routes.find(type(frame))
        return methods[type(frame)]

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
                method = self._method(content)
                slot.running = envelope
                await method(self._actor, content)
            slot.running = None
            self._cell.tally.handled += 1
        elif content.state is RequestState.SETTLED:
            self._cell.tally.cancelled += 1  # its asker has left
            self._cell.forget_attempts(envelope)
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
        method = self._method(frame)
        slot.running = envelope
        exchange.start(slot)
        if isinstance(exchange, StreamExchange):
            call = method(self._actor, frame, Emit(exchange, self._cell))
        else:
            call = method(self._actor, frame)
        context = exchange.context
        if context is not None and not is_same(context, slot.task.context):
            value = await InContext(call, context)
        else:
            value = await call
        slot.running = None
        exchange.settle(value)
        self._cell.tally.handled += 1

    async def _watch(self, slot: Slot, envelope: Envelope, frame: Frame) -> None:
        """Run a handler for those who want to know: observers, the clock, the watchdog."""
        cell = self._cell
        shared = cell.shared
        began = trio.current_time()
        if shared.observers:
            shared.observers.notify(HandlerStarted(began, cell.name, envelope[0], frame))
        watchdog: Alarm | None = None
        if shared.slow_after != math.inf:

            def name_slow() -> None:
                seconds = trio.current_time() - began
                shared.report_slow(cell.name, envelope[0], frame, seconds, slot.task)

            watchdog = shared.alarms.set(began + shared.slow_after, name_slow)
        try:
            if isinstance(exchange := envelope[1], Exchange):
                await self._answer(slot, envelope, exchange)
            else:
                slot.running = envelope
                await self._method(frame)(self._actor, frame)
                slot.running = None
        finally:
            if watchdog is not None:
                watchdog.cancel()
            cell.handler_seconds += trio.current_time() - began
        self._ended(envelope, "replied")

    # -- the control lane

    async def control(self) -> None:
        """Handle control frames at once, whatever the slots do (R1)."""
        cell = self._cell
        lane = cell.mailbox.control
        assert lane is not None
        while True:  # noqa: ASYNC913
            try:
                envelope = await lane.take()
            except trio.EndOfChannel:
                self.control_runs = False
                cell.go_on()
                return  # noqa: ASYNC910
            frame = frame_in(envelope)
            if cell.shared.observers:
                cell.shared.observers.notify(
                    HandlerStarted(trio.current_time(), cell.name, envelope[0], frame)
                )
            try:
                self._method(frame)(self._actor, frame)
            except Exception as exc:
                self._ended(envelope, type(exc).__name__)
                cell.quarantine(envelope, exc)
                self.crash(exc)
                return  # noqa: ASYNC910
            cell.tally.handled += 1
            self._ended(envelope, "replied")
