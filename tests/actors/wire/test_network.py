"""The network in memory keeps what it promises to the tests that stand on it."""

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from greenroom.actors.testing import MemoryNetwork, MemoryStream, open_memory_network


async def keep_reading(stream: trio.abc.Stream) -> None:
    """Read until the client leaves."""
    while await stream.receive_some():
        pass


async def test_open_connections_are_counted_from_both_sides() -> None:
    """A connection counts from dialling until either half is closed."""
    let_go = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        await let_go.wait()

    async with open_memory_network(serve) as network:
        with assert_checkpoints():
            first = await network.dial("a.test", 80)
        second = await network.dial("b.test", 80)
        counts = [network.open]
        first.abort()
        first.abort()
        counts.append(network.open)
        let_go.set()
        await wait_all_tasks_blocked()
        counts.append(network.open)
        second.abort()

        assert counts == [2, 1, 0]
        assert network.accepted == 2


async def test_server_sees_that_its_client_left() -> None:
    """What was sent before can be read, then the end; sending raises."""
    story: list[object] = []

    async def serve(stream: trio.abc.Stream) -> None:
        await left.wait()
        story.extend([await stream.receive_some(), await stream.receive_some()])
        with pytest.raises(trio.BrokenResourceError, match="the peer closed the connection"):
            await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.wait_send_all_might_not_block()
        story.append("told")

    left = trio.Event()
    async with open_memory_network(serve) as network:
        pipe = await network.dial("a.test", 80)
        await pipe.send_all(b"bye")
        pipe.abort()
        left.set()
        await wait_all_tasks_blocked()

    assert story == [b"bye", b"", "told"]


async def test_sender_waits_for_room(autojump_clock: MockClock) -> None:
    """The buffer is bounded: back-pressure is real, both ways."""
    times: list[float] = []

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.send_all(bytes(10))
        await stream.send_all(bytes(1))
        times.append(trio.current_time() - began)
        await stream.wait_send_all_might_not_block()
        times.append(trio.current_time() - began)

    began = trio.current_time()
    async with open_memory_network(serve, buffer=10) as network:
        pipe = await network.dial("a.test", 80)
        await trio.sleep(1)
        assert await pipe.receive_some(1) == bytes(1)
        await trio.sleep(1)
        assert await pipe.receive_some(100) == bytes(10)
        await wait_all_tasks_blocked()
        assert pipe.receive_nowait(100) == b""
        pipe.abort()

    assert times == [1, 2]


async def test_reset_loses_what_was_under_way() -> None:
    """A server's reset is a broken connection to its client, unread bytes or not."""

    async def serve(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, MemoryStream)
        await stream.send_all(b"lost")
        stream.reset()

    async with open_memory_network(serve) as network:
        pipe = await network.dial("a.test", 80)
        await wait_all_tasks_blocked()

        with pytest.raises(trio.BrokenResourceError, match="the peer reset the connection"):
            await pipe.receive_some(100)
        with pytest.raises(trio.BrokenResourceError):
            await pipe.send_all(b"x")
        pipe.abort()


async def test_failure_of_a_handler_comes_out_bare() -> None:
    """A test whose server fails fails by that, not by a group (R14)."""

    async def serve(stream: trio.abc.Stream) -> None:
        await trio.lowlevel.checkpoint()
        raise AssertionError("unexpected request")

    async def use() -> None:
        async with open_memory_network(serve) as network:
            await network.dial("a.test", 80)
            await trio.sleep_forever()

    with pytest.raises(AssertionError, match="unexpected request"):
        await use()


async def test_failure_of_the_block_comes_out_bare_and_ends_the_handlers() -> None:
    """So does what the block itself raises."""
    error = KeyError("mine")
    networks: list[MemoryNetwork] = []

    async def use() -> None:
        async with open_memory_network(keep_reading) as network:
            networks.append(network)
            await network.dial("a.test", 80)
            raise error

    with pytest.raises(KeyError) as caught:
        await use()

    assert caught.value is error
    assert networks[0].open == 0


async def test_buffer_must_be_positive() -> None:
    """A buffer that holds nothing is a mistake."""
    with pytest.raises(ValueError, match="buffer must be an int > 0"):
        async with open_memory_network(keep_reading, buffer=0):
            pass
