"""A model in a pipeline: every start that goes down has its end, and failures go up."""

from functools import partial
from typing import Any

import trio

from greenroom.actors.llm import (
    LLM,
    Category,
    Context,
    LLMStage,
    Prompt,
    ProviderError,
    ResponseEnded,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    User,
)
from greenroom.actors.testing import HANG, ScriptedProvider, says
from greenroom.runtime import Frame, Ref, frame, open_pipeline, open_runtime
from greenroom.runtime.pipeline import PipelineInterrupted
from greenroom.runtime.testing import FaultKind, World, sweep

CONTEXT = Context.of(User("hi"))


@frame
class Other(Frame):
    """Something that is not for a model."""

    text: str


async def read(tap: Any, into: list[Frame]) -> None:
    with tap:
        async for part in tap:
            into.append(part)  # noqa: PERF401 - as it comes


async def play(
    provider: ScriptedProvider, *sent: Frame, interrupt_at: float | None = None
) -> tuple[list[Frame], list[Frame]]:
    """Return what came out below and above, for what was *sent*."""
    below: list[Frame] = []
    above: list[Frame] = []

    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        async with trio.open_nursery() as nursery:  # noqa: SIM117 - the readers outlive it
            async with open_pipeline(runtime, partial(LLMStage, llm)) as pipeline:
                nursery.start_soon(read, pipeline.sink(), below)
                nursery.start_soon(read, pipeline.source(), above)
                for one in sent:
                    await pipeline.send(one)
                if interrupt_at is not None:
                    await trio.sleep(interrupt_at)
                    pipeline.interrupt("barge in")
                    await pipeline.send(Other("after"))
    return below, above


def told(frames: list[Frame]) -> list[str]:
    """Return the frames in short."""
    names: list[str] = []
    for one in frames:
        match one:
            case ResponseStarted():
                names.append("start")
            case TextDelta(text=text) | Other(text=text):
                names.append(text)
            case ResponseEnded(status=status, text=text):
                names.append(f"{status.value}: {text}")
            case _:
                names.append(type(one).__name__)
    return names


async def test_a_prompt_is_answered_and_all_else_passes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In order, with the settings of the prompt."""
    provider = ScriptedProvider("Hel|lo", "again")
    below, above = await play(
        provider, Other("a"), Prompt(CONTEXT, Settings(seed=3)), Other("b"), Prompt(CONTEXT)
    )

    assert told(below) == [
        *("a", "start", "Hel", "lo", "completed: Hello"),
        *("b", "start", "again", "completed: again"),
    ]
    assert above == []
    assert [asked.settings for asked in provider.asked] == [Settings(seed=3), Settings()]


async def test_a_failure_goes_both_ways_and_the_pipeline_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Down, since every start has an end; up, since those above may know what to do."""
    provider = ScriptedProvider(
        says("a|b").after(1, ProviderError("broken", category=Category.SERVER)), "ok"
    )
    below, above = await play(provider, Prompt(CONTEXT), Prompt(CONTEXT))

    assert told(below) == ["start", "a", "failed: a", "start", "ok", "completed: ok"]
    assert told(above) == ["failed: a"]


async def test_an_actor_that_is_gone_is_a_failure_of_the_response(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not of the stage."""

    ended: list[Frame] = []
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, ScriptedProvider())
        async with open_pipeline(runtime, partial(LLMStage, llm)) as pipeline:
            llm.stop()
            await llm.wait_stopped()
            with pipeline.sink(ResponseEnded) as tap, pipeline.source() as up:
                await pipeline.send(Prompt(CONTEXT))
                ended += [await anext(tap), await anext(up)]

    assert ended[0] == ended[1]
    assert isinstance(ended[0], ResponseEnded)
    assert ended[0].status is Status.FAILED
    assert "stopped" in ended[0].detail


async def test_an_interruption_ends_the_response_with_what_went_down(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Before all that comes afterwards; the stream is closed."""
    provider = ScriptedProvider(says("a|b|c").after(2, HANG))
    below, above = await play(provider, Prompt(CONTEXT), interrupt_at=1.0)

    assert told(below) == ["start", "a", "b", "PipelineInterrupted", "interrupted: ab", "after"]
    assert told(above) == ["PipelineInterrupted"]
    assert provider.all_closed()


# -- anywhere


async def answered(w: World) -> None:
    """Two prompts in a pipeline that is cut off, or interrupted by an action."""
    provider = ScriptedProvider(says("a|b|c").before_head(0.1).after(2, 0.1), then="ok")
    w.own("the model", provider.all_closed)
    llm: Ref = await w.runtime.spawn(LLM, provider, name="llm")
    below: list[Frame] = []
    with w.scope("cut") as cut:
        async with trio.open_nursery() as nursery:  # noqa: SIM117 - the readers outlive it
            async with open_pipeline(w.runtime, partial(LLMStage, llm)) as pipeline:
                nursery.start_soon(read, pipeline.sink(), below)
                with w.action("interrupt", pipeline.interrupt):
                    await pipeline.send(Prompt(CONTEXT))
                    await trio.sleep(1)
                    await pipeline.send(Prompt(CONTEXT))
                    await trio.sleep(1)
    is_open = check_order(below)
    assert cut.cancelled_caught or not is_open, told(below)
    async with open_pipeline(w.runtime, partial(LLMStage, llm)) as pipeline:
        with pipeline.sink(ResponseEnded) as ends:
            await pipeline.send(Prompt(CONTEXT))
            assert (await anext(ends)).status is Status.COMPLETED


def check_order(frames: list[Frame]) -> bool:
    """I5: starts and ends alternate, and ends have the text between; tell if one is missing."""
    said: list[str] | None = None
    was_interrupted = False
    for one in frames:
        if isinstance(one, ResponseStarted):
            assert said is None, told(frames)
            said = []
        elif isinstance(one, TextDelta):
            assert said is not None, told(frames)
            said.append(one.text)
        elif isinstance(one, ResponseEnded):
            assert said is not None, told(frames)
            # what was on its way below the stage is dropped by an interruption
            assert one.text.startswith("".join(said)), told(frames)
            assert one.text == "".join(said) or was_interrupted, told(frames)
            said = None
        elif isinstance(one, PipelineInterrupted):
            was_interrupted = True
    return said is not None


def test_every_start_has_its_end_wherever_it_is_cut_off_or_interrupted() -> None:
    """I4, I5, I9."""
    faults: tuple[FaultKind, ...] = ("cancel", "call")
    report = sweep(answered, faults=faults).check()
    print(f"sweep stage: {report.summary()}")

    assert report.runs >= 150
