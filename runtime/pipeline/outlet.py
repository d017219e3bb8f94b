"""The ends of a pipeline: what leaves it, and those who read that."""

from collections.abc import Callable
from typing import Generic, Self, TypeVar, cast

import trio

from greenroom.runtime.frames import Frame
from greenroom.runtime.pipeline.frames import Lifecycle, PipelineInterrupted, Upstream
from greenroom.runtime.topic import LagPolicy, Subscription, Topic

__all__ = ["Outlet", "Tap"]

FrameT_co = TypeVar("FrameT_co", bound=Frame, covariant=True)

# A frame, and which it was of those that came out.
_Numbered = tuple[int, Frame]


class Arrival:
    """
    A lifecycle frame that is to come out at an end.

    Attributes:
        came: It did.
        over: Set when it did, or when it never will.
    """

    __slots__ = ("came", "over")

    def __init__(self) -> None:
        self.came = False
        self.over = trio.Event()


class Outlet:
    """
    One end, as a link that the last stage puts frames into.

    Frames that nobody reads are gone; those that a tap is to have are waited for, if it says so.

    Attributes:
        count: How many frames came out, lifecycle frames left out.
    """

    def __init__(self, name: str, is_stale: Callable[[Frame], bool]) -> None:
        self.count = 0
        self._is_stale = is_stale  # tells of a frame that an interrupt takes, and reports it
        self._topic: Topic[_Numbered] = Topic(name)
        self._taps: dict[Tap[Frame], None] = {}
        self._expected: dict[Lifecycle, Arrival] = {}  # made by `expect`, removed by `forget`

    async def put(self, frame: Frame) -> None:  # noqa: ASYNC910 - as any link
        """Let *frame* out."""
        content = frame.frame if isinstance(frame, Upstream) else frame
        if isinstance(content, Lifecycle):
            if (arrival := self._expected.get(content)) is not None:
                arrival.came = True
                arrival.over.set()
        elif not self._is_stale(content):
            self.count += 1
            if self._taps:
                await self._topic.hand_out((self.count, content))

    def expect(self, frame: Lifecycle) -> Arrival:
        """Look out for *frame*, until `forget`."""
        return self._expected.setdefault(frame, Arrival())

    def expects(self, frame: Frame) -> bool:
        """Tell whether somebody waits for *frame* to come out."""
        return frame in self._expected

    def forget(self, frame: Lifecycle) -> None:
        """Expect *frame* no more."""
        self._expected.pop(frame, None)

    def open_tap(
        self, kinds: tuple[type[FrameT_co], ...], buffer: int, lag: LagPolicy
    ) -> "Tap[FrameT_co]":
        """
        Let frames of these *kinds* out into a buffer from now on.

        Raises:
            TypeError: one of them is no frame class.
        """
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Frame)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"a tap is for frame classes, not {kind!r}; write sink(MyFrame)")

        def accepts(numbered: _Numbered) -> bool:
            return isinstance(numbered[1], kinds)

        subscription = self._topic.subscribe(buffer=buffer, lag=lag, accepts=accepts)
        tap = Tap[FrameT_co](self, subscription, kinds)
        self._taps[cast("Tap[Frame]", tap)] = None
        return tap

    def close_tap(self, tap: "Tap[Frame]") -> None:
        """Give *tap* nothing more."""
        self._taps.pop(tap, None)

    def interrupt(self, notice: PipelineInterrupted) -> None:
        """Have every tap skip what is not read yet, and read *notice* next (R2, R12)."""
        for tap in tuple(self._taps):
            tap.interrupt(notice, self.count)

    def close(self) -> None:
        """Let readers have what is there, and then the end; nothing more comes out."""
        self._topic.close()
        for arrival in self._expected.values():
            arrival.over.set()


class Tap(Generic[FrameT_co]):
    """
    The frames that leave a pipeline at one end: ``with pipeline.sink(Text) as texts``, and then
    ``async for text in texts``.

    Attributes:
        skipped: How many frames an interrupt took that had not been read.
    """

    def __init__(
        self,
        outlet: Outlet,
        subscription: Subscription[_Numbered],
        kinds: tuple[type[FrameT_co], ...],
    ) -> None:
        self.skipped = 0
        self._outlet = outlet
        self._subscription = subscription
        self._wants_notices = issubclass(PipelineInterrupted, kinds)
        self._skip_through = 0  # interruptible frames up to this number are skipped
        self._notice: PipelineInterrupted | None = None  # to be read before all else

    @property
    def dropped(self) -> int:
        """How many frames it missed by its policy."""
        return self._subscription.dropped

    def interrupt(self, notice: PipelineInterrupted, count: int) -> None:
        """Skip the interruptible frames that came out so far; see `Outlet.interrupt`."""
        self._skip_through = count
        if not self._wants_notices:
            return
        if self._subscription.is_waiting:
            self._subscription.give((count, notice))
        else:
            self._notice = notice  # only the last one tells anything new

    def close(self) -> None:
        """Read no more. Idempotent. Checkpoint: never."""
        self._outlet.close_tap(cast("Tap[Frame]", self))
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FrameT_co:
        """
        Return the next frame.

        Raises:
            StopAsyncIteration: the pipeline is over, and all was read.
            Lagged: the policy is ``leave``, and it was too far behind.

        Cancellation: no frame is lost.

        Checkpoint: always.
        """
        while True:
            if self._notice is not None:
                await trio.lowlevel.checkpoint()
                notice = self._take_notice()
                if notice is not None:
                    return cast("FrameT_co", notice)
                continue  # another task has read it
            number, frame = await self._subscription.__anext__()
            if number > self._skip_through or frame.uninterruptible:
                return cast("FrameT_co", frame)
            self.skipped += 1

    def _take_notice(self) -> PipelineInterrupted | None:
        notice, self._notice = self._notice, None
        return notice
