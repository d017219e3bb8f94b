"""What users write: `Stage` classes, actors that frames run through."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar, cast

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.errors import Refused
from greenroom.runtime.frames import ControlFrame, Frame, Request
from greenroom.runtime.pipeline.frames import (
    End,
    Flush,
    Heartbeat,
    Lifecycle,
    PipelineStarted,
    Upstream,
    upstream,
)
from greenroom.runtime.pipeline.line import Position, check_carried
from greenroom.runtime.routes import Form, Routes, handles

__all__ = ["Stage", "handles_up", "take_place"]

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

_HANDLES_UP: Final = "__greenroom_handler_up__"


def handles_up(method: HandlerT) -> HandlerT:
    """
    Make *method* a handler of frames that come from below, on their way up.

    As `handles` is for those that come from above; a method may be both. The frame goes no further
    unless the handler pushes it, or another, with `Stage.push_up`.

    Raises:
        TypeError: at class creation, as for `handles`.
    """
    setattr(method, _HANDLES_UP, True)
    return method


def take_place(stage: "Stage", position: Position) -> None:
    """Put *stage* where *position* is; called for each incarnation, before ``on_start``."""
    stage.__position__ = position
    position.forget_pauses()  # what the last incarnation began, this one can't know of


class Stage(Actor):
    """
    An actor in a pipeline; see `open_pipeline`.

    Frames come from above, in order, and `handles` methods handle them; those that come from below
    are for `handles_up` methods. What has no handler is passed on in the direction in which it came.
    One handler runs at a time, whatever the direction. Frames from below are taken first, and also
    while a handler of a frame from above waits for room in `push`: so neighbours that push at one
    another do not wait for each other.

    A stage is an actor in all else: it can be told and asked, and may own helpers and children.
    """

    __position__: Position | None = None
    __up_routes__: ClassVar[Routes] = Routes({})

    def __init_subclass__(cls, *, concurrency: int = 1, **options: Any) -> None:
        if concurrency != 1:
            raise TypeError(
                f"{cls.__name__} is a stage and handles one frame at a time, as their order is what "
                f"a pipeline keeps; have it ask an actor with concurrency={concurrency}"
            )
        super().__init_subclass__(**options)
        cls.__up_routes__ = Routes.of(cls, _HANDLES_UP)
        for routes in (cls.__routes__, cls.__up_routes__):
            for frame in routes.frames():
                route = routes.find(frame)
                assert route is not None
                own = vars(Stage).get(route.name) is not getattr(cls, route.name)
                if own and issubclass(frame, (Lifecycle, Upstream)):
                    raise TypeError(
                        f"{cls.__name__}.{route.name} can't handle {frame.__name__}, which every "
                        f"stage passes on; write on_started, on_flush, on_end, or @handles_up"
                    )
                if routes is cls.__up_routes__ and route.form is not Form.RETURNING:
                    raise TypeError(
                        f"{cls.__name__}.{route.name} can't handle {frame.__name__} on its way up: "
                        f"control frames reach every stage at once, and a stream has no direction; "
                        f"write @handles"
                    )

    def _place(self, what: str) -> Position:
        if self.__position__ is None:
            raise RuntimeError(
                f"{type(self).__name__}.{what} exists in a pipeline only; "
                f"write open_pipeline(runtime, {type(self).__name__}, ...)"
            )
        return self.__position__

    # -- passing frames on

    async def push(self, frame: Frame) -> None:  # noqa: ASYNC910
        """
        Send *frame* down, to the stage below or out at the sink.

        While it waits, handlers of frames from below may run.

        Raises:
            TypeError: *frame* is a control frame or a request, which no pipeline carries.
            RuntimeError: the pipeline has not started; see `on_started`.
            DeadlockError: there would never be room (R24); nothing was sent. If a handler of frames
                from below that ran meanwhile would never be over, the stage crashes with it instead.
            MailboxFull: by the policy of the next stage's mailbox.
            ActorStopped: the next stage is over, and not to be passed by.

        Cancellation: *frame* was not sent; where branches begin, perhaps to some of them.

        Checkpoint: when it waits, and at least every 64 frames (R12).
        """
        position = self.__position__ or self._place("push")
        if not position.push_shortly(frame):
            check_carried(frame)
            if position.has_ended:
                position.line.drop(position, frame)
            else:
                await position.push(frame)

    async def push_up(self, frame: Frame) -> None:  # noqa: ASYNC910
        """Send *frame* up, to the stage above or out at the source; otherwise as `push`."""
        position = self._place("push_up")
        check_carried(frame)
        await position.push_up(upstream(frame))

    def broadcast(self, frame: ControlFrame) -> None:
        """
        Send a control frame to every stage that handles it, this one too, in one step.

        Raises:
            MailboxFull: a stage has no room for it; none got it.

        Checkpoint: never.
        """
        self._place("broadcast").line.broadcast(frame)

    def interrupt_pipeline(self, reason: str = "interrupted") -> None:
        """
        Interrupt the whole pipeline, in one step; the handler that calls this goes on.

        Everything else is as for `Pipeline.interrupt`.

        Checkpoint: never.
        """
        position = self._place("interrupt_pipeline")
        slots = position.cell.slots if position.cell is not None else ()
        within = [s for s in slots if s is s.shared.occupant(trio.lowlevel.current_task())]
        position.line.interrupt(reason, spare=next(iter(within), None))

    # -- pausing

    def pause(self) -> None:
        """
        Start no further frame, of either direction, until `resume`; control frames are handled.

        What comes stays in the mailbox, and whoever sends waits for room. The pause is over with the
        incarnation.

        Checkpoint: never.
        """
        self._place("pause").pause()

    def resume(self) -> None:
        """Go on; a no-op if it was not paused by `pause`. Checkpoint: never."""
        self._place("resume").resume()

    def pause_until(self, ready: Callable[[], Awaitable[object]], *, most: float) -> None:
        """
        Pause until *ready* returns, at most *most* seconds; `resume` does not end that.

        Args:
            ready: For example ``event.wait``; cancelled when the time is over.
            most: Seconds, >= 0; ``math.inf`` for as long as it takes.

        Checkpoint: never.
        """
        if not most >= 0:
            raise ValueError(f"most must be seconds >= 0 or math.inf, not {most!r}")
        position = self._place("pause_until")
        by = object()
        position.pause(by)
        self.nursery.start_soon(_resume_after, position, by, ready, most)

    # -- hooks

    async def on_started(self) -> None:
        """Push first frames: every stage has started. Runs stage by stage, downwards."""

    async def on_flush(self) -> None:
        """Push what is kept back: everything that was sent before the flush has been handled."""

    async def on_end(self) -> None:
        """
        Push last frames: nothing more will come from above.

        What is pushed down later is a dead letter. Frames from below still come.
        """

    # -- what every stage does

    @handles
    async def _pass_down(self, frame: Frame) -> None:
        position = self.__position__ or self._place("push")
        if position.push_shortly(frame):
            return  # noqa: ASYNC910 - as `push`
        if isinstance(frame, Request):
            name = type(cast("Frame", frame)).__name__
            raise Refused(f"{self.ref!r} has no handler for {name}")
        await self.push(frame)

    @handles
    async def _pass_up(self, frame: Upstream) -> None:
        position = self._place("push_up")
        content = frame.frame
        position.owed_up.take(frame)
        route = self.__up_routes__.find(type(content))
        if route is not None and not isinstance(content, Lifecycle):
            await getattr(self, route.name)(content)
            return
        await position.push_up(frame)

    @handles
    async def _pass_lifecycle(self, frame: Lifecycle) -> None:
        position = self._place("push")
        position.owed_down.take(frame)
        failure: Exception | None = None
        try:
            match frame:
                case PipelineStarted():
                    await self.on_started()
                case Flush(leg=1):
                    await self.on_flush()
                case End():
                    await self.on_end()
                case _:
                    pass
        except Exception as exc:
            failure = exc
        if isinstance(frame, End):
            position.has_ended = True
            position.below = None  # what is pushed from now on is dropped
        await position.push(frame)  # also where the hook failed: the frame is not its own
        if failure is not None:
            raise failure

    @handles
    def _ignore(self, frame: ControlFrame) -> None:
        """Do nothing about a control frame that is for other stages."""

    @handles
    def _answer(self, frame: Heartbeat) -> None:
        position = self._place("push")
        position.beat = frame.number
        position.beats += 1


async def _resume_after(
    position: Position, by: object, ready: Callable[[], Awaitable[object]], most: float
) -> None:
    try:
        with trio.move_on_after(most):
            await ready()
        await trio.lowlevel.checkpoint()
    finally:
        position.resume(by)
