"""
Whole systems as scenarios for the test kit, from the actors down to the bytes of HTTP.

An agent's turn with two tools at once: `Agent`, `Dispatcher`, `LLM`, the ``openai`` client, httpx2
and our own transport, over the network in memory, with the understudy at the other end.
"""

import ssl
from typing import Any

from greenroom.actors.agent import (
    Conversation,
    Outcome,
    Question,
    TurnEnded,
    TurnFrame,
    UserMessage,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import open_memory_network
from greenroom.actors.tools import Tool
from greenroom.actors.understudy import Understudy
from greenroom.runtime.testing import World
from tests.actors.agent.turns import (
    ANSWER,
    IN_TASKS,
    IN_THREADS,
    QUESTION,
    check_context,
    check_frames,
    spawn_agent,
)

# Made once: TLS is not used here, and the platform's certificates take long to read.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _take_turn(w: World, tools: tuple[Tool[..., Any], ...]) -> None:
    understudy = Understudy()
    async with open_memory_network(understudy.serve) as network:
        provider = OpenAIProvider(
            profile="understudy",
            base_url="http://understudy/v1",
            dial=network.dial,
            ssl_context=_NO_TLS,
        )
        w.own("the pool", lambda: provider.transport.statistics().active == 0)  # I13
        w.own("the network", lambda: network.open == provider.transport.statistics().idle)
        w.own("the server", lambda: understudy.statistics().streams_running == 0)
        agent = await spawn_agent(w.runtime, provider, tools)
        frames: list[TurnFrame] = []
        stream = agent.stream(UserMessage(QUESTION), buffer=2)
        with w.scope("turn") as turn:
            async with stream:
                async for frame in stream:
                    frames.append(frame)  # noqa: PERF401 - what came before the cut counts
        assert provider.transport.statistics().active == 0
        frames.extend(stream.untaken)
        check_frames(frames)  # I3, I5
        if not turn.cancelled_caught:
            assert isinstance(frames[-1], TurnEnded)
            # a fault may have hit the server or a tool, and then the turn says so
            assert frames[-1].outcome in (Outcome.ANSWERED, Outcome.FAILED)
            return
        check_context(await agent.ask(Conversation()), provider)  # I8
        assert ANSWER in (await agent.ask(Question(QUESTION))).text


async def agent_turn(w: World) -> None:
    """The tools run in tasks."""
    await _take_turn(w, IN_TASKS)


async def agent_turn_in_threads(w: World) -> None:
    """The tools run in threads, which are virtual under the kit."""
    await _take_turn(w, IN_THREADS)
