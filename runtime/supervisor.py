"""
The children of one parent: how they start, what happens when one ends, and how they stop.

Every parent, the runtime or an actor, supervises its children as its `restart.Supervision` says.
`restart.decide` decides; this file carries it out (R19). A child spawned without ``restart`` is not
supervised: its crash is its parent's crash, as in a nursery.

A restart keeps the ref, the name and the mailbox of the child; the factory is called again. When a
supervisor gives up, the crash goes up, out of the nursery: to the supervisor of the parent, or out
of ``open_runtime`` as itself (I7).
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, get_args

import trio

from greenroom.runtime.actor import Actor, Spawner
from greenroom.runtime.cell import Cell, Down, DownReason
from greenroom.runtime.envelope import Exchange, Slot
from greenroom.runtime.errors import ActorRestarted, RequestError, TooManyRestarts
from greenroom.runtime.frames import Frame
from greenroom.runtime.incarnation import Brood, Incarnation
from greenroom.runtime.lifecycle import ActorState, RequestState
from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy, Mailbox
from greenroom.runtime.names import Names
from greenroom.runtime.ref import Ref
from greenroom.runtime.restart import (
    ChildKind,
    GiveUp,
    History,
    Restart,
    Supervision,
    decide,
)
from greenroom.runtime.shared import Shared

__all__ = ["Children"]

_log = logging.getLogger("greenroom.runtime")


class _Starting(Frame):
    """Stands for ``on_start`` in the exchange by which a spawner waits for it."""

    __slots__ = ()


class _Child:
    """One actor as its parent keeps it."""

    __slots__ = ("args", "cell", "ended", "factory", "incarnation", "kind", "order")

    def __init__(
        self,
        cell: Cell,
        factory: Callable[..., Actor],
        args: tuple[Any, ...],
        kind: ChildKind | None,
    ) -> None:
        self.cell = cell
        self.factory = factory
        self.args = args
        self.kind: ChildKind | None = kind
        self.incarnation: Incarnation | None = None  # while one is alive
        # the restart that it is part of, from the decision until it is started again
        self.order: Restart[_Child] | None = None
        self.ended: trio.Event | None = None  # set when an incarnation ends; made by who waits


class Children:
    """What one parent spawned, in order: the runtime's own actors, or an incarnation's."""

    def __init__(
        self,
        shared: Shared,
        names: Names,
        runtime: Spawner,
        start_soon: Callable[..., None],
        parent: Cell | None,
        supervision: Supervision,
    ) -> None:
        self.runtime = runtime
        self.start_soon = start_soon
        self._shared = shared
        self._names = names
        self._parent = parent
        self._supervision = supervision
        self._children: dict[Cell, _Child] = {}  # the living ones, in spawn order
        self._history = History()
        # the restarts under way, and the scope around the waiting that each begins with
        self._orders: dict[Restart[_Child], trio.CancelScope] = {}
        self._all_over: trio.Event | None = None  # set once all are; made by `stop_all`
        self._failure: BaseException | None = None  # what went up, and so took the others along
        if parent is not None:
            parent.children = self.cells

    @property
    def name(self) -> str | None:
        """The name of the parent, if it is an actor."""
        return self._parent.name if self._parent is not None else None

    @property
    def cells(self) -> Mapping[Cell, object]:
        """The living children, in spawn order; it changes with them."""
        return self._children

    # -- starting

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
        restart: ChildKind | None = None,
        redeliver: int = 0,
    ) -> Ref:
        """Start an actor; see `system.Runtime.spawn`."""
        shared = self._shared
        shared.check_thread()
        shared.check_run()
        if shared.alarms.is_closed:
            raise RuntimeError(f"runtime {shared.name!r} is over; it starts no more actors")
        if restart is not None and restart not in get_args(ChildKind):
            kinds = ", ".join(get_args(ChildKind))
            raise ValueError(f"restart must be one of {kinds}, or None, not {restart!r}")
        if not (isinstance(redeliver, int) and redeliver >= 0):
            raise ValueError(f"redeliver must be an int >= 0 (times), not {redeliver!r}")
        if redeliver and restart is None:
            raise ValueError(
                f"redeliver={redeliver!r} needs a restart policy; write restart='transient'"
            )
        await trio.lowlevel.checkpoint_if_cancelled()
        actor = self._make(factory, args)
        routes = type(actor).__routes__
        cell = Cell(
            self._names.choose(type(actor).__name__, name),
            shared,
            Mailbox(
                capacity=capacity,
                full=full,
                control=routes.has_control,
                express=routes.has_express,
            ),
            routes,
            kind=type(actor).__name__,
            concurrency=actor.concurrency,
            wants_deadlines=actor.deadlines,
            redeliver=redeliver,
        )
        child = _Child(cell, factory, args, restart)
        launched = self._launch(child, actor)
        self._names.add(cell)
        self._children[cell] = child
        return await self._started(*launched)

    def _make(self, factory: Callable[..., Actor], args: tuple[Any, ...]) -> Actor:
        actor = self._shared.context.copy().run(factory, *args)
        if not isinstance(actor, Actor):
            raise TypeError(
                f"spawn takes an Actor class, or a function that returns an actor, and its "
                f"arguments; {factory!r} gave {actor!r}"
            )
        return actor

    def _launch(self, child: _Child, actor: Actor) -> tuple[Incarnation, Exchange | None]:
        """Begin an incarnation, for `_started` to wait for."""
        cell = child.cell
        incarnation = Incarnation(cell, actor, self)
        starting: Exchange | None = None
        if type(actor).on_start is not Actor.on_start:
            starting = Exchange(0, _Starting(), cell)
            starting.start(None)  # so that a cancel waits for the end, as for a running request
        self._shared.context.run(self.start_soon, incarnation.run, starting, name=cell.name)
        child.incarnation = incarnation
        if starting is None:
            incarnation.listen()
            incarnation.open()
        return incarnation, starting

    async def _started(self, incarnation: Incarnation, starting: Exchange | None) -> Ref:
        """
        Wait until the ``on_start`` of an incarnation is over.

        Raises:
            Exception: what that raised; the incarnation is then over.

        Cancellation: the incarnation is cancelled, and over.

        Checkpoint: always.
        """
        if starting is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return incarnation.ref
        slot = self._shared.slots.get(trio.lowlevel.current_task())
        if isinstance(slot, Slot):
            slot.waiting = starting  # what is being started may ask its spawner (R24)
        try:
            await starting.wait()
        finally:
            if isinstance(slot, Slot):
                slot.waiting = None
        await starting.outcome()
        return incarnation.ref

    def brood(self, incarnation: Incarnation) -> Brood:
        """Make the children of a child."""
        return Children(
            self._shared,
            self._names,
            self.runtime,
            incarnation.loop.inner.start_soon,
            incarnation.cell,
            incarnation.actor.supervision,
        )

    # -- one incarnation, and what comes after it

    def ended(
        self, incarnation: Incarnation, starting: Exchange | None, *, is_cancelled: bool
    ) -> None:
        """Do what is due after an incarnation; raise its crash if that is to go up."""
        cell, crash = incarnation.cell, incarnation.crash
        child = self._children[cell]
        child.incarnation = None
        if cell.restarts and not incarnation.started and not is_cancelled:
            crash = crash or incarnation.not_started  # a restart that failed counts as a crash
        if child.order is not None and child.order not in self._orders:
            is_cancelled = True  # as was the restart that it ended for: nobody would start it again
        try:
            if child.order is not None and not is_cancelled and self._all_over is None:
                if crash is not None:
                    _log.error("%r crashed as it was stopped", cell.name, exc_info=crash)
                self._rest(child, incarnation, child.order, crash)
            elif (
                is_cancelled
                or child.kind is None
                or self._all_over is not None
                or not (incarnation.started or cell.restarts)
            ):
                self._close(child, incarnation, crash, "cancelled" if is_cancelled else "stopped")
                if crash is not None and child.kind is not None:
                    # it reached its supervisor, which is ending itself
                    _log.error("%r crashed as its parent ended", cell.name, exc_info=crash)
                elif crash is not None:
                    self._failure = crash
                    raise crash  # also out of a cancellation, which would hide it (I7)
            else:
                self._decide(child, incarnation, crash)
        finally:
            if starting is not None and starting.state is not RequestState.SETTLED:
                starting.settle(error=incarnation.not_started)
            if child.ended is not None:
                child.ended.set()

    def _decide(
        self, child: _Child, incarnation: Incarnation | None, crash: BaseException | None
    ) -> None:
        """Apply the supervision to the end of *child*; raise the crash if it goes up."""
        kinds: list[tuple[_Child, ChildKind]] = [
            (other, other.kind) for other in self._children.values() if other.kind is not None
        ]
        decision = decide(
            self._supervision,
            kinds,
            child,
            # one that was told to stop is not brought back by a crash; a permanent one always is
            crashed=crash is not None and not child.cell.is_stopping,
            now=trio.current_time(),
            history=self._history,
            random=self._shared.rng.random,
        )
        name = child.cell.name
        if isinstance(decision, Restart):
            _log.log(
                logging.ERROR if crash is not None else logging.INFO,
                "%r %s; restarting %s in %g s",
                name,
                "crashed" if crash is not None else "stopped",
                ", ".join(other.cell.name for other in decision.start),
                decision.delay,
                exc_info=crash,
            )
            self._orders[decision] = trio.CancelScope()
            taken_over = [other.order for other in (*decision.stop, *decision.start)]
            for other in (*decision.stop, *decision.start):
                other.order = decision
            for order in filter(None, taken_over):
                self._forget(order)
            self._rest(child, incarnation, decision, crash)
            self.start_soon(self._carry_out, decision, name=f"{name} (restart)")
        else:
            self._close(child, incarnation, crash, "stopped")
            if isinstance(decision, GiveUp):
                self._failure = crash or TooManyRestarts(
                    f"{name!r}, which is permanent, stopped more than "
                    f"{self._supervision.restarts} times in {self._supervision.within:g} s"
                )
                raise self._failure
            if crash is not None:
                _log.error("%r crashed and is not restarted", name, exc_info=crash)

    def _rest(
        self,
        child: _Child,
        incarnation: Incarnation | None,
        order: Restart[_Child],
        crash: BaseException | None,
    ) -> None:
        """Put *child* between two incarnations, or end it if it is not to be started again."""
        if child not in order.start:
            self._close(child, incarnation, crash, "stopped")
            return
        for envelope, error in incarnation.loop.poison if incarnation is not None else ():
            request = envelope[1]
            if isinstance(request, Exchange) and request.state is not RequestState.RUNNING:
                assert incarnation is not None
                incarnation.loop.give_up_on(envelope, error)  # its asker has left
            else:
                child.cell.deliver_again(envelope)
        child.cell.abandon = lambda: self._close(child, None, None, "stopped")
        child.cell.rest(crash, order.delay)

    def _close(
        self,
        child: _Child,
        incarnation: Incarnation | None,
        crash: BaseException | None,
        reason: DownReason,
    ) -> None:
        """End *child* for good."""
        cell = child.cell
        for envelope, error in incarnation.loop.poison if incarnation is not None else ():
            assert incarnation is not None
            incarnation.loop.give_up_on(envelope, error)
        order, child.order = child.order, None
        if order is not None:
            self._forget(order)
        del self._children[cell]
        self._names.remove(cell)
        cell.close(
            Down(cell.name, "crashed" if crash is not None else reason, crash),
            self._failure if reason == "cancelled" else None,
        )
        if self._all_over is not None:
            self._stop_last()

    def _forget(self, order: Restart[_Child]) -> None:
        """Note that a child is no longer part of *order*, which is over if it was the last."""
        scope = self._orders.get(order)
        if scope and not any(child.order is order for child in self._children.values()):
            scope.cancel(reason="nothing is left to restart")

    async def _carry_out(self, order: Restart[_Child]) -> None:
        """Stop and start the children of *order*, as far as no later order took them over."""
        try:
            with self._orders[order]:
                for child in order.stop:
                    if child.order is order and child.incarnation is not None:
                        await self._end(child)
                await trio.sleep(order.delay)
            for child in order.start:
                if child.order is order and child.cell.state is ActorState.RESTARTING:
                    await self._restart(child)
        finally:
            for child in order.start:
                if child.order is order and child.cell.state is ActorState.RESTARTING:
                    self._close(child, None, None, "cancelled")
            del self._orders[order]

    async def _end(self, child: _Child) -> None:
        """End the incarnation of *child*, for a sibling's sake."""
        name = child.cell.name

        def restarted() -> RequestError:
            return ActorRestarted(f"<Ref {name!r}> was restarted together with a sibling")

        child.ended = trio.Event()
        child.cell.end_all("stopped", restarted)
        await child.ended.wait()
        child.ended = None

    async def _restart(self, child: _Child) -> None:  # noqa: ASYNC910
        child.order = None
        child.cell.abandon = None
        try:
            actor = self._make(child.factory, child.args)
        except Exception as exc:
            self._decide_again(child, exc)
            await trio.lowlevel.checkpoint()
            return
        child.cell.restart()
        launched = self._launch(child, actor)
        try:
            await self._started(*launched)
        except Exception as exc:
            # the incarnation is over, and `ended` has seen to it; this was only told to the waiter
            _log.debug("%r did not start again: %r", child.cell.name, exc)

    def _decide_again(self, child: _Child, crash: BaseException) -> None:
        """Treat a factory that failed as a crash of what it did not make."""
        child.cell.restart()
        self._decide(child, None, crash)

    # -- stopping

    async def terminate(self, ref: Ref) -> None:
        """Stop a child for good, whatever its kind, and wait; see `system.Runtime.terminate`."""
        self._shared.check_run()
        child = next((c for c in self._children.values() if c.cell.name == ref.name), None)
        if child is not None and Ref(child.cell) == ref:
            if child.kind is not None:
                child.kind = "temporary"  # still supervised: a crash while it drains goes nowhere
            order, child.order = child.order, None
            if order is not None:
                self._forget(order)
            child.cell.stop()
        elif ref.statistics().state != "stopped":
            raise ValueError(f"{ref!r} is no child of this parent; only a parent terminates")
        await ref.wait_stopped()

    async def stop_all(self) -> None:  # noqa: ASYNC910
        """Stop them in reverse order of spawning, each with its drain. Checkpoint: if any lives."""
        self._shared.check_run()
        if self._children:
            all_over = self._all_over
            if all_over is None:
                all_over = self._all_over = trio.Event()
                self._stop_last()
            await all_over.wait()

    def _stop_last(self) -> None:
        """Stop the last of those who live; the end of each stops the one before it."""
        if self._children:
            # out and in again, since reversed() would pass over all that ended before, each time
            cell, child = self._children.popitem()
            self._children[cell] = child
            cell.stop()
        elif self._all_over is not None:
            self._all_over.set()
            self._all_over = None
