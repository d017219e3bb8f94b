"""A raw HTTP client for tests, over any stream: nothing between the test and the bytes."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
import trio.testing

from greenroom.actors.understudy import MODEL, Understudy
from greenroom.runtime import bare


def asking(question: str = "hello", **more: Any) -> dict[str, Any]:
    """Return a request for a streamed completion."""
    messages = [{"role": "user", "content": question}]
    return {"model": MODEL, "messages": messages, "stream": True} | more


class Peer:
    """One connection, used for one request after another."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send a request."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        framing = [("host", "understudy"), ("content-length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=[*framing, *headers])
        parts: list[h11.Event] = [request, h11.Data(data=body), h11.EndOfMessage()]
        await self.stream.send_all(b"".join(self.http.send(part) or b"" for part in parts))

    async def post(self, request: Any, **headers: str) -> None:
        """Ask for a completion."""
        sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
        await self.send("POST", "/v1/chat/completions", json.dumps(request).encode(), sent)

    async def _event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(bytes(await self.stream.receive_some(65_536)))
        return event

    async def head(self) -> h11.Response:
        """Wait for the head of the response."""
        event = await self._event()
        assert isinstance(event, h11.Response), event
        return event

    async def part(self) -> bytes:
        """Wait for a part of the body; ``b""`` is its end."""
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def body(self) -> bytes:
        """Wait for the body to its end."""
        parts = [await self.part()]
        while parts[-1]:
            parts.append(await self.part())
        return b"".join(parts)

    async def json(self) -> tuple[int, Any]:
        """Wait for a whole response and return its status and what its JSON says."""
        head = await self.head()
        return head.status_code, json.loads(await self.body())

    async def events(self) -> list[bytes]:
        """Wait for a whole stream and return the payloads of its events."""
        assert (await self.head()).status_code == 200
        return payloads(await self.body())


def payloads(body: bytes) -> list[bytes]:
    """Return what the ``data:`` lines of *body* hold."""
    return [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]


def text_of(events: Sequence[bytes]) -> str:
    """Return the text that the events of a stream hold."""
    chunks = [json.loads(event) for event in events if event != b"[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@asynccontextmanager
async def connected(understudy: Understudy) -> AsyncGenerator[Peer, None]:
    """Connect to *understudy* in memory, in virtual time if there is any."""
    ours, theirs = trio.testing.memory_stream_pair()
    with bare():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(understudy.serve, theirs)
            yield Peer(ours)
            await ours.aclose()
