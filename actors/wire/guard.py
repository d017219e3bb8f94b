"""
The guard: a safe end for the streams of HTTP clients that others made.

`Transport` needs no guard. A client that a user brings, for its proxy, its hooks or its age, stands
on httpcore or httpcore2, which lose connections when they are cancelled at the wrong moment. The
guard puts a transport of its own around that of the client, and does four things there:

- *harden*: the network backend closes without waiting, and closes what fails at TLS; the content of
  a request is no async generator; HTTP/2 is refused;
- *open*: when a request fails or is cancelled, the pool is looked through for connections that are
  nobody's;
- *read*: each response has a `GuardedBody`, which reads the innermost generator and no other;
- *close*: the socket is closed at once, by a plain function, and the slot is free with it.

The client stays its user's: it can be used for other things, which then are guarded as well, and it
is closed by whoever made it.

What this needs of private names is in `greenroom.actors.wire.innards`. Where they are not there,
because the client has a transport of another kind, a response is ended by closing its socket if it
shows one and then its own ``aclose``, in the background, given 1 s; generators inside the library
are then left to the garbage collector.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import attrs
import httpx2
import trio

from greenroom.actors.wire.body import BODY_EXTENSION, Body, BodyState, Closing
from greenroom.actors.wire.guarded import GuardedBody, guarded_stream, in_library, library_of
from greenroom.actors.wire.innards import pool_of, replace_transports
from greenroom.actors.wire.transport import Transport

__all__ = ["Guard", "GuardStatistics"]

ResultT = TypeVar("ResultT")

_NO_HTTP2 = (
    "HTTP/2 is refused for streams: a cancelled HTTP/2 stream is not ended on the server, and a "
    "cancel at the wrong moment blocks its connection for good; make the client without http2=True"
)


@attrs.frozen
class GuardStatistics:
    """What a guard watches over and did, at one moment."""

    active: int
    """Requests under way, and responses that are open; >= 0."""
    parked: int
    """Responses whose end is read in the background; >= 0."""
    overdue: int
    """Responses whose closing was not over within 1 s, and is left to itself; >= 0."""
    reused: int
    """Responses after which the connection was kept, since the start; >= 0."""
    closed: int
    """Responses that were complete and whose connection could not be kept; >= 0."""
    aborted: int
    """Responses whose connection was closed before they were over; >= 0."""
    reaped: int
    """Connections that were nobody's, found in the client's pools by any of its guards; >= 0."""
    longest_close: float
    """The longest that a closing took, in seconds; >= 0."""


class Guard:
    """
    The safe end of requests that go through one client, for one user of it.

    Every request is to be made by `open`, and the body of every response taken from `body_of`.
    """

    def __init__(self, client: Any) -> None:
        """
        Harden *client*, in place; doing it twice is the same as once.

        Args:
            client: An `httpx2.AsyncClient`, or one of legacy ``httpx``.

        Raises:
            TypeError: it is neither.
            httpx2.UnsupportedProtocol: it may speak HTTP/2.
        """
        library = library_of(client)
        if library is None:
            raise TypeError(
                f"http_client must be an httpx2.AsyncClient or an httpx.AsyncClient, not {client!r}"
            )
        self._library = library
        self._transports: list[GuardedTransport] = []
        self._scopes: set[trio.CancelScope] = set()  # of requests under way; open adds and removes
        self._bodies: WeakSet[GuardedBody | Body] = WeakSet()  # body_of adds, _note removes
        self._closings: list[int] = [0, 0, 0]  # reused, closed, aborted; counted by _note
        self._longest = 0.0  # seconds; written by _note
        self._closed = False
        replace_transports(client, self._guarded)

    def __repr__(self) -> str:
        return f"<Guard of {self._library.__name__}: {self.statistics()}>"

    def _guarded(self, transport: Any) -> Any:
        if isinstance(transport, Transport):
            return transport
        if not isinstance(transport, GuardedTransport):
            transport = GuardedTransport(transport, self._library)
        self._transports.append(transport)
        return transport

    async def open(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """
        Await *call*, which makes one request.

        Raises:
            httpx2.TransportError: as *call*, whatever the client's library is.
            httpx2.ReadError: the guard was closed meanwhile.
            RuntimeError: the guard was closed before.

        Cancellation: as that of *call*; connections that this left to nobody are closed.

        Checkpoint: as *call*.
        """
        if self._closed:
            raise RuntimeError("this guard is closed; make a new one")
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await call()
            except Exception as error:
                same = in_library(error, httpx2)
                if same is error:
                    raise
                raise same from error
            finally:
                self._scopes.discard(scope)
        raise httpx2.ReadError("the request was broken off here, since its guard was closed")

    def body_of(self, response: Any) -> GuardedBody | Body:
        """
        Return the body of *response*, which nothing was read of, to be closed by the caller.

        Raises:
            httpx2.ReadError: the guard was closed meanwhile.
        """
        body: GuardedBody | Body | None = response.extensions.get(BODY_EXTENSION)
        if body is None:
            body = guarded_stream(response, self._library)
        if isinstance(body, GuardedBody):
            body.on_closed = self._note
        if self._closed:
            body.close()
            raise httpx2.ReadError("the request was broken off here, since its guard was closed")
        self._bodies.add(body)
        return body

    def statistics(self) -> GuardStatistics:
        """Return the figures of this moment."""
        states = [body.state for body in self._bodies]
        closings = [body.closing for body in self._bodies if isinstance(body, GuardedBody)]
        return GuardStatistics(
            active=len(self._scopes) + states.count(BodyState.OPEN),
            parked=states.count(BodyState.PARKED),
            overdue=sum(closing is not None and closing.is_overdue for closing in closings),
            reused=self._closings[0],
            closed=self._closings[1],
            aborted=self._closings[2],
            reaped=sum(transport.reaped for transport in self._transports),
            longest_close=self._longest,
        )

    def close(self) -> None:
        """
        Break off all requests and responses of this guard. Idempotent.

        The connections of responses are closed at once, those of requests that have no response
        yet as soon as their tasks run. The client is not closed.

        Checkpoint: never.
        """
        self._closed = True
        for scope in tuple(self._scopes):
            scope.cancel(reason="the guard was closed")
        for body in tuple(self._bodies):
            if isinstance(body, GuardedBody):
                body.abort()
            else:
                body.close()

    def _note(self, body: GuardedBody, closing: Closing) -> None:
        self._bodies.discard(body)
        self._longest = max(self._longest, closing.seconds)
        order = (BodyState.REUSED, BodyState.CLOSED, BodyState.ABORTED)
        self._closings[order.index(closing.state)] += 1


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Stands around the transport of a client, of either library."""

    def __init__(self, inner: Any, library: ModuleType) -> None:
        """Stand around *inner*, and harden it."""
        self.reaped = 0
        self._inner = inner
        self._library = library
        self._pool = pool_of(inner)
        if self._pool is not None:
            if self._pool.speaks_http2:
                raise httpx2.UnsupportedProtocol(_NO_HTTP2)
            self._pool.harden()

    def __repr__(self) -> str:
        return f"<guarded {self._inner!r}>"

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)  # noqa: ASYNC102 - the client's own way to end

    async def aclose(self) -> None:
        """Close the client's own transport."""
        await self._inner.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request* as the client's own transport does, and guard its response."""
        _steady(request, self._library)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            if self._pool is not None:
                self.reaped += self._pool.reap()
            raise
        if BODY_EXTENSION not in response.extensions:
            body = guarded_stream(response, self._library)
            if response.extensions.get("http_version") == b"HTTP/2":
                body.close()
                raise httpx2.UnsupportedProtocol(_NO_HTTP2)
            response.extensions[BODY_EXTENSION] = response.stream = body
        return response


class _Pieces:
    """Gives out one piece of bytes."""

    def __init__(self, content: bytes) -> None:
        self._left: bytes | None = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        content, self._left = self._left, None
        if content is None:
            raise StopAsyncIteration
        return content  # noqa: ASYNC910 - it waits for nothing, as those of the libraries


class _Content:
    """The content of a request, without an async generator that a cancel could leave behind."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._content)


def _steady(request: Any, library: ModuleType) -> None:
    """Give *request* its content as `_Content`, if it is bytes and the library's own stream is not."""
    if library is httpx2:  # httpcore2 closes the generators that it iterates
        return
    try:
        content: bytes = request.content
    except library.RequestNotRead:
        return  # its user's own
    kind = type("_Content", (_Content, library.AsyncByteStream), {})
    request.stream = kind(content)
