"""
The timeline: who sent what to whom, and when, from the events of a runtime. Pure.

One row a frame, with two abridgements: deltas of one stream that follow one another are one row
with a count, and a frame that an agent passes on as it is stands only where it was made. Rows are
made as the events come, so that what is kept does not grow with the tokens of an answer.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from greenroom.actors.agent import HandedOff, TakeOver, TurnEnded, UserMessage
from greenroom.actors.cli.wording import (
    call_text,
    counted,
    cut,
    one_line,
    seconds,
    shortened,
    values_of,
)
from greenroom.actors.llm.frames import (
    DELTAS,
    Generate,
    ResponseEnded,
    ResponseStarted,
    ToolCallsReady,
    ToolCallStarted,
    UsageReported,
)
from greenroom.actors.tools import Dispatch, ToolResult, ToolStarted
from greenroom.runtime import (
    ActorEnded,
    Event,
    Frame,
    FrameEmitted,
    FrameSent,
    HandlerEnded,
)

__all__ = ["Row", "Timeline"]

MOST_ROWS: Final = 1_000
_MOST_REMEMBERED: Final = 256  # emitted frames, by which one that is passed on is known


@attrs.define
class Row:
    """One line of the timeline."""

    at: float
    """When the (first) frame was sent; Trio clock, seconds."""
    sender: str
    """Who sent it."""
    receiver: str
    """Who got it; empty for what is no frame."""
    what: str
    """The frame's class."""
    detail: str = ""
    """What it holds, in short."""
    count: int = 1
    """How many of them, >= 1."""


class Timeline:
    """
    The rows of one runtime, in order; `observe` is its observer.

    Args:
        asker: What stands for whoever sends from outside an actor.
    """

    def __init__(self, asker: str = "you") -> None:
        self._asker = asker
        self.rows: list[Row] = []
        self.frames = 0  # sent and emitted, those without a row included
        self.left_out = 0  # rows past MOST_ROWS
        self._askers: dict[tuple[str, int], str] = {}  # of running requests, by actor and number
        self._last: dict[tuple[str, int], Row] = {}  # the last row of each stream
        self._emitted: dict[int, Frame] = {}  # by identity; holding them keeps the ids theirs

    def observe(self, event: Event) -> None:
        """Take in what happened next."""
        match event:
            case FrameSent(at, actor, number, frame, sender):
                self.frames += 1
                self._askers[actor, number] = sender or self._asker
                self._add(Row(at, sender or self._asker, actor, _name(frame), _detail(frame)))
            case FrameEmitted(at, actor, number, frame):
                self.frames += 1
                self._emit(at, actor, number, frame)
            case HandlerEnded(at, actor, number, frame, outcome):
                if outcome != "replied":
                    self._add(Row(at, actor, "", f"{_name(frame)} {outcome}"))
                self._askers.pop((actor, number), None)
                self._last.pop((actor, number), None)
            case ActorEnded(at, actor, "crashed", error):
                self._add(Row(at, actor, "", "crashed", one_line(f"{error!r}")))
            case _:
                pass

    def _emit(self, at: float, actor: str, number: int, frame: Frame) -> None:
        if id(frame) in self._emitted:
            return
        self._emitted[id(frame)] = frame
        if len(self._emitted) > _MOST_REMEMBERED:
            del self._emitted[next(iter(self._emitted))]
        last = self._last.get((actor, number))
        if last is not None and last.what == _name(frame) and isinstance(frame, DELTAS):
            last.count += 1
            last.detail = f"over {seconds(at - last.at)}"
            return
        receiver = self._askers.get((actor, number), "?")
        row = Row(at, actor, receiver, _name(frame), _detail(frame))
        self._last[actor, number] = row
        self._add(row)

    def _add(self, row: Row) -> None:
        if len(self.rows) < MOST_ROWS:
            self.rows.append(row)
        else:
            self.left_out += 1

    def lines(self, width: int) -> Iterator[str]:
        """Yield the timeline as lines of at most *width* columns, >= 60; times from the first row."""
        start = self.rows[0].at if self.rows else 0.0
        routes = [
            f"{row.sender} → {row.receiver}" if row.receiver else row.sender for row in self.rows
        ]
        wide = min(max(map(len, routes), default=0), width // 2 - 4)
        for row, route in zip(self.rows, routes, strict=True):
            count = f" x{row.count}" if row.count > 1 else ""
            what = f"{row.what}{count}  {row.detail}".rstrip()
            head = f"{row.at - start:7.3f}  {shortened(route, wide):<{wide}}  "
            yield head + cut(what, max(1, width - len(head)))
        if self.left_out:
            yield f"and {counted(self.left_out, 'row')} more"


def _name(frame: Frame) -> str:
    return type(frame).__name__


def _detail(frame: Frame) -> str:
    match frame:
        case UserMessage(text):
            return one_line(text)
        case Generate(context):
            tools = counted(len(context.tools), "tool")
            return f"{counted(len(context), 'message')}, {tools}"
        case TakeOver(context):
            return counted(len(context), "message")
        case ToolCallsReady(calls) | Dispatch(calls):
            return ", ".join(call_text(call.name, call.arguments) for call in calls)
        case ToolStarted(name=name) | ToolCallStarted(name=name):
            return name
        case ToolResult():
            return f"{frame.name}: {'failed: ' if frame.is_error else ''}{values_of(frame.text)}"
        case HandedOff(_, to):
            return f"to {to.name}"
        case ResponseStarted(model=model):
            return model
        case UsageReported(usage):
            return f"{usage.input} tokens in, {usage.output} out"
        case ResponseEnded(status) | TurnEnded(status):
            return f"{status.value}{f': {one_line(frame.detail)}' if frame.detail else ''}"
        case _:
            return ""
