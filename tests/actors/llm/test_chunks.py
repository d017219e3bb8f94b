"""`ChunkReader`: what each event of a stream says, in every shape that servers give it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import (
    CallFragment,
    Category,
    Event,
    Finished,
    LogprobsDelta,
    ModelSeen,
    Profile,
    ProviderError,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    TranscriptDelta,
    Usage,
    UsageSeen,
)
from greenroom.actors.llm.chunks import ChunkReader


def begun(*reasoning: str, **dialect: Any) -> ChunkReader:
    """Return a reader that has read its first chunk."""
    if reasoning:
        dialect["reasoning"] = reasoning
    reader = ChunkReader(Profile(name="acme", **dialect))
    assert reader.read(b'{"model":"m"}') == [ModelSeen("m")]
    return reader


def encoded(payload: Any) -> bytes:
    """Return *payload* as JSON."""
    return json.dumps(payload).encode()


def read(payload: Any) -> list[Event]:
    """Return the events of *payload* in mid-stream."""
    return begun().read(encoded(payload))


def delta(**fields: Any) -> dict[str, Any]:
    """Return a chunk with one delta."""
    return {"choices": [{"index": 0, "delta": fields}]}


@pytest.mark.parametrize(
    ("payload", "events"),
    [
        ({}, []),
        ({"choices": None}, []),
        ({"choices": []}, []),
        ({"choices": [{"delta": None}]}, []),
        (delta(role="assistant", content=""), []),
        (delta(content=None), []),
        (delta(content="hi"), [TextDelta("hi")]),
        (delta(refusal="no"), [RefusalDelta("no")]),
        (delta(reasoning_content="hm"), [ReasoningDelta("hm")]),
        (delta(reasoning="hm"), [ReasoningDelta("hm")]),
        (delta(reasoning="hm", reasoning_content="hm"), [ReasoningDelta("hm")]),
        (delta(content="hi", unknown={"a": [1]}, logprobs=None), [TextDelta("hi")]),
        ({"choices": [{"index": 1, "delta": {"content": "other"}}]}, []),
        (delta(audio={"transcript": "hi", "data": "AAAA"}), [TranscriptDelta("hi")]),
        (delta(audio={"id": "audio_1", "expires_at": 1}), []),
        # Mistral's parts: reasoning, text, and kinds that we don't know.
        (
            delta(
                content=[
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "hi"},
                    {"type": "reference", "reference_ids": [1]},
                ]
            ),
            [ReasoningDelta("hm"), TextDelta("hi")],
        ),
        (delta(content=[{"thinking": "hm"}]), [ReasoningDelta("hm")]),
        (delta(tool_calls=None), []),
        (delta(tool_calls=[]), []),
        (delta(tool_calls=[{"index": 0, "function": None}]), [CallFragment(0)]),
        (
            # Text and calls of one delta are both kept, and every entry of it (a20, a23).
            delta(
                content="hi",
                tool_calls=[
                    {"index": 0, "id": "a", "type": "function", "function": {"name": "f"}},
                    {"id": "b", "function": {"name": None, "arguments": "{"}},
                    {"index": 2, "function": {"arguments": {"x": 1}}},
                ],
            ),
            [
                TextDelta("hi"),
                CallFragment(0, "a", "f", ""),
                CallFragment(None, "b", "", "{"),
                CallFragment(2, None, "", '{"x": 1}'),
            ],
        ),
        (
            {"choices": [{"delta": {"content": "."}, "finish_reason": "stop"}]},
            [TextDelta("."), Finished("stop")],
        ),
        ({"model": "m-2026"}, [ModelSeen("m-2026")]),
        (
            # Case 8: details reach the report unchanged.
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 20,
                    "completion_tokens": 30,
                    "total_tokens": 50,
                    "prompt_tokens_details": {"cached_tokens": 15, "audio_tokens": 1},
                    "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 2},
                },
            },
            [UsageSeen(Usage(input=20, output=30, total=50, cached=15, reasoning=8, audio=3))],
        ),
        (
            {"usage": {"prompt_tokens": 2, "completion_tokens": 3, "prompt_cache_hit_tokens": 1}},
            [UsageSeen(Usage(input=2, output=3, total=5, cached=1))],
        ),
        (
            {"usage": {"prompt_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 2}}},
            [UsageSeen(Usage(input=2, total=2, cache_written=2))],
        ),
        (
            {"usage": {"prompt_tokens": None, "completion_tokens_details": None}},
            [UsageSeen(Usage())],
        ),
        ({"usage": None, "error": None}, []),
    ],
)
def test_a_chunk_says_what_it_holds(payload: Any, events: list[Event]) -> None:
    """Every shape that servers are known to send is read, and nothing of it is lost."""
    assert read(payload) == events


def test_the_first_chunk_is_an_event_whatever_it_holds() -> None:
    """A role alone is the first chunk, with or without a model's name (case 12)."""
    reader = ChunkReader(Profile(name="acme"))

    assert reader.read(b'{"choices":[{"delta":{"role":"assistant"}}]}') == [ModelSeen("")]
    assert reader.read(b'{"choices":[]}') == []
    assert reader.read(b'{"model":"m"}') == [ModelSeen("m")]
    assert reader.read(b'{"model":"m"}') == []


def test_the_profile_says_where_reasoning_stands() -> None:
    """A field that the profile does not name is not read."""
    payload = json.dumps(delta(reasoning="a", reasoning_content="b")).encode()

    assert begun("reasoning_content").read(payload) == [ReasoningDelta("b")]
    assert begun("reasoning").read(payload) == [ReasoningDelta("a")]


def logprobs(**sent: Any) -> list[Event]:
    """Return the events of a delta with *sent* as its log probabilities."""
    choice = {"delta": {"content": "hi"}, "logprobs": sent}
    return read({"choices": [choice]})


def test_log_probabilities_follow_their_delta() -> None:
    """Those of the content and of a refusal are read, with the alternatives that were asked for."""
    top = [{"token": "hi", "logprob": -0.1, "bytes": [1]}, {"token": "ho", "logprob": -2}]
    token = TokenLogprob("hi", -0.1, (TokenLogprob("hi", -0.1), TokenLogprob("ho", -2.0)))

    assert logprobs(content=[{"token": "hi", "logprob": -0.1, "top_logprobs": top}]) == [
        TextDelta("hi"),
        LogprobsDelta((token,)),
    ]
    assert logprobs(content=None, refusal=[{"token": "no", "logprob": -1}])[1:] == [
        LogprobsDelta((TokenLogprob("no", -1.0),))
    ]
    assert logprobs(content=[]) == [TextDelta("hi")]


def test_log_probabilities_of_another_form_break_nothing() -> None:
    """Servers with a form of their own are read without them; `RawEvent` has them."""
    assert logprobs(tokens=["hi"], token_logprobs=[-0.1]) == [TextDelta("hi")]
    assert logprobs(content={"hi": -0.1}) == [TextDelta("hi")]


def test_tags_are_reasoning_where_the_profile_says_so() -> None:
    """What may yet become a tag is held until the finish, and comes before it."""
    reader = begun(think_tags=("<think>", "</think>"))
    pieces = ["<th", "ink>hm</think>", "hi", "<"]
    events = [event for text in pieces for event in reader.read(encoded(delta(content=text)))]

    assert events == [ReasoningDelta("hm"), TextDelta("hi")]
    assert reader.read(encoded({"choices": [{"finish_reason": "stop"}]})) == [
        TextDelta("<"),
        Finished("stop"),
    ]
    assert reader.end() == []
    assert begun().read(encoded(delta(content="<think>"))) == [TextDelta("<think>")]


def test_reasoning_that_is_counted_apart_is_added_to_the_output() -> None:
    """`Usage.output` includes it, whatever the provider does (the reference's `_token_usage`)."""
    usage = {
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "total_tokens": 9,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }

    assert begun(reasoning_apart=True).read(encoded({"usage": usage})) == [
        UsageSeen(Usage(input=2, output=7, total=9, reasoning=4))
    ]


def test_a_finish_reason_that_is_repeated_is_told_once() -> None:
    """Some servers send one with every chunk; no text is lost by it, and a last word counts."""
    reader = begun()
    first, last = ({"choices": [{"finish_reason": reason}]} for reason in ("stop", "length"))

    assert reader.read(encoded(first)) == [Finished("stop")]
    assert reader.read(encoded(first)) == []
    assert reader.read(encoded(delta(content="more"))) == [TextDelta("more")]
    assert reader.read(encoded(last)) == [Finished("length")]


def test_the_end_mark_finishes_once() -> None:
    """[DONE] is a finish of its own only where no reason came before it."""
    silent, told = begun(), begun()
    told.read(json.dumps({"choices": [{"finish_reason": "stop"}]}).encode())

    assert silent.read(b"[DONE]") == [Finished(None)]
    assert told.read(b" [DONE] ") == []
    assert silent.is_done
    assert told.is_done
    assert told.read(json.dumps(delta(content="late")).encode()) == []


def test_the_payload_is_kept_as_it_was_sent() -> None:
    """What we don't decode can still be reached."""
    reader = begun()
    reader.read(b'{"system_fingerprint":"fp_1","choices":[]}')

    assert reader.payload == b'{"system_fingerprint":"fp_1","choices":[]}'


@pytest.mark.parametrize(
    ("payload", "category", "message"),
    [
        (b'{"error":{"message":"overloaded","code":502}}', Category.SERVER, "overloaded"),
        (b'{"error":{"message":"slow","type":"rate_limit_exceeded"}}', Category.RATE_LIMIT, "slow"),
        (b'{"error":"out of memory"}', Category.SERVER, "out of memory"),
        (b'{"choices":[],"error":{"message":"x"}}', Category.SERVER, "x"),
    ],
)
def test_an_error_event_is_raised_with_its_category(
    payload: bytes, category: Category, message: str
) -> None:
    """A server that fails in mid-stream says so in an event."""
    with pytest.raises(ProviderError, match=f"acme broke the response off: {message}$") as raised:
        begun().read(payload)

    assert raised.value.category is category


def test_an_event_named_error_is_one() -> None:
    """Some servers name the event and send the error bare."""
    with pytest.raises(ProviderError, match="acme broke the response off: gone"):
        begun().read(b'{"message":"gone"}', b"error")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[1]",
        b"hello",
        b'{"choices":5}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_chunk_is_malformed(payload: bytes) -> None:
    """The SDK lets a bare JSONDecodeError out; here it is a `ProviderError` with a start of it."""
    with pytest.raises(ProviderError, match="acme sent an event that is no chat compl") as raised:
        begun().read(payload)

    assert raised.value.category is Category.MALFORMED


@given(st.binary(max_size=40) | st.from_regex(rb'\{"choices":\[\{"delta":\{[ -~]{0,12}\}\}\]\}'))
def test_any_bytes_are_events_or_a_provider_error(payload: bytes) -> None:
    """Nothing else ever comes out of a reader."""
    try:
        events = begun().read(payload)
    except ProviderError:
        return

    assert all(not isinstance(event, TextDelta) or event.text for event in events)
