"""Uses of Trio's things are told, and change nothing."""

from typing import Any

import pytest
import trio

from greenroom.runtime.testing.footprints import touching
from greenroom.runtime.testing.seam import state_of


async def test_each_use_is_told_and_does_what_it_did() -> None:
    """At the call, and again when a wait is over; both ends of a channel are one thing."""
    told: list[tuple[object, bool]] = []
    event, lock = trio.Event(), trio.Lock()
    send, receive = trio.open_memory_channel[int](1)
    with touching(lambda thing, writes: told.append((state_of(thing), writes))):
        assert not event.is_set()
        event.set()
        await event.wait()
        async with lock:
            assert lock.locked()
        await send.send(1)
        with pytest.raises(trio.WouldBlock):
            send.send_nowait(2)
        assert await receive.receive() == 1

    assert told[:4] == [(event, False), (event, True), (event, False), (event, False)]
    assert {id(thing) for thing, _ in told} == {id(event), id(lock), id(state_of(send))}
    assert state_of(send) is state_of(receive)


async def test_a_cancelled_wait_is_told_too() -> None:
    """However it ends."""
    told: list[object] = []
    event = trio.Event()
    with touching(lambda thing, _: told.append(thing)), trio.move_on_after(0):
        await event.wait()

    assert told == [event, event]


def test_all_is_as_before_afterwards() -> None:
    """Also when the block fails."""
    wrapped: list[tuple[Any, str]] = [
        (trio.Event, "set"),
        (trio.Lock, "acquire"),
        (trio.MemorySendChannel, "send"),
    ]
    before = [getattr(kind, name) for kind, name in wrapped]

    def tell(thing: object, writes: bool) -> None:
        pass

    def fail() -> None:
        with touching(tell):
            assert trio.Event.set is not before[0]
            raise LookupError("no")

    with pytest.raises(LookupError):
        fail()

    assert [getattr(kind, name) for kind, name in wrapped] == before
