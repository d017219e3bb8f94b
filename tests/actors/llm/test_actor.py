"""The LLM actor: every response has one start and one true end, whoever ends it and how."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    CallFragment,
    Context,
    Deadline,
    Event,
    Finished,
    Generate,
    Patience,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    ToolCallsReady,
    ToolSpec,
    User,
)
from greenroom.actors.testing import ScriptedProvider, Step
from greenroom.runtime import Interrupted, Ref, ReplyStream, open_runtime
from greenroom.runtime.testing import World, sweep
from tests.conftest import TORTURE

ASKED = Generate(Context.of(User("hi")))
DIGITS = tuple(TextDelta(str(number)) for number in range(9))


class _Stream:
    """A stream whose events come from a function of the test."""

    request_id = "req-1"
    model = "double"

    def __init__(self, events: Callable[[], Any]) -> None:
        self.events = events
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


class _Double(ScriptedProvider):
    """A provider of one such stream."""

    def __init__(self, events: Callable[[], Any]) -> None:
        super().__init__()
        self.stream = _Stream(events)

    async def request(self, context: Context, settings: Settings) -> Any:
        await trio.lowlevel.checkpoint()
        return self.stream


async def read_slowly(llm: Ref, seconds: float) -> list[ResponseFrame]:
    async with llm.stream(ASKED, buffer=1) as stream:
        frames: list[ResponseFrame] = []
        async for frame in stream:
            frames.append(frame)
            await trio.sleep(seconds)
        return frames


def text_of(frames: list[ResponseFrame]) -> str:
    return "".join(frame.text for frame in frames if isinstance(frame, TextDelta))


def all_at_once() -> _Double:
    batches: list[tuple[Event, ...]] = [(*DIGITS, Finished("stop")), ()]

    async def events() -> tuple[Event, ...]:
        await trio.lowlevel.checkpoint()
        return batches.pop(0)

    return _Double(events)


async def test_a_slow_consumer_is_not_the_providers_silence(autojump_clock: object) -> None:
    """Deadlines between tokens are for the provider alone; the consumer may take its time."""
    patience = Patience(headers=1, first_token=1, between_tokens=1)
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, all_at_once(), None, patience)
        frames = await read_slowly(llm, 60)

    ended = frames[-1]
    assert isinstance(ended, ResponseEnded)
    assert (ended.status, ended.text) == (Status.COMPLETED, "012345678")
    assert ended.request_id == "req-1"


async def test_an_answer_that_a_deadline_cut_short_is_not_completed(autojump_clock: object) -> None:
    """The model was done, but the whole response's deadline passed before the text was out."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, all_at_once(), None, Patience(response=5))
        frames = await read_slowly(llm, 1)

    ended = frames[-1]
    assert isinstance(ended, ResponseEnded)
    assert (ended.status, ended.deadline) == (Status.TIMED_OUT, Deadline.RESPONSE)
    assert ended.text == text_of(frames) != "012345678"


async def fail_in_a_nursery() -> None:
    """Raise a group: a failure, and the cancel that uncovered it."""

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("a bug in the cleanup")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled)
        await trio.sleep_forever()


async def fail_in_place() -> None:
    """Turn the cancel into another exception."""
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("a bug in the cleanup")


@pytest.mark.parametrize("events", [fail_in_a_nursery, fail_in_place])
async def test_a_provider_that_fails_at_being_cancelled_was_cancelled(
    events: Callable[[], Any], autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """R17, I9: no crash, no swallowed cancel, the status is the truth, and the bug is logged."""
    provider = _Double(events)
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        frames: list[ResponseFrame] = []
        with pytest.raises(Interrupted, match="barge-in"):  # noqa: PT012 - it is the loop that raises
            async with llm.stream(ASKED) as stream:
                async for frame in stream:
                    frames.append(frame)
                    if isinstance(frame, ResponseStarted):
                        await trio.testing.wait_all_tasks_blocked()
                        llm.interrupt("barge-in")
        left = llm.stream(ASKED)
        with trio.move_on_after(1) as scope:
            async with left:
                await trio.sleep_forever()

    assert scope.cancelled_caught
    for ended in (frames[-1], left.untaken[-1]):
        assert isinstance(ended, ResponseEnded)
        assert ended.status is Status.INTERRUPTED
    assert isinstance(frames[-1], ResponseEnded)
    assert frames[-1].detail == "barge-in"
    assert provider.stream.closes == 2
    assert [record.name for record in caplog.records] == ["greenroom.llm"] * 2


async def test_a_group_of_failures_is_one_failed_response(autojump_clock: object) -> None:
    """R17: what a provider's own tasks raise is a frame, whatever its shape."""

    async def events() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ValueError("a bug")

    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, _Double(events))
        ended = (await read_slowly(llm, 0))[-1]

    assert isinstance(ended, ResponseEnded)
    assert (ended.status, ended.detail) == (Status.FAILED, "ValueError: a bug")


async def test_eight_responses_run_at_once_and_each_has_its_own_id(
    autojump_clock: object,
) -> None:
    """R17: a ninth waits in the mailbox until one of them is over."""
    script: tuple[Step, ...] = (1.0, TextDelta("x"), Finished("stop"))
    provider = ScriptedProvider(*[script] * 9)
    ids: list[str] = []

    async def read(llm: Ref) -> None:
        started, *_ = await read_slowly(llm, 0)
        assert isinstance(started, ResponseStarted)
        ids.append(started.id)

    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, name="llm")
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(read, llm)
            await trio.testing.wait_all_tasks_blocked()
            assert len(provider.asked) == 8

    assert sorted(ids) == [f"llm/{number}" for number in range(1, 10)]
    assert trio.current_time() == 2


async def test_the_settings_and_tools_of_the_request_count(autojump_clock: object) -> None:
    """The model asked for is named, and a tool's name in two equal pieces is put together."""
    pieces = (CallFragment(0, "a", "bon"), CallFragment(0, None, "bon", "{}"))
    script: tuple[Step, ...] = (*pieces, Finished("tool_calls"))
    provider = ScriptedProvider(script, script)
    tool = ToolSpec("bonbon", "Sweets.", {"type": "object"})
    context = Context.of(User("hi"), tools=[tool])
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        responses: list[list[ResponseFrame]] = []
        for settings in (None, Settings(model="other")):
            async with llm.stream(Generate(context, settings)) as stream:
                responses.append([frame async for frame in stream])

    assert [frames[0].model for frames in responses if isinstance(frames[0], ResponseStarted)] == [
        "scripted",
        "other",
    ]
    for frames in responses:
        (ready,) = (frame for frame in frames if isinstance(frame, ToolCallsReady))
        assert [call.name for call in ready.calls] == ["bonbon"]


async def test_a_stream_that_ends_too_early_is_the_named_providers(autojump_clock: object) -> None:
    """I5: the end says who broke off."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, ScriptedProvider([TextDelta("x")], name="acme"))
        ended = (await read_slowly(llm, 0))[-1]

    assert isinstance(ended, ResponseEnded)
    assert ended.detail == "acme closed the stream after 1 tokens without an end event"


async def test_a_response_that_ctrl_c_or_a_bare_cancel_ends_was_cancelled(
    autojump_clock: object,
) -> None:
    """I5: neither gives a reason, and the end is true all the same."""

    async def interrupt() -> None:
        await trio.sleep(1)
        raise KeyboardInterrupt

    async def run(events: Callable[[], Any]) -> None:
        async with open_runtime() as runtime:
            llm = await runtime.spawn(LLM, _Double(events))
            stream = llm.stream(ASKED)
            streams.append(stream)
            async with stream:
                await trio.sleep_forever()

    streams: list[ReplyStream[ResponseFrame]] = []
    with pytest.raises(KeyboardInterrupt):
        await run(interrupt)
    with trio.move_on_after(1):
        await run(trio.sleep_forever)

    for stream in streams:
        started, ended = stream.untaken  # neither was taken, and no end stands alone
        assert isinstance(started, ResponseStarted)
        assert isinstance(ended, ResponseEnded)
        assert (ended.status, ended.detail) == (Status.INTERRUPTED, "cancelled")


async def test_the_end_of_an_interrupted_response_tells_what_was_taken(
    autojump_clock: object,
) -> None:
    """R12: what was emitted and lay unread does not count as delivered."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, ScriptedProvider([*DIGITS, math.inf]))
        async with llm.stream(ASKED) as stream:
            taken = [await anext(stream) for _ in range(3)]
            await trio.testing.wait_all_tasks_blocked()
        left = stream.untaken

    (ended,) = left
    assert isinstance(ended, ResponseEnded)
    assert ended.text == text_of(taken) == "01"


async def one_response(w: World) -> None:
    """A runtime from its first step to its last, one response among them."""
    provider = ScriptedProvider([*DIGITS, Finished("stop")])
    w.own("the stream", lambda: provider.open_streams == 0)
    llm = await w.runtime.spawn(LLM, provider)
    await read_slowly(llm, 0)


@pytest.mark.parametrize("order", ["", "batch", "random 1", "random 2; batch", "pct 1 3 60"])
def test_a_runtime_cut_anywhere_ends_clean(order: str) -> None:
    """R22: also while the provider's background task is being started, in whatever order."""
    stride = 3 if order and not TORTURE else 1
    report = sweep(one_response, order=order, stride=stride).check()
    print(f"sweep runtime, {order or 'as it comes'}: {report.summary()}")

    assert report.runs >= (95 if stride == 1 else 33)


async def test_stopping_lets_a_response_end_and_then_closes_the_provider(
    autojump_clock: object,
) -> None:
    """R20: drained within the grace, cut after it; the provider goes last."""
    provider = ScriptedProvider([1.0, *DIGITS, Finished("stop")], [math.inf])
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        async with llm.stream(ASKED) as first, llm.stream(ASKED) as second:
            await trio.testing.wait_all_tasks_blocked()
            llm.stop()
            whole = [frame async for frame in first]
            closed_early = provider.closed
            await llm.wait_stopped()
            cut = second.untaken

    assert isinstance(whole[-1], ResponseEnded)
    assert whole[-1].status is Status.COMPLETED
    assert not closed_early
    assert provider.closed
    assert isinstance(cut[-1], ResponseEnded)
    assert cut[-1].status is Status.INTERRUPTED
