"""A small HTTP server for tests of providers: it answers every request with the same stream."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import h11
import trio
import trio.testing

from greenroom.actors.llm import Context, Event, ProviderError, Settings, User
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import open_memory_network

HELLO = Context.of(User("hello"))
BASE_URL = "http://model.test/v1"


def data(payload: Any, name: str = "") -> bytes:
    """Return *payload*, JSON or bytes as they are, as an event of a stream."""
    sent = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + sent + b"\n\n"


@attrs.frozen
class Asked:
    """A request that came."""

    target: str
    """Path and query."""

    headers: dict[str, str]
    """By names in small letters."""

    body: dict[str, Any]
    """As decoded."""


@attrs.define
class StreamServer:
    """Answers with *pieces*, one write each, as a chunked event stream."""

    pieces: Iterable[bytes]
    is_whole: bool = True
    """Whether the body is ended properly; if not, the connection is closed after it."""
    asked: list[Asked] = attrs.field(factory=list[Asked])

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until the client leaves."""
        http = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._answer(http, stream):
                    http.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left

    async def _answer(self, http: h11.Connection, stream: trio.abc.Stream) -> bool:
        """Read a request and answer it; tell whether another may follow."""
        head: h11.Request | None = None
        body = b""
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return False
        assert head is not None
        headers = {name.decode(): value.decode() for name, value in head.headers}
        self.asked.append(Asked(head.target.decode(), headers, json.loads(body)))
        kind = ("content-type", "text/event-stream; charset=utf-8")
        sent = [kind, ("x-request-id", "req-7"), ("transfer-encoding", "chunked")]
        await stream.send_all(http.send(h11.Response(status_code=200, headers=sent)) or b"")
        for piece in self.pieces:
            await stream.send_all(http.send(h11.Data(data=piece)) or b"")
        if not self.is_whole:
            return False
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")
        return http.our_state is h11.DONE


@attrs.frozen
class Answer:
    """What came of one request."""

    events: list[Event]
    failure: ProviderError | None
    asked: Asked


async def ask(
    server: StreamServer,
    make: Callable[..., OpenAIProvider] = OpenAIProvider,
    *,
    context: Context = HELLO,
    settings: Settings | None = None,
    **options: Any,
) -> Answer:
    """Ask *server* once; nothing of the request is left then (I4, I13)."""
    events: list[Event] = []
    failure: ProviderError | None = None
    async with open_memory_network(server.serve) as network:
        provider = make(**{"base_url": BASE_URL, "dial": network.dial, **options})
        try:
            stream = await provider.request(context, settings or Settings(model="m"))
            try:
                while more := await stream.events():
                    events.extend(more)
            finally:
                stream.close()
        except ProviderError as error:
            failure = error
        statistics = provider.transport.statistics()
        assert statistics.active == 0
        await trio.testing.wait_all_tasks_blocked()
        assert network.open == statistics.idle
        provider.close()
        assert network.open == 0
    return Answer(events, failure, server.asked[-1])
