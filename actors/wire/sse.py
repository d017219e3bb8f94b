"""
Server-sent events, split out of a byte stream that may be cut anywhere.

Works on bytes: a payload is cut at line ends only, so a character torn by a chunk border is whole
again before anybody decodes it.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from typing import Final, TypeAlias

__all__ = ["EventTooLarge", "SSESplitter", "ServerEvent"]

#: The name (``b"message"`` unless the server gave another) and the payload of an event.
ServerEvent: TypeAlias = tuple[bytes, bytes]

_BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event is larger than the splitter's limit. The stream is of no use: close it."""


class SSESplitter:
    """
    Turns bytes into events, whatever the splits between calls.

    An event that the stream ends in the middle of is dropped, as the standard wants. ``id`` and
    ``retry`` are read over: reconnecting is the business of who made the request.
    """

    def __init__(self, *, limit: int = 16 * 1024 * 1024) -> None:
        """
        Start at the beginning of a stream.

        Args:
            limit: The most bytes that one event may take, its field names included; > 0.
        """
        if limit < 1:
            raise ValueError(f"limit must be an int > 0 (bytes), not {limit!r}")
        self._limit = limit
        self._tail = bytearray()  # what came after the last blank line
        self._begun = False  # the first three bytes are known to be no byte order mark, or gone
        self._after_cr = False  # the last byte was CR; an LF that follows belongs to it

    def feed(self, data: bytes) -> list[ServerEvent]:
        """
        Take the next bytes of the stream.

        Returns:
            The events that *data* completes, in order.

        Raises:
            EventTooLarge: an event is over the limit.
        """
        if not self._begun:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        tail = self._tail
        if not tail and data.endswith(b"\n\n"):
            whole = data  # the usual case: nothing is left over
        else:
            searched = max(len(tail) - 1, 0)
            tail += data
            cut = tail.rfind(b"\n\n", searched)
            if cut < 0:
                if len(tail) - tail.endswith(b"\n") > self._limit:
                    raise self._too_large(len(tail))
                return []
            whole = bytes(tail[: cut + 2])
            del tail[: cut + 2]
            if len(tail) - tail.endswith(b"\n") > self._limit:
                raise self._too_large(len(tail))
        if whole.startswith(b"data: "):
            # What model servers send, for speed: nothing but single lines of data.
            payloads = whole[6:-2].split(b"\n\ndata: ")
            if whole.count(b"\n") == 2 * len(payloads) and len(whole) <= self._limit:
                return [(b"message", payload) for payload in payloads]
        events: list[ServerEvent] = []
        for block in whole.split(b"\n\n"):
            if len(block) > self._limit:
                raise self._too_large(len(block))
            self._parse(block, events)
        return events

    def _without_bom(self, data: bytes) -> bytes:
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._tail += data  # not to be told yet
            return b""
        self._begun = True
        return data.removeprefix(_BOM)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @staticmethod
    def _parse(block: bytes, events: list[ServerEvent]) -> None:
        """Append the event that the lines of *block* make, if they have any data."""
        name = b""
        payload: list[bytes] = []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                payload.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
        if payload:
            events.append((name or b"message", b"\n".join(payload)))

    def _too_large(self, size: int) -> EventTooLarge:
        return EventTooLarge(
            f"an event of the stream has {size} bytes or more, the limit is {self._limit}"
        )
