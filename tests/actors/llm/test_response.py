"""`ResponseReducer`: one start, one true end, and the frames between in their order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import (
    CallFragment,
    Category,
    Deadline,
    Event,
    Finished,
    LogprobsDelta,
    ModelSeen,
    ProviderError,
    ProviderTimeout,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    ResponseReducer,
    ResponseStarted,
    Status,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallsReady,
    ToolCallStarted,
    TranscriptDelta,
    Usage,
    UsageReported,
    UsageSeen,
)

CALL = CallFragment(0, "a", "f", "{}")
RESET = ProviderError("the connection broke", category=Category.CONNECTIVITY)
OVERLOADED = ProviderError("overloaded", category=Category.SERVER, request_id="req-1")
LATE = ProviderTimeout("too late", deadline=Deadline.BETWEEN_TOKENS)


def reducer() -> ResponseReducer:
    """Return the reducer of a response that was begun at 100."""
    return ResponseReducer(id="r1", model="m", provider="acme", started_at=100, tools=("f",))


def ended(*events: Event, **ending: Any) -> ResponseEnded:
    """Return the end of a response of *events*."""
    response = reducer()
    response.feed(events, 101)
    end = response.finish(102, **ending)[-1]
    assert isinstance(end, ResponseEnded)
    return end


def test_what_is_said_in_audio_is_delivered_text() -> None:
    """A response of transcripts alone is complete, and its text is what was said (a22)."""
    end = ended(TranscriptDelta("Good "), TranscriptDelta("day"), Finished("stop"))

    assert (end.status, end.text, end.chunks) == (Status.COMPLETED, "Good day", 2)
    assert end.timings.first_answer_token == 1


def test_raw_events_and_log_probabilities_count_for_nothing() -> None:
    """They are handed out in their places, and make no token, no text and no status."""
    raw, likely = RawEvent(b"{}"), LogprobsDelta((TokenLogprob("a", -0.1),))
    response = reducer()

    assert response.feed((raw, likely, Finished("stop")), 101)[1:] == [raw, likely]
    assert response.last_token_at is None
    end = response.finish(102)[-1]
    assert isinstance(end, ResponseEnded)
    assert (end.status, end.chunks, end.timings.first_token) == (Status.EMPTY, 0, None)


def test_a_response_is_its_frames_in_order() -> None:
    """Start, deltas as they come, calls, usage, end (I5)."""
    response = reducer()
    fed = [
        response.feed((ModelSeen("m-2026"), ReasoningDelta("hm")), 101),
        response.feed((TextDelta("let me"), CALL, TextDelta(" look")), 102),
        response.feed((Finished("tool_calls"), UsageSeen(Usage(input=1, output=2))), 103),
    ]
    response.request_id = "req-7"

    assert fed == [
        [ResponseStarted("r1", "m"), ReasoningDelta("hm")],
        [TextDelta("let me"), ToolCallStarted(0, "f", "a"), TextDelta(" look")],
        [],
    ]
    assert response.finish(110) == (
        ToolCallsReady((ToolCall("a", "f", "{}"),)),
        UsageReported(Usage(input=1, output=2)),
        ResponseEnded(
            Status.TOOL_CALLS,
            id="r1",
            model="m-2026",
            text="let me look",
            finish_reason="tool_calls",
            request_id="req-7",
            chunks=4,
            timings=Timings(first_chunk=1, first_token=1, first_answer_token=2, total=10),
        ),
    )


def test_the_start_can_be_taken_early_and_comes_once() -> None:
    """Whoever asks first gets it."""
    response = reducer()

    assert response.start() == (ResponseStarted("r1", "m"),)
    assert response.start() == ()
    assert response.feed((TextDelta("x"),), 101) == [TextDelta("x")]


def test_a_response_that_never_began_has_a_start_and_an_end() -> None:
    """A refused request is one start and one end, and has no time to first anything (I5)."""
    start, end = reducer().finish(103, error=OVERLOADED)

    assert start == ResponseStarted("r1", "m")
    assert end == ResponseEnded(
        Status.FAILED,
        id="r1",
        model="m",
        detail="overloaded",
        category=Category.SERVER,
        request_id="req-1",
        timings=Timings(total=3),
    )


TEXT, STOP = TextDelta("hi"), Finished("stop")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((TEXT, STOP), Status.COMPLETED),
        ((TEXT, Finished(None)), Status.COMPLETED),
        ((TEXT, Finished("eos_token")), Status.COMPLETED),
        ((TEXT, Finished("length")), Status.TRUNCATED),
        ((TEXT, Finished("model_length")), Status.TRUNCATED),
        ((CALL, Finished("length")), Status.TRUNCATED),
        ((TEXT, Finished("content_filter")), Status.FILTERED),
        ((RefusalDelta("no"), STOP), Status.REFUSED),
        ((CALL, Finished("tool_calls")), Status.TOOL_CALLS),
        ((TEXT, CALL, STOP), Status.TOOL_CALLS),
        ((CALL, Finished("function_call")), Status.TOOL_CALLS),
        ((TEXT, Finished("tool_calls")), Status.COMPLETED),
        ((STOP,), Status.EMPTY),
        ((ReasoningDelta("hm"), STOP), Status.EMPTY),
        ((TEXT, Finished("error")), Status.FAILED),
        ((TEXT, Finished("insufficient_system_resource")), Status.FAILED),
        ((TEXT,), Status.FAILED),
        ((), Status.FAILED),
    ],
)
def test_a_stream_that_ends_by_itself_has_the_status_that_is_true(
    events: tuple[Event, ...], status: Status
) -> None:
    """Completed is only what the provider said was done, and empty is told from it (case a31)."""
    end = ended(*events)

    assert end.status is status
    assert (end.category is not None) == (status is Status.FAILED)
    assert bool(end.detail) == (status is Status.FAILED)


def test_a_stream_that_just_stops_has_failed_and_says_after_how_much() -> None:
    """End of file without a finish reason is no end."""
    end = ended(TEXT, TEXT, CALL)

    assert end.detail == "acme closed the stream after 3 tokens without an end event"
    assert end.category is Category.CONNECTIVITY


@pytest.mark.parametrize(
    ("events", "ending", "status", "detail"),
    [
        ((TEXT,), {"interrupted": "barge-in"}, Status.INTERRUPTED, "barge-in"),
        # The consumer may lack a part, so an interrupt stays one after the provider was done.
        ((TEXT, STOP), {"interrupted": ""}, Status.INTERRUPTED, ""),
        ((TEXT,), {"error": RESET}, Status.FAILED, "the connection broke"),
        ((TEXT,), {"error": OVERLOADED}, Status.FAILED, "overloaded"),
        ((TEXT,), {"error": ValueError("a\nb")}, Status.FAILED, "ValueError: a b"),
        (
            (TEXT,),
            {"error": LATE},
            Status.TIMED_OUT,
            "too late",
        ),
        (
            (),
            {"timed_out": Deadline.HEADERS},
            Status.TIMED_OUT,
            "acme let a deadline pass: headers",
        ),
        # Once the provider was done, only what it says itself takes anything from it.
        ((TEXT, STOP), {"error": RESET}, Status.COMPLETED, ""),
        ((TEXT, STOP), {"error": LATE}, Status.COMPLETED, ""),
        ((TEXT, STOP), {"timed_out": Deadline.RESPONSE}, Status.COMPLETED, ""),
        ((TEXT, STOP), {"error": OVERLOADED}, Status.FAILED, "overloaded"),
        ((TEXT, Finished("length")), {"error": RESET}, Status.TRUNCATED, ""),
    ],
)
def test_a_response_that_is_ended_has_the_status_that_is_true(
    events: tuple[Event, ...], ending: dict[str, Any], status: Status, detail: str
) -> None:
    """What ended it is named, unless the response was over already."""
    end = ended(*events, **ending)

    assert (end.status, end.detail) == (status, detail)
    assert end.text == ("hi" if TEXT in events else "")
    assert (end.deadline is not None) == (status is Status.TIMED_OUT)


def test_calls_are_ready_only_when_the_model_waits_for_them() -> None:
    """The calls of a response that was broken off or cut are never run (I5; #4997)."""
    endings: tuple[tuple[dict[str, Any], Finished], ...] = (
        ({"interrupted": "x"}, STOP),
        ({"error": OVERLOADED}, STOP),
        ({}, Finished("length")),
    )
    for ending, finish in endings:
        response = reducer()
        response.feed((CALL, finish), 101)

        assert not any(isinstance(end, ToolCallsReady) for end in response.finish(102, **ending))


def test_the_last_usage_is_reported_once_also_when_broken_off() -> None:
    """Snapshots take each other's place (cases 6 and 7)."""
    response = reducer()
    for output in (5, 12):
        response.feed((TEXT, UsageSeen(Usage(input=20, output=output))), 101)
    reports = [
        frame for frame in response.finish(102, interrupted="x") if isinstance(frame, UsageReported)
    ]

    assert reports == [UsageReported(Usage(input=20, output=12))]


def test_usages_add_up_field_by_field() -> None:
    """The cost of a turn is the sum of its responses."""
    total = Usage(input=1, output=2, total=3, cached=4) + Usage(input=10, reasoning=5, audio=6)

    assert total == Usage(input=11, output=2, total=3, cached=4, reasoning=5, audio=6)


def test_delivered_is_what_the_consumer_took() -> None:
    """Frames that were handed out and not taken are not in the text of the end (R12)."""
    response = reducer()
    for text in ("one ", "two ", "three"):
        response.feed((TextDelta(text),), 101)
    # The start and two deltas.
    end = response.finish(102, interrupted="x", taken=3)[-1]

    assert isinstance(end, ResponseEnded)
    assert end.text == "one two "


@pytest.mark.parametrize(
    ("events", "timings"),
    [
        ((ModelSeen("m"),), Timings(first_chunk=1, total=9)),
        ((UsageSeen(Usage()),), Timings(first_chunk=1, total=9)),
        ((ReasoningDelta("hm"),), Timings(first_chunk=1, first_token=1, total=9)),
        (
            (RefusalDelta("no"),),
            Timings(first_chunk=1, first_token=1, first_answer_token=1, total=9),
        ),
        ((CALL,), Timings(first_chunk=1, first_token=1, first_answer_token=1, total=9)),
        ((), Timings(total=9)),
    ],
)
def test_times_to_first_are_only_told_of_what_came(
    events: tuple[Event, ...], timings: Timings
) -> None:
    """No time to first anything for a response that never got it (case 13)."""
    response = reducer()
    response.feed(events, 101)
    end = response.finish(109, interrupted="x")[-1]

    assert isinstance(end, ResponseEnded)
    assert end.timings == timings


def test_last_token_at_moves_with_tokens_only() -> None:
    """Neither a role nor a usage counts as life (a12)."""
    response = reducer()
    seen = [response.last_token_at]
    events: list[Event] = [ModelSeen("m"), TEXT, UsageSeen(Usage()), ReasoningDelta("x")]
    for at, event in enumerate(events, 1):
        response.feed((event,), 100 + at)
        seen.append(response.last_token_at)

    assert seen == [None, None, 102, 102, 104]


def test_nothing_comes_after_the_end() -> None:
    """A second end or a late event is misuse, and changes nothing (I5, I6)."""
    response = reducer()
    response.finish(101)

    with pytest.raises(RuntimeError, match="response 'r1' has ended already"):
        response.finish(101)
    with pytest.raises(RuntimeError, match="'r1' has ended and takes no more events"):
        response.feed((TEXT,), 101)


_events = st.lists(
    st.sampled_from(
        [
            TEXT,
            ReasoningDelta("hm"),
            RefusalDelta("no"),
            ModelSeen("m2"),
            UsageSeen(Usage(output=1)),
            STOP,
            Finished("length"),
            CALL,
            CallFragment(1, None, "g", '{"x"'),
            CallFragment(0, "b", "", "}"),
        ]
    ),
    max_size=12,
)
_ending = st.sampled_from(
    [
        {},
        {"interrupted": "x"},
        {"timed_out": Deadline.FIRST_TOKEN},
        {"error": RESET},
        {"error": OVERLOADED},
        {"error": LATE},
        {"error": ValueError("x")},
    ]
)

# Frames by their place in a response; ties may come in any order.
_PLACES = (
    (ResponseStarted,),
    (TextDelta, ReasoningDelta, RefusalDelta, ToolCallStarted),
    (ToolCallsReady,),
    (UsageReported,),
    (ResponseEnded,),
)


@given(_events, st.integers(1, 4), _ending)
def test_any_events_cut_anywhere_give_one_start_and_one_end_in_order(
    events: list[Event], batch: int, ending: dict[str, Any]
) -> None:
    """Whatever comes and whatever ends it, the frames are as designed (I5)."""
    response = reducer()
    frames: list[ResponseFrame] = []
    for at in range(0, len(events), batch):
        frames.extend(response.feed(events[at : at + batch], 101))
    frames.extend(response.finish(102, **ending))

    places = [
        next(at for at, kinds in enumerate(_PLACES) if isinstance(frame, kinds)) for frame in frames
    ]
    assert places == sorted(places)
    assert [places.count(at) for at in (0, 4)] == [1, 1]
    assert max(places.count(2), places.count(3)) <= 1
    end = frames[-1]
    assert isinstance(end, ResponseEnded)
    assert end.text == "".join(frame.text for frame in frames if isinstance(frame, TextDelta))
    ready = [frame for frame in frames if isinstance(frame, ToolCallsReady)]
    assert bool(ready) == (end.status is Status.TOOL_CALLS)
    if ready:
        started = [frame for frame in frames if isinstance(frame, ToolCallStarted)]
        assert sorted((frame.index, frame.id) for frame in started) == [
            (at, call.id) for at, call in enumerate(ready[0].calls)
        ]
    if end.status not in (Status.INTERRUPTED, Status.TIMED_OUT, Status.FAILED):
        assert any(isinstance(event, Finished) for event in events)
