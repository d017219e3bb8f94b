"""All pipes keep the same contract; TLS is held against Trio's own."""

import os
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from greenroom.actors.testing import MemoryStream, open_memory_network
from greenroom.actors.wire.pipe import Pipe, SocketPipe, TlsPipe, dial, start_tls
from greenroom.runtime.testing import World, sweep_live
from tests.actors.wire.peers import TlsPair, listening, make_tls, over_tls

# Points of dialling over TLS at which a cancel can arrive, at least.
DIAL_FLOOR = 24

Kind = Literal["socket", "memory", "tls over memory", "tls over socket"]
KINDS: list[Kind] = ["socket", "memory", "tls over memory", "tls over socket"]


@attrs.frozen
class Connected:
    """Both ends of a connection."""

    pipe: Pipe
    server: trio.abc.Stream
    break_it: Callable[[], None]
    """Makes the peer vanish without an orderly end."""


@asynccontextmanager
async def connected(kind: Kind, tls: TlsPair) -> AsyncGenerator[Connected]:
    """Connect a pipe of *kind* to a server's stream."""
    secure = kind.startswith("tls")
    async with trio.open_nursery() as nursery:
        done = trio.Event()
        streams: list[tuple[trio.abc.Stream, trio.abc.Stream]] = []  # as used, below TLS
        arrived = trio.Event()

        async def handler(stream: trio.abc.Stream) -> None:
            below = stream
            if secure:
                stream = trio.SSLStream(stream, tls.server, server_side=True)
                await stream.do_handshake()
            streams.append((stream, below))
            arrived.set()
            await done.wait()

        if kind.endswith("memory"):
            network = await nursery.start(memory_server, handler, done)
            context = tls.client if secure else None
            pipe = await network("model.test", 443, ssl_context=context)
            await arrived.wait()
        else:
            here, there = socket.socketpair()
            nursery.start_soon(handler, trio.SocketStream(trio.socket.from_stdlib_socket(there)))
            pipe = SocketPipe(here)
            if secure:
                pipe = await start_tls(pipe, tls.client, "model.test")
            await arrived.wait()
        [(server, below)] = streams

        def break_it() -> None:
            if isinstance(below, MemoryStream):
                below.reset()
            else:
                assert isinstance(below, trio.SocketStream)
                below.socket.close()

        try:
            yield Connected(pipe, server, break_it)
        finally:
            pipe.abort()
            await trio.aclose_forcefully(server)
            done.set()


async def memory_server(
    handler: Callable[[trio.abc.Stream], Awaitable[None]],
    done: trio.Event,
    *,
    task_status: trio.TaskStatus[Callable[..., Awaitable[Pipe]]],
) -> None:
    async with open_memory_network(handler) as network:
        task_status.started(network.dial)
        await done.wait()


async def use_until_broken(end: Pipe | trio.abc.Stream) -> None:
    """Read to the end, then write: a peer that is gone is noticed by one or the other."""
    while await end.receive_some(65536):
        pass
    while True:
        await end.send_all(bytes(65536))


kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
async def test_bytes_arrive_and_the_end_is_empty(kind: Kind, tls: TlsPair) -> None:
    """What the peer sends comes out, then b"" for its end, again and again; each is a checkpoint."""
    async with connected(kind, tls) as ends:
        await ends.server.send_all(b"hello")
        with assert_checkpoints():
            assert await ends.pipe.receive_some(2) == b"he"
        with assert_checkpoints():
            assert await ends.pipe.receive_some(100) == b"llo"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.server.aclose)
            for _ in range(2):
                with assert_checkpoints():
                    assert await ends.pipe.receive_some(100) == b""


@kinds
async def test_receive_nowait_tells_nothing_yet_from_the_end(kind: Kind, tls: TlsPair) -> None:
    """None is 'nothing there', bytes are what is there, b"" is the peer's end."""
    async with connected(kind, tls) as ends:
        assert ends.pipe.receive_nowait(100) is None

        await ends.server.send_all(b"hello")
        await wait_all_tasks_blocked()

        assert ends.pipe.receive_nowait(2) == b"he"
        assert ends.pipe.receive_nowait(100) == b"llo"
        assert ends.pipe.receive_nowait(100) is None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.server.aclose)
            await wait_all_tasks_blocked()

            assert [ends.pipe.receive_nowait(100) for _ in range(2)] == [b"", b""]
            ends.pipe.abort()


@kinds
async def test_send_all_waits_for_a_slow_reader(kind: Kind, tls: TlsPair) -> None:
    """More than the buffers hold is sent as the peer takes it, whole and in order."""
    sent = os.urandom(2_000_000)
    received = bytearray()
    async with connected(kind, tls) as ends:
        with assert_checkpoints():
            await ends.pipe.send_all(sent[:1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.pipe.send_all, sent[1:])
            await wait_all_tasks_blocked()
            blocked = len(nursery.child_tasks)
            while len(received) < len(sent):
                received += await ends.server.receive_some(65536)

    assert blocked == 1
    assert received == sent


@kinds
async def test_abort_wakes_who_waits_and_ends_the_pipe(kind: Kind, tls: TlsPair) -> None:
    """A parked reader and a parked writer get ClosedResourceError, the peer sees an end."""
    ended: list[str] = []

    async def read(pipe: Pipe) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await pipe.receive_some(100)
        ended.append("read")

    async def write(pipe: Pipe) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await pipe.send_all(bytes(10_000_000))
        ended.append("write")

    async with connected(kind, tls) as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, ends.pipe)
            nursery.start_soon(write, ends.pipe)
            await wait_all_tasks_blocked()
            ends.pipe.abort()
            ends.pipe.abort()

        assert sorted(ended) == ["read", "write"]
        with pytest.raises(trio.ClosedResourceError):
            await ends.pipe.receive_some(100)
        with pytest.raises(trio.ClosedResourceError):
            ends.pipe.receive_nowait(100)
        with pytest.raises(trio.ClosedResourceError):
            await ends.pipe.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await use_until_broken(ends.server)


@kinds
async def test_peer_that_vanishes_breaks_the_pipe(kind: Kind, tls: TlsPair) -> None:
    """Without an orderly end, reading or at last writing says BrokenResourceError."""
    async with connected(kind, tls) as ends:
        ends.break_it()

        with pytest.raises(trio.BrokenResourceError):
            await use_until_broken(ends.pipe)


@kinds
async def test_cancelled_receive_takes_nothing(kind: Kind, tls: TlsPair) -> None:
    """A read that was cancelled leaves the bytes to the next one."""
    async with connected(kind, tls) as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.pipe.receive_some, 100)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await ends.server.send_all(b"hello")

        assert await ends.pipe.receive_some(100) == b"hello"


async def test_tcp_reset_is_a_broken_pipe() -> None:
    """A connection reset by the peer raises from the read that meets it, with its cause."""

    async def reset(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def receive_some(pipe: Pipe) -> object:
        return await pipe.receive_some(100)

    async def receive_nowait(pipe: Pipe) -> object:
        while (data := pipe.receive_nowait(100)) is None:
            await trio.lowlevel.checkpoint()
        return data

    async with listening(reset) as port:
        for read in (receive_some, receive_nowait):
            pipe = await dial("127.0.0.1", port)
            with pytest.raises(trio.BrokenResourceError, match="Connection reset") as caught:
                await read(pipe)
            pipe.abort()

            assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_abort_works_after_the_run() -> None:
    """A pipe that outlived its run can be closed, and leaves no descriptor."""
    here, there = socket.socketpair()

    async def main() -> SocketPipe:
        await trio.lowlevel.checkpoint()
        return SocketPipe(here)

    pipe = trio.run(main)
    pipe.abort()

    assert there.recv(1) == b""
    assert here.fileno() == -1
    there.close()


async def test_tls_end_without_a_close_alert_is_an_error(tls: TlsPair) -> None:
    """A truncated TLS stream does not look like a complete one, as RFC 9112 wants."""

    async def cut_short(stream: trio.abc.Stream) -> None:
        secured = trio.SSLStream(stream, tls.server, server_side=True)
        await secured.send_all(b"some")
        await stream.aclose()

    async with open_memory_network(cut_short) as network:
        pipe = await network.dial("model.test", 443, ssl_context=tls.client)

        assert await pipe.receive_some(100) == b"some"
        with pytest.raises(trio.BrokenResourceError, match="without a TLS close alert"):
            await pipe.receive_some(100)
        pipe.abort()


async def test_tls_garbage_is_a_broken_pipe(tls: TlsPair) -> None:
    """Bytes that are no TLS record, after the handshake, break the pipe."""

    async def garbage(stream: trio.abc.Stream) -> None:
        await trio.SSLStream(stream, tls.server, server_side=True).do_handshake()
        await stream.send_all(b"HTTP/1.1 500 Oops\r\n\r\n")

    async with open_memory_network(garbage) as network:
        pipe = await network.dial("model.test", 443, ssl_context=tls.client)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await pipe.receive_some(100)
        pipe.abort()

    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_tls_verifies_the_name(tls: TlsPair) -> None:
    """A certificate for another host ends the handshake and closes the connection."""

    async def handler(stream: trio.abc.Stream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(stream, tls.server, server_side=True).do_handshake()

    async with open_memory_network(handler) as network:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await network.dial("other.test", 443, ssl_context=tls.client)

        assert network.open == 0


async def test_tls_offers_http_1_1_and_names_the_server() -> None:
    """The handshake carries the server's name and no protocol but HTTP/1.1."""
    seen: list[str | None] = []
    own = make_tls()
    own.server.set_alpn_protocols(["h2", "http/1.1"])
    own.server.sni_callback = lambda connection, name, context: seen.append(name)

    async def handler(stream: trio.abc.Stream) -> None:
        secured = trio.SSLStream(stream, own.server, server_side=True)
        await secured.do_handshake()
        seen.append(secured.selected_alpn_protocol())

    async with open_memory_network(handler) as network:
        pipe = await network.dial("model.test", 443, ssl_context=own.client)
        await wait_all_tasks_blocked()
        pipe.abort()

    assert seen == ["model.test", "http/1.1"]


async def test_tls_to_a_plain_server_fails_clearly(tls: TlsPair) -> None:
    """A peer that speaks no TLS is an SSLError, and its connection is closed."""

    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with open_memory_network(plain) as network:
        with pytest.raises(ssl.SSLError):
            await network.dial("model.test", 443, ssl_context=tls.client)
        await wait_all_tasks_blocked()

        assert network.open == 0


async def test_dial_reports_one_refusal_bare() -> None:
    """One address that refuses is its own error, named, without a group around it."""
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1.*Connection refused") as caught:
        await dial("127.0.0.1", unused_port())

    assert caught.value.__cause__ is None


class TwoAddresses(trio.abc.HostnameResolver):
    """Resolves every name to two addresses of this machine."""

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        await trio.lowlevel.checkpoint()
        assert isinstance(port, int)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.1", "127.0.0.2")
        ]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError


async def test_dial_names_every_address_that_failed() -> None:
    """Several addresses that refuse are one error that names them all."""
    trio.socket.set_custom_hostname_resolver(TwoAddresses())

    with pytest.raises(OSError, match=r"127\.0\.0\.1.*refused; .*127\.0\.0\.2.*refused"):
        await dial("two.test", unused_port())


async def test_dial_connects_and_verifies_over_real_sockets(tls: TlsPair) -> None:
    """Plain and TLS pipes over loopback carry bytes; dialling is a checkpoint."""

    async def echo(stream: trio.abc.Stream) -> None:
        await stream.send_all(await stream.receive_some(100))

    for context, handler in ((None, echo), (tls.client, over_tls(echo, tls.server))):
        async with listening(handler) as port:
            with assert_checkpoints():
                pipe = await dial("127.0.0.1", port, ssl_context=context)
            await pipe.send_all(b"hello")

            assert isinstance(pipe, TlsPipe if context else SocketPipe)
            assert await pipe.receive_some(100) == b"hello"
            pipe.abort()


def test_dial_cancelled_at_every_position_leaves_no_descriptor(tls: TlsPair) -> None:
    """Resolving, connecting, shaking hands: a cancel comes out bare, the socket is closed (I4)."""
    raised: set[type[BaseException]] = set()

    async def wait(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)

    async def scenario(w: World) -> None:
        async with listening(over_tls(wait, tls.server)) as port:
            with w.scope("dial"):
                try:
                    pipe = await dial("127.0.0.1", port, ssl_context=tls.client)
                except BaseException as error:
                    raised.add(type(error))
                    raise
                pipe.abort()

    report = sweep_live(scenario, target="dial").check()
    print(f"sweep dial over TLS: {report.summary()}")

    assert report.positions >= DIAL_FLOOR
    assert raised == {trio.Cancelled}


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
