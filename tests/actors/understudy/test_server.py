"""The server over memory streams, on virtual time: what it sends, when, and what it survives."""

import json
import logging
import math
from typing import Any

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from greenroom.actors.demo.cast import DEFAULT_QUESTION, SPECIALISTS
from greenroom.actors.understudy import MODEL, Understudy, banner
from greenroom.runtime.testing import World, sweep
from tests.actors.understudy.peer import Peer, asking, connected, payloads, text_of
from tests.actors.understudy.talk import tools_of

TOOLS = tools_of(SPECIALISTS[0])


async def test_text_streams_role_first_then_tokens_then_reason_and_usage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The events come in the order of the real API, and each is one."""
    async with connected(Understudy()) as peer:
        await peer.post(asking(stream_options={"include_usage": True}))
        events = await peer.events()
    chunks = [ChatCompletionChunk.model_validate_json(event) for event in events[:-1]]
    *middle, ended, usage = chunks
    deltas = [chunk.choices[0].delta for chunk in middle]

    assert events[-1] == b"[DONE]"
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert all(delta.content and delta.role is None for delta in deltas[1:])
    assert all(chunk.choices[0].finish_reason is None for chunk in middle)
    assert ended.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens == len(deltas) - 1
    assert {(chunk.id, chunk.model, chunk.system_fingerprint) for chunk in chunks} == {
        (usage.id, MODEL, "fp_rules_not_a_model")
    }


async def test_parallel_calls_stream_in_fragments_that_take_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each call begins with its id and name; then fragments of the arguments take turns."""
    tools = tools_of(SPECIALISTS[1])
    async with connected(Understudy()) as peer:
        await peer.post(asking("Which is higher, K2 or Kangchenjunga?", tools=tools))
        events = await peer.events()
    chunks = [ChatCompletionChunk.model_validate_json(event) for event in events[:-1]]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    starts, fragments = calls[:2], calls[2:]
    arguments = {0: "", 1: ""}
    for call in fragments:
        assert call.function is not None
        arguments[call.index] += call.function.arguments or ""

    assert [(c.index, c.type, c.function and c.function.name) for c in starts] == [
        (0, "function", "mountain_fact"),
        (1, "function", "mountain_fact"),
    ]
    assert starts[0].id != starts[1].id
    assert all(call.id is None for call in fragments)
    assert [call.index for call in fragments] == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1]
    assert json.loads(arguments[0]) == {"mountain": "K2", "fact": "height"}
    assert json.loads(arguments[1]) == {"mountain": "Kangchenjunga", "fact": "height"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("question", ["hello", DEFAULT_QUESTION])
async def test_whole_response_says_the_same_as_the_stream(
    autojump_clock: trio.testing.MockClock, question: str
) -> None:
    """With stream false the same text, calls and usage come as one object."""
    async with connected(Understudy()) as peer:
        body = asking(question, tools=TOOLS)
        await peer.post(body | {"stream_options": {"include_usage": True}})
        events = await peer.events()
        await peer.post(body | {"stream": False})
        status, answer = await peer.json()
    whole = ChatCompletion.model_validate(answer)
    message = whole.choices[0].message
    started = [event for event in events if b'"name":' in event]

    assert status == 200
    assert (message.content or "") == text_of(events)
    assert len(message.tool_calls or ()) == len(started)
    assert json.loads(events[-2])["usage"] == answer["usage"]
    assert json.loads(events[0])["id"] == whole.id


async def test_same_request_gets_the_same_bytes() -> None:
    """The understudy is deterministic: two servers answer alike, byte for byte."""
    bodies: list[bytes] = []
    for _ in range(2):
        async with connected(Understudy()) as peer:
            await peer.post(asking(DEFAULT_QUESTION, tools=TOOLS))
            await peer.head()
            bodies.append(await peer.body())

    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(("pace", "seconds"), [(10, 2.5), (1, 25), (math.inf, 0)])
async def test_tokens_come_at_the_pace_that_was_set(
    autojump_clock: trio.testing.MockClock, pace: float, seconds: float
) -> None:
    """A text of 25 tokens takes 25 times the time of one, exactly, streamed or whole."""
    understudy = Understudy(pace=pace)
    async with connected(understudy) as peer:
        for more in ({}, {"stream": False}):
            begun = trio.current_time()
            await peer.post(asking() | more)
            await peer.head()
            await peer.body()

            assert trio.current_time() - begun == pytest.approx(seconds)
    assert understudy.statistics().tokens_sent == 50


async def test_first_token_comes_before_the_last_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Events are sent one by one as they fall due, not together."""
    async with connected(Understudy(pace=2)) as peer:
        await peer.post(asking())
        await peer.head()
        role, at_role = await peer.part(), trio.current_time()
        first, at_first = await peer.part(), trio.current_time()

    assert json.loads(payloads(role)[0])["choices"][0]["delta"]["role"] == "assistant"
    assert text_of(payloads(first)) == "I'm"
    assert (at_role, at_first) == (0, 0.5)


@pytest.mark.parametrize(
    ("more", "text", "reason"),
    [
        ({"max_tokens": 3}, "I'm the understu", "length"),
        ({"max_completion_tokens": 25}, None, "stop"),
        ({"stop": " rules"}, "I'm the understudy:", "stop"),
        ({"stop": ["zebra", "the"]}, "I'm ", "stop"),
    ],
)
async def test_text_is_cut_as_the_request_says(
    more: dict[str, Any], text: str | None, reason: str
) -> None:
    """Token limits and stop sequences end the text, with the right finish reason."""
    async with connected(Understudy()) as peer:
        await peer.post(asking() | more)
        events = await peer.events()

    assert text is None or text_of(events) == text
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(("limit", "calls", "last"), [(3, 1, '{"planet": "Jupi'), (7, 2, "")])
async def test_tool_calls_are_cut_as_the_request_says(limit: int, calls: int, last: str) -> None:
    """A token limit can fall into the arguments, which then are no JSON."""
    async with connected(Understudy()) as peer:
        body = asking(DEFAULT_QUESTION, tools=TOOLS, max_tokens=limit, stream=False)
        await peer.post(body)
        choice = (await peer.json())[1]["choices"][0]
    made = choice["message"]["tool_calls"]

    assert choice["finish_reason"] == "length"
    assert len(made) == calls
    assert made[-1]["function"]["arguments"] == last


async def test_json_is_answered_where_json_is_asked_for() -> None:
    """The response format json_object gives an object with the answer."""
    async with connected(Understudy()) as peer:
        await peer.post(asking(response_format={"type": "json_object"}))
        answer = json.loads(text_of(await peer.events()))

    assert "rules in place of a model" in answer["answer"]


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/v1/models", 200, None),
        ("GET", f"/v1/models/{MODEL}?x=1", 200, None),
        ("GET", "/v1/models/gpt-4o", 404, "model_not_found"),
        ("GET", "/understudy/statistics", 200, None),
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_plain_pages(method: str, target: str, status: int, code: str | None) -> None:
    """Every path answers with JSON, and errors have the shape of the real API."""
    async with connected(Understudy()) as peer:
        await peer.send(method, target)
        found, body = await peer.json()

    assert found == status
    assert body.get("error", {"code": None})["code"] == code
    assert status == 200 or set(body["error"]) == {"message", "type", "param", "code"}


async def test_head_has_the_head_of_get_and_no_body() -> None:
    """HEAD is answered like GET, the body left out, and the connection goes on."""
    async with connected(Understudy()) as peer:
        await peer.send("HEAD", "/v1/models")
        head, body = await peer.head(), await peer.body()
        await peer.send("GET", "/")
        welcome = await peer.head(), await peer.body()

    assert int(dict(head.headers)[b"content-length"]) > 0
    assert body == b""
    assert b"not a language model" in welcome[1]


async def test_key_is_asked_for_where_one_is_set() -> None:
    """Without the right key everything under /v1 is 401; with it, or with none set, it is not."""
    seen: list[tuple[int, str | None]] = []
    async with connected(Understudy(api_key="secret")) as peer:
        for key in ("Bearer wrong", "secret", "Bearer secret"):
            await peer.post(asking(stream=False), authorization=key)
            status, body = await peer.json()
            seen.append((status, body.get("error", {}).get("code")))
        await peer.send("GET", "/v1/models")
        seen.append(((await peer.json())[0], None))

    assert seen == [(401, "invalid_api_key"), (401, "invalid_api_key"), (200, None), (401, None)]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b'{"a": NaN}', 400, None),
        (b'"\\ud800"', 400, None),
        (b"[" * 100_000, 400, None),
        (b"1" * 5_000, 400, None),
        (b'{"model": "m", "messages": []}', 400, "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}', 404, "model"),
    ],
)
async def test_bad_request_is_refused_and_the_connection_goes_on(
    body: bytes, status: int, param: str | None
) -> None:
    """What is no valid request gets 400 or 404 with the place; the next request works."""
    async with connected(Understudy()) as peer:
        await peer.send("POST", "/v1/chat/completions", body)
        refused, error = await peer.json()
        await peer.post(asking(stream=False))
        status_after, _ = await peer.json()

    assert (refused, error["error"]["param"]) == (status, param)
    assert error["error"]["type"] == "invalid_request_error"
    assert status_after == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\n\r\n" + b"x" * 101, 413),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000, 431),
        (b"\x16\x03\x01 no HTTP\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    ],
)
async def test_unreadable_request_is_refused_and_the_connection_closed(
    autojump_clock: trio.testing.MockClock, sent: bytes, status: int
) -> None:
    """What is too large or no HTTP gets an answer that can still be read, then the end."""
    understudy = Understudy(max_body=100)
    async with connected(understudy) as peer:
        await peer.stream.send_all(sent)
        peer.http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        head = await peer.head()
        error = json.loads(await peer.body())
        rest = await peer.stream.receive_some()

    assert head.status_code == status
    assert error["error"]["message"]
    assert rest == b""
    assert understudy.statistics().failures == 0


async def test_client_may_wait_for_permission_to_send_a_body() -> None:
    """A request that expects 100-continue gets it before its body is sent."""
    async with connected(Understudy()) as peer:
        request = (
            b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
        await peer.stream.send_all(request)
        permission = await peer.stream.receive_some()
        await peer.stream.send_all(b"{}")
        answer = await peer.stream.receive_some()

    assert permission.startswith(b"HTTP/1.1 100 ")
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_request_sent_while_a_stream_runs_is_answered_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What the server reads while it watches for the client to leave is kept for its turn."""
    async with connected(Understudy(pace=10)) as peer:
        await peer.post(asking())
        seen = await peer.stream.receive_some()
        await peer.stream.send_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        while b'"object":"list"' not in seen:
            seen += await peer.stream.receive_some()

    assert seen.index(b"[DONE]") < seen.index(b'"object":"list"')


async def test_client_that_leaves_ends_the_work_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A stream whose client is gone stops in mid-sleep and is counted (I4)."""
    understudy = Understudy(pace=0.001)
    async with connected(understudy) as peer:
        await peer.post(asking())
        await peer.head()
        await peer.part()
        running = understudy.statistics()

    assert (running.connections_open, running.streams_running) == (1, 1)
    assert understudy.statistics().streams_running == 0
    assert understudy.statistics().streams_broken_off == 1
    assert understudy.statistics().connections_open == 0
    assert trio.current_time() == 0


async def test_client_that_leaves_before_the_head_ends_the_work_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody waits for a delay whose client is gone, and no stream was broken off."""
    understudy = Understudy(faults=["delay=1000"])
    async with connected(understudy) as peer:
        await peer.post(asking())
        await trio.testing.wait_all_tasks_blocked()

    assert trio.current_time() == 0
    assert understudy.statistics().streams_broken_off == 0
    assert understudy.statistics().connections_open == 0


async def test_client_that_leaves_on_done_was_answered_in_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who reads [DONE] has all there is, so nothing was broken off (found by a slow machine)."""
    understudy = Understudy()
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(understudy.serve, theirs)
        peer = Peer(ours)
        await peer.post(asking())
        await peer.head()
        while b"[DONE]" not in await peer.part():
            pass
        await ours.aclose()

    assert understudy.statistics().streams_broken_off == 0


async def test_statistics_can_be_read_from_outside() -> None:
    """The counts are a page: another process can look for leaks."""
    understudy = Understudy()
    async with connected(understudy) as peer:
        await peer.post(asking())
        await peer.events()
        await peer.send("GET", "/understudy/statistics")
        _, counts = await peer.json()

    assert counts == {
        "connections_open": 1,
        "connections_accepted": 1,
        "requests": 2,
        "streams_running": 0,
        "streams_broken_off": 0,
        "tokens_sent": 25,
        "failures": 0,
    }


async def test_mistake_of_the_server_closes_one_connection_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in a handler is logged and counted; serve returns and others are served."""

    def fail(body: object) -> None:
        raise ZeroDivisionError("a bug")

    understudy = Understudy()
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "greenroom.understudy"):
        patch.setattr("greenroom.actors.understudy.server.complete", fail)
        async with connected(understudy) as peer:
            await peer.post(asking(stream=False))
            rest = await peer.stream.receive_some()
    async with connected(understudy) as peer:
        await peer.post(asking(stream=False))
        status, _ = await peer.json()

    assert rest == b""
    assert "the server goes on" in caplog.text
    assert understudy.statistics().failures == 1
    assert status == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pace": 0}, "pace must be tokens per second > 0, not 0"),
        ({"pace": math.nan}, "pace must be tokens per second > 0, not nan"),
        ({"max_body": 0}, "max_body must be bytes >= 1, not 0"),
        ({"faults": ["stall"]}, "write stall@NUMBER"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    """Misuse is an error before anything listens."""
    with pytest.raises(ValueError, match=message):
        Understudy(**options)


def test_banner_says_what_it_is() -> None:
    """Nobody takes the understudy for a model."""
    assert "is a set of rules, not a language model" in banner(Understudy())


def _own(w: World, understudy: Understudy) -> None:
    """Have its counts looked at when all is over: nothing is open, and nothing went wrong in it."""

    def is_idle() -> bool:
        after = understudy.statistics()
        return (after.connections_open, after.streams_running, after.failures) == (0, 0, 0)

    w.own("the understudy", is_idle)


async def _conversation(w: World) -> None:
    understudy = Understudy(pace=10, faults=["giant=200kB"])
    _own(w, understudy)
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(understudy.serve, theirs)
        try:
            with w.scope("client"):
                peer = Peer(ours)
                await peer.post(asking(max_tokens=3))
                await peer.events()
                await peer.send("GET", "/v1/models")
                await peer.json()
        finally:
            with trio.CancelScope(shield=True):
                await ours.aclose()


def test_client_cancelled_at_every_step_leaves_nothing() -> None:
    """However far the client got, serve returns and its counts are back to none (I4)."""
    report = sweep(_conversation, targets=["client", "root"]).check()
    print(f"sweep understudy's client: {report.summary()}")

    assert report.runs >= 60


async def _serving(w: World) -> None:
    understudy = Understudy(pace=10)
    _own(w, understudy)
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            peer = Peer(ours)
            try:
                await peer.post(asking(max_tokens=3))
                await peer.events()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass
            finally:
                await ours.aclose()

        nursery.start_soon(ask)
        with w.scope("server"):
            await understudy.serve(theirs)
    assert understudy.statistics().streams_broken_off == 0


def test_server_cancelled_at_every_step_leaves_nothing() -> None:
    """However far the server got, its connection is closed and its counts are back to none (I4)."""
    report = sweep(_serving, targets=["server", "root"]).check()
    print(f"sweep understudy's server: {report.summary()}")

    assert report.runs >= 60


def _exchange(sent: bytes) -> tuple[bytes, Understudy]:
    """Send bytes, shut down, and return what came back."""
    understudy, seen = Understudy(max_body=1_000), b""

    async def main() -> None:
        nonlocal seen
        async with connected(understudy) as peer:
            stream = peer.stream
            assert isinstance(stream, trio.StapledStream)
            await stream.send_all(sent)
            await stream.send_eof()
            while data := await stream.receive_some():
                seen += data

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen, understudy


fragments = st.sampled_from(
    [
        *(b"POST ", b"GET ", b"/v1/chat/completions", b"/v1/models", b" HTTP/1.1\r\n", b"\r\n"),
        *(b"host: x\r\n", b"content-length: 2\r\n", b"transfer-encoding: chunked\r\n", b"2\r\n{}"),
        *(b"0\r\n\r\n", b"expect: 100-continue\r\n", b"connection: close\r\n", b"{}", b"\x00"),
    ]
)


@given(st.lists(fragments, max_size=12).map(b"".join) | st.binary(max_size=200))
def test_any_bytes_end_in_a_response_or_in_silence(sent: bytes) -> None:
    """Whatever a client sends, the handler returns without a failure, and what it sends is HTTP."""
    seen, understudy = _exchange(sent)

    assert not seen or seen.startswith(b"HTTP/1.1 ")
    assert understudy.statistics().failures == 0
    assert understudy.statistics().connections_open == 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "function", "name"]), inner)
    ),
    max_leaves=8,
)
requests = st.fixed_dictionaries(
    {"model": st.just(MODEL)},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=20)})
            | values,
            max_size=3,
        ),
        "stream": st.booleans() | values,
        "stop": st.text(max_size=2) | values,
        "max_tokens": st.integers(-1, 4) | values,
        "tools": st.just(TOOLS) | values,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | values,
        "stream_options": st.just({"include_usage": True}) | values,
    },
)


@given(requests | values)
def test_any_json_gets_a_completion_or_a_refusal(request: Any) -> None:
    """No JSON body makes the server fail: it answers 200 or 400, and nothing else."""
    body = json.dumps(request).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    seen, understudy = _exchange(head + b"content-length: %d\r\n\r\n" % len(body) + body)

    assert seen.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    assert understudy.statistics().failures == 0
