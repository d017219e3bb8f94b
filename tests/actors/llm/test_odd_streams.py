"""What is odd about a stream and allowed, or not, from the bytes on the wire to events and errors."""

import json

import pytest
import trio.testing

from greenroom.actors.llm import (
    Category,
    Event,
    Finished,
    ModelSeen,
    ProviderError,
    TextDelta,
)
from tests.actors.llm.served import StreamServer, ask, data
from tests.actors.llm.streams import DONE, chunk

GRUESSE = json.dumps(chunk("m", {"content": "Grüße 🎭"}), ensure_ascii=False).encode()
STREAM = data(GRUESSE) + data(chunk("m", {}, finish_reason="stop")) + DONE
EVENTS: list[Event] = [ModelSeen("m"), TextDelta("Grüße 🎭"), Finished("stop")]


async def come(*pieces: bytes, is_whole: bool = True) -> tuple[list[Event], ProviderError | None]:
    """Return the events and the failure of a stream."""
    answer = await ask(StreamServer(pieces, is_whole=is_whole))
    return answer.events, answer.failure


@pytest.mark.parametrize(
    "sent",
    [
        STREAM,
        STREAM.replace(b"\n", b"\r"),
        STREAM.replace(b"\n", b"\r\n"),
        STREAM.replace(b"\n\n", b"\r\n\n"),
        STREAM.replace(b"data: ", b"data:"),
        STREAM.replace(b"data: ", b": comment\n:\ndata: "),
        STREAM.replace(b"data: ", b"id: 7\nretry: 5\nevent: message\nunknown\ndata: "),
        STREAM.replace(b'"choices"', b'\ndata: "choices"'),
        b"\xef\xbb\xbf" + STREAM,
        b"\n\n\n" + STREAM.replace(b"\n\n", b"\n\n\n\n"),
        STREAM.removesuffix(DONE),
        # An event without its blank line is none; here the end mark, which nobody needs.
        STREAM[:-1],
        STREAM[:-4],
        STREAM + b"data: {broken\n\n",
        STREAM + data(chunk("m", {"content": "late"})),
    ],
)
async def test_everything_that_the_standard_allows_is_read(
    sent: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """Line ends, comments, other fields, torn characters: whole and in single bytes."""
    assert await come(sent) == (EVENTS, None)
    assert await come(*(sent[at : at + 1] for at in range(len(sent)))) == (EVENTS, None)


@pytest.mark.parametrize("at", [1, 10, len(data(GRUESSE)) - 1])
@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_body_that_ends_in_mid_event_is_told_from_one_that_ends(
    at: int, is_whole: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The torn event is dropped; a connection that breaks is an error besides."""
    events, failure = await come(data(chunk("m", {"content": "a"})), data(GRUESSE)[:at])
    assert (events, failure) == ([ModelSeen("m"), TextDelta("a")], None)

    events, failure = await come(
        data(chunk("m", {"content": "a"})), data(GRUESSE)[:at], is_whole=is_whole
    )
    assert events == [ModelSeen("m"), TextDelta("a")]
    assert (failure is None) is is_whole
    assert failure is None or failure.category is Category.CONNECTIVITY


async def test_an_event_of_ten_megabytes_comes_whole(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is below the limit, in writes of any size; what is above is an error that names it."""
    text = "x" * 10_000_000
    sent = data(chunk("m", {"content": text})) + DONE
    pieces = [sent[at : at + 65_000] for at in range(0, len(sent), 65_000)]
    events, failure = await come(*pieces)
    assert (events[1], failure) == (TextDelta(text), None)

    events, failure = await come(
        data(chunk("m", {"content": "a"})), *[b"data: " + b"x" * 999] * 17_000
    )
    assert events == [ModelSeen("m"), TextDelta("a")]
    assert failure is not None
    assert failure.category is Category.MALFORMED
    assert "an event of the stream has" in str(failure)
    assert "the limit is 16777216" in str(failure)


@pytest.mark.parametrize(
    ("sent", "category", "message"),
    [
        (data(b'{"error":{"message":"slow down","code":429}}'), Category.RATE_LIMIT, "slow down"),
        (data(b'{"error":{"message":"x","type":"insufficient_quota"}}'), Category.QUOTA, "off: x"),
        (data(b'{"message":"gone","code":500}', "error"), Category.SERVER, "off: gone"),
        (data(b"not JSON at all", "error"), Category.SERVER, "off: not JSON at all"),
        (data(b'{"detail":"no"}', "error"), Category.SERVER, "off: no"),
        (data(b"{'a': 1}"), Category.MALFORMED, "an event that is no chat completion chunk"),
        (data(b"<html>\nsorry"), Category.MALFORMED, "is no chat completion chunk"),
        (data(GRUESSE[:-9]), Category.MALFORMED, "is no chat completion chunk"),
        (data(GRUESSE.replace("ü".encode(), b"\xc3")), Category.MALFORMED, "is no chat"),
    ],
)
async def test_what_is_an_error_is_one_line_with_its_category(
    sent: bytes, category: Category, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Errors of the server in mid-stream, and what is no event of the API, after what was right."""
    first = data(chunk("m", {"content": "a"}))
    for pieces in ([first + sent], [first, *(sent[at : at + 1] for at in range(len(sent)))]):
        events, failure = await come(*pieces)

        assert events == [ModelSeen("m"), TextDelta("a")]
        assert failure is not None
        assert failure.category is category
        assert message in str(failure)
        assert "\n" not in str(failure)
