"""The transport over real sockets, on the real clock: loopback servers, plain and over TLS."""

import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import httpx2
import pytest
import trio

from greenroom.actors.wire import BODY_EXTENSION, Body, Transport
from greenroom.runtime.testing import World, sweep_live
from tests.actors.wire.peers import (
    END,
    OK,
    STREAM_HEAD,
    Peer,
    Received,
    TlsPair,
    answering,
    chunk,
    listening,
    over_tls,
)

# Far more than the kernel buffers between two sockets of this machine.
LARGE = 8 * 1024 * 1024

# Positions at which the request of the sweep can be cancelled, at least: plain, TLS.
FLOORS = {False: 20, True: 30}


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Every test of this file ends with the descriptors that it began with (I4)."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


@attrs.frozen
class Setup:
    """A client on a transport to a loopback server."""

    client: httpx2.AsyncClient
    transport: Transport


@asynccontextmanager
async def serving(
    handler: Callable[[trio.abc.Stream], Awaitable[None]],
    tls: TlsPair | None,
    max_connections: int = 10,
) -> AsyncGenerator[Setup]:
    """Serve by *handler* on loopback, over TLS if there is *tls*, and open a client to it."""
    async with listening(over_tls(handler, tls.server) if tls else handler) as port:
        transport = Transport(
            max_connections=max_connections, ssl_context=tls.client if tls else None
        )
        async with httpx2.AsyncClient(
            transport=transport,
            base_url=f"{'https' if tls else 'http'}://127.0.0.1:{port}",
            timeout=20,
            trust_env=False,
        ) as client:
            yield Setup(client, transport)
        assert transport.statistics().active == 0


def socket_of(peer: Peer) -> trio.SocketStream:
    below: object = peer.stream
    if isinstance(below, trio.SSLStream):
        below = below.transport_stream  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    assert isinstance(below, trio.SocketStream)
    return below


async def serve_path(peer: Peer, request: Received) -> None:
    """Answer as the path says."""
    match request.target:
        case "/echo":
            await peer.send(STREAM_HEAD)
            for start in range(0, len(request.body), 100_000):
                await peer.send(chunk(request.body[start : start + 100_000]))
            await peer.send(END)
        case "/informed":
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\n\r\n", OK)
        case "/until-close":
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", b"all", b" of it")
            await peer.close()
        case "/cut-short":
            await peer.send(STREAM_HEAD, chunk(b"some"))
            await peer.close()
        case "/reset":
            await peer.send(STREAM_HEAD, chunk(b"some"))
            await trio.sleep(0.01)
            below = socket_of(peer)
            below.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            below.socket.close()
            raise trio.BrokenResourceError
        case "/second-dies" if peer.requests > 1:
            await peer.close()
        case "/bye":
            await peer.send(OK)
            await peer.close()
        case "/stream":
            await peer.send(STREAM_HEAD, *[chunk(b"data: x\n\n")] * 3)
            await trio.lowlevel.checkpoint()
            await peer.send(chunk(b"data: [DONE]\n\n"), END)
        case _:
            await peer.send(OK)


both = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


@both
async def test_large_bodies_go_both_ways_on_one_connection(secure: bool, tls: TlsPair) -> None:
    """Uploads larger than the socket buffers, streamed downloads, and reuse after both."""
    content = os.urandom(LARGE)
    async with serving(answering(serve_path), tls if secure else None) as to:
        first = await to.client.post("/echo", content=content)
        second = await to.client.post("/echo", content=content[:1000])
        after = to.transport.statistics()

    assert first.content == content
    assert second.content == content[:1000]
    assert (after.opened, after.reused, after.idle) == (1, 1, 1)


@both
async def test_upload_that_is_refused_early_gives_the_response(secure: bool, tls: TlsPair) -> None:
    """A server that answers and stops reading is heard, although the upload could not end."""

    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        below = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream  # pyright: ignore
        assert isinstance(below, trio.SocketStream)
        # an end of sending, not a reset, which would take the response with it
        await below.send_eof()
        with trio.move_on_after(0.05):
            while await below.receive_some():
                pass

    async with serving(refuse, tls if secure else None) as to:
        response = await to.client.post("/", content=bytes(LARGE))

    assert (response.status_code, response.text) == (413, "no")


@both
async def test_informational_responses_are_skipped(secure: bool, tls: TlsPair) -> None:
    """100 and 103 come before the answer and are not it."""
    async with serving(answering(serve_path), tls if secure else None) as to:
        response = await to.client.get("/informed")

    assert (response.status_code, response.text) == (200, "ok")


@both
async def test_body_until_close_is_whole(secure: bool, tls: TlsPair) -> None:
    """Without a length the end of the connection is the end of the body."""
    async with serving(answering(serve_path), tls if secure else None) as to:
        response = await to.client.get("/until-close")

        assert response.text == "all of it"
        assert to.transport.statistics().idle == 0


@both
@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/cut-short", httpx2.RemoteProtocolError, "middle of a chunked body, after 4 bytes"),
        ("/reset", httpx2.ReadError, "broke the connection: .*Connection reset by peer"),
    ],
)
async def test_body_that_breaks_off_is_an_error(
    path: str, error: type[Exception], message: str, secure: bool, tls: TlsPair
) -> None:
    """What came before is delivered, then the failure; the next request works (I13)."""
    async with serving(answering(serve_path), tls if secure else None, max_connections=1) as to:
        request = to.client.build_request("GET", path)
        body = (await to.client.send(request, stream=True)).extensions[BODY_EXTENSION]
        assert isinstance(body, Body)
        assert await body.receive() == b"some"
        with pytest.raises(error, match=message):
            await body.receive()
        response = await to.client.get("/")

    assert response.text == "ok"


@both
async def test_connection_that_the_server_closed_while_idle_is_replaced(
    secure: bool, tls: TlsPair
) -> None:
    """A server may close what idles; no request is lost to that."""
    async with serving(answering(serve_path), tls if secure else None) as to:
        texts: list[str] = []
        for _ in range(20):
            texts.append((await to.client.get("/bye")).text)
            await trio.sleep(0.001)

    assert texts == ["ok"] * 20


@both
async def test_request_on_a_dying_connection_is_sent_again(secure: bool, tls: TlsPair) -> None:
    """The keep-alive race over real sockets: no request and no socket is lost to it."""
    async with serving(answering(serve_path), tls if secure else None) as to:
        texts = [(await to.client.get("/second-dies")).text for _ in range(5)]
        after = to.transport.statistics()

    assert texts == ["ok"] * 5
    assert (after.opened, after.reused) == (5, 4)


async def test_refused_connection_says_so() -> None:
    """No server there is a ConnectError that names the address and the reason."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with httpx2.AsyncClient(transport=Transport()) as client:
        with pytest.raises(
            httpx2.ConnectError,
            match=rf"can't connect to http://127\.0\.0\.1:{port}: .*Connection refused",
        ):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_untrusted_server_says_so(tls: TlsPair) -> None:
    """A certificate of an unknown authority is a ConnectError; nothing was sent."""
    async with (
        listening(over_tls(answering(OK), tls.server)) as port,
        httpx2.AsyncClient(transport=Transport()) as client,
    ):
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize("kept", [False, True], ids=["cold", "warm"])
@both
def test_cancel_at_every_position_over_sockets(secure: bool, kept: bool, tls: TlsPair) -> None:
    """I4 and I13 hold at each position on real sockets too, for new connections and kept ones."""

    async def scenario(w: World) -> None:
        async with serving(answering(serve_path), tls if secure else None, max_connections=1) as to:
            if kept:
                assert (await to.client.get("/")).text == "ok"
            with w.scope("request"):
                request = to.client.build_request("GET", "/stream")
                response = await to.client.send(request, stream=True)
                body = response.extensions[BODY_EXTENSION]
                assert isinstance(body, Body)
                done = False
                try:
                    while data := await body.receive():
                        done = done or b"[DONE]" in data
                finally:
                    body.close(complete=done)
            after = to.transport.statistics()
            assert after.active == 0
            assert (await to.client.get("/")).text == "ok"

    report = sweep_live(scenario, target="request").check()
    print(f"sweep sockets, {'TLS' if secure else 'plain'}: {report.summary()}")

    assert report.positions >= FLOORS[secure]
