"""One HTTP/1.1 connection of the understudy: h11 on top of any stream of bytes."""

import math
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import attrs
import h11
import trio

from greenroom.runtime import bare

__all__ = ["JSON", "Connection", "Cut", "Headers", "Refused", "Request"]

#: The header that most responses have.
JSON = ("content-type", "application/json")

_READ = 65_536  # bytes that are read at once; also what a client may send ahead of its turn
_LINGER = 1.0  # seconds that a client has to read a refusal before the connection is closed
_LINGER_READS = 64  # reads of what it still sends meanwhile

Headers = Sequence[tuple[str, str]]


class Refused(Exception):
    """A request that cannot be read; the connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        """Give the status and the message of the answer."""
        super().__init__(message)
        self.status = status


class Cut(Exception):
    """The body has reached the byte at which a fault cuts the connection."""


@attrs.frozen
class Request:
    """A request that was read."""

    method: str
    """``GET``, ``POST``, ..."""

    path: str
    """The path, without the query."""

    headers: dict[str, str]
    """The headers, their names in lower case."""

    body: bytes
    """The body; empty for none."""


class Connection:
    """One HTTP/1.1 connection, h11 on top of a stream."""

    def __init__(self, stream: trio.abc.Stream, max_body: int) -> None:
        """
        Speak HTTP on *stream*, which stays its opener's to close.

        Args:
            stream: The bytes.
            max_body: Bytes that the body of a request may have, >= 1.
        """
        self._stream = stream
        self._max_body = max_body
        self._http = h11.Connection(h11.SERVER)
        self._left = math.inf  # bytes of the body until a fault cuts it; set by start
        self.status = 0
        """Of the last response that was begun; 0 before the first."""

    async def receive(self) -> Request | None:
        """
        Return the next request, or None if the client left between two.

        Raises:
            Refused: The client sent no HTTP, or more than it may.
            trio.BrokenResourceError: The connection broke.
        """
        head: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = await self._event()
            except h11.RemoteProtocolError as error:
                raise Refused(error.error_status_hint, f"invalid HTTP request: {error}") from None
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_body:
                    raise Refused(413, f"the body must have at most {self._max_body} bytes")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                path = head.target.decode("latin-1").partition("?")[0]
                return Request(head.method.decode(), path, headers, bytes(body))
            else:
                return None

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(_READ)))
        return event  # noqa: ASYNC910

    async def _send(self, *events: h11.Event) -> None:  # noqa: ASYNC910
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data:
            await self._stream.send_all(data)

    async def start(self, status: int, headers: Headers, cut: float = math.inf) -> None:
        """
        Send the head of a response.

        Args:
            status: HTTP status.
            headers: Headers; the framing of the body is added.
            cut: Bytes of the body after which `Cut` is raised.

        Raises:
            Cut: *cut* is 0.
        """
        self._left = cut
        self.status = status
        sent = [("server", "greenroom-understudy"), *headers]
        await self._send(h11.Response(status_code=status, headers=sent))
        if cut == 0:
            raise Cut

    async def write(self, data: bytes, *, is_last: bool = False) -> None:
        """
        Send a part of the body, up to the cut; the last one together with the end.

        Raises:
            Cut: This is as far as the body may go.
        """
        part = data if self._left >= len(data) else data[: int(self._left)]
        self._left -= len(part)
        is_cut = self._left <= 0
        # at once: a client that has read the last part may be gone before the end is sent
        await self._send(
            h11.Data(data=part), *([h11.EndOfMessage()] if is_last and not is_cut else [])
        )
        if is_cut:
            raise Cut

    async def end(self) -> None:
        """End the response."""
        await self._send(h11.EndOfMessage())

    async def respond(
        self,
        status: int,
        body: bytes,
        headers: Headers = (JSON,),
        *,
        cut: float = math.inf,
        head_only: bool = False,
    ) -> None:
        """Send a whole response, or its head only."""
        await self.start(status, [*headers, ("content-length", str(len(body)))], cut)
        if body and not head_only:
            await self.write(body)
        await self.end()

    async def while_present(self, respond: Callable[[], Awaitable[None]]) -> bool:
        """
        Run *respond*, but no longer than the client is there; tell whether it came to its end.

        A client that shuts down its sending half counts as gone: nobody who still waits for an
        answer does that.
        """
        is_done = False
        with bare():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                try:
                    await respond()
                    is_done = True
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # seen by the write before the watch saw it
                nursery.cancel_scope.cancel()
        # who leaves as the last write is on its way has read what it wanted
        return is_done or self._http.our_state is h11.DONE

    async def _watch(self, scope: trio.CancelScope) -> None:  # noqa: ASYNC910
        """Cancel *scope* when the client leaves; what it sends ahead is kept for its turn."""
        ahead = 0
        try:
            while ahead < _READ:
                data = await self._stream.receive_some(_READ)
                if not data:
                    break
                ahead += len(data)
                self._http.receive_data(bytes(data))
            else:
                return  # a flood: the next write will find out whether anybody is there  # noqa: ASYNC910
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def is_reusable(self) -> bool:
        """Make ready for the next request, and tell whether there can be one."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def linger(self) -> None:  # noqa: ASYNC910
        """Let the client read what was sent: a close with unread input would take it away."""
        with trio.move_on_after(_LINGER):  # noqa: ASYNC912
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            for _ in range(_LINGER_READS):
                if not await self._stream.receive_some(_READ):
                    break

    def prepare_reset(self) -> None:
        """Make the close of the stream a reset, where the stream has such a thing."""
        if isinstance(self._stream, trio.SocketStream):
            # "linger for 0 s" makes close(2) send RST instead of FIN
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif reset := getattr(self._stream, "reset", None):
            reset()  # greenroom.actors.testing.MemoryStream
