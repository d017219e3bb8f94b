"""
One life of an actor, from its start to its end, and the children of a parent.

An incarnation is one task in its supervisor's nursery, its first slot; further slots, the reader of
the control lane, children and helpers live in an inner nursery that is opened when first used.

Its end, in this order: every slot is over; children stop, the last first; helpers are cancelled;
``on_stop`` runs; the mailbox is closed and what is left in it is settled; a crash is raised into the
supervisor's nursery.
"""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import trio

from greenroom.runtime.actor import Actor, Spawner, settle_in
from greenroom.runtime.cell import Cell, Down, DownReason
from greenroom.runtime.envelope import Exchange, Slot
from greenroom.runtime.errors import ActorStopped
from greenroom.runtime.events import ActorSpawned
from greenroom.runtime.frames import Frame
from greenroom.runtime.groups import collapse, sole_leaf
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.loop import Loop
from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy, Mailbox
from greenroom.runtime.ref import Ref
from greenroom.runtime.stage import Stage

__all__ = ["Children", "Incarnation"]


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
        self.helpers = InnerNursery(start_soon, cell.stage.context, cell.name, self._failed)
        self._cell = cell
        self._actor = actor
        self._names = names
        self._children: Children | None = None  # made by the first spawn
        self._loop = Loop(cell, actor, self.helpers)
        # what the spawner gets when the start failed; set by `_start`
        self.not_started = self._not_started("cancelled")

    def _failed(self, error: BaseException) -> None:
        """Crash: a helper or a child failed."""
        self._loop.crash(error)

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
        slot = self._loop.occupy()
        reason: DownReason = "cancelled"
        started = False
        try:
            started = await self._start(slot, starting, parent)
            if started:
                await self._loop.serve(slot)
                while len(cell.slots) > 1 or (self._loop.control_runs and cell.ending is None):
                    await cell.wait_go_on()
                if self._children is not None and self._loop.crashed is None:
                    await self._children.stop_all()
            reason = "stopped"
        except BaseException as error:  # noqa: ASYNC103 - raised below, at the end of this method
            if isinstance(failure := collapse(error), trio.Cancelled):
                raise
            self._loop.crash(failure)
        finally:
            cell.need_slot = None
            self._loop.vacate(slot)
            try:
                # as a nursery waits for its children; who does not end is named by R10's alarm
                await self.helpers.close(cell.stage)  # noqa: ASYNC102
                if started:
                    await self._stop()  # noqa: ASYNC102 - shields itself, within the cleanup bound
            finally:
                if self._loop.crashed is not None:
                    reason = "crashed"
                cell.close(Down(reason, self._loop.crashed))
            if self._loop.crashed is not None:
                raise self._loop.crashed  # also out of a cancellation, which would hide it (I7)

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
                    self._loop.control_runs = True
                    self.helpers.start_soon(self._loop.control)
                await self._actor.on_start()
                done = True
        except Exception as exc:
            self.not_started = sole_leaf(exc)
            if starting.is_left:
                self._loop.crash(self.not_started)  # the spawner won't raise it
            return False  # noqa: ASYNC910
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._loop.crashed is not None:
            self.not_started = self._loop.crash_error(starting, self._loop.crashed)
        elif cell.ending is not None:
            self.not_started = self._not_started("stopped")
        if cell.ending is not None or not done:
            return False
        cell.start()
        self._loop.start()
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
            if self._loop.crashed is not None:
                error = BaseExceptionGroup("a crash, and on_stop", [self._loop.crashed, error])
            self._loop.crashed = error
        finally:
            alarm.cancel()
