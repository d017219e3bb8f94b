"""The demo's team, on the understudy, over real HTTP."""

import trio

from greenroom.actors.agent import Answer, Conversation, HandedOff, Question, UserMessage
from greenroom.actors.demo.cast import DEFAULT_QUESTION, FRONT_DESK, SPECIALISTS
from greenroom.actors.demo.team import Team, spawn_team
from greenroom.actors.llm import Settings
from greenroom.actors.llm.actor import LLM
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.tools import ToolResult, ToolStarted
from greenroom.actors.understudy import MODEL, open_understudy
from greenroom.runtime import Runtime, open_runtime


async def team_on(runtime: Runtime, base_url: str, *, tool_delay: float = 0.0) -> Team:
    """Spawn the team on the model at *base_url*."""
    llm = await runtime.spawn(LLM, OpenAIProvider(base_url=base_url), Settings(model=MODEL))
    return await spawn_team(runtime, llm, tool_delay=tool_delay)


async def test_the_default_question_takes_two_tools_at_once_and_a_calculation() -> None:
    """The front desk hands over, two look-ups run in parallel, and the difference is computed."""
    with trio.fail_after(20):
        async with open_understudy() as server, open_runtime() as runtime:
            team = await team_on(runtime, server.base_url)
            async with team.front_desk.stream(UserMessage(DEFAULT_QUESTION)) as frames:
                taken = [frame async for frame in frames]

    tools = [frame for frame in taken if isinstance(frame, (ToolStarted, ToolResult))]
    began = [frame.name for frame in tools if isinstance(frame, ToolStarted)]
    assert [f.to.name for f in taken if isinstance(f, HandedOff)] == ["astronomer"]
    assert began == ["planet_fact", "planet_fact", "calculate"]
    assert [type(frame) for frame in tools[1:3]] == [ToolStarted, ToolStarted]
    assert "1330" in taken[-1].answer  # type: ignore[union-attr]


async def test_a_renewed_team_takes_the_conversation_to_another_specialist() -> None:
    """The front desk that was left without its conversation has it again, and hands over anew."""
    with trio.fail_after(20):
        async with open_understudy() as server, open_runtime() as runtime:
            team = await team_on(runtime, server.base_url)
            await team.front_desk.ask(Question(DEFAULT_QUESTION))
            before = await team.front_desk.ask(Conversation())
            team = await team.renewed(before)
            answer: Answer = await team.front_desk.ask(Question("How high is K2?"))
            after = await team.front_desk.ask(Conversation())

    assert "8611" in answer.text
    assert after.messages[: len(before)] == before.messages
    assert after.problems() == ()


async def test_delayed_tools_can_be_cancelled_and_answer_as_they_would() -> None:
    """A delay changes nothing but the time; it is waited for, not blocked on."""
    with trio.fail_after(20):
        async with open_understudy() as server, open_runtime() as runtime:
            team = await team_on(runtime, server.base_url, tool_delay=0.001)
            answer = await team.front_desk.ask(Question("What is 2 * 21?"))
            hour = await team_on_hour(server.base_url)

    assert "42" in answer.text
    assert hour < 60


async def team_on_hour(base_url: str) -> float:
    """Cancel a turn whose tools take an hour, once they run; return how long that took."""
    began = trio.current_time()
    async with open_runtime() as runtime:
        team = await team_on(runtime, base_url, tool_delay=3600)
        async with team.front_desk.stream(UserMessage("What is 2 * 21?")) as frames:
            async for frame in frames:
                if isinstance(frame, ToolStarted):
                    break
    return trio.current_time() - began


async def test_every_role_has_its_tools_and_the_front_desk_is_first() -> None:
    """What ``/tools`` shows is what the cast says."""
    async with open_understudy() as server, open_runtime() as runtime:
        team = await team_on(runtime, server.base_url)

    assert {agent: [tool.name for tool in tools] for agent, tools in team.tools.items()} == {
        role.name: [function.__name__ for function in role.tools]
        for role in (FRONT_DESK, *SPECIALISTS)
    }
    assert next(iter(team.tools)) == FRONT_DESK.name
