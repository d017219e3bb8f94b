"""Scenarios with one planted bug each, which only a fault or another order shows."""

import trio

from greenroom.runtime import Actor, Frame, Request, frame, handles
from greenroom.runtime.testing.world import World


@frame
class Fetch(Request[str]):
    """Asks for what comes over a connection."""


@frame
class Job(Frame):
    """A piece of work."""

    number: int


class Fetcher(Actor):
    """Opens a connection for each request; closing it waits, and has no shield."""

    def __init__(self, open_ones: list[str]) -> None:
        self.open_ones = open_ones

    @handles
    async def fetch(self, request: Fetch) -> str:
        self.open_ones.append("connection")
        try:
            await trio.sleep(1)
            return "page"
        finally:
            await trio.lowlevel.checkpoint()  # the bug: a cancel comes out of it, too
            self.open_ones.pop()


async def close_without_shield(w: World) -> None:
    """A connection is closed by something that waits, unshielded."""
    open_ones: list[str] = []
    w.own("the connection", lambda: not open_ones)
    fetcher = await w.runtime.spawn(Fetcher, open_ones, name="fetcher")
    with w.scope("customer"):
        assert await fetcher.ask(Fetch()) == "page"


class Bell:
    """Rings for whoever waits; a ring between the look and the wait is not heard."""

    def __init__(self) -> None:
        self.has_rung = False
        self._waiting: list[trio.Event] = []

    def ring(self) -> None:
        self.has_rung = True
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.has_rung:
            return
        await trio.lowlevel.checkpoint()  # the bug: the bell may ring here
        event = trio.Event()
        self._waiting.append(event)
        await event.wait()


async def lost_wakeup(w: World) -> None:
    """A guest looks, and then waits for a bell that may ring in between."""
    bell = Bell()

    async def guest() -> None:
        await bell.wait()

    async def porter() -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        bell.ring()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest)
        nursery.start_soon(porter)


class Clerk(Actor):
    """Does jobs, a while each."""

    def __init__(self, done: list[int]) -> None:
        self.done = done

    @handles
    async def job(self, frame: Job) -> None:
        await trio.sleep(0.1)
        self.done.append(frame.number)


async def message_lost(w: World) -> None:
    """A relay has taken a job off the belt, and passes it on a while later."""
    done: list[int] = []
    passed: list[int] = []
    put, take = trio.open_memory_channel[int](4)
    clerk = await w.runtime.spawn(Clerk, done, name="clerk")
    w.own("each job", lambda: len(passed) + take.statistics().current_buffer_used == 3)
    for number in range(3):
        put.send_nowait(number)
    put.close()
    with w.scope("relay"):
        async for number in take:
            await trio.lowlevel.checkpoint()  # the bug: a cancel here loses the job
            clerk.tell_nowait(Job(number))
            passed.append(number)
