"""Agents for agents: `handoff` gives the conversation away, `as_tool` asks for an answer."""

from typing import Any

import attrs

from greenroom.actors.agent.frames import Outcome, TakeOver, TurnEnded
from greenroom.actors.llm.context import Context, ToolSpec, User
from greenroom.actors.tools import Tool, ToolError, tool
from greenroom.runtime import Ref

__all__ = ["Handoff", "as_tool", "handoff"]


@attrs.frozen
class Handoff:
    """A tool by whose call the model gives the conversation to another agent."""

    to: Ref | str
    """The agent that takes over, or its name."""
    spec: ToolSpec
    """What the model is told of it."""


def handoff(to: Ref | str, *, description: str, name: str | None = None) -> Handoff:
    """
    Let an agent hand its conversation to *to*.

    Ownership moves in one step: the turn goes on there, with its instructions and its tools, and so
    do the turns after it, until that agent stops or a `Rewind` takes the handoff back. The asker's
    stream goes on; a `HandedOff` frame marks the place.

    Args:
        to: The other agent; or its name, for agents that hand over to one another. It is looked up
            for each turn, and not offered while nobody has the name.
        description: What it is good at, for the model.
        name: What the model calls it; ``transfer_to_<agent>`` if not given.
    """
    made = f"transfer_to_{_identifier(to if isinstance(to, str) else to.name)}"
    return Handoff(to, ToolSpec(name or made, description))


def as_tool(agent: Ref, *, description: str, name: str | None = None) -> Tool[..., Any]:
    """
    Make *agent* a tool: the model asks it a question, and gets the answer.

    Every call is a conversation of its own; the agent's own is not touched. Cancelling the call
    cancels the agent's turn, with all that it started.

    Args:
        agent: The agent to ask.
        description: What it is good at, for the model.
        name: What the model calls it; ``ask_<agent>`` if not given.
    """

    async def ask(question: str) -> str:
        request = TakeOver(Context.of(User(question)), may_hand_off=False)
        async with agent.stream(request) as frames:
            async for frame in frames:
                if isinstance(frame, TurnEnded):
                    if frame.outcome in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INTERRUPTED):
                        raise ToolError(f"{agent.name} could not answer: {frame.detail}")
                    return frame.answer
        raise ToolError(f"{agent.name} ended without an answer")

    return tool(name=name or f"ask_{_identifier(agent.name)}", description=description)(ask)


def _identifier(name: str) -> str:
    """Return *name* with what no tool may be called by replaced."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)
