"""`OpenAIProvider` over the real HTTP stack: what comes, what goes wrong, and what is left."""

import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import httpx2
import openai
import pytest
import trio
import trio.testing

from greenroom.actors.llm import (
    PROFILES,
    CallFragment,
    Category,
    Context,
    Deadline,
    Event,
    Finished,
    ModelSeen,
    Patience,
    Profile,
    Provider,
    ProviderError,
    ProviderStream,
    ProviderTimeout,
    ReasoningDelta,
    ResponseReducer,
    Settings,
    Status,
    TextDelta,
    Usage,
    UsageSeen,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing.network import MemoryNetwork, MemoryStream, open_memory_network
from greenroom.runtime.testing import Scenario, World, sweep

HELLO = Context.of(User("hello"))
BASE_URL = "http://model.test/v1"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: req-7\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def event(payload: Any) -> bytes:
    """Return *payload* as an event in a chunk of its own."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    data = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(**fields: Any) -> bytes:
    """Return the event of a delta."""
    return event({"model": "m-1", "choices": [{"index": 0, "delta": fields}]})


def finish(reason: str) -> bytes:
    """Return the event of a finish reason."""
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


DONE = event(b"[DONE]")


@attrs.define
class Server:
    """Answers every request by `answer`, and keeps what it was sent."""

    answer: Callable[[trio.abc.Stream], Awaitable[None]]
    requests: list[httpx2.Request] = attrs.field(factory=list[httpx2.Request])

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until the client leaves."""
        received = b""
        while True:
            head, found, rest = received.partition(b"\r\n\r\n")
            lines = head.decode("ascii").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:])
            lengths = [int(v) for k, v in headers.items() if k.lower() == "content-length"]
            if not found or len(rest) < lengths[0]:
                try:
                    more = await stream.receive_some(65536)
                except trio.ClosedResourceError:
                    return  # by the answer
                if not more:
                    return
                received += more
                continue
            method, target, _ = lines[0].split(" ")
            self.requests.append(
                httpx2.Request(
                    method,
                    f"http://{headers['Host']}{target}",
                    headers=headers,
                    content=rest[: lengths[0]],
                )
            )
            received = rest[lengths[0] :]
            await self.answer(stream)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


def sends(*pieces: bytes) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """Return an answer that sends *pieces* one after the other."""

    async def answer(stream: trio.abc.Stream) -> None:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()

    return answer


def provider_over(network: MemoryNetwork, **options: Any) -> OpenAIProvider:
    """Return a provider whose server is *network*."""
    options = {"base_url": BASE_URL, "dial": network.dial, **options}
    return OpenAIProvider(**options)


async def collected(stream: ProviderStream) -> list[Event]:
    """Return all events of *stream*, up to its end."""
    events: list[Event] = []
    while more := await stream.events():
        events.extend(more)
    return events


async def ask(
    answer: Callable[[trio.abc.Stream], Awaitable[None]],
    *,
    context: Context = HELLO,
    settings: Settings | None = None,
    **options: Any,
) -> tuple[list[Event], ProviderError | None, Server]:
    """Ask a server with *answer* once; return events, error and server, and check for leaks."""
    server = Server(answer)
    events: list[Event] = []
    failure: ProviderError | None = None
    async with open_memory_network(server.serve) as network:
        provider = provider_over(network, **options)
        try:
            stream = await provider.request(context, settings or Settings(model="m"))
            try:
                while more := await stream.events():
                    events.extend(more)
            finally:
                stream.close()
        except ProviderError as error:
            failure = error
        assert_nothing_held(provider, network)
        provider.close()
        assert network.open == 0
    return events, failure, server


def assert_nothing_held(provider: OpenAIProvider, network: MemoryNetwork) -> None:
    """No request is active, and the server sees no connection that is not kept idle (I4, I13)."""
    statistics = provider.transport.statistics()
    assert statistics.active == 0
    assert network.open == statistics.idle


def is_a_provider(provider: OpenAIProvider) -> Provider:
    """Type-check that the class is what it says."""
    return provider


async def test_a_response_comes_as_events(autojump_clock: trio.testing.MockClock) -> None:
    """Role, text, finish, usage and end mark, over one connection that is kept (I13)."""
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
    answer = sends(
        CHUNKED,
        delta(role="assistant", content=""),
        delta(content="Good") + delta(content=" day"),
        finish("stop"),
        event({"choices": [], "usage": usage}) + DONE + END,
    )
    server = Server(answer)
    async with open_memory_network(server.serve) as network:
        provider = provider_over(network)
        for _ in range(2):
            stream = await provider.request(HELLO, Settings(model="m"))
            model_before = stream.model
            events = await collected(stream)

            assert (model_before, stream.model, stream.request_id) == ("m", "m-1", "req-7")
            assert events == [
                ModelSeen("m-1"),
                TextDelta("Good"),
                TextDelta(" day"),
                Finished("stop"),
                UsageSeen(Usage(input=20, output=2, total=22)),
            ]
            assert await stream.events() == ()
            assert_nothing_held(provider, network)
        assert network.accepted == 1
        provider.close()


async def test_the_request_is_what_was_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """The body is ours, the address and the headers are the SDK's, and nothing is retried."""
    _, failure, server = await ask(
        sends(CHUNKED + finish("stop") + DONE + END),
        settings=Settings(model="m", temperature=0.5, extra={"top_a": 1}),
        api_key="secret-1",
        organization="org",
        project="proj",
        default_headers={"x-mine": "1"},
    )
    request = server.requests[0]

    assert failure is None
    assert server.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "top_a": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert str(request.url) == "http://model.test/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer secret-1"
    assert request.headers["openai-organization"] == "org"
    assert request.headers["openai-project"] == "proj"
    assert request.headers["x-mine"] == "1"
    assert request.headers["x-stainless-async"] == "async:trio"
    assert request.headers["accept-encoding"] == "identity"


async def test_nothing_meant_for_openai_is_sent_elsewhere(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and headers that the environment holds for OpenAI stay at home (a8)."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-openai")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-openai")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: of-openai\nx-team: of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://of-openai.test/v1")
    variants: tuple[dict[str, Any], ...] = (
        {},
        {"api_key": ""},
        {"profile": "deepseek", "api_key": "own-key"},
        {"profile": "openai", "api_key": "own-key"},
    )
    for options in variants:
        _, failure, server = await ask(sends(CHUNKED + finish("stop") + DONE + END), **options)
        request = server.requests[0]

        assert failure is None
        assert request.url.host == "model.test"
        assert not [value for value in request.headers.values() if "of-openai" in value]
        own = "Bearer own-key" if options.get("api_key") else None
        assert request.headers.get("authorization") == own


async def test_openai_itself_gets_the_key_and_headers_of_the_environment(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its own address the variables count."""
    monkeypatch.setenv("OPENAI_API_KEY", " sk-mine\n")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    openai_here = attrs.evolve(PROFILES["openai"], base_url=BASE_URL)
    _, _, server = await ask(
        sends(CHUNKED + finish("stop") + DONE + END), base_url=None, profile=openai_here
    )
    request = server.requests[0]

    assert request.headers["authorization"] == "Bearer sk-mine"
    assert request.headers["openai-organization"] == "org-mine"
    assert server.body["model"] == "m"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"openai needs an API key; set OPENAI_API_KEY or pass api_key='...'$"),
        ({"api_key": ""}, "openai needs an API key; set OPENAI_API_KEY"),
        ({"profile": "deepseek"}, "deepseek needs an API key; set DEEPSEEK_API_KEY"),
        (
            {"profile": "openai", "base_url": "https://other.test/v1"},
            r"openai needs an API key; pass api_key='...'$",
        ),
        ({"api_key": "sk-1\u2026"}, "the API key for openai holds characters that no key has"),
    ],
)
def test_a_missing_key_names_its_variable(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said when the provider is made, not at the first request."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    with pytest.raises(ProviderError, match=message) as raised:
        OpenAIProvider(**options)

    assert raised.value.category is Category.AUTHENTICATION


def test_a_profile_without_an_address_asks_for_one() -> None:
    """The understudy listens where it is told to."""
    with pytest.raises(ValueError, match="profile 'understudy' has no address of its own; pass"):
        OpenAIProvider(profile="understudy")


async def test_interleaved_calls_and_text_of_one_delta_all_come_through(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """From the wire to whole calls, none is lost (a20, a24)."""

    def entry(index: int, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
        return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}

    events, failure, _ = await ask(
        sends(
            CHUNKED,
            delta(content="both: ", tool_calls=[entry(0, "a", "f", ""), entry(1, "b", "g", "")]),
            delta(tool_calls=[entry(1, None, None, '{"y":')]),
            delta(tool_calls=[entry(0, None, None, '{"x":1}'), entry(1, None, None, "2}")]),
            finish("tool_calls") + DONE + END,
        )
    )
    response = ResponseReducer(id="r", model="m", provider="p", started_at=0)
    response.feed(events, 1)
    ready = response.finish(2)[0]

    assert failure is None
    assert events[1:3] == [TextDelta("both: "), CallFragment(0, "a", "f", "")]
    assert [(call.id, call.arguments) for call in ready.calls] == [  # type: ignore[union-attr] # pyright: ignore
        ("a", '{"x":1}'),
        ("b", '{"y":2}'),
    ]


async def test_reasoning_is_read_where_the_profile_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """DeepSeek and vLLM name the field differently."""
    events, _, _ = await ask(
        sends(CHUNKED + delta(reasoning="a", reasoning_content="b") + finish("stop") + DONE + END),
        profile="vllm",
    )

    assert ReasoningDelta("a") in events
    assert ReasoningDelta("b") not in events


async def test_a_stream_cut_at_every_byte_gives_the_same_events(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Neither chunks nor events nor characters need to arrive whole."""
    whole = CHUNKED + delta(content="Grüße 🎭") + finish("stop") + DONE + END
    expected, _, _ = await ask(sends(whole))
    cut, failure, _ = await ask(sends(*(whole[at : at + 1] for at in range(len(whole)))))

    assert failure is None
    assert cut == expected
    assert TextDelta("Grüße 🎭") in cut


@pytest.mark.parametrize(
    ("tail", "category", "message"),
    [
        (
            event({"error": {"message": "overloaded", "code": 503}}),
            Category.SERVER,
            "model.test broke the response off: overloaded",
        ),
        (event(b"{broken"), Category.MALFORMED, "model.test sent an event that is no chat"),
        (event(b"\xff\xfe"), Category.MALFORMED, "model.test sent an event that is no chat"),
        (b"zz\r\n", Category.CONNECTIVITY, "the connection to model.test broke: .*chunk size"),
    ],
)
async def test_what_goes_wrong_in_mid_stream_comes_after_what_was_right(
    tail: bytes, category: Category, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Events of the same piece are handed out first, then the error, and the stream is closed."""
    events, failure, _ = await ask(sends(CHUNKED, delta(content="hi") + tail))

    # Bytes that are no HTTP are told before anything of their piece is decoded.
    is_http = category is not Category.CONNECTIVITY
    assert events == ([ModelSeen("m-1"), TextDelta("hi")] if is_http else [])
    assert failure is not None
    assert failure.category is category
    with pytest.raises(ProviderError, match=message):
        raise failure


async def test_a_failed_stream_goes_on_failing(autojump_clock: trio.testing.MockClock) -> None:
    """Asked again, it raises again and waits for nothing."""
    server = Server(sends(CHUNKED + event(b"{broken")))
    async with open_memory_network(server.serve) as network:
        provider = provider_over(network)
        stream = await provider.request(HELLO, Settings(model="m"))
        for _ in range(2):
            with pytest.raises(ProviderError, match="is no chat completion chunk"):
                await stream.events()
            assert_nothing_held(provider, network)
        stream.close()
        provider.close()


async def test_a_giant_event_is_malformed(autojump_clock: trio.testing.MockClock) -> None:
    """Events are bounded, and the error says by how much."""
    giant = b"x" * (1024 * 1024)
    piece = b"%x\r\n%s\r\n" % (len(giant), giant)
    _, failure, _ = await ask(sends(CHUNKED + b"6\r\ndata: \r\n", *[piece] * 17))

    assert failure is not None
    assert failure.category is Category.MALFORMED
    assert "the limit is 16777216" in str(failure)


async def closes(stream: trio.abc.Stream) -> None:
    """End the connection in mid-stream."""
    await stream.send_all(CHUNKED + delta(content="hi"))
    await stream.aclose()


async def resets(stream: trio.abc.Stream) -> None:
    """Break the connection in mid-stream."""
    assert isinstance(stream, MemoryStream)
    await stream.send_all(CHUNKED + delta(content="hi"))
    await trio.testing.wait_all_tasks_blocked()
    stream.reset()


@pytest.mark.parametrize("answer", [closes, resets])
async def test_a_connection_that_ends_in_mid_stream_is_a_failure(
    answer: Callable[[trio.abc.Stream], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """A clean end and a reset are both told, after what had come."""
    events, failure, _ = await ask(answer)

    assert TextDelta("hi") in events
    assert failure is not None
    assert failure.category is Category.CONNECTIVITY
    assert str(failure).startswith("the connection to model.test broke: ")
    assert isinstance(failure.__cause__, httpx2.TransportError)


@pytest.mark.parametrize(
    ("tail", "last", "status"),
    [
        (finish("stop") + END, Finished("stop"), Status.COMPLETED),
        (DONE + END, Finished(None), Status.COMPLETED),
        (END, TextDelta("hi"), Status.FAILED),
    ],
)
async def test_the_end_of_the_body_is_an_end_only_after_the_provider_said_so(
    tail: bytes, last: Event, status: Status, autojump_clock: trio.testing.MockClock
) -> None:
    """Without [DONE] a finish reason will do; without both the response has failed."""
    events, failure, _ = await ask(sends(CHUNKED + delta(content="hi") + tail))
    response = ResponseReducer(id="r", model="m", provider="p", started_at=0)
    response.feed(events, 1)

    assert failure is None
    assert events[-1] == last
    assert response.finish(2)[-1].status is status  # type: ignore[union-attr] # pyright: ignore


async def test_after_the_end_mark_nothing_is_waited_for_and_the_connection_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A server that is slow to end the body holds up nobody, and serves the next request (I13)."""

    async def late(stream: trio.abc.Stream) -> None:
        await stream.send_all(CHUNKED + delta(content="hi") + DONE)
        await trio.sleep(1)
        await stream.send_all(END)

    async with open_memory_network(Server(late).serve) as network:
        provider = provider_over(network)
        for _ in range(2):
            stream = await provider.request(HELLO, Settings(model="m"))
            before = trio.current_time()
            events = await collected(stream)

            assert events[-1] == Finished(None)
            assert trio.current_time() == before
            assert provider.transport.statistics().parked == 1
            assert_nothing_held(provider, network)
            await trio.sleep(2)
        assert network.accepted == 1
        provider.close()


async def test_no_thread_is_used(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's look at the platform, a thread before the first request, does not happen."""

    async def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr("anyio.to_thread.run_sync", refuse)
    _, failure, server = await ask(sends(CHUNKED + finish("stop") + DONE + END))

    assert failure is None
    assert server.requests[0].headers["x-stainless-os"] == "Unknown"


def json_answer(status: str, body: Any, *headers: str) -> bytes:
    """Return a whole response with a JSON body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@pytest.mark.parametrize(
    ("answer", "category", "message"),
    [
        (
            json_answer("401 X", {"error": {"message": "Incorrect API key: sk-abcdefghijkl."}}),
            Category.AUTHENTICATION,
            "model.test answered with status 401: Incorrect API key: sk-.*; set api_key to a key",
        ),
        (
            json_answer("404 X", {"error": {"message": "no model 'm'"}}),
            Category.NOT_FOUND,
            "status 404: no model 'm'; check the model 'm' and base_url 'http://model.test/v1'",
        ),
        (
            json_answer("429 X", {"error": {"message": "slow"}}, "Retry-After: 3"),
            Category.RATE_LIMIT,
            "status 429: slow; try again in 3 s",
        ),
        (json_answer("500 X", b""), Category.SERVER, "status 500; try again later"),
        (
            json_answer("308 X", b"", "Location: http://other.test/v1"),
            Category.INVALID_REQUEST,
            "status 308; write base_url for 'http://other.test/v1'",
        ),
        (
            json_answer("200 OK", b"<html>", "Content-Type: text/html; charset=utf-8"),
            Category.MALFORMED,
            "answered with text/html, not with an event stream; check base_url",
        ),
        (
            json_answer("200 OK", {"choices": []}),
            Category.MALFORMED,
            "answered with application/json, not with an event stream",
        ),
        (
            json_answer("200 OK", {"error": {"message": "busy", "code": 503}}),
            Category.SERVER,
            "model.test refused: busy",
        ),
        (b"hello\r\n\r\n", Category.CONNECTIVITY, "gave no answer .*; is '.*' an API?"),
        (
            json_answer("200 OK", b"x", "Content-Encoding: gzip"),
            Category.MALFORMED,
            "encoded its response",
        ),
    ],
)
async def test_a_refused_request_is_one_line_and_leaves_nothing(
    answer: bytes, category: Category, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Each kind of refusal has its category and says what to do (I13, a29)."""
    events, failure, server = await ask(sends(answer))

    assert events == []
    assert len(server.requests) == 1
    assert failure is not None
    assert failure.category is category
    with pytest.raises(ProviderError, match=message):
        raise failure


async def test_status_id_and_wait_of_an_error_are_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A caller can act on them without reading the text."""
    answer = json_answer("429 X", b"", "Retry-After: 3", "x-request-id: req-9")
    _, failure, _ = await ask(sends(answer))

    assert failure is not None
    assert (failure.status, failure.request_id, failure.retry_after) == (429, "req-9", 3.0)
    assert failure.__cause__ is None


async def test_of_an_endless_error_only_the_start_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The SDK alone would read the whole of it before it raised."""

    async def endless(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 500 X\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 4096)

    _, failure, _ = await ask(endless)

    assert failure is not None
    assert failure.status == 500


async def test_an_error_whose_body_breaks_is_still_that_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The status came, and it says more than the broken connection."""

    async def breaks(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 401 X\r\nContent-Length: 99\r\n\r\noops")
        await stream.aclose()

    _, failure, _ = await ask(breaks)

    assert failure is not None
    assert failure.category is Category.AUTHENTICATION
    assert "status 401: oops" in str(failure)


async def test_no_server_there_says_where_it_was_looked_for() -> None:
    """A refused connection names the address and what to do."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    provider = OpenAIProvider(base_url=f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ProviderError, match=rf"no server answers at http://127.0.0.1:{port}/v1 \("):
        await provider.request(HELLO, Settings(model="m"))

    assert provider.transport.statistics().active == 0


async def test_a_header_that_cannot_be_sent_is_the_requests_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No server is blamed for it."""
    _, failure, server = await ask(sends(b""), default_headers={"x-mine": "a\nb"})

    assert server.requests == []
    assert failure is not None
    assert failure.category is Category.INVALID_REQUEST
    assert "the request to http://model.test/v1 can't be sent" in str(failure)


async def test_an_event_can_be_read_as_it_was_sent(autojump_clock: trio.testing.MockClock) -> None:
    """A field that we don't know is not lost."""
    odd = event({"choices": [{"delta": {"content": "hi"}}], "odd": {"a": 1}})
    server = Server(sends(CHUNKED, odd, DONE + END))
    async with open_memory_network(server.serve) as network:
        provider = provider_over(network)
        stream = await provider.request(HELLO, Settings(model="m"))
        await stream.events()

        assert json.loads(stream.payload)["odd"] == {"a": 1}
        stream.close()
        provider.close()


async def test_text_that_is_not_unicode_is_refused_clearly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A lone surrogate, as a broken terminal gives it, is the request's fault."""
    _, failure, server = await ask(sends(b""), context=Context.of(User("a\udcff")))

    assert server.requests == []
    assert failure is not None
    assert failure.category is Category.INVALID_REQUEST
    assert "is not Unicode" in str(failure)


async def silent(stream: trio.abc.Stream) -> None:
    """Never answer."""
    await trio.sleep_forever()


async def mute_head(stream: trio.abc.Stream) -> None:
    """Send a head and nothing else."""
    await stream.send_all(CHUNKED)
    await trio.sleep_forever()


async def one_token(stream: trio.abc.Stream) -> None:
    """Send one token and stall."""
    await stream.send_all(CHUNKED + delta(role="assistant"))
    await trio.sleep(1)
    await stream.send_all(delta(content="hi"))
    await trio.sleep_forever()


@pytest.mark.parametrize("is_watched", [False, True])
@pytest.mark.parametrize(
    ("answer", "patience", "deadline", "at"),
    [
        (silent, Patience(headers=7, first_token=7, between_tokens=7), Deadline.HEADERS, 7),
        (mute_head, Patience(headers=7, first_token=9, between_tokens=3), Deadline.FIRST_TOKEN, 9),
        (
            one_token,
            Patience(headers=7, first_token=9, between_tokens=9),
            Deadline.BETWEEN_TOKENS,
            10,
        ),
        (one_token, Patience(response=30), Deadline.RESPONSE, 31),
    ],
)
async def test_no_silence_is_waited_out_longer_than_patience_allows(
    answer: Callable[[trio.abc.Stream], Awaitable[None]],
    patience: Patience,
    deadline: Deadline,
    at: float,
    is_watched: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With the transport's watchdog or without, the wait that was too long is named (R28)."""
    server = Server(answer)
    async with open_memory_network(server.serve) as network, trio.open_nursery() as nursery:
        provider = provider_over(network, patience=patience)
        if is_watched:
            await nursery.start(provider.run)
        before = trio.current_time()
        with pytest.raises(
            ProviderTimeout, match="let a deadline pass: " + deadline.value
        ) as raised:
            await collected(await provider.request(HELLO, Settings(model="m")))

        assert raised.value.deadline is deadline
        assert trio.current_time() - before == at
        assert_nothing_held(provider, network)
        provider.close()
        nursery.cancel_scope.cancel()


async def test_a_connection_that_never_stands_times_out_as_connect(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The one deadline that is bounded by default (R28)."""

    async def never(host: str, port: int, **options: Any) -> Any:
        await trio.sleep_forever()

    provider = OpenAIProvider(base_url=BASE_URL, dial=never)
    before = trio.current_time()
    with pytest.raises(ProviderTimeout, match=r"let a deadline pass: connect \(5 s\)") as raised:
        await provider.request(HELLO, Settings(model="m"))

    assert raised.value.deadline is Deadline.CONNECT
    assert trio.current_time() - before == 5
    assert provider.transport.statistics().active == 0


async def test_closing_in_mid_stream_aborts_what_the_server_sends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """`close` is a plain function, and the server sees it at once (I4)."""
    server = Server(one_token)
    async with open_memory_network(server.serve) as network:
        provider = provider_over(network)
        stream = await provider.request(HELLO, Settings(model="m"))
        await stream.events()
        stream.close()
        stream.close()

        assert network.open == 0
        assert_nothing_held(provider, network)
        assert await stream.events() == ()
        provider.close()


async def test_a_closed_provider_takes_no_requests(autojump_clock: trio.testing.MockClock) -> None:
    """Using it on is misuse, and no failure of a server."""
    provider = OpenAIProvider(base_url=BASE_URL)
    provider.close()
    with pytest.raises(RuntimeError, match="closed"):
        await provider.request(HELLO, Settings(model="m"))


async def test_closing_the_provider_ends_its_streams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A stream that waits meanwhile is woken with an error."""
    server = Server(one_token)
    async with open_memory_network(server.serve) as network, trio.open_nursery() as nursery:
        provider = provider_over(network)
        stream = await provider.request(HELLO, Settings(model="m"))

        async def read() -> None:
            with pytest.raises(ProviderError, match=r"the connection to model.test broke"):
                await collected(stream)

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        provider.close()
        provider.close()

        assert network.open == 0


GOOD = CHUNKED + delta(content="Good") + delta(content=" day") + finish("stop") + DONE + END

# Runs of all sweeps below together; never to fall.
FLOOR = 250


def test_a_cancel_at_any_point_leaves_nothing_and_the_next_request_works() -> None:
    """Cold, kept, refused, broken, stalled: on a pool of one, after every cancel (I4, I9, I13)."""

    async def hang_after_done(stream: trio.abc.Stream) -> None:
        await stream.send_all(GOOD.removesuffix(END))

    async def slow(stream: trio.abc.Stream) -> None:
        for piece in (CHUNKED, delta(content="Good"), delta(content=" day"), finish("stop"), DONE):
            await stream.send_all(piece)
            await trio.sleep(1)
        await stream.send_all(END)

    answers = {
        "at once": sends(GOOD),
        "slow": slow,
        "hangs after [DONE]": hang_after_done,
        "closes in mid-stream": closes,
        "resets in mid-stream": resets,
        "status 500": sends(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", END),
        "stalls before the head": silent,
        "stalls after the head": mute_head,
        "not a stream": sends(json_answer("200 OK", {"choices": []})),
    }
    patience = Patience(headers=5, first_token=5, between_tokens=5)
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: it takes longer than a run

    def scenario(
        answer: Callable[[trio.abc.Stream], Awaitable[None]], *, is_warm: bool
    ) -> Scenario:
        async def run(w: World) -> None:
            server = Server(sends(GOOD))
            async with open_memory_network(server.serve) as network, trio.open_nursery() as nursery:
                provider = provider_over(
                    network, patience=patience, max_connections=1, ssl_context=no_tls
                )
                await nursery.start(provider.run)

                async def use() -> list[Event]:
                    stream = await provider.request(HELLO, Settings(model="m"))
                    try:
                        return await collected(stream)
                    finally:
                        stream.close()

                if is_warm:
                    await use()
                server.answer = answer
                with w.scope("use"), contextlib.suppress(ProviderError):
                    await use()
                assert_nothing_held(provider, network)
                server.answer = sends(GOOD)
                assert (await use())[-1] == Finished("stop")
                assert_nothing_held(provider, network)
                provider.close()
                assert network.open == 0
                nursery.cancel_scope.cancel()

        return run

    runs = 0
    for name, answer in answers.items():
        for is_warm in (False, True):
            swept = scenario(answer, is_warm=is_warm)
            report = sweep(swept, faults=["cancel"], targets=["use"]).check()
            print(f"sweep {name}, {'kept' if is_warm else 'cold'}: {report.summary()}")
            runs += report.runs

    assert runs >= FLOOR


def test_the_class_is_a_provider() -> None:
    """It has all that the protocol asks for (the type checkers see to the signatures)."""
    assert is_a_provider(OpenAIProvider(base_url=BASE_URL)).name == "model.test"
    assert repr(OpenAIProvider(base_url=BASE_URL)) == (
        "<OpenAIProvider 'model.test' at http://model.test/v1>"
    )


def test_only_one_module_imports_the_sdk() -> None:
    """Importing the package takes no second for the SDK."""
    import subprocess
    import sys

    code = (
        "import sys, greenroom.actors.llm; print(sorted({'openai', 'httpx2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_sdk_makes_requests_as_this_module_expects() -> None:
    """What we lean on in the SDK is there: the field that saves a thread, and `post`."""
    client = openai.AsyncOpenAI(api_key="x", http_client=httpx2.AsyncClient())

    assert hasattr(client, "_platform")
    assert Profile.for_base_url(str(client.base_url)).name == "openai"


@pytest.mark.parametrize(
    ("settings", "tier"),
    [
        (Settings(model="m"), "flex"),
        (Settings(model="m", service_tier="priority"), "priority"),
        (Settings(model="m", service_tier=None), None),
    ],
)
async def test_the_service_tier_of_the_provider_is_for_settings_that_name_none(
    settings: Settings, tier: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    """What a request says itself counts (a6)."""
    _, failure, server = await ask(
        sends(CHUNKED + finish("stop") + DONE + END), settings=settings, service_tier="flex"
    )

    assert failure is None
    assert server.body["service_tier"] == tier
