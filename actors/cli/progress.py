"""
How far a turn is: which agent has it and what it does, which tools run, how fast it goes. Pure.

`Progress` is fed with the frames of a turn and the time of each; `status` gives the rows that a
terminal shows while the turn runs.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from greenroom.actors.agent import HandedOff, TurnEnded, TurnFrame
from greenroom.actors.cli.wording import call_text, counted, seconds
from greenroom.actors.llm.frames import (
    LogprobsDelta,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseStarted,
    TextDelta,
    ToolCallsReady,
    ToolCallStarted,
    TranscriptDelta,
    Usage,
    UsageReported,
)
from greenroom.actors.tools import ToolResult, ToolStarted

__all__ = ["Progress", "Row"]

_SPINNER: Final = "|/-\\"
_SPINS: Final = 8  # steps of the spinner a second


@attrs.frozen
class Row:
    """One line of status."""

    who: str
    """An agent, or a tool and its arguments."""
    doing: str
    """What it does, in words."""
    elapsed: float
    """How long already; seconds, >= 0."""
    is_tool: bool = False
    """Whether *who* is a tool."""

    def text(self, now: float) -> str:
        """Return the line; *now* (seconds) turns the spinner."""
        spin = _SPINNER[int(now * _SPINS) % len(_SPINNER)]
        indent = "  " if self.is_tool else ""
        doing = f"  {self.doing}" if self.doing else ""
        return f"{indent}{spin} {self.who}{doing}  {self.elapsed:.1f} s"


@attrs.define
class _Running:
    name: str
    since: float
    doing: str = ""


class Progress:
    """
    One turn.

    Args:
        agent: The agent that is asked.
        at: When (Trio clock, seconds).
    """

    def __init__(self, agent: str, at: float) -> None:
        self.began_at = at
        self.first_token_at: float | None = None
        """When the first text of an answer came; None before that."""
        self.usage = Usage()
        self.calls = 0
        """Tool calls that were begun."""
        self.done = 0
        """Of these, the ones that came to a result without an error."""
        self.broken: dict[str, str] = {}
        """By tool, the exception that a call ended with, where no later call succeeded."""
        self.agents = [_Running(agent, at)]
        """In the order in which they had the conversation; the last one has it."""
        self._tools: dict[str, _Running] = {}  # by call id, while they run
        self._texts: dict[str, str] = {}  # calls as text, by id
        self._tokens = 0  # of the response that is streaming
        self._tokens_since = at
        self._chosen: list[str] = []  # names of the calls that are being made

    def call(self, call_id: str, name: str) -> str:
        """Return a call as text, with its arguments if they are known."""
        return self._texts.get(call_id, f"{name}()")

    def was_begun(self, call_id: str) -> bool:
        """Tell whether the call's function is running."""
        return call_id in self._tools

    def feed(self, frame: TurnFrame, at: float) -> None:
        """Take in the next frame of the turn, which came *at* (Trio clock, seconds)."""
        match frame:
            case ResponseStarted():
                self._tokens, self._chosen = 0, []
                self._do("waits for the model")
            case TextDelta() | RefusalDelta() | TranscriptDelta():
                if self.first_token_at is None:
                    self.first_token_at = at
                self._count("writes", at)
            case ReasoningDelta():
                self._count("thinks", at)
            case LogprobsDelta() | RawEvent():
                pass
            case ToolCallStarted(name=name):
                self._chosen.append(name)
                self._do(f"calls {', '.join(self._chosen)}")
            case ToolCallsReady(calls):
                for call in calls:
                    self._texts[call.id] = call_text(call.name, call.arguments)
            case UsageReported(usage):
                self.usage += usage
            case ResponseEnded():
                self._do("")
            case ToolStarted(call_id, name):
                self.calls += 1
                self._tools[call_id] = _Running(self.call(call_id, name), at)
                self._do(f"waits for {counted(len(self._tools), 'tool')}")
            case ToolResult():
                was_begun = self._tools.pop(frame.call_id, None) is not None
                if frame.detail:  # an exception; a tool that says why it can't is not broken
                    self.broken[frame.name] = frame.detail
                elif not frame.is_error:
                    self.done += was_begun
                    self.broken.pop(frame.name, None)
                self._do(f"waits for {counted(len(self._tools), 'tool')}" if self._tools else "")
            case HandedOff(_, to):
                self._do(f"handed over to {to.name}")
                self.agents.append(_Running(to.name, at))
            case TurnEnded():
                self._tools.clear()

    def _do(self, doing: str) -> None:
        self.agents[-1].doing = doing

    def _count(self, doing: str, at: float) -> None:
        if not self._tokens:
            self._tokens_since = at
        self._tokens += 1
        took = at - self._tokens_since
        # the first token opens the interval, so it does not count in it; a rate over a moment is noise
        rate = f", {(self._tokens - 1) / took:.0f} a second" if took >= 0.2 else ""
        self._do(f"{doing}: {counted(self._tokens, 'token')}{rate}")

    def status(self, now: float) -> Iterator[Row]:
        """Yield a row for each agent that is at work *now* and each tool that runs."""
        for agent in self.agents:
            yield Row(agent.name, agent.doing, now - agent.since)
        for tool in self._tools.values():
            yield Row(tool.name, "", now - tool.since, is_tool=True)

    def summary(self, now: float, frames: int) -> str:
        """Return the figures of the turn in a line; *frames* is how many there were in all."""
        usage = self.usage
        parts = [
            counted(len({agent.name for agent in self.agents}), "agent"),
            counted(self.calls, "tool call"),
            counted(frames, "frame"),
            counted(usage.input + usage.output, "token"),
        ]
        if self.first_token_at is not None:
            parts.append(f"first token {seconds(self.first_token_at - self.began_at)}")
        parts.append(f"total {seconds(now - self.began_at)}")
        return ", ".join(parts)
