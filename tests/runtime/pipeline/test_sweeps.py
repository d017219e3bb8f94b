"""Pipelines cancelled, interrupted and ended at every step; and under seeds."""

import contextlib
import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import (
    ActorStopped,
    ChildSpec,
    Event,
    Frame,
    HandlerEnded,
    HandlerStarted,
    MailboxFull,
    Supervision,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import (
    Branches,
    Part,
    Pipeline,
    PipelineInterrupted,
    PipelineStalled,
    Stage,
    handles_up,
    open_pipeline,
)
from greenroom.runtime.pipeline.junction import Junction
from greenroom.runtime.testing import EventLog, FaultKind, World, run_seeded, sweep
from tests.conftest import TORTURE
from tests.runtime.pipeline.cast import Pass, Pinned, Problem, Steer, Text


class Echo(Stage):
    """Takes a moment, pushes on, and answers upwards."""

    @handles
    async def text(self, frame: Text) -> None:
        await trio.sleep(0.5)
        await self.push(Text(frame.text + "."))
        await self.push_up(Problem(frame.text))

    @handles_up
    async def problem(self, frame: Problem) -> None:
        await trio.lowlevel.checkpoint()
        await self.push_up(frame)


PARTS: dict[str, tuple[Part, ...]] = {
    "a chain": (Echo, Pass, Echo),
    "branches": (Pass, Branches([Echo], [Pass, Echo], []), Echo),
    "nested branches": (Branches([Echo], [Branches([Pass], [Echo])]), Pass),
}
FLOORS = {"a chain": 125, "branches": 250, "nested branches": 165}  # runs
FLOORS_OF_INTERRUPTION = {"a chain": 52, "branches": 140, "nested branches": 64}


def balance_of(events: Sequence[Event]) -> Counter[tuple[str, int]]:
    """Return which handlers have started more often than they have ended."""
    started = Counter((e.actor, e.number) for e in events if isinstance(e, HandlerStarted))
    started.subtract(Counter((e.actor, e.number) for e in events if isinstance(e, HandlerEnded)))
    return +started


async def read_all(tap: Any, into: list[Frame]) -> None:
    with tap:
        async for frame in tap:
            into.append(frame)  # noqa: PERF401 - as it comes


@pytest.mark.parametrize("name", PARTS)
def test_a_pipeline_cancelled_at_any_step_leaves_nothing(name: str) -> None:
    """I1, I3, I4: whatever was under way, no actor is left, and every frame is accounted for."""

    async def scenario(w: World) -> None:
        out: list[Frame] = []
        async with open_runtime(observers=[w.history]) as runtime:
            with w.scope("cut"):
                async with (
                    open_pipeline(runtime, *PARTS[name], capacity=2) as pipeline,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(read_all, pipeline.sink(), out)
                    nursery.start_soon(read_all, pipeline.source(Problem, buffer=1), out)
                    for n in range(3):
                        await pipeline.send(Text(str(n)))
                    await pipeline.flush()
                    pipeline.stop()
            assert runtime.living() == ()
            assert runtime.accounts().pending == 0
        assert balance_of(w.history.events) == Counter()

    faults: list[FaultKind] = ["cancel", "interrupt"] if TORTURE else ["cancel"]
    report = sweep(scenario, faults=faults, targets=["cut"]).check()
    print(f"sweep pipeline: {name}: {report.summary()}")
    assert report.runs >= FLOORS[name]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("order", ["", "random 1; batch"], ids=["as it comes", "another order"])
def test_an_interruption_at_any_step_takes_all_that_was_before_it(name: str, order: str) -> None:
    """Nothing from before it comes out after its notice, and the next turn is whole (R21)."""

    async def scenario(w: World) -> None:
        seen: list[Frame] = []
        interrupted: list[bool] = []
        async with (
            open_runtime(observers=[w.history]) as runtime,
            open_pipeline(runtime, *PARTS[name], capacity=2) as pipeline,
            trio.open_nursery() as nursery,
        ):

            def interrupt() -> None:
                interrupted.append(True)
                pipeline.interrupt()

            nursery.start_soon(read_all, pipeline.sink(), seen)
            with w.action("interrupt", interrupt):
                for n in range(3):
                    await pipeline.send(Text(f"old {n}"))
                await pipeline.send(Pinned("pin"))
                await pipeline.flush()
            if not interrupted:
                interrupt()
            await pipeline.send(Text("new"))
            await pipeline.flush()
            pipeline.stop()
        notice = seen.index(PipelineInterrupted("interrupted"))
        # a sender that goes on after the interruption sends into the new turn
        after = [f for f in seen[notice + 1 :] if isinstance(f, Text)]
        numbers = [int(f.text[4]) for f in after if f.text.startswith("old")]
        before = [int(f.text[4]) for f in seen[:notice] if isinstance(f, Text)]
        assert not set(numbers) & set(before), seen
        assert any(f.text.startswith("new") for f in after)
        assert seen.count(Pinned("pin")) == 1

    stride = 3 if order and not TORTURE else 1
    report = sweep(scenario, faults=["call"], order=order, stride=stride).check()
    print(f"sweep interrupt of pipeline {name}: {report.summary()}")

    assert report.runs >= FLOORS_OF_INTERRUPTION[name] // stride


@given(
    seed=st.integers(0, 2**32),
    capacity=st.integers(1, 4),
    count=st.integers(0, 20),
    name=st.sampled_from(sorted(PARTS)),
)
def test_nothing_is_lost_or_doubled_on_any_schedule(
    seed: int, capacity: int, count: int, name: str
) -> None:
    """Each text comes out of each way through the pipeline once, in order (I2)."""
    down: list[Frame] = []

    async def main() -> None:
        async with (
            open_runtime(drain_grace=math.inf) as runtime,
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *PARTS[name], capacity=capacity) as pipeline,
        ):
            nursery.start_soon(read_all, pipeline.sink(Text, buffer=1), down)
            for n in range(count):
                await pipeline.send(Text(str(n)))

    run_seeded(main, seed=seed)
    texts = [frame.text for frame in down if isinstance(frame, Text)]
    ways = {
        "a chain": [".."],
        "branches": ["..", "..", "."],
        "nested branches": [".", "", "."],
    }[name]
    assert Counter(texts) == Counter(f"{n}{way}" for n in range(count) for way in ways)
    for way in set(ways):
        numbers = [int(text.rstrip(".")) for text in texts if text == text.rstrip(".") + way]
        if ways.count(way) == 1:
            assert numbers == sorted(numbers)


def test_the_same_seed_gives_the_same_log() -> None:
    """I11 holds for pipelines."""

    def once(seed: int) -> bytes:
        log = EventLog()

        async def main() -> None:
            async with (
                open_runtime(observers=[log], seed=seed) as runtime,
                open_pipeline(runtime, *PARTS["branches"], heartbeat=1) as pipeline,
            ):
                await pipeline.send_all(Text(str(n)) for n in range(5))
                await trio.sleep(0.7)
                pipeline.interrupt()
                await pipeline.send(Text("x"))

        run_seeded(main, seed=seed)
        return bytes(log)

    logs = [once(seed) for seed in (1, 1, 2, 2)]

    assert logs[0] == logs[1]
    assert logs[2] == logs[3]


def test_what_is_known_of_branches_does_not_grow() -> None:
    """A branch that swallows everything leaves nothing behind (no growing sets)."""
    junctions: list[Junction] = []
    make = Junction.__init__

    def noted(self: Junction, name: int, branches: int) -> None:
        make(self, name, branches)
        junctions.append(self)

    class Grave(Stage):
        @handles
        async def text(self, frame: Text) -> None: ...

    async def main() -> None:
        async with (
            open_runtime() as runtime,
            open_pipeline(runtime, Branches([Grave], [Pass]), Pass, capacity=8) as pipeline,
        ):
            for n in range(20):
                await pipeline.send_all(Text(str(m)) for m in range(n * 200, n * 200 + 200))
                assert max(map(len, junctions)) <= 64 + 8 + 64

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Junction, "__init__", noted)
        run_seeded(main, seed=1)
    assert len(junctions) == 2


class Fragile(Echo):
    """The same, and crashes when it is told to."""

    @handles
    def steer(self, frame: Steer) -> None:
        raise ValueError(frame.text)


def crash_of(restart: Any) -> tuple[Part, ...]:
    fragile = ChildSpec(Fragile, capacity=2, restart=restart)
    return (Pass, fragile, Branches([Echo], [fragile, Pass]), Echo)


def break_one(pipeline: Pipeline) -> None:
    with contextlib.suppress(ActorStopped, MailboxFull):
        pipeline.stages[1].tell_nowait(Steer("now"))


def break_all(pipeline: Pipeline) -> None:
    with contextlib.suppress(ActorStopped, MailboxFull):
        pipeline.broadcast(Steer("now"))


def stop_and_interrupt(pipeline: Pipeline) -> None:
    pipeline.stop()
    pipeline.interrupt()


def interrupt_and_break(pipeline: Pipeline) -> None:
    pipeline.interrupt()
    break_one(pipeline)


def stop_and_break(pipeline: Pipeline) -> None:
    break_all(pipeline)
    pipeline.stop()


def stop_a_stage(pipeline: Pipeline) -> None:
    pipeline.stages[1].stop()


ACTIONS = {
    "a crash and a restart": (break_one, "permanent"),
    "several crashes and restarts": (break_all, "transient"),
    "optional stages that crash": (break_all, "temporary"),
    "an optional stage that is stopped": (stop_a_stage, "temporary"),
    "an end and an interruption": (stop_and_interrupt, "permanent"),
    "a crash and an interruption": (interrupt_and_break, "transient"),
    "an end and crashes": (stop_and_break, "permanent"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_whatever_happens_at_any_step_flush_and_end_are_bounded(name: str) -> None:
    """I4: while frames run, a flush is under way, or the end is; nothing is left, nothing hangs."""
    act, restart = ACTIONS[name]

    async def scenario(w: World) -> None:
        seen: list[Frame] = []
        async with open_runtime(observers=[w.history], drain_grace=5, cleanup_grace=5) as runtime:
            with contextlib.ExitStack() as stack:
                async with (
                    trio.open_nursery() as nursery,
                    open_pipeline(
                        runtime,
                        *crash_of(restart),
                        capacity=2,
                        flush_grace=3,
                        supervision=Supervision(restarts=5),
                    ) as pipeline,
                ):
                    stack.enter_context(w.action("act", functools.partial(act, pipeline)))
                    nursery.start_soon(read_all, pipeline.sink(), seen)
                    nursery.start_soon(read_all, pipeline.source(Problem, buffer=1), seen)
                    with contextlib.suppress(ActorStopped, PipelineStalled):
                        for n in range(3):
                            await pipeline.send(Text(str(n)))
                        await pipeline.flush()
                        await pipeline.send(Text("last"))
                    ended = trio.current_time()
            assert trio.current_time() <= ended + 5
            assert trio.current_time() <= 30
            assert runtime.living() == ()
            accounts = runtime.accounts()
            assert accounts.pending == 0
        texts = Counter(id(frame) for frame in seen if isinstance(frame, Text))
        assert not texts or max(texts.values()) == 1

    for order, stride, floor in (("", 11, 27), ("random 1; batch", 29, 11)):
        report = sweep(
            scenario, faults=["call"], order=order, stride=1 if TORTURE else stride
        ).check()
        print(f"sweep {name}: {report.summary()}")
        assert report.positions >= 320
        assert report.runs >= floor
