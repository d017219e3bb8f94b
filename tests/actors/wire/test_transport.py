"""What the transport does with requests, over the network in memory and in virtual time."""

import gc
import gzip
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import httpx2
import openai
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from greenroom.actors.testing import MemoryNetwork, MemoryStream, open_memory_network
from greenroom.actors.wire import BODY_EXTENSION, Body, BodyState, Pipe, Transport
from tests.actors.wire.peers import (
    END,
    OK,
    STREAM_HEAD,
    Answer,
    Peer,
    Received,
    TlsPair,
    answering,
    chunk,
    over_tls,
)


@attrs.frozen
class Setup:
    """A client on a transport on a network."""

    client: httpx2.AsyncClient
    transport: Transport
    network: MemoryNetwork

    async def open(self, path: str = "/") -> Body:
        """Send a request and return the body of its response."""
        request = self.client.build_request("GET", path)
        response = await self.client.send(request, stream=True)
        body = response.extensions[BODY_EXTENSION]
        assert isinstance(body, Body)
        return body


@asynccontextmanager
async def serving(
    *answers: bytes | Answer,
    handler: Callable[[trio.abc.Stream], Awaitable[None]] | None = None,
    max_connections: int = 100,
    max_keepalive: int = 20,
    keepalive_expiry: float = 60,
    seconds: httpx2.Timeout | None = None,
    watched: bool = False,
) -> AsyncGenerator[Setup]:
    """Open a network whose servers give *answers*, and a client to it."""
    async with (
        open_memory_network(handler or answering(*answers)) as network,
        trio.open_nursery() as nursery,
    ):
        transport = Transport(
            max_connections=max_connections,
            max_keepalive=max_keepalive,
            keepalive_expiry=keepalive_expiry,
            dial=network.dial,
        )
        if watched:
            await nursery.start(transport.watch)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://model.test", timeout=seconds, trust_env=False
        ) as client:
            yield Setup(client, transport, network)
        assert transport.statistics().active == 0
        assert network.open == 0
        nursery.cancel_scope.cancel()


async def hang(peer: Peer, request: Received) -> None:
    """Answer never."""
    await trio.sleep_forever()


async def leave(peer: Peer, request: Received) -> None:
    """Close the connection in place of an answer."""
    await peer.close()


def then(*steps: bytes | float) -> Answer:
    """Return an answer that sends the bytes and sleeps the seconds in *steps*."""

    async def answer(peer: Peer, request: Received) -> None:
        for step in steps:
            if isinstance(step, bytes):
                await peer.send(step)
            else:
                await trio.sleep(step)

    return answer


# --- requests and responses ---------------------------------------------------------------------


async def test_request_and_response_are_whole() -> None:
    """Method, target, headers and content arrive; status, headers and body come back."""
    seen: list[Received] = []

    async def answer(peer: Peer, request: Received) -> None:
        seen.append(request)
        await peer.send(
            b"HTTP/1.1 418 Teapot\r\nX-One: a\r\nX-One: b\r\nContent-Length: 3\r\n\r\ntea"
        )

    async with serving(answer) as to:
        with assert_checkpoints():
            response = await to.client.post("/pot?size=2", json={"a": 1}, headers={"x-key": "v"})

    assert (seen[0].method, seen[0].target, seen[0].body) == ("POST", "/pot?size=2", b'{"a":1}')
    assert seen[0].headers["x-key"] == "v"
    assert seen[0].headers["host"] == "model.test"
    assert (response.status_code, response.reason_phrase) == (418, "Teapot")
    assert response.http_version == "HTTP/1.1"
    assert response.headers.get_list("x-one") == ["a", "b"]
    assert response.text == "tea"


@pytest.mark.parametrize(
    ("method", "answer", "text"),
    [
        pytest.param("GET", STREAM_HEAD + chunk(b"a") + chunk(b"b") + END, "ab", id="chunked"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", "", id="204"),
        pytest.param("GET", b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", "", id="304"),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", id="HEAD"),
        pytest.param(
            "GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK,
            "ok",
            id="informational responses",
        ),
    ],
)
async def test_framings_leave_the_connection_for_the_next(
    method: str, answer: bytes, text: str
) -> None:
    """Each kind of response ends where it ends, and the next request reuses its connection."""
    async with serving(answer) as to:
        responses = [await to.client.request(method, "/") for _ in range(2)]

        assert [response.text for response in responses] == [text, text]
        assert to.network.accepted == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["close", "HTTP/1.0", "until close"],
)
async def test_connection_that_ends_with_its_response_is_not_kept(head: bytes) -> None:
    """What the server will not keep, we don't; nothing was aborted by that."""

    async def answer(peer: Peer, request: Received) -> None:
        await peer.send(head, b"ok")
        await peer.close()

    async with serving(answer) as to:
        texts = [(await to.client.get("/")).text for _ in range(2)]
        after = to.transport.statistics()

        assert texts == ["ok", "ok"]
        assert (after.opened, after.reused, after.idle, after.aborted) == (2, 0, 0, 0)


async def test_redirects_are_left_to_httpx2() -> None:
    """A redirect is a response like others; httpx2 follows it on the same connection."""
    found = b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"
    async with serving(found, OK) as to:
        response = await to.client.get("/", follow_redirects=True)

        assert (response.text, response.url.path) == ("ok", "/next")
        assert to.network.accepted == 1


async def test_identity_is_asked_for_in_place_of_the_default() -> None:
    """A stream that is read as it comes is not to be encoded; a caller's own wish goes through."""
    asked: list[str] = []

    async def answer(peer: Peer, request: Received) -> None:
        asked.append(request.headers["accept-encoding"])
        await peer.send(OK)

    async with serving(answer) as to:
        await to.client.get("/")
        await to.client.get("/", headers={"accept-encoding": "gzip"})
        bare = httpx2.Request("GET", "http://model.test/")
        await (await to.transport.handle_async_request(bare)).aread()

    assert asked == ["identity", "gzip", "identity"]


async def test_encoded_response_is_refused_unless_asked_for() -> None:
    """What nobody asked for can't be read and says so; what was asked for httpx2 decodes."""
    packed = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with serving(head + packed) as to:
        with pytest.raises(httpx2.DecodingError, match=r"encoded its response \(gzip\).*identity"):
            await to.client.get("/")
        response = await to.client.get("/", headers={"accept-encoding": "gzip"})
        without_body = await to.client.head("/")

        assert response.text == "hello"
        assert without_body.status_code == 200


async def test_streamed_content_is_sent_in_chunks_and_its_generator_closed() -> None:
    """Content that comes piece by piece goes out as it comes."""
    seen: list[Received] = []

    async def answer(peer: Peer, request: Received) -> None:
        seen.append(request)
        await peer.send(OK)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            await trio.lowlevel.checkpoint()
            yield piece

    async with serving(answer) as to:
        response = await to.client.post("/", content=pieces())

    assert response.text == "ok"
    assert seen[0].headers["transfer-encoding"] == "chunked"
    assert seen[0].body == b"onetwo"


async def test_connection_ends_before_the_content_is_cleaned_up(
    autojump_clock: MockClock,
) -> None:
    """A cancelled upload closes the connection first, however long the caller's generator takes."""
    story: list[int] = []

    async def deaf(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with serving(handler=deaf) as to:

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                story.append(to.network.open)

        with trio.move_on_after(1):
            await to.client.post("/", content=pieces())

    assert story == [0]


async def test_early_response_to_an_upload_is_read() -> None:
    """A server that refuses before it has read all is heard, and its connection not kept."""

    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    async with serving(handler=refuse) as to:
        response = await to.client.post("/", content=bytes(10_000_000))

        assert (response.status_code, response.text) == (413, "no")
        assert to.transport.statistics().idle == 0


async def test_content_is_sent_under_back_pressure(autojump_clock: MockClock) -> None:
    """An upload larger than the buffers goes at the pace of its reader."""
    sizes: list[int] = []

    async def answer(peer: Peer, request: Received) -> None:
        sizes.append(len(request.body))
        await peer.send(OK)

    async with serving(answer) as to:
        response = await to.client.post("/", content=bytes(1_000_000))

    assert response.text == "ok"
    assert sizes == [1_000_000]


# --- the pool -----------------------------------------------------------------------------------


async def test_connections_are_kept_for_each_origin() -> None:
    """Host and port make an origin; a connection serves no other."""
    async with serving(OK) as to:
        for url in ("http://a.test/", "http://b.test/", "http://a.test:81/", "http://A.TEST:80/"):
            await to.client.get(url)
        after = to.transport.statistics()

        assert (after.opened, after.reused, after.idle) == (3, 1, 3)


async def test_newest_connection_is_reused_first() -> None:
    """The connection that was used last is the one least likely to have been closed."""
    served: list[int] = []

    async def handler(stream: trio.abc.Stream) -> None:
        number = to.network.accepted

        async def answer(peer: Peer, request: Received) -> None:
            served.append(number)
            await peer.send(STREAM_HEAD + chunk(b"x"))
            await released.wait()
            await peer.send(END)

        await answering(answer)(stream)

    async with serving(handler=handler) as to:
        released = trio.Event()
        bodies = [await to.open() for _ in range(2)]
        released.set()
        for body in reversed(bodies):
            while await body.receive():
                pass
        await to.client.get("/")

    assert served == [1, 2, 1]


async def test_requests_wait_for_a_slot_in_order(autojump_clock: MockClock) -> None:
    """At most max_connections at once; who waits longest goes first."""
    order: list[tuple[str, float]] = []

    async def answer(peer: Peer, request: Received) -> None:
        order.append((request.target, trio.current_time() - began))
        await trio.sleep(1)
        await peer.send(OK)

    async with serving(answer, max_connections=1) as to:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(to.client.get, f"/{number}")
                await wait_all_tasks_blocked()
            active = to.transport.statistics().active

    assert active == 1
    assert order == [("/0", 0), ("/1", 1), ("/2", 2)]


async def test_oldest_idle_connection_makes_room() -> None:
    """Idle and active connections together are never more than max_connections."""
    async with serving(STREAM_HEAD + END, max_connections=2) as to:
        await to.client.get("http://a.test/")
        await to.client.get("http://b.test/")
        counts = [(to.transport.statistics().idle, to.network.open)]
        async with trio.open_nursery() as nursery:
            for host in ("c", "d"):
                nursery.start_soon(to.client.get, f"http://{host}.test/")
                await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
            counts.append((to.transport.statistics().idle, to.network.open))

        assert counts == [(2, 2), (2, 2)]
        assert to.network.accepted == 4


async def test_newest_connections_are_kept() -> None:
    """Beyond max_keepalive the connection that idled longest is closed."""
    async with serving(OK, max_keepalive=1) as to:
        for host in ("a", "b", "b"):
            await to.client.get(f"http://{host}.test/")
            assert to.network.open == 1

        assert to.network.accepted == 2


async def test_nothing_is_kept_when_nothing_may_be() -> None:
    """``max_keepalive=0`` closes each connection with its response."""
    async with serving(OK, max_keepalive=0) as to:
        await to.client.get("/")

        assert to.transport.statistics().idle == 0
        assert to.network.open == 0


async def test_idle_connection_expires(autojump_clock: MockClock) -> None:
    """A connection that idled for too long is not used again."""
    async with serving(OK, keepalive_expiry=10) as to:
        await to.client.get("/")
        await trio.sleep(9)
        await to.client.get("/")
        await trio.sleep(10)
        await to.client.get("/")

        assert to.network.accepted == 2


async def closing_after(peer: Peer, request: Received) -> None:
    """Answer, then close the connection without announcing it."""
    await peer.send(OK)
    await peer.close()


@pytest.mark.parametrize(
    "first", [closing_after, then(OK, 0.0, b"junk")], ids=["closed", "sent junk"]
)
async def test_idle_connection_is_looked_at_before_it_is_used(first: Answer) -> None:
    """A connection that was closed, or has bytes nobody asked for, is dropped (I13)."""
    async with serving(first) as to:
        texts: list[str] = []
        for _ in range(2):
            texts.append((await to.client.get("/")).text)
            await wait_all_tasks_blocked()

        after = to.transport.statistics()
        assert texts == ["ok", "ok"]
        assert (after.opened, after.reused) == (2, 0)


async def test_request_on_a_dying_connection_is_sent_again() -> None:
    """The keep-alive race: a connection that dies before an answer costs no request."""
    async with serving(OK, leave) as to:
        texts = [(await to.client.post("/", content=b"x")).text for _ in range(2)]
        after = to.transport.statistics()

        assert texts == ["ok", "ok"]
        assert (after.opened, after.reused) == (2, 1)


async def partial_head(peer: Peer, request: Received) -> None:
    """Close in the middle of the response's head."""
    await peer.send(b"HTTP/1.1 200 O")
    await peer.close()


async def one_piece() -> AsyncIterator[bytes]:
    """Content that can't be sent twice."""
    yield b"x"


@pytest.mark.parametrize(
    ("second", "content", "message"),
    [
        pytest.param(partial_head, b"x", "in the middle of a response head", id="head begun"),
        pytest.param(leave, one_piece, "without a response", id="streamed content"),
    ],
)
async def test_request_is_not_sent_again_when_it_may_not_be(
    second: Answer, content: bytes | Callable[[], AsyncIterator[bytes]], message: str
) -> None:
    """After a byte of an answer, or with content that is used up, the failure is the caller's."""
    async with serving(OK, second) as to:
        await to.client.get("/")
        with pytest.raises(httpx2.RemoteProtocolError, match=message):
            await to.client.post("/", content=content() if callable(content) else content)

        assert to.network.accepted == 1


async def test_new_connection_that_dies_is_not_tried_again() -> None:
    """Only a kept connection can have died of age."""
    async with serving(leave) as to:
        with pytest.raises(
            httpx2.RemoteProtocolError,
            match=r"http://model\.test:80 closed the connection without a response",
        ):
            await to.client.get("/")

        assert to.network.accepted == 1


async def read_to_done(body: Body) -> None:
    """Read up to the ``[DONE]`` that says that nothing of meaning follows."""
    received = b""
    while not received.endswith(b"[DONE]"):
        received += await body.receive()
    body.close(complete=True)


async def test_parked_connection_is_reused_once_its_end_came(autojump_clock: MockClock) -> None:
    """A terminator that comes late costs nobody a wait, and no connection."""
    slow_end = then(STREAM_HEAD + chunk(b"[DONE]"), 1.0, END)
    async with serving(slow_end, OK) as to:
        body = await to.open()
        await read_to_done(body)
        parked = to.transport.statistics()
        await trio.sleep(2)
        await to.client.get("/")
        after = to.transport.statistics()

        assert body.state is BodyState.PARKED
        assert (parked.active, parked.idle, parked.parked, parked.aborted) == (0, 1, 1, 0)
        assert (after.opened, after.reused, after.parked) == (1, 1, 0)


@pytest.mark.parametrize(
    "late",
    [(math.inf,), (1.0, b"0\r\n"), (1.0, b"junk\r\n"), (1.0, END + b"junk")],
    ids=["nothing", "half", "broken", "more than the end"],
)
async def test_parked_connection_is_dropped_if_its_end_did_not_come(
    late: tuple[bytes | float, ...], autojump_clock: MockClock
) -> None:
    """The next request does not wait for a terminator that may never come."""
    async with serving(then(STREAM_HEAD + chunk(b"[DONE]"), *late)) as to:
        await read_to_done(await to.open())
        await trio.sleep(2)
        began = trio.current_time()
        await read_to_done(await to.open())

        assert trio.current_time() == began
        assert to.network.accepted == 2


async def test_early_break_closes_the_connection_at_once() -> None:
    """What is left may be long: it is not read, and the server is told (I4)."""
    async with serving(then(STREAM_HEAD + chunk(b"x"), math.inf)) as to:
        body = await to.open()
        assert await body.receive() == b"x"
        assert to.network.open == 1
        body.close()

        after = to.transport.statistics()
        assert to.network.open == 0
        assert (after.active, after.aborted) == (0, 1)


def drop(responses: list[httpx2.Response]) -> None:
    """Let go of *responses*, cycles included."""
    responses.clear()
    gc.collect()


async def test_dropped_response_gives_its_slot_back() -> None:
    """A response that nobody holds warns, and the pool is whole one tick later (I13)."""
    async with serving(then(STREAM_HEAD, math.inf), max_connections=1) as to:
        request = to.client.build_request("GET", "/")
        responses = [await to.client.send(request, stream=True)]
        with pytest.warns(ResourceWarning, match=r"dropped while open on <connection to http"):
            drop(responses)
        await wait_all_tasks_blocked()

        assert to.transport.statistics().active == 0
        assert to.network.open == 0


def test_response_that_outlives_its_run_can_still_be_dropped() -> None:
    """There is no loop to tell then, so its slot is given back on the spot."""

    async def main() -> tuple[Transport, list[httpx2.Response]]:
        async with open_memory_network(answering(then(STREAM_HEAD, math.inf))) as network:
            transport = Transport(dial=network.dial)
            request = httpx2.Request("GET", "http://model.test/")
            return transport, [await transport.handle_async_request(request)]

    transport, responses = trio.run(main)
    active = transport.statistics().active
    with pytest.warns(ResourceWarning, match="dropped while open"):
        drop(responses)

    assert active == 1
    assert transport.statistics().active == 0


# --- timeouts -----------------------------------------------------------------------------------

both_ways = pytest.mark.parametrize("watched", [False, True], ids=["scopes", "watchdog"])


@both_ways
@pytest.mark.parametrize(
    "answer",
    [then(math.inf), then(b"HTTP/1.1", 4.0, b" 200", math.inf)],
    ids=["nothing", "half a head"],
)
async def test_read_timeout_of_the_head(
    watched: bool, answer: Answer, autojump_clock: MockClock
) -> None:
    """A server that sends nothing for so long is a ReadTimeout, at that moment, both ways."""
    async with serving(answer, seconds=httpx2.Timeout(None, read=5), watched=watched) as to:
        began = trio.current_time()
        with pytest.raises(
            httpx2.ReadTimeout, match=r"http://model\.test:80 sent nothing for 5 s"
        ) as caught:
            await to.client.get("/")

        silent_since = 4 if trio.current_time() - began > 5 else 0
        assert trio.current_time() == began + silent_since + 5
        assert caught.value.__cause__ is None
        assert to.transport.statistics().aborted == 1


@both_ways
async def test_read_timeout_of_the_body(watched: bool, autojump_clock: MockClock) -> None:
    """The timeout is for each wait: a slow stream is fine, a silent one is not."""
    slow = then(STREAM_HEAD, *[part for _ in range(5) for part in (4.0, chunk(b"x"))], math.inf)
    async with serving(slow, seconds=httpx2.Timeout(None, read=5), watched=watched) as to:
        began = trio.current_time()
        body = await to.open()
        received = [await body.receive() for _ in range(5)]
        with pytest.raises(httpx2.ReadTimeout, match="sent nothing for 5 s"):
            await body.receive()

        assert received == [b"x"] * 5
        assert trio.current_time() == began + 25
        assert body.state is BodyState.ABORTED


@both_ways
async def test_read_timeout_is_for_reads_only(watched: bool, autojump_clock: MockClock) -> None:
    """A consumer that takes its time between two reads is no silence of the server's."""
    answer = then(STREAM_HEAD, chunk(b"x"), 6.0, chunk(b"y"), END)
    async with serving(answer, seconds=httpx2.Timeout(None, read=5), watched=watched) as to:
        body = await to.open()
        first = await body.receive()
        await trio.sleep(20)
        rest = [await body.receive() for _ in range(2)]

        assert [first, *rest] == [b"x", b"y", b""]
        assert to.transport.statistics().aborted == 0


@both_ways
async def test_cancel_before_the_read_timeout(watched: bool, autojump_clock: MockClock) -> None:
    """A caller's own deadline is its own, not a ReadTimeout."""
    async with serving(hang, seconds=httpx2.Timeout(None, read=5), watched=watched) as to:
        with pytest.raises(trio.TooSlowError), trio.fail_after(3):
            await to.client.get("/")


async def test_watchdog_keeps_many_deadlines(autojump_clock: MockClock) -> None:
    """Each request times out by its own timeout, whatever the order they were sent in."""
    ended: list[tuple[str, float]] = []

    async def request(to: Setup, path: str, seconds: float) -> None:
        with pytest.raises(httpx2.ReadTimeout):
            await to.client.get(path, timeout=httpx2.Timeout(None, read=seconds))
        ended.append((path, trio.current_time()))

    async with serving(hang, watched=True) as to:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for path, seconds in (("/7", 7), ("/3", 3), ("/5", 5)):
                nursery.start_soon(request, to, path, seconds)

    assert ended == [("/3", began + 3), ("/5", began + 5), ("/7", began + 7)]


async def test_watchdog_sleeps_for_ever_without_a_deadline(autojump_clock: MockClock) -> None:
    """Nothing ticks: with no request under way there is no deadline left (R23)."""
    async with serving(OK, seconds=httpx2.Timeout(None, read=5), watched=True) as to:
        await to.client.get("/")
        body = await to.open()
        body.close()

        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


async def test_watchdog_runs_once() -> None:
    """A second watchdog for the same transport is a mistake; after the first has ended it is not."""
    transport = Transport()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(transport.watch)
            with pytest.raises(RuntimeError, match=r"watch\(\) runs already"):
                await transport.watch()
            nursery.cancel_scope.cancel()


async def test_pool_timeout(autojump_clock: MockClock) -> None:
    """Who waits too long for a slot gets a PoolTimeout, and the pool loses nothing (I13)."""
    async with serving(hang, max_connections=1) as to, trio.open_nursery() as nursery:
        nursery.start_soon(to.client.get, "/")
        await wait_all_tasks_blocked()
        began = trio.current_time()
        with pytest.raises(httpx2.PoolTimeout, match="one of 1 connections took longer than 2 s"):
            await to.client.get("/", timeout=httpx2.Timeout(None, pool=2))

        assert trio.current_time() == began + 2
        assert to.transport.statistics().active == 1
        nursery.cancel_scope.cancel()


async def test_write_timeout(autojump_clock: MockClock) -> None:
    """A server that does not read is a WriteTimeout."""

    async def deaf(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with serving(handler=deaf, seconds=httpx2.Timeout(None, write=2)) as to:
        with pytest.raises(httpx2.WriteTimeout, match=r"sending to .* took longer than 2 s"):
            await to.client.post("/", content=bytes(1_000_000))


class Silence:
    """A dial that never connects, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def __call__(
        self,
        host: str,
        port: int,
        /,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Pipe:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        await trio.sleep_forever()
        raise AssertionError


async def test_connect_timeout(autojump_clock: MockClock) -> None:
    """TCP and TLS together have the connect timeout."""
    async with httpx2.AsyncClient(transport=Transport(dial=Silence())) as client:
        with pytest.raises(
            httpx2.ConnectTimeout, match=r"connecting to http://\[::1\]:8080 took longer than 3 s"
        ):
            await client.get("http://[::1]:8080/", timeout=httpx2.Timeout(None, connect=3))


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [OSError("no route"), ssl.SSLError("bad"), trio.BrokenResourceError("gone")],
    ids=["OSError", "SSLError", "broken"],
)
async def test_connect_error_names_the_origin_and_the_cause(failure: Exception) -> None:
    """A connection that can't be made is a ConnectError."""
    async with httpx2.AsyncClient(transport=Transport(dial=Silence(failure))) as client:
        with pytest.raises(
            httpx2.ConnectError, match=r"can't connect to https://model\.test:443: "
        ) as caught:
            await client.get("https://model.test/")

    assert caught.value.__cause__ is failure


async def reset_after_head(peer: Peer, request: Received) -> None:
    """Break the connection in the middle of the body."""
    await peer.send(STREAM_HEAD + chunk(b"x"))
    await wait_all_tasks_blocked()
    assert isinstance(peer.stream, MemoryStream)
    peer.stream.reset()
    raise trio.BrokenResourceError


async def test_reset_that_is_there_already_is_met_without_waiting() -> None:
    """A read that finds the connection broken raises as one that waited does."""
    async with serving(reset_after_head) as to:
        body = await to.open()
        await wait_all_tasks_blocked()
        await body.receive()  # what came with the head
        await wait_all_tasks_blocked()
        with pytest.raises(httpx2.ReadError, match="the peer reset the connection"):
            await body.receive()

        assert body.state is BodyState.ABORTED


async def end_after_head(peer: Peer, request: Received) -> None:
    """End the connection in the middle of the body."""
    await peer.send(STREAM_HEAD + chunk(b"x"))
    await peer.close()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param(b"SSH-2.0-x\r\n\r\n", httpx2.RemoteProtocolError, "no valid", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
            httpx2.RemoteProtocolError,
            "no valid HTTP/1.1 response",
            id="endless head",
        ),
        pytest.param(
            b"HTTP/1.1 103 Hints\r\n\r\n" * 40,
            httpx2.RemoteProtocolError,
            "33 informational responses",
            id="endless hints",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            httpx2.RemoteProtocolError,
            "no valid",
            id="upgrade nobody asked for",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            httpx2.RemoteProtocolError,
            "no valid",
            id="unknown transfer coding",
        ),
        pytest.param(
            STREAM_HEAD + b"junk\r\n", httpx2.RemoteProtocolError, "chunk size line", id="framing"
        ),
        pytest.param(reset_after_head, httpx2.ReadError, "broke the connection", id="reset"),
        pytest.param(
            end_after_head, httpx2.RemoteProtocolError, "middle of a chunked body", id="cut short"
        ),
    ],
)
async def test_bad_responses_are_errors_of_httpx2(
    answer: bytes | Answer, error: type[Exception], message: str
) -> None:
    """Whatever a server does wrong has the httpx2 error for it, and the next request works (I13)."""
    answers = iter([answer])

    async def once(peer: Peer, request: Received) -> None:
        now = next(answers, OK)
        if isinstance(now, bytes):
            await peer.send(now)
        else:
            await now(peer, request)

    async with serving(once, max_connections=1) as to:
        with pytest.raises(error, match=message):
            await to.client.get("/")
        await wait_all_tasks_blocked()
        left_open = to.network.open
        response = await to.client.get("/")

    assert left_open == 0
    assert response.text == "ok"


async def test_invalid_request_is_refused_before_it_is_sent() -> None:
    """What is no valid HTTP is the caller's error, and costs no connection's health."""
    async with serving(OK) as to:
        with pytest.raises(httpx2.LocalProtocolError):
            await to.client.post("/", content=b"abc", headers={"content-length": "5"})
        response = await to.client.get("/")

        assert response.text == "ok"


@pytest.mark.parametrize(
    ("method", "url", "headers", "message"),
    [
        ("GET", "ws://model.test/", {}, "to http:// and https:// only, not to 'ws://model.test/'"),
        ("GET", "ftp://model.test/", {}, "http:// and https:// only"),
        ("CONNECT", "http://model.test/", {}, r"CONNECT.*AsyncHTTPTransport\(proxy"),
        ("GET", "http://model.test/", {"Upgrade": "websocket"}, "'websocket'; use .*WebSocket"),
    ],
)
async def test_what_is_not_done_is_refused_with_the_way_out(
    method: str, url: str, headers: dict[str, str], message: str
) -> None:
    """Unknown schemes, tunnels and upgrades fail before anything is opened."""
    transport = Transport(dial=Silence())

    with pytest.raises(httpx2.UnsupportedProtocol, match=message):
        await transport.handle_async_request(httpx2.Request(method, url, headers=headers))
    assert transport.statistics().active == 0


def test_http2_and_proxies_are_refused_with_the_way_out() -> None:
    """Options that other transports have say why this one does not."""
    with pytest.raises(httpx2.UnsupportedProtocol, match=r"HTTP/1\.1 only.*AsyncHTTPTransport"):
        Transport(http2=True)
    with pytest.raises(httpx2.UnsupportedProtocol, match=r"proxies.*AsyncHTTPTransport\(proxy"):
        Transport(proxy="http://proxy.test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_connections": 0}, "max_connections must be an int > 0, not 0"),
        ({"max_keepalive": -1}, "max_keepalive must be an int >= 0, not -1"),
        ({"keepalive_expiry": 0}, r"keepalive_expiry must be > 0 \(seconds\)"),
        ({"keepalive_expiry": math.nan}, "keepalive_expiry must be > 0"),
    ],
)
def test_options_are_checked(options: dict[str, int], message: str) -> None:
    """A number out of its range is named with its range."""
    with pytest.raises(ValueError, match=message):
        Transport(**options)  # type: ignore[arg-type]


# --- closing ------------------------------------------------------------------------------------


async def test_close_ends_all_requests_at_once() -> None:
    """Requests that wait for a slot, for a head or for a body end with an error of httpx2's."""
    ended: dict[str, str] = {}

    async def attempt(name: str, action: Callable[[], Awaitable[object]]) -> None:
        try:
            await action()
        except (httpx2.NetworkError, RuntimeError) as error:
            ended[name] = f"{type(error).__name__}: {error}"

    async def answer(peer: Peer, request: Received) -> None:
        if request.target == "/body":
            await peer.send(STREAM_HEAD)
        await trio.sleep_forever()

    async with serving(answer, max_connections=2) as to:
        body = await to.open("/body")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, "body", body.receive)
            nursery.start_soon(attempt, "head", lambda: to.client.get("/"))
            await wait_all_tasks_blocked()
            nursery.start_soon(attempt, "slot", lambda: to.client.get("/"))
            await wait_all_tasks_blocked()
            to.transport.close()
            open_after = to.network.open
            to.transport.close()
        with pytest.raises(RuntimeError, match="this transport is closed; make a new one"):
            await to.client.get("/")

    assert open_after == 0
    closed_here = "ReadError: the connection to http://model.test:80 was closed here meanwhile"
    assert ended == {
        "body": closed_here,
        "head": closed_here,
        "slot": "RuntimeError: this transport is closed; make a new one",
    }


async def test_close_while_connecting_ends_the_new_connection() -> None:
    """A connection that is made after the close is closed."""
    transport = Transport()
    async with open_memory_network(answering(OK)) as network:

        async def dial_late(*args: object, **kwargs: object) -> Pipe:
            pipe = await network.dial("model.test", 80)
            transport.close()
            return pipe

        transport = Transport(dial=dial_late)
        with pytest.raises(httpx2.ConnectError, match="closed while connecting"):
            await transport.handle_async_request(httpx2.Request("GET", "http://model.test/"))

        assert network.open == 0
        assert transport.statistics().active == 0


@pytest.mark.parametrize("complete", [False, True])
async def test_body_closed_by_another_task_wakes_its_reader(complete: bool) -> None:
    """A supervisor can end a stream from outside, by a plain call; no reader stays behind in it."""
    async with serving(then(STREAM_HEAD, math.inf)) as to:
        body = await to.open()
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(httpx2.ReadError, match="closed here meanwhile"):
                    await body.receive()

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            body.close(complete=complete)
            assert to.network.open == 0

        with pytest.raises(httpx2.StreamClosed):
            await body.receive()


# --- the openai package -------------------------------------------------------------------------

COMPLETION = (
    b'{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}'
)


# The SDK leaves its own generators to the collector, after any stream and on any transport.
@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2):ResourceWarning")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_unmodified_openai_client_streams(secure: bool, tls: TlsPair) -> None:
    """The SDK's own streaming works over the transport, and its connection is kept."""
    events = [b"data: " + COMPLETION % word + b"\n\n" for word in (b"Hell", b"o")]
    handler = answering(
        STREAM_HEAD + b"".join(map(chunk, [*events, b"data: [DONE]\n\n"])) + END,
    )
    async with open_memory_network(over_tls(handler, tls.server) if secure else handler) as network:
        transport = Transport(dial=network.dial, ssl_context=tls.client)
        async with openai.AsyncOpenAI(
            api_key="k",
            base_url=f"{'https' if secure else 'http'}://model.test/v1",
            http_client=httpx2.AsyncClient(transport=transport),
            max_retries=0,
        ) as client:
            texts: list[str] = []
            for _ in range(2):
                stream = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "hi"}], stream=True
                )
                parts = [piece.choices[0].delta.content or "" async for piece in stream]
                texts.append("".join(parts))
            after = transport.statistics()
        gc.collect()

        assert texts == ["Hello", "Hello"]
        assert (after.opened, after.reused, after.active) == (1, 1, 0)
        assert network.open == 0
