"""The understudy's Responses API: the same answers in other events, and as strict."""

import json
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.actors.demo.cast import DEFAULT_QUESTION, SPECIALISTS
from greenroom.actors.understudy import MODEL, Understudy, open_understudy
from tests.actors.understudy.peer import Peer, connected
from tests.actors.understudy.talk import tools_of
from tests.actors.understudy.test_clients import client_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOOLS: list[Any] = [
    {"type": "function", **tool["function"], "strict": False} for tool in tools_of(SPECIALISTS[0])
]


async def send(peer: Peer, **request: Any) -> None:
    """Send a request to the Responses API."""
    await peer.send("POST", "/v1/responses", json.dumps({"model": MODEL, **request}).encode())


async def events_of(peer: Peer) -> list[dict[str, Any]]:
    """Return the events of a stream; each one's name is its type."""
    assert (await peer.head()).status_code == 200
    blocks = (await peer.body()).decode().split("\n\n")[:-1]
    events: list[dict[str, Any]] = []
    for block in blocks:
        name, payload = block.split("\n")
        events.append(json.loads(payload.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


async def test_the_official_client_streams_text_and_calls_and_answers_them() -> None:
    """AsyncOpenAI decodes every event, over a real socket, and the round trip of a call works."""
    async with open_understudy() as understudy, client_of(understudy) as client:
        stream = await client.responses.create(model=MODEL, input="hello", stream=True)
        texts = [event async for event in stream]
        asked: list[Any] = [{"role": "user", "content": DEFAULT_QUESTION}]
        called = await client.responses.create(model=MODEL, input=asked, tools=TOOLS)
        for item in called.output:
            assert item.type == "function_call"
            asked.append(item.model_dump(exclude={"id", "status"}, exclude_none=True))
        for item in called.output:
            assert item.type == "function_call"
            fact = {"name": "it", "fact": "mass", "value": len(item.arguments), "unit": "kg"}
            output = {"type": "function_call_output", "call_id": item.call_id}
            asked.append({**output, "output": json.dumps(fact)})
        answered = await client.responses.create(model=MODEL, input=asked, tools=TOOLS)

    said = "".join(event.delta for event in texts if event.type == "response.output_text.delta")
    last = texts[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == said
    assert "rules in place of a model" in said
    assert [event.sequence_number for event in texts] == list(range(len(texts)))
    assert len(called.output) == 2
    assert answered.status == "completed"
    assert answered.usage is not None


async def test_parallel_calls_take_turns_by_index(autojump_clock: trio.testing.MockClock) -> None:
    """Fragments are mixed, and each call's own make its arguments."""
    async with connected(Understudy()) as peer:
        await send(peer, input=DEFAULT_QUESTION, tools=TOOLS, stream=True)
        events = await events_of(peer)
    deltas = [e for e in events if e["type"] == "response.function_call_arguments.delta"]
    whole = [e for e in events if e["type"] == "response.function_call_arguments.done"]

    assert [delta["output_index"] for delta in deltas[:4]] == [0, 1, 0, 1]
    for done in whole:
        mine = [d["delta"] for d in deltas if d["output_index"] == done["output_index"]]
        assert "".join(mine) == done["arguments"]


async def test_a_limit_makes_it_incomplete(autojump_clock: trio.testing.MockClock) -> None:
    """The last event says so, with the reason."""
    async with connected(Understudy()) as peer:
        await send(peer, input="hello", max_output_tokens=2, stream=True)
        last = (await events_of(peer))[-1]

    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Missing required parameter: 'input'."),
        ({"input": []}, "Invalid 'messages': the array is empty."),
        ({"input": "a", "previous_response_id": "resp_1"}, "Unsupported parameter: 'previous_resp"),
        ({"input": "a", "include": ["reasoning.encrypted_content"]}, "Unsupported parameter: 'inc"),
        ({"input": "a", "messages": []}, "Unknown parameter: 'messages'."),
        ({"input": "a", "max_tokens": 3}, "Unknown parameter: 'max_tokens'."),
        ({"input": "a", "tools": [{"type": "web_search"}]}, "this server has functions only."),
        ({"input": [{"type": "reasoning"}]}, "this server has no 'reasoning'."),
        ({"input": ["a"]}, "Invalid 'messages[0].role'"),
        ({"input": "a", "text": {"format": {"type": "json_schema"}}}, "Invalid 'response_format'"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "'c' answers no tool call",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]},
            "must be followed by tool messages",
        ),
    ],
)
async def test_what_it_does_not_have_or_allow_is_refused(
    request_: dict[str, Any], message: str, autojump_clock: trio.testing.MockClock
) -> None:
    """As strict as the other API, by the same rules (I8)."""
    async with connected(Understudy()) as peer:
        await send(peer, **request_)
        status, body = await peer.json()

    assert status == 400
    assert message in body["error"]["message"]


async def test_a_body_that_is_no_object_and_a_get_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As on the other path."""
    async with connected(Understudy()) as peer:
        await peer.send("POST", "/v1/responses", b"[1]")
        assert (await peer.json())[0] == 400
        await peer.send("GET", "/v1/responses")
        assert (await peer.json())[0] == 405


async def test_parts_of_text_and_instructions_are_understood(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Messages may hold their text in parts, of the user and of the assistant."""
    async with connected(Understudy()) as peer:
        said = {"role": "assistant", "content": [{"type": "output_text", "text": "yes?"}]}
        asked = {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        await send(peer, input=[said, asked], instructions="be brief", reasoning={"effort": "low"})
        status, body = await peer.json()

    assert (status, body["status"], body["object"]) == (200, "completed", "response")
    assert body["output"][0]["content"][0]["type"] == "output_text"
