"""
Response bodies: the decoders, which only compute, and `Body`, which reads a connection by them.

The state of a body, and who moves it:

=========  ==========================================================  ====================
state      meaning                                                     moved there by
=========  ==========================================================  ====================
`OPEN`     more may come; the body holds its connection
`REUSED`   all came; the connection is ready for the next request      `receive`, `close`
`PARKED`   the caller needs no more; the connection is kept with its   `close`
           decoder, and the next request finds out if it can be used
`CLOSED`   all that was needed came; the connection cannot be kept     `receive`, `close`
`ABORTED`  ended early or failed; the connection was closed            any exception, `close`
=========  ==========================================================  ====================

All but `OPEN` are final, and a body in one of them holds nothing. Each of these moves is made by
a plain function, so there is no point at which a cancel could separate the state from the facts.
"""

import enum
import re
import warnings
from collections.abc import AsyncIterator, Iterable
from typing import Final, Protocol

import attrs
import httpx2
import trio

__all__ = [
    "BODY_EXTENSION",
    "Body",
    "BodyState",
    "ChunkedDecoder",
    "Closing",
    "Decoder",
    "EndDecoder",
    "Lease",
    "LengthDecoder",
    "decoder_for",
]

#: Where a response of our transport keeps its `Body`: ``response.extensions[BODY_EXTENSION]``.
BODY_EXTENSION: Final = "greenroom.body"

# Calls of Body.receive without a checkpoint, at most (rule R12).
_DRY_CALLS: Final = 64

# Bytes; far above what servers send, far below what would hurt.
_EXTENSION_LIMIT: Final = 4096
_TRAILER_LIMIT: Final = 16384

# RFC 9112, section 7.1: the size, white space that some senders pad it with, extensions. The CRLF
# that ends a chunk is read together with the size of the next one.
_FIRST_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})[ \t]{0,16}(?:;[^\r\n]{0,%d})?\r\n" % _EXTENSION_LIMIT
)
_NEXT_SIZE: Final = re.compile(rb"\r\n" + _FIRST_SIZE.pattern)

# Size lines that a decoder knows by heart; a stream of small events has some dozens.
_KNOWN_SIZES: Final = 256


class Decoder(Protocol):
    """Takes the framing off a body's bytes. Pure; after a raise it is of no more use."""

    #: The end of the body was seen.
    finished: bool
    #: What came after the end. Not part of this response.
    rest: bytes

    def decode(self, data: bytes, /) -> bytes:
        """
        Take the next bytes off the connection and return the payload in them.

        Raises:
            httpx2.RemoteProtocolError: the framing is broken.
        """
        ...

    def end(self) -> None:
        """
        Take note that the peer ended the connection.

        Raises:
            httpx2.RemoteProtocolError: the body was not over.
        """
        ...


class ChunkedDecoder:
    """
    ``Transfer-Encoding: chunked``: extensions and trailers are read over, within limits.

    Source: RFC 9112, section 7.1. Line ends are CRLF and nothing else.
    """

    def __init__(self) -> None:
        self.finished = False
        self.rest = b""
        self._held = b""  # an incomplete size line, or trailers without their end
        self._size_line = _FIRST_SIZE  # what the next one looks like
        self._left: int = 0  # bytes of the current chunk that are to come
        # What `_NEXT_SIZE` made of lines before, by the line with the CRLF at both its ends: looking
        # there takes half the time of matching, and there is a line for each token.
        self._known: dict[bytes, int] = {}
        self._in_trailers = False
        self._received = 0  # bytes of payload so far

    def decode(self, data: bytes, /) -> bytes:
        """See `Decoder.decode`."""
        if self._held:
            data = self._held + data
            self._held = b""
        payload: list[bytes] = []
        at = 0
        left = self._left
        while not self._in_trailers:
            if left:
                end = at + left
                payload.append(data[at:end])
                if end > len(data):
                    left = end - len(data)
                    break
                at, left = end, 0
            end = data.find(b"\r\n", at + 2) + 2
            known = self._known.get(data[at:end])
            if known is not None:
                at, left = end, known
                continue
            size = self._size_line.match(data, at)
            if size is None:
                self._held = self._incomplete_size(data[at:])
                break
            line, at = data[at : size.end()], size.end()
            left = int(size[1], 16)
            if left and self._size_line is _NEXT_SIZE and len(self._known) < _KNOWN_SIZES:
                self._known[line] = left
            self._size_line = _NEXT_SIZE
            self._in_trailers = not left
        self._left = left
        if self._in_trailers:
            self._end_after(data[at:])
        decoded = b"".join(payload)
        self._received += len(decoded)
        return decoded

    def end(self) -> None:
        """See `Decoder.end`."""
        raise _broken(
            f"the server closed the connection in the middle of a chunked body, "
            f"after {self._received} bytes"
        )

    def _incomplete_size(self, held: bytes) -> bytes:
        """Return *held* if it can still become a size line."""
        line = held
        if self._size_line is _NEXT_SIZE:
            if not b"\r\n".startswith(held[:2]):
                raise _broken(f"a chunk ends with {held[:2]!r}, not with CRLF")
            line = held[2:]
        if b"\r\n" in line or len(line) > _EXTENSION_LIMIT + 40:
            raise _broken(f"{line[:32]!r} is no chunk size line")
        return held

    def _end_after(self, trailers: bytes) -> None:
        """Finish if the blank line that ends *trailers* is there, else hold them."""
        end = 0 if trailers.startswith(b"\r\n") else trailers.find(b"\r\n\r\n") + 2
        if end == 1:  # not found
            if len(trailers) > _TRAILER_LIMIT:
                raise _broken(f"the trailers have more than {_TRAILER_LIMIT} bytes")
            self._held = trailers
            return
        if end > _TRAILER_LIMIT:
            raise _broken(f"the trailers have more than {_TRAILER_LIMIT} bytes")
        self.finished = True
        self.rest = trailers[end + 2 :]


class LengthDecoder:
    """``Content-Length``, and with length 0 every response that has no body."""

    def __init__(self, length: int) -> None:
        """Expect *length* bytes, >= 0."""
        self.finished = length == 0
        self.rest = b""
        self._length = length
        self._left = length  # bytes to come

    def decode(self, data: bytes, /) -> bytes:
        """See `Decoder.decode`."""
        payload, self.rest = data[: self._left], data[self._left :]
        self._left -= len(payload)
        self.finished = not self._left
        return payload

    def end(self) -> None:
        """See `Decoder.end`."""
        raise _broken(
            f"the server closed the connection in the middle of a body, "
            f"after {self._length - self._left} of {self._length} bytes"
        )


class EndDecoder:
    """A body that lasts until the server ends the connection."""

    def __init__(self) -> None:
        self.finished = False
        self.rest = b""

    def decode(self, data: bytes, /) -> bytes:
        """See `Decoder.decode`."""
        return data

    def end(self) -> None:
        """See `Decoder.end`."""
        self.finished = True


def decoder_for(method: str, status: int, headers: Iterable[tuple[bytes, bytes]]) -> Decoder:
    """
    Return the decoder for the body of a response.

    Args:
        method: Of the request, in capitals.
        status: Of the response, final (200 to 599).
        headers: As h11 gives them: names in small letters, lengths and codings validated.

    Source: RFC 9112, section 6.3.
    """
    if method == "HEAD" or status in (204, 304):
        return LengthDecoder(0)
    fields = dict(headers)
    if b"transfer-encoding" in fields:
        return ChunkedDecoder()
    if b"content-length" in fields:
        return LengthDecoder(int(fields[b"content-length"]))
    return EndDecoder()


def _broken(what: str) -> httpx2.RemoteProtocolError:
    return httpx2.RemoteProtocolError(what)


class Lease(Protocol):
    """What a `Body` holds: the use of one connection, until `give_back` or `close`."""

    @property
    def reusable(self) -> bool:
        """Whether the connection may serve another request after this response."""
        ...

    def receive_nowait(self) -> bytes | None:
        """As `greenroom.actors.wire.pipe.Pipe.receive_nowait`, raising `httpx2.TransportError`."""
        ...

    async def receive(self) -> bytes:
        """As ``Pipe.receive_some``, raising `httpx2.TransportError`, with the read deadline."""
        ...

    def give_back(self, parked: Decoder | None = None) -> bool:
        """End the lease; return whether the connection was kept."""
        ...

    def close(self, *, aborted: bool) -> None:
        """End the lease and the connection. Idempotent."""
        ...

    def abandon(self) -> None:
        """Have `close` called soon, from wherever a garbage collector runs."""
        ...


class BodyState(enum.Enum):
    """What became of a body; the module's text has the table."""

    OPEN = "open"
    REUSED = "reused"
    PARKED = "parked"
    CLOSED = "closed"
    ABORTED = "aborted"


@attrs.frozen
class Closing:
    """How a body was let go of."""

    state: BodyState
    """What was decided: reused, parked, closed or aborted."""
    seconds: float
    """From the end of the body, or the call of ``close``, until nothing was left to do; >= 0."""
    is_overdue: bool = False
    """Whether something was not done in time, and is left to itself."""


class Body(httpx2.AsyncByteStream):
    """
    The body of one response, and the only owner of its connection.

    Read it with `receive` until that returns ``b""``, then or earlier call `close`, which is a
    plain function and can stand in any ``finally``. As the stream of an httpx2 response it works
    through that response's own methods as well.
    """

    def __init__(self, lease: Lease, decoder: Decoder, first: bytes) -> None:
        """
        Take over *lease*.

        Args:
            lease: The connection, read up to the response's head and *first*.
            decoder: The framing; may be finished already.
            first: Payload that came together with the head.
        """
        self._lease = lease
        self._decoder = decoder
        self._ready = first  # payload that was decoded and not yet returned
        self._state = BodyState.OPEN
        self._closed = False  # close() was called
        self._waiting = False  # receive() waits in the connection; set there
        self._dry_calls = 0  # turns of receive's loop since its last checkpoint
        if decoder.finished:
            self._finish()

    def __repr__(self) -> str:
        return f"<Body {self._state.value} on {self._lease!r}>"

    @property
    def state(self) -> BodyState:
        """What became of this body and its connection."""
        return self._state

    @property
    def closing(self) -> Closing | None:
        """How it was let go of; None while it is open. Takes no time, whatever is decided."""
        return None if self._state is BodyState.OPEN else Closing(self._state, 0.0)

    async def receive(self) -> bytes:
        """
        Return the next payload, without its framing.

        Returns:
            At least one byte, or ``b""`` when the body is complete.

        Raises:
            httpx2.ReadTimeout: the request's read timeout passed without a byte.
            httpx2.ReadError: the connection broke, or was closed here meanwhile; see
                ``__cause__``.
            httpx2.RemoteProtocolError: the body was cut short or its framing is broken.
            httpx2.StreamClosed: `close` was called before.

        Cancellation: the connection is aborted, before anything else runs.

        Checkpoint: whenever it waits, and at least every 64 calls. What is there already is
        returned without one, since a checkpoint costs more than a chunk does.
        """
        if self._closed:
            raise httpx2.StreamClosed
        try:
            while True:  # noqa: ASYNC913 - it counts its turns
                self._dry_calls += 1
                if self._dry_calls > _DRY_CALLS:
                    self._dry_calls = 0
                    await trio.lowlevel.checkpoint()
                if self._ready or self._state is not BodyState.OPEN:
                    ready, self._ready = self._ready, b""
                    return ready  # noqa: ASYNC910 - the documented exception
                arrived = self._lease.receive_nowait()
                if arrived is None:
                    self._dry_calls = 0
                    self._waiting = True  # for good if this raises: then the body is closed
                    arrived = await self._lease.receive()
                    self._waiting = False
                self._take(arrived)
        except BaseException:
            self.close()
            raise

    def close(self, *, complete: bool = False) -> None:
        """
        End the reading, at once and for good. Idempotent; the first call decides.

        A body whose end has been read is given back already. Otherwise the connection is closed:
        what is left may be long, and the server should stop making it.

        Args:
            complete: The caller needs no more and knows that no more of meaning follows (it saw
                ``[DONE]``). Then the connection is kept if the end of the body is there by now,
                or may yet come: in that case it is parked, and the next request that picks it up
                looks, without waiting, if it came.

        Checkpoint: never.
        """
        if self._closed:
            return
        self._closed = True
        self._ready = b""
        if self._state is not BodyState.OPEN:
            return
        # A read that waits in another task would take what belongs to the next response.
        if complete and self._lease.reusable and not self._waiting:
            self._look_for_end()
        if self._state is BodyState.OPEN:
            self._lease.close(aborted=not complete)
            self._state = BodyState.CLOSED if complete else BodyState.ABORTED

    async def aclose(self) -> None:  # noqa: ASYNC910 - ends, and waits for nothing
        """As `close`, for httpx2. Checkpoint: never."""
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the body itself: an async generator would need closing by somebody."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next payload; see `receive`."""
        data = await self.receive()
        if not data:
            raise StopAsyncIteration
        return data

    def __del__(self) -> None:
        """Close the connection of a body that was dropped unread, and say so."""
        if self._state is BodyState.OPEN:
            self._state = BodyState.ABORTED
            self._lease.abandon()
            warnings.warn(
                f"a response body was dropped while open on {self._lease!r}; "
                f"call its close(), or read the response to its end",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    def _take(self, arrived: bytes) -> None:
        """Decode *arrived* (``b""``: the peer's end) into `_ready`, and finish at the end."""
        if arrived:
            self._ready = self._decoder.decode(arrived)
        else:
            self._decoder.end()
        if self._decoder.finished:
            self._finish()

    def _finish(self) -> None:
        if self._lease.reusable and not self._decoder.rest and self._lease.give_back():
            self._state = BodyState.REUSED
        else:
            self._lease.close(aborted=False)
            self._state = BodyState.CLOSED

    def _look_for_end(self) -> None:
        """Read once without waiting; leave the body open only if its connection must go."""
        try:
            arrived = self._lease.receive_nowait()
            if arrived:
                self._take(arrived)
        except httpx2.TransportError:
            return
        self._ready = b""
        if (
            self._state is BodyState.OPEN
            and arrived != b""
            and self._lease.give_back(self._decoder)
        ):
            self._state = BodyState.PARKED
