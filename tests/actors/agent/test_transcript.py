"""The transcript: from frames to a conversation, whatever happened to the turn."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.agent import HandedOff, TurnFrame
from greenroom.actors.agent.transcript import Phase, Transcript
from greenroom.actors.llm import (
    Assistant,
    Context,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseStarted,
    Status,
    TextDelta,
    ToolCall,
    ToolCallsReady,
    ToolCallStarted,
    ToolOutput,
    Usage,
    UsageReported,
    User,
)
from greenroom.actors.tools import ToolResult, ToolStarted
from greenroom.runtime import IllegalMove

ASKED = Context.of(User("What is 6 times 7?"))


def call(id: str) -> ToolCall:
    return ToolCall(id, "multiply", '{"a": 6, "b": 7}')


def response(
    id: str, *deltas: TurnFrame, status: Status = Status.COMPLETED, detail: str = ""
) -> list[TurnFrame]:
    return [ResponseStarted(id, "m"), *deltas, ResponseEnded(status, id=id, detail=detail)]


def calling(id: str, *calls: ToolCall, text: str = "Let me see. ") -> list[TurnFrame]:
    return response(id, TextDelta(text), ToolCallsReady(calls), status=Status.TOOL_CALLS)


def fed(frames: list[TurnFrame]) -> Transcript:
    transcript = Transcript(ASKED)
    for frame in frames:
        transcript.feed(frame)
    return transcript


def test_text_and_calls_of_one_response_stand_in_one_message() -> None:
    """Behaviours d6: the model must not see its text and its calls as two turns."""
    frames = [
        *calling("r1", call("a"), call("b")),
        ToolResult("b", "multiply", "42"),
        ToolResult("a", "multiply", "no", is_error=True),
        *response("r2", TextDelta("It is "), TextDelta("42.")),
    ]

    assert fed(frames).commit() == ASKED.with_(
        Assistant("Let me see. ", calls=(call("a"), call("b"))),
        ToolOutput("b", "42"),
        ToolOutput("a", "no", is_error=True),
        Assistant("It is 42."),
    )


@pytest.mark.parametrize(
    ("status", "detail", "said"),
    [
        (Status.INTERRUPTED, "barge-in", "barge-in"),
        (Status.TIMED_OUT, "", "timed_out"),
        (Status.FAILED, "reset", "reset"),
        (Status.TRUNCATED, "", None),
        (Status.COMPLETED, "", None),
    ],
)
def test_a_response_that_was_broken_off_says_so(
    status: Status, detail: str, said: str | None
) -> None:
    """What was delivered is kept, and the history says why there is no more."""
    transcript = fed(response("r1", TextDelta("It is"), status=status, detail=detail))

    assert transcript.commit().messages[1:] == (Assistant("It is", interrupted=said),)


def test_a_response_that_delivered_nothing_leaves_no_message() -> None:
    """A failed request adds nothing that an API would refuse."""
    transcript = fed(response("r1", ReasoningDelta("hm"), status=Status.FAILED, detail="reset"))

    assert transcript.commit() == ASKED
    assert transcript.steps == 1


def test_a_refusal_is_the_answer() -> None:
    """A refusal is delivered text, of its own kind."""
    transcript = fed(
        response("r1", RefusalDelta("I "), RefusalDelta("won't"), status=Status.REFUSED)
    )

    assert transcript.answer() == "I won't"
    assert transcript.answer(2) == "I "  # of which no more was taken
    assert transcript.commit().messages[-1] == Assistant(refusal="I won't")


def test_a_turn_that_was_cut_before_its_first_response_has_no_answer() -> None:
    """I8: and it adds nothing to the conversation."""
    assert fed([]).answer() == ""
    assert fed([]).commit() == ASKED


def test_only_what_the_asker_took_is_committed() -> None:
    """R12: text that was emitted but not taken is not in the history; results are."""
    frames = [
        *calling("r1", call("a")),  # frames 0 to 3
        ToolResult("a", "multiply", "42"),  # 4
        *response("r2", TextDelta("It is "), TextDelta("42.")),  # 5, 6, 7, 8
    ]
    transcript = fed(frames)

    assert transcript.commit(7, "left").messages[-1] == Assistant("It is ", interrupted="left")
    assert transcript.commit(7).messages[-1] == Assistant("It is ", interrupted="interrupted")
    assert transcript.answer(7) == "It is "
    assert transcript.commit(1, "left").messages[1:] == (
        Assistant(calls=(call("a"),), interrupted="left"),
        ToolOutput("a", "42"),
    )


def test_a_call_that_nothing_settled_says_that_it_was_cancelled() -> None:
    """I8: every call has exactly one output, also at the worst moment."""
    transcript = fed([*calling("r1", call("a"), call("b")), ToolResult("b", "multiply", "42")])

    assert transcript.open_calls() == (call("a"),)
    assert transcript.commit(None, "timeout").messages[2:] == (
        ToolOutput("b", "42"),
        ToolOutput("a", "cancelled: timeout", is_error=True),
    )


def test_the_id_of_the_last_response_is_known() -> None:
    """I5: who ends a response in the model's place names the one that is open."""
    transcript = fed([])
    ids = [transcript.response_id]
    for frames in (response("r1", TextDelta("a")), response("r2", TextDelta("b"))):
        for frame in frames:
            transcript.feed(frame)
        ids.append(transcript.response_id)

    assert ids == ["", "r1", "r2"]


def test_usage_of_all_responses_is_added_up() -> None:
    """One turn is one bill."""
    usage = Usage(input=3, output=2, total=5)
    frames = [
        *response("r1", UsageReported(usage), status=Status.TRUNCATED),
        *response("r2", UsageReported(usage)),
    ]

    assert fed(frames).usage == Usage(input=6, output=4, total=10)


STARTED = ResponseStarted("r", "m")
ENDED = ResponseEnded(Status.COMPLETED, id="r")
RESULT = ToolResult("a", "multiply", "42")
PHASES: dict[Phase, list[TurnFrame]] = {
    Phase.IDLE: [],
    Phase.STREAMING: [STARTED],
    Phase.CALLING: calling("r1", call("a")),
}
LEGAL = {
    Phase.IDLE: {"ResponseStarted"},
    Phase.STREAMING: {
        "TextDelta",
        "ReasoningDelta",
        "RefusalDelta",
        "ToolCallsReady",
        "ResponseEnded",
    },
    Phase.CALLING: {"ToolResult"},
}
TABLE: list[TurnFrame] = [
    STARTED,
    TextDelta("x"),
    ReasoningDelta("x"),
    RefusalDelta("x"),
    ToolCallsReady((call("a"),)),
    ENDED,
    RESULT,
]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("frame", TABLE, ids=lambda frame: type(frame).__name__)
def test_every_move_is_legal_or_changes_nothing(phase: Phase, frame: TurnFrame) -> None:
    """I6: an illegal frame raises, and the transcript is what it was."""
    transcript = fed(PHASES[phase])
    before = transcript.commit(), transcript.phase, transcript.open_calls()

    if type(frame).__name__ in LEGAL[phase]:
        transcript.feed(frame)
        return
    waiting = "a" if phase is Phase.CALLING else "none"
    text = rf"can't take {type(frame).__name__}.* while {phase.value}; open calls: {waiting}"
    with pytest.raises(IllegalMove, match=text):
        transcript.feed(frame)

    assert (transcript.commit(), transcript.phase, transcript.open_calls()) == before


def test_two_calls_of_one_id_are_refused() -> None:
    """I3, I8: nobody could tell which of the two a result is for."""
    transcript = fed([STARTED])
    with pytest.raises(IllegalMove, match="two calls of one id: a, a"):
        transcript.feed(ToolCallsReady((call("a"), call("a"))))

    assert transcript.open_calls() == ()
    assert transcript.commit() == ASKED


def test_a_result_nobody_waits_for_is_refused_by_id() -> None:
    """I3: a call has one result; a second one, or a stranger's, is a bug of the sender."""
    transcript = fed([*calling("r1", call("a"), call("b")), RESULT])

    with pytest.raises(
        IllegalMove, match=r"ToolResult\(call_id='a'\) while calling; open calls: b"
    ):
        transcript.feed(RESULT)


@st.composite
def turns(draw: st.DrawFn) -> list[TurnFrame]:
    """Any legal turn: responses with calls and their results in any order, then one without."""
    frames: list[TurnFrame] = []
    deltas = st.lists(
        st.one_of(
            st.builds(TextDelta, st.text(min_size=1)),
            st.builds(ReasoningDelta, st.text(min_size=1)),
            st.just(ToolCallStarted(0, "multiply", "x")),
        ),
        max_size=4,
    )
    for step in range(draw(st.integers(0, 3))):
        calls = tuple(call(f"{step}.{n}") for n in range(draw(st.integers(1, 3))))
        frames += response(
            f"r{step}", *draw(deltas), ToolCallsReady(calls), status=Status.TOOL_CALLS
        )
        frames += [ToolStarted(c.id, c.name) for c in calls]
        frames += [ToolResult(c.id, c.name, "42") for c in draw(st.permutations(calls))]
    status = draw(st.sampled_from([s for s in Status if s is not Status.TOOL_CALLS]))
    return frames + response("last", *draw(deltas), status=status)


@given(frames=turns(), data=st.data())
def test_any_prefix_of_any_turn_is_a_valid_request(
    frames: list[TurnFrame], data: st.DataObject
) -> None:
    """I8: cut anywhere, taken to any point, the conversation is accepted, and no result is lost."""
    cut = data.draw(st.integers(0, len(frames)))
    taken = data.draw(st.one_of(st.none(), st.integers(0, cut)))
    transcript = fed(frames[:cut])
    context = transcript.commit(taken, "cut")

    assert context.problems() == ()
    results = [m.call_id for m in context.messages if isinstance(m, ToolOutput) if m.text == "42"]
    assert results == [f.call_id for f in frames[:cut] if isinstance(f, ToolResult)]
    seen = "".join(text_of(frames[: cut if taken is None else taken]))
    assert "".join(m.text for m in context.messages if isinstance(m, Assistant)) == seen


def text_of(frames: list[TurnFrame]) -> Iterator[str]:
    return (frame.text for frame in frames if isinstance(frame, TextDelta))


def test_a_handoff_needs_settled_calls() -> None:
    """The conversation moves in one step, never with a call half-way."""
    transcript = fed(calling("r1", call("a")))

    with pytest.raises(IllegalMove, match="HandedOff while calling; open calls: a"):
        transcript.feed(HandedOff("desk", None))  # type: ignore[arg-type]
