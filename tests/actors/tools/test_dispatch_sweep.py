"""
A dispatch cut off at every position: exactly one result for each call (I3), nothing left (I4).

Two async tools and one in a thread, which the kit has in virtual time, run in parallel or in turn.
"""

import contextlib

import pytest
import trio

from greenroom.actors.llm import ToolCall
from greenroom.actors.tools import Dispatch, Dispatcher, DispatchFrame, ToolResult, tool
from greenroom.runtime import HandlerStarted, Ref, ReplyStream, RequestError
from greenroom.runtime.testing import World, sweep

CALLS = (
    ToolCall("a", "nap", '{"seconds": 1}'),
    ToolCall("b", "nap", '{"seconds": 2}'),
    ToolCall("c", "plain"),
    ToolCall("d", "zzz"),
)
IDS = ["a", "b", "c", "d"]
FLOOR = 60  # runs of a sweep; with fewer it no longer does what it says
running = 0  # functions that are inside; changed by the tools


@tool
async def nap(seconds: float) -> str:
    """Sleep, and take a step to clean up."""
    global running
    running += 1
    try:
        await trio.sleep(seconds)
        return "slept"
    finally:
        running -= 1


@tool
def plain() -> int:
    """Work in a thread."""
    global running
    running += 1  # nobody else is in a thread
    running -= 1
    return 0


class Turn:
    """One dispatch, by an asker that may be slow, and what the asker took of it."""

    def __init__(self, w: World, *, parallel: bool, pause: float) -> None:
        self.request = Dispatch(CALLS, parallel=parallel)
        self.pause = pause  # seconds that the asker takes for each frame
        self.taken: list[DispatchFrame] = []
        self.stream: ReplyStream[DispatchFrame] | None = None  # set once it is open
        self.history = w.history
        w.own("the turn", self.is_whole)

    async def run(self, ref: Ref) -> None:
        async with ref.stream(self.request, buffer=1) as stream:
            self.stream = stream
            async for frame in stream:
                self.taken.append(frame)
                await trio.sleep(self.pause)

    def is_whole(self) -> bool:
        """Tell whether what holds wherever it was cut off does."""
        closing = self.stream.closing if self.stream is not None else ()
        frames = [*self.taken, *closing]
        ended = [frame.call_id for frame in frames if isinstance(frame, ToolResult)]
        began = any(event.frame is self.request for event in self.history.of(HandlerStarted))
        return (
            sorted(ended) == (IDS if began else [])
            and len(set(frames)) == len(frames)
            and running == 0
        )


KINDS = pytest.mark.parametrize(
    ("parallel", "pause"),
    [(True, 0), (True, 1), (False, 0)],
    ids=["parallel", "slow asker", "in turn"],
)


@KINDS
def test_cancelled_or_failing_at_every_position(*, parallel: bool, pause: float) -> None:
    """The asker or everything cancelled, a tool or the asker failing: one result for each call."""

    async def scenario(w: World) -> None:
        turn = Turn(w, parallel=parallel, pause=pause)
        ref = await w.runtime.spawn(Dispatcher, [nap, plain])
        with w.scope("turn"):
            await turn.run(ref)
        assert turn.is_whole()  # at once, and not after a while

    report = sweep(scenario).check()
    print(f"sweep dispatch: {report.summary()}")
    assert report.runs >= FLOOR


@KINDS
def test_broken_off_at_every_position(*, parallel: bool, pause: float) -> None:
    """Interrupted, stopped or left between any two steps: one result for each call, none twice."""

    async def scenario(w: World) -> None:
        turn = Turn(w, parallel=parallel, pause=pause)
        ref = await w.runtime.spawn(Dispatcher, [nap, plain])
        with (
            w.action("interrupt", lambda: ref.interrupt("a newer message")),
            w.action("stop", ref.stop),
            contextlib.suppress(RequestError),
        ):
            await turn.run(ref)
        assert turn.is_whole()

    report = sweep(scenario, faults=["call"]).check()
    print(f"sweep interrupt and stop of dispatch: {report.summary()}")
    assert report.runs >= FLOOR
