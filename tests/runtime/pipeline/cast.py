"""The frames and stages that the tests of pipelines share."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from greenroom.runtime import ControlFrame, Frame, frame, handles
from greenroom.runtime.pipeline import Stage, handles_up


@frame
class Text(Frame):
    """A data frame."""

    text: str


@frame
class Pinned(Frame):
    """A data frame that no interrupt touches."""

    uninterruptible = True
    text: str = ""


@frame
class Slow(Frame):
    """A data frame that takes a while."""

    seconds: float
    text: str = ""


@frame
class PinnedSlow(Slow):
    """The same, and no interrupt touches it."""

    uninterruptible = True


@frame
class Problem(Frame):
    """What goes up."""

    text: str


@frame
class Do(Frame):
    """Has the first stage that handles it run a function of the test."""

    what: Callable[[Any], Awaitable[object]]


@frame
class Steer(ControlFrame):
    """A control frame."""

    text: str = ""


class Pass(Stage):
    """Passes on what comes."""


class Work(Stage):
    """Takes its time over slow frames, does what it is told, and notes what it did in *log*."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log: list[str] = [] if log is None else log

    @handles
    async def text(self, frame: Text) -> None:
        self.log.append(frame.text)
        await self.push(frame)

    @handles
    async def slow(self, frame: Slow) -> None:
        self.log.append(f"slow {frame.text}")
        await trio.sleep(frame.seconds)
        await self.push(Text(frame.text))

    @handles
    async def do(self, frame: Do) -> None:
        await frame.what(self)

    @handles_up
    async def problem(self, frame: Problem) -> None:
        self.log.append(f"up {frame.text}")
        await self.push_up(frame)

    @handles
    def steer(self, frame: Steer) -> None:
        self.log.append(f"steer {frame.text}")

    async def on_start(self) -> None:
        self.log.append("on_start")

    async def on_started(self) -> None:
        self.log.append("on_started")

    async def on_flush(self) -> None:
        self.log.append("on_flush")

    async def on_end(self) -> None:
        self.log.append("on_end")

    async def on_interrupt(self) -> None:
        self.log.append("on_interrupt")

    async def on_stop(self) -> None:
        self.log.append("on_stop")


def told(text: str) -> Do:
    """Return a frame at which a stage pushes *text*, and then says so upwards."""

    async def what(stage: Stage) -> None:
        await stage.push(Text(text))
        await stage.push_up(Problem(text))

    return Do(what)


def nap(seconds: float) -> Callable[[Any], Awaitable[object]]:
    """Return what makes a stage take *seconds*."""

    async def what(_: Stage) -> None:
        await trio.sleep(seconds)

    return what


async def crash(_: Stage) -> None:
    raise ValueError("boom")
