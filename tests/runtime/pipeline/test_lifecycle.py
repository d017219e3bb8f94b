"""Starting, flushing and ending are bounded, whatever a stage does; and idleness and stalls."""

import functools
import logging
import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorStopped,
    Backoff,
    CleanupOverran,
    Event,
    Request,
    StageStalled,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import (
    Branches,
    PipelineStalled,
    Stage,
    StageCrashed,
    handles_up,
    open_pipeline,
)
from greenroom.runtime.pipeline.frames import upstream
from greenroom.runtime.pipeline.heartbeat import Sample, is_stuck
from greenroom.runtime.restart import Supervision
from greenroom.runtime.supervisor_actor import ChildSpec
from tests.runtime.pipeline.cast import Do, Pass, Problem, Text, Work, crash, nap


class Ledger:
    """An observer that keeps every event of some kinds."""

    def __init__(self, *kinds: type[Any]) -> None:
        self.kinds = kinds
        self.events: list[Any] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, self.kinds):
            self.events.append(event)


class Broken(Work):
    """Can't be started."""

    async def on_start(self) -> None:
        raise ValueError(f"no {self.log[0]}")


# -- starting (case 45, 49)


async def test_case_45_all_starts_that_fail_are_reported(autojump_clock: MockClock) -> None:
    """Two of three fail: both are raised, and the third, which had started, is stopped."""
    log: list[str] = []
    async with open_runtime() as runtime:
        with pytest.raises(ExceptionGroup) as caught:
            async with open_pipeline(
                runtime,
                functools.partial(Broken, ["disk"]),
                functools.partial(Broken, ["net"]),
                functools.partial(Work, log),
            ):
                pytest.fail("it must not open")
        assert [str(error) for error in caught.value.exceptions] == ["no disk", "no net"]
        assert log == ["on_start", "on_stop"]
        assert runtime.living() == ()


async def test_one_start_that_fails_is_raised_bare(autojump_clock: MockClock) -> None:
    """A single failure comes as itself (R14)."""
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="no disk"):
            async with open_pipeline(runtime, Work, functools.partial(Broken, ["disk"])):
                pytest.fail("it must not open")


async def test_case_45_optional_stages_that_fail_are_passed_by(autojump_clock: MockClock) -> None:
    """Where two of three optional stages can't be started, the third runs; those above are told."""
    log: list[str] = []
    told_of: list[StageCrashed] = []

    class Above(Stage):
        @handles
        async def text(self, frame: Text) -> None:
            await self.push(frame)

    class Hearing(Above):
        @handles_up
        async def crashed(self, frame: StageCrashed) -> None:
            told_of.append(frame)

    def optional(stage: Any) -> ChildSpec:
        return ChildSpec(stage, restart="temporary")

    async with (
        open_runtime() as runtime,
        open_pipeline(
            runtime,
            Hearing,
            optional(functools.partial(Broken, ["disk"])),
            optional(functools.partial(Broken, ["net"])),
            optional(functools.partial(Work, log)),
        ) as pipeline,
    ):
        with pipeline.sink(Text) as texts:
            await pipeline.send(Text("a"))

            assert await anext(texts) == Text("a")
            assert "a" in log
            assert [str(frame.error) for frame in told_of] == ["no disk", "no net"]


async def test_case_45_a_cleanup_that_fails_does_not_stop_the_others(
    autojump_clock: MockClock,
) -> None:
    """Each on_stop runs, whatever another one does, and its failure comes out."""
    log: list[str] = []

    class Messy(Work):
        async def on_stop(self) -> None:
            await super().on_stop()
            raise ValueError("messy")

    with pytest.raises(ValueError, match="messy"):  # noqa: PT012
        async with open_runtime() as runtime:
            stages = [functools.partial(kind, log) for kind in (Work, Messy, Work)]
            async with open_pipeline(runtime, *stages) as pipeline:
                await pipeline.flush()

    assert log.count("on_stop") == 3


async def test_case_49_a_start_that_takes_too_long_names_its_stage(
    autojump_clock: MockClock,
) -> None:
    """The stages that had started are stopped, and nothing is left."""
    log: list[str] = []

    class Sluggish(Work):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    async with open_runtime() as runtime:
        with pytest.raises(PipelineStalled) as caught:
            async with open_pipeline(
                runtime, functools.partial(Work, log), Sluggish, Work, start_grace=3
            ):
                pytest.fail("it must not open")
        assert "did not start within 3 s" in str(caught.value)
        assert "'pipeline/sluggish' is still in on_start" in str(caught.value)
        assert trio.current_time() == 3
        assert runtime.living() == ()
        assert log == ["on_start", "on_stop"]


async def test_case_49_so_does_a_stage_that_keeps_the_first_frame(
    autojump_clock: MockClock,
) -> None:
    """The start is over when its frame has come out at the sink."""

    class Keeping(Work):
        async def on_started(self) -> None:
            await trio.sleep_forever()

    async with open_runtime() as runtime:
        with pytest.raises(PipelineStalled, match="'pipeline/keeping' is handling PipelineStarted"):
            async with open_pipeline(runtime, Work, Keeping, Work, start_grace=3):
                pytest.fail("it must not open")
        assert runtime.living() == ()


async def test_a_start_that_is_cancelled_leaves_nothing(autojump_clock: MockClock) -> None:
    """The caller's own deadline is the caller's: no `PipelineStalled` is made of it."""

    class Sluggish(Work):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    async with open_runtime() as runtime:
        with trio.move_on_after(1) as scope:
            async with open_pipeline(runtime, Work, Sluggish, start_grace=3):
                pytest.fail("it must not open")
        assert scope.cancelled_caught
        assert runtime.living() == ()


# -- flushing


async def test_a_flush_waits_for_all_that_came_of_what_was_sent(autojump_clock: MockClock) -> None:
    """Down, up and down again: what went up because of it, and down because of that."""
    log: list[str] = []

    class Ground(Stage):
        @handles
        async def text(self, frame: Text) -> None:
            await trio.sleep(1)
            await self.push_up(Problem(frame.text))

    class Top(Stage):
        @handles_up
        async def problem(self, frame: Problem) -> None:
            await trio.sleep(1)
            await self.push(Do(note))

    async def note(_: Stage) -> None:
        await trio.sleep(1)
        log.append("all done")

    async with open_runtime() as runtime, open_pipeline(runtime, Top, Work, Ground) as pipeline:
        await pipeline.send(Text("x"))
        await pipeline.flush()

        assert log == ["all done"]
        assert trio.current_time() == 3


async def test_flushes_at_the_same_time_are_each_their_own(autojump_clock: MockClock) -> None:
    """Any number may be under way; one that is cancelled disturbs none."""
    done: list[int] = []
    async with open_runtime() as runtime, open_pipeline(runtime, Work, Pass) as pipeline:

        async def flush(n: int) -> None:
            await pipeline.flush()
            done.append(n)

        await pipeline.send(Do(nap(1)))
        with trio.move_on_after(0.5):
            await pipeline.flush()
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(flush, n)

        assert sorted(done) == [0, 1, 2, 3, 4]


async def test_a_flush_that_gets_nowhere_names_the_stage(autojump_clock: MockClock) -> None:
    """It waits as long as anything gets on, and then `flush_grace` seconds."""
    async with open_runtime(drain_grace=0) as runtime:
        async with open_pipeline(runtime, Work, Pass, Work, flush_grace=5) as pipeline:
            for _ in range(10):
                await pipeline.send(Do(nap(4)))
            await pipeline.flush()
            assert trio.current_time() == 40

            await pipeline.stages[2].tell(Do(nap(math.inf)))
            with pytest.raises(PipelineStalled) as caught:
                await pipeline.flush()
        assert "for 5 s nothing got on: stage 'pipeline/work-2' is handling Do" in str(caught.value)
        assert "cast.py:" in str(caught.value)  # not a line of Trio's


async def test_a_flush_of_a_paused_pipeline_says_so(autojump_clock: MockClock) -> None:
    """The text says which stage is paused."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, Work) as pipeline:
        pipeline.pause(pipeline.stages[1])
        with pytest.raises(PipelineStalled, match="stage 'pipeline/work' is paused, with"):
            await pipeline.flush()
        pipeline.resume(pipeline.stages[1])
        await pipeline.flush()
        with pytest.raises(ValueError, match="is no stage of <Pipeline 'pipeline', 2 stages>"):
            pipeline.pause(await runtime.spawn(Work))


async def test_a_flush_ends_with_the_pipeline(autojump_clock: MockClock) -> None:
    """One that the end overtakes raises `ActorStopped`, and does not wait for its grace."""
    async with (
        open_runtime(drain_grace=1) as runtime,
        open_pipeline(runtime, Pass, Work, flush_grace=100) as pipeline,
    ):
        await pipeline.send(Do(nap(math.inf)))

        async def flush() -> None:
            with pytest.raises(ActorStopped, match="ended before Flush was through"):
                await pipeline.flush()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            pipeline.stop()
        assert trio.current_time() == 1


# -- ending (case 48, 70)


async def test_case_70_the_end_is_bounded_by_the_grace(autojump_clock: MockClock) -> None:
    """A stage that never passes its frame on is cancelled, and so are all, at once."""
    log: list[str] = []
    async with open_runtime(drain_grace=5) as runtime:
        async with open_pipeline(
            runtime, Work, functools.partial(Work, log), Work, Work
        ) as pipeline:
            for stage in pipeline.stages:
                await stage.tell(Do(nap(math.inf)))
        assert trio.current_time() == 5
        assert log[-1] == "on_stop"
        assert runtime.living() == ()


async def test_case_48_a_stage_that_swallows_its_cancel_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Trio can end no task by force: the end waits for it, and says for whom (R10)."""
    ledger = Ledger(CleanupOverran)

    async def cling(_: Stage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)

    async with open_runtime(drain_grace=2, cleanup_grace=3, observers=[ledger]) as runtime:
        async with open_pipeline(runtime, Work, Work) as pipeline:
            await pipeline.send(Do(cling))
        assert trio.current_time() == 2 + 20

    assert {event.actor for event in ledger.events} >= {"pipeline/work"}
    assert min(event.at for event in ledger.events) == 2 + 3
    assert "'pipeline/work' was still cleaning up 3 s after" in caplog.text


async def test_case_48_cancelling_at_the_start_ends_too(autojump_clock: MockClock) -> None:
    """A cancel before the first frame has come through is as good as any."""

    class Keeping(Work):
        async def on_started(self) -> None:
            await trio.sleep_forever()

    async with open_runtime() as runtime:
        with trio.move_on_after(1):
            async with open_pipeline(runtime, Work, Keeping):
                pytest.fail("it must not open")
        assert trio.current_time() == 1
        assert runtime.living() == ()


async def test_a_reader_that_does_not_read_bounds_nothing(autojump_clock: MockClock) -> None:
    """An end that waits for a full reader is cut off like any other."""
    async with open_runtime(drain_grace=5) as runtime:
        async with open_pipeline(runtime, Pass, Pass) as pipeline:
            pipeline.sink(buffer=1)
            await pipeline.send_all([Text(str(n)) for n in range(10)])
        assert trio.current_time() == 5
        assert runtime.living() == ()


# -- idleness (case 47)


async def test_case_47_an_idle_pipeline_is_noticed(autojump_clock: MockClock) -> None:
    """After 0.2 s without frames the wait is over, and the pipeline can be ended."""
    async with open_runtime() as runtime:
        async with trio.open_nursery() as nursery:

            async def end_when_idle(pipeline: Any) -> None:
                await pipeline.wait_idle(0.2)
                nursery.cancel_scope.cancel()

            async with open_pipeline(runtime, Pass) as pipeline:
                nursery.start_soon(end_when_idle, pipeline)
                await trio.sleep_forever()
        assert trio.current_time() == 0.2
        assert runtime.living() == ()


async def test_case_47_frames_of_the_kind_keep_it_from_being_idle(
    autojump_clock: MockClock,
) -> None:
    """Frames at intervals of 0.1 s do, those of other classes do not, and a flush does not."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, Pass) as pipeline:
        idle = trio.Event()

        async def watch() -> None:
            await pipeline.wait_idle(0.2, Text)
            idle.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for _ in range(10):
                await trio.sleep(0.1)
                await pipeline.send(Text("x"))
                assert not idle.is_set()
            await trio.sleep(0.1)
            await pipeline.send(Problem("other"))
            await pipeline.flush()
            assert not idle.is_set()
        assert trio.current_time() == pytest.approx(1.2)
        with pytest.raises(ValueError, match="wait_idle needs seconds >= 0, not -1"):
            await pipeline.wait_idle(-1)


# -- stalls (case 50)


async def test_case_50_a_stage_that_is_stuck_is_named_at_each_heartbeat(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Again at each period, not once; with what it handles, for how long, and where it waits."""
    ledger = Ledger(StageStalled)
    async with (
        open_runtime(observers=[ledger], drain_grace=0) as runtime,
        open_pipeline(runtime, Pass, Work, Pass, heartbeat=1) as pipeline,
    ):
        await pipeline.send(Do(nap(math.inf)))
        await trio.sleep(4.5)

    assert [(e.actor, e.seconds) for e in ledger.events] == [
        ("pipeline/work", n) for n in (1, 2, 3)
    ]
    assert isinstance(ledger.events[0].frame, Do)
    assert any("in nap" in line or "sleep" in line for line in ledger.events[0].stack)
    assert "pipeline 'pipeline' makes no progress: for 3 s, stage 'pipeline/work'" in caplog.text


async def test_a_long_stream_is_no_stall(autojump_clock: MockClock) -> None:
    """A handler that goes on pushing is alive, however long it takes; the others are at rest."""
    ledger = Ledger(StageStalled)

    async def talk(stage: Stage) -> None:
        for n in range(100):
            await trio.sleep(0.9)
            await stage.push(Text(str(n)))

    async with (
        open_runtime(observers=[ledger], drain_grace=1000) as runtime,
        open_pipeline(runtime, Pass, Work, Pass, heartbeat=1) as pipeline,
    ):
        await pipeline.send(Do(talk))

    assert ledger.events == []
    assert trio.current_time() == pytest.approx(90)


async def test_who_waits_for_room_or_is_paused_is_not_to_blame(autojump_clock: MockClock) -> None:
    """Of a pipeline that is held up, only the stage that holds it up is named."""
    ledger = Ledger(StageStalled)
    async with (
        open_runtime(observers=[ledger], drain_grace=0) as runtime,
        open_pipeline(runtime, Pass, Pass, Work, capacity=1, heartbeat=1) as pipeline,
        trio.open_nursery() as nursery,
    ):
        await pipeline.send(Do(nap(math.inf)))
        nursery.start_soon(pipeline.send_all, [Text(str(n)) for n in range(20)])
        await trio.sleep(3.5)
        assert {event.actor for event in ledger.events} == {"pipeline/work"}
        seen = len(ledger.events)
        pipeline.pause()
        await trio.sleep(3)
        assert len(ledger.events) == seen
        nursery.cancel_scope.cancel()


async def test_a_stage_between_two_lives_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One that waits for its restart answers no heartbeat."""
    caplog.set_level(logging.CRITICAL)
    ledger = Ledger(StageStalled)
    supervision = Supervision(within=1000, backoff=Backoff(first=10, jitter=0))
    async with (
        open_runtime(observers=[ledger]) as runtime,
        open_pipeline(
            runtime,
            Pass,
            ChildSpec(Work, restart="transient"),
            supervision=supervision,
            heartbeat=2,
        ) as pipeline,
    ):
        await pipeline.send(Do(crash))
        await trio.sleep(5)
        assert {(e.actor, e.frame) for e in ledger.events} == {("pipeline/work", None)}
        await trio.sleep(10)
        seen = len(ledger.events)
        await pipeline.send(Text("x"))
        await trio.sleep(5)
        assert len(ledger.events) == seen


async def test_nothing_ticks_while_nothing_is_at_work(autojump_clock: MockClock) -> None:
    """With heartbeats on, an idle pipeline leaves the clock alone (R23)."""
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, Work, heartbeat=1) as pipeline,
    ):
        for _ in range(3):
            await pipeline.send(Text("x"))
            await trio.sleep(10)
            statistics = trio.lowlevel.current_statistics()
            assert statistics.seconds_to_next_deadline == math.inf


async def test_a_stage_that_is_stuck_after_a_pause_is_named(autojump_clock: MockClock) -> None:
    """Nothing ticks while all is paused (R23), and all is watched again when it goes on."""
    ledger = Ledger(StageStalled)
    async with (
        open_runtime(observers=[ledger], drain_grace=0) as runtime,
        open_pipeline(runtime, Pass, Work, heartbeat=1) as pipeline,
    ):
        pipeline.pause()
        await pipeline.send(Do(nap(math.inf)))
        await trio.sleep(50)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
        pipeline.resume()
        await trio.sleep(5)

    assert {event.actor for event in ledger.events} == {"pipeline/work"}


async def test_a_stage_that_refuses_when_full_is_flushed_and_ended(
    autojump_clock: MockClock,
) -> None:
    """What begins and ends a pipeline waits for room, whatever the policy is for its frames."""
    log: list[str] = []
    part = ChildSpec(Work, args=(log,), full="fail", capacity=1)
    async with (
        open_runtime(drain_grace=100) as runtime,
        open_pipeline(runtime, Pass, part) as pipeline,
    ):
        await pipeline.send(Do(nap(1)))
        await wait_all_tasks_blocked()
        await pipeline.send(Text("fills it"))
        await pipeline.flush()
        await pipeline.send(Do(nap(1)))
        await wait_all_tasks_blocked()
        await pipeline.send(Text("again"))

    assert log == [
        *("on_start", "on_started", "fills it", "on_flush", "again", "on_end", "on_stop")
    ]


async def test_branches_flush_and_end_as_one(autojump_clock: MockClock) -> None:
    """A flush comes out of branches once all have passed it on, and nothing overtakes it."""
    log: list[str] = []

    class Lagging(Stage):
        @handles
        async def text(self, frame: Text) -> None:
            await trio.sleep(1)
            await self.push(Text(f"late {frame.text}"))

    async with (
        open_runtime() as runtime,
        open_pipeline(
            runtime, Pass, Branches([Lagging], [Pass]), functools.partial(Work, log)
        ) as pipeline,
        trio.open_nursery() as nursery,
    ):
        await pipeline.send(Text("a"))
        nursery.start_soon(pipeline.flush)
        await wait_all_tasks_blocked()
        await pipeline.send(Text("b"))

    assert log == [
        *("on_start", "on_started", "a", "late a", "on_flush", "b", "late b", "on_end", "on_stop")
    ]


async def test_a_flush_that_is_lost_in_a_branch_holds_nobody_up(autojump_clock: MockClock) -> None:
    """It fails after its grace, and what comes later goes on."""
    log: list[str] = []

    class Deaf(Work):
        async def on_flush(self) -> None:
            if not crashed:
                await trio.sleep_forever()

    crashed: list[bool] = []

    async def fail() -> None:
        await trio.sleep(1)
        crashed.append(True)
        raise ValueError("boom")

    async def crash_soon(stage: Stage) -> None:
        stage.nursery.start_soon(fail)

    async with (
        open_runtime() as runtime,
        open_pipeline(
            runtime,
            Pass,
            Branches([ChildSpec(Deaf, restart="transient")], [Pass]),
            functools.partial(Work, log),
            flush_grace=3,
        ) as pipeline,
    ):
        await pipeline.stages[1].tell(Do(crash_soon))
        with pytest.raises(PipelineStalled):
            await pipeline.flush()
        await pipeline.send(Text("later"))
        await pipeline.flush()

        assert "later" in log


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_pipeline_ends_past_a_stage_that_was_stopped(
    autojump_clock: MockClock, which: int
) -> None:
    """Flush and End go past any stage that is over, which is no crash of the others."""
    async with open_runtime() as runtime:
        async with open_pipeline(runtime, Pass, Pass, Pass) as pipeline:
            await pipeline.send(Text("a"))
            await pipeline.flush()
            pipeline.stages[which].stop()
            await pipeline.flush()
        assert trio.current_time() == 0


async def test_nothing_overtakes_what_a_stopping_stage_still_handles(
    autojump_clock: MockClock,
) -> None:
    """Frames pass an optional stage by once it is over, not before (I2)."""
    optional = ChildSpec(Work, restart="temporary")
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, optional, Pass) as pipeline:
        with pipeline.sink(Text) as texts:
            await pipeline.send_all([Do(nap(1)), Text("a")])
            await wait_all_tasks_blocked()
            pipeline.stages[1].stop()
            await pipeline.send(Text("b"))

            assert [(await anext(texts)).text for _ in range(2)] == ["a", "b"]


async def test_stages_that_are_over_are_no_stall(autojump_clock: MockClock) -> None:
    """While one is slow to stop, the others that have stopped are not named."""
    ledger = Ledger(StageStalled)

    class Slowly(Work):
        async def on_stop(self) -> None:
            await trio.sleep(3.5)

    async with (
        open_runtime(observers=[ledger]) as runtime,
        open_pipeline(runtime, Slowly, Pass, heartbeat=1) as pipeline,
    ):
        await pipeline.send(Text("x"))

    assert ledger.events == []


async def test_nothing_ticks_for_an_optional_stage_that_is_over(autojump_clock: MockClock) -> None:
    """There is nothing to watch about it (R23)."""
    optional = ChildSpec(Work, restart="temporary")
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, optional, heartbeat=1) as pipeline,
    ):
        await pipeline.send(Do(crash))
        await trio.sleep(10.5)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


async def test_a_stage_that_waits_for_a_reply_is_named(autojump_clock: MockClock) -> None:
    """An actor outside that does not answer is a stall as good as any."""
    ledger = Ledger(StageStalled)

    @frame
    class Ask(Request[None]):
        pass

    class Silent(Actor):
        @handles
        async def ask(self, request: Ask) -> None:
            await trio.sleep_forever()

    async with open_runtime(observers=[ledger], drain_grace=0) as runtime:
        silent = await runtime.spawn(Silent)

        async def ask(_: Stage) -> None:
            await silent.ask(Ask())

        async with open_pipeline(runtime, Work, heartbeat=1) as pipeline:
            await pipeline.send(Do(ask))
            await trio.sleep(3.5)

    assert len(ledger.events) >= 2
    assert {(e.actor, type(e.frame)) for e in ledger.events} == {("pipeline/work", Do)}


async def test_of_two_handlers_the_one_that_is_stuck_is_named(autojump_clock: MockClock) -> None:
    """A handler of frames from below that hangs is no better for the other one's waiting."""
    ledger = Ledger(StageStalled)

    class Stuck(Pass):
        @handles_up
        async def problem(self, frame: Problem) -> None:
            await trio.sleep_forever()

    async with (
        open_runtime(observers=[ledger], drain_grace=0) as runtime,
        open_pipeline(runtime, Stuck, Work, heartbeat=1, capacity=1) as pipeline,
    ):
        pipeline.pause(pipeline.stages[1])
        await pipeline.send_all([Text(str(n)) for n in range(4)])
        await pipeline.stages[0].tell(upstream(Problem("x")))
        await trio.sleep(2.5)

    assert {(e.actor, type(e.frame)) for e in ledger.events} == {
        ("pipeline/stuck", type(upstream(Problem("x"))))
    }


async def test_a_stage_may_pause_in_on_start(autojump_clock: MockClock) -> None:
    """The start is then over when the pause is, and frames run as ever."""
    log: list[str] = []

    class Warming(Work):
        async def on_start(self) -> None:
            self.pause_until(functools.partial(trio.sleep, 2), most=5)

    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Warming, log)) as pipeline,
    ):
        assert trio.current_time() == 2
        await pipeline.send(Text("a"))
        await pipeline.flush()

    assert log[:2] == ["on_started", "a"]


async def test_pauses_that_overlap_last_until_the_last_is_over(autojump_clock: MockClock) -> None:
    """Each `pause_until` is its own."""

    async def pause(stage: Stage) -> None:
        for seconds in (3, 1):
            stage.pause_until(functools.partial(trio.sleep, seconds), most=5)
        stage.pause()
        stage.resume()

    async with open_runtime() as runtime, open_pipeline(runtime, Work) as pipeline:
        await pipeline.send(Do(pause))
        await pipeline.flush()

        assert trio.current_time() == 3


async def test_a_stage_that_is_cut_off_as_it_pushes_has_not_crashed(
    autojump_clock: MockClock,
) -> None:
    """The stage below is over as well by then, which is nobody's fault."""

    class Hanging(Work):
        @handles_up
        async def problem(self, frame: Problem) -> None:
            await trio.sleep_forever()

    async def push_on(stage: Stage) -> None:
        for n in range(10):
            await stage.push(Text(str(n)))

    async with open_runtime(drain_grace=5) as runtime:
        async with open_pipeline(runtime, Hanging, Pass, capacity=1) as pipeline:
            pipeline.pause(pipeline.stages[1])
            await pipeline.send(Do(push_on))
            await wait_all_tasks_blocked()
            await pipeline.stages[0].tell(upstream(Problem("x")))
            await wait_all_tasks_blocked()
            pipeline.resume()  # there is room, but the other handler has the turn
        assert trio.current_time() == 5
        assert runtime.living() == ()


@pytest.mark.parametrize(
    ("progress", "answered", "is_busy", "is_excused", "stuck"),
    [
        (1, True, True, False, False),
        (0, True, True, False, True),
        (0, True, False, False, False),
        (1, False, True, False, True),
        (0, False, False, False, True),
        (0, False, True, True, False),
    ],
)
def test_a_stage_is_stuck_if_it_gets_nowhere_or_does_not_answer(
    progress: int, answered: bool, is_busy: bool, is_excused: bool, stuck: bool
) -> None:
    """Unless there is an excuse, or nothing to do."""
    before = Sample((0,), answered=True, is_busy=True, is_excused=False)
    now = Sample((progress,), answered=answered, is_busy=is_busy, is_excused=is_excused)

    assert is_stuck(before, now) is stuck
