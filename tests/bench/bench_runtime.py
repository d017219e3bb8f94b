"""
Greenroom's runtime at the work of the baselines; usage: bench_runtime.py TEST [COUNT].

TEST is one of the names in TESTS. Prints one line of JSON, as the baselines do. Frames are made for
each message where the baseline makes its own; every figure is printed only after all that was sent
was seen to be handled. Mailboxes hold 256 frames; nobody observes.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
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
    """Measures wall and CPU time from its making, or from `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
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


async def ask1(runtime: Runtime, count: int) -> dict[str, float]:
    ref, _ = await counter(runtime, -1)
    clock = Clock()
    await asker(ref, count)
    return clock.rates(count)


async def ask100(runtime: Runtime, count: int) -> dict[str, float]:
    ref, _ = await counter(runtime, -1)
    clock = Clock()
    async with trio.open_nursery() as nursery:
        for _n in range(100):
            nursery.start_soon(asker, ref, count // 100)
    return clock.rates(count // 100 * 100)


async def ring(runtime: Runtime, count: int) -> dict[str, float]:
    done = trio.Event()
    links = [Link(done) for _ in range(100)]
    refs = [await runtime.spawn(same, link, capacity=CAPACITY) for link in links]
    for n, link in enumerate(links):
        link.next.append(refs[(n + 1) % len(refs)])
    clock = Clock()
    refs[0].tell_nowait(Note(count))
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


async def flat(runtime: Runtime, count: int) -> dict[str, float]:
    """Tell over 10, 1 000 and 100 000 living actors in turn; *count* messages for each."""
    found: dict[str, float] = {}
    refs: list[Ref] = []
    for actors in (10, 1_000, 100_000):
        while len(refs) < actors:
            refs.append(await runtime.spawn(Counter, capacity=CAPACITY))
        clock = Clock()
        for n in range(count):
            refs[n % actors].tell_nowait(Note(n))
            if n % 64 == 0:
                await trio.lowlevel.checkpoint()
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        rates = clock.rates(count)
        found[f"cpu_{actors}"] = rates["cpu_value"]
        found.update(rates)
    assert runtime.accounts().pending == 0
    return found


TESTS: dict[str, tuple[Callable[[Runtime, int], Awaitable[dict[str, float]]], int]] = {
    "tell": (tell, 100_000),
    "tell_nowait": (tell_nowait, 200_000),
    "tell_all": (tell_all, 200_000),
    "ask1": (ask1, 30_000),
    "ask100": (ask100, 50_000),
    "ring": (ring, 100_000),
    "pipe": (pipe, 50_000),
    "spawn": (spawn, 10_000),
    "flat": (flat, 200_000),
}


async def main(name: str, count: int | None = None) -> None:
    work, full = TESTS[name]
    async with open_runtime() as runtime:
        figures = await work(runtime, count or full)
    print(json.dumps({"peer": "greenroom", "test": name, **figures}))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
