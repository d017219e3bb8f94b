"""One handler of a stage at a time, whichever lane its frame came in; and who waits for whom."""

import functools
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ChildSpec,
    DeadlockError,
    MailboxFull,
    Ref,
    Request,
    RequestError,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import Stage, StageCrashed, handles_up, open_pipeline
from greenroom.runtime.pipeline.frames import upstream
from tests.runtime.pipeline.cast import Do, Pass, Pinned, Problem, Text, Work


@frame
class Ask(Request[str]):
    """A request."""


async def test_on_interrupt_may_push_while_a_frame_from_below_waits(
    autojump_clock: MockClock,
) -> None:
    """The frame is handled after the hook, which does not wait for it (R20)."""

    class Saying(Work):
        async def on_interrupt(self) -> None:
            await trio.sleep(1)
            await self.push_up(Problem("interrupted"))
            self.log.append("on_interrupt")

    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Saying, log), Pass) as pipeline,
    ):
        pipeline.interrupt()
        await pipeline.send(Text("1"))
        await wait_all_tasks_blocked()
        await pipeline.send_up(Problem("2"))
        await pipeline.flush()

    assert log[2:5] == ["on_interrupt", "up 2", "1"]


@pytest.mark.parametrize("by", ["stage", "pipeline"])
async def test_a_handler_that_waits_for_room_goes_on_under_a_pause(
    autojump_clock: MockClock, by: str
) -> None:
    """A pause starts no further frame, and so lends no turn; what runs is seen through."""
    log: list[str] = []

    async def talk(stage: Any) -> None:
        if by == "stage":
            stage.pause()
        for n in range(3):
            await stage.push(Text(str(n)))
        log.append("all said")
        stage.resume()

    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), Pass, capacity=1) as pipeline,
    ):
        upper, lower = pipeline.stages
        pipeline.pause(lower)
        await pipeline.send(Do(talk))
        await wait_all_tasks_blocked()
        if by == "pipeline":
            pipeline.pause(upper)
        await upper.tell(upstream(Problem("waits")))
        await wait_all_tasks_blocked()
        pipeline.resume(lower)
        await wait_all_tasks_blocked()
        assert "all said" in log
        pipeline.resume()
        await pipeline.flush()

    assert "up waits" in log


async def test_a_frame_from_below_that_a_pause_held_has_the_turn_to_itself(
    autojump_clock: MockClock,
) -> None:
    """R17: one handler at a time, also after a pause."""

    class Careful(Work):
        @handles_up
        async def problem(self, frame: Problem) -> None:
            self.log.append(f"up {frame.text}")
            await trio.sleep(1)
            self.log.append("over")

    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Careful, log), Pass) as pipeline,
    ):
        upper, _ = pipeline.stages
        pipeline.pause(upper)
        await upper.tell(upstream(Problem("held")))
        await wait_all_tasks_blocked()
        pipeline.resume(upper)
        await wait_all_tasks_blocked()
        await upper.tell(Text("waits"))
        await pipeline.flush()

    assert log[2:5] == ["up held", "over", "waits"]


async def test_the_lane_of_frames_from_below_is_bounded(autojump_clock: MockClock) -> None:
    """R1, R4: it has the data lane's capacity, and who finds no room is told which lane is full."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), Pass, capacity=2) as pipeline,
    ):
        upper, _ = pipeline.stages
        pipeline.pause(upper)
        upper.tell_nowait(upstream(Problem("taken")))
        await wait_all_tasks_blocked()
        upper.tell_nowait(upstream(Problem("1")))
        upper.tell_nowait(upstream(Problem("2")))
        with pytest.raises(MailboxFull, match="not sent: the express lane is full"):
            upper.tell_nowait(upstream(Problem("3")))
        pipeline.resume()
        await pipeline.flush()

    assert [line for line in log if line.startswith("up")] == ["up taken", "up 1", "up 2"]


async def test_frames_going_up_keep_their_order_over_a_restart(autojump_clock: MockClock) -> None:
    """Those that were taken but not handled come first, in the lane that they were in (R19)."""
    log: list[str] = []

    class Busy(Work):
        @handles
        async def pinned(self, frame: Pinned) -> None:
            await trio.sleep(1)

    async def crash_soon(stage: Stage) -> None:
        async def fail() -> None:
            await trio.sleep(2)
            raise KeyError

        stage.pause()
        stage.nursery.start_soon(fail)

    spec = ChildSpec(Busy, args=(log,), restart="transient")
    async with open_runtime() as runtime, open_pipeline(runtime, spec, Pass) as pipeline:
        await pipeline.send(Do(crash_soon))
        await wait_all_tasks_blocked()
        await pipeline.send(Pinned("held"))
        await pipeline.send_up(Problem("held"))
        await wait_all_tasks_blocked()
        await pipeline.send_up(Problem("queued"))
        await trio.sleep(20)

    assert [line for line in log if line.startswith("up")] == ["up held", "up queued"]


async def test_a_stage_that_stopped_by_itself_has_its_express_lane_again(
    autojump_clock: MockClock,
) -> None:
    """R1, R19: the mailbox that comes after the closed one is of the same kind."""
    log: list[str] = []

    async def stop(stage: Stage) -> None:
        stage.ref.stop()

    spec = ChildSpec(Work, args=(log,), restart="permanent")
    async with open_runtime() as runtime, open_pipeline(runtime, spec, Pass) as pipeline:
        upper, _ = pipeline.stages
        await pipeline.send(Do(stop))
        await trio.sleep(1)
        pipeline.pause(upper)
        await upper.tell(upstream(Problem("taken")))
        await wait_all_tasks_blocked()
        await upper.tell(upstream(Problem("again")))
        assert (upper.statistics().queued, upper.statistics().express) == (0, 1)
        pipeline.resume()
        await pipeline.flush()

    assert [line for line in log if line.startswith("up")] == ["up taken", "up again"]


async def test_a_stage_that_stops_handles_what_waits_for_the_turn(
    autojump_clock: MockClock,
) -> None:
    """R20: after the last handler of the data lane comes the frame from below, and no grace."""
    log: list[str] = []

    async def work(_: Stage) -> None:
        await trio.sleep(1)

    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), Pass) as pipeline,
    ):
        upper, _ = pipeline.stages
        await upper.tell(Do(work))
        await wait_all_tasks_blocked()
        await upper.tell(upstream(Problem("queued")))
        await wait_all_tasks_blocked()
        upper.stop()
        await upper.wait_stopped()
        ended_at = trio.current_time()

    assert "up queued" in log
    assert ended_at == 1


async def test_a_cycle_through_a_handler_of_frames_from_below_is_named(
    autojump_clock: MockClock,
) -> None:
    """Who would close it is told, and the stage lives on (R24)."""
    errors: list[Exception] = []
    refs: dict[str, Ref] = {}

    class Other(Actor):
        @handles
        async def ask(self, request: Ask) -> str:
            await trio.sleep(1)
            try:
                return await refs["stage"].ask(Ask())
            except DeadlockError as error:
                errors.append(error)
                return "no"

    class Asking(Work):
        @handles
        async def ask(self, request: Ask) -> str:
            return "here"

        @handles_up
        async def problem(self, frame: Problem) -> None:
            self.log.append(await refs["other"].ask(Ask()))

    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Asking, log), Pass) as pipeline,
    ):
        refs["stage"] = pipeline.stages[0]
        refs["other"] = await runtime.spawn(Other, name="other")
        await pipeline.send_up(Problem("x"))
        await trio.sleep(2)

        assert [type(error) for error in errors] == [DeadlockError]
        assert "'other' asks 'pipeline/asking' Ask, 'pipeline/asking' asks 'other' Ask" in str(
            errors[0]
        )
        assert "no" in log


async def test_a_cycle_that_closes_as_a_push_is_given_room_is_no_error_of_the_push(
    autojump_clock: MockClock,
) -> None:
    """The frame was sent, and so the stage crashes, with the cycle named, instead (R24)."""
    errors: list[Exception] = []
    refs: dict[str, Ref] = {}
    log: list[str] = []

    class Other(Actor):
        @handles
        async def ask(self, request: Ask) -> str:
            try:
                return await refs["stage"].ask(Ask())
            except RequestError as error:
                errors.append(error)
                return "no"

    class Asking(Work):
        @handles
        async def ask(self, request: Ask) -> str:
            return "here"

        @handles_up
        async def problem(self, frame: Problem) -> None:
            self.log.append(await refs["other"].ask(Ask()))

    async def talk(stage: Any) -> None:
        for n in range(4):
            try:
                await stage.push(Text(str(n)))
            except Exception as error:
                errors.append(error)
                raise
        await trio.lowlevel.checkpoint()
        log.append("went on")

    asking = ChildSpec(Asking, args=(log,), restart="transient")
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, asking, ChildSpec(Pass, capacity=2)) as pipeline,
    ):
        upper, lower = pipeline.stages
        refs["stage"], refs["other"] = upper, await runtime.spawn(Other, name="other")
        with pipeline.sink(Text) as texts, pipeline.source(StageCrashed) as crashes:
            pipeline.pause(lower)
            await pipeline.send(Do(talk))
            await wait_all_tasks_blocked()
            await upper.tell(upstream(Problem("x")))
            await wait_all_tasks_blocked()
            pipeline.resume(lower)
            crashed = await anext(crashes)
            assert isinstance(crashed.error, DeadlockError)
            assert "waits for its own handler of express frames" in str(crashed.error)
            assert "'other' asks 'pipeline/asking' Ask" in str(crashed.error)
            await pipeline.send(Text("last"))
            assert [(await anext(texts)).text for _ in range(5)] == ["0", "1", "2", "3", "last"]

    assert errors == []
    assert "went on" not in log
