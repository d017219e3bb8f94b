"""
Pipes: a byte stream to a peer, whose end is a plain function.

Everything in `greenroom.actors.wire` talks to the four methods of `Pipe`. What sets it apart from
`trio.abc.Stream` is that `Pipe.abort` is synchronous: closing a socket is a system call that
neither blocks nor fails, so an owner that is being cancelled has nothing to shield, to wait for
or to bound. For TLS this means that the close alert is never sent: whether a message is whole is
known from its framing, not from the way the connection ended.

A pipe has one reader and one writer at a time. After an exception from any of its methods its
state is unknown; abort it.
"""

import socket
import ssl
from typing import Final, Protocol, cast

import trio

from greenroom.runtime import bare

__all__ = ["CHUNK", "Dial", "Pipe", "SocketPipe", "TlsPipe", "dial", "start_tls"]

#: Bytes taken from or handed to the layer below at a time.
CHUNK: Final = 65536


class Pipe(Protocol):
    """A connected byte stream that can be read without waiting and ended without waiting."""

    async def receive_some(self, max_bytes: int, /) -> bytes:
        """
        Wait for bytes from the peer.

        Args:
            max_bytes: The most to return, in bytes, > 0.

        Returns:
            At least one byte, or ``b""`` once the peer has ended its side.

        Raises:
            trio.BrokenResourceError: the peer broke the connection; see ``__cause__``.
            trio.ClosedResourceError: the pipe was aborted here, perhaps meanwhile.

        Cancellation: nothing was taken; the pipe stays usable.

        Checkpoint: always.
        """
        ...

    async def send_all(self, data: bytes | memoryview, /) -> None:
        """
        Hand all of *data* to the peer.

        Raises:
            trio.BrokenResourceError: the peer broke the connection or closed its receiving side.
            trio.ClosedResourceError: the pipe was aborted here, perhaps meanwhile.

        Cancellation: any part of *data* may have gone out; abort the pipe.

        Checkpoint: always.
        """
        ...

    def receive_nowait(self, max_bytes: int, /) -> bytes | None:
        """
        Take what is there already.

        Returns:
            Bytes, ``b""`` at the peer's end, or None if nothing is there yet.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: as `receive_some`.
        """
        ...

    def abort(self) -> None:
        """
        End both directions now, without a word to the peer beyond that.

        Idempotent; never blocks, never raises. A task that waits in this pipe is woken with
        `trio.ClosedResourceError`. Outside a Trio run it closes all the same.
        """
        ...


class Dial(Protocol):
    """How a transport opens a pipe; `dial` is the one for real sockets."""

    async def __call__(
        self,
        host: str,
        port: int,
        /,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Pipe:
        """Connect; see `dial`."""
        ...


class SocketPipe:
    """A `Pipe` over a connected stream socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock* and make it non-blocking."""
        sock.setblocking(False)
        self._socket = sock

    def __repr__(self) -> str:
        return f"<SocketPipe fd={self._socket.fileno()}>"

    async def receive_some(self, max_bytes: int, /) -> bytes:
        """Wait for bytes; see `Pipe.receive_some`."""
        # Wait first: who calls this has tried receive_nowait, so a read now would be in vain.
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self._socket)
            data = self.receive_nowait(max_bytes)
            if data is not None:
                return data

    async def send_all(self, data: bytes | memoryview, /) -> None:
        """Send all of *data*; see `Pipe.send_all`."""
        await trio.lowlevel.checkpoint()
        left = memoryview(data)
        while left:
            self._check_open()
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    def receive_nowait(self, max_bytes: int, /) -> bytes | None:
        """Take what is there; see `Pipe.receive_nowait`."""
        try:
            return self._socket.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            self._check_open()
            raise trio.BrokenResourceError(str(error)) from error

    def abort(self) -> None:
        """Close the socket; see `Pipe.abort`."""
        if self._socket.fileno() != -1:
            if trio.lowlevel.in_trio_run():
                trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _check_open(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this pipe was aborted")


class TlsPipe:
    """
    A `Pipe` that speaks TLS, as the client, over another pipe.

    Unlike `trio.SSLStream` it never sends or waits for a close alert. Its reading side is strict
    about the peer's: an end without one is an error, because what came may be cut short.

    Source: RFC 9112, section 9.8, for the strict end.
    """

    def __init__(self, inner: Pipe, ssl_context: ssl.SSLContext, server_hostname: str) -> None:
        """
        Wrap *inner*; nothing is sent before `handshake`.

        Args:
            inner: The pipe to the peer, owned from now on.
            ssl_context: A client context. It decides on verification; its ALPN list is set to
                ``http/1.1``, because nothing here speaks HTTP/2.
            server_hostname: The name to send (SNI) and to verify: a host name or an IP address.
        """
        ssl_context.set_alpn_protocols(["http/1.1"])
        self._inner = inner
        self._incoming = ssl.MemoryBIO()  # from the peer, not yet decrypted
        self._outgoing = ssl.MemoryBIO()  # for the peer, emptied by _flush
        self._tls = ssl_context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        self._ended = False  # the peer's end was read; set by _decrypt

    def __repr__(self) -> str:
        return f"<TlsPipe over {self._inner!r}>"

    async def handshake(self) -> None:
        """
        Agree on keys and verify the peer.

        Raises:
            ssl.SSLError: the peer speaks no TLS, or could not be verified.
            trio.BrokenResourceError, trio.ClosedResourceError: as `Pipe.receive_some`.

        Cancellation: the pipe is of no use any more; abort it.

        Checkpoint: always.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._feed(await self._inner.receive_some(CHUNK))
            else:
                await self._flush()
                return

    async def receive_some(self, max_bytes: int, /) -> bytes:
        """Wait for decrypted bytes; see `Pipe.receive_some`."""
        if self._ended or self._incoming.pending or self._tls.pending():
            await trio.lowlevel.checkpoint()  # there may be nothing to wait for below
        while (data := self._decrypt(max_bytes)) is None:
            await self._flush()
            self._feed(await self._inner.receive_some(CHUNK))
        return data  # noqa: ASYNC910 - nothing was pending, so it waited

    async def send_all(self, data: bytes | memoryview, /) -> None:
        """Encrypt and send all of *data*; see `Pipe.send_all`."""
        await trio.lowlevel.checkpoint()
        left = memoryview(data)
        while left:
            try:
                left = left[self._tls.write(left[:CHUNK]) :]
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(str(error)) from error
            await self._flush()

    def receive_nowait(self, max_bytes: int, /) -> bytes | None:
        """Take what can be decrypted by now; see `Pipe.receive_nowait`."""
        while (data := self._decrypt(max_bytes)) is None:
            arrived = self._inner.receive_nowait(CHUNK)
            if arrived is None:
                return None
            self._feed(arrived)
        return data

    def abort(self) -> None:
        """Abort the pipe below; see `Pipe.abort`."""
        self._inner.abort()

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """Return decrypted bytes, ``b""`` at the end, None if more of the peer's is needed."""
        try:
            data = self._tls.read(max_bytes)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError as error:
            raise trio.BrokenResourceError(
                "the peer closed without a TLS close alert, what it sent may be cut short"
            ) from error
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        self._ended = not data
        return data

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:  # noqa: ASYNC910 - its callers wait
        # Reading can make bytes to send too (a key update); they go out with the next wait or
        # write, which TLS allows, so that a read that has data never waits for the writer.
        if self._outgoing.pending:
            await self._inner.send_all(self._outgoing.read())


async def start_tls(pipe: Pipe, ssl_context: ssl.SSLContext, server_hostname: str) -> TlsPipe:
    """
    Wrap *pipe* in TLS and shake hands; on any exception *pipe* is aborted first.

    Raises:
        ssl.SSLError: the peer speaks no TLS, or could not be verified.
        trio.BrokenResourceError: the peer broke the connection.

    Cancellation: *pipe* is aborted.

    Checkpoint: always.
    """
    try:
        tls = TlsPipe(pipe, ssl_context, server_hostname)
        await tls.handshake()
    except BaseException:
        pipe.abort()
        raise
    return tls


async def dial(
    host: str,
    port: int,
    /,
    *,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Pipe:
    """
    Connect to *host* at *port* by TCP, trying its addresses as in RFC 8305.

    Args:
        host: A name or an IP address.
        port: TCP port, 1 to 65535.
        ssl_context: Wrap the connection in TLS by this context; None for plain TCP.
        server_hostname: The name to verify, if it is not *host*.

    Raises:
        OSError: nothing could be connected; one failed address comes as its own error, several
            as one error that names them all. An `ssl.SSLError` if TLS failed.
        trio.BrokenResourceError: the peer broke the connection during the TLS handshake.

    Cancellation: whatever was open is closed, synchronously; Cancelled comes out bare.

    Checkpoint: always.
    """
    try:
        with bare():
            stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise _plain(error) from None
    pipe = _adopt(stream)
    if ssl_context is None:
        return pipe
    return await start_tls(pipe, ssl_context, server_hostname or host)


@trio.lowlevel.enable_ki_protection
def _adopt(stream: trio.SocketStream) -> SocketPipe:
    # Protected, since between the two calls nobody owns the descriptor.
    return SocketPipe(socket.socket(fileno=stream.socket.detach()))


def _plain(error: OSError) -> OSError:
    """Return *error* with the reasons that Trio keeps in its cause in its own text."""
    cause = error.__cause__
    if not isinstance(cause, ExceptionGroup):
        return error
    reasons = cast("ExceptionGroup[Exception]", cause).exceptions
    if len(reasons) == 1 and isinstance(reasons[0], OSError):
        return reasons[0]
    return OSError("; ".join(dict.fromkeys(map(str, reasons))))
