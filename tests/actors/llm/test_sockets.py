"""The LLM actor over real sockets, against servers that misbehave in every way they can."""

import gc
import os
import socket
import struct
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    Category,
    Context,
    Deadline,
    Generate,
    Patience,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime import Ref, open_runtime
from tests.actors.wire.peers import END, STREAM_HEAD, Peer, chunk, listening, make_tls, over_tls

ASKED = Generate(Context.of(User("hi")), Settings(model="m"))
EVENTS = (
    b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
ANSWER = STREAM_HEAD + b"".join(map(chunk, EVENTS)) + END


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test ends with the descriptors that it began with, and without a warning (I4)."""
    before = set(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


@attrs.frozen
class Model:
    """A model behind a server of the test."""

    llm: Ref
    provider: OpenAIProvider

    async def ask(self) -> tuple[list[ResponseFrame], ResponseEnded]:
        """Take one response, and check that it has one start, one end, and left nothing."""
        with trio.fail_after(10):
            async with self.llm.stream(ASKED) as stream:
                frames: list[ResponseFrame] = [frame async for frame in stream]
        ended = frames[-1]
        kinds = [type(frame) for frame in frames]
        assert kinds.count(ResponseStarted) == kinds.count(ResponseEnded) == 1
        assert isinstance(ended, ResponseEnded)
        assert ended.text == "".join(f.text for f in frames if isinstance(f, TextDelta))
        assert self.provider.transport.statistics().active == 0
        return frames, ended


@asynccontextmanager
async def model_at(base_url: str, patience: Patience | None = None) -> AsyncGenerator[Model]:
    provider = OpenAIProvider(api_key="k", base_url=base_url, patience=patience, max_connections=1)
    async with open_runtime() as runtime:
        yield Model(await runtime.spawn(LLM, provider, None, patience), provider)


@asynccontextmanager
async def model_of(
    *parts: bytes, reset: bool = False, stay: bool = True, patience: Patience | None = None
) -> AsyncGenerator[Model]:
    """Serve *parts* to the first request, then stay silent, close or reset; others get ANSWER."""
    served = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal served
        peer = Peer(stream)
        while await peer.request() is not None:
            served += 1
            if served > 1:
                await peer.send(ANSWER)
                continue
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                await peer.send(part)
                await trio.lowlevel.checkpoint()
            if reset:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if not stay:
                return

    async with listening(serve) as port, model_at(f"http://127.0.0.1:{port}/v1", patience) as model:
        yield model


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    "parts",
    [
        [ANSWER],
        bytewise(ANSWER),
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", ANSWER],
        [ANSWER.replace(b"\r\n\r\n", b"\r\nX-Large: " + b"x" * 30_000 + b"\r\n\r\n", 1)],
        [ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)],
        [b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", *EVENTS],
        [ANSWER + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"],
    ],
    ids=["whole", "bytewise", "informed", "large head", "closing", "HTTP/1.0", "garbage after"],
)
async def test_an_odd_answer_is_an_answer(parts: list[bytes]) -> None:
    """However it is framed and cut, the answer is whole; so is the next one (I13)."""
    async with model_of(*parts) as model:
        _, first = await model.ask()
        _, second = await model.ask()

    assert (first.status, first.text) == (Status.COMPLETED, "Hello")
    assert (second.status, second.text) == (Status.COMPLETED, "Hello")


@pytest.mark.parametrize(
    ("parts", "category", "detail"),
    [
        ([b"HTTP/1.1 103 Hints\r\n\r\n"] * 40, Category.CONNECTIVITY, "informational responses"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000], Category.CONNECTIVITY, "no valid HTTP/1.1"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], Category.CONNECTIVITY, "is 'http://127.0.0.1:"),
        ([b"\x15\x03\x01\x00\x02\x02\x46"] * 9, Category.CONNECTIVITY, "/v1' an API?"),
        ([b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\noh"], Category.SERVER, "status 500: oh"),
        ([STREAM_HEAD + b"xyz\r\n"], Category.CONNECTIVITY, "b'xyz\\r\\n' is no chunk size line"),
        ([STREAM_HEAD + chunk(b"data: {\n\n")], Category.MALFORMED, "no chat completion chunk"),
    ],
    ids=["flood", "endless head", "other protocol", "TLS", "cut error", "bad chunk", "bad event"],
)
async def test_a_broken_answer_is_one_clear_end(
    parts: list[bytes], category: Category, detail: str
) -> None:
    """What is no answer says why, in one line; the next request works (I5, I13)."""
    async with model_of(*parts, stay=False) as model:
        _, ended = await model.ask()
        _, after = await model.ask()

    assert (ended.status, ended.category) == (Status.FAILED, category)
    assert detail in ended.detail
    assert "\n" not in ended.detail
    assert after.text == "Hello"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_connection_that_breaks_at_any_byte_is_one_end(reset: bool) -> None:
    """I5, I13: a response is completed only once the server said so; the next one works."""
    statuses: list[Status] = []
    for cut in range(len(ANSWER)):
        async with model_of(ANSWER[:cut], reset=reset, stay=False) as model:
            _, ended = await model.ask()
            _, after = await model.ask()
        statuses.append(ended.status)
        assert after.text == "Hello", f"after byte {cut}"
        if ended.status is Status.FAILED:
            assert ended.category is Category.CONNECTIVITY
            assert ended.detail
        else:
            assert (ended.status, ended.text) == (Status.COMPLETED, "Hello"), f"at byte {cut}"

    done_at = statuses.index(Status.COMPLETED)
    assert set(statuses[done_at:]) == {Status.COMPLETED}
    assert ANSWER[:done_at].endswith(EVENTS[1])


@pytest.mark.parametrize(
    ("parts", "deadline"),
    [
        ([], Deadline.HEADERS),
        (bytewise(STREAM_HEAD[:-1]), Deadline.HEADERS),
        ([STREAM_HEAD], Deadline.FIRST_TOKEN),
        ([STREAM_HEAD, chunk(b": keep-alive\n\n")], Deadline.FIRST_TOKEN),
        ([STREAM_HEAD, chunk(EVENTS[0])], Deadline.BETWEEN_TOKENS),
        ([b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\noh"], Deadline.HEADERS),
    ],
    ids=["silence", "half a head", "no body", "comments", "one token", "half an error"],
)
async def test_a_server_that_stalls_is_timed_out_by_the_deadline_of_its_phase(
    parts: list[bytes], deadline: Deadline
) -> None:
    """The status names the deadline; the connection is gone, and the next request works (I13)."""
    patience = Patience(headers=0.2, first_token=0.3, between_tokens=0.2)
    async with model_of(*parts, patience=patience) as model:
        _, ended = await model.ask()
        _, after = await model.ask()

    assert (ended.status, ended.deadline) == (Status.TIMED_OUT, deadline)
    assert after.text == "Hello"


async def test_a_kept_connection_that_the_server_ends_costs_no_request() -> None:
    """Closed or reset between two requests, politely or in a hurry: the next one works (I13)."""

    async def serve(stream: trio.SocketStream) -> None:
        peer = Peer(stream)
        await peer.request()
        await peer.send(ANSWER)
        await peer.request()  # on the same connection: no answer but its end
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with listening(serve) as port, model_at(f"http://127.0.0.1:{port}/v1") as model:
        texts = [(await model.ask())[1].text for _ in range(6)]
        opened = model.provider.transport.statistics().opened

    assert texts == ["Hello"] * 6
    assert opened == 6


async def test_an_untrusted_server_and_one_without_tls_say_so() -> None:
    """A certificate nobody vouches for, or none at all, is one clear end; nothing was sent."""
    seen: list[object] = []

    async def serve(stream: trio.abc.Stream) -> None:
        seen.append(await Peer(stream).request())

    async with (
        listening(over_tls(serve, make_tls().server)) as port,
        model_at(f"https://127.0.0.1:{port}/v1") as model,
    ):
        _, ended = await model.ask()
    async with (
        listening(lambda stream: stream.send_all(ANSWER)) as port,
        model_at(f"https://127.0.0.1:{port}/v1") as model,
    ):
        _, plain = await model.ask()

    assert (ended.status, plain.status) == (Status.FAILED, Status.FAILED)
    assert "CERTIFICATE_VERIFY_FAILED" in ended.detail
    assert "pass ssl_context=" in ended.detail
    assert "check that it is a server for https" in plain.detail
    assert seen == []
