"""
The ways in which a model's stream can be read, for `bench_llm`: the SDK's, ours, and the limits.

Each is an async context manager around a function that reads one whole answer and returns how many
chunks with text were in it, and which can be called by any number of tasks. It calls what it is
given when it has the first of them.
"""

import json
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import httpx2
import openai
import trio

from greenroom.actors.llm import LLM, Context, Generate, Settings, Status, TextDelta, User
from greenroom.actors.llm.frames import ResponseEnded
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime import Ref, open_runtime

MODEL: Final = "gpt-4o-mini"
ASKED: Final = Context.of(User("hello"))
BODY: Final = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
}
MOST_STREAMS: Final = 4_000

Read: TypeAlias = Callable[[Callable[[], object]], Awaitable[int]]


@attrs.frozen
class Server:
    """The server's process."""

    http: int
    https: int
    authority: str

    def at(self, chunks: int, together: int = 1, pause: int = 0, *, tls: bool = False) -> "Address":
        """Return where *chunks* are to be had, *pause* microseconds between the writes."""
        path = f"/{chunks}/{together}/{pause}/v1"
        context = ssl.create_default_context(cafile=self.authority) if tls else None
        return Address(self.https if tls else self.http, path, chunks, context)


@attrs.frozen
class Address:
    """Where an answer is to be had."""

    port: int
    path: str
    chunks: int
    tls: ssl.SSLContext | None

    @property
    def base_url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{self.path}"


@contextmanager
def serving() -> Generator[Server]:
    """Run `model_server` in a process of its own."""
    command = [sys.executable, str(Path(__file__).parent / "model_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


@asynccontextmanager
async def sdk(at: Address) -> AsyncGenerator[Read]:
    """``async for chunk in stream``."""
    http = openai.DefaultAsyncHttpxClient(verify=at.tls or True)
    async with openai.AsyncOpenAI(api_key="k", base_url=at.base_url, http_client=http) as client:

        async def read(first: Callable[[], object]) -> int:
            stream = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
            )
            count = 0
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    count += 1
                    if count == 1:
                        first()
            return count

        yield read


@asynccontextmanager
async def stream(at: Address) -> AsyncGenerator[Read]:
    """Ours without the actor: `OpenAIProvider` and its stream of events."""
    provider = OpenAIProvider(
        api_key="k",
        base_url=at.base_url,
        ssl_context=at.tls,
        max_connections=MOST_STREAMS,
        max_keepalive=MOST_STREAMS,
    )
    settings = Settings(model=MODEL)

    async def read(first: Callable[[], object]) -> int:
        answer = await provider.request(ASKED, settings)
        count = 0
        try:
            while events := await answer.events():
                for event in events:
                    if isinstance(event, TextDelta):
                        count += 1
                        if count == 1:
                            first()
        finally:
            answer.close()
        return count

    async with trio.open_nursery() as nursery:
        await nursery.start(provider.run)
        yield read
        nursery.cancel_scope.cancel()
    provider.close()


class Wide(LLM, concurrency=MOST_STREAMS):
    """Lets all run at once."""


@asynccontextmanager
async def acting(at: Address) -> AsyncGenerator[Ref]:
    """Run the actor."""
    provider = OpenAIProvider(
        api_key="k",
        base_url=at.base_url,
        ssl_context=at.tls,
        max_connections=MOST_STREAMS,
        max_keepalive=MOST_STREAMS,
    )
    async with open_runtime() as runtime:
        yield await runtime.spawn(
            Wide, provider, Settings(model=MODEL), capacity=MOST_STREAMS, name="llm"
        )


async def consume(llm: Ref, first: Callable[[], object]) -> int:
    """Read one answer from the actor; call *first* at its first text."""
    count = 0
    ended: ResponseEnded | None = None
    async with llm.stream(Generate(ASKED)) as frames:
        async for frame in frames:
            if isinstance(frame, TextDelta):
                count += 1
                if count == 1:
                    first()
            elif isinstance(frame, ResponseEnded):
                ended = frame
    assert ended is not None
    assert ended.status is Status.COMPLETED, ended
    return count


@asynccontextmanager
async def actor(at: Address) -> AsyncGenerator[Read]:
    """Ours up to the consumer of ``llm.stream(...)``."""
    async with acting(at) as llm:
        yield partial(consume, llm)


def request_at(at: Address) -> bytes:
    """Return a request as bytes."""
    body = json.dumps(BODY).encode()
    head = (
        f"POST {at.path}/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def raw(at: Address) -> AsyncGenerator[Read]:
    """The limit on Trio: a socket's bytes, in which nothing is looked at but the end."""
    assert at.tls is None
    request = request_at(at)
    idle: list[trio.SocketStream] = []

    async def read(first: Callable[[], object]) -> int:
        connection = idle.pop() if idle else await trio.open_tcp_stream("127.0.0.1", at.port)
        await connection.send_all(request)
        is_first = True
        while True:
            received = await connection.receive_some(65536)
            assert received, "the server left"
            if is_first and b"data: " in received:
                is_first = False
                first()
            if received.endswith(b"\r\n0\r\n\r\n"):
                idle.append(connection)
                return at.chunks

    yield read
    for connection in idle:
        await connection.aclose()


@asynccontextmanager
async def body(at: Address) -> AsyncGenerator[Read]:
    """The limit of httpx2: the pieces of its body, in which nothing is looked at."""
    limits = httpx2.Limits(max_connections=MOST_STREAMS)
    async with httpx2.AsyncClient(verify=at.tls or True, limits=limits) as client:

        async def read(first: Callable[[], object]) -> int:
            url = f"{at.base_url}/chat/completions"
            async with client.stream("POST", url, json=BODY) as response:
                pieces = response.aiter_raw()
                await anext(pieces)
                first()
                async for _ in pieces:
                    pass
            return at.chunks

        yield read


#: By the names in the table.
WAYS: Final[dict[str, Callable[[Address], AbstractAsyncContextManager[Read]]]] = {
    "SDK": sdk,
    "body": body,
    "raw": raw,
    "stream": stream,
    "actor": actor,
}
