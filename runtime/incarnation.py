"""
One life of an actor, from its start to its end.

An incarnation is one task in its parent's nursery, its first slot; further slots, the reader of the
control lane, children and helpers live in an inner nursery that is opened when first used.

Its end, in this order: every slot is over; ``on_drained`` runs, if it was stopped; children stop, the
last first; helpers are cancelled; ``on_stop`` runs. What comes then, the end of the actor or another incarnation, is its parent's to
decide (see `supervisor`).
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Protocol, Unpack

import trio

from greenroom.runtime.actor import Actor, Spawner, Timer, settle_in
from greenroom.runtime.cell import Cell, DownReason
from greenroom.runtime.envelope import Exchange, Slot
from greenroom.runtime.errors import ActorCrashed, ActorStopped, MailboxFull, RequestError
from greenroom.runtime.events import ActorSpawned
from greenroom.runtime.frames import ControlFrame, Frame
from greenroom.runtime.groups import collapse, sole_leaf
from greenroom.runtime.helpers import InnerNursery
from greenroom.runtime.intake import Room
from greenroom.runtime.lifecycle import RequestState
from greenroom.runtime.loop import Loop
from greenroom.runtime.options import SpawnOptions
from greenroom.runtime.ref import Ref
from greenroom.runtime.topic import Subscription

__all__ = ["Brood", "Incarnation", "Parent"]


class Brood(Protocol):
    """The children of an incarnation, as it sees them."""

    async def spawn(self, factory: Callable[..., Actor], *args: Any, **options: Any) -> Ref: ...

    async def terminate(self, ref: Ref) -> None: ...

    async def stop_all(self) -> None: ...


class Parent(Protocol):
    """Whose child an incarnation is: it runs there, and its end is told there."""

    @property
    def name(self) -> str | None:
        """The name of the parent, if it is an actor."""
        ...

    @property
    def runtime(self) -> Spawner: ...

    @property
    def start_soon(self) -> Callable[..., None]:
        """Of the nursery that its children run in."""
        ...

    def brood(self, incarnation: "Incarnation") -> Brood:
        """Make the children of a child."""
        ...

    def ended(
        self, incarnation: "Incarnation", starting: Exchange | None, *, is_cancelled: bool
    ) -> None:
        """Do what is due after an incarnation; raise its crash if that is to go up."""
        ...


class Incarnation:
    """
    One life of an actor; it is the actor's `Home`.

    Attributes:
        ref: The actor's.
        started: Its start is over, and went well.
        failed_start: Why it did not, where there is more to say than that it was cancelled.
    """

    __slots__ = (
        "_children",
        "_parent",
        "actor",
        "cell",
        "failed_start",
        "loop",
        "ref",
        "started",
    )

    def __init__(self, cell: Cell, actor: Actor, parent: Parent) -> None:
        self.ref = Ref(cell)
        self.started = False
        self.failed_start: BaseException | None = None
        self.cell = cell
        self.actor = actor
        self.loop = Loop(cell, actor, parent.start_soon)
        self._parent = parent
        self._children: Brood | None = None  # made by the first spawn
        settle_in(actor, self)

    @property
    def crash(self) -> BaseException | None:
        """What ended it, if it was a crash."""
        return self.loop.crashed

    # -- what the actor sees

    @property
    def runtime(self) -> Spawner:
        """Where else to spawn."""
        return self._parent.runtime

    @property
    def helpers(self) -> InnerNursery:
        """The inner nursery, for tasks of the actor's own."""
        self.cell.has_helpers = True
        return self.loop.inner

    @property
    def deadline(self) -> float:
        """The deadline of the request that the current task handles; ``inf`` for none."""
        if not self.cell.wants_deadlines:
            name = type(self.actor).__name__
            raise RuntimeError(
                f"{name}.deadline is known only to actors that ask for it; "
                f"write class {name}(Actor, deadlines=True)"
            )
        slot = self.cell.shared.occupant(trio.lowlevel.current_task())
        request = slot.request if isinstance(slot, Slot) else None
        return request.deadline if request is not None else math.inf

    @property
    def _brood(self) -> Brood:
        if self._children is None:
            self._children = self._parent.brood(self)
        return self._children

    async def spawn(
        self, factory: Callable[..., Actor], *args: Any, **options: Unpack[SpawnOptions]
    ) -> Ref:
        """Spawn a child of this incarnation."""
        return await self._brood.spawn(factory, *args, **options)

    async def terminate(self, ref: Ref) -> None:
        """Stop a child of this incarnation for good."""
        await self._brood.terminate(ref)

    def send_later(self, frame: Frame, to: Ref, after: float, every: float) -> Timer:
        """Tell *to* the frame in *after* seconds, and then each *every* seconds."""
        timer = Timer()
        self.loop.inner.start_soon(
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
                    self.cell.shared.dead_letter(to.name, 0, frame, reason)
                    if isinstance(error, ActorStopped):
                        break
                if every == math.inf:
                    break
                # a mailbox that was full for long is not made up for
                at = max(at + every, trio.current_time())

    def watch(self, ref: Ref) -> Timer:
        """Tell the actor the `Down` of *ref* when that is over."""
        timer = Timer()
        self.loop.inner.start_soon(self._run_watch, timer, ref, name=f"{self.cell.name} (watch)")
        return timer

    async def _run_watch(self, timer: Timer, ref: Ref) -> None:
        with timer.scope:
            down = await ref.wait_stopped()
            with contextlib.suppress(ActorStopped):  # then it is ending itself
                try:
                    await self.cell.put_anyway(down)
                except MailboxFull as error:
                    reason = f"of a watch: {type(error).__name__}"
                    self.cell.shared.dead_letter(self.cell.name, 0, down, reason)

    def forward(self, subscription: Subscription[Frame]) -> Timer:
        """Tell the actor what *subscription* gives."""
        timer = Timer()
        try:
            self.loop.inner.start_soon(
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
                    cell.shared.dead_letter(
                        cell.name, 0, frame, f"of a topic: {type(error).__name__}"
                    )
                    continue
                if envelope is None:
                    continue
                room = Room(cell, cell.mailbox.lane_of(frame))
                if not isinstance(frame, ControlFrame):  # those wait for no handler
                    subscription.hold_up(room)
                try:
                    await cell.put(envelope, room)
                finally:
                    subscription.held_up = None

    # -- from the first step to the last

    def open(self) -> None:
        """Note that the start is over."""
        self.started = True
        self.cell.start()
        self.loop.start()
        shared = self.cell.shared
        if shared.observers:
            shared.observers.notify(
                ActorSpawned(trio.current_time(), self.cell.name, self._parent.name)
            )

    async def run(self, starting: Exchange | None) -> None:
        """
        Run the actor's first slot, and the whole incarnation around it.

        Until its first frame comes the task is no slot, and has no scope: all that such an actor
        keeps beside its mailbox is this one coroutine. Hence its length, and the wait in its midst.

        Args:
            starting: The request by which somebody waits for ``on_start``; None if it is open.

        Raises:
            BaseException: what the parent lets through of a crash.
        """
        cell = self.cell
        task = trio.lowlevel.current_task()
        cell.shared.incarnations.add(task)
        slot: Slot | None = None
        is_cancelled = True
        try:
            try:
                if starting is not None:
                    slot = self.loop.occupy()
                if slot is None or starting is None or await self._start(slot, starting):
                    if cell.ending is None and not cell.again:
                        cell.is_fresh = slot is None
                        try:
                            # for `serve` to take; or it is woken up by the end (see `end_all`)
                            cell.put_back(await cell.mailbox.outlet.receive())
                        except trio.EndOfChannel:
                            pass
                        finally:
                            cell.is_fresh = False
                    if cell.again:
                        slot = slot or self.loop.occupy()
                        await self.loop.serve(slot)
                    await self._wind_down(slot)
                elif self._children is not None and cell.ending is None and self.failed_start:
                    await self._children.stop_all()  # in order, as at any other end
            except BaseException as error:  # noqa: ASYNC103 - raised below, or kept as the crash
                if isinstance(failure := collapse(error), trio.Cancelled):
                    raise
                self.loop.crash(failure)
            finally:
                await self._finish(slot)  # noqa: ASYNC102 - shields itself
            is_cancelled = False
        finally:
            cell.shared.incarnations.remove(task)
            self._parent.ended(self, starting, is_cancelled=is_cancelled)

    async def _wind_down(self, slot: Slot | None) -> None:  # noqa: ASYNC910
        """Wait for the tasks beside the first, whose *slot* is over, and stop the children."""
        cell = self.cell
        while any(other is not slot for other in cell.slots) or (
            self.loop.control_runs and cell.ending is None
        ):
            await cell.wait_go_on()
        if self.crash is None:
            if type(self.actor).on_drained is not Actor.on_drained:
                await self._drained(slot)
            if self._children is not None:
                await self._children.stop_all()

    async def _drained(self, slot: Slot | None) -> None:
        """Run ``on_drained``, until the grace of the stop is over, if it is not already."""
        self.cell.limit_drain()
        own = slot or self.loop.occupy()
        try:
            with trio.CancelScope() as own.scope:
                if self.cell.ending is not None:
                    own.scope.cancel(reason="its drain_grace is over")
                await self.actor.on_drained()
        finally:
            if slot is None:
                self.loop.vacate(own)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _finish(self, slot: Slot | None) -> None:  # noqa: ASYNC910
        """Let go of everything, whatever the incarnation ended by."""
        self.cell.need_slot = None
        if slot is not None:
            self.loop.vacate(slot)
        # as a nursery waits for its children; who does not end is named by R10's alarm
        await self.loop.close_inner()
        if self.started:
            await self._stop()

    async def _start(self, slot: Slot, starting: Exchange) -> bool:
        """Run ``on_start`` as the request of the spawner, and tell whether the actor lives."""
        cell = self.cell
        if starting.state is RequestState.CLOSING:
            await trio.lowlevel.checkpoint()  # the spawner left before this task began
            return False
        starting.slot = slot
        done = False
        try:
            with trio.CancelScope() as slot.scope:
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
            self.failed_start = ActorCrashed(f"{self.ref!r} crashed as it started: {self.crash!r}")
            self.failed_start.__cause__ = self.crash
        elif cell.ending is not None:
            self.failed_start = self._not_started("stopped")
        if cell.ending is not None or not done:
            return False
        self.open()
        starting.settle(value=self.ref)
        return True

    def listen(self) -> None:
        """Start the reader of the control lane, if there is one."""
        if self.cell.routes.has_control:
            self.loop.control_runs = True
            self.loop.inner.start_soon(self.loop.control)

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
        shared = self.cell.shared
        task = trio.lowlevel.current_task()
        scope = trio.CancelScope(shield=True)  # ended by the alarm

        def overrun() -> None:
            shared.report_overrun(self.cell.name, None, self.cell.name, task)
            scope.cancel(reason="on_stop overran its bound")

        alarm = shared.alarms.set(trio.current_time() + shared.cleanup_grace, overrun)
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
