"""Frames run down and up a pipeline, in order, through what handles them."""

import functools
import math
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from greenroom.runtime import (
    Actor,
    ActorStopped,
    DeadLetter,
    Event,
    Frame,
    MailboxFull,
    Refused,
    Request,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import (
    Branches,
    End,
    PipelineInterrupted,
    Stage,
    StageCrashed,
    handles_up,
    open_pipeline,
)
from greenroom.runtime.restart import Supervision
from greenroom.runtime.supervisor_actor import ChildSpec
from greenroom.runtime.testing import run_seeded
from tests.runtime.pipeline.cast import (
    Do,
    Pass,
    Pinned,
    Problem,
    Steer,
    Text,
    Work,
    crash,
    nap,
    told,
)


@frame
class Ask(Request[str]):
    """A request, which no pipeline carries."""


class Upper(Stage):
    """Makes texts loud, and lowers what comes up."""

    @handles
    async def text(self, frame: Text) -> None:
        await self.push(Text(frame.text.upper()))

    @handles_up
    async def problem(self, frame: Problem) -> None:
        await self.push_up(Problem(frame.text.lower()))


class Double(Stage):
    """Makes two of one."""

    @handles
    async def text(self, frame: Text) -> None:
        await self.push(frame)
        await self.push(Text(frame.text * 2))


async def read(tap: Any, count: int) -> list[Any]:
    return [await anext(tap) for _ in range(count)]


async def test_frames_go_down_through_every_handler_in_order(autojump_clock: MockClock) -> None:
    """What comes out is what each stage made of what the one above pushed, in order (R6)."""
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Upper, Double, Pass) as pipeline,
    ):
        with pipeline.sink(Text) as texts:
            await pipeline.send(Text("a"))
            await pipeline.send_all([Text("b"), Text("c")])

            assert [t.text for t in await read(texts, 6)] == ["A", "AA", "B", "BB", "C", "CC"]


async def test_frames_go_up_through_the_handlers_for_that_direction(
    autojump_clock: MockClock,
) -> None:
    """A handler of a class from above does not see frames of it that come from below."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Upper, functools.partial(Work, log)) as pipeline,
    ):
        with pipeline.source() as up, pipeline.sink() as down:
            await pipeline.send_up(Problem("HELP"))
            await pipeline.send_up(Text("just passing"))
            await pipeline.send(told("done"))

            assert await read(up, 3) == [Problem("help"), Text("just passing"), Problem("done")]
            assert await read(down, 1) == [Text("done")]
    assert "up HELP" in log
    assert "just passing" not in log


async def test_a_stage_that_is_not_in_a_pipeline_says_so(autojump_clock: MockClock) -> None:
    """To push is misuse for an actor that was just spawned."""
    async with open_runtime() as runtime:
        stage = await runtime.spawn(Work, restart="temporary")
        await stage.tell(told("x"))
        down = await stage.wait_stopped()

    assert isinstance(down.error, RuntimeError)
    assert "Work.push exists in a pipeline only; write open_pipeline(runtime, Work" in str(
        down.error
    )


async def test_the_ends_forget_what_nobody_reads(autojump_clock: MockClock) -> None:
    """A pipeline without readers is not held up by what comes out of it."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, capacity=2) as pipeline:
        for n in range(100):
            await pipeline.send(Text(str(n)))
        await pipeline.flush()

        with pipeline.sink() as frames:
            await pipeline.send(Text("now"))

            assert await anext(frames) == Text("now")


async def test_case_51_each_reader_gets_exactly_the_classes_that_it_asked_for(
    autojump_clock: MockClock,
) -> None:
    """Readers of either end have filters; what they leave out takes none of their room."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, Pass) as pipeline:
        with (
            pipeline.sink(Pinned, buffer=1) as pinned,
            pipeline.sink(Text, Problem) as others,
            pipeline.source(Problem, buffer=1) as up,
        ):
            for n in range(3):
                await pipeline.send(Text(str(n)))
                await pipeline.send_up(Text(str(n)))
            await pipeline.send(Pinned("pin"))
            await pipeline.send(Problem("down"))
            await pipeline.send_up(Problem("up"))

            assert await read(pinned, 1) == [Pinned("pin")]
            assert [type(f) for f in await read(others, 4)] == [Text, Text, Text, Problem]
            assert await read(up, 1) == [Problem("up")]


async def test_a_full_pipeline_holds_its_sender_up(autojump_clock: MockClock) -> None:
    """Nothing is unbounded: with nobody reading, `send` waits for room (R4)."""
    sent = 0
    async with (
        open_runtime(drain_grace=0) as runtime,
        open_pipeline(runtime, Pass, Pass, capacity=2) as pipeline,
    ):
        with pipeline.sink(buffer=3):
            with trio.move_on_after(1) as scope:
                while True:
                    await pipeline.send(Text("x"))
                    sent += 1

            # 3 in the reader's buffer, and with each stage 2 queued and 1 in its handler
            assert scope.cancelled_caught
            assert sent == 3 + 2 * (2 + 1)


async def test_a_cancelled_send_sent_nothing(autojump_clock: MockClock) -> None:
    """I1 holds for pipelines as for refs."""
    log: list[str] = []
    async with open_runtime() as runtime:
        async with open_pipeline(
            runtime, functools.partial(Work, log), Pass, capacity=1
        ) as pipeline:
            pipeline.pause()
            await pipeline.send(Text("held"))
            await trio.testing.wait_all_tasks_blocked()
            await pipeline.send(Text("queued"))
            with trio.move_on_after(1) as scope:
                await pipeline.send(Text("not in"))
            assert scope.cancelled_caught
            pipeline.resume()
            await pipeline.flush()

        assert [line for line in log if not line.startswith("on_")] == ["held", "queued"]


async def test_neighbours_that_push_at_each_other_go_on(autojump_clock: MockClock) -> None:
    """Frames from below have a lane of their own, so that full mailboxes do not block both ways."""
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Work, Work, capacity=1) as pipeline,
    ):
        with pipeline.source(Problem, buffer=1) as up:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pipeline.send_all, [told(str(n)) for n in range(50)])

                # each is handled in the first stage, which pushes down what the second passes on
                assert [p.text for p in await read(up, 50)] == [str(n) for n in range(50)]


async def test_frames_from_below_are_taken_first(autojump_clock: MockClock) -> None:
    """What comes up does not queue behind what comes down."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log)) as pipeline,
    ):
        pipeline.pause()
        await pipeline.send_all([Text("1"), Text("2")])
        await pipeline.send_up(Problem("3"))
        await trio.testing.wait_all_tasks_blocked()
        pipeline.resume()
        await pipeline.flush()

    assert [line for line in log if not line.startswith("on_")] == ["up 3", "1", "2"]


async def test_a_stage_is_asked_as_any_actor_but_passes_no_request_on(
    autojump_clock: MockClock,
) -> None:
    """A request that a stage does not handle is refused, and none can be sent in."""

    class Clerk(Stage):
        @handles
        async def ask(self, request: Ask) -> str:
            return "here"

    async with open_runtime() as runtime, open_pipeline(runtime, Clerk, Pass) as pipeline:
        clerk, other = pipeline.stages

        assert await clerk.ask(Ask()) == "here"
        with pytest.raises(Refused, match="'pipeline/pass'> has no handler for Ask"):
            await other.ask(Ask())
        with pytest.raises(TypeError, match=r"a pipeline does not carry Ask\(\), only data frames"):
            await pipeline.send(Ask())
        with pytest.raises(TypeError, match=r"a pipeline does not carry Steer\(text=''\)"):
            await pipeline.send(Steer())


async def test_a_control_frame_reaches_every_stage_at_once(autojump_clock: MockClock) -> None:
    """It passes by whatever the stages are handling, and stages that don't know it ignore it."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(
            runtime, functools.partial(Work, log), Pass, functools.partial(Work, log)
        ) as pipeline,
    ):
        await pipeline.send(Do(nap(10)))
        await trio.sleep(1)
        pipeline.broadcast(Steer("left"))
        await trio.testing.wait_all_tasks_blocked()

        assert log.count("steer left") == 2
        assert trio.current_time() == 1
        with pytest.raises(TypeError, match="broadcast takes a ControlFrame, not Text"):
            pipeline.broadcast(Text("x"))  # type: ignore[arg-type]


async def test_a_control_frame_for_which_one_has_no_room_reaches_nobody(
    autojump_clock: MockClock,
) -> None:
    """`MailboxFull`, and no stage has it."""
    log: list[str] = []
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, functools.partial(Work, log), capacity=1) as pipeline,
    ):
        pipeline.broadcast(Steer("1"))  # handed to the task that waits for it
        pipeline.broadcast(Steer("2"))
        with pytest.raises(MailboxFull, match="control lane of 'pipeline/work' is full"):
            pipeline.broadcast(Steer("3"))
        await pipeline.flush()

    assert [line for line in log if line.startswith("steer")] == ["steer 1", "steer 2"]


async def test_leaving_sees_everything_through_in_both_directions(
    autojump_clock: MockClock,
) -> None:
    """At the normal end of the block all that was sent has been handled, and came out."""
    log: list[str] = []
    async with open_runtime() as runtime:
        async with open_pipeline(runtime, Work, functools.partial(Work, log)) as pipeline:
            await pipeline.send_all([told(str(n)) for n in range(5)])
        accounts = runtime.accounts()

    assert [line for line in log if not line.startswith("on_")] == [str(n) for n in range(5)]
    assert accounts.undelivered == accounts.cancelled == accounts.pending == 0


async def test_hooks_run_stage_by_stage_and_may_push(autojump_clock: MockClock) -> None:
    """on_started, on_flush and on_end run downwards, and what they push follows."""

    class Keeper(Stage):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_started(self) -> None:
            await self.push(Text(f"{self.name} started"))

        async def on_flush(self) -> None:
            await self.push(Text(f"{self.name} flushed"))

        async def on_end(self) -> None:
            await self.push(Text(f"{self.name} ended"))

    log: list[str] = []
    a, b, last = (functools.partial(Keeper, name) for name in ("a", "b", ""))
    del last
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, a, b, functools.partial(Work, log)) as pipeline,
    ):
        await pipeline.flush()
        log.append("--")

    lines = [line for line in log if not line.startswith("on_st")]
    assert lines == [
        *("a started", "b started", "a flushed", "b flushed", "on_flush"),
        *("--", "a ended", "b ended", "on_end"),
    ]


async def test_what_is_pushed_after_the_end_is_a_dead_letter(autojump_clock: MockClock) -> None:
    """A helper that goes on after on_end fails nobody, and what it pushes is reported."""
    letters: list[DeadLetter] = []

    class Late(Stage):
        async def on_end(self) -> None:
            self.nursery.start_soon(self.go_on)

        async def go_on(self) -> None:
            await self.push(Text("too late"))

    class Busy(Stage):
        async def on_end(self) -> None:
            await trio.sleep(1)

    def observe(event: Event) -> None:
        if isinstance(event, DeadLetter):
            letters.append(event)

    async with (
        open_runtime(observers=[observe]) as runtime,
        open_pipeline(runtime, Late, Busy),
    ):
        pass

    assert [(e.actor, e.frame, e.reason) for e in letters] == [
        ("pipeline/late", Text("too late"), "pushed after the end")
    ]


async def test_a_pipeline_that_ends_lets_nothing_more_in(autojump_clock: MockClock) -> None:
    """`ActorStopped`, also from flush, and the block ends when all is through."""
    async with open_runtime() as runtime, open_pipeline(runtime, Work) as pipeline:
        await pipeline.send(Do(nap(1)))
        pipeline.stop()
        with pytest.raises(ActorStopped, match="is ending and lets in no Text"):
            await pipeline.send(Text("x"))
        with pytest.raises(ActorStopped, match="is ending and lets in no Flush"):
            await pipeline.flush()
        assert (await pipeline.wait_stopped()).reason == "stopped"
        assert trio.current_time() == 1
        with pytest.raises(ActorStopped):
            await pipeline.send(Text("x"))


async def test_readers_of_an_ended_pipeline_have_what_is_left(autojump_clock: MockClock) -> None:
    """The ends of a pipeline end with it, after what came out."""
    async with open_runtime() as runtime:
        async with open_pipeline(runtime, Pass) as pipeline:
            texts = pipeline.sink(Text)
            await pipeline.send_all([Text("a"), Text("b")])
        with texts:
            assert [t.text async for t in texts] == ["a", "b"]


async def test_the_body_is_not_wrapped_and_stages_are_cancelled_at_once(
    autojump_clock: MockClock,
) -> None:
    """An exception of the block comes out as itself (R14), and nothing is drained."""
    log: list[str] = []
    async with open_runtime() as runtime:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with open_pipeline(runtime, functools.partial(Work, log), Pass) as pipeline:
                await pipeline.send(Do(nap(math.inf)))
                await pipeline.send(Text("never"))
                await trio.sleep(1)
                raise ZeroDivisionError
        assert trio.current_time() == 1
        assert runtime.living() == ()
    assert log[-1] == "on_stop"
    assert "never" not in log


async def test_a_crash_of_a_stage_is_a_crash_of_the_pipeline(autojump_clock: MockClock) -> None:
    """Without supervision it ends the runtime as itself (I7, R14)."""

    with pytest.raises(ValueError, match="boom"):  # noqa: PT012
        async with open_runtime() as runtime, open_pipeline(runtime, Pass, Work) as pipeline:
            await pipeline.send(Do(crash))
            await trio.sleep_forever()


@pytest.mark.parametrize("seed", range(10))
def test_a_crash_comes_out_bare_whatever_the_body_was_doing(seed: int) -> None:
    """R14: what a send or a flush of that moment raises is its echo."""

    async def main() -> None:
        async with (
            open_runtime() as runtime,
            open_pipeline(runtime, Pass, Work, Pass, capacity=1) as pipeline,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(pipeline.flush)
            await pipeline.send(Do(nap(1)))
            await pipeline.send(Do(crash))
            await pipeline.flush()

    with pytest.raises(ValueError, match="boom"):
        run_seeded(main, seed=seed)


async def test_a_stage_that_is_restarted_goes_on_with_the_next_frame(
    autojump_clock: MockClock,
) -> None:
    """Its queue is kept (R19), and those above are told of the crash."""

    spec = ChildSpec(Work, restart="transient")
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Pass, spec, Pass, supervision=Supervision(restarts=2)) as pipeline,
    ):
        with pipeline.sink(Text) as texts, pipeline.source(StageCrashed) as crashes:
            await pipeline.send_all([Text("a"), Do(crash), Text("b")])

            assert [t.text for t in await read(texts, 2)] == ["a", "b"]
            told_of = await anext(crashes)
            assert told_of.stage == "pipeline/work"
            assert isinstance(told_of.error, ValueError)


async def test_an_optional_stage_that_is_over_is_passed_by(autojump_clock: MockClock) -> None:
    """Frames go by a temporary stage that has crashed, in both directions."""

    spec = ChildSpec(Work, restart="temporary")
    async with open_runtime() as runtime, open_pipeline(runtime, Pass, spec, Pass) as pipeline:
        with (
            pipeline.sink(Text) as texts,
            pipeline.source(StageCrashed, Problem) as up,
        ):
            await pipeline.send(Do(crash))
            crashed = await anext(up)
            assert isinstance(crashed, StageCrashed)
            assert isinstance(crashed.error, ValueError)
            await pipeline.send(Text("by"))
            await pipeline.send_up(Problem("by too"))

            assert await anext(texts) == Text("by")
            assert await anext(up) == Problem("by too")
            await pipeline.flush()


async def test_an_actor_can_own_a_pipeline(autojump_clock: MockClock) -> None:
    """It is interrupted and stopped with its owner (R18, R21)."""
    log: list[str] = []

    class Host(Actor):
        async def on_start(self) -> None:
            await self.nursery.start(self.run)

        async def run(self, task_status: trio.TaskStatus[None]) -> None:
            async with open_pipeline(self, functools.partial(Work, log)) as self.pipeline:
                task_status.started()
                await trio.sleep_forever()

        @handles
        async def pass_in(self, frame: Text) -> None:
            await self.pipeline.send(frame)

    async with open_runtime() as runtime:
        host = await runtime.spawn(Host)
        await host.tell(Text("hello"))
        await trio.testing.wait_all_tasks_blocked()
        host.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        await host.tell(Text("again"))

    assert log == [
        *("on_start", "on_started", "hello", "on_interrupt", "again", "on_end", "on_stop")
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "a pipeline needs at least one part"),
        ((Work(),), "write the class itself, not an instance"),
        ((Actor,), "must be a Stage or return one"),
        ((lambda: 3,), "must be a Stage or return one"),
    ],
)
async def test_what_is_no_part_is_refused(
    autojump_clock: MockClock, parts: tuple[Any, ...], message: str
) -> None:
    """Misuse has a text that says what to write."""
    async with open_runtime() as runtime:
        with pytest.raises((TypeError, ValueError), match=message):
            async with open_pipeline(runtime, *parts):
                pass
        assert runtime.living() == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_grace": -1}, "start_grace must be seconds >= 0 or math.inf, not -1"),
        ({"flush_grace": 0}, "flush_grace must be seconds > 0 or math.inf, not 0"),
        ({"heartbeat": 0}, "heartbeat must be seconds > 0, or math.inf for none, not 0"),
        ({"capacity": -1}, "capacity must be an int >= 0"),
    ],
)
async def test_options_out_of_their_range_are_refused(
    autojump_clock: MockClock, options: Any, message: str
) -> None:
    """Nothing was started then."""
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=message):
            async with open_pipeline(runtime, Pass, **options):
                pass
        assert runtime.living() == ()


def test_a_stage_class_that_can_not_work_is_refused() -> None:
    """When the class is made (R16)."""
    with pytest.raises(TypeError, match="handles one frame at a time"):

        class Many(Stage, concurrency=2):  # pyright: ignore[reportUnusedClass]
            pass

    with pytest.raises(TypeError, match="can't handle End, which every stage passes on"):

        class Ending(Stage):  # pyright: ignore[reportUnusedClass]
            @handles
            async def end(self, frame: End) -> None: ...

    with pytest.raises(TypeError, match="can't handle Steer on its way up"):

        class Steering(Stage):  # pyright: ignore[reportUnusedClass]
            @handles_up
            def steer(self, frame: Steer) -> None: ...


async def test_pushing_in_on_start_says_where_to_push(autojump_clock: MockClock) -> None:
    """Before all stages are there, frames can't go anywhere."""

    class Early(Stage):
        async def on_start(self) -> None:
            await self.push(Text("x"))

    async with open_runtime() as runtime:
        with pytest.raises(RuntimeError, match="push first frames in on_started, not in on_start"):
            async with open_pipeline(runtime, Early, Pass):
                pass


async def test_a_catch_all_handles_all_but_lifecycle_frames(autojump_clock: MockClock) -> None:
    """A stage may take everything, in both directions, and the pipeline still flushes and ends."""
    taken: list[Frame] = []

    class Grave(Stage):
        @handles
        @handles_up
        async def all(self, frame: Frame) -> None:
            taken.append(frame)

    async with open_runtime() as runtime, open_pipeline(runtime, Grave, Pass) as pipeline:
        await pipeline.send(Text("a"))
        await pipeline.send_up(Text("b"))
        await pipeline.flush()

        assert taken == [Text("a"), Text("b")]
    assert PipelineInterrupted("x") not in taken


async def test_only_the_stage_that_crashed_is_reported(autojump_clock: MockClock) -> None:
    """Not its siblings, which are restarted with it; and with the error of this very crash (R19)."""

    async def crash_elsewhere(stage: Stage) -> None:
        async def fail() -> None:
            raise KeyError("in a helper")

        stage.nursery.start_soon(fail)

    parts = [ChildSpec(kind, restart="transient") for kind in (Pass, Work)]
    supervision = Supervision(strategy="one_for_all", restarts=10)
    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, *parts, supervision=supervision) as pipeline,
    ):
        with pipeline.source(StageCrashed) as crashes:
            await pipeline.stages[1].tell(Do(crash))
            await trio.sleep(20)
            await pipeline.stages[1].tell(Do(crash_elsewhere))
            await trio.sleep(20)
            told_of = await read(crashes, 2)
            with trio.move_on_after(1) as scope:
                await anext(crashes)

    assert scope.cancelled_caught
    assert [(each.stage, type(each.error)) for each in told_of] == [
        *(("pipeline/work", ValueError), ("pipeline/work", KeyError))
    ]


async def test_a_stage_has_one_place(autojump_clock: MockClock) -> None:
    """A function that gives the same stage for two parts is misuse, and said to be."""
    one = Pass()
    async with open_runtime() as runtime:
        with pytest.raises(RuntimeError, match="gave a stage that has another place"):
            async with open_pipeline(runtime, lambda: one, lambda: one):
                pytest.fail("it must not open")
        assert runtime.living() == ()


async def test_a_cancelled_send_past_an_optional_stage_sent_nothing(
    autojump_clock: MockClock,
) -> None:
    """I1 holds also where branches come first once that stage is over."""
    log: list[str] = []
    optional = ChildSpec(Pass, restart="temporary")
    branches = Branches([functools.partial(Work, log)], [ChildSpec(Pass, capacity=0)])
    async with open_runtime() as runtime, open_pipeline(runtime, optional, branches) as pipeline:
        stage = next(s for s in pipeline.stages if s.name == "pipeline/pass")
        stage.stop()
        await stage.wait_stopped()
        pipeline.pause(pipeline.stages[3])
        sent = 0
        with trio.move_on_after(1) as scope:
            for sent in range(100):
                await pipeline.send(Text(str(sent)))
        assert scope.cancelled_caught
        pipeline.resume()
        await pipeline.flush()

    texts = [line for line in log if not line.startswith("on_")]
    assert texts == [str(n) for n in range(sent)]


async def test_what_is_pushed_after_the_end_reaches_nobody(autojump_clock: MockClock) -> None:
    """Also where nobody observes, and the stage below would still take it."""
    log: list[str] = []

    class Late(Stage):
        async def on_end(self) -> None:
            self.nursery.start_soon(self.go_on)

        async def go_on(self) -> None:
            await trio.sleep(1)
            await self.push(Text("too late"))

    class Slow(Work):
        async def on_end(self) -> None:
            await trio.sleep(2)

    async with (
        open_runtime() as runtime,
        open_pipeline(runtime, Late, functools.partial(Slow, log)),
    ):
        pass

    assert "too late" not in log


async def test_a_reader_of_what_is_no_frame_is_refused(autojump_clock: MockClock) -> None:
    """It would read nothing for ever."""
    async with open_runtime() as runtime, open_pipeline(runtime, Pass) as pipeline:
        with pytest.raises(TypeError, match="a tap is for frame classes, not <class 'int'>"):
            pipeline.sink(int)  # type: ignore[type-var]
