"""From events to rows, and from frames to status."""

from typing import Any

import pytest

from greenroom.actors.agent import Outcome, TurnEnded, TurnFrame, UserMessage
from greenroom.actors.cli.progress import Progress
from greenroom.actors.cli.timeline import MOST_ROWS, Timeline
from greenroom.actors.llm import (
    Context,
    Generate,
    ResponseStarted,
    TextDelta,
    ToolCall,
    ToolCallsReady,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from greenroom.actors.tools import ToolResult, ToolStarted
from greenroom.runtime import ActorEnded, ActorSpawned, Event, FrameEmitted, FrameSent, HandlerEnded

ASK = UserMessage("why?")
GENERATE = Generate(Context.of())
START = ResponseStarted("r1", "m")


def rows(*events: Event) -> list[tuple[Any, ...]]:
    """Return the rows that *events* come to."""
    timeline = Timeline()
    for event in events:
        timeline.observe(event)
    return [
        (row.at, row.sender, row.receiver, row.what, row.detail, row.count) for row in timeline.rows
    ]


SENT = (FrameSent(1, "desk", 1, ASK, None), FrameSent(2, "model", 1, GENERATE, "desk"))
SENT_ROWS = [
    (1, "you", "desk", "UserMessage", "why?", 1),
    (2, "desk", "model", "Generate", "0 messages, 0 tools", 1),
]


def test_a_frame_goes_from_its_sender_to_its_actor_and_the_answer_back() -> None:
    """What is emitted goes to whoever sent the request; outside actors that is you."""
    assert rows(*SENT, FrameEmitted(3, "model", 1, START)) == [
        *SENT_ROWS,
        (3, "model", "desk", "ResponseStarted", "m", 1),
    ]


def test_a_frame_that_is_passed_on_stands_where_it_was_made() -> None:
    """The same object from a second actor is no row; an equal one is."""
    emitted = FrameEmitted(3, "model", 1, START)
    passed_on = FrameEmitted(4, "desk", 1, START)
    equal = FrameEmitted(4, "desk", 1, ResponseStarted("r1", "m"))

    assert len(rows(*SENT, emitted, passed_on)) == 3
    assert len(rows(*SENT, emitted, equal)) == 4


def test_deltas_in_a_row_are_one_row_with_a_count() -> None:
    """Only neighbours of one kind in one stream are counted together."""
    deltas = [FrameEmitted(3 + n, "model", 1, TextDelta(str(n))) for n in range(3)]
    other = FrameEmitted(7, "model", 1, ToolCallStarted(0, "f", "1"))
    again = FrameEmitted(8, "model", 1, TextDelta("x"))

    assert rows(*SENT, *deltas, other, again)[2:] == [
        (3, "model", "desk", "TextDelta", "over 2.0 s", 3),
        (7, "model", "desk", "ToolCallStarted", "f", 1),
        (8, "model", "desk", "TextDelta", "", 1),
    ]


@pytest.mark.parametrize(
    ("event", "row"),
    [
        (HandlerEnded(5, "model", 1, GENERATE, "replied"), []),
        (
            HandlerEnded(5, "model", 1, GENERATE, "cancelled"),
            [(5, "model", "", "Generate cancelled", "", 1)],
        ),
        (ActorEnded(5, "model", "stopped", None), []),
        (
            ActorEnded(5, "model", "crashed", ValueError("x")),
            [(5, "model", "", "crashed", "ValueError('x')", 1)],
        ),
        (ActorSpawned(5, "model", None), []),
    ],
)
def test_ends_are_rows_only_where_something_went_wrong(event: Event, row: list[Any]) -> None:
    """A cancelled handler and a crash are told, the rest goes without saying."""
    assert rows(*SENT, event) == [*SENT_ROWS, *row]


def test_the_timeline_is_bounded() -> None:
    """Rows past the bound are counted, and said to be left out."""
    timeline = Timeline()
    for number in range(MOST_ROWS + 5):
        timeline.observe(FrameSent(0, "desk", number, ASK, None))

    assert len(timeline.rows) == MOST_ROWS
    assert timeline.frames == MOST_ROWS + 5
    assert list(timeline.lines(80))[-1] == "and 5 rows more"


def test_lines_fit_the_width_and_begin_at_zero() -> None:
    """Times count from the first frame, and what is too long is cut."""
    timeline = Timeline()
    timeline.observe(FrameSent(10, "desk", 1, UserMessage("long " * 30), None))
    timeline.observe(FrameSent(11.5, "an actor with a name that is far too long", 1, ASK, "desk"))
    lines = list(timeline.lines(80))

    assert lines[0].startswith("  0.000  you → desk  ")
    assert lines[1].startswith("  1.500  desk → an actor with")
    assert all(len(line) <= 80 for line in lines)


CALLS = (ToolCall("1", "f", '{"x": "a"}'), ToolCall("2", "g"))


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ([], ["| desk  4.0 s"]),
        ([START], ["| desk  waits for the model  4.0 s"]),
        ([START, TextDelta("a")], ["| desk  writes: 1 token  4.0 s"]),
        ([START, *[TextDelta("a")] * 3], ["| desk  writes: 3 tokens, 1 a second  4.0 s"]),
        (
            [START, ToolCallStarted(0, "f", "1"), ToolCallStarted(1, "g", "2")],
            ["| desk  calls f, g  4.0 s"],
        ),
        (
            [ToolCallsReady(CALLS), ToolStarted("1", "f"), ToolStarted("2", "g")],
            ["| desk  waits for 2 tools  4.0 s", "  | f(a)  2.0 s", "  | g()  1.0 s"],
        ),
        (
            [ToolStarted("1", "f"), ToolStarted("2", "g"), ToolResult("1", "f", "")],
            ["| desk  waits for 1 tool  4.0 s", "  | g()  2.0 s"],
        ),
        ([ToolStarted("1", "f"), TurnEnded(Outcome.ANSWERED)], ["| desk  waits for 1 tool  4.0 s"]),
    ],
)
def test_status_says_what_runs(frames: list[TurnFrame], status: list[str]) -> None:
    """One row for each agent and each tool, with what it does; a frame comes each second."""
    progress = Progress("desk", 0)
    for at, frame in enumerate(frames, start=1):
        progress.feed(frame, at)

    # the spinner is at its start every half second
    assert [row.text(4) for row in progress.status(4)] == status


def test_a_tool_is_broken_until_it_works_again() -> None:
    """Only an exception that no later call made good is told at the end, no mere refusal."""
    progress = Progress("desk", 0)
    for frame in (
        ToolResult("1", "f", "", is_error=True, detail="ValueError"),
        ToolResult("2", "g", "it failed", is_error=True, detail="RuntimeError"),
        ToolResult("4", "h", "no such planet", is_error=True),
        ToolStarted("3", "f"),
        ToolResult("3", "f", "fine"),
    ):
        progress.feed(frame, 1)

    assert progress.broken == {"g": "RuntimeError"}
    assert (progress.calls, progress.done) == (1, 1)


def test_the_summary_counts_what_there_was() -> None:
    """Agents, calls, frames, tokens, and the two times; a first token only if there was one."""
    progress = Progress("desk", 10)
    silent = progress.summary(10.5, 3)
    for frame in (UsageReported(Usage(input=5, output=2)), TextDelta("a"), ToolStarted("1", "f")):
        progress.feed(frame, 12)

    assert silent == "1 agent, 0 tool calls, 3 frames, 0 tokens, total 0.5 s"
    assert progress.summary(13, 9) == (
        "1 agent, 1 tool call, 9 frames, 7 tokens, first token 2.0 s, total 3.0 s"
    )
