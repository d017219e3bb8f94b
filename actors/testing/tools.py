"""
`FakeTool`: a tool that records its calls and does what the test wrote down.

It can stand for a real tool, whose name, schema and description it then has::

    fake = FakeTool(search, ["a note"], ToolError("the archive is closed"), Slow("late", 5))
    agent = await runtime.spawn(Agent, llm, [fake.tool])

Each call takes the next outcome; the last one is for all further calls.
"""

import inspect
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs
import trio

from greenroom.actors.tools import Tool

__all__ = ["FakeTool", "Slow"]


@attrs.frozen
class Slow:
    """An outcome that takes its time; ``Slow()`` hangs."""

    outcome: object = None
    """What it comes to: a value to return, or an exception to raise."""
    seconds: float = math.inf
    """How long that takes, >= 0, on the Trio clock."""
    lingers: float = 0.0
    """How long the function goes on once it is cancelled, >= 0: it ignores that for a while."""


class FakeTool:
    """
    A double for a tool; `tool` is what an agent or a dispatcher takes.

    Args:
        stands_for: The tool or function whose name, schema and description it has; or a name.
        outcomes: What the calls come to: a value to return, an exception to raise, or `Slow` with
            either. Without any, each call returns None.
        parameters: {name: type} of the parameters, for a fake that stands for nothing.
        remember: How many of the last calls *calls* keeps, >= 0.

    Attributes:
        tool: The `Tool`; its function is async.
        calls: The arguments of the last calls that began, in order.
        begun: How many calls began, >= 0.
        cancelled: How many calls were cancelled while they ran, >= 0.

    Raises:
        TypeError, ValueError: no tool can be made of it; see `Tool.of`.
    """

    def __init__(
        self,
        stands_for: Tool[..., Any] | Callable[..., Any] | str,
        *outcomes: object,
        parameters: Mapping[str, Any] | None = None,
        remember: int = 100,
    ) -> None:
        self.calls: deque[dict[str, Any]] = deque(maxlen=remember)
        self.begun = 0
        self.cancelled = 0
        self._over = 0  # calls that have ended; counted by _run alone
        self._outcomes = deque(outcomes or (None,))  # at most what was given; keeps its last one

        async def function(**arguments: Any) -> object:
            return await self._run(arguments)

        made: Any = function
        if isinstance(stands_for, str):
            keyword = inspect.Parameter.KEYWORD_ONLY
            made.__signature__ = inspect.Signature(
                [
                    inspect.Parameter(name, keyword, annotation=kind)
                    for name, kind in (parameters or {}).items()
                ]
            )
            self.tool: Tool[..., Any] = Tool.of(made, name=stands_for, description="A fake.")
        else:
            if parameters is not None:
                raise TypeError(
                    "parameters are those of the tool that it stands for; leave them out"
                )
            real = cast(
                "Tool[..., Any]",
                stands_for if isinstance(stands_for, Tool) else Tool.of(stands_for),
            )
            # all but the thread: patience, limits and the schema are the real one's
            self.tool = attrs.evolve(real, function=made, is_async=True, abandon=False)

    def __repr__(self) -> str:
        return f"<FakeTool {self.tool.name!r}>"

    @property
    def running(self) -> int:
        """Calls that are inside now; 0 when nothing has leaked."""
        return self.begun - self._over

    def is_idle(self) -> bool:
        """Tell whether no call is inside: ``world.own("the tool", fake.is_idle)``."""
        return self.running == 0

    async def _run(self, arguments: dict[str, Any]) -> object:
        outcome = self._outcomes.popleft() if len(self._outcomes) > 1 else self._outcomes[0]
        self.calls.append(arguments)
        self.begun += 1
        try:
            slow = outcome if isinstance(outcome, Slow) else Slow(outcome, 0.0)
            try:
                await trio.sleep(slow.seconds)
            except trio.Cancelled:
                self.cancelled += 1
                # as code that does not look: its end is after what it lingers, not before
                with trio.CancelScope(shield=True):
                    await trio.sleep(slow.lingers)
                raise
            if isinstance(slow.outcome, BaseException):
                raise slow.outcome
            return slow.outcome
        finally:
            self._over += 1
