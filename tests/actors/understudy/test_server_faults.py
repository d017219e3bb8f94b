"""Every fault, as a raw client sees it: in memory on virtual time, and cuts over real sockets."""

import json
from collections.abc import Awaitable, Callable

import h11
import pytest
import trio
import trio.testing

from greenroom.actors.testing.network import open_memory_network
from greenroom.actors.understudy import Understudy, open_understudy
from tests.actors.understudy.peer import Peer, asking, connected, payloads, text_of

FOREVER = 1_000_000.0  # seconds of virtual time that count as for ever


async def events_of(fault: str) -> list[bytes]:
    """Return the events of a stream that ends, as *fault* has it."""
    async with connected(Understudy(faults=[fault])) as peer:
        await peer.post(asking())
        return await peer.events()


async def sound_events() -> list[bytes]:
    """Return the events of a stream in which nothing goes wrong."""
    return await events_of("delay=0")


async def read_for_ever(peer: Peer) -> bytes:
    """Return the bytes of the body that come, and check that then nothing does, not even the end."""
    seen = b""
    with trio.move_on_after(FOREVER) as scope:
        while part := await peer.part():
            seen += part

    assert scope.cancelled_caught
    return seen


async def test_delay_holds_the_head_back(autojump_clock: trio.testing.MockClock) -> None:
    """The head comes when the delay is over, and all else is as ever."""
    async with connected(Understudy(faults=["delay=2"])) as peer:
        await peer.post(asking())
        head = await peer.head()

        assert (head.status_code, trio.current_time()) == (200, 2)
        assert (await peer.body()).endswith(b"data: [DONE]\n\n")


async def test_head_can_be_held_back_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    """No byte comes, however long the client waits."""
    async with connected(Understudy(faults=["stall-head"])) as peer:
        await peer.post(asking())
        with trio.move_on_after(FOREVER) as scope:
            await peer.stream.receive_some()

    assert scope.cancelled_caught


@pytest.mark.parametrize("events", [0, 1, 5])
async def test_stream_stalls_after_so_many_events(
    autojump_clock: trio.testing.MockClock, events: int
) -> None:
    """The head and the first events come; then nothing does, and the connection stays."""
    async with connected(Understudy(faults=[f"stall@{events}"])) as peer:
        await peer.post(asking())
        assert (await peer.head()).status_code == 200
        seen = payloads(await read_for_ever(peer))

    assert seen == (await sound_events())[:events]


async def test_end_can_be_held_back_after_done(autojump_clock: trio.testing.MockClock) -> None:
    """All events come, [DONE] last, but neither the terminator nor the end of the connection."""
    async with connected(Understudy(faults=["hang-close"])) as peer:
        await peer.post(asking())
        await peer.head()
        seen = payloads(await read_for_ever(peer))

    assert seen == await sound_events()


async def test_done_can_be_left_out(autojump_clock: trio.testing.MockClock) -> None:
    """The body ends properly, without [DONE]."""
    assert await events_of("no-done") == (await sound_events())[:-1]


async def test_error_ends_the_stream_in_its_midst(autojump_clock: trio.testing.MockClock) -> None:
    """The event of that number is an error object, and the body ends with it."""
    events, sound = await events_of("error@3"), await sound_events()

    assert events[:2] == sound[:2]
    assert json.loads(events[2])["error"]["type"] == "server_error"
    assert len(events) == 3


async def test_malformed_event_is_no_json(autojump_clock: trio.testing.MockClock) -> None:
    """That one event cannot be decoded; those around it can."""
    events, sound = await events_of("malformed@3"), await sound_events()

    with pytest.raises(json.JSONDecodeError):
        json.loads(events[2])
    assert events[:2] + events[3:] == sound[:2] + sound[3:]


async def test_truncated_event_is_no_utf8(autojump_clock: trio.testing.MockClock) -> None:
    """That one event holds the first two bytes of a character of three, inside its text."""
    events, sound = await events_of("truncate-utf8@3"), await sound_events()

    with pytest.raises(UnicodeDecodeError, match="invalid continuation byte"):
        events[2].decode()
    assert json.loads(events[2].replace(b"\xe2\x82", b"")) == json.loads(sound[2])
    assert events[:2] + events[3:] == sound[:2] + sound[3:]


async def test_giant_event_comes_whole(autojump_clock: trio.testing.MockClock) -> None:
    """The first text is larger by that much, and arrives through small reads."""
    events, sound = await events_of("giant=10MB"), await sound_events()

    assert len(events[1]) == len(sound[1]) + 10_000_000
    assert text_of(events).startswith("I'm xxx")


@pytest.mark.parametrize("stream", [True, False])
async def test_status_and_retry_after_are_answered_to_the_requests_selected(
    autojump_clock: trio.testing.MockClock, stream: bool
) -> None:
    """Two requests fail with their headers, on one connection; the third works."""
    async with connected(Understudy(faults=["status=429;retry-after=3;times=2"])) as peer:
        seen: list[tuple[int, bytes | None]] = []
        for _ in range(3):
            await peer.post(asking(stream=stream))
            head = await peer.head()
            body = await peer.body()
            seen.append((head.status_code, dict(head.headers).get(b"retry-after")))
            assert head.status_code == 200 or b"rate_limit_error" in body

    assert seen == [(429, b"3"), (429, b"3"), (200, None)]


async def test_fault_of_one_request_spares_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With nth, only the request of that number fails; other pages are not counted."""
    async with connected(Understudy(faults=["status=500;nth=2"])) as peer:
        seen: list[int] = []
        for _ in range(3):
            await peer.send("GET", "/v1/models")
            await peer.json()
            await peer.post(asking(stream=False))
            seen.append((await peer.json())[0])

    assert seen == [200, 500, 200]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")],
)
async def test_a_status_on_demand_has_the_error_type_of_its_class(
    autojump_clock: trio.testing.MockClock, status: int, kind: str
) -> None:
    """A client that reads the type, not the status, takes the failure for what it is."""
    async with connected(Understudy(faults=[f"status={status}"])) as peer:
        await peer.post(asking(stream=False))
        answered, body = await peer.json()

    assert (answered, body["error"]["type"]) == (status, kind)


async def read_to_the_cut(peer: Peer) -> tuple[bytes, type[Exception]]:
    """Ask, and return the bytes of the body up to the cut, and what the cut looks like."""
    seen = b""
    await peer.post(asking())
    assert (await peer.head()).status_code == 200
    try:
        while part := await peer.part():
            seen += part
    except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        return seen, type(error)
    raise AssertionError("the body came to its end")


@pytest.mark.parametrize("fault", ["reset", "close"])
@pytest.mark.parametrize("at", [0, 1, 1200])
async def test_connection_is_cut_at_the_byte_over_a_real_socket(fault: str, at: int) -> None:
    """So many bytes of the body come, then a reset, or the end without a terminator."""
    async with (
        open_understudy(faults=[f"{fault}@{at};times=1"]) as understudy,
        await trio.open_tcp_stream("127.0.0.1", understudy.port) as stream,
        await trio.open_tcp_stream("127.0.0.1", understudy.port) as second,
    ):
        seen, error = await read_to_the_cut(Peer(stream))
        after = Peer(second)
        await after.post(asking())
        sound = await after.events()

    cut = trio.BrokenResourceError if fault == "reset" else h11.RemoteProtocolError
    assert len(seen) == at
    assert error is cut
    assert b"".join(b"data: %s\n\n" % event for event in sound).startswith(seen)


@pytest.mark.parametrize("fault", ["reset", "close"])
async def test_whole_response_is_cut_at_the_byte(fault: str) -> None:
    """A response that is not streamed ends short of its content-length."""
    async with (
        open_understudy(faults=[f"{fault}@100"]) as understudy,
        await trio.open_tcp_stream("127.0.0.1", understudy.port) as stream,
    ):
        peer = Peer(stream)
        await peer.post(asking(stream=False))
        await peer.head()
        with pytest.raises((trio.BrokenResourceError, h11.RemoteProtocolError)):
            await peer.body()


async def test_cut_past_the_end_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A body shorter than the cut comes whole, and the connection goes on."""
    async with connected(Understudy(faults=["reset@1000000"])) as peer:
        for _ in range(2):
            await peer.post(asking())
            assert (await peer.events())[-1] == b"[DONE]"


async def test_reset_breaks_a_connection_of_the_memory_network_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A stream that knows how to reset is reset, so that clients can be tested on virtual time."""
    understudy = Understudy(faults=["reset@0"])
    async with open_memory_network(understudy.serve) as network:
        pipe = await network.dial("understudy", 80)
        body = json.dumps(asking()).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        await pipe.send_all(head % len(body) + body)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await pipe.receive_some(65_536)
        pipe.abort()

    assert understudy.statistics().connections_open == 0


LEAVERS: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "stall-head": lambda peer: trio.testing.wait_all_tasks_blocked(),
    "stall@2": lambda peer: peer.head(),
    "hang-close": lambda peer: peer.head(),
    "delay=1000": lambda peer: trio.testing.wait_all_tasks_blocked(),
}


@pytest.mark.parametrize("fault", LEAVERS)
async def test_client_can_leave_any_fault_that_waits(
    autojump_clock: trio.testing.MockClock, fault: str
) -> None:
    """What hangs for ever ends at once when its client is gone (I4)."""
    understudy = Understudy(faults=[fault])
    async with connected(understudy) as peer:
        await peer.post(asking())
        await LEAVERS[fault](peer)

    assert trio.current_time() == 0
    assert understudy.statistics().connections_open == 0
    assert understudy.statistics().failures == 0
