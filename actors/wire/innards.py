"""
The private names of httpcore, httpcore2, httpx and httpx2, all of them, and nothing else.

They are the same in both generations (read in httpcore 1.0.9 and httpcore2 2.16.2):

- ``httpx.AsyncClient._transport``, ``._mounts``; ``httpx.AsyncHTTPTransport._pool``;
- ``AsyncConnectionPool._connections``, ``._requests``, ``._network_backend``, ``._http2``,
  ``._assign_requests_to_connections()``;
- ``AsyncResponseStream._httpcore_stream`` -> ``PoolByteStream._pool``, ``._pool_request``,
  ``._closed``, ``._stream`` -> ``HTTP11ConnectionByteStream._connection``, ``._request``,
  ``._closed``; ``AsyncHTTP11Connection._network_stream``, ``._receive_response_body(request)``.

Each is looked for before it is used. Where one is missing, `pool_of` and `exchange_of` return None,
and the guard does with less; see `greenroom.actors.wire.guard`.

A pool's slot is an entry in ``_connections``, and an entry in ``_requests`` stands for each request
from its start until the body was closed. Both are lists that only plain code changes, between two
checkpoints, so that plain code may do so here as well.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from greenroom.actors.wire.network import Backend, Stream, abort_stream

__all__ = ["Exchange", "Pool", "exchange_of", "pool_of", "replace_transports"]

_log = logging.getLogger("greenroom.wire")

_POOL: Final = (
    "_connections",
    "_requests",
    "_network_backend",
    "_assign_requests_to_connections",
)
_CONNECTION: Final = ("_network_stream", "_receive_response_body", "is_idle")


def replace_transports(client: Any, replacement: Callable[[Any], Any]) -> bool:
    """Put what *replacement* makes of each transport of *client* in its place; tell if it could."""
    if "_transport" not in vars(client):
        return False
    client._transport = replacement(client._transport)
    mounts: dict[Any, Any] = getattr(client, "_mounts", {})
    for pattern, transport in mounts.items():
        if transport is not None:
            mounts[pattern] = replacement(transport)
    return True


class Pool:
    """A connection pool of httpcore or httpcore2."""

    def __init__(self, pool: Any) -> None:
        """Wrap *pool*; use `pool_of`, which looks at it first."""
        self._pool = pool

    @property
    def speaks_http2(self) -> bool:
        """Whether its connections may speak HTTP/2."""
        return bool(getattr(self._pool, "_http2", False))

    def harden(self) -> None:
        """Have every connection closed without waiting, also those that are open. Idempotent."""
        if not isinstance(self._pool._network_backend, Backend):
            self._pool._network_backend = Backend(self._pool._network_backend)
        for connection in self._pool._connections:
            innermost = _innermost(connection)
            if innermost is not None and not isinstance(innermost._network_stream, Stream):
                innermost._network_stream = Stream(innermost._network_stream)

    def reap(self) -> int:
        """
        Close the connections that no request holds and no request could get, and free their slots.

        Such a connection is left when a cancel comes between the end of connecting and the sending:
        it is open, not idle, and nobody's. Requests that wait are given the slots.

        Returns:
            How many there were. Never raises.
        """
        reaped = 0
        try:
            held = [request.connection for request in self._pool._requests]
            for connection in list(self._pool._connections):
                if connection in held or connection.is_idle() or connection.is_closed():
                    continue
                self._pool._connections.remove(connection)
                _abort(connection)
                reaped += 1
            self.assign()
        except Exception as error:
            _log.warning(
                "a pool of %s could not be looked through", _name(self._pool), exc_info=error
            )
        return reaped

    def let_go(self, request: Any) -> None:
        """Free the slot of *request*, and close its connection."""
        requests, connections = self._pool._requests, self._pool._connections
        connection = request.connection
        if request in requests:
            requests.remove(request)
        if connection in connections:
            connections.remove(connection)
        if connection is not None:
            _abort(connection)
        self.assign()

    def assign(self) -> None:
        """Give free slots to requests that wait, and close the connections that this ends."""
        for connection in self._pool._assign_requests_to_connections():
            _abort(connection)


class Exchange:
    """A response of httpcore or httpcore2 whose body is being received, and its connection."""

    def __init__(self, pool: Pool, pool_stream: Any, stream: Any) -> None:
        """Take over the response; use `exchange_of`, which looks at it first."""
        self._pool = pool
        self._pool_stream = pool_stream
        self._stream = stream
        # The one generator. All around it are more, which hand on and are not closed by anybody.
        self._chunks: AsyncIterator[bytes] = stream._connection._receive_response_body(
            request=stream._request
        )

    @property
    def is_kept(self) -> bool:
        """After `release`: whether the connection is ready for another request."""
        return bool(self._stream._connection.is_idle())

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the one iterator over the body."""
        return self._chunks

    async def release(self) -> None:
        """Give the connection back, once the body has come to its end. Checkpoint: always."""
        await self._pool_stream.aclose()

    def abort(self) -> bool:
        """
        Close the connection and free its slot; return whether nothing is left to be done.

        Checkpoint: never. Never raises.
        """
        try:
            abort_stream(self._stream._connection._network_stream)
            # whoever closes these later finds them closed
            self._stream._closed = self._pool_stream._closed = True
            self._pool.let_go(self._pool_stream._pool_request)
            _close_generator(self._chunks)
        except Exception as error:
            _log.warning("a response of %s could not be ended at once", _name(self), exc_info=error)
            self._stream._closed = self._pool_stream._closed = False
            return False
        return True


def pool_of(transport: Any) -> Pool | None:
    """Return the pool of *transport*, if it has one that is as expected."""
    pool = getattr(transport, "_pool", None)
    return Pool(pool) if _is_pool(pool) else None


def exchange_of(response: Any) -> Exchange | None:
    """Return what stands behind *response* of httpx or httpx2, if it is as expected."""
    pool_stream = getattr(response.stream, "_httpcore_stream", None)
    pool = getattr(pool_stream, "_pool", None)
    request = getattr(pool_stream, "_pool_request", None)
    stream = getattr(pool_stream, "_stream", None)
    connection = getattr(stream, "_connection", None)
    if (
        _is_pool(pool)
        and hasattr(request, "connection")
        and hasattr(stream, "_request")
        and all(getattr(one, "_closed", None) is False for one in (pool_stream, stream))
        and all(hasattr(connection, name) for name in _CONNECTION)
    ):
        return Exchange(Pool(pool), pool_stream, stream)
    return None


def _is_pool(pool: Any) -> bool:
    return all(hasattr(pool, name) for name in _POOL)


def _innermost(connection: Any) -> Any:
    """Return the one of the nested connections that has the network stream; None before that."""
    while connection is not None and not hasattr(connection, "_network_stream"):
        connection = getattr(connection, "_connection", None)
    return connection


def _abort(connection: Any) -> None:
    innermost = _innermost(connection)
    if innermost is not None:
        abort_stream(innermost._network_stream)


def _close_generator(generator: Any) -> None:
    """Close an async generator that awaits nothing when it is closed."""
    closing = generator.aclose()
    # RuntimeError: it runs, in another task, and ends there since its connection is closed.
    with contextlib.suppress(StopIteration, RuntimeError):
        closing.send(None)
        closing.close()


def _name(thing: Any) -> str:
    return f"{type(thing).__module__.partition('.')[0]}.{type(thing).__name__}"
