"""
Ways to take a response and to let go of it: four around the SDK, the guard over two libraries, ours.

A strategy opens a `Session`, which asks one model after another on a pool of one connection.
"""

import contextlib
import errno
from collections.abc import AsyncGenerator, Callable
from types import ModuleType
from typing import Any, Protocol

import attrs
import httpcore
import httpcore2
import httpx
import httpx2
import openai
import trio

from greenroom.actors.llm import Category, Context, Patience, ProviderError, Settings, User
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import MemoryNetwork
from greenroom.actors.wire import Dial, Pipe
from tests.actors.llm.close import sockets
from tests.actors.llm.close.variants import Variant
from tests.actors.wire.peers import TlsPair

SILENCE = 5.0  # seconds without a byte, after which a request is given up

#: What a request may end with, beside the faults that come to it.
EXPECTED = (openai.OpenAIError, ProviderError, httpx2.HTTPError, httpx.HTTPError)


@attrs.frozen
class Surroundings:
    """Where a session takes place."""

    network: MemoryNetwork
    variant: Variant
    tls: TlsPair
    is_secure: bool
    faults: sockets.Faults

    @property
    def base_url(self) -> str:
        return "https://model.test/v1" if self.is_secure else "http://model.test/v1"


class Session(Protocol):
    """A client with a pool of one connection."""

    async def ask(self, model: str) -> None:
        """Take a response whole, with a checkpoint after each piece of it: what is swept."""
        ...

    async def probe(self, model: str) -> None:
        """Take a response in a way that leaves nothing behind, on the same pool."""
        ...

    def held(self) -> str:
        """Return what is held though no request runs; empty if nothing is."""
        ...

    @property
    def idle(self) -> int:
        """Connections that are kept."""
        ...


class Strategy(Protocol):
    """A way to take a response."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    def open(self, around: Surroundings) -> contextlib.AbstractAsyncContextManager[Session]:
        """Open a session."""
        ...


class PoolSession:
    """A session over a pool of httpcore or httpcore2."""

    def __init__(self, http: Any, around: Surroundings, ask: Callable[[str], Any]) -> None:
        transport = http._transport
        self._pool: Any = getattr(transport, "_inner", transport)._pool
        self._http = http
        self._url = f"{around.base_url}/chat/completions"
        self._ask = ask

    async def ask(self, model: str) -> None:
        await self._ask(model)

    async def probe(self, model: str) -> None:
        await self._http.post(self._url, json={"model": model})

    def held(self) -> str:
        busy = [c for c in self._pool._connections if not c.is_idle()]
        requests = len(self._pool._requests)
        return f"{requests} requests, {len(busy)} connections" if requests or busy else ""

    @property
    def idle(self) -> int:
        return len([c for c in self._pool._connections if c.is_idle()])


def pool_of_one(
    library: ModuleType, tls: TlsPair, *, silence: float = 5.0, proxy: str | None = None
) -> Any:
    """Return a client of *library* that has one connection at most."""
    return library.AsyncClient(
        proxy=proxy,
        verify=tls.client,
        limits=library.Limits(max_connections=1, max_keepalive_connections=1),
        timeout=library.Timeout(silence, pool=None),
        trust_env=False,
    )


def http_client(library: ModuleType, around: Surroundings) -> Any:
    """Return a client of *library* with a pool of one connection, for one row of the table."""
    client = pool_of_one(library, around.tls, silence=SILENCE)
    if around.variant.hangs_on_close:
        core = httpcore2 if library is httpx2 else httpcore
        client._transport._pool._network_backend = stuck_backend(core)
    return client


def stuck_backend(core: Any) -> Any:
    """Return a backend of *core* whose streams never come out of their ``aclose``."""

    def stuck(stream: Any) -> Any:
        start_tls = stream.start_tls

        async def start_stuck_tls(*args: Any, **kwargs: Any) -> Any:
            return stuck(await start_tls(*args, **kwargs))

        stream.aclose = trio.sleep_forever
        stream.start_tls = start_stuck_tls
        return stream

    class Backend(core.TrioBackend):  # type: ignore[misc]
        async def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
            return stuck(await core.TrioBackend.connect_tcp(self, *args, **kwargs))

    return Backend()


def sdk_client(around: Surroundings, http: Any) -> openai.AsyncOpenAI:
    """Return the SDK's client over *http*, which retries once."""
    client = openai.AsyncOpenAI(
        api_key="k", base_url=around.base_url, http_client=http, max_retries=1
    )
    client._platform = "Unknown"  # pyright: ignore  # else a thread, in the first request
    return client


@contextlib.asynccontextmanager
async def closing(http: Any) -> AsyncGenerator[Any]:
    """Close *http* at the end, as its user does."""
    try:
        yield http
    finally:
        with trio.move_on_after(1, shield=True):
            await http.aclose()


Loop = Callable[[Any], Any]


async def naive(stream: Any) -> None:
    """The loop, and nothing around it."""
    async for _ in stream:
        await trio.lowlevel.checkpoint()


async def in_a_block(stream: Any) -> None:
    """The loop in ``async with``."""
    async with stream:
        await naive(stream)


async def reference_order(stream: Any) -> None:
    """The loop, and then the iterator's ``aclose`` and the stream's ``close``."""
    iterator = aiter(stream)
    try:
        async for _ in iterator:
            await trio.lowlevel.checkpoint()
    finally:
        await iterator.aclose()
        await stream.close()


@attrs.frozen
class SdkStream:
    """The SDK's own stream, taken by one of the loops above."""

    name: str
    take: Loop
    library: ModuleType = httpx2

    @contextlib.asynccontextmanager
    async def open(self, around: Surroundings) -> AsyncGenerator[Session]:
        sockets.use(around.network, around.faults)
        async with closing(http_client(self.library, around)) as http:
            client = sdk_client(around, http)

            async def ask(model: str) -> None:
                stream = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "hi"}], stream=True
                )
                await self.take(stream)

            yield PoolSession(http, around, ask)


PATIENCE = Patience(headers=SILENCE, first_token=SILENCE, between_tokens=SILENCE)


async def ask_provider(provider: OpenAIProvider, model: str) -> None:
    """Take a response as the LLM actor does, and ask once more if that is asked for."""
    try:
        await take(provider, model)
    except ProviderError as error:
        if error.category is not Category.RATE_LIMIT:
            raise
        await trio.sleep(error.retry_after or 0)
        await take(provider, model)


async def take(provider: OpenAIProvider, model: str) -> None:
    """Take one response."""
    stream = await provider.request(Context.of(User("hi")), Settings(model=model))
    try:
        while await stream.events():
            await trio.lowlevel.checkpoint()
    finally:
        stream.close()


@attrs.frozen
class Guarded:
    """Our provider over a client that a user brought."""

    name: str
    library: ModuleType
    brings_sdk: bool

    @contextlib.asynccontextmanager
    async def open(self, around: Surroundings) -> AsyncGenerator[Session]:
        sockets.use(around.network, around.faults)
        async with closing(http_client(self.library, around)) as http:
            if self.brings_sdk:
                provider = OpenAIProvider(client=sdk_client(around, http), patience=PATIENCE)
            else:
                provider = OpenAIProvider(
                    http_client=http, api_key="k", base_url=around.base_url, patience=PATIENCE
                )
            try:
                yield GuardedSession(http, around, provider)
            finally:
                provider.close()


class GuardedSession(PoolSession):
    """Looks at the guard as well as at the pool."""

    def __init__(self, http: Any, around: Surroundings, provider: OpenAIProvider) -> None:
        super().__init__(http, around, self._ask_provider)
        self._provider = provider

    async def _ask_provider(self, model: str) -> None:
        await ask_provider(self._provider, model)

    def held(self) -> str:
        assert self._provider.guard is not None
        now = self._provider.guard.statistics()
        return super().held() or (str(now) if now.active or now.parked or now.overdue else "")


class FaultyPipe:
    """A pipe with the fault points of `sockets.MemorySocket`."""

    def __init__(self, inner: Pipe, faults: sockets.Faults) -> None:
        self._inner = inner
        self._faults = faults
        self.abort = inner.abort

    async def receive_some(self, max_bytes: int, /) -> bytes:
        self._pass_by("receive")
        return await self._inner.receive_some(max_bytes)

    async def send_all(self, data: bytes | memoryview, /) -> None:
        self._pass_by("send")
        await self._inner.send_all(data)

    def receive_nowait(self, max_bytes: int, /) -> bytes | None:
        return self._inner.receive_nowait(max_bytes)

    def _pass_by(self, operation: str) -> None:
        try:
            self._faults.pass_by(operation, errno.ECONNRESET)
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error


def faulty(dial: Dial, faults: sockets.Faults) -> Dial:
    """Return *dial* with pipes that can fail."""

    async def dial_faulty(host: str, port: int, /, **kwargs: Any) -> Pipe:
        faults.pass_by("connect", errno.ECONNREFUSED)
        return FaultyPipe(await dial(host, port, **kwargs), faults)

    return dial_faulty


@attrs.frozen
class Ours:
    """Our provider over our transport."""

    name: str = "ours"

    @contextlib.asynccontextmanager
    async def open(self, around: Surroundings) -> AsyncGenerator[Session]:
        provider = OpenAIProvider(
            api_key="k",
            base_url=around.base_url,
            patience=PATIENCE,
            max_connections=1,
            ssl_context=around.tls.client,
            dial=faulty(around.network.dial, around.faults),
        )
        try:
            yield OwnSession(provider)
        finally:
            provider.close()


class OwnSession:
    """A session over our transport."""

    def __init__(self, provider: OpenAIProvider) -> None:
        self._provider = provider

    async def ask(self, model: str) -> None:
        await ask_provider(self._provider, model)

    async def probe(self, model: str) -> None:
        await self.ask(model)

    def held(self) -> str:
        active = self._provider.transport.statistics().active
        return f"{active} requests" if active else ""

    @property
    def idle(self) -> int:
        return self._provider.transport.statistics().idle


STRATEGIES: tuple[Strategy, ...] = (
    SdkStream("naive loop", naive),
    SdkStream("async with stream", in_a_block),
    SdkStream("reference's order", reference_order),
    Guarded("guard, httpx2", httpx2, brings_sdk=False),
    Guarded("guard, httpx", httpx, brings_sdk=True),
    Ours(),
)
