"""`Complete` and `UpdateSettings`: the whole at once, and what later responses start from."""

import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    UNSET,
    CallFragment,
    Category,
    Complete,
    Completion,
    Context,
    Finished,
    Generate,
    Patience,
    ProviderError,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFailed,
    Settings,
    Status,
    TextDelta,
    UpdateSettings,
    Usage,
    User,
)
from greenroom.actors.testing import HANG, Script, ScriptedProvider, says
from greenroom.runtime import Interrupted, open_runtime
from greenroom.runtime.testing import World, cancel_everywhere

CONTEXT = Context.of(User("hi"))


async def complete(script: str | Script, patience: Patience | None = None) -> Completion:
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, ScriptedProvider(script), None, patience)
        return await llm.ask(Complete(CONTEXT))


async def test_the_whole_is_what_a_stream_would_have_given() -> None:
    """Text, calls, reasoning, refusal, usage, and the end with its figures."""
    usage = Usage(input=3, output=4, total=7)
    steps = (
        ReasoningDelta("hm "),
        ReasoningDelta("so"),
        TextDelta("let me "),
        TextDelta("see"),
        CallFragment(0, "c1", "add", '{"a": 1}'),
        Finished("tool_calls"),
    )
    whole = await complete(Script((*steps, *says("", usage=usage).steps[1:])))

    assert whole.text == "let me see"
    assert whole.reasoning == "hm so"
    assert [(c.id, c.name, c.arguments) for c in whole.calls] == [("c1", "add", '{"a": 1}')]
    assert whole.usage == usage
    assert whole.ended.status is Status.TOOL_CALLS
    assert whole.ended.text == "let me see"
    assert whole.ended.chunks == 5
    assert (await complete(Script((RefusalDelta("no"), Finished("stop"))))).refusal == "no"


async def test_a_cut_off_answer_is_no_failure() -> None:
    """The status says so."""
    assert (await complete(says("a", finish="length"))).ended.status is Status.TRUNCATED


async def test_a_failure_is_raised_and_the_actor_lives_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With the end that a stream would have had."""
    provider = ScriptedProvider(
        says("a|b").after(1, ProviderError("overloaded", category=Category.SERVER)),
        says("a").before_head(HANG),
        "fine",
    )
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, None, Patience(first_token=3))

        with pytest.raises(ResponseFailed, match="overloaded") as failed:
            await llm.ask(Complete(CONTEXT))
        with pytest.raises(ResponseFailed, match="deadline pass: first token") as late:
            await llm.ask(Complete(CONTEXT))

        assert (failed.value.ended.status, failed.value.ended.text) == (Status.FAILED, "a")
        assert failed.value.ended.category is Category.SERVER
        assert late.value.ended.status is Status.TIMED_OUT
        assert (await llm.ask(Complete(CONTEXT))).text == "fine"


async def test_a_long_answer_does_not_keep_others_waiting() -> None:
    """R12: a checkpoint at least every 64 frames."""
    turns: list[int] = []

    class Burst(ScriptedProvider):
        async def request(self, context: Context, settings: Settings) -> object:  # type: ignore[override]  # pyright: ignore
            stream = await super().request(context, settings)
            whole = tuple(TextDelta("a") for _ in range(10_000))
            batches = [(*whole, Finished("stop")), ()]

            async def events() -> object:
                await trio.lowlevel.checkpoint()
                return batches.pop(0)

            stream.events = events  # type: ignore[method-assign,assignment]  # pyright: ignore
            return stream

    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, Burst("x"))
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                while True:
                    turns.append(1)
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(look)
            assert len((await llm.ask(Complete(CONTEXT))).text) == 10_000
            nursery.cancel_scope.cancel()

    assert len(turns) > 10_000 // 64


async def test_an_interruption_is_told_to_who_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R13; and the stream is closed."""
    provider = ScriptedProvider(says("a|b").after(1, HANG))
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(Interrupted, match="barge in"):
                    await llm.ask(Complete(CONTEXT))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            llm.interrupt("barge in")
        assert provider.all_closed()


async def test_settings_change_for_what_comes_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A running response keeps its own; the reply says what was changed."""
    provider = ScriptedProvider(says("a|b").after(1, 1.0), then="c")
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, Settings(model="one", extra={"k": 1}))
        async with llm.stream(Generate(CONTEXT, Settings(seed=5))) as frames:
            await anext(frames)
            changed = await llm.ask(
                UpdateSettings(Settings(model="two", temperature=0.5, extra={"k": 2, "n": 1}))
            )
            *_, ended = [frame async for frame in frames]
        await llm.ask(Complete(CONTEXT))
        again = await llm.ask(UpdateSettings(Settings(model="two")))

    assert changed == {"model": "one", "temperature": UNSET, "k": 1, "n": UNSET}
    assert again == {}
    assert isinstance(ended, ResponseEnded)
    first, second = (asked.settings for asked in provider.asked)
    assert first == Settings(model="one", seed=5, extra={"k": 1})
    assert second == Settings(model="two", temperature=0.5, extra={"k": 2, "n": 1})


@cancel_everywhere(floor=20)
async def test_a_whole_answer_can_be_cut_off_anywhere(w: World) -> None:
    """I4, I9."""
    provider = ScriptedProvider(says("a|b|c").before_head(0.1).after(2, 0.1), then="ok")
    w.own("the model", provider.all_closed)
    llm = await w.runtime.spawn(LLM, provider, name="llm")
    with w.scope("turn"):
        assert (await llm.ask(Complete(CONTEXT))).text == "abc"
