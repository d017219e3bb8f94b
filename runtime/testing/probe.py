"""`Probe`: an actor that records what it gets and does what the test wrote down: the other side."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.errors import Refused
from greenroom.runtime.frames import Frame, Request, StreamRequest
from greenroom.runtime.routes import handles
from greenroom.runtime.stream import Emit

__all__ = ["Probe", "ProbeCrash"]


class ProbeCrash(Exception):
    """What a `Probe` crashes by where it was told to."""


class Probe(Actor):
    """
    A double for an actor: it takes every frame but a `ControlFrame`.

    The test keeps the probe, spawns it and looks at it::

        probe = Probe(answers=[1, 2])
        ref = await world.runtime.spawn(probe.play)
        assert await ref.ask(Add(1)) == 1
        assert probe.frames == [Add(1)]

    `play` gives the same probe to each incarnation, so that what it recorded outlives a crash. For
    each frame it notes the frame, waits while it is held, crashes if that is due, and answers: a
    `Request` gets the next of *answers*, and the last one for ever; a `StreamRequest` gets the
    members of the next one.

    Args:
        answers: What requests are answered with, in order: a reply, a sequence of frames for a
            stream, or an exception to raise; `Refused` declines. Without any, requests get None
            and streams nothing.
        seconds: How long each frame takes before it is answered, >= 0.
        cleanup: How long a handler that is cancelled goes on, >= 0 seconds.
        crash_on: Frames, or classes of them, that it crashes on.
        crashes: How often at most; by default each time.
        remember: How many of the last frames *frames* keeps, >= 0.

    Attributes:
        frames: The last frames that were taken, in order.
        taken: How many frames were taken, >= 0.
        done: How many of them were handled to their end, >= 0.
        cancelled: How many handlers were cancelled, >= 0.
        interrupts: How often ``on_interrupt`` ran, >= 0.
        starts: How many incarnations began, >= 0.
        stops: How many ended by ``on_stop``, >= 0.
    """

    def __init__(
        self,
        answers: Iterable[object] = (),
        *,
        seconds: float = 0.0,
        cleanup: float = 0.0,
        crash_on: Frame | type[Frame] | Sequence[Frame | type[Frame]] = (),
        crashes: int | None = None,
        remember: int = 1000,
    ) -> None:
        self.frames: deque[Frame] = deque(maxlen=remember)
        self.taken = self.done = self.cancelled = 0
        self.interrupts = self.starts = self.stops = 0
        self._answers = deque(answers)  # at most what was given; keeps its last one
        self._seconds = seconds
        self._cleanup = cleanup
        one = isinstance(crash_on, (Frame, type))
        self._crash_on = (crash_on,) if one else tuple(cast("Sequence[Any]", crash_on))
        self._crashes_left = crashes  # None for any number; counted down by each crash
        self._gate = trio.Event()  # replaced by hold, set by release
        self._gate.set()
        self._running = 0

    def play(self) -> "Probe":
        """Return the probe itself: a factory for ``spawn``, of all its incarnations."""
        return self

    @property
    def running(self) -> int:
        """Handlers that are inside now; 0 when nothing has leaked."""
        return self._running

    def is_idle(self) -> bool:
        """Tell whether no handler is inside: ``world.own("the probe", probe.is_idle)``."""
        return self._running == 0

    def hold(self) -> None:
        """Have it take one more frame, and wait with it until `release`. Checkpoint: never."""
        if self._gate.is_set():
            self._gate = trio.Event()

    def release(self) -> None:
        """Let it go on; a no-op if it is not held. Checkpoint: never."""
        self._gate.set()

    async def on_start(self) -> None:  # noqa: ASYNC124, ASYNC910 - nothing to wait for
        """Count the incarnation."""
        self.starts += 1

    async def on_stop(self) -> None:  # noqa: ASYNC124, ASYNC910
        """Count its end."""
        self.stops += 1

    async def on_interrupt(self) -> None:  # noqa: ASYNC124, ASYNC910
        """Count the interrupt."""
        self.interrupts += 1

    @handles
    async def note(self, frame: Frame) -> None:
        """Take a frame that was told."""
        await self._take(frame)

    @handles
    async def answer(self, request: Request[Any]) -> Any:
        """Take a request, and reply with the next answer."""
        return await self._take(request)

    @handles
    async def stream(self, request: StreamRequest[Frame], emit: Emit[Frame]) -> None:
        """Take a request for a stream, and emit the frames of the next answer."""
        await self._take(request, emit)

    async def _take(self, frame: Frame, emit: Emit[Frame] | None = None) -> object:
        self.frames.append(frame)
        self.taken += 1
        self._running += 1
        try:
            await self._gate.wait()
            await trio.sleep(self._seconds)
            if self._is_due(frame):
                raise ProbeCrash(f"told to crash on {frame!r}")
            answer = self._next(frame)
            if isinstance(answer, Exception):
                raise answer
            if emit is not None:
                for part in cast("Iterable[Frame]", answer or ()):
                    await emit(part)
                answer = None
            self.done += 1
            return answer
        except trio.Cancelled:
            self.cancelled += 1
            if self._cleanup:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self._cleanup)
            raise
        finally:
            self._running -= 1

    def _is_due(self, frame: Frame) -> bool:
        fits = any(
            isinstance(frame, each) if isinstance(each, type) else frame == each
            for each in self._crash_on
        )
        if not fits or self._crashes_left == 0:
            return False
        if self._crashes_left is not None:
            self._crashes_left -= 1
        return True

    def _next(self, frame: Frame) -> object:
        """Return the answer to *frame*; one that was told has none."""
        if not isinstance(frame, (Request, StreamRequest)) or not self._answers:
            return None
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Refused):
            return Refused(*answer.args)  # an exception is raised in one task only
        return answer
