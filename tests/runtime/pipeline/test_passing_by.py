"""What begins, flushes and ends a pipeline goes past an optional stage that is over, once, in order."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    ChildSpec,
    DeadLetter,
    Event,
    Frame,
    HandlerStarted,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import (
    Branches,
    Flush,
    Part,
    Pipeline,
    PipelineStalled,
    Stage,
    StageCrashed,
    handles_up,
    open_pipeline,
)
from greenroom.runtime.pipeline.frames import Lifecycle, Mark, Upstream, upstream
from greenroom.runtime.testing import World, sweep
from tests.conftest import TORTURE
from tests.runtime.pipeline.cast import Do, Pass, Problem, Steer, Text, Work, crash, nap

STRIDE = 23  # every so many positions


class Fragile(Work):
    """Crashes at a control frame, whatever it handles."""

    @handles
    def steer(self, frame: Steer) -> None:
        raise ValueError(frame.text)

    @handles_up
    async def climb(self, frame: Text) -> None:
        await trio.sleep_forever()


@frame
class Kept(Lifecycle):
    """Takes room that nothing may be dropped from."""


class Rapt(Fragile):
    """Its hooks take for ever."""

    async def on_flush(self) -> None:
        await trio.sleep_forever()

    async def on_end(self) -> None:
        await trio.sleep_forever()


class Lagging(Stage):
    """Takes a second over each text."""

    @handles
    async def text(self, frame: Text) -> None:
        await trio.sleep(1)
        await self.push(frame)


def optional(stage: Any = Fragile, **options: Any) -> ChildSpec:
    return ChildSpec(stage, restart="temporary", **options)


class Passages:
    """An observer: which lifecycle frames each stage handled, with their direction, in order."""

    def __init__(self) -> None:
        self.by: dict[str, list[str]] = {}
        self.lost: list[Frame] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, DeadLetter):
            self.lost.append(event.frame)
        elif isinstance(event, HandlerStarted):
            is_up = isinstance(event.frame, Upstream)
            content = event.frame.frame if isinstance(event.frame, Upstream) else event.frame
            if isinstance(content, Lifecycle) and not isinstance(content, Mark):
                self.by.setdefault(event.actor, []).append(f"{content}{' up' if is_up else ''}")


START = "PipelineStarted()"
ENDS = ["End()", "End() up"]


def flushed(number: int) -> list[str]:
    return [f"Flush(number={number}, leg={leg}){' up' if leg == 2 else ''}" for leg in (1, 2, 3)]


async def break_(pipeline: Pipeline, which: int, after: float = 0) -> None:
    await wait_all_tasks_blocked()
    await trio.sleep(after)
    pipeline.stages[which].tell_nowait(Steer("now"))


# -- one stage


async def test_a_flush_queued_in_a_stage_that_crashes_goes_past_it(
    autojump_clock: MockClock,
) -> None:
    """It waits for no grace, and data queued there is lost, as counted dead letters (I2)."""
    log: list[str] = []
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with open_pipeline(
            runtime, Pass, optional(), functools.partial(Work, log)
        ) as pipeline:
            for frame in (Text("a"), Do(nap(1)), Do(crash), Text("lost")):
                await pipeline.send(frame)
            await pipeline.flush()
            await pipeline.send(Text("b"))

            assert trio.current_time() == 1
            assert pipeline.stages[1].statistics().accounts.undelivered == 2
        assert trio.current_time() == 1

    assert log == [*("on_start", "on_started", "a", "on_flush", "b", "on_end", "on_stop")]
    assert Text("lost") in passages.lost
    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


async def test_an_end_queued_in_a_stage_that_crashes_goes_past_it(
    autojump_clock: MockClock,
) -> None:
    """The stages below run ``on_end``, and the end takes no grace."""
    log: list[str] = []
    async with open_runtime() as runtime:
        async with open_pipeline(
            runtime, Pass, optional(), functools.partial(Work, log)
        ) as pipeline:
            await pipeline.send(Do(nap(1)))
            await pipeline.send(Do(crash))
        assert trio.current_time() == 1

    assert log == ["on_start", "on_started", "on_end", "on_stop"]


@pytest.mark.parametrize("which", ["flush", "end"])
async def test_so_it_does_when_it_is_being_handled(autojump_clock: MockClock, which: str) -> None:
    """The stage crashes in the midst of its hook."""
    log: list[str] = []
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, Pass, optional(Rapt), functools.partial(Work, log)) as pipeline,
        ):
            if which == "flush":
                nursery.start_soon(break_, pipeline, 1)
                await pipeline.flush()
            else:
                nursery.start_soon(break_, pipeline, 1)
        assert trio.current_time() == 0

    flushes = flushed(1) if which == "flush" else []
    assert passages.by["pipeline/work"] == [START, *flushes, *ENDS]
    assert log.count("on_end") == 1


@pytest.mark.parametrize("hook", ["on_started", "on_flush", "on_end"])
async def test_one_that_the_stage_has_passed_on_comes_no_second_time(
    autojump_clock: MockClock, hook: str
) -> None:
    """A hook that raises crashes its stage once the frame is on its way."""
    passages = Passages()

    async def fail(_: Stage) -> None:
        raise ValueError("boom")

    async def dawdle(_: Stage) -> None:
        await trio.sleep(1)

    failing = type("Failing", (Work,), {hook: fail})
    work = type("Work", (Work,), {hook: dawdle})  # so that the frame is still under way
    async with open_runtime(observers=[passages]) as runtime:
        async with open_pipeline(runtime, Pass, optional(failing), work) as pipeline:
            await pipeline.flush()
            await pipeline.flush()
        assert trio.current_time() == (2 if hook == "on_flush" else 1)

    assert passages.by["pipeline/work"] == [START, *flushed(1), *flushed(2), *ENDS]


async def test_one_that_waits_for_room_below_goes_on_once(autojump_clock: MockClock) -> None:
    """The stage crashes while it passes the flush on."""
    passages = Passages()
    parts = Pass, optional(capacity=1), ChildSpec(Lagging, capacity=1), Work
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            await pipeline.send_all([Text("a"), Text("b")])
            nursery.start_soon(break_, pipeline, 1)
            await pipeline.flush()
            assert trio.current_time() == 2
        assert trio.current_time() == 2

    assert passages.by["pipeline/lagging"] == [START, *flushed(1), *ENDS]
    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


@pytest.mark.parametrize("full", ["wait", "fail"])
async def test_one_that_waits_for_room_in_the_stage_goes_past_it(
    autojump_clock: MockClock, full: str
) -> None:
    """Whatever the policy of its mailbox is, and whoever sends: the one above, or the end itself."""
    passages = Passages()
    parts = optional(capacity=1, full=full), Pass, optional(capacity=1, full=full), Work
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            for which in (2, 0):
                await pipeline.stages[which].tell(Do(nap(100)))
                await wait_all_tasks_blocked()
                await pipeline.stages[which].tell(Text("fills it"))
                nursery.start_soon(break_, pipeline, which)
                if which:
                    await pipeline.flush()
        assert trio.current_time() == 0

    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


async def test_on_its_way_up_it_goes_past_too(autojump_clock: MockClock) -> None:
    """The second leg waits behind a frame from below that is never done with."""
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, Work, optional(), Pass) as pipeline,
        ):
            await pipeline.send_up(Text("stuck"))
            nursery.start_soon(break_, pipeline, 1)
            await pipeline.flush()
        assert trio.current_time() == 0

    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


async def test_an_end_on_its_way_up_goes_past_too(autojump_clock: MockClock) -> None:
    """The end takes no grace, though the stage crashes with it in its queue."""
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, Work, optional(), Pass) as pipeline,
        ):
            await pipeline.stages[1].tell(upstream(Text("stuck")))
            nursery.start_soon(break_, pipeline, 1)
        assert trio.current_time() == 0

    assert passages.by["pipeline/work"] == [START, *ENDS]


async def test_nothing_that_was_sent_later_overtakes_it(autojump_clock: MockClock) -> None:
    """What waits for room in the stage, or comes as it crashes, stays behind the flush (I2)."""
    log: list[str] = []
    parts = Pass, optional(Rapt, capacity=1), Lagging, functools.partial(Work, log)
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, *parts, capacity=1) as pipeline,
        trio.open_nursery() as nursery,
    ):
        await pipeline.send_all([Text(str(n)) for n in range(3)])
        nursery.start_soon(pipeline.flush)
        await wait_all_tasks_blocked()
        nursery.start_soon(pipeline.send_all, [Text(str(n)) for n in range(3, 9)])
        await trio.sleep(3)
        pipeline.stages[1].tell_nowait(Steer("now"))
        await trio.sleep(20)

        assert log[2:6] == ["0", "1", "2", "on_flush"]
        assert log[6:] == sorted(log[6:])
        assert "8" in log


async def test_nothing_comes_between_two_that_go_past(autojump_clock: MockClock) -> None:
    """The first waits for room, and what passes the stage by meanwhile waits for the second."""
    log: list[str] = []
    parts = Pass, optional(Rapt), ChildSpec(Lagging, capacity=1), functools.partial(Work, log)
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, *parts) as pipeline,
        trio.open_nursery() as nursery,
    ):
        await pipeline.send_all([Text("0"), Text("1")])
        await wait_all_tasks_blocked()
        for _ in range(2):
            nursery.start_soon(pipeline.flush)
            await wait_all_tasks_blocked()
        await break_(pipeline, 1)
        await wait_all_tasks_blocked()
        await pipeline.send(Text("later"))
        await pipeline.flush()

        assert log[2:] == ["0", "1", "on_flush", "on_flush", "later", "on_flush"]


async def test_several_flushes_and_the_end_go_past_in_order(autojump_clock: MockClock) -> None:
    """All of them are in the queue of the stage when it crashes."""
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, Pass, optional(Rapt), Work) as pipeline,
        ):

            async def flush() -> None:
                await pipeline.flush()

            for _ in range(3):
                nursery.start_soon(flush)
                await wait_all_tasks_blocked()
            nursery.start_soon(break_, pipeline, 1)
        assert trio.current_time() == 0

    seen = passages.by["pipeline/work"]
    assert [s for s in seen if "leg=1" in s] == [flushed(n)[0] for n in (1, 2, 3)]
    assert len(seen) == len(set(seen))
    assert seen.index("End()") > seen.index(flushed(3)[0])


async def test_a_start_goes_past_a_stage_that_crashes_first(autojump_clock: MockClock) -> None:
    """Those above are told of the crash once all have started."""
    log: list[str] = []

    class Early(Work):
        async def on_start(self) -> None:
            self.pause()
            self.nursery.start_soon(self.fail)

        async def fail(self) -> None:
            await trio.sleep(1)
            raise ValueError("boom")

    class Hearing(Work):
        @handles_up
        async def crashed(self, frame: StageCrashed) -> None:
            self.log.append(f"{frame.stage} {frame.error}")

    parts = functools.partial(Hearing, log), optional(Early), functools.partial(Work, log)
    async with open_runtime() as runtime, open_pipeline(runtime, *parts, start_grace=5):
        assert trio.current_time() == 1
        await wait_all_tasks_blocked()
        assert log[2:] == ["on_started", "on_started", "pipeline/early boom"]


async def test_a_stage_that_is_stopped_and_does_not_end_in_time_is_passed_by(
    autojump_clock: MockClock,
) -> None:
    """What its grace leaves in its queue goes on, whether or not it is optional."""
    for part in (Fragile, optional()):
        passages = Passages()
        async with open_runtime(observers=[passages], drain_grace=2) as runtime:
            began = trio.current_time()
            async with open_pipeline(runtime, Pass, part, Work) as pipeline:
                await pipeline.send(Do(nap(100)))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pipeline.flush)
                    await wait_all_tasks_blocked()
                    pipeline.stages[1].stop()
            assert trio.current_time() == began + 2
        assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


async def test_so_is_one_that_crashes_as_it_stops(autojump_clock: MockClock) -> None:
    """Nobody restarts it, and the pipeline lives."""
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        part = ChildSpec(Fragile, restart="transient")
        async with open_pipeline(runtime, Pass, part, Work) as pipeline:
            for frame in (Do(nap(1)), Do(crash)):
                await pipeline.send(frame)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pipeline.flush)
                await wait_all_tasks_blocked()
                pipeline.stages[1].stop()
        assert trio.current_time() == 1

    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


async def test_a_flush_that_was_given_up_goes_no_further(autojump_clock: MockClock) -> None:
    """Nobody waits for it; the next one is whole."""
    passages = Passages()
    async with (
        open_runtime(observers=[passages]) as runtime,
        open_pipeline(runtime, Pass, optional(Rapt), Work) as pipeline,
    ):
        with trio.move_on_after(1):
            await pipeline.flush()
        await break_(pipeline, 1)
        await pipeline.flush()
        assert trio.current_time() == 1

    assert passages.by["pipeline/work"] == [START, *flushed(2), *ENDS]


async def test_a_mailbox_that_can_take_no_flush_loses_it_and_no_more(
    autojump_clock: MockClock,
) -> None:
    """A dead letter says so, and the pipeline lives (R4)."""
    passages = Passages()
    below = ChildSpec(Work, capacity=1, full="drop_oldest")
    async with (
        open_runtime(observers=[passages], drain_grace=1) as runtime,
        open_pipeline(runtime, Pass, optional(Rapt), below, flush_grace=2) as pipeline,
    ):
        await pipeline.stages[2].tell(Do(nap(3)))
        await wait_all_tasks_blocked()
        await pipeline.stages[2].tell(Kept())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(break_, pipeline, 1)
            with pytest.raises(PipelineStalled):
                await pipeline.flush()
        assert Flush(1) in passages.lost
        await pipeline.flush()


# -- several, and branches


async def test_several_stages_in_a_row_that_crash_are_passed_by(
    autojump_clock: MockClock,
) -> None:
    """All at once, or one after the other."""
    passages = Passages()
    parts = Pass, optional(Rapt), optional(Rapt), optional(Rapt), Work
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            nursery.start_soon(break_, pipeline, 1)
            nursery.start_soon(break_, pipeline, 3)
            nursery.start_soon(break_, pipeline, 2)
            await pipeline.flush()
        assert trio.current_time() == 0

    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


Parts = tuple[Part, ...]
BRANCHED: dict[str, tuple[Parts, int]] = {
    "in the first branch": ((Pass, Branches([optional(Rapt)], [Pass]), Work), 1),
    "in the last branch": ((Pass, Branches([Pass], [optional(Rapt)]), Work), 2),
    "beside an empty branch": ((Pass, Branches([], [optional(Rapt)]), Work), 1),
    "above branches": ((Pass, optional(Rapt), Branches([Pass], [Work])), 1),
    "in nested branches": (
        (Pass, Branches([Branches([optional(Rapt)], [Pass])], [Pass]), Work),
        1,
    ),
}


@pytest.mark.parametrize("name", BRANCHED)
async def test_in_branches_it_comes_out_once(autojump_clock: MockClock, name: str) -> None:
    """The branch of a stage that is over counts as one that passed the frame on."""
    parts, which = BRANCHED[name]
    passages = Passages()
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            nursery.start_soon(break_, pipeline, which)
            await pipeline.flush()
            await pipeline.flush()
        assert trio.current_time() == 0

    assert passages.by["pipeline/work"] == [START, *flushed(1), *flushed(2), *ENDS]


async def test_a_stage_above_branches_may_have_passed_it_into_some_of_them(
    autojump_clock: MockClock,
) -> None:
    """No branch gets a second one."""
    passages = Passages()
    slow = ChildSpec(Lagging, capacity=1)
    parts = Pass, optional(), Branches([Pass], [slow], [functools.partial(Pass)]), Work
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            await pipeline.send_all([Text("a"), Text("b")])
            nursery.start_soon(break_, pipeline, 1)
            await pipeline.flush()
            assert trio.current_time() == 2
        assert trio.current_time() == 2

    for seen in passages.by.values():
        assert len(seen) == len(set(seen))
    for name in ("pass-2", "lagging", "pass-3", "work"):
        assert passages.by[f"pipeline/{name}"] == [START, *flushed(1), *ENDS]


async def test_a_stage_above_branches_may_wait_until_it_has_left_them(
    autojump_clock: MockClock,
) -> None:
    """It is in all branches, and is put into none again."""
    passages = Passages()
    parts = Pass, optional(), Branches([Pass], [Lagging]), Work
    async with (
        open_runtime(observers=[passages]) as runtime,
        trio.open_nursery() as nursery,
        open_pipeline(runtime, *parts) as pipeline,
    ):
        await pipeline.send(Text("a"))
        nursery.start_soon(break_, pipeline, 1)
        await pipeline.flush()
        assert trio.current_time() == 1

    for name in ("pass-2", "lagging", "work"):
        assert passages.by[f"pipeline/{name}"] == [START, *flushed(1), *ENDS]


async def test_a_stage_at_the_end_of_a_branch_may_wait_for_room_below(
    autojump_clock: MockClock,
) -> None:
    """It was the last to pass the flush on, and crashes before that is through."""
    passages = Passages()
    parts = Pass, Branches([Pass], [optional()]), ChildSpec(Lagging, capacity=1), Work
    async with open_runtime(observers=[passages]) as runtime:
        async with (
            trio.open_nursery() as nursery,
            open_pipeline(runtime, *parts) as pipeline,
        ):
            await pipeline.send_all([Text("a"), Text("b")])
            await wait_all_tasks_blocked()
            await pipeline.stages[2].tell(Do(nap(0.5)))
            nursery.start_soon(break_, pipeline, 2, 0.7)
            await pipeline.flush()
            assert trio.current_time() == 2
        assert trio.current_time() == 2

    assert passages.by["pipeline/work"] == [START, *flushed(1), *ENDS]


# -- at any step


def recorded(name: str) -> Parts:
    match name:
        case "a row":
            return Pass, optional(Shaky, capacity=1), optional(Shaky, capacity=1), Shy
        case "branches":
            shaky = optional(Shaky, capacity=1)
            return Pass, shaky, Branches([shaky, Shy], [shaky], []), shaky, Shy
        case _:
            shaky = optional(Shaky, capacity=1)
            return Pass, Branches([Branches([shaky], [Shy]), shaky], [Shy]), Shy


class Shaky(Stage):
    """Passes on at leisure in both directions, until a control frame crashes it."""

    @handles
    async def text(self, frame: Text) -> None:
        await trio.sleep(0.5)
        await self.push(frame)
        await self.push_up(Problem(frame.text))

    @handles_up
    async def problem(self, frame: Problem) -> None:
        await trio.sleep(0.2)
        await self.push_up(frame)

    async def on_flush(self) -> None:
        await trio.sleep(0.3)
        await self.push(Text("kept back"))

    async def on_end(self) -> None:
        await trio.sleep(0.3)
        await self.push(Text("last"))

    @handles
    def steer(self, frame: Steer) -> None:
        raise ValueError("boom")


class Shy(Shaky):
    """The same, and nothing crashes it."""

    @handles
    def steer(self, frame: Steer) -> None: ...


def all_crash(pipeline: Pipeline) -> None:
    pipeline.broadcast(Steer())


def one_crashes(which: int, pipeline: Pipeline) -> None:
    if "shaky" in pipeline.stages[which].name:
        with contextlib.suppress(Exception):
            pipeline.stages[which].tell_nowait(Steer())


def all_stop(pipeline: Pipeline) -> None:
    for stage in pipeline.stages:
        if "shaky" in stage.name:
            stage.stop()


ACTS: dict[str, Callable[[Pipeline], None]] = {
    "all crash": all_crash,
    "the upper one crashes": functools.partial(one_crashes, 1),
    "the next crashes": functools.partial(one_crashes, 2),
    "all stop": all_stop,
}


@pytest.mark.parametrize("name", ["a row", "branches", "nested branches"])
@pytest.mark.parametrize("act", ACTS)
def test_whenever_optional_stages_go_each_other_stage_gets_each_once(name: str, act: str) -> None:
    """Start, flushes and end reach all others once, in order, and wait for no grace (I2, I4)."""

    async def scenario(w: World) -> None:
        passages = Passages()
        async with open_runtime(
            observers=[w.history, passages], drain_grace=200, cleanup_grace=200
        ) as runtime:
            with contextlib.ExitStack() as stack:
                async with (
                    trio.open_nursery() as nursery,
                    open_pipeline(runtime, *recorded(name), capacity=2, flush_grace=90) as pipeline,
                ):
                    stack.enter_context(w.action("act", functools.partial(ACTS[act], pipeline)))
                    nursery.start_soon(pipeline.flush)
                    for n in range(3):
                        await pipeline.send(Text(str(n)))
                    await pipeline.flush()
                    await pipeline.send(Text("last"))
            assert trio.current_time() < 60
            assert runtime.living() == ()
            assert runtime.accounts().pending == 0
        for stage, seen in passages.by.items():
            assert len(seen) == len(set(seen)), (stage, seen)
            if "shaky" in stage:
                continue
            for frames in ([START, *flushed(1), *ENDS], [START, *flushed(2), *ENDS]):
                assert [s for s in seen if s in frames] == frames, (stage, seen)

    stride = 1 if TORTURE else STRIDE
    report = sweep(scenario, faults=["call"], order="random 1; batch", stride=stride).check()
    print(f"sweep {name}, {act}: {report.summary()}")
    assert report.positions >= 190
