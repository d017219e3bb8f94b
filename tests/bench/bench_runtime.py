"""
Greenroom's runtime at the work of the baselines; usage: bench_runtime.py TEST [COUNT].

TEST is one of the names in TESTS. Prints one line of JSON, as the baselines do. Handlers do what the
baseline's do, and frames are made for each message where the baseline makes its own. A figure is
printed only after all that was sent was seen to be handled, by the actors' own count and by the
runtime's accounts. Mailboxes hold 256 frames; nobody observes.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from greenroom.runtime import (
    Actor,
    Frame,
    MailboxFull,
    Ref,
    Request,
    Runtime,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.pipeline import Stage, open_pipeline

CAPACITY = 256


@frame
class Note(Frame):
    n: int


@frame
class Add(Request[int]):
    n: int


class Counter(Actor):
    """Counts what it is told, and answers with one more."""

    def __init__(self, until: int = -1, done: trio.Event | None = None) -> None:
        self.count = 0
        self.until = until
        self.done = done

    @handles
    async def note(self, frame: Note) -> None:
        self.count += 1
        if self.count == self.until and self.done is not None:
            self.done.set()

    @handles
    async def add(self, request: Add) -> int:
        return request.n + 1


class Link(Actor):
    """Passes on what it is told, counting down if it is part of a ring."""

    def __init__(self, done: trio.Event | None = None) -> None:
        self.next: list[Ref] = []
        self.done = done

    @handles
    async def note(self, frame: Note) -> None:
        if self.done is not None:
            if frame.n == 0:
                self.done.set()
                return
            frame = Note(frame.n - 1)
        try:
            self.next[0].tell_nowait(frame)
        except MailboxFull:
            await self.next[0].tell(frame)


def same(link: Link) -> Link:
    """Return *link*, as a factory of an actor that was made before."""
    return link


class Clock:
    """Measures wall and CPU time from its making."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def rates(self, count: int) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"value": count / wall, "cpu_value": count / max(cpu, 1e-9)}


async def counter(runtime: Runtime, count: int) -> tuple[Ref, trio.Event]:
    done = trio.Event()
    return await runtime.spawn(Counter, count, done, capacity=CAPACITY), done


async def tell(runtime: Runtime, count: int) -> dict[str, float]:
    ref, done = await counter(runtime, count)
    clock = Clock()
    for n in range(count):
        await ref.tell(Note(n))
    await done.wait()
    return clock.rates(count)


async def tell_nowait(runtime: Runtime, count: int) -> dict[str, float]:
    ref, done = await counter(runtime, count)
    clock = Clock()
    for n in range(count):
        note = Note(n)
        try:
            ref.tell_nowait(note)
        except MailboxFull:
            await ref.tell(note)
    await done.wait()
    return clock.rates(count)


async def tell_all(runtime: Runtime, count: int) -> dict[str, float]:
    ref, done = await counter(runtime, count)
    clock = Clock()
    await ref.tell_all(Note(n) for n in range(count))
    await done.wait()
    return clock.rates(count)


async def asker(ref: Ref, count: int) -> None:
    for n in range(count):
        assert await ref.ask(Add(n)) == n + 1


async def ask(runtime: Runtime, count: int, askers: int) -> dict[str, float]:
    ref, _ = await counter(runtime, -1)
    clock = Clock()
    async with trio.open_nursery() as nursery:
        for _n in range(askers):
            nursery.start_soon(asker, ref, count // askers)
    return clock.rates(count // askers * askers)


async def ring(runtime: Runtime, count: int, actors: int) -> dict[str, float]:
    done = trio.Event()
    links = [Link(done) for _ in range(actors)]
    refs = [await runtime.spawn(same, link, capacity=CAPACITY) for link in links]
    for n, link in enumerate(links):
        link.next.append(refs[(n + 1) % len(refs)])
    clock = Clock()
    refs[0].tell_nowait(Note(count))  # a token that is passed on that many times
    await done.wait()
    return clock.rates(count)


async def pipe(runtime: Runtime, count: int) -> dict[str, float]:
    ref, done = await counter(runtime, count)
    for _ in range(4):
        link = Link()
        link.next.append(ref)
        ref = await runtime.spawn(same, link, capacity=CAPACITY)
    clock = Clock()
    for n in range(count):
        note = Note(n)
        try:
            ref.tell_nowait(note)
        except MailboxFull:
            await ref.tell(note)
    await done.wait()
    return clock.rates(count)


class Passing(Stage):
    """Has no handler, and so passes on."""


class Counting(Stage):
    """A `Counter`'s work at the end of a pipeline."""

    def __init__(self, until: int, done: trio.Event) -> None:
        self.count = 0
        self.until = until
        self.done = done

    @handles
    async def note(self, frame: Note) -> None:
        self.count += 1
        if self.count == self.until:
            self.done.set()


async def pipeline(runtime: Runtime, count: int) -> dict[str, float]:
    done = trio.Event()
    parts = (Passing, Passing, Passing, Passing, partial(Counting, count, done))
    async with open_pipeline(runtime, *parts, capacity=CAPACITY) as line:
        clock = Clock()
        await line.send_all(Note(n) for n in range(count))
        await done.wait()
        return clock.rates(count)


def resident() -> int:
    """Return the memory of this process, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def spawn(runtime: Runtime, count: int) -> dict[str, float]:
    gc.collect()
    before = resident()
    clock = Clock()
    for _ in range(count):
        await runtime.spawn(Counter, capacity=CAPACITY)
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    after = resident()
    await runtime.stop()
    rates = clock.rates(count)
    assert runtime.living() == ()
    return {**rates, "rss_per_actor_B": (after - before) / count}


async def flat(runtime: Runtime, count: int, actors: int) -> dict[str, float]:
    """
    Tell *actors* living actors in turn.

    By `Ref.tell`: then each frame finds its actor idle and wakes it, however many there are. With a
    faster sender the mailboxes of few actors would fill, and theirs would be the cheaper way. Each
    has had one frame before the clock starts: to find a handler for the first time is part of an
    actor's start.
    """
    done = trio.Event()
    handled = 0

    class Flat(Actor):
        @handles
        async def note(self, _: Note) -> None:
            nonlocal handled
            handled += 1
            if handled == actors + count:
                done.set()

    refs = [await runtime.spawn(Flat, capacity=CAPACITY) for _ in range(actors)]
    for ref in refs:
        await ref.tell(Note(0))
    clock = Clock()
    for n in range(count):
        await refs[n % actors].tell(Note(n))
    await done.wait()
    return clock.rates(count)


# A benchmark, and its parameters at full size.
TESTS: dict[str, tuple[Callable[..., Awaitable[dict[str, float]]], dict[str, int]]] = {
    "tell": (tell, {"count": 100_000}),
    "tell_nowait": (tell_nowait, {"count": 200_000}),
    "tell_all": (tell_all, {"count": 200_000}),
    "ask1": (ask, {"count": 30_000, "askers": 1}),
    "ask100": (ask, {"count": 50_000, "askers": 100}),
    "ring": (ring, {"count": 100_000, "actors": 100}),
    "pipe": (pipe, {"count": 50_000}),
    "pipeline": (pipeline, {"count": 50_000}),
    "spawn": (spawn, {"count": 10_000}),
    "flat10": (flat, {"count": 200_000, "actors": 10}),
    "flat1000": (flat, {"count": 200_000, "actors": 1_000}),
    "flat100000": (flat, {"count": 200_000, "actors": 100_000}),
}


async def main(name: str, **smaller: int) -> None:
    """Run one benchmark, at full size but for what *smaller* says, and print its figures."""
    work, full = TESTS[name]
    async with open_runtime() as runtime:
        figures = await work(runtime, **{**full, **smaller})
    accounts = runtime.accounts()
    assert accounts.handled == accounts.sent, accounts
    print(json.dumps({"peer": "greenroom", "test": name, **figures}))


if __name__ == "__main__":
    gc.collect()
    smaller = {"count": int(sys.argv[2])} if len(sys.argv) > 2 else {}
    trio.run(partial(main, sys.argv[1], **smaller))
