"""
A network in memory: the real HTTP stack, TLS included, on virtual time.

Trio's autojump clock jumps while a task waits for a socket, so code that is to be tested on
virtual time needs a network without sockets::

    async with open_memory_network(serve) as network:
        transport = Transport(dial=network.dial)

``serve`` is called with the server's half of each connection, an ordinary `trio.abc.Stream`.
"""

import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import trio

from greenroom.actors.wire.pipe import Pipe, start_tls
from greenroom.runtime import bare

__all__ = ["MemoryNetwork", "MemoryPipe", "MemoryStream", "open_memory_network"]

# Bytes under way in one direction: small against a body, so that back-pressure is met in tests.
_BUFFER: Final = 65536


class _Lane:
    """One direction of a connection: a bounded byte queue with one end to write, one to read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._writer_open = True
        self._reader_open = True
        self._reset = False  # the writer broke the connection
        self._changed = trio.lowlevel.ParkingLot()  # unparked by every change of the above

    async def put(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        left = memoryview(data)
        while True:
            self._check_writable()
            room = self._limit - len(self._buffer)
            if left and room:
                self._buffer += left[:room]
                left = left[room:]
                self._changed.unpark_all()
            if not left:
                return
            await self._changed.park()

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_writable()
        while len(self._buffer) >= self._limit:
            await self._changed.park()
            self._check_writable()

    async def get(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while (data := self.get_nowait(max_bytes)) is None:
            await self._changed.park()
        return data

    def get_nowait(self, max_bytes: int) -> bytes | None:
        if not self._reader_open:
            raise trio.ClosedResourceError("this end of the connection was closed here")
        if self._reset:
            raise trio.BrokenResourceError("the peer reset the connection")
        if not self._buffer:
            return None if self._writer_open else b""
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        self._changed.unpark_all()
        return data

    def close_writer(self, *, reset: bool = False) -> None:
        self._writer_open = False
        self._reset = self._reset or reset
        self._changed.unpark_all()

    def close_reader(self) -> None:
        self._reader_open = False
        self._buffer.clear()
        self._changed.unpark_all()

    def _check_writable(self) -> None:
        if not self._writer_open:
            raise trio.ClosedResourceError("this end of the connection was closed here")
        if not self._reader_open:
            raise trio.BrokenResourceError("the peer closed the connection")


class MemoryPipe:
    """The client's half of a connection: a `greenroom.actors.wire.pipe.Pipe`."""

    def __init__(self, outgoing: _Lane, incoming: _Lane, closed: Callable[[], None]) -> None:
        """Made by `MemoryNetwork.dial`."""
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = closed

    async def receive_some(self, max_bytes: int, /) -> bytes:
        """Wait for bytes; see ``Pipe.receive_some``."""
        return await self._incoming.get(max_bytes)

    async def send_all(self, data: bytes | memoryview, /) -> None:
        """Send all of *data*, waiting while the buffer is full; see ``Pipe.send_all``."""
        await self._outgoing.put(data)

    def receive_nowait(self, max_bytes: int, /) -> bytes | None:
        """Take what is there; see ``Pipe.receive_nowait``."""
        return self._incoming.get_nowait(max_bytes)

    def abort(self) -> None:
        """Close this half, which the server sees at once; see ``Pipe.abort``."""
        self._outgoing.close_writer()
        self._incoming.close_reader()
        self._closed()


class MemoryStream(trio.abc.Stream):
    """The server's half of a connection."""

    def __init__(self, outgoing: _Lane, incoming: _Lane, closed: Callable[[], None]) -> None:
        """Made by `MemoryNetwork.dial`."""
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = closed

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*, waiting while the buffer is full. Checkpoint: always."""
        await self._outgoing.put(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room in the buffer. Checkpoint: always."""
        await self._outgoing.wait_room()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes, or ``b""`` once the client is gone. Checkpoint: always."""
        return await self._incoming.get(max_bytes or _BUFFER)

    def reset(self) -> None:
        """Break the connection: the client loses what it has not read, and gets an error."""
        self._close(reset=True)

    async def aclose(self) -> None:
        """End both directions; the client can read what is under way. Checkpoint: always."""
        self._close(reset=False)
        await trio.lowlevel.checkpoint()

    def _close(self, *, reset: bool) -> None:
        self._outgoing.close_writer(reset=reset)
        self._incoming.close_reader()
        self._closed()


class MemoryNetwork:
    """Hosts that all answer by one handler; made by `open_memory_network`."""

    def __init__(
        self,
        handler: Callable[[trio.abc.Stream], Awaitable[object]],
        nursery: trio.Nursery,
        buffer: int,
    ) -> None:
        """Use `open_memory_network`, which ends the handlers too."""
        self._handler = handler
        self._nursery = nursery
        self._buffer = buffer
        self._open: set[MemoryStream] = set()  # added by dial; removed when either half closes
        self.accepted = 0
        """Connections made since the start; >= 0."""

    @property
    def open(self) -> int:
        """Connections that neither side has closed; >= 0. A leak on either side stays in it."""
        return len(self._open)

    async def dial(
        self,
        host: str,
        port: int,
        /,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Pipe:
        """
        Connect; a `greenroom.actors.wire.pipe.Dial`.

        With *ssl_context* the handler has to speak TLS
        (``trio.SSLStream(stream, context, server_side=True)``).

        Cancellation: no connection is left.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        to_server, to_client = _Lane(self._buffer), _Lane(self._buffer)

        def closed() -> None:
            self._open.discard(stream)

        stream = MemoryStream(to_client, to_server, closed)
        pipe = MemoryPipe(to_server, to_client, closed)
        self._open.add(stream)
        self.accepted += 1
        self._nursery.start_soon(self._serve, stream, name=f"memory server of {host}:{port}")
        if ssl_context is None:
            return pipe
        return await start_tls(pipe, ssl_context, server_hostname or host)

    async def _serve(self, stream: MemoryStream) -> None:
        # A client may leave at any time; that is no failure of the handler.
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._handler(stream)


@contextlib.asynccontextmanager
async def open_memory_network(
    handler: Callable[[trio.abc.Stream], Awaitable[object]], *, buffer: int = _BUFFER
) -> AsyncGenerator[MemoryNetwork]:
    """
    Open a network in memory, for ``async with``.

    Args:
        handler: Serves one connection. When it returns, the stream is closed; a
            `trio.BrokenResourceError` from it means that the client left and is dropped.
        buffer: Bytes under way in one direction of a connection, > 0; a sender waits for room.

    Raises:
        ValueError: *buffer* is out of its range.

    Checkpoint: on exit, where the handlers that run are cancelled. A failure of a handler
    cancels the block and comes out of it bare, like the block's own.
    """
    if buffer < 1:
        raise ValueError(f"buffer must be an int > 0 (bytes), not {buffer!r}")
    with bare():
        async with trio.open_nursery() as nursery:
            yield MemoryNetwork(handler, nursery, buffer)
            nursery.cancel_scope.cancel(reason="the network's block has ended")
