"""
The task that runs one incarnation of an actor, and alone sees it crash.

An incarnation is one task in its supervisor's nursery, its first slot; further slots, the reader of
the control lane, children and helpers live in an inner nursery that is opened when first used.

A slot's life, once started::

    take a frame -> hold, if there is cause -> skip it, if it was cancelled or interrupted -> handle
    it -> settle it -> take the next

All of it runs inside one cancel scope, kept until it is cancelled (R9). Who cancels it leaves a mark
first: in the exchange (its asker left), in `Slot.ending` (interrupt, stop, crash). After a handler
the loop tests the flag without a checkpoint, so that a cancel meant for one frame never hits the
next.

An incarnation's end, in this order: every slot is over; children stop, the last first; helpers are
cancelled; ``on_stop`` runs; the mailbox is closed and what is left in it is settled; a crash is
raised into the supervisor's nursery.
"""

import math
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from itertools import count
from typing import Any, Final

import trio

from greenroom.runtime.actor import Actor, Spawner, settle_in
from greenroom.runtime.cell import Cell, Down, DownReason
from greenroom.runtime.envelope import Envelope, Exchange, Slot
from greenroom.runtime.errors import (
    ActorCrashed,
    ActorRestarted,
    ActorStopped,
    Interrupted,
    Refused,
    RequestError,
)
from greenroom.runtime.events import ActorSpawned, HandlerEnded, HandlerStarted
from greenroom.runtime.frames import Frame
from greenroom.runtime.groups import collapse, sole_leaf
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy, Mailbox, is_tombstone
from greenroom.runtime.ref import Ref
from greenroom.runtime.stage import Stage
from greenroom.runtime.stream import Emit, StreamExchange

__all__ = ["Incarnation"]

_MOST_WITHOUT_CHECKPOINT: Final = 64


class _Starting(Frame):
    """Stands for ``on_start`` in the exchange by which a spawner waits for it."""

    __slots__ = ()


class Children:
    """What one parent spawned, in order: the runtime's own actors, or an incarnation's."""

    def __init__(
        self,
        stage: Stage,
        names: dict[str, Cell],
        runtime: Spawner,
        start_soon: Callable[..., None],
        parent: str | None,
    ) -> None:
        self._stage = stage
        self._names = names  # of the whole runtime; an entry goes when its actor is over
        self._runtime = runtime
        self._start_soon = start_soon
        self._parent = parent
        self._cells: dict[Cell, None] = {}  # the living ones, in spawn order

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref:
        """Start an actor; see `system.Runtime.spawn`."""
        stage = self._stage
        stage.check_thread()
        stage.check_run()
        if stage.alarms.is_closed:
            raise RuntimeError(f"runtime {stage.name!r} is over; it starts no more actors")
        await trio.lowlevel.checkpoint_if_cancelled()
        actor = stage.context.copy().run(factory, *args)
        if not isinstance(actor, Actor):
            raise TypeError(
                f"spawn takes an Actor class, or a function that returns an actor, and its "
                f"arguments; {factory!r} gave {actor!r}"
            )
        routes = type(actor).__routes__
        cell = Cell(
            self._name(actor, name),
            stage,
            Mailbox(capacity=capacity, full=full, control=routes.has_control),
            routes,
        )
        starting = Exchange(0, _Starting(), cell)
        incarnation = Incarnation(cell, actor, self._runtime, self._names, self._start_soon)
        stage.context.run(self._start_soon, self._run, incarnation, cell, starting, name=cell.name)
        self._names[cell.name] = cell
        self._cells[cell] = None
        # from here on a cancel waits for the actor's end, as for a running request's
        starting.begin()
        await starting.wait()
        await starting.outcome()
        return incarnation.ref

    async def _run(self, incarnation: "Incarnation", cell: Cell, starting: Exchange) -> None:
        task = trio.lowlevel.current_task()
        self._stage.incarnations.add(task)
        try:
            await incarnation.run(starting, self._parent)
        finally:
            self._stage.incarnations.remove(task)
            del self._cells[cell]
            del self._names[cell.name]
            if starting.state is not RequestState.SETTLED:  # the start failed, and all is gone
                starting.settle(error=incarnation.not_started)

    def _name(self, actor: Actor, name: str | None) -> str:
        if name is not None:
            if name in self._names:
                raise ValueError(
                    f"there is an actor named {name!r} already; names are unique in a runtime"
                )
            return name
        base = type(actor).__name__.lower()
        return next(made for n in count(1) if (made := f"{base}-{n}") not in self._names)

    async def stop_all(self) -> None:  # noqa: ASYNC910
        """Stop them in reverse order of spawning, each with its drain. Checkpoint: if any lives."""
        while self._cells:
            cell = next(reversed(self._cells))
            cell.stop()
            await cell.wait_stopped()
            while cell in self._cells:  # noqa: ASYNC110 - its task is on its last step
                await trio.lowlevel.checkpoint()


class Incarnation:
    """One life of an actor; it is the actor's `Home`."""

    def __init__(
        self,
        cell: Cell,
        actor: Actor,
        runtime: Spawner,
        names: dict[str, Cell],
        start_soon: Callable[..., None],
    ) -> None:
        self.ref = Ref(cell)
        self.runtime = runtime
        self.helpers = InnerNursery(start_soon, cell.stage.context, cell.name, self._crash)
        self._cell = cell
        self._actor = actor
        self._names = names
        self._children: Children | None = None  # made by the first spawn
        self._crashed: BaseException | None = None  # what ends this incarnation; the first wins
        self._slots = 1  # started so far; grows up to the actor's concurrency
        self._control_runs = False  # the reader of the control lane is not over
        # what the spawner gets when the start failed; set by `_start`
        self.not_started = self._not_started("cancelled")
        self._hook_runs = False  # on_interrupt is running in some slot

    # -- what the actor sees

    @property
    def deadline(self) -> float:
        """The deadline of the request that the current task handles; ``inf`` for none."""
        slot = self._cell.stage.slots.get(trio.lowlevel.current_task())
        running = slot.running if isinstance(slot, Slot) else None
        return running.deadline if isinstance(running, Exchange) else math.inf

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref:
        """Spawn a child of this incarnation."""
        if self._children is None:
            self._children = Children(
                self._cell.stage,
                self._names,
                self.runtime,
                self.helpers.start_soon,
                self._cell.name,
            )
        return await self._children.spawn(factory, *args, name=name, capacity=capacity, full=full)

    # -- from the first step to the last

    async def run(self, starting: Exchange, parent: str | None) -> None:
        """Run the actor's first slot, and the whole incarnation around it."""
        cell = self._cell
        slot = self._occupy()
        reason: DownReason = "cancelled"
        started = False
        try:
            started = await self._start(slot, starting, parent)
            if started:
                await self._serve(slot)
                while len(cell.slots) > 1 or (self._control_runs and cell.ending is None):
                    await cell.wait_go_on()
                if self._children is not None and self._crashed is None:
                    await self._children.stop_all()
            reason = "stopped"
        except BaseException as error:  # noqa: ASYNC103 - raised below, at the end of this method
            if isinstance(failure := collapse(error), trio.Cancelled):
                raise
            self._crash(failure)
        finally:
            cell.need_slot = None
            self._vacate(slot)
            try:
                # as a nursery waits for its children; who does not end is named by R10's alarm
                await self.helpers.close(cell.stage)  # noqa: ASYNC102
                if started:
                    await self._stop()  # noqa: ASYNC102 - shields itself, within the cleanup bound
            finally:
                if self._crashed is not None:
                    reason = "crashed"
                cell.close(Down(reason, self._crashed))
            if self._crashed is not None:
                raise self._crashed  # also out of a cancellation, which would hide it (I7)

    async def _start(self, slot: Slot, starting: Exchange, parent: str | None) -> bool:
        """Run ``on_start`` as the request of the spawner, and tell whether the actor lives."""
        cell = self._cell
        if starting.state is RequestState.CLOSING:
            await trio.lowlevel.checkpoint()  # the spawner left before this task began
            return False
        starting.slot = slot
        done = False
        settle_in(self._actor, self)
        try:
            with slot.scope:
                if cell.routes.has_control:
                    self._control_runs = True
                    self.helpers.start_soon(self._control)
                await self._actor.on_start()
                done = True
        except Exception as exc:
            self.not_started = sole_leaf(exc)
            if starting.is_left:
                self._crash(self.not_started)  # the spawner won't raise it
            return False  # noqa: ASYNC910
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._crashed is not None:
            self.not_started = self._crash_error(starting, self._crashed)
        elif cell.ending is not None:
            self.not_started = self._not_started("stopped")
        if cell.ending is not None or not done:
            return False
        cell.start()
        if self._actor.concurrency > 1:
            cell.need_slot = self._add_slot
            if cell.mailbox.has_backlog:
                self._add_slot()
        if cell.stage.observers:
            cell.stage.observers.notify(ActorSpawned(trio.current_time(), cell.name, parent))
        starting.settle(value=self.ref)
        return True

    def _not_started(self, reason: DownReason) -> BaseException:
        return ActorStopped(f"<Ref {self._cell.name!r}> was {reason} while it started", reason)

    async def _stop(self) -> None:  # noqa: ASYNC910
        """Run ``on_stop``, shielded, within the cleanup bound."""
        if type(self._actor).on_stop is Actor.on_stop:
            return  # noqa: ASYNC910
        stage = self._cell.stage
        task = trio.lowlevel.current_task()
        scope = trio.CancelScope(shield=True)  # ended by the alarm

        def overrun() -> None:
            stage.report_overrun(self._cell.name, None, self._cell.name, task)
            scope.cancel(reason="on_stop overran its bound")

        alarm = stage.alarms.set(trio.current_time() + stage.cleanup_grace, overrun)
        try:
            with scope:  # noqa: ASYNC912
                await self._actor.on_stop()
        except Exception as exc:
            error = sole_leaf(exc)
            if self._crashed is not None:
                error = BaseExceptionGroup("a crash, and on_stop", [self._crashed, error])
            self._crashed = error
        finally:
            alarm.cancel()

    # -- slots

    def _occupy(self) -> Slot:
        slot = Slot(self._cell.name, trio.lowlevel.current_task())
        self._cell.slots.append(slot)
        self._cell.stage.slots[slot.task] = slot
        return slot

    def _vacate(self, slot: Slot) -> None:
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
            self.helpers.start_soon, self._run_slot, name=f"{self._cell.name} ({self._slots})"
        )

    async def _run_slot(self) -> None:
        slot = self._occupy()
        try:
            await self._serve(slot)
        finally:
            self._vacate(slot)

    async def _serve(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Handle frames until the mailbox is closed and empty, or the cell ends."""
        cell = self._cell
        over = False
        while not over and cell.ending is None:
            try:
                with trio.CancelScope() as slot.scope:
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
        while not slot.scope.cancel_called:
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
                break  # it ended between the frame's arrival and this step; see `_vacate`
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
        Run the handler of *envelope*; what it raises is settled by `_serve`.

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
                self._settle(envelope, error=self._crash_error(envelope, error))
            self._crash(error)
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

    def _crash_error(self, envelope: Envelope, crash: BaseException) -> ActorCrashed:
        error = ActorCrashed(
            f"<Ref {self._cell.name!r}> crashed handling {type(envelope.frame).__name__}: {crash!r}"
        )
        error.__cause__ = crash
        return error

    def _crash(self, error: BaseException) -> None:
        """End this incarnation; the first crash is the one that is raised."""
        if self._crashed is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._crashed = error

        def restarted() -> ActorRestarted:
            taken = ActorRestarted(f"<Ref {self._cell.name!r}> crashed in another of its tasks")
            taken.__cause__ = self._crashed
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

    async def _control(self) -> None:
        """Handle control frames at once, whatever the slots do (R1)."""
        cell = self._cell
        while True:  # noqa: ASYNC913
            try:
                envelope = await cell.mailbox.take_control()
            except trio.EndOfChannel:
                self._control_runs = False
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
                self._crash(exc)
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
