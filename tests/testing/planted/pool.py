"""Connections to the model's server: doubles with a real socket, at most one at a time."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio


class Connection:
    """One connection; the server may not answer a goodbye in the midst of a response."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._is_clean = True

    async def lines(self, text: str) -> AsyncGenerator[str]:
        """Send *text*, and generate the lines of the response."""
        self._is_clean = False
        for line in (f"about {text}", "tools", "stop", "never read"):
            await trio.sleep(0.1)
            self._is_clean = line == "stop"
            yield line

    async def say_goodbye(self) -> None:
        """End the protocol in good manners."""
        await trio.sleep(0.1 if self._is_clean else 60)

    def close(self) -> None:
        """Let the socket go."""
        self._end.close()


class Pool:
    """Lends connections, one at a time."""

    def __init__(self) -> None:
        self._limit = trio.Lock()
        self.lent: list[Connection] = []

    def is_free(self) -> bool:
        return not self.lent and not self._limit.locked()

    async def _connect(self) -> Connection:
        end = socket.socket()
        try:
            await trio.sleep(0.1)  # the handshake
        except BaseException:
            end.close()
            raise
        return Connection(end)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection for the length of a block."""
        async with self._limit:
            connection = await self._connect()
            self.lent.append(connection)
            try:
                yield connection
            finally:
                await self._part(connection)

    async def _part(self, connection: Connection) -> None:
        try:
            with trio.move_on_after(1, shield=True):
                await connection.say_goodbye()
        finally:
            connection.close()
            self.lent.remove(connection)


# -- with bugs


class PartsWithoutShield(Pool):
    """The goodbye is cut off by the very cancel that led here, and what follows is left out."""

    async def _part(self, connection: Connection) -> None:
        await connection.say_goodbye()
        connection.close()
        self.lent.remove(connection)


class PartsWithoutDeadline(Pool):
    """A server that is stuck holds everybody up."""

    async def _part(self, connection: Connection) -> None:
        try:
            with trio.CancelScope(shield=True):
                await connection.say_goodbye()
        finally:
            connection.close()
            self.lent.remove(connection)


class ForgetsTheSocket(Pool):
    """A connect that is cancelled in the handshake leaves its socket open."""

    async def _connect(self) -> Connection:
        end = socket.socket()
        await trio.sleep(0.1)
        return Connection(end)
