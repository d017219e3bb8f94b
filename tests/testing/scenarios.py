"""
Whole systems as scenarios for the test kit, from the actors down to the bytes of HTTP.

An agent's turn with two tools at once: `Agent`, `Dispatcher`, `LLM`, the ``openai`` client, httpx2
and our own transport, over the network in memory, with the understudy at the other end.
"""

from typing import Any

from greenroom.actors.agent import Conversation, Outcome, Question, TurnEnded
from greenroom.actors.tools import Tool
from greenroom.runtime.testing import World
from tests.actors.agent.turns import (
    ANSWER,
    IN_TASKS,
    IN_THREADS,
    QUESTION,
    check_context,
    open_stage,
    spawn_agent,
    take_turn,
)


async def _take_turn(w: World, tools: tuple[Tool[..., Any], ...]) -> None:
    async with open_stage() as stage:
        provider, network, understudy = stage.provider, stage.network, stage.understudy
        w.own("the pool", lambda: provider.transport.statistics().active == 0)  # I13
        w.own("the network", lambda: network.open == provider.transport.statistics().idle)
        w.own("the server", lambda: understudy.statistics().streams_running == 0)
        agent = await spawn_agent(w.runtime, provider, tools)
        turn = await take_turn(w, agent, provider)
        if not turn.scope.cancelled_caught:
            ended = turn.frames[-1]
            assert isinstance(ended, TurnEnded)
            # a fault may have hit the server or a tool, and then the turn says so
            assert ended.outcome in (Outcome.ANSWERED, Outcome.FAILED)
            return
        check_context(await agent.ask(Conversation()), provider)  # I8
        assert ANSWER in (await agent.ask(Question(QUESTION))).text


async def agent_turn(w: World) -> None:
    """The tools run in tasks."""
    await _take_turn(w, IN_TASKS)


async def agent_turn_in_threads(w: World) -> None:
    """The tools run in threads, which are virtual under the kit."""
    await _take_turn(w, IN_THREADS)
