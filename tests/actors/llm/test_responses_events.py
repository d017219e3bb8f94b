"""`ResponsesReader`: what each event of the Responses API says, in every shape that servers give it."""

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
    ResponseReducer,
    Status,
    TextDelta,
    TokenLogprob,
    TranscriptDelta,
    Usage,
    UsageSeen,
)
from greenroom.actors.llm.responses_events import ResponsesReader


def payload(kind: str, **fields: Any) -> bytes:
    """Return the data of an event."""
    return json.dumps({"type": f"response.{kind}", "sequence_number": 7, **fields}).encode()


def begun() -> ResponsesReader:
    """Return a reader that has read the first event."""
    reader = ResponsesReader(Profile(name="acme"))
    first = payload("created", response={"id": "resp_1", "model": "m", "status": "in_progress"})
    assert reader.read(first, b"response.created") == [ModelSeen("m")]
    return reader


def read(*payloads: bytes) -> list[Event]:
    """Return the events of *payloads* in mid-stream."""
    reader = begun()
    return [event for each in payloads for event in reader.read(each)]


def call_item(**fields: Any) -> dict[str, Any]:
    """Return a function call as an output item has it."""
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look"}
    return {**item, "arguments": "", "status": "in_progress", **fields}


ADDED = payload("output_item.added", output_index=1, item=call_item())
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}


@pytest.mark.parametrize(
    ("payloads", "events"),
    [
        ([payload("in_progress", response={"model": "m"})], []),
        ([payload("in_progress", response={"model": "m-2"})], [ModelSeen("m-2")]),
        ([payload("output_item.added", output_index=0, item={"type": "message"})], []),
        ([payload("content_part.added", part={"type": "output_text", "text": ""})], []),
        ([payload("output_text.delta", delta="hi")], [TextDelta("hi")]),
        ([payload("output_text.delta", delta="", obfuscation="x")], []),
        ([payload("refusal.delta", delta="no")], [RefusalDelta("no")]),
        ([payload("audio.transcript.delta", delta="hi")], [TranscriptDelta("hi")]),
        # What came as deltas is not read once more, and what did not is read whole.
        (
            [payload("output_text.delta", delta="hi"), payload("output_text.done", text="hi")],
            [TextDelta("hi")],
        ),
        ([payload("output_text.done", text="hi")], [TextDelta("hi")]),
        (
            [
                payload("output_text.delta", output_index=0, delta="a"),
                payload("output_text.done", output_index=1, text="b"),
            ],
            [TextDelta("a"), TextDelta("b")],
        ),
        (
            [payload("refusal.done", refusal="no"), payload("refusal.done", refusal="no")],
            [RefusalDelta("no")],
        ),
        # Parts of a summary are set apart; a second kind of reasoning is the same once more.
        (
            [
                payload("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="a"),
                payload("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="b"),
                payload("reasoning_summary_text.done", summary_index=0, text="ab"),
                payload("reasoning_summary_text.delta", output_index=0, summary_index=1, delta="c"),
                payload("reasoning_text.delta", output_index=0, content_index=0, delta="d"),
            ],
            [ReasoningDelta("a"), ReasoningDelta("b"), ReasoningDelta("\n\nc")],
        ),
        ([payload("reasoning_text.delta", delta="a")], [ReasoningDelta("a")]),
        # Calls: the name with the item, the arguments as deltas, or whole, or with the item.
        (
            [
                ADDED,
                payload("function_call_arguments.delta", output_index=1, delta='{"a"'),
                payload("function_call_arguments.delta", output_index=1, delta=":1}"),
                payload("function_call_arguments.done", output_index=1, arguments='{"a":1}'),
                payload("output_item.done", output_index=1, item=call_item(arguments='{"a":1}')),
            ],
            [
                CallFragment(1, "call_1", "look", ""),
                CallFragment(1, None, "", '{"a"'),
                CallFragment(1, None, "", ":1}"),
            ],
        ),
        (
            [ADDED, payload("function_call_arguments.done", output_index=1, arguments="{}")],
            [CallFragment(1, "call_1", "look", ""), CallFragment(1, None, "", "{}")],
        ),
        (
            [
                ADDED,
                payload("output_item.done", output_index=1, item=call_item(arguments="{}")),
            ],
            [CallFragment(1, "call_1", "look", ""), CallFragment(1, "call_1", "", "{}")],
        ),
        (
            [payload("output_item.done", output_index=0, item=call_item(arguments="{}"))],
            [CallFragment(0, "call_1", "look", "{}")],
        ),
        # Without an index, the id of the item tells calls apart.
        (
            [
                payload("output_item.added", item_id="x", item=call_item()),
                payload("output_item.added", item_id="y", item=call_item(call_id="call_2")),
                payload("function_call_arguments.delta", item_id="x", delta="{}"),
            ],
            [
                CallFragment(0, "call_1", "look", ""),
                CallFragment(1, "call_2", "look", ""),
                CallFragment(0, None, "", "{}"),
            ],
        ),
        # Items and events of kinds that we don't know, with fields of other types.
        (
            [
                payload("output_item.added", item={"type": "tool_search_call", "arguments": {}}),
                payload("web_search_call.searching", output_index=0, item_id="ws_1"),
                payload("image_generation_call.partial_image", delta={"a": 1}, text=[1]),
                b'{"type":"keepalive"}',
            ],
            [],
        ),
        (
            [
                payload(
                    "output_text.delta",
                    delta="hi",
                    logprobs=[
                        {
                            "token": "hi",
                            "logprob": -1,
                            "top_logprobs": [{"token": "a", "logprob": 0}],
                        }
                    ],
                )
            ],
            [
                TextDelta("hi"),
                LogprobsDelta((TokenLogprob("hi", -1.0, (TokenLogprob("a", 0.0),)),)),
            ],
        ),
        ([payload("output_text.delta", delta="hi", logprobs={"odd": 1})], [TextDelta("hi")]),
        (
            [payload("completed", response={"model": "m", "status": "completed", "usage": USAGE})],
            [
                Finished("completed"),
                UsageSeen(
                    Usage(input=20, output=9, total=29, cached=5, cache_written=2, reasoning=4)
                ),
            ],
        ),
        ([payload("completed")], [Finished("completed")]),
        ([b"[DONE]"], [Finished(None)]),
        (
            [payload("completed"), payload("output_text.delta", delta="late")],
            [Finished("completed")],
        ),
        ([payload("completed"), b"[DONE]"], [Finished("completed")]),
    ],
)
def test_an_event_says_what_it_holds(payloads: list[bytes], events: list[Event]) -> None:
    """Every documented event that is about the answer is read, and nothing of it twice."""
    assert read(*payloads) == events


@pytest.mark.parametrize(
    ("reason", "finish", "status"),
    [
        ("max_output_tokens", "max_output_tokens", Status.TRUNCATED),
        ("max_messages", "max_messages", Status.TRUNCATED),
        ("content_filter", "content_filter", Status.FILTERED),
        ("steered", "steered", Status.TRUNCATED),
        ("something new", "incomplete", Status.TRUNCATED),
        (None, "incomplete", Status.TRUNCATED),
    ],
)
def test_an_incomplete_response_is_never_called_complete(
    reason: str | None, finish: str, status: Status
) -> None:
    """The reason decides the status, and a new one can't make it better than the truth."""
    events = read(
        payload("output_text.delta", delta="hi"),
        payload("incomplete", response={"incomplete_details": reason and {"reason": reason}}),
    )
    response = ResponseReducer(id="r", model="m", provider="p", started_at=0)
    response.feed(events, 1)

    assert events == [TextDelta("hi"), Finished(finish)]
    assert response.finish(2)[-1].status is status  # type: ignore[union-attr] # pyright: ignore


@pytest.mark.parametrize(
    ("last", "category", "message"),
    [
        (
            payload("failed", response={"error": {"code": "server_error", "message": "oops"}}),
            Category.SERVER,
            "acme broke the response off: oops$",
        ),
        (
            payload("failed", response={"error": {"code": "rate_limit_exceeded", "message": "x"}}),
            Category.RATE_LIMIT,
            "broke the response off: x",
        ),
        (
            payload("failed", response={"error": {"code": "invalid_prompt", "message": "x"}}),
            Category.INVALID_REQUEST,
            "broke the response off: x",
        ),
        (payload("failed", response={"error": None}), Category.SERVER, "broke the response off: "),
        (payload("failed"), Category.SERVER, "broke the response off: "),
        (payload("cancelled"), Category.UNKNOWN, "it was cancelled there"),
        (b'{"type":"error","code":"server_error","message":"gone"}', Category.SERVER, "gone$"),
        (
            b'{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}',
            Category.INVALID_REQUEST,
            "bad$",
        ),
        (b'{"error":{"message":"overloaded","code":503}}', Category.SERVER, "overloaded$"),
    ],
)
def test_a_response_that_fails_is_an_error_with_its_category(
    last: bytes, category: Category, message: str
) -> None:
    """Failed and cancelled there, and errors in mid-stream."""
    with pytest.raises(ProviderError, match=message) as raised:
        read(last)

    assert raised.value.category is category


def test_the_name_of_an_event_will_do_for_its_type() -> None:
    """Some servers leave one of the two out."""
    reader = begun()

    assert reader.read(b'{"delta":"hi"}', b"response.output_text.delta") == [TextDelta("hi")]
    with pytest.raises(ProviderError, match="broke the response off: gone"):
        reader.read(b'{"message":"gone"}', b"error")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[1]",
        b'{"delta":"hi"}',
        b'{"type":7}',
        b'{"type":"response.output_text.delta","delta":7}',
        b'{"type":"response.output_text.delta","delta":"\xff"}',
        b'{"type":"response.function_call_arguments.done","arguments":{}}',
        b'{"type":"response.completed","response":7}',
        b'{"choices":[{"delta":{"content":"hi"}}]}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_is_no_event_of_the_api_is_malformed(sent: bytes) -> None:
    """A chunk of chat completions is none either."""
    with pytest.raises(ProviderError, match="acme sent an event that is none of the Res") as raised:
        begun().read(sent)

    assert raised.value.category is Category.MALFORMED


def test_the_first_event_is_seen_whatever_it_is() -> None:
    """A server that leaves out response.created is understood."""
    reader = ResponsesReader(Profile(name="acme"))

    assert reader.read(payload("output_text.delta", delta="hi")) == [ModelSeen(""), TextDelta("hi")]
    assert reader.payload == payload("output_text.delta", delta="hi")
    assert reader.end() == ()


@given(
    st.binary(max_size=40)
    | st.from_regex(rb'\{"type":"response\.[a-z_.]{3,30}",("(delta|text|item)":[ -~]{0,9})?\}')
)
def test_any_bytes_are_events_or_a_provider_error(sent: bytes) -> None:
    """Nothing else ever comes out of a reader."""
    try:
        events = begun().read(sent)
    except ProviderError:
        return

    assert all(not isinstance(event, TextDelta) or event.text for event in events)
