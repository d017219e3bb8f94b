"""
A pipeline is interrupted in one step, over all its stages and both ends (R2, R12, R20, R21).

The case numbers are those of a reference system, whose behaviour these hold to on the virtual clock.
"""

import functools
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, DeadLetter, Event, Frame, Runtime, handles, open_runtime
from greenroom.runtime.pipeline import (
    Branches,
    Pipeline,
    PipelineInterrupted,
    PipelineStarted,
    Stage,
    open_pipeline,
)
from tests.runtime.pipeline.cast import (
    Do,
    Pass,
    Pinned,
    PinnedSlow,
    Problem,
    Slow,
    Text,
    Work,
    nap,
    told,
)

INTERRUPTED = PipelineInterrupted("interrupted")


async def collect(tap: Any, into: list[Any]) -> None:
    with tap:
        async for frame in tap:
            into.append(frame)  # noqa: PERF401 - as it comes


async def test_two_tasks_that_read_one_tap_have_a_notice_once(autojump_clock: MockClock) -> None:
    """The other goes on to wait."""
    out: list[Any] = []
    async with open_runtime() as runtime, open_pipeline(runtime, Pass) as pipeline:
        with pipeline.sink() as tap:
            pipeline.interrupt()

            async def read() -> None:
                out.append(await anext(tap))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                assert out == [INTERRUPTED]
                await pipeline.send(Text("x"))

    assert out == [INTERRUPTED, Text("x")]


async def test_case_38_only_the_interruption_comes_out(autojump_clock: MockClock) -> None:
    """A frame that takes 0.4 s, interrupted at 0.2 s, is gone."""
    out: list[Frame] = []
    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, Work, Pass) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), out)
        await pipeline.send(Slow(0.4, "slow"))
        await trio.sleep(0.2)
        pipeline.interrupt()
        await trio.sleep(1)

        assert out == [INTERRUPTED]
        await pipeline.send(Text("and it goes on"))
    assert out == [INTERRUPTED, Text("and it goes on")]


async def test_case_39_an_uninterruptible_frame_comes_out_after_it(
    autojump_clock: MockClock,
) -> None:
    """The same frame, marked uninterruptible, is finished."""
    out: list[Frame] = []

    class Keep(Stage):
        @handles
        async def slow(self, frame: PinnedSlow) -> None:
            await trio.sleep(frame.seconds)
            await self.push(Pinned(frame.text))

    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, Keep, Pass) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), out)
        await pipeline.send(PinnedSlow(0.4, "slow"))
        await trio.sleep(0.2)
        pipeline.interrupt()
        await trio.sleep(0.1)
        assert out == [INTERRUPTED]
        await trio.sleep(1)

    assert out == [INTERRUPTED, Pinned("slow")]


async def test_case_40_the_end_survives_and_texts_do_not(autojump_clock: MockClock) -> None:
    """Of [text, End] in the queue, an interruption takes the text; the rest of the way is free."""
    out: list[Frame] = []
    log: list[str] = []
    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), Pass) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), out)
        await pipeline.send_all([Do(nap(10)), Text("before")])
        pipeline.stop()  # sends the End
        await wait_all_tasks_blocked()
        pipeline.interrupt()
        await pipeline.wait_stopped()

        assert trio.current_time() == 0
    assert out == [INTERRUPTED]
    assert log == ["on_start", "on_started", "on_interrupt", "on_end", "on_stop"]


async def test_case_40_so_does_a_flush(autojump_clock: MockClock) -> None:
    """Of [text, Flush, text] in the queue, an interruption takes the texts."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), Pass) as pipeline,
        trio.open_nursery() as nursery,
    ):
        await pipeline.send_all([Do(nap(10)), Text("before")])
        nursery.start_soon(pipeline.flush)
        await wait_all_tasks_blocked()
        await pipeline.send(Text("after"))
        pipeline.interrupt()
        await wait_all_tasks_blocked()

        assert log == ["on_start", "on_started", "on_interrupt", "on_flush"]
        assert trio.current_time() == 0


async def test_case_41_a_stage_interrupts_the_pipeline_and_goes_on(
    autojump_clock: MockClock,
) -> None:
    """Both ends hear of it, the others are cut off, and the code after the call runs."""
    down: list[Frame] = []
    up: list[Frame] = []
    log: list[str] = []

    async def barge_in(stage: Stage) -> None:
        stage.interrupt_pipeline("barge-in")
        await trio.sleep(1)
        await stage.push(Text("what comes after"))
        log.append("the code after it")

    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(
            runtime, functools.partial(Work, log), functools.partial(Work, log), Pass
        ) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), down)
        nursery.start_soon(collect, pipeline.source(), up)
        await pipeline.send(Slow(5, "first stage"))
        await trio.sleep(6)  # it is through
        _, second, _ = pipeline.stages
        await second.tell(Do(nap(100)))
        await pipeline.send(Text("queued there"))
        await pipeline.send(Do(barge_in))
        await trio.sleep(10)

    assert down == [Text("first stage"), PipelineInterrupted("barge-in"), Text("what comes after")]
    assert up == [PipelineInterrupted("barge-in")]
    assert "the code after it" in log


async def test_case_42_each_end_gets_one_and_they_are_equal(autojump_clock: MockClock) -> None:
    """One frame each way, of the same content."""
    ends: list[list[Frame]] = [[], []]
    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, Pass) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(PipelineInterrupted), ends[0])
        nursery.start_soon(collect, pipeline.source(PipelineInterrupted), ends[1])
        await wait_all_tasks_blocked()
        pipeline.interrupt("stop talking")

    assert ends == [[PipelineInterrupted("stop talking")]] * 2


async def test_case_43_nothing_runs_before_the_start(autojump_clock: MockClock) -> None:
    """What is sent first comes after every stage's start, and after what starting pushed."""
    log: list[str] = []

    class Starting(Work):
        async def on_start(self) -> None:
            await trio.sleep(1)
            await super().on_start()

        async def on_started(self) -> None:
            await trio.sleep(1)
            await super().on_started()

    async with open_runtime() as runtime:
        stage = functools.partial(Starting, log)
        async with open_pipeline(runtime, stage, stage) as pipeline:
            await pipeline.send_all([Text("a"), Text("b")])
            await pipeline.send_up(Problem("c"))

    assert log[:4] == ["on_start", "on_start", "on_started", "on_started"]
    assert sorted(log[4:10]) == ["a", "a", "b", "b", "up c", "up c"]
    assert issubclass(PipelineStarted, Frame)


async def test_case_44_a_pause_holds_frames_back_until_ready(autojump_clock: MockClock) -> None:
    """a and b are held, and delivered in order when it is ready, or when the time is over."""
    times: list[tuple[str, float]] = []
    ready = trio.Event()

    class Watch(Stage):
        @handles
        async def text(self, frame: Text) -> None:
            times.append((frame.text, trio.current_time()))

    async def pause(stage: Stage) -> None:
        stage.pause_until(ready.wait, most=5)

    async with open_runtime() as runtime, open_pipeline(runtime, Work, Watch) as pipeline:
        await pipeline.send_all([Do(pause), Text("a"), Text("b")])
        await trio.sleep(2)
        assert times == []
        ready.set()
        await pipeline.flush()
        assert times == [("a", 2), ("b", 2)]

        ready = trio.Event()  # never set
        await pipeline.send_all([Do(pause), Text("c")])
        await trio.sleep(6)
        assert times[2:] == [("c", 7)]

        ready.set()
        await pipeline.send_all([Do(pause), Text("d")])
        await pipeline.flush()
        assert times[3:] == [("d", 8)]


async def test_an_interruption_is_one_step_over_all_stages(autojump_clock: MockClock) -> None:
    """Nothing from before comes out after the notice, wherever in the pipeline it was."""
    out: list[Frame] = []
    letters: list[Frame] = []

    class Clinging(Stage):
        """Pushes in its cleanup, to no avail."""

        @handles
        async def slow(self, frame: Slow) -> None:
            try:
                await trio.sleep(frame.seconds)
            finally:
                await self.push(Text("from the cleanup"))

    def observe(event: Event) -> None:
        if isinstance(event, DeadLetter):
            letters.append(event.frame)

    async with (
        trio.open_nursery() as nursery,
        open_runtime(observers=[observe]) as runtime,
        open_pipeline(runtime, *[Clinging] * 4) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), out)
        for stage in pipeline.stages:
            await stage.tell(Slow(100, "running"))
            await stage.tell(Text("queued"))
        await wait_all_tasks_blocked()
        pipeline.interrupt()
        await pipeline.send(Text("new"))
        await trio.sleep(1)

    assert out == [INTERRUPTED, Text("new")]
    assert letters.count(Text("queued")) == 4
    assert letters.count(Text("from the cleanup")) == 4


async def test_what_the_reader_has_not_taken_is_skipped(autojump_clock: MockClock) -> None:
    """Delivered is what was taken (R12); uninterruptible frames are still to be had."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass) as pipeline:
        with pipeline.sink(buffer=4) as frames, pipeline.sink(Text) as texts:
            await pipeline.send_all([Text("taken"), Text("b"), Pinned("pin"), Text("c")])
            assert await anext(frames) == Text("taken")
            await wait_all_tasks_blocked()
            pipeline.interrupt("1")
            pipeline.interrupt("2")
            await pipeline.send(Text("d"))

            assert [await anext(frames) for _ in range(3)] == [
                *(PipelineInterrupted("2"), Pinned("pin"), Text("d"))
            ]
            assert frames.skipped == 2
            assert await anext(texts) == Text("d")  # it did not ask for the notice


async def test_a_full_reader_does_not_hold_an_interruption_up(autojump_clock: MockClock) -> None:
    """The stage that waits for the reader's room is let go, and the notice has a room of its own."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, Pass) as pipeline:
        with pipeline.sink(buffer=1) as frames:
            await pipeline.send_all([Text(str(n)) for n in range(5)])
            await wait_all_tasks_blocked()
            pipeline.interrupt()
            await wait_all_tasks_blocked()
            await pipeline.send(Text("new"))

            assert [await anext(frames) for _ in range(2)] == [INTERRUPTED, Text("new")]


async def test_an_interruption_reaches_into_branches(autojump_clock: MockClock) -> None:
    """All branches are interrupted in the same step, and go on as one."""
    out: list[Frame] = []
    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, Branches([Work], [Pass], [Pass, Work])) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.sink(), out)
        await pipeline.send(Do(nap(100)))
        await pipeline.send(Text("old"))
        await wait_all_tasks_blocked()
        assert Text("old") in out  # by the branch that passes on
        pipeline.interrupt()
        await pipeline.send(Text("new"))
        await pipeline.flush()

        assert out[out.index(INTERRUPTED) :] == [INTERRUPTED, Text("new")]
        assert trio.current_time() == 0


async def test_a_paused_pipeline_can_be_interrupted(autojump_clock: MockClock) -> None:
    """It stays paused; what was held back is gone."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log)) as pipeline,
    ):
        pipeline.pause()
        await pipeline.send_all([Text("a"), Text("b")])
        await wait_all_tasks_blocked()
        pipeline.interrupt()
        await pipeline.send(Text("c"))
        await wait_all_tasks_blocked()
        assert log == ["on_start", "on_started"]
        pipeline.resume()
        await pipeline.flush()

    assert log[2:4] == ["on_interrupt", "c"]


async def test_frames_going_up_are_interrupted_too(autojump_clock: MockClock) -> None:
    """Queued on their way up, they are skipped; the uninterruptible ones are not."""
    up: list[Frame] = []
    async with (
        trio.open_nursery() as nursery,
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, Work) as pipeline,
    ):
        nursery.start_soon(collect, pipeline.source(), up)
        await pipeline.send(Do(nap(100)))
        await wait_all_tasks_blocked()
        await pipeline.send_up(Problem("old"))
        await pipeline.send_up(Pinned("kept"))
        pipeline.interrupt()
        await pipeline.send_up(Problem("new"))
        await trio.sleep(1)

    assert up == [INTERRUPTED, Pinned("kept"), Problem("new")]


async def test_handlers_of_frames_going_up_are_cancelled(autojump_clock: MockClock) -> None:
    """An interruption takes what runs, in either direction."""

    async def told_to(runtime: Runtime) -> None:
        async with open_pipeline(runtime, Work, Work) as pipeline:
            with pipeline.source(Problem) as up:
                await pipeline.send(told("1"))
                assert await anext(up) == Problem("1")

    async with open_runtime() as runtime:
        await told_to(runtime)


async def test_the_ends_hear_of_an_interruption_from_above(autojump_clock: MockClock) -> None:
    """An actor that is interrupted takes its pipeline with it, the ends included (R21)."""
    opened: list[Pipeline] = []

    class Host(Actor):
        async def on_start(self) -> None:
            await self.nursery.start(self.run)

        async def run(self, task_status: trio.TaskStatus[None]) -> None:
            async with open_pipeline(self, Pass) as pipeline:
                opened.append(pipeline)
                task_status.started()
                await trio.sleep_forever()

    async with open_runtime() as runtime:
        host = await runtime.spawn(Host)
        with opened[0].sink() as out:
            await opened[0].send(Text("old"))
            await wait_all_tasks_blocked()
            host.interrupt()
            await opened[0].send(Text("new"))

            assert [await anext(out) for _ in range(2)] == [INTERRUPTED, Text("new")]
