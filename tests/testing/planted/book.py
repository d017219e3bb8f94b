"""What a user of the kit would keep of a run, to say what has to hold at its end."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

from greenroom.runtime import Frame, ReplyStream
from greenroom.runtime.testing import World
from tests.testing.planted.frames import Ended, Result

FrameT = TypeVar("FrameT", bound=Frame)


class Noted(Generic[FrameT]):
    """A stream whose frames are noted when they are taken."""

    def __init__(self, stream: ReplyStream[FrameT], taken: list[Frame]) -> None:
        self._stream = stream
        self._taken = taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FrameT:
        frame = await anext(self._stream)
        self._taken.append(frame)
        return frame


class Book:
    """Counts what begins and what ends, in the doubles and in the actors."""

    def __init__(self) -> None:
        self.responses = 0  # how many handlers began one
        self.taken: list[Frame] = []  # by the desk, of responses and results
        self.streams: list[ReplyStream[Any]] = []  # which it took them from
        self.calls: Counter[str] = Counter()
        self.blamed: Counter[str] = Counter()  # tools that were too slow, by their own fault
        self.ran: Counter[str] = Counter()  # tools that were really begun
        self.audit: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()  # audits that could not be written
        self.spans: list[str] = []  # the open ones
        self.history: list[tuple[str, str]] = []
        self.late_signs = 0  # "... is typing", of a turn that is over
        self.feeds = 0  # open ones
        self.usage = 0
        self.billed = 0
        self.index_locks = 0
        self.files = 0  # open ones
        self.over: list[str] = []  # the turns that are

    def noted(self, stream: ReplyStream[FrameT]) -> "Noted[FrameT]":
        """Iterate over *stream*, and note what is taken from it."""
        self.streams.append(stream)
        return Noted(stream, self.taken)

    def frames(self) -> list[Frame]:
        """Return all that came to the desk, taken or not."""
        return [*self.taken, *(frame for stream in self.streams for frame in stream.untaken)]

    @property
    def ends(self) -> int:
        return sum(isinstance(frame, Ended) for frame in self.frames())

    @property
    def results(self) -> Counter[str]:
        return Counter(frame.name for frame in self.frames() if isinstance(frame, Result))

    @contextmanager
    def span(self, name: str) -> Generator[None]:
        """Record how long something lasts."""
        self.spans.append(name)
        try:
            yield
        finally:
            self.spans.remove(name)

    def watch(self, w: World) -> None:
        """Say to the kit what has to hold at the end of the run."""
        w.own("each response's end", lambda: self.ends == self.responses)
        w.own("each call's result", lambda: self.results == self.calls)
        w.own("each call's audit", lambda: self.audit + self.alarms == self.ran)
        w.own("the blame of tools", lambda: self.blamed <= self.ran)
        w.own("the spans", lambda: not self.spans)
        w.own("the history", self._is_whole)
        w.own("the screen", lambda: not self.late_signs)
        w.own("the feed", lambda: not self.feeds)
        w.own("the file", lambda: not self.files)

    def _is_whole(self) -> bool:
        roles = [role for role, _ in self.history]
        return roles == ["user", "assistant"] * (len(roles) // 2)
