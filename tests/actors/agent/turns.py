"""One whole turn over the real stack, and everything that must hold when it was cut anywhere."""

import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import attrs
import trio

from greenroom.actors.agent import Agent, TurnEnded, TurnFrame, UserMessage
from greenroom.actors.demo.calculator import calculate
from greenroom.actors.demo.cast import DEFAULT_QUESTION, SPECIALISTS
from greenroom.actors.demo.facts import planet_fact
from greenroom.actors.llm import (
    LLM,
    Context,
    ResponseEnded,
    ResponseStarted,
    Settings,
    TextDelta,
    ToolCallsReady,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.llm.render import render
from greenroom.actors.testing import MemoryNetwork, open_memory_network
from greenroom.actors.tools import Tool, ToolResult
from greenroom.actors.understudy import MODEL, Understudy, problems
from greenroom.runtime import Event, HandlerEnded, HandlerStarted, Ref, Runtime
from greenroom.runtime.testing import World

QUESTION = DEFAULT_QUESTION
ANSWER = "1330"  # what the answer to QUESTION must name: Jupiter less Saturn, in 10^24 kg
SETTINGS = Settings(model=MODEL, temperature=0)

# Made once: the platform's certificates take longer to read than a turn takes, and none is used.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def in_task(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* as an async tool that takes a second of the Trio clock, without a thread."""

    @wraps(function)
    async def tool(**arguments: Any) -> Any:
        await trio.sleep(1)
        return function(**arguments)

    return tool


IN_TASKS = (Tool.of(in_task(planet_fact)), Tool.of(in_task(calculate)))
IN_THREADS = (Tool.of(planet_fact), Tool.of(calculate))


async def spawn_agent(
    runtime: Runtime, provider: OpenAIProvider, tools: tuple[Tool[..., Any], ...]
) -> Ref:
    """Spawn the demo's astronomer, with only the tools that the question needs."""
    llm = await runtime.spawn(LLM, provider, SETTINGS, name="llm")
    instructions = next(r.instructions for r in SPECIALISTS if r.name == "astronomer")
    return await runtime.spawn(Agent, llm, tools, instructions, name="agent")


@attrs.frozen
class Stage:
    """The understudy behind a network in memory, and a provider that dials it."""

    understudy: Understudy
    network: MemoryNetwork
    provider: OpenAIProvider


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """Serve the understudy in memory; its model is reached by the real stack, without TLS."""
    understudy = Understudy()
    async with open_memory_network(understudy.serve) as network:
        provider = OpenAIProvider(
            profile="understudy",
            base_url="http://understudy/v1",
            dial=network.dial,
            ssl_context=NO_TLS,
        )
        yield Stage(understudy, network, provider)


@attrs.frozen
class Turn:
    """What came of a turn that may have been cut."""

    frames: list[TurnFrame]
    """Those that were taken, and those that were left in the stream."""
    taken: str
    """The text of the frames that were taken."""
    scope: trio.CancelScope


async def take_turn(w: World, agent: Ref, provider: OpenAIProvider) -> Turn:
    """Ask QUESTION within the scope ``turn``; when it is over, cut or not, I3, I5 and I13 hold."""
    frames: list[TurnFrame] = []
    stream = agent.stream(UserMessage(QUESTION), buffer=2)
    with w.scope("turn") as scope:
        async with stream:
            async for frame in stream:
                frames.append(frame)  # noqa: PERF401 - what came before the cut counts
    assert provider.transport.statistics().active == 0  # I13, at once and not after a while
    taken = "".join(f.text for f in frames if isinstance(f, TextDelta))
    frames.extend(stream.untaken)
    check_frames(frames)
    return Turn(frames, taken, scope)


def check_frames(frames: list[TurnFrame]) -> None:
    """I3 and I5: what began has ended, once, and in order; TurnEnded is the last of all."""
    starts = [f.id for f in frames if isinstance(f, ResponseStarted)]
    ends = [f.id for f in frames if isinstance(f, ResponseEnded)]
    assert starts == ends
    assert len(set(starts)) == len(starts)
    called = [call.id for f in frames if isinstance(f, ToolCallsReady) for call in f.calls]
    settled = [f.call_id for f in frames if isinstance(f, ToolResult)]
    assert Counter(called) == Counter(settled)
    assert [i for i, f in enumerate(frames) if isinstance(f, TurnEnded)] in (
        [],
        [len(frames) - 1],
    )


def check_events(events: list[Event]) -> None:
    """I4: every handler that started has ended."""
    started = [(e.actor, e.number) for e in events if isinstance(e, HandlerStarted)]
    ended = [(e.actor, e.number) for e in events if isinstance(e, HandlerEnded)]
    assert Counter(started) == Counter(ended)


def check_context(context: Context, provider: OpenAIProvider) -> None:
    """I8: the conversation and a next message are a request that a strict server takes."""
    assert context.problems() == ()
    assert problems(render(context.with_(User("and?")), SETTINGS, provider.profile)) in ([], ())
