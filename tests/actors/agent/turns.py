"""One whole turn over the real stack, and everything that must hold when it was cut anywhere."""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import trio

from greenroom.actors.agent import Agent, TurnEnded, TurnFrame
from greenroom.actors.demo.calculator import calculate
from greenroom.actors.demo.cast import DEFAULT_QUESTION, SPECIALISTS
from greenroom.actors.demo.facts import planet_fact
from greenroom.actors.llm import (
    LLM,
    Context,
    ResponseEnded,
    ResponseStarted,
    Settings,
    ToolCallsReady,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.llm.render import render
from greenroom.actors.tools import Tool, ToolResult
from greenroom.actors.understudy import MODEL, problems
from greenroom.runtime import Event, HandlerEnded, HandlerStarted, Ref, Runtime

QUESTION = DEFAULT_QUESTION
ANSWER = "1330"  # what the answer to QUESTION must name: Jupiter less Saturn, in 10^24 kg
SETTINGS = Settings(model=MODEL, temperature=0)


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
