"""
Greenroom's runtime at the work of the baselines; usage: bench_runtime.py TEST.

TEST is tell, tell_all, ask1, ask100 or spawn. Prints one line of JSON, as the baselines do.
"""

import json
import sys
import time

import trio

from greenroom.runtime import (
    Actor,
    Frame,
    Ref,
    Request,
    Runtime,
    frame,
    handles,
    open_runtime,
)


@frame
class Note(Frame):
    n: int


@frame
class Add(Request[int]):
    n: int


class Adder(Actor):
    def __init__(self) -> None:
        self.sum = 0

    @handles
    async def note(self, frame: Note) -> None:
        self.sum += frame.n

    @handles
    async def add(self, request: Add) -> int:
        self.sum += request.n
        return self.sum


async def tell(_: Runtime, ref: Ref, count: int) -> None:
    note = Note(1)
    for _n in range(count):
        await ref.tell(note)


async def tell_all(_: Runtime, ref: Ref, count: int) -> None:
    note = Note(1)
    await ref.tell_all(note for _n in range(count))


async def ask1(_: Runtime, ref: Ref, count: int) -> None:
    add = Add(1)
    for _n in range(count):
        await ref.ask(add)


async def ask100(runtime: Runtime, ref: Ref, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _n in range(100):
            nursery.start_soon(ask1, runtime, ref, count // 100)


async def spawn(runtime: Runtime, _: Ref, count: int) -> None:
    for _n in range(count):
        ref = await runtime.spawn(Adder)
        ref.stop()
        await ref.wait_stopped()


TESTS = {
    "tell": (tell, 100_000),
    "tell_all": (tell_all, 200_000),
    "ask1": (ask1, 30_000),
    "ask100": (ask100, 50_000),
    "spawn": (spawn, 3_000),
}


async def main(name: str) -> None:
    work, count = TESTS[name]
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Adder, capacity=256)
        began = time.perf_counter(), time.process_time()
        await work(runtime, ref, count)
        await ref.ask(Add(0))  # everything told was handled
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        print(json.dumps({"test": name, "value": count / wall, "cpu_value": count / cpu}))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
