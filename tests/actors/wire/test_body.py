"""The decoders against tables and h11, and what a `Body` does with its connection."""

import itertools
from typing import cast

import h11
import httpx2
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.wire.body import (
    Body,
    BodyState,
    ChunkedDecoder,
    Decoder,
    EndDecoder,
    LengthDecoder,
    decoder_for,
)


def fed(decoder: Decoder, data: bytes, step: int) -> bytes:
    """Return what *decoder* makes of *data* in pieces of *step* bytes, up to its end."""
    payload = b""
    for start in range(0, len(data), step):
        if decoder.finished:
            decoder.rest += data[start:]
            break
        payload += decoder.decode(data[start : start + step])
    return payload


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("wire", "payload", "rest"),
    [
        pytest.param(b"0\r\n\r\n", b"", b"", id="empty"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"", id="one chunk"),
        pytest.param(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", b"", id="two chunks"),
        pytest.param(b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"", id="capital size"),
        pytest.param(b"1\r\na\r\n" * 3 + b"0\r\n\r\n", b"aaa", b"", id="equal sizes"),
        pytest.param(b"1;x\r\na\r\n" * 3 + b"0\r\n\r\n", b"aaa", b"", id="equal extensions"),
        pytest.param(b"0005\r\nhello\r\n000\r\n\r\n", b"hello", b"", id="leading zeros"),
        pytest.param(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n', b"hello", b"", id="extensions"),
        pytest.param(b"5 \t\r\nhello\r\n0 ;x\r\n\r\n", b"hello", b"", id="padded sizes"),
        pytest.param(b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b"", id="line ends inside"),
        pytest.param(b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"x", b"", id="trailers"),
        pytest.param(b"1\r\nx\r\n0\r\n\r\nHTTP/1.1 ", b"x", b"HTTP/1.1 ", id="bytes after it"),
        pytest.param(b"0\r\nA: b\r\n\r\n\r\n", b"", b"\r\n", id="bytes after trailers"),
    ],
)
def test_chunked_body_is_decoded_whatever_the_split(
    wire: bytes, payload: bytes, rest: bytes, step: int
) -> None:
    """Size lines, payload, trailers and what follows are told apart at any split."""
    decoder = ChunkedDecoder()

    assert fed(decoder, wire, step) == payload
    assert decoder.finished
    assert decoder.rest == rest


@pytest.mark.parametrize("step", [1, 1000, 100_000])
@pytest.mark.parametrize(
    ("wire", "message"),
    [
        pytest.param(b"x\r\n", "is no chunk size line", id="no number"),
        pytest.param(b"+5\r\nhello\r\n", "is no chunk size line", id="sign"),
        pytest.param(b"0x5\r\nhello\r\n", "is no chunk size line", id="prefix"),
        pytest.param(b"1_0\r\n", "is no chunk size line", id="underscore"),
        pytest.param(b"-1\r\n", "is no chunk size line", id="negative"),
        pytest.param(b"\r\n", "is no chunk size line", id="empty line"),
        pytest.param(b" 5\r\nhello\r\n", "is no chunk size line", id="leading space"),
        pytest.param(b"5\nhello\r\n", "is no chunk size line", id="bare LF"),
        pytest.param(b"f" * 17 + b"\r\n", "is no chunk size line", id="17 digits"),
        pytest.param(b"5\r\nhello!\r\n", "ends with b'!", id="chunk too long"),
        pytest.param(b"5\r\nhello\n\n", "ends with b'\\\\n", id="chunk ends with LF"),
        pytest.param(b"1\r\na\r\n" * 2 + b"1\nb\r\n", "chunk size line", id="LF after equals"),
        pytest.param(b"1\r\na\r\n" * 3 + b"1\r\nab", "ends with b'b", id="long after equals"),
        pytest.param(b"0" * 5000, "is no chunk size line", id="endless size"),
        pytest.param(b"1;" + b"x" * 5000, "is no chunk size line", id="endless extension"),
        pytest.param(b"1;" + b"x" * 5000 + b"\r\n", "chunk size line", id="long extension"),
        pytest.param(b"0\r\n" + b"A: b\r\n" * 3000, "more than 16384 bytes", id="endless trailers"),
        pytest.param(
            b"0\r\n" + b"A: b\r\n" * 3000 + b"\r\n", "more than 16384 bytes", id="long trailers"
        ),
    ],
)
def test_broken_chunked_framing_is_refused(wire: bytes, message: str, step: int) -> None:
    """What is no chunked body, or would not stay within bounds, is an error of the server's."""
    decoder = ChunkedDecoder()

    with pytest.raises(httpx2.RemoteProtocolError, match=message):
        fed(decoder, wire, step)
    assert not decoder.finished


@pytest.mark.parametrize(
    ("decoder", "wire", "message"),
    [
        (ChunkedDecoder(), b"5\r\nabc", "middle of a chunked body, after 3 bytes"),
        (LengthDecoder(5), b"abc", "middle of a body, after 3 of 5 bytes"),
    ],
    ids=["chunked", "length"],
)
def test_end_of_the_connection_cuts_a_framed_body_short(
    decoder: Decoder, wire: bytes, message: str
) -> None:
    """A connection that ends before the body does is an error that says how far it got."""
    assert decoder.decode(wire) == b"abc"

    with pytest.raises(httpx2.RemoteProtocolError, match=message):
        decoder.end()


def test_end_of_the_connection_ends_an_unframed_body() -> None:
    """Without length and chunks, all bytes are payload and the end is the end."""
    decoder = EndDecoder()

    assert decoder.decode(b"anything\r\n0\r\n\r\n") == b"anything\r\n0\r\n\r\n"
    assert not decoder.finished
    decoder.end()
    assert decoder.finished


def test_length_body_leaves_what_follows_alone() -> None:
    """Payload ends at the length; the rest is kept apart."""
    decoder = LengthDecoder(5)

    assert decoder.decode(b"he") == b"he"
    assert decoder.decode(b"lloHTTP") == b"llo"
    assert decoder.finished
    assert decoder.rest == b"HTTP"


CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("method", "status", "headers", "kind", "finished"),
    [
        ("GET", 200, [CHUNKED], ChunkedDecoder, False),
        ("GET", 200, [(b"content-length", b"3"), CHUNKED], ChunkedDecoder, False),
        ("GET", 200, [(b"content-length", b"3")], LengthDecoder, False),
        ("GET", 200, [(b"content-length", b"0")], LengthDecoder, True),
        ("GET", 200, [], EndDecoder, False),
        ("HEAD", 200, [(b"content-length", b"3")], LengthDecoder, True),
        ("HEAD", 200, [CHUNKED], LengthDecoder, True),
        ("GET", 204, [], LengthDecoder, True),
        ("GET", 304, [(b"content-length", b"3")], LengthDecoder, True),
    ],
)
def test_framing_follows_the_head(
    method: str,
    status: int,
    headers: list[tuple[bytes, bytes]],
    kind: type[object],
    finished: bool,
) -> None:
    """The decoder is chosen as RFC 9112, section 6.3 says."""
    decoder = decoder_for(method, status, headers)

    assert isinstance(decoder, kind)
    assert decoder.finished is finished


def h11_wire(payloads: list[bytes], trailers: list[tuple[str, str]]) -> bytes:
    """Return a chunked body as h11 writes it."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert isinstance(server.next_event(), h11.Request)
    assert isinstance(server.next_event(), h11.EndOfMessage)
    server.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
    wire = b"".join(server.send(h11.Data(payload)) or b"" for payload in payloads)
    return wire + (server.send(h11.EndOfMessage(headers=trailers)) or b"")


def h11_reads(wire: bytes) -> tuple[bytes, bytes] | None:
    """Return payload and rest as h11 reads the chunked body *wire*, None if it refuses it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    payload = b""
    try:
        while True:
            event = client.next_event()
            if isinstance(event, h11.Data):
                payload += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return payload, client.trailing_data[0]
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return *data* in pieces that end at *cuts*."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    trailers=st.lists(st.sampled_from([("X-A", "b"), ("Digest", "0")]), max_size=2),
    rest=st.binary(max_size=5),
)
def test_what_h11_writes_is_read_at_every_split_point(
    payloads: list[bytes], trailers: list[tuple[str, str]], rest: bytes
) -> None:
    """Payload and rest come out the same wherever the bytes are cut in two."""
    wire = h11_wire(payloads, trailers) + rest

    for cut in range(len(wire) + 1):
        decoder = ChunkedDecoder()
        payload = decoder.decode(wire[:cut])
        if decoder.finished:
            decoder.rest += wire[cut:]
        else:
            payload += decoder.decode(wire[cut:])
        assert (payload, decoder.rest) == (b"".join(payloads), rest)


@given(
    wire=st.lists(
        st.sampled_from(
            [b"0", b"1", b"2", b"a", b"\r\n", b"\r", b"\n", b";x", b"x", b" ", b"0\r\n\r\n"]
        ),
        max_size=14,
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 100), max_size=5),
)
def test_what_h11_reads_is_read_the_same(wire: bytes, cuts: list[int]) -> None:
    """Any bytes that h11 takes for a chunked body give the same payload, whatever the splits."""
    expected = h11_reads(wire)
    decoder = ChunkedDecoder()
    payload = b""
    try:
        for piece in cut_at(wire, cuts):
            if decoder.finished:
                decoder.rest += piece
            else:
                payload += decoder.decode(piece)
    except httpx2.RemoteProtocolError:
        assert expected is None
    else:
        assert expected in (None, (payload, decoder.rest))
        assert decoder.finished or expected is None


class FakeLease:
    """A connection whose bytes are a script; None stands for 'nothing there yet'."""

    def __init__(self, *arriving: bytes | httpx2.TransportError | None) -> None:
        self.arriving = list(arriving)
        self.reusable = True
        self.kept = True  # what give_back answers
        self.calls: list[str] = []

    def receive_nowait(self) -> bytes | None:
        self.calls.append("look")
        item = self.arriving.pop(0) if self.arriving else None
        if isinstance(item, httpx2.TransportError):
            raise item
        return item

    async def receive(self) -> bytes:
        self.calls.append("wait")
        await trio.lowlevel.checkpoint()
        while self.arriving:
            if (item := self.receive_nowait()) is not None:
                return item
        await trio.sleep_forever()
        raise AssertionError

    def give_back(self, parked: Decoder | None = None) -> bool:
        self.calls.append("reuse" if parked is None else "park")
        return self.kept

    def close(self, *, aborted: bool) -> None:
        self.calls.append("abort" if aborted else "close")

    def abandon(self) -> None:
        self.calls.append("abandon")


def body_of(lease: FakeLease, decoder: Decoder | None = None, first: bytes = b"") -> Body:
    return Body(lease, decoder or ChunkedDecoder(), first)


REST = httpx2.ReadError("reset")


@pytest.mark.parametrize(
    ("arriving", "complete", "reusable", "kept", "state", "calls"),
    [
        pytest.param([], False, True, True, BodyState.ABORTED, ["abort"], id="early"),
        pytest.param(
            [b"0\r\n\r\n"], False, True, True, BodyState.ABORTED, ["abort"], id="early, unread end"
        ),
        pytest.param(
            [b"0\r\n\r\n"],
            True,
            True,
            True,
            BodyState.REUSED,
            ["look", "reuse"],
            id="complete, end is here",
        ),
        pytest.param(
            [None], True, True, True, BodyState.PARKED, ["look", "park"], id="complete, end to come"
        ),
        pytest.param(
            [b"0\r"], True, True, True, BodyState.PARKED, ["look", "park"], id="complete, half end"
        ),
        pytest.param(
            [None],
            True,
            True,
            False,
            BodyState.CLOSED,
            ["look", "park", "close"],
            id="complete, nothing is kept",
        ),
        pytest.param(
            [b""], True, True, True, BodyState.CLOSED, ["look", "close"], id="complete, peer left"
        ),
        pytest.param(
            [b"junk\r\n"],
            True,
            True,
            True,
            BodyState.CLOSED,
            ["look", "close"],
            id="complete, broken end",
        ),
        pytest.param(
            [REST], True, True, True, BodyState.CLOSED, ["look", "close"], id="complete, reset"
        ),
        pytest.param(
            [b"0\r\n\r\nHTTP"],
            True,
            True,
            True,
            BodyState.CLOSED,
            ["look", "close"],
            id="complete, more than the end",
        ),
        pytest.param(
            [], True, False, True, BodyState.CLOSED, ["close"], id="complete, not reusable"
        ),
    ],
)
def test_close_decides_by_this_table(
    arriving: list[bytes | httpx2.TransportError | None],
    complete: bool,
    reusable: bool,
    kept: bool,
    state: BodyState,
    calls: list[str],
) -> None:
    """The connection is reused, parked, closed or aborted as the state of things says (I13)."""
    lease = FakeLease(*arriving)
    lease.reusable = reusable
    lease.kept = kept
    body = body_of(lease)

    body.close(complete=complete)
    after_first = list(lease.calls)
    body.close(complete=not complete)

    assert body.state is state
    # a lease that was ended by a refused give_back is closed once more, which is idempotent
    assert after_first == calls
    assert lease.calls == calls


async def test_receive_gives_payload_then_the_end() -> None:
    """The connection is given back with the last payload, before the caller asks again."""
    lease = FakeLease(b"2\r\nhe\r\n", b"1", None, b"\r\nl\r\n0\r\n\r\n")
    body = body_of(lease, first=b"first")

    received = [await body.receive() for _ in range(3)]
    state = body.state
    end = [await body.receive() for _ in range(2)]

    assert received == [b"first", b"he", b"l"]
    assert state is BodyState.REUSED
    assert end == [b"", b""]
    assert lease.calls.count("wait") == 1


async def test_body_that_came_with_the_head_is_over_at_once() -> None:
    """No read is needed, or made, for a body that is there already."""
    lease = FakeLease()
    decoder = ChunkedDecoder()
    body = body_of(lease, decoder, decoder.decode(b"2\r\nhe\r\n0\r\n\r\n"))

    assert body.state is BodyState.REUSED
    assert [await body.receive(), await body.receive()] == [b"he", b""]
    assert lease.calls == ["reuse"]


async def test_iteration_ends_and_needs_no_generator() -> None:
    """A body is its own iterator, so there is nothing to be left unclosed."""
    body = body_of(FakeLease(b"2\r\nhe\r\n", b"0\r\n\r\n"))

    assert aiter(body) is cast(object, body)
    assert [piece async for piece in body] == [b"he"]


async def test_connection_that_may_not_be_reused_is_closed_at_the_end() -> None:
    """A complete body on a connection that ends with it is closed, not aborted."""
    lease = FakeLease(b"all", b"")
    lease.reusable = False
    body = body_of(lease, EndDecoder())

    assert [await body.receive(), await body.receive()] == [b"all", b""]
    assert body.state is BodyState.CLOSED
    assert lease.calls[-1] == "close"


@pytest.mark.parametrize(
    "failing", [httpx2.ReadError("reset"), b"junk\r\n", b""], ids=["reset", "junk", "cut short"]
)
async def test_failure_aborts_before_it_is_raised(failing: bytes | httpx2.ReadError) -> None:
    """Whatever fails, the connection is gone by then, and so is the body."""
    lease = FakeLease(failing)
    body = body_of(lease)

    with pytest.raises(httpx2.TransportError):
        await body.receive()

    assert body.state is BodyState.ABORTED
    assert lease.calls == ["look", "abort"]
    with pytest.raises(httpx2.StreamClosed):
        await body.receive()


async def test_cancelled_receive_aborts_before_anything_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cancel closes the connection on its way out (I4)."""
    lease = FakeLease()
    body = body_of(lease)
    seen: list[str] = []

    with trio.move_on_after(1):
        try:
            await body.receive()
        finally:
            seen += lease.calls

    assert seen == ["look", "wait", "abort"]
    assert body.state is BodyState.ABORTED


async def test_receive_checkpoints_at_least_every_64_calls() -> None:
    """A body that never has to wait still lets other tasks run, and a cancel in (R12)."""
    body = body_of(FakeLease(*[b"1\r\nx\r\n"] * 200))
    received = 0

    with trio.CancelScope() as scope:
        scope.cancel()
        while received < 200:
            await body.receive()
            received += 1

    assert 1 <= received <= 64
    assert body.state is BodyState.ABORTED


async def test_framing_without_payload_checkpoints_too() -> None:
    """A peer that sends nothing but framing can't keep the task from being cancelled."""
    body = body_of(FakeLease(b"1;", *[b"x"] * 1000))

    with trio.CancelScope() as scope:
        scope.cancel()
        await body.receive()

    assert scope.cancelled_caught


async def test_aclose_is_close() -> None:
    """What httpx2 calls at the end of a response aborts what was not read."""
    body = body_of(FakeLease())

    await body.aclose()

    assert body.state is BodyState.ABORTED


def test_dropped_body_warns_and_lets_go() -> None:
    """An open body that nobody holds is the program's fault, and still leaves nothing."""
    lease = FakeLease()
    body = body_of(lease)

    with pytest.warns(ResourceWarning, match="dropped while open"):
        del body

    assert lease.calls == ["abandon"]
