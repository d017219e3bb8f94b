"""Servers to test against: requests read by h11, answers written as raw bytes."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import attrs
import h11
import trio
import trustme

#: A response with a body of two bytes on a connection that stays.
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


@attrs.frozen
class TlsPair:
    """Both sides' contexts."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_tls() -> TlsPair:
    """Return contexts with a certificate for ``model.test`` and ``127.0.0.1``."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("model.test", "127.0.0.1").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    client = ssl.create_default_context()
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    return TlsPair(server, client)


def chunk(payload: bytes) -> bytes:
    """Return *payload* as one chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


@attrs.frozen
class Received:
    """A request as the server saw it."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Peer:
    """A connection seen by the server."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.requests = 0  # read so far
        self.gone = False  # close() was called
        self._left = b""

    async def request(self) -> Received | None:
        """Return the next request with its body, or None if the client left."""
        protocol = h11.Connection(h11.SERVER)
        if self._left:
            protocol.receive_data(self._left)
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                data = await self.stream.receive_some(65536)
                if not data:
                    return None
                protocol.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert head is not None
                self._left = protocol.trailing_data[0]
                self.requests += 1
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Received(head.method.decode(), head.target.decode(), headers, bytes(body))

    async def send(self, *parts: bytes) -> None:
        """Send each of *parts* by itself."""
        for part in parts:
            await self.stream.send_all(part)

    async def close(self) -> None:
        """End the connection."""
        self.gone = True
        await self.stream.aclose()


Answer = Callable[[Peer, Received], Awaitable[None]]


def answering(*answers: bytes | Answer) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """
    Return a handler that gives one of *answers* to each request of a connection.

    The last is given again and again; bytes are sent as they are.
    """

    async def handler(stream: trio.abc.Stream) -> None:
        peer = Peer(stream)
        count = 0
        while not peer.gone and (request := await peer.request()) is not None:
            answer = answers[min(count, len(answers) - 1)]
            count += 1
            if isinstance(answer, bytes):
                await peer.send(answer)
            else:
                await answer(peer, request)

    return handler


def over_tls(
    handler: Callable[[trio.abc.Stream], Awaitable[None]], context: ssl.SSLContext
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """Return *handler* behind Trio's own TLS."""

    async def secured(stream: trio.abc.Stream) -> None:
        await handler(trio.SSLStream(stream, context, server_side=True))

    return secured


@asynccontextmanager
async def listening(
    handler: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncGenerator[int]:
    """Serve on a loopback port, which is what comes out; the clients may leave at any time."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await handler(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
