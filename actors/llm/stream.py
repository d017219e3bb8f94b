"""
`OpenAIStream`: the body of a response, read, split into events and decoded, with a plain close.

What the events say is the business of a reader: `ChunkReader` for chat completions. Everything
else is the same for every API: the order of events and errors, deadlines, the end, the closing.
"""

from collections.abc import Sequence
from typing import Protocol

import httpx2
import trio

from greenroom.actors.llm.errors import Category, ProviderError, ProviderTimeout
from greenroom.actors.llm.frames import RawEvent
from greenroom.actors.llm.patience import Deadline, Patience
from greenroom.actors.llm.provider import Event, has_begun
from greenroom.actors.wire.body import Body, Closing
from greenroom.actors.wire.guarded import GuardedBody
from greenroom.actors.wire.sse import EventTooLarge, SSESplitter

__all__ = ["EventReader", "OpenAIStream", "timeout_error"]


class EventReader(Protocol):
    """What makes events of the payloads of one stream; pure."""

    @property
    def payload(self) -> bytes:
        """The payload read last, as it was sent."""
        ...

    @property
    def model(self) -> str:
        """The model as served, empty until the provider says."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the provider has said that no more follows."""
        ...

    def read(self, payload: bytes, name: bytes = b"message") -> list[Event]:
        """
        Return what the event *name* with data *payload* says.

        Raises:
            ProviderError: the event is an error, or none of this API.
        """
        ...

    def end(self) -> Sequence[Event]:
        """Return what was held back until now, once: the stream has come to its end."""
        ...


class OpenAIStream:
    """A response that is being received; a `ProviderStream`."""

    def __init__(
        self,
        body: Body | GuardedBody,
        reader: EventReader,
        *,
        provider: str,
        patience: Patience,
        model: str,
        request_id: str | None,
        raw: bool = False,
    ) -> None:
        self._body = body
        self._provider = provider
        self._patience = patience
        self._asked_model = model
        self._request_id = request_id
        self._raw = raw
        self._splitter = SSESplitter()
        self._reader = reader
        self._has_token = False
        # The stream is over once either is set; both are written by _end alone.
        self._is_over = False
        self._failure: ProviderError | None = None

    @property
    def request_id(self) -> str | None:
        """See `ProviderStream.request_id`."""
        return self._request_id

    @property
    def model(self) -> str:
        """See `ProviderStream.model`."""
        return self._reader.model or self._asked_model

    @property
    def closing(self) -> Closing | None:
        """What was decided about the connection, and how long that took; None before."""
        return self._body.closing

    @property
    def payload(self) -> bytes:
        """The last event as it was sent, fields that we don't know included."""
        return self._reader.payload

    async def events(self) -> tuple[Event, ...]:
        """
        See `ProviderStream.events`.

        Checkpoint: as `Body.receive`, whenever it waits and at least every 64 reads.
        """
        events: list[Event] = []
        while not events and not self._is_over:
            try:
                data = await self._body.receive()
            except httpx2.ReadTimeout:
                waited_for = Deadline.BETWEEN_TOKENS if self._has_token else Deadline.FIRST_TOKEN
                self._end(timeout_error(self._provider, waited_for, self._patience))
                break
            except (httpx2.TransportError, httpx2.StreamError) as error:
                failure = ProviderError(
                    f"the connection to {self._provider} broke: {error}",
                    category=Category.CONNECTIVITY,
                )
                failure.__cause__ = error
                self._end(failure)
                break
            if data:
                self._read(data, events)
            else:
                self._end()
        if self._is_over:
            events += self._reader.end()
        if events:
            return tuple(events)  # noqa: ASYNC910
        await trio.lowlevel.checkpoint()
        if self._failure is not None:
            raise self._failure
        return ()

    def close(self) -> None:
        """See `ProviderStream.close`."""
        self._end()

    def _read(self, data: bytes, events: list[Event]) -> None:
        """Append what *data* completes, up to the end or to what is wrong with it."""
        reader = self._reader
        try:
            for name, payload in self._splitter.feed(data):
                if self._raw and payload != b"[DONE]" and not reader.is_done:
                    events.append(RawEvent(payload))
                events += reader.read(payload, name)
        except EventTooLarge as error:
            failure = ProviderError(f"{self._provider}: {error}", category=Category.MALFORMED)
            failure.__cause__ = error
            self._end(failure)
        except ProviderError as failure:
            self._end(failure)
        if not self._has_token:
            self._has_token = has_begun(events)
        if self._reader.is_done:
            self._end()

    def _end(self, failure: ProviderError | None = None) -> None:
        """End the stream, once; what came before *failure* is still handed out."""
        if not self._is_over:
            self._is_over = True
            self._failure = failure
            self._body.close(complete=self._reader.is_done)


def timeout_error(provider: str, deadline: Deadline, patience: Patience) -> ProviderTimeout:
    """Return the error for a wait of the transport that timed out in the phase of *deadline*."""
    seconds = {
        Deadline.CONNECT: patience.connect,
        Deadline.HEADERS: patience.headers,
        Deadline.FIRST_TOKEN: patience.first_token,
        Deadline.BETWEEN_TOKENS: patience.between_tokens,
    }[deadline]
    if deadline is not Deadline.CONNECT and seconds > patience.silence:
        # A wait for bytes is bounded by the shortest that may be right, and that was shorter.
        deadline, seconds = Deadline.RESPONSE, patience.response
    return ProviderTimeout(
        f"{provider} let a deadline pass: {deadline.value} ({seconds:g} s)", deadline=deadline
    )
