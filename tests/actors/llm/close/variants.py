"""What is asked, and how the server behaves meanwhile. The model that a request names says which."""

import json
from collections.abc import Mapping
from typing import Any, cast

import attrs
import trio

from greenroom.actors.testing import MemoryStream
from greenroom.runtime.testing import InjectedError
from tests.actors.wire.peers import END, STREAM_HEAD, Peer, Received, chunk


def event(text: str) -> bytes:
    """Return a chunk of the answer, framed."""
    piece = {
        "id": "r",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return chunk(b"data: %s\n\n" % json.dumps(piece).encode())


TOKENS = [event("Hel"), event("lo")]
DONE = chunk(b"data: [DONE]\n\n")
OOPS = b'{"error": {"message": "oops"}}'


def status(line: bytes, *headers: bytes) -> bytes:
    """Return the head of an error whose body is chunked."""
    fields = [b"Content-Type: application/json", b"Transfer-Encoding: chunked", *headers]
    return b"HTTP/1.1 %s\r\n%s\r\n\r\n" % (line, b"\r\n".join(fields))


@attrs.frozen
class Variant:
    """One way that it can go."""

    name: str
    is_warm: bool = False
    """Whether there was a request before, which left a connection."""
    is_contended: bool = False
    """Whether another request has the only connection, for some time."""
    hangs_on_close: bool = False
    """Whether the client's network streams never come out of their ``aclose``."""
    times_out: bool = False
    """Whether nothing but the read timeout ends the request."""


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("cold"),
        Variant("warm", is_warm=True),
        Variant("contended", is_contended=True),
        Variant("retry after 429"),
        Variant("error status"),
        Variant("stalled headers", times_out=True),
        Variant("stalled body", times_out=True),
        Variant("hang after the last token"),
        Variant("reset in mid-stream"),
        Variant("hang on close", hangs_on_close=True),
    )
}

OK = "ok"  # a model that answers at once
SLOW = "slow"  # one that takes its time


class Server:
    """Answers by the model that is asked for."""

    def __init__(self) -> None:
        self._asked: list[str] = []

    async def __call__(self, peer: Peer, request: Received) -> None:
        model = str(json.loads(request.body)["model"])
        self._asked.append(model)
        try:
            await self._answer(peer, model)
        except InjectedError:
            await peer.close()  # a server may break anywhere

    async def _answer(self, peer: Peer, model: str) -> None:
        match model:
            case "retry after 429" if self._asked.count(model) == 1:
                await peer.send(status(b"429 Slow Down", b"Retry-After-Ms: 50"), chunk(OOPS), END)
            case "error status":
                await peer.send(status(b"400 Bad Request"), chunk(OOPS[:9]))
                await trio.sleep(1)
                await peer.send(chunk(OOPS[9:]), END)
            case "stalled headers":
                await trio.sleep_forever()
            case "stalled body":
                await peer.send(STREAM_HEAD, TOKENS[0])
                await trio.sleep_forever()
            case "hang after the last token":
                await peer.send(STREAM_HEAD, *TOKENS, DONE)
                await trio.sleep_forever()
            case "reset in mid-stream":
                await peer.send(STREAM_HEAD, *TOKENS)
                await trio.sleep(1)
                await self._reset(peer)
            case "slow":
                await peer.send(STREAM_HEAD)
                for piece in (*TOKENS, DONE, END):
                    await trio.sleep(1)
                    await peer.send(piece)
            case _:
                await peer.send(STREAM_HEAD, *TOKENS, DONE, END)

    async def _reset(self, peer: Peer) -> None:
        stream: Any = peer.stream
        if isinstance(stream, trio.SSLStream):
            stream = cast("Any", stream).transport_stream
        assert isinstance(stream, MemoryStream)
        stream.reset()
        peer.gone = True
        await trio.lowlevel.checkpoint()
