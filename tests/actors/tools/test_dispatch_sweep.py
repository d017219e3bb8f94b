"""
A dispatch cut off at every point there is: exactly one result for each call (I3), nothing left (I4).

Two async tools and one in a thread run in parallel. Scheduling is left to chance, and so is when
the thread is done, which differs from run to run; the cleanup bound is infinite, since virtual
time would jump to any other while the thread works.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import pytest
import trio
import trio.testing

from greenroom.actors.llm import ToolCall
from greenroom.actors.tools import Dispatch, Dispatcher, DispatchFrame, ToolResult, tool
from greenroom.runtime import (
    Event,
    HandlerStarted,
    Ref,
    ReplyStream,
    RequestError,
    Runtime,
    open_runtime,
)
from tests.sweep import Cut, sweep

CALLS = (
    ToolCall("a", "nap", '{"seconds": 1}'),
    ToolCall("b", "nap", '{"seconds": 2}'),
    ToolCall("c", "plain"),
    ToolCall("d", "zzz"),
)
IDS = ["a", "b", "c", "d"]
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

    def __init__(self, *, parallel: bool, pause: float) -> None:
        self.request = Dispatch(CALLS, parallel=parallel)
        self.pause = pause  # seconds that the asker takes for each frame
        self.taken: list[DispatchFrame] = []
        self.stream: ReplyStream[DispatchFrame] | None = None  # set once it is open
        self.began = False  # the handler did

    def observe(self, event: Event) -> None:
        self.began = self.began or (
            isinstance(event, HandlerStarted) and event.frame is self.request
        )

    def open_runtime(self) -> AbstractAsyncContextManager[Runtime]:
        return open_runtime(observers=[self.observe], cleanup_grace=math.inf)

    async def run(self, ref: Ref) -> None:
        async with ref.stream(self.request, buffer=1) as stream:
            self.stream = stream
            async for frame in stream:
                self.taken.append(frame)
                await trio.sleep(self.pause)

    def check(self) -> None:
        """Assert what holds wherever it was cut off."""
        closing = self.stream.closing if self.stream is not None else ()
        frames = [*self.taken, *closing]
        ended = [frame.call_id for frame in frames if isinstance(frame, ToolResult)]

        assert sorted(ended) == (IDS if self.began else [])
        assert len(set(frames)) == len(frames)
        assert running == 0


KINDS = pytest.mark.parametrize(
    ("parallel", "pause"),
    [(True, 0), (True, 1), (False, 0)],
    ids=["parallel", "slow asker", "in turn"],
)


@KINDS
def test_asker_cancelled_at_every_point(*, parallel: bool, pause: float) -> None:
    """Cancelled at any of its own steps, the asker finds one result for each call."""

    async def scenario(cut: Cut) -> None:
        turn = Turn(parallel=parallel, pause=pause)
        async with turn.open_runtime() as runtime:
            ref = await runtime.spawn(Dispatcher, [nap, plain])
            with cut:
                await turn.run(ref)
            turn.check()

    assert sweep(scenario, name="asker") >= 10


@KINDS
def test_everything_cancelled_at_every_point(*, parallel: bool, pause: float) -> None:
    """The whole runtime cancelled at any step of any task leaves one result for each call."""

    async def scenario(cut: Cut) -> None:
        turn = Turn(parallel=parallel, pause=pause)
        with cut:
            async with turn.open_runtime() as runtime:
                ref = await runtime.spawn(Dispatcher, [nap, plain])
                with contextlib.suppress(RequestError):  # the dispatcher may be gone first
                    await turn.run(ref)
        turn.check()

    assert sweep(scenario, name="runtime") >= 30


class At(trio.abc.Instrument):
    """Does something once, at the start or end of the nth step of any task."""

    def __init__(self, point: int) -> None:
        self.point = point
        self.reached = False
        self.act: Callable[[], object] = lambda: None  # set before the block
        self._seen = 0

    def __enter__(self) -> None:
        trio.lowlevel.add_instrument(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step()

    def _step(self) -> None:
        if self._seen == self.point:
            self.reached = True
            self.act()
        self._seen += 1


def at_every_step(scenario: Callable[[At], Awaitable[None]]) -> int:
    """Run *scenario* for each step of any task, and return how many there were."""
    for point in range(5_000):
        at = At(point)
        try:
            trio.run(scenario, at, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"at point {point}")
            raise
        if not at.reached:
            return point
    raise AssertionError("it does not end")


@KINDS
@pytest.mark.parametrize("how", ["interrupt", "stop", "leave"])
def test_broken_off_at_any_step_of_the_dispatcher(
    how: str, *, parallel: bool, pause: float
) -> None:
    """Interrupted, stopped or left between any two steps: one result for each call, none twice."""

    async def scenario(at: At) -> None:
        turn = Turn(parallel=parallel, pause=pause)
        async with turn.open_runtime() as runtime:
            ref = await runtime.spawn(Dispatcher, [nap, plain])
            with trio.CancelScope() as scope:
                acts = {
                    "interrupt": lambda: ref.interrupt("a newer message"),
                    "stop": ref.stop,
                    "leave": lambda: scope.cancel(reason="left"),
                }
                at.act = acts[how]
                with at, contextlib.suppress(RequestError):
                    await turn.run(ref)
            turn.check()

    assert at_every_step(scenario) >= 30
