"""
Print what a model's stream costs, beside the SDK's own loop and beside the limits.

Usage: bench_llm.py [ROW ...] [--rounds N] [--json FILE]. CPU times are of the client's process alone; the
server has one of its own. A ratio is of two figures of one round, and the median of the rounds'
counts. Rates are of this machine at this hour.
"""

import argparse
import gc
import json
import math
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import attrs
import httpx2
import trio

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from greenroom.actors.llm import Generate, TextDelta
from tests.bench.llm_ways import (
    ASKED,
    WAYS,
    Address,
    Read,
    Server,
    acting,
    consume,
    serving,
)

ROUNDS = 5
#: Figures of one round: CPU microseconds a chunk, by the way of reading.
Round = dict[str, float]


@attrs.frozen
class Goal:
    """A figure that is computed from a round's, and what it should be."""

    what: str
    of: Callable[[Round], float]
    bound: float
    is_least: bool = True
    """Whether *bound* is the least that is good enough, or the most."""

    def line(self, rounds: list[Round]) -> str:
        """Return the line of the table."""
        found = sorted(self.of(figures) for figures in rounds)
        median = statistics.median(found)
        good = median >= self.bound if self.is_least else median <= self.bound
        return (
            f"  {self.what:45} {median:7.2f}   {found[0]:.2f} to {found[-1]:.2f}   goal "
            f"{'>=' if self.is_least else '<='} {self.bound:g}  {'ok' if good else 'short'}"
        )


def times_less(bound: float) -> Goal:
    return Goal("times less than the SDK", lambda found: found["SDK"] / found["stream"], bound)


def over_stream(bound: float) -> Goal:
    what = "microseconds more, with the actor"
    return Goal(what, lambda found: found["actor"] - found["stream"], bound, is_least=False)


@attrs.frozen
class Row:
    """A kind of answer, and the ways in which it is read."""

    name: str
    at: Callable[[Server], Address]
    goals: tuple[Goal, ...]
    streams: int = 1
    """At once."""
    ways: tuple[str, ...] = tuple(WAYS)


PACED = Goal("times the raw socket", lambda found: found["stream"] / found["raw"], 1.3, False)
PACED_ACTOR = Goal(
    "times the cost without the actor", lambda found: found["actor"] / found["stream"], 1.5, False
)
NO_RAW: Final = ("SDK", "body", "stream", "actor")

ROWS: Final = (
    Row("one chunk a write", lambda to: to.at(5_000), (times_less(15), over_stream(4))),
    Row("64 chunks a write", lambda to: to.at(5_000, 64), (times_less(40), over_stream(4))),
    Row("TLS", lambda to: to.at(3_000, tls=True), (times_less(7),), ways=NO_RAW),
    Row("200 streams of 200", lambda to: to.at(200), (times_less(15),), streams=200),
    Row("1.2 ms apart", lambda to: to.at(500, 1, 1_200), (times_less(3.5), PACED, PACED_ACTOR)),
)


def ignore() -> None:
    pass


async def read_all(read: Read, streams: int, expected: int) -> None:
    """Read *streams* answers at once, and check that all of each came."""

    async def one() -> None:
        assert await read(ignore) == expected

    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(one)


async def cost(way: str, at: Address, streams: int) -> float:
    """Return CPU microseconds a chunk, on warm connections."""
    async with WAYS[way](at) as read:
        await read_all(read, 1, at.chunks)
        gc.collect()
        began = time.process_time()
        await read_all(read, streams, at.chunks)
        return (time.process_time() - began) * 1e6 / (streams * at.chunks)


def measure(row: Row, server: Server, rounds: int) -> list[Round]:
    """Return the figures of each round; each begins with another way."""
    found: list[Round] = []
    for turn in range(rounds):
        ways = row.ways[turn % len(row.ways) :] + row.ways[: turn % len(row.ways)]
        found.append({way: trio.run(cost, way, row.at(server), row.streams) for way in ways})
    return found


def print_row(row: Row, found: list[Round]) -> None:
    print(f"{row.name}: CPU microseconds a chunk")
    for way in row.ways:
        median = statistics.median(figures[way] for figures in found)
        ratio = statistics.median(figures["SDK"] / figures[way] for figures in found)
        print(f"  {way:8} {median:8.2f}   SDK / it {ratio:6.2f}")
    for goal in row.goals:
        print(goal.line(found), flush=True)


class First:
    """Notes when it is called."""

    at = math.nan

    def __call__(self) -> None:
        self.at = time.perf_counter()


async def first_tokens(server: Server, requests: int) -> Round:
    """Return the median milliseconds from a request on a warm connection to the first text."""
    at = server.at(1)
    found: dict[str, list[float]] = {way: [] for way in ("raw", "SDK", "stream", "actor")}
    async with AsyncExitStack() as stack:
        reads = {way: await stack.enter_async_context(WAYS[way](at)) for way in found}
        for read in reads.values():
            await read(ignore)
        for _ in range(requests):
            for way, read in reads.items():
                came = First()
                began = time.perf_counter()
                await read(came)
                found[way].append((came.at - began) * 1e3)
    return {way: statistics.median(times) for way, times in found.items()}


FIRST: Final = Goal(
    "of what the SDK adds to a raw socket",
    lambda found: (found["stream"] - found["raw"]) / (found["SDK"] - found["raw"]),
    0.5,
    is_least=False,
)


async def interrupts(server: Server, count: int) -> list[float]:
    """Return the milliseconds from an interrupt to when the server saw the socket closed."""
    at = server.at(2, 1, 10_000_000)  # it waits after the first chunk
    called: list[float] = []
    async with acting(at) as llm, httpx2.AsyncClient() as client:
        for _ in range(count):
            async with llm.stream(Generate(ASKED)) as frames:
                async for frame in frames:
                    if isinstance(frame, TextDelta):
                        break
                await trio.sleep(0.005)
                called.append(time.monotonic())
                llm.interrupt()
        await trio.sleep(0.1)
        seen = (await client.get(f"http://127.0.0.1:{at.port}/seen")).json()
    assert len(seen) == count, f"{len(seen)} of {count} were closed"
    return [(after - before) * 1e3 for before, after in zip(called, seen, strict=True)]


def resident() -> int:
    """Return the memory of this process, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def many(at: Address, streams: int, traced: bool) -> dict[str, float]:
    """Read *streams* answers at once through the actor; return errors and bytes a stream."""
    came = errors = 0
    all_came = trio.Event()

    def first() -> None:
        nonlocal came
        came += 1
        if came == streams:
            all_came.set()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if traced else resident()

    async with acting(at) as llm:
        assert await consume(llm, ignore) == at.chunks

        async def one() -> None:
            nonlocal errors
            try:
                assert await consume(llm, first) == at.chunks
            except Exception as error:
                errors += 1
                print(f"  {error!r}", file=sys.stderr)

        if traced:
            tracemalloc.start()
        before = held()
        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)
            with trio.move_on_after(60):
                await all_came.wait()
            after = held()
            if traced:
                tracemalloc.stop()  # it slows the rest down
    return {"errors": errors, "bytes": (after - before) / streams}


def print_many(server: Server, sizes: tuple[int, ...]) -> list[Round]:
    """
    Measure each size, in processes of their own, since memory that is given back is used again.

    The objects of a stream are the goal's. The process grows by more: by what all the requests
    took that were made in the same moment, for the SDK and gone since.
    """
    print("many streams at once, 500 ms apart, with the actor and a consumer each")
    found: list[Round] = []
    for size in sizes:
        both: list[Round] = []
        for option in ("--many", "--many-traced"):
            command = [sys.executable, __file__, option, str(size)]
            asked = json.dumps(attrs.asdict(server))
            done = subprocess.run(
                command, input=asked, stdout=subprocess.PIPE, text=True, check=True
            )
            both.append(json.loads(done.stdout))
        plain, traced = both
        found.append(
            {"process": plain["bytes"], **traced, "errors": plain["errors"] + traced["errors"]}
        )
        print(
            f"  {size:5} streams  {found[-1]['errors']:.0f} errors  a stream takes "
            f"{traced['bytes'] / 1000:.1f} kB, the process grew by {plain['bytes'] / 1000:.1f}",
            flush=True,
        )
    first, last = found[0], found[-1]
    for goal in (
        Goal("errors", lambda each: each["errors"], 0, is_least=False),
        Goal("kB a stream", lambda each: each["bytes"] / 1000, 40, is_least=False),
        Goal(
            "times as much a stream as with the fewest",
            lambda each: each["process"] / first["process"],
            1.2,
            is_least=False,
        ),
    ):
        print(goal.line([last]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = {row.name: row for row in ROWS}
    others = ("first token", "interrupt", "many")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join((*names, *others)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    parser.add_argument("--many", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--many-traced", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if streams := args.many or args.many_traced:
        at = Server(**json.loads(sys.stdin.read())).at(12, 1, 500_000)
        print(json.dumps(trio.run(many, at, streams, not args.many)))
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = args.rows or [*names, *others]
    if unknown := set(wanted).difference(names, others):
        parser.error(
            f"no row is named {', '.join(unknown)}; there are: {', '.join((*names, *others))}"
        )
    everything: dict[str, object] = {}
    with serving() as server:
        for name in wanted:
            if name in names:
                found = measure(names[name], server, args.rounds)
                print_row(names[name], found)
            elif name == "first token":
                found = [trio.run(first_tokens, server, 250) for _ in range(args.rounds)]
                print("first token, on a warm connection: milliseconds from the request")
                for way in found[0]:
                    print(f"  {way:8} {statistics.median(each[way] for each in found):8.3f}")
                print(FIRST.line(found), flush=True)
            elif name == "interrupt":
                found = [{"ms": ms} for ms in trio.run(interrupts, server, 200)]
                print("an interrupt, until the server sees the socket closed")
                print(
                    Goal("ms", lambda each: each["ms"], 2, is_least=False).line(found), flush=True
                )
            else:
                found = print_many(server, (500, 1_000, 2_000))
            everything[name] = found
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
