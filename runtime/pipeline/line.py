"""
What the stages of one pipeline share: where each stands, the ends, and what is done to all at once.

A `Position` is made before its stage, and outlives the stage's incarnations, as a mailbox does.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from greenroom.runtime.cell import Cell, Down
from greenroom.runtime.envelope import Exchange, Slot, frame_in
from greenroom.runtime.errors import ActorStopped, MailboxFull
from greenroom.runtime.frames import ControlFrame, Frame, Request, StreamRequest
from greenroom.runtime.intake import Room
from greenroom.runtime.lifecycle import ActorState
from greenroom.runtime.pipeline.frames import (
    End,
    Lifecycle,
    PipelineInterrupted,
    StageCrashed,
    Upstream,
    upstream,
)
from greenroom.runtime.pipeline.links import Link, Port, Side, Unlinked
from greenroom.runtime.pipeline.outlet import Outlet
from greenroom.runtime.pipeline.owed import Owed, inner, is_owed
from greenroom.runtime.ref import Ref, cell_of
from greenroom.runtime.stacks import place_of

__all__ = ["Line", "Position", "Watcher", "check_carried"]

_MOST_WITHOUT_CHECKPOINT: Final = 64
_NOT_CARRIED: Final = (ControlFrame, Request, StreamRequest)


def check_carried(frame: Frame) -> None:
    """Raise a TypeError if *frame* is none that runs through a pipeline."""
    if not isinstance(frame, Frame) or isinstance(frame, _NOT_CARRIED):
        raise TypeError(
            f"a pipeline does not carry {frame!r}, only data frames; write broadcast(...) for a "
            f"control frame, ref.ask(...) for a request"
        )


class Watcher(Protocol):
    """Who wants to know of every frame that goes in or is passed on."""

    def moved(self, frame: Frame) -> None: ...

    def stirred(self) -> None:
        """Note that a stage may go on, though no frame moved: its pause is over."""
        ...


class Position:
    """
    Where a stage stands: all of it that outlives its incarnations.

    Attributes:
        line: The whole.
        name: The stage's, as an actor.
        spawn: Spawns the stage here.
        is_optional: Frames pass it by once it is over.
        is_over: It could not be started, or is over.
        ref: The stage's, once it was spawned.
        has_ended: It has passed on the `End`; what it pushes after that is dropped.
        beat: The number of the last heartbeat that it answered.
        beats: How many it answered.
        pushed: How many frames it has passed on.
        below: The stage below, while frames may take the short way there; see `push_shortly`.
        down, up: Where its frames go.
        from_above, from_below: Where frames for it are put.
        on_drop: Told of each frame that its full mailbox drops: the branches that it stands in.
        owed_down, owed_up: The lifecycle frames that it has not passed on.
    """

    __slots__ = (
        "_pauses",
        "beat",
        "beats",
        "below",
        "down",
        "from_above",
        "from_below",
        "has_ended",
        "is_optional",
        "is_over",
        "line",
        "name",
        "on_drop",
        "owed_down",
        "owed_up",
        "pushed",
        "ref",
        "spawn",
        "up",
    )

    def __init__(
        self,
        line: "Line",
        name: str,
        spawn: Callable[["Position"], Awaitable[Ref]],
        *,
        is_optional: bool,
    ) -> None:
        self.line = line
        self.name = name
        self.spawn = spawn
        self.is_optional = is_optional
        self.is_over = False
        self.ref: Ref | None = None
        self.has_ended = False
        self.beat = 0
        self.beats = 0
        self.pushed = 0
        self.below: Cell | None = None
        self.down: Link = Unlinked()
        self.up: Link = Unlinked()
        self.owed_down, self.owed_up = Owed(), Owed()
        self.from_above: Link = Port(self, lambda: self.down, self.owed_down)
        self.from_below: Link = Port(self, lambda: self.up, self.owed_up)
        self.on_drop: tuple[Callable[[Frame], None], ...] = ()
        self._pauses: set[object] = (
            set()
        )  # who wants it to pause; holds the cell, once there is one

    def join(self, down: Link, up: Link) -> None:
        """Say where frames go from here."""
        self.down, self.up = down, up

    @property
    def cell(self) -> Cell | None:
        """Its actor; None before it was spawned."""
        return cell_of(self.ref) if self.ref is not None else None

    # -- passing on

    def push_shortly(self, frame: Frame) -> bool:
        """
        Put *frame* into the mailbox of the stage below, if there is nothing to look at on the way.

        Returns:
            False if there is, or no room, or it is time for a checkpoint: then nothing was done.
        """
        cell = self.below
        if cell is None or cell.quick.get(type(frame)) is not False or self.line.watchers:
            return False
        if (pushed := self.pushed + 1) % _MOST_WITHOUT_CHECKPOINT == 0:
            return False
        try:
            cell.inlet.send_nowait((cell.number + 1, frame))
        except trio.WouldBlock:
            return False
        cell.number += 1
        self.pushed = pushed
        return True

    async def push(self, frame: Frame) -> None:
        """Put *frame* into what is below, whatever that is."""
        if (pushed := self.pushed + 1) % _MOST_WITHOUT_CHECKPOINT == 0:
            await trio.lowlevel.checkpoint()
        await self._put(self.down, frame, self.owed_down)
        self.pushed = pushed
        if self.line.watchers:
            self.line.moved(frame)

    async def push_up(self, frame: Upstream) -> None:
        """Put *frame* into what is above."""
        await self._put(self.up, frame, self.owed_up)
        self.pushed += 1
        if self.line.watchers:
            self.line.moved(frame.frame)

    async def _put(self, link: Link, frame: Frame, owed: Owed) -> None:
        """Put *frame*; while that waits, frames from below are handled (see `turn`)."""
        turn = self.cell.turn if self.cell is not None else None
        slot = turn.data if turn is not None else None
        if turn is None or slot is None or slot.task is not trio.lowlevel.current_task():
            await link.put(frame)
            owed.pay(frame)
            return
        turn.rest()
        try:
            await link.put(frame)
            owed.pay(frame)
        finally:
            await turn.resume()  # noqa: ASYNC102 - does not wait once cancelled

    def settle(self, ref: Ref) -> None:
        """Note that the stage was spawned."""
        self.ref = ref
        cell_of(ref).heir = self._left
        if self.on_drop:
            cell_of(ref).on_drop = self._dropped
        if self._pauses:  # since its on_start
            cell_of(ref).hold()

    def _dropped(self, frame: Frame) -> None:
        for tell in self.on_drop:
            tell(frame)

    def _left(self, down: Down, frames: Sequence[Frame]) -> None:
        """Have the lifecycle frames go on that the stage has not passed on, now that it is over."""
        if self.line.is_over or down.reason == "cancelled":
            return  # and so is the pipeline
        left = [frame for frame in frames if is_owed(frame)]
        ups = [frame for frame in left if isinstance(frame, Upstream)]
        if self.owed_down.leave(frame for frame in left if not isinstance(frame, Upstream)):
            self.line.start_soon(self.line.settle, self.name, self.owed_down, self.down)
        if self.owed_up.leave(ups):
            self.line.start_soon(self.line.settle, self.name, self.owed_up, self.up)

    def start(self) -> None:
        """Note that every stage is there."""
        self.below = self.down.cell if isinstance(self.down, Port) else None

    # -- pausing

    @property
    def is_paused(self) -> bool:
        """Whether it is to start no further frame."""
        return bool(self._pauses)

    def pause(self, by: object = "stage") -> None:
        """Start no further frame, express frames included, until `resume` by the same."""
        if self.cell is not None and not self._pauses:
            self.cell.hold()
        self._pauses.add(by)

    def resume(self, by: object = "stage") -> None:
        """Go on, unless somebody else wants the pause; a no-op if there was none."""
        if by in self._pauses:
            self._pauses.remove(by)
            if self.cell is not None and not self._pauses:
                self.cell.release()
                for watcher in tuple(self.line.watchers):
                    watcher.stirred()

    def forget_pauses(self) -> None:
        """Go on, unless the pipeline wants the pause: another incarnation knows of no other."""
        for by in self._pauses - {"pipeline"}:
            self.resume(by)

    # -- what it does now

    @property
    def slot(self) -> Slot | None:
        """
        That of its tasks which handles something, else any; None if it has none now.

        Of two, that which does not wait for the other, or for room.
        """
        slots = self.cell.slots if self.cell is not None else ()
        busy = [slot for slot in slots if slot.running is not None]
        at_work = [slot for slot in busy if not self.line.holds_up(slot)]
        return next(iter((*at_work, *busy, *slots)), None)

    @property
    def progress(self) -> tuple[int, ...]:
        """Figures that change whenever it takes a frame, is done with one, or passes one on."""
        cell, slot = self.cell, self.slot
        if cell is None or slot is None:
            return ()
        running = slot.running[0] if slot.running is not None else 0
        accounts = cell.tally.accounts(cell.number)
        done = accounts.sent - accounts.pending - self.beats
        return (running, done, self.pushed, cell.restarts)

    def describe(self) -> str:
        """Return what it does, for messages."""
        cell, slot = self.cell, self.slot
        if cell is None or slot is None:
            return f"stage {self.name!r} is between two incarnations"
        if self.is_paused:
            return f"stage {self.name!r} is paused, with {cell.mailbox.data.current_buffer_used} frames queued"
        frame = type(frame_in(slot.running)).__name__ if slot.running is not None else "a hook"
        wait = f", {slot.waiting.describe()}" if slot.waiting is not None else ""
        return f"stage {self.name!r} is handling {frame}{wait}, and waits at {place_of(slot.task)}"


class Line:
    """
    The stages of one pipeline.

    Attributes:
        name: The pipeline's.
        owner: The actor that owns the stages; set when it starts, with the next three.
        spawn: Spawns a child of the owner.
        restarted: Told of a stage that is restarted.
        start_soon: Starts a task of the owner.
        sides: All branches, wherever they begin.
        positions: In the order in which frames going down pass them; branch after branch.
        entry: Where frames from outside go down from.
        entry_up: Where frames from outside go up from.
        sink, source: The ends: the lower, and the upper.
        watchers: Who wants to know of frames; empty nearly always, which is all that it costs.
        failures: Optional stages that could not be started, and why.
        starting: The stage that is being started.
        is_over: The `End` is through, or was cut off; stages that are over now are no loss.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: Cell | None = None
        self.spawn: Callable[..., Awaitable[Ref]] | None = None
        self.restarted: Callable[[Position], None] = lambda _: None
        self.start_soon: Callable[..., None] = lambda *_: None
        self.sides: Sequence[Side] = ()
        self.positions: Sequence[Position] = ()
        self.entry: Link = Unlinked()
        self.entry_up: Link = Unlinked()
        self.sink = Outlet(f"{name} sink", self.is_stale)
        self.source = Outlet(f"{name} source", self.is_stale)
        self.watchers: set[Watcher] = set()
        self.starting: Position | None = None
        self.failures: list[tuple[Position, Exception]] = []
        self.is_over = False

    def moved(self, frame: Frame) -> None:
        """Tell the watchers; asked for only while there are any."""
        for watcher in tuple(self.watchers):
            watcher.moved(frame)

    @property
    def cells(self) -> list[Cell]:
        """The actors of the stages that were spawned."""
        return [cell for position in self.positions if (cell := position.cell) is not None]

    def holds_up(self, slot: Slot) -> bool:
        """Tell whether *slot* waits for others of the pipeline, or its readers, and so is blameless."""
        match slot.waiting:
            case None | Exchange():
                return False
            case Room() as room:
                return room.intake in self.cells
            case _:
                return True

    # -- in one step

    def interrupt(self, reason: str, spare: Slot | None = None) -> None:
        """Interrupt every stage, and tell both ends (R2, R21); what *spare* handles goes on."""
        assert self.owner is not None
        if self.owner.state is ActorState.STOPPED:
            self.tell_ends(reason)
        else:
            self.owner.interrupt(reason, spare)  # it tells them

    def tell_ends(self, reason: str) -> None:
        """Have readers skip what they have not read; called in each interrupt of the owner."""
        for outlet in (self.sink, self.source):
            outlet.interrupt(PipelineInterrupted(reason))

    def is_stale(self, frame: Frame) -> bool:
        """Tell whether *frame* comes from a handler that an interrupt took; it is then reported."""
        owner = self.owner
        if owner is None or not owner.is_stale(frame):
            return False
        owner.shared.dead_letter(self.name, 0, frame, "of a turn that was interrupted")
        return True

    def drop(self, position: Position, frame: Frame) -> None:
        """Report a frame that *position* pushed after it had passed on the `End`."""
        assert self.owner is not None
        self.owner.shared.dead_letter(position.name, 0, frame, "pushed after the end")

    def broadcast(self, frame: ControlFrame) -> None:
        """
        Send *frame* to every stage that handles its class, in one step.

        Raises:
            MailboxFull: a stage has no room for it; none got it.
            TypeError: *frame* is no control frame.
        """
        if not isinstance(frame, ControlFrame):
            raise TypeError(
                f"broadcast takes a ControlFrame, not {frame!r}; "
                f"write pipeline.send(...) for a data frame"
            )
        cells = [cell for cell in self.cells if cell.is_open]
        for cell in cells:
            lane = cell.mailbox.control
            if lane is not None and lane.is_full:
                raise MailboxFull(
                    f"{type(frame).__name__} not sent: the control lane of {cell.name!r} is full"
                )
        for cell in cells:
            cell.tell(frame)

    # -- from one end to the other

    async def send(self, frame: Frame, *, down: bool = True) -> None:  # noqa: ASYNC910 - as a link
        """Send *frame* in, at the upper end to go *down*, or at the lower to go up."""
        if down:
            await self.entry.put(frame)
        else:
            await self.entry_up.put(upstream(frame))
        if self.watchers:
            self.moved(frame)

    async def run(self, frame: Lifecycle, *, down: bool) -> None:
        """
        Send *frame* in at one end, and wait until it comes out at the other.

        Raises:
            ActorStopped: the pipeline ended first.
        """
        outlet = self.sink if down else self.source
        arrival = outlet.expect(frame)
        try:
            await self.send(frame, down=down)
            await arrival.over.wait()
        finally:
            outlet.forget(frame)
            for side in self.sides:  # or what a stage has lost would hold them up for ever
                side.forget(frame)
        if not arrival.came:
            crash = next((cell.cause for cell in self.cells if cell.cause is not None), None)
            raise ActorStopped(
                f"pipeline {self.name!r} ended before {type(frame).__name__} was through", "stopped"
            ) from crash

    async def settle(self, name: str, owed: Owed, link: Link) -> None:  # noqa: ASYNC910 - as a link
        """Put into *link* what a stage of this *name*, which is over, has *owed* to what is there."""
        try:
            while owed.frames:
                frame = owed.frames[0]
                outlet = self.source if isinstance(frame, Upstream) else self.sink
                if outlet.expects(inner(frame)):  # else nobody waits for it any more
                    await self._put_owed(name, link, frame)
                owed.frames.popleft()
        finally:
            owed.settle()

    async def _put_owed(self, name: str, link: Link, frame: Frame) -> None:  # noqa: ASYNC910
        try:
            await link.put(frame)
        except MailboxFull as error:  # by a policy that drops, and nothing may be dropped
            assert self.owner is not None
            reason = f"left by a stage: {type(error).__name__}"
            self.owner.shared.dead_letter(name, 0, inner(frame), reason)
        else:
            if self.watchers:
                self.moved(inner(frame))

    async def end(self) -> None:
        """Let everything go through, in both directions; see `End`."""
        try:
            await self.run(End(), down=True)
            await self.run(End(), down=False)
        finally:
            self.is_over = True

    def cut_off(self, reason: str = "stopped") -> None:
        """Cancel every stage at once."""
        self.is_over = True
        for cell in self.cells:
            if cell.is_open or cell.is_stopping:
                cell.end_all("cancelled" if reason == "cancelled" else "stopped")

    async def report_crash(self, position: Position, error: BaseException | None) -> None:
        """Tell those above *position* that its stage has crashed."""
        try:
            await position.up.put(upstream(StageCrashed(position.name, error)))
        except ActorStopped:
            await trio.lowlevel.checkpoint()  # it is ending

    # -- what it does now

    @property
    def progress(self) -> tuple[object, ...]:
        """Figures that change whenever a frame gets on in any stage, or leaves at an end."""
        ends = (self.sink.count, self.source.count)
        return (*ends, *(position.progress for position in self.positions))

    def describe(self) -> str:
        """Return what holds frames up: the last stage that is not at rest, as it holds the others."""
        if self.starting is not None:
            return f"stage {self.starting.name!r} is still in on_start"
        busy = [
            position
            for position in self.positions
            if not position.is_over
            and (
                position.is_paused
                or position.slot is None
                or position.slot.running is not None
                or (position.cell is not None and position.cell.mailbox.has_backlog)
            )
        ]
        return busy[-1].describe() if busy else "no stage is at work; one has lost a frame"
