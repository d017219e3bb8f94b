"""
Trio's sockets over the network in memory, so that HTTP clients of others run in virtual time.

Nothing of httpcore, httpx or the SDK is replaced: their own network backends open these sockets by
`trio.open_tcp_stream`, and Trio's own streams and TLS stand on them. As with Trio's real sockets, an
operation that need not wait lets others run without a cancel coming out of it, and one that waits is
cancelled: which moments a cancel can come at is the same.
"""

import errno
import socket as stdlib
from collections.abc import Awaitable
from typing import Any

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from greenroom.actors.testing import MemoryNetwork
from greenroom.actors.wire import Pipe
from greenroom.runtime import fault_point
from greenroom.runtime.testing import InjectedError


class Faults:
    """Failures of the network, which come only while `are_on`."""

    def __init__(self) -> None:
        self.are_on = False

    def pass_by(self, operation: str, number: int) -> None:
        """
        Be a fault point.

        Raises:
            OSError: with the error *number*, if the plan says so.
        """
        if self.are_on:
            try:
                fault_point(f"network.{operation}")
            except InjectedError as error:
                raise OSError(number, str(error)) from None


class MemorySocket(trio.socket.SocketType):
    """A stream socket whose connections lead to the handler of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, faults: Faults) -> None:
        super().__init__()
        self._network = network
        self._faults = faults
        self._pipe: Pipe | None = None
        self._is_closed = False

    @property
    def family(self) -> stdlib.AddressFamily:
        return stdlib.AF_INET

    @property
    def type(self) -> stdlib.SocketKind:
        return stdlib.SOCK_STREAM

    @property
    def proto(self) -> int:
        return 0

    @property
    def did_shutdown_SHUT_WR(self) -> bool:
        return False

    def fileno(self) -> int:
        return -1 if self._is_closed else 1000

    def getsockname(self) -> Any:
        return ("127.0.0.1", 1)

    def getpeername(self) -> Any:
        return ("127.0.0.1", 443)

    def setsockopt(self, *_: Any, **__: Any) -> None:
        pass

    def close(self) -> None:
        self._is_closed = True
        if self._pipe is not None:
            self._pipe.abort()

    def is_readable(self) -> bool:
        lane: Any = getattr(self._pipe, "_incoming", None)
        return self._is_closed or bool(lane._buffer or lane._reset or not lane._writer_open)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def connect(self, address: Any) -> None:
        """As Trio's: waits, and a cancel meanwhile closes the socket."""
        try:
            self._faults.pass_by("connect", errno.ECONNREFUSED)
            self._pipe = await self._network.dial(str(address[0]), int(address[1]))
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int, flags: int = 0, /) -> Awaitable[bytes]:
        return self._recv(buflen)

    def send(self, data: Any, flags: int = 0, /) -> Awaitable[int]:
        return self._send(bytes(data))

    async def _recv(self, buflen: int) -> bytes:
        await checkpoint_if_cancelled()
        self._faults.pass_by("receive", errno.ECONNRESET)
        try:
            data = self._open().receive_nowait(buflen)
            if data is None:
                return await self._open().receive_some(buflen)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise _as_oserror(error) from None
        await cancel_shielded_checkpoint()
        return data

    async def _send(self, data: bytes) -> int:
        await checkpoint_if_cancelled()
        self._faults.pass_by("send", errno.EPIPE)
        try:
            # has room in these tests, so the wait in it lasts for one pass of the scheduler
            with trio.CancelScope(shield=True):
                await self._open().send_all(data)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as error:
            raise _as_oserror(error) from None
        return len(data)

    def _open(self) -> Pipe:
        if self._is_closed or self._pipe is None:
            raise OSError(errno.EBADF, "the socket is closed")
        return self._pipe


def _as_oserror(error: Exception) -> OSError:
    closed = isinstance(error, trio.ClosedResourceError)
    return OSError(errno.EBADF if closed else errno.ECONNRESET, str(error))


class _Factory(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    def __init__(self, network: MemoryNetwork, faults: Faults) -> None:
        self._network = network
        self._faults = faults

    def socket(self, family: Any = 0, type: Any = 0, proto: Any = 0) -> trio.socket.SocketType:
        return MemorySocket(self._network, self._faults)

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 0, "", ("192.0.2.1", int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def use(network: MemoryNetwork, faults: Faults) -> None:
    """Have every socket of this Trio run, and every name, lead into *network*."""
    factory = _Factory(network, faults)
    trio.socket.set_custom_socket_factory(factory)
    trio.socket.set_custom_hostname_resolver(factory)
