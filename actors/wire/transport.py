"""
An httpx2 transport for Trio whose every request can be cancelled anywhere.

``httpx2.AsyncClient(transport=Transport())`` is all it takes to use it. It speaks HTTP/1.1, plain
and over TLS, keeps connections alive, and does what an httpx2 user expects of timeouts and
errors. What it adds is a guarantee: from the moment a request has its slot, whatever happens
(a cancel, a timeout, an error, a body that is dropped half read) the connection is closed and the
slot is free again before any other task runs, because both are done by plain functions.

`Transport.handle_async_request` owns the lease of a connection until the response's head is read;
from then on the response's `Body` owns it.
"""

import contextlib
import functools
import math
import ssl
from collections.abc import AsyncGenerator
from typing import Final

import h11
import httpx2
import trio

from greenroom.actors.wire.body import BODY_EXTENSION, Body, EndDecoder, decoder_for
from greenroom.actors.wire.pipe import Dial
from greenroom.actors.wire.pipe import dial as dial_tcp
from greenroom.actors.wire.pool import Origin, Pool, PoolLease, TransportStatistics, within

__all__ = ["Transport"]

# Bytes of a response's head; servers behind a few proxies send up to some 20 kB.
_HEAD_LIMIT: Final = 65536

# 1xx responses before the final one; a server that sends more is not going to answer.
_INFORMATIONAL_LIMIT: Final = 32


class Transport(httpx2.AsyncBaseTransport):
    """
    HTTP/1.1 over Trio, for ``httpx2.AsyncClient(transport=...)``.

    Each response has its `Body` in ``response.extensions["greenroom.body"]``: reading and closing
    that is the fast path, and the one without async generators. Responses read through httpx2's
    own methods work the same.

    A request on a kept connection that turns out to be dead before a byte of the response came
    is sent once more, on a new connection, if its content is bytes. The server may then see a
    request twice that it read and gave no sign of; for requests that must not be repeated, use
    ``max_keepalive=0``.

    Not done here: HTTP/2, proxies, upgrades (WebSocket), and decoding: ``identity`` is asked for
    in place of httpx2's default ``accept-encoding``, and a response that is encoded although
    nobody asked is refused. A request's own ``accept-encoding`` is left alone; `Body` then gives
    the encoded bytes, and httpx2's methods decode them.

    A transport can be shared by any number of tasks of one Trio run.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        max_keepalive: int = 20,
        keepalive_expiry: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial = dial_tcp,
        http2: bool = False,
        proxy: object = None,
    ) -> None:
        """
        Make a transport; nothing is opened before the first request.

        Args:
            max_connections: Requests at once, and connections at once; > 0. Further requests
                wait, first come first served.
            max_keepalive: Idle connections to keep, >= 0.
            keepalive_expiry: How long an idle connection may be used again, in seconds, > 0,
                ``math.inf`` for ever. The default is under the usual idle limits of servers.
            ssl_context: For https; default `httpx2.create_ssl_context`. Its ALPN list is set to
                ``http/1.1``.
            dial: Opens connections.
            http2: Refused; here to say so.
            proxy: Refused; here to say so.

        Raises:
            ValueError: a number is out of its range.
            httpx2.UnsupportedProtocol: *http2* or *proxy* was asked for.
        """
        if http2:
            raise httpx2.UnsupportedProtocol(
                "this transport speaks HTTP/1.1 only, because a cancelled HTTP/2 stream can't be "
                "ended without waiting; leave http2 out, or use httpx2.AsyncHTTPTransport"
            )
        if proxy is not None:
            raise httpx2.UnsupportedProtocol(
                f"this transport does not use proxies (proxy={proxy!r}); "
                f"use httpx2.AsyncHTTPTransport(proxy=...)"
            )
        self._pool = Pool(
            max_connections=max_connections, max_keepalive=max_keepalive, expiry=keepalive_expiry
        )
        self._ssl_context = ssl_context
        self._dial = dial

    def __repr__(self) -> str:
        now = self.statistics()
        return f"<Transport active={now.active} idle={now.idle} limit={now.limit}>"

    def statistics(self) -> TransportStatistics:
        """Return the figures of this moment."""
        return self._pool.statistics()

    def close(self) -> None:
        """
        Close every connection, at once. Idempotent.

        Requests that run end with an `httpx2.NetworkError`, further ones with a RuntimeError.

        Checkpoint: never.
        """
        self._pool.close()

    async def aclose(self) -> None:  # noqa: ASYNC910 - ends, and waits for nothing
        """As `close`, for httpx2. Checkpoint: never."""
        self.close()

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """
        Keep the read deadlines of all requests in one task, until cancelled.

        Optional: without it each read that waits has a cancel scope of its own, which costs more
        and does the same. Start it in the nursery that outlives the requests:
        ``await nursery.start(transport.watch)``. It sleeps to the earliest deadline there is,
        for ever if there is none.

        Raises:
            RuntimeError: another task does this already.

        Cancellation: a read that waits at that moment waits on without its deadline, so end the
        requests first.

        Checkpoint: always.
        """
        if self._pool.alarm is not None:
            raise RuntimeError("watch() runs already; start it once for each transport")
        task_status.started()
        await self._pool.watch()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """
        Send *request* and return its response once the head is there.

        Args:
            request: Its ``extensions["timeout"]`` is honoured: ``connect`` (TCP and TLS
                together), ``read`` and ``write`` (a time without any progress) and ``pool``, in
                seconds, None for no limit.

        Returns:
            The response; its stream is a `Body`, which must be read to its end or closed.

        Raises:
            httpx2.PoolTimeout, httpx2.ConnectTimeout, httpx2.WriteTimeout, httpx2.ReadTimeout:
                the timeout of that name passed.
            httpx2.ConnectError, httpx2.WriteError, httpx2.ReadError: the connection could not be
                made or broke; see ``__cause__``.
            httpx2.RemoteProtocolError: the server sent no valid response, or none at all.
            httpx2.LocalProtocolError: the request is not valid HTTP.
            httpx2.DecodingError: the body is encoded although nobody asked for that.
            httpx2.UnsupportedProtocol: the request needs what this transport does not do.
            RuntimeError: the transport is closed.

        Cancellation: the connection is closed and the slot free before anything else runs.

        Checkpoint: always on return, perhaps on raise.
        """
        origin = _origin(request)
        seconds = {
            name: math.inf if given is None else given
            for name, given in request.extensions.get("timeout", {}).items()
        }
        pool = self._pool
        waiting = f"waiting for one of {pool.size} connections"
        with within(seconds.get("pool", math.inf), httpx2.PoolTimeout, waiting):
            await pool.slots.acquire()
        lease = PoolLease(
            pool,
            origin,
            read=seconds.get("read", math.inf),
            write=seconds.get("write", math.inf),
        )
        try:
            if pool.closed:
                raise RuntimeError("this transport is closed; make a new one")
            if pool.check_out(lease):
                try:
                    return await self._exchange(lease, request)
                except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                    if lease.heard or lease.ended or _content(request) is None:
                        raise
                lease.drop_pipe()
            await self._connect(lease, seconds.get("connect", math.inf))
            return await self._exchange(lease, request)
        except BaseException:
            lease.close(aborted=True)
            raise

    async def _connect(self, lease: PoolLease, seconds: float) -> None:
        """Give *lease* a new pipe."""
        origin = lease.origin
        self._pool.make_room()
        with within(seconds, httpx2.ConnectTimeout, f"connecting to {origin}"):
            try:
                pipe = await self._dial(
                    origin.host,
                    origin.port,
                    ssl_context=self._tls_context() if origin.scheme == "https" else None,
                )
            except (OSError, trio.BrokenResourceError) as error:
                raise httpx2.ConnectError(f"can't connect to {origin}: {error}") from error
        self._pool.attach_new(lease, pipe)

    async def _exchange(self, lease: PoolLease, request: httpx2.Request) -> httpx2.Response:
        """Send *request* on the pipe of *lease* and read the head of its response."""
        headers, encodings_asked = _headers(request)
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)
        failed: httpx2.WriteError | None = None
        try:
            await _send(lease, protocol, request, headers)
        except httpx2.WriteError as error:
            failed = error  # a server may answer and close before it has read all
        try:
            head = await _receive_head(lease, protocol)
        except httpx2.TransportError:
            if failed is not None:
                raise failed from failed.__cause__
            raise
        decoder = decoder_for(request.method, head.status_code, head.headers)
        encoding = dict(head.headers).get(b"content-encoding", b"identity").lower()
        if encoding != b"identity" and not encodings_asked and not decoder.finished:
            raise httpx2.DecodingError(
                f"{lease.origin} encoded its response ({encoding.decode('ascii', 'replace')}), "
                f"though 'identity' was asked for; set accept-encoding on the request to take it"
            )
        lease.reusable = (
            failed is None
            and protocol.our_state is h11.DONE
            and not isinstance(decoder, EndDecoder)
        )
        body = Body(lease, decoder, decoder.decode(protocol.trailing_data[0]))
        return httpx2.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=body,
            extensions={
                "http_version": b"HTTP/" + head.http_version,
                "reason_phrase": head.reason,
                BODY_EXTENSION: body,
            },
        )

    def _tls_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = httpx2.create_ssl_context()
        return self._ssl_context


def _origin(request: httpx2.Request) -> Origin:
    """Return where *request* goes, or refuse it."""
    url = request.url
    if url.scheme not in ("http", "https"):
        raise httpx2.UnsupportedProtocol(
            f"this transport sends to http:// and https:// only, not to {str(url)!r}"
        )
    if request.method == "CONNECT":
        raise httpx2.UnsupportedProtocol(
            "this transport makes no tunnels (CONNECT); "
            "for a proxy use httpx2.AsyncHTTPTransport(proxy=...)"
        )
    if "upgrade" in request.headers:
        raise httpx2.UnsupportedProtocol(
            f"this transport can't upgrade a connection to {request.headers['upgrade']!r}; "
            f"use httpx2.AsyncHTTPTransport, or a WebSocket client"
        )
    port = url.port or (443 if url.scheme == "https" else 80)
    return Origin(url.scheme, url.raw_host.decode("ascii"), port)


@functools.cache
def _default_encodings() -> str:
    """Return the accept-encoding that httpx2 sends when its caller said nothing."""
    with httpx2.Client(transport=httpx2.BaseTransport(), trust_env=False) as client:
        return client.headers["accept-encoding"]


def _headers(request: httpx2.Request) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the headers to send, and whether the caller asked for an encoding."""
    asked = request.headers.get("accept-encoding", _default_encodings())
    if asked != _default_encodings():
        return request.headers.raw, asked != "identity"
    headers = [field for field in request.headers.raw if field[0].lower() != b"accept-encoding"]
    return [*headers, (b"Accept-Encoding", b"identity")], False


def _content(request: httpx2.Request) -> bytes | None:
    """Return the content of *request* if it is bytes, so that it can be sent twice."""
    try:
        return request.content
    except httpx2.RequestNotRead:
        return None


async def _send(
    lease: PoolLease,
    protocol: h11.Connection,
    request: httpx2.Request,
    headers: list[tuple[bytes, bytes]],
) -> None:
    """Send the whole of *request*."""
    content = _content(request)
    try:
        head = protocol.send(
            h11.Request(method=request.method, target=request.url.raw_path, headers=headers)
        )
        if content is not None:
            parts = (head, protocol.send(h11.Data(content)), protocol.send(h11.EndOfMessage()))
            await lease.send(b"".join(part or b"" for part in parts))
            return
        await lease.send(head or b"")
        async with contextlib.AsyncExitStack() as stack:
            assert isinstance(request.stream, httpx2.AsyncByteStream)
            stream = aiter(request.stream)
            if isinstance(stream, AsyncGenerator):
                stack.push_async_callback(stream.aclose)
            try:
                async for piece in stream:
                    await lease.send(protocol.send(h11.Data(piece)) or b"")
            except httpx2.WriteError:
                raise  # a response may be there
            except BaseException:
                lease.close(aborted=True)  # before the generator, whose cleanup may take its time
                raise
        await lease.send(protocol.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError as error:
        raise httpx2.LocalProtocolError(str(error)) from error


async def _receive_head(lease: PoolLease, protocol: h11.Connection) -> h11.Response:
    """Read up to the end of the final response's head."""
    informational = 0
    while True:  # noqa: ASYNC913 - its first turn waits, the others are bounded
        try:
            event = protocol.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(
                f"{lease.origin} sent no valid HTTP/1.1 response: {error}"
            ) from error
        if event is h11.NEED_DATA:
            data = await lease.receive()
            if not data:
                raise httpx2.RemoteProtocolError(
                    f"{lease.origin} closed the connection "
                    + ("in the middle of a response head" if lease.heard else "without a response")
                )
            lease.heard = True
            protocol.receive_data(data)
        elif isinstance(event, h11.Response):
            return event  # noqa: ASYNC910 - nothing can be there before the first wait
        else:
            informational += 1
            if informational > _INFORMATIONAL_LIMIT:
                raise httpx2.RemoteProtocolError(
                    f"{lease.origin} sent {informational} informational responses and no final one"
                )
