"""
Sixteen workers on eight connections, cancelled at random, for as long as you like.

Usage: python -m tests.actors.llm.soak [MINUTES]; ten by default. Once over TCP and once over TLS, at
the same time, half of the workers with the actor and half with the provider alone, against a server
in a process of its own. It ends with 1 if a slot was lost, anything warned, or descriptors are left.
"""

import gc
import os
import random
import sys
import warnings

import attrs
import trio

from greenroom.actors.llm import LLM, Context, Generate, Settings, User
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime import Ref, open_runtime
from tests.bench.llm_ways import Address, serving

SLOTS = 8
WORKERS = 16
CHUNKS = 20
PAUSE = 2_000  # microseconds between two chunks
ASKED = Context.of(User("hello"))


class Wide(LLM, concurrency=WORKERS):
    """Lets the connections be what there is too little of."""


@attrs.define
class Account:
    """What a soak has come to."""

    whole: int = 0
    """Responses that were read to their end."""
    cancelled: int = 0
    broken_off: int = 0
    """Responses whose reader left early."""
    lost: int = 0
    """Slots that are held by nothing, or that served no further request."""
    left: int = 0
    """Descriptors, after everything was closed."""
    most: int = 0
    """Descriptors beyond those at the start, at any moment."""
    warned: list[str] = attrs.field(factory=list[str])

    @property
    def requests(self) -> int:
        return self.whole + self.cancelled + self.broken_off

    @property
    def is_clean(self) -> bool:
        # a socket more for each connection that is being made, and Trio's own
        bound = 2 * 2 * SLOTS + 8
        return not (self.lost or self.left or self.warned) and self.most <= bound

    def __str__(self) -> str:
        return (
            f"{self.requests} requests ({self.whole} whole, {self.cancelled} cancelled, "
            f"{self.broken_off} left early): {self.lost} slots lost, {len(self.warned)} warnings, "
            f"descriptors at most {self.most} more, {self.left} left"
        )


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def read_actor(llm: Ref, most: int) -> bool:
    """Read at most *most* frames; tell whether that was all."""
    count = 0
    async with llm.stream(Generate(ASKED)) as frames:
        async for _ in frames:
            count += 1
            if count == most:
                return False
    return True


async def read_provider(provider: OpenAIProvider, most: int) -> bool:
    """Read at most *most* events; tell whether that was all."""
    count = 0
    stream = await provider.request(ASKED, Settings(model="m"))
    try:
        while events := await stream.events():
            count += len(events)
            if count >= most:
                return False
    finally:
        stream.close()
    return True


async def work(
    llm: Ref | None, provider: OpenAIProvider, chance: random.Random, until: float, told: Account
) -> None:
    """Make one request after the other; two of three are cancelled or left at some point."""
    whole = 2 * CHUNKS * PAUSE / 1e6  # seconds; half of the workers wait for the other half
    while trio.current_time() < until:
        patience = chance.choice((10.0, 10.0, chance.uniform(0, whole)))
        most = chance.choice((CHUNKS * 9, CHUNKS * 9, chance.randint(1, CHUNKS)))
        is_whole = False
        with trio.move_on_after(patience) as scope:
            if llm is not None:
                is_whole = await read_actor(llm, most)
            else:
                is_whole = await read_provider(provider, most)
        if scope.cancelled_caught:
            told.cancelled += 1
        elif is_whole:
            told.whole += 1
        else:
            told.broken_off += 1


async def soak(at: Address, seconds: float, seed: int, told: Account) -> None:
    """Let the workers work, then see that every slot serves once more."""
    provider = OpenAIProvider(
        api_key="k", base_url=at.base_url, ssl_context=at.tls, max_connections=SLOTS
    )
    async with open_runtime() as runtime:
        llm = await runtime.spawn(Wide, provider, Settings(model="m"), capacity=WORKERS)
        until = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for number in range(WORKERS):
                chance = random.Random(f"{seed} {number}")
                through = llm if number % 2 else None
                nursery.start_soon(work, through, provider, chance, until, told)
        told.lost += provider.transport.statistics().active
        served = 0

        async def probe() -> None:
            nonlocal served
            if await read_provider(provider, CHUNKS * 9):
                served += 1

        with trio.move_on_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(SLOTS):
                    nursery.start_soon(probe)
        told.lost += SLOTS - served


async def watch(base: int, told: Account) -> None:
    """Note the most descriptors there are."""
    while True:
        told.most = max(told.most, descriptors() - base)
        await trio.sleep(0.2)


async def both(plain: Address, tls: Address, seconds: float, seed: int) -> Account:
    """Soak over TCP and over TLS at the same time."""
    told = Account()
    before = descriptors()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, before, told)
        async with trio.open_nursery() as workers:
            workers.start_soon(soak, plain, seconds, seed, told)
            workers.start_soon(soak, tls, seconds, seed + 1, told)
        nursery.cancel_scope.cancel()
    gc.collect()
    told.left = descriptors() - before
    return told


def run(seconds: float, seed: int = 1) -> Account:
    """Soak for so long and return the account."""
    with serving() as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain = server.at(CHUNKS, 1, PAUSE)
        tls = server.at(CHUNKS, 1, PAUSE, tls=True)
        told = trio.run(both, plain, tls, seconds, seed)
        gc.collect()
        told.warned += [str(warning.message) for warning in caught]
    return told


def main(minutes: float) -> int:
    seed = random.randrange(10**6)
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    told = run(minutes * 60, seed)
    print(told)
    for warning in dict.fromkeys(told.warned):
        print(f"  {warning}")
    return 0 if told.is_clean else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
