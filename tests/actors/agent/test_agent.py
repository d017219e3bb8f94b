"""The agent: model and tools alternate until there is an answer, and nothing is left behind."""

import math
from functools import partial

import pytest
import trio

from greenroom.actors.agent import (
    Agent,
    Answer,
    Conversation,
    HandedOff,
    Outcome,
    Question,
    Rewind,
    TurnEnded,
    TurnFrame,
    UserMessage,
    as_tool,
    handoff,
)
from greenroom.actors.llm import (
    LLM,
    Assistant,
    CallFragment,
    Category,
    Finished,
    Generate,
    Patience,
    ProviderError,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    ToolCall,
    ToolCallsReady,
    ToolOutput,
    Usage,
    UsageSeen,
    User,
)
from greenroom.actors.testing import ScriptedProvider, Step
from greenroom.actors.tools import ToolResult, ToolStarted
from greenroom.runtime import (
    Actor,
    Emit,
    Event,
    FrameEmitted,
    Interrupted,
    Ref,
    Refused,
    Runtime,
    handles,
    open_runtime,
)

USAGE = Usage(input=10, output=5, total=15)


async def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    await trio.sleep(1)
    return a * b


def calls(*arguments: str, name: str = "multiply") -> list[Step]:
    """A response that calls a tool once for each of *arguments*."""
    fragments = [
        CallFragment(index, f"c{index}", name, text) for index, text in enumerate(arguments)
    ]
    return [*fragments, Finished("tool_calls"), UsageSeen(USAGE)]


def says(*texts: str) -> list[Step]:
    """A response that is an answer."""
    return [*map(TextDelta, texts), Finished("stop"), UsageSeen(USAGE)]


async def spawn_agent(runtime: Runtime, provider: ScriptedProvider, **options: object) -> Ref:
    llm = await runtime.spawn(LLM, provider, name="llm")
    make = partial(Agent, llm, [multiply], "You multiply.", **options)  # type: ignore[arg-type]
    return await runtime.spawn(make, name="agent")


async def take(agent: Ref, text: str) -> list[TurnFrame]:
    async with agent.stream(UserMessage(text)) as frames:
        return [frame async for frame in frames]


SIX = '{"a": 2, "b": 3}'
SEVEN = '{"a": 1, "b": 7}'


async def test_a_turn_streams_every_frame_and_ends_with_its_sum(autojump_clock: object) -> None:
    """Two parallel calls, one more inference, one answer; the tools ran at the same time."""
    provider = ScriptedProvider(calls(SIX, SEVEN), says("6 and ", "7."))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        began = trio.current_time()
        frames = await take(agent, "multiply")
        context = await agent.ask(Conversation())

    assert trio.current_time() - began == 1
    kinds = [type(f).__name__ for f in frames if not isinstance(f, (ToolStarted, ToolResult))]
    assert kinds == [
        *("ResponseStarted", "ToolCallStarted", "ToolCallStarted", "ToolCallsReady"),
        *("UsageReported", "ResponseEnded"),
        *("ResponseStarted", "TextDelta", "TextDelta", "UsageReported", "ResponseEnded"),
        "TurnEnded",
    ]
    assert {f.call_id: f.text for f in frames if isinstance(f, ToolResult)} == {
        "c0": "6",
        "c1": "7",
    }
    assert frames[-1] == TurnEnded(
        Outcome.ANSWERED,
        answer="6 and 7.",
        usage=USAGE + USAGE,
        agent="agent",
        steps=2,
        calls=2,
    )
    assert context.problems() == ()
    assert context.messages[-1] == Assistant("6 and 7.")
    assert provider.asked[1].context.messages == context.messages[:-1]
    assert provider.asked[0].settings.system_instruction == "You multiply."
    assert [spec.name for spec in provider.asked[0].context.tools] == ["multiply"]
    assert (provider.open_streams, provider.closed) == (0, True)


async def test_a_question_is_answered_and_the_conversation_grows(autojump_clock: object) -> None:
    """`Question` is `UserMessage` for those who only want the answer."""
    provider = ScriptedProvider(says("Hello."), says("Again."))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        first = await agent.ask(Question("hi"))
        await agent.ask(Question("hi again"))
        context = await agent.ask(Conversation())

    assert first == Answer("Hello.", Outcome.ANSWERED, USAGE)
    assert context.messages == (
        User("hi"),
        Assistant("Hello."),
        User("hi again"),
        Assistant("Again."),
    )


@pytest.mark.parametrize(
    ("script", "outcome", "detail"),
    [
        ([TextDelta("x"), Finished("length")], Outcome.TRUNCATED, ""),
        ([TextDelta("x"), Finished("content_filter")], Outcome.FILTERED, ""),
        ([Finished("stop")], Outcome.EMPTY, ""),
        ([ProviderError("no such key", category=Category.AUTHENTICATION)], Outcome.FAILED, "key"),
        ([TextDelta("x"), RuntimeError("bug")], Outcome.FAILED, "RuntimeError: bug"),
        ([TextDelta("x")], Outcome.FAILED, "closed the stream after 1 tokens"),
        ([TextDelta("x"), math.inf], Outcome.TIMED_OUT, "between tokens"),
        ([math.inf], Outcome.TIMED_OUT, "headers"),
    ],
)
async def test_a_turn_ends_as_its_last_response_did(
    script: list[Step], outcome: Outcome, detail: str, autojump_clock: object
) -> None:
    """The faults of a model are outcomes, and the next turn works."""
    provider = ScriptedProvider(script, says("fine"))
    patience = Patience(headers=10, between_tokens=5)
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, Settings(), patience)
        agent = await runtime.spawn(Agent, llm)
        ended = (await take(agent, "hi"))[-1]
        answer = await agent.ask(Question("and now?"))

    assert isinstance(ended, TurnEnded)
    assert ended.outcome is outcome
    assert detail in ended.detail
    assert answer.text == "fine"
    assert provider.open_streams == 0


async def test_a_question_whose_turn_fails_is_refused(autojump_clock: object) -> None:
    """Who asks for an answer gets one, or an exception that says what to do."""
    provider = ScriptedProvider([ProviderError("bad key", category=Category.AUTHENTICATION)])
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        with pytest.raises(Refused, match="agent could not answer: bad key"):
            await agent.ask(Question("hi"))


async def test_steps_are_bounded(autojump_clock: object) -> None:
    """A model that calls for ever is stopped, and the conversation stays valid."""
    provider = ScriptedProvider(*[calls(SIX)] * 3)
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider, max_steps=3)
        ended = (await take(agent, "hi"))[-1]
        context = await agent.ask(Conversation())

    assert isinstance(ended, TurnEnded)
    assert (ended.outcome, ended.steps, ended.calls) == (Outcome.EXHAUSTED, 3, 3)
    assert "raise max_steps" in ended.detail
    assert context.problems() == ()


async def test_bad_calls_are_answered_and_the_model_goes_on(autojump_clock: object) -> None:
    """Behaviours 67: unknown names and bad arguments are results, so that the model can mend them."""
    script: list[Step] = [
        CallFragment(0, "c0", "multiplyy", SIX),
        CallFragment(1, "c1", "multiply", "{'a'"),
        CallFragment(2, "c2", "multiply", '{"a": "x", "b": 1}'),
        Finished("tool_calls"),
    ]
    provider = ScriptedProvider(script, says("sorry"))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        frames = await take(agent, "hi")

    texts = {f.call_id: f.text for f in frames if isinstance(f, ToolResult) if f.is_error}
    assert "did you mean 'multiply'" in texts["c0"]
    assert "JSON" in texts["c1"]
    assert "'a'" in texts["c2"]
    assert isinstance(frames[-1], TurnEnded)
    assert frames[-1].answer == "sorry"


async def test_leaving_the_stream_ends_the_turn_and_commits_what_was_taken(
    autojump_clock: object,
) -> None:
    """I4, I8, R12: after `break` nothing runs, and the history holds what was delivered."""
    provider = ScriptedProvider(
        [TextDelta("One "), TextDelta("two "), 1.0, TextDelta("three"), math.inf], says("fine")
    )
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        async with agent.stream(UserMessage("count"), buffer=1) as frames:
            async for frame in frames:
                if frame == TextDelta("two "):
                    break
        closing = frames.closing
        still_open = provider.open_streams
        context = await agent.ask(Conversation())
        await agent.ask(Question("go on"))

    assert still_open == 0
    assert context.messages[-1] == Assistant(
        "One two ", interrupted="the block of its stream was left"
    )
    assert [type(frame) for frame in closing] == [ResponseEnded, TurnEnded]
    assert isinstance(closing[0], ResponseEnded)
    assert closing[0].status is Status.INTERRUPTED
    assert isinstance(closing[1], TurnEnded)
    assert (closing[1].outcome, closing[1].answer) == (Outcome.INTERRUPTED, "One two ")


async def test_interrupting_an_agent_settles_its_calls(autojump_clock: object) -> None:
    """I3, I8: an interrupt during two tools cancels them; each call has its one result."""
    provider = ScriptedProvider(calls(SIX, SEVEN), says("fine"))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        seen: list[TurnFrame] = []
        with pytest.raises(Interrupted, match="barge-in"):  # noqa: PT012 - it is the loop that raises
            async with agent.stream(UserMessage("hi")) as frames:
                async for frame in frames:
                    seen.append(frame)
                    if len([f for f in seen if isinstance(f, ToolStarted)]) == 2:
                        agent.interrupt("barge-in")
        context = await agent.ask(Conversation())

    assert sorted(f.call_id for f in seen if isinstance(f, ToolResult)) == ["c0", "c1"]
    assert all("barge-in" in f.text for f in seen if isinstance(f, ToolResult))
    assert isinstance(seen[-1], TurnEnded)
    assert seen[-1].outcome is Outcome.INTERRUPTED
    assert context.problems() == ()
    assert trio.current_time() < 1


async def test_turns_of_one_agent_are_taken_one_after_another(autojump_clock: object) -> None:
    """A second message is simply the next turn (R1)."""
    provider = ScriptedProvider([1.0, *says("one")], [1.0, *says("two")])
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        answers: list[str] = []

        async def ask(text: str) -> None:
            answers.append((await agent.ask(Question(text))).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, "second")
        context = await agent.ask(Conversation())

    assert answers == ["one", "two"]
    assert [m.text for m in context.messages] == ["first", "one", "second", "two"]


async def test_rewind_forgets_turns(autojump_clock: object) -> None:
    """The last turns go, the user's messages with them; going too far back empties it."""
    provider = ScriptedProvider(says("1"), says("2"), says("3"))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        for text in "abc":
            await agent.ask(Question(text))
        left = await agent.ask(Rewind(2))
        none = await agent.ask(Rewind(5))

    assert [m.text for m in left.messages] == ["a", "1"]
    assert none.messages == ()


@pytest.mark.parametrize("turns", [0, -1, 1.5])
def test_a_rewind_of_no_turns_is_refused(turns: object) -> None:
    """It would be taken for a rewind to the beginning."""
    with pytest.raises(ValueError, match="turns must be an int >= 1, not"):
        Rewind(turns)  # type: ignore[arg-type]


async def test_who_left_a_question_was_given_nothing(autojump_clock: object) -> None:
    """R12: no frame of it reached the asker, so no text of it is in the history."""
    provider = ScriptedProvider([TextDelta("One "), math.inf], says("fine"))
    async with open_runtime() as runtime:
        agent = await spawn_agent(runtime, provider)
        with trio.move_on_after(1):
            await agent.ask(Question("count"))
        context = await agent.ask(Conversation())

    assert context.messages == (User("count"),)


async def test_observers_are_told_of_each_frame_once(autojump_clock: object) -> None:
    """R11, R26: what goes out again among the closing frames is no second frame."""
    provider = ScriptedProvider(calls(SIX, SEVEN), [TextDelta("One "), math.inf])
    events: list[Event] = []
    async with open_runtime(observers=[events.append]) as runtime:
        agent = await spawn_agent(runtime, provider)
        async with agent.stream(UserMessage("hi")):
            await trio.sleep(2)  # reads nothing, and leaves

    told = [(e.actor, id(e.frame)) for e in events if isinstance(e, FrameEmitted)]
    assert len(told) == len(set(told))
    for kind in (ResponseStarted, ResponseEnded, ToolResult, TurnEnded):
        by_agent = [
            e
            for e in events
            if isinstance(e, FrameEmitted) and e.actor == "agent" and isinstance(e.frame, kind)
        ]
        assert len(by_agent) == (1 if kind is TurnEnded else 2)


class _Careless(Actor):
    """A model that is no `LLM`, and breaks the rules of its stream."""

    def __init__(self, *frames: ResponseFrame) -> None:
        self._frames = frames

    @handles
    async def generate(self, request: Generate, emit: Emit[ResponseFrame]) -> None:
        """Emit what was given."""
        for frame in self._frames:
            await emit(frame)


TWINS = ToolCallsReady((ToolCall("a", "multiply", SIX), ToolCall("a", "multiply", SEVEN)))


@pytest.mark.parametrize(
    ("frames", "detail"),
    [
        ([], "careless ended its stream without a ResponseEnded"),
        ([ResponseStarted("r", "m"), TextDelta("x")], "without a ResponseEnded"),
        ([TextDelta("x")], "can't take TextDelta while idle"),
        ([ResponseStarted("r", "m"), TWINS], "two calls of one id: a, a"),
        ([ResponseStarted("r", "m"), ResponseStarted("r", "m")], "while streaming"),
    ],
)
async def test_a_model_that_breaks_the_rules_fails_the_turn(
    frames: list[ResponseFrame], detail: str, autojump_clock: object
) -> None:
    """A fault of another actor is an outcome; the agent lives, and its history is valid (I8)."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(_Careless, *frames, name="careless")
        agent = await runtime.spawn(Agent, llm, [multiply])
        ended = (await take(agent, "hi"))[-1]
        context = await agent.ask(Conversation())

    assert isinstance(ended, TurnEnded)
    assert ended.outcome is Outcome.FAILED
    assert detail in ended.detail
    assert context.problems() == ()


# -- several agents


async def spawn_two(
    runtime: Runtime, desk: ScriptedProvider, expert: ScriptedProvider
) -> tuple[Ref, Ref]:
    expert_llm = await runtime.spawn(LLM, expert)
    specialist = await runtime.spawn(Agent, expert_llm, [multiply], "Expert.", name="expert")
    desk_llm = await runtime.spawn(LLM, desk)
    front = await runtime.spawn(
        Agent, desk_llm, [], "Desk.", [handoff(specialist, description="multiplies")], name="desk"
    )
    return front, specialist


async def test_a_handoff_moves_the_conversation(autojump_clock: object) -> None:
    """The turn goes on at the other agent, and so does the next turn; the asker sees one stream."""
    desk = ScriptedProvider(calls("{}", name="transfer_to_expert"))
    expert = ScriptedProvider(calls(SIX), says("Six."), says("Still me."))
    async with open_runtime() as runtime:
        front, specialist = await spawn_two(runtime, desk, expert)
        frames = await take(front, "2 times 3?")
        again = await take(front, "thanks")
        context = await front.ask(Conversation())
        own = await specialist.ask(Conversation())

    assert [f for f in frames if isinstance(f, HandedOff)] == [HandedOff("desk", specialist)]
    ended = frames[-1]
    assert isinstance(ended, TurnEnded)
    assert (ended.outcome, ended.answer, ended.agent) == (Outcome.ANSWERED, "Six.", "expert")
    assert (ended.steps, ended.calls) == (3, 2)
    assert isinstance(again[-1], TurnEnded)
    assert again[-1].answer == "Still me."
    assert context.problems() == ()
    assert own.messages == ()
    assert expert.asked[0].settings.system_instruction == "Expert."
    assert ToolOutput("c0", "expert has the conversation now") in expert.asked[0].context.messages
    assert len(desk.asked) == 1


async def test_calls_beside_a_handoff_are_run_first_and_a_second_handoff_is_not(
    autojump_clock: object,
) -> None:
    """One step, one owner: every call of the response has its result before the move."""
    script: list[Step] = [
        CallFragment(0, "c0", "transfer_to_expert", "{}"),
        CallFragment(1, "c1", "transfer_to_expert", "{}"),
        CallFragment(2, "c2", "nothing", "{}"),
        Finished("tool_calls"),
    ]
    async with open_runtime() as runtime:
        front, _ = await spawn_two(runtime, ScriptedProvider(script), ScriptedProvider(says("ok")))
        frames = await take(front, "hi")

    results = {f.call_id: (f.text, f.is_error) for f in frames if isinstance(f, ToolResult)}
    assert results["c0"] == ("expert has the conversation now", False)
    assert results["c1"] == ("not done: expert has the conversation now", True)
    assert results["c2"][1]
    assert isinstance(frames[-1], TurnEnded)
    assert frames[-1].answer == "ok"


async def test_agents_that_hand_over_in_a_circle_do_not_deadlock(autojump_clock: object) -> None:
    """The owner of the conversation moves it, so that handing back asks nobody who waits."""
    desk = ScriptedProvider(calls("{}", name="transfer_to_expert"), says("Back at the desk."))
    expert = ScriptedProvider(calls("{}", name="transfer_to_desk"))
    async with open_runtime() as runtime:
        desk_llm = await runtime.spawn(LLM, desk)
        expert_llm = await runtime.spawn(LLM, expert)
        for name, llm, other in (("desk", desk_llm, "expert"), ("expert", expert_llm, "desk")):
            options = [handoff(other, description="the other")]
            await runtime.spawn(Agent, llm, [], "", options, name=name)
        frames = await take(runtime.find("desk"), "hi")

    assert [f.to.name for f in frames if isinstance(f, HandedOff)] == ["expert", "desk"]
    assert isinstance(frames[-1], TurnEnded)
    assert (frames[-1].answer, frames[-1].agent) == ("Back at the desk.", "desk")


async def test_agents_that_only_hand_over_are_stopped(autojump_clock: object) -> None:
    """A circle without an answer is bounded as responses are."""
    async with open_runtime() as runtime:
        for name, other in (("desk", "expert"), ("expert", "desk")):
            provider = ScriptedProvider(*[calls("{}", name=f"transfer_to_{other}")] * 4)
            llm = await runtime.spawn(LLM, provider)
            options = [handoff(other, description="the other")]
            make = partial(Agent, llm, handoffs=options, max_steps=4)
            await runtime.spawn(make, name=name)
        ended = (await take(runtime.find("desk"), "hi"))[-1]

    assert isinstance(ended, TurnEnded)
    assert (ended.outcome, ended.detail) == (
        Outcome.FAILED,
        "handed off 4 times without an answer",
    )


async def test_a_handoff_to_nobody_is_not_offered(autojump_clock: object) -> None:
    """A name is looked up for each turn, so the model never hands over to the dead."""
    provider = ScriptedProvider(says("alone"))
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider)
        nobody = [handoff("nobody", description="x")]
        agent = await runtime.spawn(Agent, llm, [], "", nobody)
        await agent.ask(Question("hi"))

    assert provider.asked[0].context.tools == ()


async def test_an_owner_that_stopped_fails_the_turn(autojump_clock: object) -> None:
    """The conversation is not lost with the agent that it was handed to: it comes home."""
    desk = ScriptedProvider(calls("{}", name="transfer_to_expert"), says("The desk again."))
    async with open_runtime() as runtime:
        front, specialist = await spawn_two(runtime, desk, ScriptedProvider(says("Six.")))
        await take(front, "2 times 3?")
        specialist.stop()
        await specialist.wait_stopped()
        ended = (await take(front, "thanks"))[-1]
        context = await front.ask(Conversation())
        answer = await front.ask(Question("anybody there?"))

    assert isinstance(ended, TurnEnded)
    assert ended.outcome is Outcome.FAILED
    assert "'expert'> stopped before handling TakeOver" in ended.detail
    assert context.problems() == ()
    assert answer.text == "The desk again."


async def test_rewind_takes_handoffs_back(autojump_clock: object) -> None:
    """The conversation is again with who had it before the turns that are forgotten."""
    desk = ScriptedProvider(says("1"), calls("{}", name="transfer_to_expert"), says("2"))
    expert = ScriptedProvider(says("Six."))
    async with open_runtime() as runtime:
        front, _ = await spawn_two(runtime, desk, expert)
        for text in ("one", "2 times 3?"):
            await take(front, text)
        await front.ask(Rewind())
        answer = await front.ask(Question("two"))

    assert answer.text == "2"


@pytest.mark.parametrize("taken", range(8))
async def test_a_handoff_is_made_and_told_or_neither(taken: int, autojump_clock: object) -> None:
    """However much the asker took, history, frames and the next turn agree on who has it."""
    desk = ScriptedProvider(calls("{}", name="transfer_to_expert"), says("desk"))
    expert = ScriptedProvider([math.inf], says("expert"))
    async with open_runtime() as runtime:
        front, _ = await spawn_two(runtime, desk, expert)
        async with front.stream(UserMessage("hi"), buffer=1) as stream:
            frames = [await anext(stream) for _ in range(taken)]
            await trio.testing.wait_all_tasks_blocked()
        frames.extend(stream.untaken)
        context = await front.ask(Conversation())
        desk_was_asked = len(desk.asked)
        with trio.move_on_after(1):
            await front.ask(Question("and?"))

    told = any(isinstance(frame, HandedOff) for frame in frames)
    made = len(desk.asked) == desk_was_asked
    said = ToolOutput("c0", "expert has the conversation now") in context.messages
    assert told == made == said
    assert told == (taken >= 4)


async def test_an_agent_as_a_tool_answers_and_keeps_its_own_conversation(
    autojump_clock: object,
) -> None:
    """The model asks another agent as it asks any tool."""
    expert = ScriptedProvider(calls(SIX), says("Six."))
    desk = ScriptedProvider(calls('{"question": "2*3?"}', name="ask_expert"), says("It is six."))
    async with open_runtime() as runtime:
        expert_llm = await runtime.spawn(LLM, expert)
        specialist = await runtime.spawn(Agent, expert_llm, [multiply], name="expert")
        desk_llm = await runtime.spawn(LLM, desk)
        ask = as_tool(specialist, description="multiplies")
        front = await runtime.spawn(Agent, desk_llm, [ask], name="desk")
        frames = await take(front, "2 times 3?")
        own = await specialist.ask(Conversation())

    assert [f.text for f in frames if isinstance(f, ToolResult)] == ["Six."]
    assert isinstance(frames[-1], TurnEnded)
    assert frames[-1].answer == "It is six."
    assert own.messages == ()


async def test_cancelling_a_turn_cancels_the_agent_that_it_asked(autojump_clock: object) -> None:
    """I4 through two agents: the inner stream is closed when the outer block is left."""
    expert = ScriptedProvider([TextDelta("Thinking"), math.inf])
    desk = ScriptedProvider(calls('{"question": "2*3?"}', name="ask_expert"))
    async with open_runtime() as runtime:
        expert_llm = await runtime.spawn(LLM, expert)
        specialist = await runtime.spawn(Agent, expert_llm, name="expert")
        desk_llm = await runtime.spawn(LLM, desk)
        ask = as_tool(specialist, description="multiplies")
        front = await runtime.spawn(Agent, desk_llm, [ask], name="desk")
        with trio.move_on_after(3) as scope:
            await front.ask(Question("hi"))
        open_streams = expert.open_streams
        context = await front.ask(Conversation())

    assert scope.cancelled_caught
    assert trio.current_time() == 3
    assert open_streams == 0
    assert context.problems() == ()
    assert isinstance(context.messages[-1], ToolOutput)
    assert context.messages[-1].is_error


async def test_a_failing_agent_is_a_failing_tool(autojump_clock: object) -> None:
    """The error reaches the model, which can go on without."""
    expert = ScriptedProvider([ProviderError("bad key", category=Category.AUTHENTICATION)])
    desk = ScriptedProvider(calls('{"question": "?"}', name="ask_expert"), says("It can't."))
    async with open_runtime() as runtime:
        expert_llm = await runtime.spawn(LLM, expert)
        specialist = await runtime.spawn(Agent, expert_llm, name="expert")
        desk_llm = await runtime.spawn(LLM, desk)
        front = await runtime.spawn(Agent, desk_llm, [as_tool(specialist, description="x")])
        frames = await take(front, "hi")

    assert [(f.text, f.is_error) for f in frames if isinstance(f, ToolResult)] == [
        ("expert could not answer: bad key", True)
    ]


@pytest.mark.parametrize("max_steps", [0, -1, 1.5])
def test_max_steps_must_be_a_count(max_steps: object) -> None:
    """Bad settings are refused where they are given."""
    with pytest.raises(ValueError, match="max_steps must be an int >= 1, not"):
        Agent(None, max_steps=max_steps)  # type: ignore[arg-type]


async def test_names_that_the_model_could_not_tell_apart_are_refused(
    autojump_clock: object,
) -> None:
    """A name stands for one thing."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, ScriptedProvider())
        other = await runtime.spawn(Agent, llm, name="other")
        clash = handoff(other, description="x", name="multiply")
        with pytest.raises(ValueError, match="need distinct names, and 'multiply' is there twice"):
            await runtime.spawn(Agent, llm, [multiply], "", [clash])
        twins = [handoff(name, description="x") for name in ("a b", "a_b")]
        with pytest.raises(ValueError, match=r"'transfer_to_a_b' is there twice; write name='...'"):
            await runtime.spawn(Agent, llm, [], "", twins)
