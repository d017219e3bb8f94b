"""
A request cancelled at every position: promises I4 (nothing is left) and I13 (the pool is back).

Each scenario runs on a pool of one connection, in virtual time over the network in memory, plain
and over TLS, with the watchdog and without.
"""

from collections.abc import Awaitable, Callable

import attrs
import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.actors.testing import open_memory_network
from greenroom.actors.wire import BODY_EXTENSION, Body, Transport
from greenroom.runtime.testing import World, simulate, sweep
from tests.actors.wire.peers import (
    END,
    OK,
    STREAM_HEAD,
    Peer,
    Received,
    TlsPair,
    answering,
    chunk,
    over_tls,
)

TOKENS = [chunk(b'data: {"n": %d}\n\n' % n) for n in range(3)]
DONE = chunk(b"data: [DONE]\n\n")


async def serve_path(peer: Peer, request: Received) -> None:
    """Answer as the path says."""
    match request.target:
        case "/stream":
            await peer.send(STREAM_HEAD, *TOKENS, DONE, END)
        case "/slow":
            await peer.send(STREAM_HEAD)
            for token in [*TOKENS, DONE, END]:
                await trio.sleep(1)
                await peer.send(token)
        case "/error":
            await peer.send(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
            await trio.sleep(1)
            await peer.send(chunk(b'{"error": '), chunk(b'"oops"}'), END)
        case "/stalled-head":
            await trio.sleep_forever()
        case "/second-dies" if peer.requests > 1:
            await peer.close()
        case "/hang-tail":
            await peer.send(STREAM_HEAD, *TOKENS, DONE)
            await trio.sleep_forever()
        case _:
            await peer.send(OK)


async def read(client: httpx2.AsyncClient, path: str, upload: int = 20) -> None:
    """Stream *path* as a provider does: the fast path, closed in a ``finally``."""
    request = client.build_request("POST", path, content=bytes(upload))
    response = await client.send(request, stream=True)
    body = response.extensions[BODY_EXTENSION]
    assert isinstance(body, Body)
    received = b""
    done = False
    try:
        if response.status_code != 200:
            await response.aread()
            return
        while not done and (data := await body.receive()):
            await trio.lowlevel.checkpoint()
            received += data
            done = received.endswith(b"data: [DONE]\n\n")
    finally:
        body.close(complete=done)


async def nothing(client: httpx2.AsyncClient) -> None:
    """Prepare nothing."""
    await trio.lowlevel.checkpoint()


async def one_request(client: httpx2.AsyncClient) -> None:
    """Leave a connection for the next request."""
    assert (await client.get("/ok")).text == "ok"


async def parked_response(client: httpx2.AsyncClient) -> None:
    """Leave a connection whose last response will not end."""
    await read(client, "/hang-tail")


@attrs.frozen
class Case:
    """What a sweep does, and how many runs it must have at least, plain and over TLS."""

    path: str
    floors: tuple[int, int]
    prepare: Callable[[httpx2.AsyncClient], Awaitable[None]] = nothing
    contended: bool = False
    upload: int = 20  # bytes


CASES = {
    "cold": Case("/stream", (16, 36)),
    "slow": Case("/slow", (36, 52)),
    "warm": Case("/stream", (14, 24), prepare=one_request),
    "contended": Case("/stream", (40, 66), contended=True),
    "erroring": Case("/error", (18, 34)),
    "stalled head": Case("/stalled-head", (11, 22)),
    "hang tail": Case("/hang-tail", (14, 33)),
    "after hang tail": Case("/stream", (16, 36), prepare=parked_response),
    "dying": Case("/second-dies", (16, 33), prepare=one_request),
    "upload": Case("/stream", (31, 72), upload=300_000),
}


@pytest.mark.parametrize("watched", [False, True], ids=["scopes", "watchdog"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CASES)
def test_cancel_at_every_point_leaves_nothing(
    name: str, secure: bool, watched: bool, tls: TlsPair
) -> None:
    """Wherever the cancel comes: slots, connections and warnings are none, the next one works."""
    case = CASES[name]

    async def scenario(w: World) -> None:
        handler = answering(serve_path)
        if secure:
            handler = over_tls(handler, tls.server)
        async with open_memory_network(handler) as network, trio.open_nursery() as nursery:
            transport = Transport(max_connections=1, dial=network.dial, ssl_context=tls.client)
            w.own("the pool", lambda: transport.statistics().active == 0)
            if watched:
                await nursery.start(transport.watch)
            client = httpx2.AsyncClient(
                transport=transport,
                base_url="https://model.test" if secure else "http://model.test",
                timeout=httpx2.Timeout(None, read=5),
                trust_env=False,
            )
            await case.prepare(client)
            async with trio.open_nursery() as others:
                if case.contended:
                    others.start_soon(read, client, "/slow")
                    await wait_all_tasks_blocked()
                with w.scope("request"):
                    try:
                        await read(client, case.path, case.upload)
                    except httpx2.ReadTimeout:
                        assert case.path == "/stalled-head"
            await wait_all_tasks_blocked()
            after = transport.statistics()
            open_for_server = network.open
            next_answer = await client.get("/ok")
            transport.close()
            nursery.cancel_scope.cancel()

            assert after.active == 0
            assert open_for_server == after.idle
            assert next_answer.text == "ok"
            assert transport.statistics().active == 0
            assert network.open == 0

    report = sweep(scenario, faults=["cancel"], targets=["request"]).check()
    print(f"sweep {name}, {'TLS' if secure else 'plain'}: {report.summary()}")

    assert report.runs >= case.floors[secure]


async def wait_too_long(w: World) -> None:
    """A read whose deadline passes, kept by the watchdog."""
    async with (
        open_memory_network(answering(serve_path)) as network,
        trio.open_nursery() as nursery,
    ):
        transport = Transport(dial=network.dial)
        await nursery.start(transport.watch)
        async with httpx2.AsyncClient(transport=transport, timeout=5, trust_env=False) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get("http://model.test/stalled-head")
        nursery.cancel_scope.cancel()


def test_the_watchdog_wakes_once_for_a_read_that_is_overdue() -> None:
    """It does not come again and again until the read has noticed, however late that is (R23)."""
    report = simulate(wait_too_long).check()

    assert report.seconds == 5
    assert report.steps < 60
