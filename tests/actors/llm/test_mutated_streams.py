"""
Streams that went wrong in every way that chance finds: a clear status each, and nothing left.

Documented streams of both APIs are mutated - bytes, events, line ends, JSON values - and cut
anywhere. 20 000 of them in every run, a million under `make torture`; and some hundreds with their
HTTP heads and framing mutated too, over the whole stack.
"""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any, cast

import httpx2
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.actors.llm import (
    PROFILES,
    Category,
    Event,
    Finished,
    Patience,
    Profile,
    ProviderError,
    ProviderTimeout,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseReducer,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    ToolCallsReady,
    TranscriptDelta,
)
from greenroom.actors.llm.chunks import ChunkReader
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.llm.responses import OpenAIResponses
from greenroom.actors.llm.responses_events import ResponsesReader
from greenroom.actors.llm.stream import EventReader, OpenAIStream
from greenroom.actors.testing import open_memory_network
from greenroom.actors.understudy.completions import complete
from greenroom.actors.understudy.faults import Fault
from greenroom.actors.understudy.responses import response_events
from greenroom.actors.wire import Body
from greenroom.actors.wire.body import ChunkedDecoder, Decoder
from tests.actors.llm.served import HELLO, data
from tests.actors.llm.streams import DONE, SAMPLES, chunk
from tests.conftest import TORTURE

BATCH = 100  # streams of one example
EXAMPLES = 10_000 if TORTURE else 200
OVER_HTTP = 200 if TORTURE else 8  # examples, of a quarter of a batch each

THINKING = Profile(name="thinking", think_tags=("<think>", "</think>"))
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def stream_of(*deltas: dict[str, Any], reason: str = "stop") -> bytes:
    """Return a stream of chat completions."""
    chunks = [chunk("m", delta) for delta in deltas]
    return b"".join(map(data, [*chunks, chunk("m", {}, finish_reason=reason)])) + DONE


def call(index: int | None, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """Return an entry of the calls of a delta."""
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def called(*names: str) -> bytes:
    """Return a stream of the Responses API with calls."""
    parts: list[dict[str, Any]] = [{"type": "response.created", "response": {"model": "m"}}]
    for at, name in enumerate(names):
        item = {"type": "function_call", "call_id": f"c{at}", "name": name, "arguments": ""}
        parts.append({"type": "response.output_item.added", "output_index": at, "item": item})
    for at in range(len(names)):
        kind = "response.function_call_arguments"
        parts.append({"type": f"{kind}.delta", "output_index": at, "delta": "{}"})
        parts.append({"type": f"{kind}.done", "output_index": at, "arguments": "{}"})
    parts.append({"type": "response.completed", "response": {"usage": {"input_tokens": 1}}})
    return b"".join(data(part, part["type"]) for part in parts)


#: (a stream, what makes its reader)
STREAMS: list[tuple[bytes, Callable[[], EventReader]]] = [
    *((each.sent, lambda p=PROFILES[each.profile]: ChunkReader(p)) for each in SAMPLES),
    (
        stream_of(
            {"content": "both: ", "tool_calls": [call(0, "a", "f", ""), call(1, "b", "g", "")]},
            {"tool_calls": [call(1, None, None, '{"y":'), call(0, None, None, '{"x":1}')]},
            {"tool_calls": [call(1, None, None, "2}")]},
            reason="tool_calls",
        ),
        lambda: ChunkReader(PROFILES["openai"]),
    ),
    (
        stream_of({"content": "<think>Grüße"}, {"content": " 🎭</th"}, {"content": "ink>hi <"}),
        lambda: ChunkReader(THINKING),
    ),
    (
        stream_of({"audio": {"transcript": "hi"}}, {"refusal": "no"}),
        lambda: ChunkReader(PROFILES["openai"]),
    ),
    (
        b"".join(part for part, _ in response_events(complete(ASKED), Fault())),
        lambda: ResponsesReader(PROFILES["openai"]),
    ),
    (called("f", "g"), lambda: ResponsesReader(PROFILES["openai"])),
]

BITS = (
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b":", b": comment\n\n", b"data: ", b"data:"),
    *(b"event: error\n", b"event: x\n", b"data: [DONE]\n\n", b"id: 1\n", b"retry: 1\n"),
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"\\",
        b"\\ud800",
        b"\xff",
        b"\xe2\x82",
        b"\x00",
    ),
    *(b'"finish_reason":"length"', b'"error":{"message":"x"},', b"<think>", b"</think>"),
    *(b"\xef\xbb\xbf", b"1e999", b"-0", b"9" * 30, b"[" * 2000, b"x" * 5000),
)
EVENTS = (
    *(b": comment", b"retry: 5", b"event: ping\ndata: {}", b"data:", b"data", b"data: 1\ndata: 2"),
    *(
        b"event: error\ndata: gone",
        b'data: {"error":{"message":"gone","code":429}}',
        b"data: [DONE]",
    ),
    *(b'data: {"type":"error","message":"gone"}', b'data: {"type":"response.failed"}'),
    b'data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"x"}}}',
    b'data: {"choices":[{"delta":{"content":"late"},"finish_reason":"length"}]}',
    b'data: {"choices":[],"usage":{"prompt_tokens":1}}',
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "stop",
    "{}",
    [],
    [None],
    {},
    {"a": 1},
)


def mutated(sent: bytes, chance: random.Random) -> bytes:
    """Return *sent* with a few things changed."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        sent = chance.choice(MUTATIONS)(sent, chance)
    return sent


def replace_span(sent: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(sent) + 1)
    end = min(len(sent), at + chance.choice((0, 0, 1, 1, 7, 60)))
    return sent[:at] + chance.choice((b"", *BITS)) + sent[end:]


def flip(sent: bytes, chance: random.Random) -> bytes:
    if not sent:
        return sent
    at = chance.randrange(len(sent))
    return sent[:at] + bytes((chance.randrange(256),)) + sent[at + 1 :]


def cut_off(sent: bytes, chance: random.Random) -> bytes:
    return sent[: chance.randrange(len(sent) + 1)]


def other_line_ends(sent: bytes, chance: random.Random) -> bytes:
    return sent.replace(b"\n", chance.choice((b"\r", b"\r\n", b"\n\r")))


def shuffle_events(sent: bytes, chance: random.Random) -> bytes:
    events = sent.split(b"\n\n")
    if chance.random() < 0.5:
        chance.shuffle(events)
    else:
        events.insert(chance.randrange(len(events) + 1), chance.choice(events))
    return b"\n\n".join(events)


def insert_event(sent: bytes, chance: random.Random) -> bytes:
    events = sent.split(b"\n\n")
    events.insert(chance.randrange(len(events)), chance.choice(EVENTS))
    return b"\n\n".join(events)


def other_value(sent: bytes, chance: random.Random) -> bytes:
    """Put another JSON value in the place of one, somewhere in an event."""
    events = sent.split(b"\n\n")
    at = chance.randrange(len(events))
    before, mark, payload = events[at].partition(b"data: ")
    try:
        root: list[Any] = [json.loads(payload)]
    except (ValueError, RecursionError):
        return sent
    places: list[tuple[Any, Any]] = []
    find_places(root, places)
    holder, key = chance.choice(places)
    holder[key] = chance.choice(VALUES)
    events[at] = before + mark + json.dumps(root[0]).encode()
    return b"\n\n".join(events)


def find_places(holder: Any, places: list[tuple[Any, Any]]) -> None:
    """Append each place in *holder* that has a value, as what holds it and its key there."""
    keys = cast("Iterable[Any]", holder if isinstance(holder, dict) else range(len(holder)))
    for key in keys:
        places.append((cast("Any", holder), key))
        if isinstance(holder[key], (dict, list)):
            find_places(holder[key], places)


MUTATIONS = (
    *(
        replace_span,
        flip,
        cut_off,
        other_line_ends,
        shuffle_events,
        insert_event,
        other_value,
        other_value,
    ),
)


def cut(sent: bytes, chance: random.Random) -> list[bytes]:
    """Cut *sent* into pieces, none of them empty."""
    if chance.random() < 0.03:
        return [sent[at : at + 1] for at in range(len(sent))]
    places = sorted({chance.randrange(len(sent) + 1) for _ in range(chance.randrange(12))})
    pieces = [sent[a:b] for a, b in zip([0, *places], [*places, len(sent)], strict=True)]
    return [piece for piece in pieces if piece]


class Line:
    """A connection that has all that will come; a `Lease` that counts its ends."""

    reusable = True

    def __init__(self, pieces: list[bytes], end: str) -> None:
        self.pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        if end == "whole":
            self.pieces.append(b"0\r\n\r\n")
        self.is_reset = end == "reset"
        self.ends = 0

    def receive_nowait(self) -> bytes | None:
        if not self.pieces and self.is_reset:
            raise httpx2.ReadError("reset")
        return self.pieces.pop(0) if self.pieces else b""

    async def receive(self) -> bytes:
        raise AssertionError("nothing is waited for")

    def give_back(self, parked: Decoder | None = None) -> bool:
        self.ends += 1
        return True

    def close(self, *, aborted: bool) -> None:
        self.ends += 1

    def abandon(self) -> None:
        raise AssertionError("the body was dropped while open")


async def read(
    pieces: list[bytes], reader: EventReader, end: str
) -> tuple[list[Event], ProviderError | None]:
    """Read a stream to its end; its connection is let go then, once, before anybody closes it."""
    line = Line(pieces, end)
    stream = OpenAIStream(
        Body(line, ChunkedDecoder(), b""),
        reader,
        provider="acme",
        patience=Patience(),
        model="m",
        request_id=None,
    )
    events: list[Event] = []
    failure: ProviderError | None = None
    try:
        while more := await stream.events():
            events.extend(more)
    except ProviderError as error:
        failure = error
    assert line.ends == 1
    stream.close()
    assert line.ends == 1
    return events, failure


def check(events: list[Event], failure: ProviderError | None) -> Status:
    """Return the status of the response, which holds one start, one end and nothing odd (I5)."""
    texts = (TextDelta, ReasoningDelta, RefusalDelta, TranscriptDelta)
    assert all(event.text for event in events if isinstance(event, texts))
    response = ResponseReducer(id="r", model="m", provider="acme", started_at=0)
    frames = [*response.start(), *response.feed(events, 1), *response.finish(2, error=failure)]
    kinds = [type(frame) for frame in frames]
    ended = frames[-1]

    assert isinstance(ended, ResponseEnded)
    assert kinds.count(ResponseStarted) == kinds.count(ResponseEnded) == 1
    for frame in frames:
        if isinstance(frame, ToolCallsReady):
            assert len({call.id for call in frame.calls}) == len(frame.calls) > 0
    if failure is not None:
        assert str(failure)
        assert "\n" not in str(failure)
    if ended.status is Status.FAILED:
        assert ended.detail
        assert ended.category is not None
    elif ended.status is Status.TIMED_OUT:
        assert isinstance(failure, ProviderTimeout)
    else:
        assert any(isinstance(event, Finished) for event in events)
        assert failure is None or failure.category is Category.CONNECTIVITY
    return ended.status


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**64))
def test_every_mutated_stream_has_a_clear_status_and_leaves_nothing(seed: int) -> None:
    """Whatever was sent, and however it is cut, it says the same and its connection is let go."""

    async def main() -> None:
        chance = random.Random(seed)
        for number in range(BATCH):
            stream, make = chance.choice(STREAMS)
            sent = mutated(stream, chance)
            end = chance.choice(("whole", "whole", "cut", "reset"))
            try:
                events, failure = await read(cut(sent, chance), make(), end)
                check(events, failure)
                if number % 4 == 0:
                    again, failure_again = await read(cut(sent, chance), make(), end)
                    assert again == events
                    assert str(failure_again) == str(failure)
            except Exception as error:
                error.add_note(f"seed {seed}, stream {number}, ended {end}: {sent!r}")
                raise

    trio.run(main)


def test_streams_that_are_not_mutated_are_well() -> None:
    """The harness itself adds no fault."""

    async def main() -> None:
        for sent, make in STREAMS:
            for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
                events, failure = await read(pieces, make(), "whole")

                assert failure is None
                assert check(events, failure) is not Status.FAILED

    trio.run(main)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@settings(max_examples=OVER_HTTP)
@given(st.integers(0, 2**64))
def test_mutated_responses_leave_nothing_in_the_pool(seed: int) -> None:
    """Heads and framing are mutated too; after each a sound response comes on a pool of one (I13)."""

    async def main() -> None:
        chance = random.Random(seed)
        sending: list[bytes] = []

        async def serve(stream: trio.abc.Stream) -> None:
            try:
                while b"\r\n\r\n" in await stream.receive_some(65536):
                    for piece in sending:
                        await stream.send_all(piece)
                    if chance.random() < 0.5:
                        break  # else the body may stay without an end, which patience ends
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await stream.aclose()

        async with open_memory_network(serve) as network:
            makes = (OpenAIProvider, OpenAIResponses)
            for number in range(BATCH // 4):
                stream, make = chance.choice(STREAMS)
                kind = makes[isinstance(make(), ResponsesReader)]
                provider = kind(
                    base_url="http://model.test/v1",
                    dial=network.dial,
                    max_connections=1,
                    patience=Patience(headers=5, first_token=5, between_tokens=5),
                )
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(stream), stream)
                for is_sound in (False, True):
                    sent = HEAD + body if is_sound else mutated(HEAD + body, chance)
                    sending[:] = [sent] if is_sound else cut(sent, chance)
                    try:
                        status = await ask(provider)
                        assert provider.transport.statistics().active == 0
                        assert not is_sound or status is not Status.FAILED
                    except Exception as error:
                        error.add_note(f"seed {seed}, response {number}: {sent!r}")
                        raise
                provider.close()
                assert network.open == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def ask(provider: OpenAIProvider) -> Status:
    """Ask *provider* once, and return the status of what came."""
    events: list[Event] = []
    failure: ProviderError | None = None
    try:
        stream = await provider.request(HELLO, Settings(model="m"))
        try:
            while more := await stream.events():
                events.extend(more)
        finally:
            stream.close()
    except ProviderError as error:
        failure = error
    return check(events, failure)
