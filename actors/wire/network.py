"""
Network streams of httpcore and httpcore2 that are closed without waiting.

The two libraries close a connection under a shield that has no deadline, so whatever their network
stream does in ``aclose`` holds up the task for as long as it likes. And a stream whose TLS handshake
is cancelled is dropped unclosed. Both are mended by standing in for the network backend of a pool,
whose interface is public (``AsyncNetworkBackend``, ``AsyncNetworkStream``): a close is here that of
the socket, which is a system call; where there is no socket to be had it is an errand.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from greenroom.actors.wire.errands import Errand

__all__ = ["Backend", "Stream", "abort_stream"]


def abort_stream(stream: Any) -> None:
    """
    Close a network stream now, by its socket if it shows one, else by an errand.

    Idempotent; never raises. A task that waits in it is woken with an error.

    Checkpoint: never.
    """
    if not _close_socket(stream):
        with contextlib.suppress(RuntimeError):  # no run, so nobody to do it
            Errand(stream.aclose, name=f"close of {type(stream).__name__}")


def _close_socket(stream: Any) -> bool:
    """Close the socket below *stream*, and tell whether there was one."""
    try:
        sock: Any = stream.get_extra_info("socket")
        if sock is None:
            return False
        if isinstance(sock, socket.socket) and sock.fileno() != -1 and trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(sock)  # Trio's own sockets do that themselves
        sock.close()
    except Exception:
        return False
    return True


class Stream:
    """A network stream whose close does not wait, and which closes when TLS fails."""

    def __init__(self, inner: Any) -> None:
        """Stand in for *inner*."""
        self._inner = inner
        self._aclose: Callable[[], Awaitable[object]] = inner.aclose
        with contextlib.suppress(AttributeError):
            inner.aclose = self.aclose  # for a TLS handshake that fails
        # No wrapper around each of these: reads are the hot path.
        self.read = inner.read
        self.write = inner.write
        self.get_extra_info = inner.get_extra_info

    async def aclose(self) -> None:
        """Close, see `abort_stream`, and wait 1 s at most. Checkpoint: always, shielded."""
        if not _close_socket(self._inner):
            await Errand(self._aclose, name=f"close of {type(self._inner).__name__}").wait()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def start_tls(self, *args: Any, **kwargs: Any) -> "Stream":
        """
        Shake hands; on any exception the connection is closed.

        Cancellation: the connection is closed, before anything else runs.

        Checkpoint: always.
        """
        try:
            return Stream(await self._inner.start_tls(*args, **kwargs))
        except BaseException:
            abort_stream(self)
            raise


class Backend:
    """A network backend whose streams are `Stream`."""

    def __init__(self, inner: Any) -> None:
        """Stand in for *inner*."""
        self._inner = inner

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> Stream:
        """Connect by TCP. Checkpoint: as the backend."""
        return Stream(await self._inner.connect_tcp(*args, **kwargs))

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> Stream:
        """Connect to a Unix socket. Checkpoint: as the backend."""
        return Stream(await self._inner.connect_unix_socket(*args, **kwargs))

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts to connect, for *seconds*. Checkpoint: always."""
        await self._inner.sleep(seconds)
