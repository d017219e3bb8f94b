"""Bounded everything, of pipelines: what a lot of traffic leaves behind in them (see `test_soak`)."""

import math
from collections import Counter

import trio
from trio.testing import MockClock

from greenroom.runtime import ChildSpec, Frame, Supervision, handles, open_runtime
from greenroom.runtime.pipeline import Branches, Pipeline, Stage, open_pipeline
from tests.conftest import TORTURE
from tests.runtime.pipeline.cast import Do, Pass, Pinned, Problem, Text, Work, crash
from tests.runtime.test_soak import alive, sizes

REACHED = {
    *("Line.watchers", "Line.failures", "Outlet._taps", "Outlet._expected", "Topic._subscriptions"),
    *("Junction._known", "Junction._waiting", "Junction._entering", "_Fan._gone"),
    *("Position._pauses", "Monitor._stuck_since"),
}
FEW, MANY = (1_000, 100_000) if TORTURE else (100, 5_000)


class Grave(Stage):
    """Swallows what comes down, and answers some of it."""

    @handles
    async def all(self, frame: Frame) -> None:
        if isinstance(frame, Pinned):
            await self.push_up(Problem(frame.text))


class Quiet(Work):
    """The same, without a log that grows."""

    @handles
    async def text(self, frame: Text) -> None:
        await self.push(frame)


def reached(pipeline: Pipeline) -> Counter[str]:
    found = sizes(pipeline)
    # what runs at the moment, and what was ever looked up, is not what is left behind
    return Counter({name: n for name, n in found.items() if name in REACHED})


async def churn(pipeline: Pipeline, few: int, many: int) -> None:
    with pipeline.sink(Text, lag="drop_oldest", buffer=4):
        for n in range(many // 100):
            await pipeline.send_all([Text("x")] * 98 + [Pinned("p"), Text("y")])
            if n % 10 == 0:
                await trio.lowlevel.checkpoint()
    await pipeline.flush()
    for _ in range(few):
        await pipeline.send_all([Text("x"), Text("y")])
        await pipeline.send_up(Problem("z"))
        pipeline.interrupt()
    for _ in range(few // 20):
        await pipeline.send(Do(crash))
        await pipeline.flush()
    for _ in range(few * 10):
        await pipeline.flush()
    with trio.move_on_after(0):
        await pipeline.flush()
    with trio.move_on_after(1):
        await pipeline.wait_idle(2)
    pipeline.pause()
    pipeline.resume()
    await pipeline.flush()


async def test_a_pipeline_holds_after_a_lot_what_it_held_before(autojump_clock: MockClock) -> None:
    """Frames into a branch that swallows them, interruptions, crashes and flushes leave nothing."""
    lossy = ChildSpec(Grave, full="drop_oldest", capacity=2)
    parts = (
        ChildSpec(Quiet, restart="transient"),
        Branches([Grave], [Pass, Branches([lossy], [Pass], [])], []),
        Pass,
    )
    async with (
        open_runtime(drain_grace=math.inf) as runtime,
        open_pipeline(
            runtime, *parts, heartbeat=10, supervision=Supervision(restarts=10**6)
        ) as pipeline,
    ):
        await churn(pipeline, 20, 500)
        await trio.sleep(100)
        before, objects = reached(pipeline), alive()
        await churn(pipeline, FEW, MANY)
        await trio.sleep(100)
        after, left = reached(pipeline), alive()

    assert after.pop("Junction._known") <= 4 * 2 * 64  # of two junctions, in either direction
    grown = {name: (before[name], n) for name, n in after.items() if n > before[name] + 8}
    assert not grown
    del left["_Known"], left["Do"]
    more = {kind: (objects[kind], n) for kind, n in left.items() if n > objects[kind] + 8}
    assert not more
