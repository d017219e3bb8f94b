"""
One life of an actor, from its start to its end.

An incarnation is one task in its parent's nursery, its first slot; further slots, the reader of the
control lane, children and helpers live in an inner nursery that is opened when first used.

Its end, in this order: every slot is over; children stop, the last first; helpers are cancelled;
``on_stop`` runs. What comes then, the end of the actor or another incarnation, is its parent's to
decide (see `supervisor`).
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Protocol

import trio

from greenroom.runtime.actor import Actor, Spawner, Timer, settle_in
from greenroom.runtime.cell import Cell, DownReason, Room
from greenroom.runtime.envelope import Exchange, Slot
from greenroom.runtime.errors import ActorStopped, MailboxFull, RequestError
from greenroom.runtime.events import ActorSpawned
from greenroom.runtime.frames import ControlFrame, Frame
from greenroom.runtime.groups import collapse, sole_leaf
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.loop import Loop
from greenroom.runtime.ref import Ref
from greenroom.runtime.topic import Subscription

__all__ = ["Brood", "Incarnation"]


class Brood(Protocol):
    """The children of an incarnation, as it sees them."""

    async def spawn(self, factory: Callable[..., Actor], *args: Any, **options: Any) -> Ref: ...

    async def terminate(self, ref: Ref) -> None: ...

    async def stop_all(self) -> None: ...


class Incarnation:
    """
    One life of an actor; it is the actor's `Home`.

    Attributes:
        ref: The actor's.
        runtime: Where else to spawn.
        started: Its start is over, and went well.
        failed_start: Why it did not, where there is more to say than that it was cancelled.
    """

    def __init__(
        self,
        cell: Cell,
        actor: Actor,
        runtime: Spawner,
        start_soon: Callable[..., None],
        brood: Callable[["Incarnation"], Brood],
    ) -> None:
        self.ref = Ref(cell)
        self.runtime = runtime
        self.started = False
        self.failed_start: BaseException | None = None
        self.inner = InnerNursery(start_soon, cell.stage.context, cell.name, self._failed)
        self.cell = cell
        self.actor = actor
        self._make_brood = brood
        self._children: Brood | None = None  # made by the first spawn
        self.loop = Loop(cell, actor, self.inner)
        settle_in(actor, self)

    def _failed(self, error: BaseException) -> None:
        """Crash: a helper or a child failed."""
        self.loop.crash(error)

    @property
    def crash(self) -> BaseException | None:
        """What ended it, if it was a crash."""
        return self.loop.crashed

    # -- what the actor sees

    @property
    def helpers(self) -> InnerNursery:
        """The inner nursery, for tasks of the actor's own."""
        self.cell.has_helpers = True
        return self.inner

    @property
    def deadline(self) -> float:
        """The deadline of the request that the current task handles; ``inf`` for none."""
        if not self.cell.wants_deadlines:
            name = type(self.actor).__name__
            raise RuntimeError(
                f"{name}.deadline is known only to actors that ask for it; "
                f"write class {name}(Actor, deadlines=True)"
            )
        slot = self.cell.stage.occupant(trio.lowlevel.current_task())
        request = slot.request if isinstance(slot, Slot) else None
        return request.deadline if request is not None else math.inf

    @property
    def _brood(self) -> Brood:
        if self._children is None:
            self._children = self._make_brood(self)
        return self._children

    async def spawn(self, factory: Callable[..., Actor], *args: Any, **options: Any) -> Ref:
        """Spawn a child of this incarnation."""
        return await self._brood.spawn(factory, *args, **options)

    async def terminate(self, ref: Ref) -> None:
        """Stop a child of this incarnation for good."""
        await self._brood.terminate(ref)

    def send_later(self, frame: Frame, to: Ref, after: float, every: float) -> Timer:
        """Tell *to* the frame in *after* seconds, and then each *every* seconds."""
        timer = Timer()
        self.inner.start_soon(
            self._run_timer, timer, frame, to, after, every, name=f"{self.cell.name} (timer)"
        )
        return timer

    async def _run_timer(
        self, timer: Timer, frame: Frame, to: Ref, after: float, every: float
    ) -> None:
        at = trio.current_time() + after
        with timer.scope:
            while True:
                await trio.sleep_until(at)
                try:
                    await to.tell(frame)
                except RequestError as error:
                    reason = f"of a timer: {type(error).__name__}"
                    self.cell.stage.dead_letter(to.name, 0, frame, reason)
                    if isinstance(error, ActorStopped):
                        break
                if every == math.inf:
                    break
                # a mailbox that was full for long is not made up for
                at = max(at + every, trio.current_time())

    def watch(self, ref: Ref) -> Timer:
        """Tell the actor the `Down` of *ref* when that is over."""
        timer = Timer()
        self.inner.start_soon(self._run_watch, timer, ref, name=f"{self.cell.name} (watch)")
        return timer

    async def _run_watch(self, timer: Timer, ref: Ref) -> None:
        with timer.scope:
            down = await ref.wait_stopped()
            with contextlib.suppress(ActorStopped):  # then it is ending itself
                await self.ref.tell(down)

    def forward(self, subscription: Subscription[Frame]) -> Timer:
        """Tell the actor what *subscription* gives."""
        timer = Timer()
        try:
            self.inner.start_soon(
                self._run_forward, timer, subscription, name=f"{self.cell.name} (subscriber)"
            )
        except RuntimeError:  # the actor is over
            subscription.close()
            raise
        return timer

    async def _run_forward(self, timer: Timer, subscription: Subscription[Frame]) -> None:  # noqa: ASYNC910
        cell = self.cell
        with timer.scope, subscription, contextlib.suppress(ActorStopped):
            async for frame in subscription:
                try:
                    envelope = cell.tell(frame)
                except MailboxFull as error:  # by a policy that lets nobody wait
                    cell.stage.dead_letter(
                        cell.name, 0, frame, f"of a topic: {type(error).__name__}"
                    )
                    continue
                if envelope is None:
                    continue
                room = Room(cell)
                if not isinstance(frame, ControlFrame):  # those wait for no handler
                    subscription.hold_up(room)
                try:
                    await cell.put(envelope, room)
                finally:
                    subscription.held_up = None

    # -- from the first step to the last

    def open(self, parent: str | None) -> None:
        """Note that the start is over."""
        self.started = True
        self.cell.start()
        self.loop.start()
        stage = self.cell.stage
        if stage.observers:
            stage.observers.notify(ActorSpawned(trio.current_time(), self.cell.name, parent))

    async def run(self, starting: Exchange | None, parent: str | None) -> None:
        """
        Run the actor's first slot, and the whole incarnation around it.

        Args:
            starting: The request by which somebody waits for ``on_start``; None if it is open.
            parent: The name of the parent, if that is an actor.

        Returns:
            When all is over; a crash is then in `crash`, also when there was a cancel as well.
        """
        cell = self.cell
        slot = self.loop.occupy()
        try:
            if starting is None or await self._start(slot, starting, parent):
                await self.loop.serve(slot)
                while len(cell.slots) > 1 or (self.loop.control_runs and cell.ending is None):
                    await cell.wait_go_on()
                if self._children is not None and self.crash is None:
                    await self._children.stop_all()
            elif self._children is not None and cell.ending is None and self.failed_start:
                await self._children.stop_all()  # in order, as at any other end
        except BaseException as error:  # noqa: ASYNC103 - raised below, or kept as the crash
            if isinstance(failure := collapse(error), trio.Cancelled):
                raise
            self.loop.crash(failure)
        finally:
            cell.need_slot = None
            self.loop.vacate(slot)
            # as a nursery waits for its children; who does not end is named by R10's alarm
            await self.inner.close(cell.stage)  # noqa: ASYNC102
            if self.started:
                await self._stop()  # noqa: ASYNC102 - shields itself, within the cleanup bound

    async def _start(self, slot: Slot, starting: Exchange, parent: str | None) -> bool:
        """Run ``on_start`` as the request of the spawner, and tell whether the actor lives."""
        cell = self.cell
        if starting.state is RequestState.CLOSING:
            await trio.lowlevel.checkpoint()  # the spawner left before this task began
            return False
        starting.slot = slot
        done = False
        try:
            with slot.scope:
                self.listen()
                await self.actor.on_start()
                done = True
        except Exception as exc:
            self.failed_start = sole_leaf(exc)
            if starting.is_left:
                self.loop.crash(self.failed_start)  # the spawner won't raise it
            return False  # noqa: ASYNC910
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.crash is not None:
            self.failed_start = self.loop.crash_error(starting.frame, self.crash)
        elif cell.ending is not None:
            self.failed_start = self._not_started("stopped")
        if cell.ending is not None or not done:
            return False
        self.open(parent)
        starting.settle(value=self.ref)
        return True

    def listen(self) -> None:
        """Start the reader of the control lane, if there is one."""
        if self.cell.routes.has_control:
            self.loop.control_runs = True
            self.inner.start_soon(self.loop.control)

    @property
    def not_started(self) -> BaseException | None:
        """What the spawner gets; None if the start went well."""
        return None if self.started else self.failed_start or self._not_started("cancelled")

    def _not_started(self, reason: DownReason) -> BaseException:
        return ActorStopped(f"{self.ref!r} was {reason} while it started", reason)

    async def _stop(self) -> None:  # noqa: ASYNC910
        """Run ``on_stop``, shielded, within the cleanup bound."""
        if type(self.actor).on_stop is Actor.on_stop:
            return  # noqa: ASYNC910
        stage = self.cell.stage
        task = trio.lowlevel.current_task()
        scope = trio.CancelScope(shield=True)  # ended by the alarm

        def overrun() -> None:
            stage.report_overrun(self.cell.name, None, self.cell.name, task)
            scope.cancel(reason="on_stop overran its bound")

        alarm = stage.alarms.set(trio.current_time() + stage.cleanup_grace, overrun)
        try:
            with scope:  # noqa: ASYNC912
                await self.actor.on_stop()
        except Exception as exc:
            error = sole_leaf(exc)
            if self.crash is not None:
                error = BaseExceptionGroup("a crash, and on_stop", [self.crash, error])
            self.loop.crashed = error
        finally:
            alarm.cancel()
