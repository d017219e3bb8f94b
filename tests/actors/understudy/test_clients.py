"""The official client, unmodified, against an understudy on a real socket."""

import gc
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import openai
import pytest
import trio
import trio.lowlevel
from openai.types.chat import ChatCompletionChunk

from greenroom.actors.demo.cast import DEFAULT_QUESTION, SPECIALISTS
from greenroom.actors.understudy import MODEL, Understudy, banner, open_understudy
from tests.actors.understudy.peer import Peer, asking
from tests.actors.understudy.talk import tools_of

# What the SDK leaves to the garbage collector after every stream is not this project's to close.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOOLS: list[Any] = tools_of(SPECIALISTS[0])
PATIENCE = 20.0  # seconds of real time after which a test has failed, not ended


@asynccontextmanager
async def client_of(understudy: Understudy) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    """Open the official client on Trio."""
    http_client = httpx2.AsyncClient()
    async with openai.AsyncOpenAI(
        base_url=understudy.base_url, api_key="any", max_retries=0, http_client=http_client
    ) as client:
        with trio.fail_after(PATIENCE):
            yield client
    gc.collect()  # here, where the warnings of the SDK are ignored


def assembled(chunks: list[ChatCompletionChunk]) -> tuple[str, list[tuple[str, Any]]]:
    """Return the text and the calls, name and arguments, that *chunks* bring."""
    text, names, arguments = "", dict[int, str](), dict[int, str]()
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                names[call.index] = names.get(call.index, "") + (call.function.name or "")
                more = call.function.arguments or ""
                arguments[call.index] = arguments.get(call.index, "") + more
    return text, [(names[index], json.loads(arguments[index])) for index in names]


CALLS = [
    ("planet_fact", {"planet": "Jupiter", "fact": "mass"}),
    ("planet_fact", {"planet": "Saturn", "fact": "mass"}),
]


async def test_official_async_client_streams_text_and_calls_on_trio() -> None:
    """AsyncOpenAI lists the model, streams a text, streams calls, and gets the usage."""
    async with open_understudy() as understudy, client_of(understudy) as client:
        models = [model.id async for model in client.models.list()]
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        text, _ = assembled([chunk async for chunk in stream])
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": DEFAULT_QUESTION}],
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    assert models == [MODEL]
    assert "rules in place of a model" in text
    assert assembled(chunks) == ("", CALLS)
    assert chunks[-1].usage is not None


def _ask_in_sync(base_url: str) -> tuple[str, list[tuple[str, Any]]]:
    with (
        httpx2.Client() as http_client,
        openai.OpenAI(base_url=base_url, api_key="any", http_client=http_client) as client,
    ):
        asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        with client.chat.completions.create(**asked, stream=True) as stream:
            text, _ = assembled(list(stream))
        asked["messages"] = [{"role": "user", "content": DEFAULT_QUESTION}]
        with client.chat.completions.create(**asked, tools=TOOLS, stream=True) as stream:
            _, calls = assembled(list(stream))
        return text, calls


async def test_official_sync_client_streams_text_and_calls() -> None:
    """OpenAI, in a thread, gets the same."""
    async with open_understudy() as understudy:
        with trio.fail_after(PATIENCE):
            ask = partial(_ask_in_sync, understudy.base_url)
            text, calls = await trio.to_thread.run_sync(ask)

    assert "rules in place of a model" in text
    assert calls == CALLS


@pytest.mark.parametrize(
    ("fault", "asked", "error"),
    [
        ("delay=0", {"model": "gpt-4o"}, openai.NotFoundError),
        ("delay=0", {"temperature": 9}, openai.BadRequestError),
        ("status=429;retry-after=1", {}, openai.RateLimitError),
        ("status=500", {}, openai.InternalServerError),
        ("error@2", {}, openai.APIError),
        ("malformed@2", {}, json.JSONDecodeError),
        ("reset@700", {}, openai.APIConnectionError),
        ("close@700", {}, openai.APIConnectionError),
    ],
)
async def test_official_client_meets_each_fault_as_its_error(
    fault: str, asked: dict[str, Any], error: type[Exception]
) -> None:
    """The faults are those that the client has errors for."""
    request: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]} | asked
    async with open_understudy(faults=[fault]) as understudy, client_of(understudy) as client:
        with pytest.raises(error):
            async for _ in await client.chat.completions.create(**request, stream=True):
                pass


async def test_official_client_is_told_of_a_wrong_key() -> None:
    """A wrong key is an AuthenticationError with a text that says what to send."""
    async with open_understudy(api_key="right") as understudy, client_of(understudy) as client:
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided; send it"):
            await client.models.list()


async def test_leaving_a_socket_ends_the_stream_at_once() -> None:
    """A client that closes its socket in mid-stream is noticed by its reading end (I4)."""
    async with open_understudy(pace=0.01) as understudy:
        stream = await trio.open_tcp_stream("127.0.0.1", understudy.port)
        peer = Peer(stream)
        await peer.post(asking())
        await peer.head()
        assert understudy.statistics().streams_running == 1
        await stream.aclose()
        with trio.fail_after(PATIENCE):
            while understudy.statistics().connections_open:
                await trio.lowlevel.checkpoint()

        assert understudy.statistics().streams_broken_off == 1
        assert understudy.statistics().streams_running == 0


async def test_refusal_can_be_read_by_a_client_that_still_sends() -> None:
    """A body that is too large gets its 413: the close waits until it can't take that away."""
    async with (
        open_understudy(max_body=100) as understudy,
        await trio.open_tcp_stream("127.0.0.1", understudy.port) as stream,
    ):
        peer = Peer(stream)
        with trio.fail_after(PATIENCE):
            await peer.send("POST", "/v1/chat/completions", b"x" * 2_000_000)
            head = await peer.head()
            body = await peer.body()

    assert head.status_code == 413
    assert b"at most 100 bytes" in body


async def test_end_of_the_block_closes_what_is_open() -> None:
    """When the block ends, streams in flight are cut and the port is free again (I4)."""
    async with open_understudy(faults=["stall@1"]) as understudy:
        stream = await trio.open_tcp_stream("127.0.0.1", understudy.port)
        peer = Peer(stream)
        await peer.post(asking())
        await peer.head()
    async with stream, open_understudy(port=understudy.port):
        while await stream.receive_some():
            pass

    assert understudy.statistics().connections_open == 0
    assert understudy.statistics().streams_broken_off == 0


async def test_exception_of_the_body_comes_out_bare() -> None:
    """The block's own exception is not wrapped into a group (R14)."""
    with pytest.raises(ZeroDivisionError):
        async with open_understudy():
            raise ZeroDivisionError


async def test_port_in_use_is_an_os_error() -> None:
    """A second server on the same port fails at once, and the first goes on."""
    async with open_understudy() as understudy:
        with pytest.raises(OSError, match="in use"):
            async with open_understudy(port=understudy.port):
                pass

        assert str(understudy.port) in banner(understudy)
        assert understudy.base_url == f"http://127.0.0.1:{understudy.port}/v1"


async def test_address_of_the_newer_kind_stands_in_brackets() -> None:
    """The base URL of an IPv6 address is one."""
    try:
        async with open_understudy(host="::1") as understudy:
            assert understudy.base_url == f"http://[::1]:{understudy.port}/v1"
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
