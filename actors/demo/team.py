"""The demo's team as actors: the cast of `greenroom.actors.demo.cast`, spawned on a runtime."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from greenroom.actors.agent import Agent, Handoff, handoff
from greenroom.actors.demo import cast
from greenroom.actors.demo.cast import Role
from greenroom.actors.llm.context import Context
from greenroom.actors.tools import Tool
from greenroom.runtime import Ref, Runtime

__all__ = ["Team", "spawn_team"]


@attrs.frozen(kw_only=True)
class Team:
    """The demo's agents; made by `spawn_team`."""

    front_desk: Ref
    """The agent to ask."""
    tools: dict[str, tuple[Tool[..., Any], ...]]
    """By agent, what it may call besides its handoffs; the front desk is the first."""
    spawn_front_desk: Callable[[Context | None], Awaitable[Ref]]
    """Spawns a front desk with a conversation; its name must be free."""

    async def renewed(self, context: Context) -> "Team":
        """
        Return the team with a new front desk, to which *context* is the conversation so far.

        An agent that hands its conversation over has given it away, and the turns after it go to
        whom it was given; this has every question come to the front desk first.

        Checkpoint: always.
        """
        self.front_desk.stop()
        await self.front_desk.wait_stopped()
        return attrs.evolve(self, front_desk=await self.spawn_front_desk(context))


async def spawn_team(runtime: Runtime, llm: Ref, *, tool_delay: float = 0.0) -> Team:
    """
    Spawn the specialists, and the front desk that hands its questions to them.

    Args:
        runtime: Where they live.
        llm: The model that all of them share.
        tool_delay: Seconds, >= 0, that each tool takes on top, so that there is something to watch.

    Checkpoint: always.
    """
    handoffs: list[Handoff] = []
    tools = {cast.FRONT_DESK.name: _tools(cast.FRONT_DESK, tool_delay)}
    for role in cast.SPECIALISTS:
        tools[role.name] = _tools(role, tool_delay)
        agent = await runtime.spawn(Agent, llm, tools[role.name], role.instructions, name=role.name)
        handoffs.append(handoff(agent, description=role.description))

    async def spawn_front_desk(context: Context | None) -> Ref:
        role = cast.FRONT_DESK

        def front_desk() -> Agent:
            return Agent(llm, tools[role.name], role.instructions, handoffs, context=context)

        return await runtime.spawn(front_desk, name=role.name)

    return Team(
        front_desk=await spawn_front_desk(None), tools=tools, spawn_front_desk=spawn_front_desk
    )


def _tools(role: Role, delay: float) -> tuple[Tool[..., Any], ...]:
    tools = (Tool.of(function) for function in role.tools)
    return tuple(_delayed(tool, delay) if delay else tool for tool in tools)


def _delayed(tool: Tool[..., Any], delay: float) -> Tool[..., Any]:
    """Return *tool* with *delay* seconds before it begins, in which it can be cancelled."""
    function: Callable[..., Any] = tool.function

    async def delayed(**arguments: Any) -> Any:
        await trio.sleep(delay)
        return await trio.to_thread.run_sync(lambda: function(**arguments))

    return attrs.evolve(tool, function=delayed, is_async=True)
