"""Sweeps over real sockets, on the real clock: every position, and what is left behind."""

import os

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.runtime.testing import World, simulate, sweep_live


async def greet(w: World) -> None:
    """A client that sends a word to a server in the same run, and reads it back."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send_all(data)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with w.scope("client"):
            stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            async with stream:
                await trio.to_thread.run_sync(int)
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("target", ["client", "root"])
def test_each_position_is_tried_until_a_run_ends_before_it(target: str) -> None:
    """With a socket and a thread that are real: the clock and the order are not the kit's."""
    report = sweep_live(greet, target=target).check()
    print(f"sweep live of {target}: {report.summary()}")

    assert report.positions >= 12
    assert report.runs >= report.positions + 4


def test_positions_count_from_the_opening_of_the_target() -> None:
    """However long what comes before it was."""
    steps: list[int] = []

    async def scenario(w: World) -> None:
        for _ in range(len(steps) * 7):
            await trio.lowlevel.checkpoint()
        steps.append(0)
        await wait_all_tasks_blocked()
        with w.scope("turn"):
            for _ in range(5):
                await trio.lowlevel.checkpoint()
                steps[-1] += 1

    report = sweep_live(scenario, target="turn").check()

    assert report.positions == 10  # the end of a step, and the start of the next
    assert steps == [5, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]


def test_what_is_left_behind_is_found_and_the_plan_is_a_hint() -> None:
    """A descriptor that only a cancelled client leaves open (I4)."""
    opened: list[int] = []

    async def scenario(w: World) -> None:
        await wait_all_tasks_blocked()  # what comes next is then the same each time
        with w.scope("client"):
            await trio.lowlevel.checkpoint()
            opened.append(os.open(os.devnull, os.O_RDONLY))
            await trio.lowlevel.checkpoint()
            os.close(opened.pop())

    failure = sweep_live(scenario, target="client").first
    again = simulate(scenario, plan=str(failure.plan))
    for descriptor in opened:
        os.close(descriptor)

    assert failure.codes == again.codes == ("LEAK_DESCRIPTOR",)
    assert str(failure.plan) == "cancel(client)@2; live"  # the second step begins


def test_misuse_is_refused() -> None:
    """A scope that is never opened, and a stride that leads nowhere."""
    with pytest.raises(ValueError, match="opens no scope 'tunr', only root, client; write"):
        sweep_live(greet, target="tunr")
    with pytest.raises(ValueError, match="stride must be an int >= 1, not 0"):
        sweep_live(greet, stride=0)


def test_a_jump_does_nothing_to_the_real_clock() -> None:
    """It needs one that can."""
    assert simulate(greet, plan="jump(5)@3; live").fired == ()
