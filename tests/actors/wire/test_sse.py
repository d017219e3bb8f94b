"""The event splitter against tables, and against a reference that reads line by line."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.wire.sse import EventTooLarge, ServerEvent, SSESplitter


def split(*pieces: bytes, limit: int = 1000) -> list[ServerEvent]:
    splitter = SSESplitter(limit=limit)
    return [event for piece in pieces for event in splitter.feed(piece)]


def reference(stream: bytes) -> list[ServerEvent]:
    """Read *stream* by the standard's own steps, whole, one line at a time."""
    events: list[ServerEvent] = []
    name, data = b"", b""
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not line:
            if data:
                events.append((name or b"message", data[:-1]))
            name, data = b"", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"event":
                name = value
            elif field == b"data":
                data += value + b"\n"
    return events


def message(*payloads: bytes) -> list[ServerEvent]:
    return [(b"message", payload) for payload in payloads]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"data: a\n\n", message(b"a"), id="one"),
        pytest.param(b"data: a\n\ndata: b\n\n", message(b"a", b"b"), id="two"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", message(b"a", b"b"), id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", message(b"a", b"b"), id="CR"),
        pytest.param(b"data: a\r\n\ndata: b\n\r\n", message(b"a", b"b"), id="mixed line ends"),
        pytest.param(b"data: a\ndata: b\n\n", message(b"a\nb"), id="two lines"),
        pytest.param(b"data: a\r\ndata\r\ndata: b\r\n\r\n", message(b"a\n\nb"), id="empty line"),
        pytest.param(b"data:a\n\n", message(b"a"), id="no space"),
        pytest.param(b"data:  a \n\n", message(b" a "), id="spaces kept"),
        pytest.param(b"data:\n\n", message(b""), id="empty payload"),
        pytest.param(b"data\n\n", message(b""), id="only the name"),
        pytest.param(b"event: e\ndata: a\n\n", [(b"e", b"a")], id="named"),
        pytest.param(
            b"data: a\nevent: e\n\ndata: b\n\n",
            [(b"e", b"a"), *message(b"b")],
            id="name after payload",
        ),
        pytest.param(b"event: e\n\ndata: b\n\n", message(b"b"), id="name without payload"),
        pytest.param(b"event:\ndata: a\n\n", message(b"a"), id="empty name"),
        pytest.param(b": hi\n\ndata: a\n\n:\n\n", message(b"a"), id="comments"),
        pytest.param(b"data: a\n: hi\ndata: b\n\n", message(b"a\nb"), id="comment inside"),
        pytest.param(b"id: 7\nretry: 9\ndata: a\n\n", message(b"a"), id="other fields"),
        pytest.param(b"dat: x\ndat: y\n Data: z\n\n", [], id="unknown fields"),
        pytest.param(b"\n\n\ndata: a\n\n\n\n", message(b"a"), id="blank lines"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", message(b"a"), id="byte order mark"),
        pytest.param(b"\xef\xbbdata: a\n\n", [], id="half a byte order mark"),
        pytest.param(b"\n\xef\xbb\xbfdata: a\n\n", [], id="late byte order mark"),
        pytest.param(b"data: a\n\ndata: b\n", message(b"a"), id="unfinished"),
        pytest.param("data: Grüße 🎭\n\n".encode(), message("Grüße 🎭".encode()), id="UTF-8"),
        pytest.param(b'data: {"a":"\\n"}\n\n', message(b'{"a":"\\n"}'), id="escaped line end"),
        pytest.param(b"data: [DONE]\n\n", message(b"[DONE]"), id="done"),
    ],
)
def test_events_are_split_whatever_the_pieces(
    stream: bytes, events: list[ServerEvent], step: int
) -> None:
    """Every form of line end, field and comment is read as the standard says, at any split."""
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]

    assert split(*pieces) == events
    assert reference(stream) == events


STREAMS = st.lists(
    st.sampled_from(
        [
            b"data: ", b"data:", b"data", b"event: e", b"event:", b"id: 1", b": c", b"x", b" ", b":",
            b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: {}\n\n", "ü".encode(), b"\xef\xbb\xbf",
        ]
    ),
    max_size=20,
).map(b"".join)  # fmt: skip


@given(stream=STREAMS)
def test_every_split_point_gives_what_the_reference_reads(stream: bytes) -> None:
    """Wherever a stream is cut in two, its events are the same."""
    expected = reference(stream)
    if stream.endswith(b"\r"):  # the reference waits for an LF there
        expected = reference(stream + b"\n")

    for cut in range(len(stream) + 1):
        assert split(stream[:cut], stream[cut:]) == expected


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_pieces_give_what_the_whole_gives(stream: bytes, cuts: list[int]) -> None:
    """Empty pieces and any number of cuts change nothing."""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]

    assert split(*pieces) == split(stream)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_event_may_be_as_large_as_the_limit(step: int) -> None:
    """The limit is what one event may take, not what a piece or the stream may."""
    stream = b"data: %b\n\n" % (b"x" * 94) * 3
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]

    assert split(*pieces, limit=100) == message(b"x" * 94) * 3


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"data: %b\n\n" % (b"x" * 95), id="one byte more"),
        pytest.param(b"data: x\n" * 13 + b"\n", id="many lines"),
        pytest.param(b"x" * 102, id="no end in sight"),
        pytest.param(b"data: a\n\n" + b"x" * 102, id="after an event"),
        pytest.param(b"data: %b\n\ndata: a\n\n" % (b"x" * 95), id="before an event"),
    ],
)
def test_event_over_the_limit_is_refused(stream: bytes, step: int) -> None:
    """An event that would take more memory than allowed is an error that names both sizes."""
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]

    with pytest.raises(EventTooLarge, match=r"has \d+ bytes or more, the limit is 100"):
        split(*pieces, limit=100)


def test_large_event_in_small_pieces_comes_whole() -> None:
    """An event of 10 MB in ten thousand pieces is put together again."""
    payload = b"x" * 10_000_000
    stream = b"data: %b\n\n" % payload
    pieces = [stream[start : start + 1000] for start in range(0, len(stream), 1000)]

    assert split(*pieces, limit=16_000_000) == message(payload)


def test_limit_must_be_positive() -> None:
    """A limit that lets nothing through is a mistake."""
    with pytest.raises(ValueError, match="limit must be an int > 0"):
        SSESplitter(limit=0)
