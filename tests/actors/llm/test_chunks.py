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
    ModelSeen,
    ProviderError,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
    UsageSeen,
)
from greenroom.actors.llm.chunks import ChunkReader


def begun(*reasoning: str) -> ChunkReader:
    """Return a reader that has read its first chunk."""
    reader = ChunkReader("acme", reasoning or ("reasoning_content", "reasoning"))
    assert reader.read(b'{"model":"m"}') == [ModelSeen("m")]
    return reader


def read(payload: Any) -> list[Event]:
    """Return the events of *payload* in mid-stream."""
    return begun().read(json.dumps(payload).encode())


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
    reader = ChunkReader("acme", ())

    assert reader.read(b'{"choices":[{"delta":{"role":"assistant"}}]}') == [ModelSeen("")]
    assert reader.read(b'{"choices":[]}') == []
    assert reader.read(b'{"model":"m"}') == [ModelSeen("m")]
    assert reader.read(b'{"model":"m"}') == []


def test_the_profile_says_where_reasoning_stands() -> None:
    """A field that the profile does not name is not read."""
    payload = json.dumps(delta(reasoning="a", reasoning_content="b")).encode()

    assert begun("reasoning_content").read(payload) == [ReasoningDelta("b")]
    assert begun("reasoning").read(payload) == [ReasoningDelta("a")]


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
