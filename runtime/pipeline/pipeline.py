"""`open_pipeline`: the block that owns a chain of stages, and the handle on it."""

import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, Protocol, TypeVar, overload

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.cell import Down
from greenroom.runtime.errors import ActorStopped
from greenroom.runtime.frames import ControlFrame, Frame
from greenroom.runtime.groups import bare
from greenroom.runtime.mailbox import DEFAULT_CAPACITY
from greenroom.runtime.pipeline.frames import Flush, Lifecycle, PipelineStarted
from greenroom.runtime.pipeline.heartbeat import Monitor, check_period
from greenroom.runtime.pipeline.line import Line, Position, check_carried
from greenroom.runtime.pipeline.links import Chain
from greenroom.runtime.pipeline.outlet import Tap
from greenroom.runtime.pipeline.parts import Part, build
from greenroom.runtime.ref import Ref, cell_of
from greenroom.runtime.restart import Supervision
from greenroom.runtime.topic import DEFAULT_LAG, LagPolicy

__all__ = ["Pipeline", "PipelineStalled", "open_pipeline"]

FLUSH_GRACE: Final = 5.0

FrameT = TypeVar("FrameT", bound=Frame)


class PipelineStalled(RuntimeError):
    """
    A pipeline makes no progress, and so neither starts nor flushes; the text names the stage.

    What to do: mend that stage, or resume it, or allow more seconds.
    """


class Parent(Protocol):
    """Who can own a pipeline: a `Runtime`, or an actor."""

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        name: str | None = None,
    ) -> Ref: ...


class _Owner(Actor):
    """Owns the stages: starts them in order, sees the last frames through, and stops them."""

    def __init__(
        self, line: Line, chain: Chain, supervision: Supervision | None, heartbeat: float
    ) -> None:
        if supervision is not None:
            self.supervision = supervision
        self._line = line
        self._chain = chain
        self._heartbeat = heartbeat
        self._all_started = trio.Event()  # and no stage hears of anything before it has

    async def on_start(self) -> None:
        line = self._line
        line.owner = cell_of(self.ref)
        line.owner.interrupted = line.tell_ends
        line.spawn = self.spawn
        line.restarted = self._restarted
        line.start_soon = self.nursery.start_soon
        await self._start_stages()
        await trio.lowlevel.checkpoint()
        self._chain.join(line.sink, line.source)
        for position in line.positions:
            position.start()
            if position.is_optional and not position.is_over:
                self.nursery.start_soon(self._watch_over, position)
        await line.run(PipelineStarted(), down=True)
        self._all_started.set()
        for position, failure in line.failures:
            await line.report_crash(position, failure)
        if self._heartbeat != math.inf:
            self.nursery.start_soon(Monitor(line, self._heartbeat).run)

    async def _start_stages(self) -> None:  # noqa: ASYNC910 - there is at least one
        failures: list[Exception] = []
        for position in self._line.positions:
            self._line.starting = position
            try:
                position.settle(await position.spawn(position))
            except Exception as exc:
                position.is_over = True
                if position.is_optional:
                    self._line.failures.append((position, exc))
                else:
                    failures.append(exc)
        self._line.starting = None
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("several stages could not be started", failures)

    def _restarted(self, position: Position) -> None:
        assert position.cell is not None
        if (error := position.cell.last_crash) is not None:  # else a sibling's, or it had stopped
            self.nursery.start_soon(self._line.report_crash, position, error)

    async def _watch_over(self, position: Position) -> None:
        assert position.ref is not None
        down = await position.ref.wait_stopped()
        position.is_over = True
        if down.reason == "crashed":
            await self._all_started.wait()
            await self._line.report_crash(position, down.error)

    async def on_drained(self) -> None:
        try:
            await self._line.end()
        except trio.Cancelled:  # the grace is over
            self._line.cut_off()
            raise

    async def on_stop(self) -> None:  # noqa: ASYNC910 - a hook that need not wait
        self._line.sink.close()
        self._line.source.close()


class Pipeline:
    """Stages that frames run through; made by `open_pipeline`."""

    def __init__(self, line: Line, owner: Ref, flush_grace: float) -> None:
        self._line = line
        self._owner = owner
        self._flush_grace = flush_grace
        self._flushes = count(1)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}, {len(self._line.positions)} stages>"

    @property
    def name(self) -> str:
        """The name of the actor that owns the stages; theirs begin with it."""
        return self._line.name

    @property
    def stages(self) -> tuple[Ref, ...]:
        """The refs of the stages, from the upper end to the lower, branch after branch."""
        return tuple(p.ref for p in self._line.positions if p.ref is not None)

    # -- in

    async def send(self, frame: Frame) -> None:
        """
        Send *frame* down the pipeline, waiting for room at its first stage.

        Raises:
            TypeError: it is a control frame or a request, which no pipeline carries.
            ActorStopped: the pipeline is ending, or over.
            MailboxFull: by the policy of the first stage's mailbox.

        Cancellation: nothing was sent (I1).

        Checkpoint: always.
        """
        self._check(frame)
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._line.send(frame)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_all(self, frames: Iterable[Frame]) -> None:
        """
        Send *frames* in order, as so many `send` calls, but with few checkpoints.

        Cancellation: what was sent before stays sent.

        Checkpoint: always, and at least every 64 frames.
        """
        head = self._line.positions[0]
        if head.ref is not None and not head.is_optional:
            await head.ref.tell_all(self._checked(frames))
            return
        await trio.lowlevel.checkpoint()
        for frame in self._checked(frames):
            await self._line.entry.put(frame)

    def _checked(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self._check(frame)
            if self._line.watchers:
                self._line.moved(frame)
            yield frame

    async def send_up(self, frame: Frame) -> None:
        """Send *frame* up the pipeline, from below its last stage; otherwise as `send`."""
        self._check(frame)
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._line.send(frame, down=False)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _check(self, frame: Frame) -> None:
        """Raise what is wrong with sending *frame* in, if anything is."""
        check_carried(frame)
        cell = cell_of(self._owner)
        if cell.is_stopping:
            raise ActorStopped(
                f"{self!r} is ending and lets in no {type(frame).__name__}", "stopped"
            )
        cell.check_open(frame)

    def broadcast(self, frame: ControlFrame) -> None:
        """
        Send a control frame to every stage that handles it, in one step.

        Raises:
            MailboxFull: a stage has no room for it; none got it.
            TypeError: it is no control frame.

        Checkpoint: never.
        """
        self._line.broadcast(frame)

    # -- out

    @overload
    def sink(self, *, buffer: int = ..., lag: LagPolicy = ...) -> Tap[Frame]: ...

    @overload
    def sink(
        self, *kinds: type[FrameT], buffer: int = ..., lag: LagPolicy = ...
    ) -> Tap[FrameT]: ...

    def sink(
        self, *kinds: type[Frame], buffer: int = DEFAULT_LAG, lag: LagPolicy = "wait"
    ) -> Tap[Any]:
        """
        Read what comes out at the lower end from now on: ``with pipeline.sink(Text) as texts``.

        Args:
            kinds: Frames of these classes; of all, if none is given.
            buffer: How many frames the reader may be behind, >= 1.
            lag: What happens then: ``"wait"`` holds the pipeline up; for the others see `topic`.

        After an interruption the reader gets `PipelineInterrupted`, if it is among the *kinds*, and
        then nothing that came out before, but for uninterruptible frames.

        Checkpoint: never; reading does.
        """
        return self._line.sink.open_tap(kinds or (Frame,), buffer, lag)

    @overload
    def source(self, *, buffer: int = ..., lag: LagPolicy = ...) -> Tap[Frame]: ...

    @overload
    def source(
        self, *kinds: type[FrameT], buffer: int = ..., lag: LagPolicy = ...
    ) -> Tap[FrameT]: ...

    def source(
        self, *kinds: type[Frame], buffer: int = DEFAULT_LAG, lag: LagPolicy = "wait"
    ) -> Tap[Any]:
        """Read what comes out at the upper end, having gone up; otherwise as `sink`."""
        return self._line.source.open_tap(kinds or (Frame,), buffer, lag)

    # -- all stages at once

    def interrupt(self, reason: str = "interrupted") -> None:
        """
        Cancel what all stages do, and skip all that is on its way, in one step (R2, R21).

        Uninterruptible frames stay, and so do their handlers. What the cancelled handlers still
        push is dropped. Each stage's ``on_interrupt`` runs before its next frame. At both ends
        `PipelineInterrupted` is the next frame to be read, and after it comes nothing from before.
        So it is too when an actor that owns the pipeline is interrupted.

        Checkpoint: never.
        """
        cell_of(self._owner).shared.check_thread()
        self._line.interrupt(reason)

    def pause(self, *stages: Ref) -> None:
        """
        Let these stages, or all, start no further frame; control frames are handled.

        What is sent waits in the mailboxes, and then for room.

        Checkpoint: never.
        """
        for position in self._chosen(stages):
            position.pause("pipeline")

    def resume(self, *stages: Ref) -> None:
        """Let these stages, or all, go on, unless they paused themselves. Checkpoint: never."""
        for position in self._chosen(stages):
            position.resume("pipeline")

    def _chosen(self, stages: tuple[Ref, ...]) -> Iterable[Position]:
        for ref in stages:
            if ref not in self.stages:
                raise ValueError(f"{ref!r} is no stage of {self!r}; see pipeline.stages")
        return [p for p in self._line.positions if not stages or p.ref in stages]

    # -- from one end to the other

    async def flush(self) -> None:
        """
        Wait until all that was sent before has been handled, and what came of it: down, up, down.

        Raises:
            PipelineStalled: for ``flush_grace`` seconds nothing got on; the text names the stage.
            ActorStopped: the pipeline is ending, or ends first.

        Cancellation: the flush is forgotten; frames are not touched.

        Checkpoint: always.
        """
        number = next(self._flushes)
        self._check(Flush(number))
        with bare():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_flush)
                for leg in (1, 2, 3):
                    await self._line.run(Flush(number, leg), down=leg != 2)
                nursery.cancel_scope.cancel(reason="it is through")

    async def _watch_flush(self) -> None:
        """Raise as soon as nothing gets on any more."""
        line = self._line
        before: object = None
        while (now := line.progress) != before:  # sampled: nobody tells of progress
            before = now
            await trio.sleep(self._flush_grace)  # noqa: ASYNC110
        raise PipelineStalled(
            f"pipeline {self.name!r} was not flushed, as for {self._flush_grace:g} s nothing got "
            f"on: {line.describe()}"
        )

    async def wait_idle(self, seconds: float, *kinds: type[Frame]) -> None:
        """
        Wait until for so many seconds no frame has gone in or been passed on.

        Args:
            seconds: On Trio's clock, >= 0.
            kinds: Count frames of these classes only.

        To end an idle pipeline, cancel its block, or `stop` it, when this returns.

        Cancellation: nothing changes.

        Checkpoint: always.
        """
        if not seconds >= 0:
            raise ValueError(f"wait_idle needs seconds >= 0, not {seconds!r}")
        activity = _Activity(kinds or (Frame,))
        self._line.watchers.add(activity)
        try:
            await trio.lowlevel.checkpoint()
            while (at := activity.last + seconds) > trio.current_time():  # noqa: ASYNC110
                await trio.sleep_until(at)  # the earliest moment that it can be
        finally:
            self._line.watchers.discard(activity)

    # -- the end

    def stop(self) -> None:
        """
        Let nothing more in, see through what is there, and end; the block's end does so too.

        `End` goes down and up. After ``drain_grace`` seconds, of the runtime, what is left is
        cancelled, whatever a stage does.

        Checkpoint: never.
        """
        self._owner.stop()

    async def wait_stopped(self) -> Down:
        """
        Wait until nothing of the pipeline is left, and return how it ended.

        Cancellation: the pipeline is not touched.

        Checkpoint: always.
        """
        return await self._owner.wait_stopped()


class _Activity:
    """When a frame was last seen."""

    def __init__(self, kinds: tuple[type[Frame], ...]) -> None:
        self._kinds = kinds
        self.last = trio.current_time()

    def moved(self, frame: Frame) -> None:
        if isinstance(frame, self._kinds) and not isinstance(frame, Lifecycle):
            self.last = trio.current_time()

    def stirred(self) -> None:
        """Do nothing: only frames count."""


async def _watch_start(line: Line, grace: float) -> None:
    await trio.sleep(grace)
    raise PipelineStalled(
        f"pipeline {line.name!r} did not start within {grace:g} s: {line.describe()}"
    )


@asynccontextmanager
async def open_pipeline(
    parent: Parent,
    *parts: Part,
    name: str = "pipeline",
    capacity: int = DEFAULT_CAPACITY,
    supervision: Supervision | None = None,
    start_grace: float = math.inf,
    flush_grace: float = FLUSH_GRACE,
    heartbeat: float = math.inf,
) -> AsyncGenerator[Pipeline]:
    """
    Open a pipeline: ``async with open_pipeline(runtime, Trim, Translate) as pipeline``.

    The stages are started in order, and the block begins when all are. When it ends normally, all
    that was sent is seen through (`Pipeline.stop`); when it ends by an exception or a cancellation,
    every stage is cancelled at once. Either way nothing of any stage is left after it (I4).

    Args:
        parent: The runtime, or an actor that is to own it.
        parts: From the upper end to the lower: `Stage` classes, functions that return a stage,
            `ChildSpec` values for options, `Branches`. A part with ``restart="temporary"`` is
            optional: when it can't be started or is over, frames pass it by; those going up may
            overtake what it handles while it stops. A `Flush` or `End` that it has not passed on
            goes on without it.
        name: Of the pipeline; the stages' names begin with it.
        capacity: Of each stage's lanes, in frames, where a `ChildSpec` does not say otherwise.
        supervision: What to do when a stage ends whose part says ``restart``.
        start_grace: How long the stages may take to start, all together (seconds, >= 0).
        flush_grace: How long `Pipeline.flush` waits while nothing gets on (seconds, > 0).
        heartbeat: How often to look for stages that make no progress, and to tell observers and the
            log of each (seconds, > 0).

    Raises:
        Exception: what the ``on_start`` of a stage raised; several at once as a group. Then: the
            body's own, unwrapped. A crash of a stage that nobody restarts is the parent's.
        PipelineStalled: the stages took longer than *start_grace*.

    Cancellation: every stage is cancelled, and waited for, as a nursery does (R10).

    Checkpoint: entry, always; exit, always.
    """
    if not start_grace >= 0:
        raise ValueError(f"start_grace must be seconds >= 0 or math.inf, not {start_grace!r}")
    if not flush_grace > 0:
        raise ValueError(f"flush_grace must be seconds > 0 or math.inf, not {flush_grace!r}")
    check_period(heartbeat)
    line = Line(name)
    chain = build(line, parts, capacity)
    owner: Ref | None = None
    try:
        with bare():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_start, line, start_grace)
                owner = await parent.spawn(_Owner, line, chain, supervision, heartbeat, name=name)
                nursery.cancel_scope.cancel(reason="it has started")
        yield Pipeline(line, owner, flush_grace)
        owner.stop()
        await owner.wait_stopped()
    except BaseException:
        if owner is not None:
            cell = cell_of(owner)
            if cell.is_open or cell.is_stopping:
                cell.end_all("cancelled")
            line.cut_off("cancelled")
            with trio.CancelScope(shield=True):  # as a nursery waits; a slow one is named (R10)
                await owner.wait_stopped()
        raise
