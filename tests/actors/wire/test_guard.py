"""The guard of HTTP clients that others made: promises I4 (nothing is left) and I13 (the pool)."""

import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import attrs
import httpx
import httpx2
import pytest
import trio
from trio.testing import MockClock

from greenroom.actors.testing import MemoryNetwork, open_memory_network
from greenroom.actors.wire import BodyState, Closing, Guard, GuardedBody, Transport, innards
from tests.actors.llm.close.sockets import Faults, use
from tests.actors.wire.peers import END, OK, STREAM_HEAD, Peer, Received, answering, chunk

TOKEN = chunk(b"data: x\n\n")
URL = "http://model.test/"


async def serve(peer: Peer, request: Received) -> None:
    """Answer as the path says."""
    match request.target:
        case "/whole":
            await peer.send(STREAM_HEAD, TOKEN, END)
        case "/late-end":
            await peer.send(STREAM_HEAD, TOKEN)
            await trio.sleep(0.02)
            await peer.send(END)
        case "/endless":
            await peer.send(STREAM_HEAD, TOKEN)
            await trio.sleep_forever()
        case "/cut":
            await peer.send(STREAM_HEAD, TOKEN)
            await peer.close()
        case "/silent":
            await trio.sleep_forever()
        case _:
            await peer.send(OK)


@attrs.frozen
class Setting:
    """A guarded client in a network in memory."""

    client: Any
    guard: Guard
    network: MemoryNetwork

    async def send(self, path: str) -> GuardedBody:
        """Send a request, and return the body of its response."""
        request = self.client.build_request("POST", URL + path, content=b"hi")
        response = await self.guard.open(lambda: self.client.send(request, stream=True))
        body = self.guard.body_of(response)
        assert isinstance(body, GuardedBody)
        return body

    async def opened(self, path: str) -> GuardedBody:
        """As `send`, with the first piece read."""
        body = await self.send(path)
        assert await body.receive() == b"data: x\n\n"
        return body


@asynccontextmanager
async def setting(
    library: ModuleType, change: Callable[[Any], None] | None = None
) -> AsyncGenerator[Setting]:
    """Open a client of *library* with a pool of one, perhaps with a *change* before it is guarded."""
    async with open_memory_network(answering(serve)) as network:
        use(network, Faults())
        limits = library.Limits(max_connections=1)
        timeout = library.Timeout(5, pool=None)
        async with library.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            if change is not None:
                change(client)
            yield Setting(client, Guard(client), network)


libraries = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


@libraries
async def test_an_early_close_is_seen_by_the_server_at_once(
    library: ModuleType, autojump_clock: MockClock
) -> None:
    """No other task runs between the close and its effect; the slot is free with it (I4, I13)."""
    async with setting(library) as here:
        body = await here.opened("endless")
        body.close()
        after = here.network.open
        answer = await here.client.get(URL)
        figures = here.guard.statistics()

    assert after == 0
    assert body.closing == Closing(BodyState.ABORTED, 0.0)
    assert answer.text == "ok"
    assert (figures.active, figures.aborted) == (0, 1)


@libraries
async def test_a_body_read_to_its_end_gives_its_connection_back(
    library: ModuleType, autojump_clock: MockClock
) -> None:
    """The state says so, and the next request finds it (I13)."""
    async with setting(library) as here:
        body = await here.opened("whole")
        ends = [await body.receive(), await body.receive()]
        await here.client.get(URL)
        body.close()
        made = here.network.accepted

    assert ends == [b"", b""]
    assert body.state is BodyState.REUSED
    assert made == 1


@libraries
@pytest.mark.parametrize(
    ("path", "closing"),
    [
        ("late-end", Closing(BodyState.REUSED, 0.02)),
        ("endless", Closing(BodyState.CLOSED, 0.05)),
        ("cut", Closing(BodyState.CLOSED, 0.0)),
    ],
)
async def test_a_complete_body_is_read_to_its_end_for_50_ms(
    library: ModuleType, path: str, closing: Closing, autojump_clock: MockClock
) -> None:
    """The caller waits for nothing; the next request for as long (I13)."""
    async with setting(library) as here:
        body = await here.opened(path)
        began = trio.current_time()
        body.close(complete=True)
        state, told = body.state, body.closing
        answer = await here.client.get(URL)
        waited = trio.current_time() - began

    assert (state, told) == (BodyState.PARKED, None)
    assert answer.text == "ok"
    assert body.closing is not None
    assert body.closing.state is closing.state
    assert body.closing.seconds == pytest.approx(closing.seconds)
    assert waited == pytest.approx(closing.seconds)


@libraries
async def test_closing_the_guard_ends_all_that_goes_through_it(
    library: ModuleType, autojump_clock: MockClock
) -> None:
    """Requests, responses, and what is read to its end; the client itself goes on (I4)."""
    errors: list[str] = []

    async def ask(here: Setting, path: str) -> None:
        with pytest.raises(httpx2.ReadError) as caught:
            await (await here.opened(path)).receive()
        errors.append(str(caught.value))

    async with setting(library) as here, trio.open_nursery() as nursery:
        for path in ("endless", "silent"):  # the second waits for the slot
            nursery.start_soon(ask, here, path)
            await trio.sleep(1)
        here.guard.close()
        here.guard.close()
        after = here.network.open
        with pytest.raises(RuntimeError, match="this guard is closed; make a new one"):
            await here.send("whole")
        answer = await here.client.get(URL)

    assert after == 0
    assert len(errors) == 2
    assert "the request was broken off here, since its guard was closed" in errors
    assert answer.text == "ok"


@libraries
async def test_errors_are_those_of_httpx2_or_of_the_clients_own_library(
    library: ModuleType, autojump_clock: MockClock
) -> None:
    """Who reads the body gets the one, who reads the response the other."""
    async with setting(library) as here:
        body = await here.opened("endless")
        with pytest.raises(httpx2.ReadTimeout):
            await body.receive()
        with pytest.raises(httpx2.StreamClosed):
            await body.receive()
        with pytest.raises(httpx2.ReadTimeout):
            await here.send("silent")
        with pytest.raises(library.RemoteProtocolError):
            await here.client.get(URL + "cut")
        held = here.guard.statistics().active

    assert body.state is BodyState.ABORTED
    assert held == 0


async def test_a_cancelled_read_has_closed_the_connection_when_it_comes_out(
    autojump_clock: MockClock,
) -> None:
    """Whoever catches the cancel finds the body aborted, though nobody called close (I4)."""
    async with setting(httpx2) as here:
        found: list[object] = []
        body = await here.opened("endless")
        with trio.move_on_after(1):
            try:
                await body.receive()
            finally:
                found = [body.state, here.network.open]

    assert found == [BodyState.ABORTED, 0]


async def test_a_dropped_body_is_closed_and_reported(autojump_clock: MockClock) -> None:
    """Forgetting it costs a warning, not a connection (I13)."""
    async with setting(httpx2) as here:
        with pytest.warns(ResourceWarning, match="dropped while open; call its close"):
            await here.opened("endless")
        answer = await here.client.get(URL)

    assert answer.text == "ok"


class Plain(httpx2.AsyncByteStream):
    """A body that nothing is known of, and whose closing takes so many seconds."""

    def __init__(self, seconds: float, shield: bool) -> None:
        self.is_closed = False
        self._seconds = seconds
        self._shield = shield

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: x\n\n"
        await trio.sleep_forever()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=self._shield):
            await trio.sleep(self._seconds)
        self.is_closed = True


@asynccontextmanager
async def unknown(stream: Plain) -> AsyncGenerator[Setting]:
    """Open a guarded client whose transport is of an unknown kind."""

    class Unknown(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await trio.lowlevel.checkpoint()
            return httpx2.Response(200, stream=stream)

    async with (
        open_memory_network(answering(serve)) as network,
        httpx2.AsyncClient(transport=Unknown(), trust_env=False) as client,
    ):
        yield Setting(client, Guard(client), network)


async def test_a_response_of_an_unknown_kind_is_closed_by_its_own_close(
    autojump_clock: MockClock,
) -> None:
    """A system task does it, so that the plain close need not wait; it says how long it took."""
    stream = Plain(0.5, shield=False)
    async with unknown(stream) as here:
        body = await here.opened("any")
        body.close()
        told = body.closing
        await trio.sleep(0.6)

    assert told is None
    assert stream.is_closed
    assert body.closing == Closing(BodyState.ABORTED, 0.5)


@pytest.mark.parametrize("shield", [False, True], ids=["cancellable", "shielded"])
async def test_a_close_that_hangs_is_waited_for_for_a_second(
    shield: bool, autojump_clock: MockClock
) -> None:
    """Also where its own shield holds off every cancel: it is then left to itself, and counted."""
    async with unknown(Plain(60, shield)) as here:
        body = await here.opened("any")
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await body.receive()
        waited = trio.current_time() - began
        overdue = here.guard.statistics().overdue
        await trio.sleep(60)

    assert scope.cancelled_caught
    assert waited == 2
    assert overdue == shield
    assert body.closing == Closing(BodyState.ABORTED, 60.0 if shield else 1.0)
    assert here.guard.statistics().overdue == 0


async def test_a_connection_without_a_socket_is_closed_within_a_second(
    autojump_clock: MockClock,
) -> None:
    """What hangs in closing is a task of its own; the request that failed ends in time (I4)."""

    def show_nothing(info: str) -> None:
        pass

    def hide_sockets(client: Any) -> None:
        backend = client._transport._pool._network_backend
        connect = backend.connect_tcp

        async def connect_tcp(*args: Any, **kwargs: Any) -> Any:
            stream = await connect(*args, **kwargs)
            stream.get_extra_info = show_nothing
            stream.aclose = trio.sleep_forever
            return stream

        backend.connect_tcp = connect_tcp

    async with setting(httpx2, hide_sockets) as here:
        began = trio.current_time()
        with trio.move_on_after(1):
            await here.send("silent")
        waited = trio.current_time() - began
        held = here.client._transport._inner._pool._requests

    assert waited == 2
    assert held == []


async def test_requests_that_wait_get_the_slot_of_a_connection_that_is_nobodys(
    autojump_clock: MockClock,
) -> None:
    """A pool that lost its only slot before it was guarded is mended by the next that gives up."""
    async with setting(httpx2) as here, trio.open_nursery() as nursery:
        pool = here.client._transport._inner._pool
        await here.client.get(URL)
        pool._connections[0]._connection._state = type(pool._connections[0]._connection._state)(1)
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await here.client.get(URL)).text)

        nursery.start_soon(ask)
        with trio.move_on_after(1):
            await here.send("whole")
        await trio.sleep(1)
        figures = here.guard.statistics()

    assert answers == ["ok"]
    assert figures.reaped == 1


@libraries
def test_http2_is_refused_with_the_reason(library: ModuleType) -> None:
    """The message says why, and what to leave out."""
    client = library.AsyncClient(trust_env=False)
    client._transport._pool._http2 = True  # http2=True needs a package more

    with pytest.raises(httpx2.UnsupportedProtocol, match=r"not ended on the server.*without http2"):
        Guard(client)


def test_what_is_no_client_is_refused() -> None:
    """The message names both kinds that are."""
    with pytest.raises(TypeError, match=r"an httpx2.AsyncClient or an httpx.AsyncClient, not 3"):
        Guard(3)


def test_hardening_twice_is_hardening_once() -> None:
    """Two users of one client share what is around its transport."""
    client = httpx2.AsyncClient(trust_env=False)
    Guard(client)
    opened: Any = client
    transport = opened._transport
    backend = transport._inner._pool._network_backend
    Guard(client)

    assert opened._transport is transport
    assert transport._inner._pool._network_backend is backend


async def test_our_own_transport_needs_no_guard(autojump_clock: MockClock) -> None:
    """A client that stands on it is left as it is, and its bodies are closed with the others."""
    async with open_memory_network(answering(serve)) as network:
        transport = Transport(dial=network.dial)
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
            guard = Guard(client)
            response = await guard.open(
                lambda: client.send(client.build_request("POST", URL + "endless"), stream=True)
            )
            body = guard.body_of(response)
            guard.close()

    assert body.state is BodyState.ABORTED
    assert client._transport is transport  # pyright: ignore[reportPrivateUsage]


def test_legacy_httpx_is_not_imported_by_us() -> None:
    """It is no dependency; clients of it are known by the name of their module."""
    program = "import sys, greenroom.actors.llm.openai; sys.exit('httpx' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@libraries
async def test_connections_from_before_the_guard_are_hardened_too(
    library: ModuleType, autojump_clock: MockClock
) -> None:
    """A client that has been in use is no weaker than a new one (I4)."""

    def slow_close(client: Any) -> None:
        [connection] = client._transport._pool._connections
        connection._connection._network_stream.aclose = trio.sleep_forever

    async with open_memory_network(answering(serve)) as network:
        use(network, Faults())
        async with library.AsyncClient(trust_env=False) as client:
            await client.get(URL)
            slow_close(client)
            here = Setting(client, Guard(client), network)
            with trio.move_on_after(1):
                await here.send("silent")
            made, left = network.accepted, network.open
            now = trio.current_time()

    assert (made, left) == (1, 0)
    assert now == 1


# The generators inside the library are then left to the collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@libraries
@pytest.mark.parametrize("names", ["_POOL", "_CONNECTION"])
async def test_without_the_private_names_the_guard_does_with_less(
    library: ModuleType,
    names: str,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that has changed inside is closed by its public side: at once, and a moment later."""
    monkeypatch.setattr(innards, names, ("_no_such_name",))
    async with setting(library) as here:
        body = await here.opened("endless")
        body.close()
        left = here.network.open
        answer = await here.client.get(URL)
        ended = await here.opened("whole")
        end = await ended.receive()
        cancelled = await here.opened("endless")
        with trio.move_on_after(1):
            await cancelled.receive()
        after = await here.client.get(URL)

    assert left == 0
    assert body.closing == Closing(BodyState.ABORTED, 0.0)
    assert (answer.text, after.text) == ("ok", "ok")
    assert (end, ended.state) == (b"", BodyState.REUSED)
    assert cancelled.state is BodyState.ABORTED


@libraries
async def test_what_fails_at_being_ended_at_once_is_ended_in_the_background(
    library: ModuleType, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is closed in any case, and the slot comes back by the library's own way (I13)."""

    def fail(*_: object) -> None:
        raise ValueError("some other inside")

    async with setting(library) as here:
        body = await here.opened("endless")
        with monkeypatch.context() as patch:
            patch.setattr(innards.Pool, "let_go", fail)
            body.close()
        left = here.network.open
        answer = await here.client.get(URL)

    assert left == 0
    assert answer.text == "ok"
    assert body.closing is not None
