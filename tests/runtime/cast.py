"""The frames and actors that the runtime's tests share."""

from collections.abc import Callable
from typing import Any

import trio

from greenroom.runtime import (
    Actor,
    ControlFrame,
    DeadLetter,
    Emit,
    Event,
    Frame,
    FrameSent,
    HandlerEnded,
    HandlerStarted,
    Interrupted,
    Ref,
    Refused,
    Request,
    StreamRequest,
    frame,
    handles,
)


@frame
class Note(Frame):
    """A data frame."""

    text: str = ""


@frame
class Pinned(Frame):
    """A data frame that no interrupt touches."""

    uninterruptible = True
    text: str = ""


@frame
class Number(Frame):
    """What a stream consists of."""

    n: int


@frame
class Echo(Request[str]):
    """Asks for its own text, after some seconds."""

    text: str = ""
    seconds: float = 0


@frame
class Do(Request[Any]):
    """Asks the actor to run a function of the test."""

    what: Callable[..., Any]


@frame
class Count(StreamRequest[Number]):
    """Asks for the numbers below *limit*."""

    limit: int = 0


@frame
class Play(StreamRequest[Number]):
    """Asks the actor to stream what a function of the test emits."""

    what: Callable[..., Any]


@frame
class Nudge(ControlFrame):
    """A control frame."""

    text: str = ""


@frame
class Unknown(Request[str]):
    """A request that nobody handles."""


class Stagehand(Actor):
    """Does what it is asked to, and notes what it did in *log*."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log: list[str] = [] if log is None else log

    @handles
    async def note(self, frame: Note | Pinned) -> None:
        self.log.append(frame.text)

    @handles
    async def echo(self, request: Echo) -> str:
        self.log.append(f"echo {request.text}")
        await trio.sleep(request.seconds)
        return request.text

    @handles
    async def do(self, request: Do) -> Any:
        return await request.what(self)

    @handles
    async def count(self, request: Count, emit: Emit[Number]) -> None:
        for n in range(request.limit):
            await emit(Number(n))

    @handles
    async def play(self, request: Play, emit: Emit[Number]) -> None:
        await request.what(self, emit)

    async def on_interrupt(self) -> None:
        self.log.append("on_interrupt")

    async def on_stop(self) -> None:
        self.log.append("on_stop")


class Pair(Stagehand, concurrency=2):
    """The same in two slots."""


class Trio(Stagehand, concurrency=3):
    """The same in three slots."""


class Steered(Stagehand):
    """The same with a control lane."""

    @handles
    def nudge(self, frame: Nudge) -> None:
        self.log.append(f"nudge {frame.text}")
        if frame.text == "crash":
            raise ValueError("the control handler crashed")


class Ledger:
    """An observer that keeps every event, and counts the frames."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def check(self, *, tombstones: int = 0) -> None:
        """
        Assert that every start had its one end, and that every frame sent is accounted for.

        A dead letter for a frame that was handled tells of an outcome that nobody read.
        """
        started = [(e.actor, e.number) for e in self.of(HandlerStarted)]
        ended = [(e.actor, e.number) for e in self.of(HandlerEnded)]
        sent = [(e.actor, e.number) for e in self.of(FrameSent)]
        dead = [(e.actor, e.number) for e in self.of(DeadLetter)]
        handled = set(started)

        assert sorted(started) == sorted(ended)
        assert len(handled) == len(started)
        assert len(set(sent)) == len(sent)
        lost = set(sent) - handled - set(dead)
        assert len(lost) <= tombstones, lost


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def refuse(_: Actor) -> None:
    raise Refused("no")


async def crash(_: Actor) -> None:
    raise ValueError("boom")


async def hang(_: Actor, *__: object) -> None:
    await trio.sleep_forever()


def after(seconds: float, value: object = None) -> Callable[..., Any]:
    """Return a handler that takes *seconds* and returns *value*."""

    async def run(_: Actor, *__: object) -> object:
        await trio.sleep(seconds)
        return value

    return run


def stubborn(seconds: float, value: object = None) -> Callable[..., Any]:
    """Return a handler that hangs, and once cancelled needs *seconds* to clean up."""

    async def run(_: Actor, *__: object) -> object:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
        return value

    return run


async def outcome_of(ref: Ref, request: Request[Any], into: list[object]) -> None:
    """Ask, and put the one outcome into *into*: the reply, or the error, or ``"cancelled"``."""
    try:
        into.append(await ref.ask(request))
    except trio.Cancelled:
        into.append("cancelled")
        raise
    except Interrupted as error:
        into.append(f"interrupted: {error.reason}")
    except Exception as error:
        into.append(type(error).__name__)
