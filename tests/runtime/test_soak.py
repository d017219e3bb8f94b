"""
Bounded everything, as a run shows it: whatever went on, in the end the runtime holds what it held.

`tests/test_bounds.py` reads the source for buffers; this looks at what a lot of traffic leaves in
every list, dict, set and deque that can be reached from the runtime, and at which of its objects
are still alive.
"""

import contextlib
import functools
import gc
import logging
import math
import types
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sized
from typing import Final, cast

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Backoff,
    ChildSpec,
    DeadLetter,
    Down,
    Ref,
    RequestError,
    Runtime,
    Supervision,
    Supervisor,
    Topic,
    handles,
    open_runtime,
)
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Note,
    Nudge,
    Pair,
    Pinned,
    Play,
    Stagehand,
    Steered,
    crash,
    hang,
)

CONTAINERS: Final = (list, dict, set, frozenset, deque, tuple, Mapping)
PASSAGES: Final = (
    types.FunctionType,
    types.MethodType,
    types.CellType,
    functools.partial,
)
REACHED: Final = {  # or the walk would prove little
    *(
        "Names._cells",
        "Names._numbers",
        "Names._awaited",
        "Runtime._topics",
        "Topic._subscriptions",
    ),
    *("Children._children", "Children._orders", "History._times", "Alarms._heap", "Shared.slots"),
    *("InnerNursery._pending", "Cell.rooms", "Cell._attempts", "Routes._found"),
    "Subscription._givings",
}
OWN: Final = ("greenroom.runtime", "trio._channel")


def is_own(thing: object) -> bool:
    return type(thing).__module__.startswith(OWN)


def attributes(thing: object) -> Iterator[tuple[str, object]]:
    """Return an iterator over what *thing* holds, by name, in slots or in its dict."""
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            with contextlib.suppress(AttributeError):
                own = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name
                yield name, getattr(thing, own)
    yield from getattr(thing, "__dict__", {}).items()


def sizes(root: object) -> Counter[str]:
    """Return how many things the containers below *root* hold, by their owner's attribute."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    todo: list[tuple[str, object]] = [("root", root)]
    while todo:
        where, thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, types.ModuleType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, CONTAINERS):
            found[where] += len(cast("Sized", thing))
            todo += [(f"{where}[]", each) for each in gc.get_referents(thing)]
        elif is_own(thing):
            found[f"{type(thing).__name__} objects"] += 1
            todo += [(f"{type(thing).__name__}.{name}", each) for name, each in attributes(thing)]
        elif isinstance(thing, PASSAGES):
            todo += [(where, each) for each in gc.get_referents(thing)]
    return found


def alive() -> Counter[str]:
    """Return how many objects of the runtime's classes there are."""
    gc.collect()
    return Counter(
        type(thing).__qualname__
        for thing in gc.get_objects()
        if type(thing).__module__.startswith("greenroom.runtime")
    )


class Worker(Steered):
    """Does all that, without a log that grows."""

    @handles
    async def note(self, frame: Note | Pinned) -> None: ...

    @handles
    async def echo(self, request: Echo) -> str:
        await trio.sleep(request.seconds)
        return request.text

    @handles
    def nudge(self, frame: Nudge) -> None: ...

    async def on_interrupt(self) -> None: ...


class Undertaker(Worker):
    """Hears of dead letters."""

    async def on_start(self) -> None:
        self.subscribe(self.runtime.dead_letters)

    @handles
    async def letter(self, letter: DeadLetter) -> None: ...


class Parent(Worker):
    """Has two children."""

    async def on_start(self) -> None:
        for _ in range(2):
            await self.spawn(Worker, restart="transient")


async def crash_quietly(ref: Ref) -> None:
    with contextlib.suppress(RequestError):
        await ref.ask(Do(crash))
    await trio.sleep(2)


async def round_of(runtime: Runtime, staff: dict[str, Ref], frames: int, n: int) -> None:
    """Do a bit of everything; leave nothing behind that runs."""
    worker, hears, again = staff["worker"], staff["hears"], staff["again"]
    # tells, on the short way, with back-pressure, and into the control lane
    await worker.tell_all(Note() for _ in range(frames))
    for _ in range(20):
        await worker.tell(Nudge())
        await staff["drops"].tell(Note())
    # asks that are answered, cancelled while they run, and cancelled while they wait
    for _ in range(20):
        await worker.ask(Echo())
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(worker.ask, Echo("", 0.3))
            nursery.start_soon(worker.tell, Note())
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    # streams that are read, and left early
    async with worker.stream(Count(30)) as numbers:
        async for _number in numbers:
            pass
    async with worker.stream(Count(30), buffer=1) as numbers:
        await anext(numbers)
    async with staff["pair"].stream(Play(hang)):
        pass
    # interrupts, of what runs and of what waits
    await staff["pair"].tell(Do(hang))
    await staff["pair"].tell(Note())
    await trio.lowlevel.checkpoint()
    staff["pair"].interrupt()
    staff["parent"].interrupt()
    # actors that come and go, by themselves and in families
    for _ in range(3):
        ref = await runtime.spawn(Worker)
        await ref.tell(Note())
        ref.stop()
    boss = await runtime.spawn(Parent, name=f"boss-{n}")
    await runtime.terminate(boss)
    with contextlib.suppress(ValueError):
        await runtime.spawn(Worker, capacity=-1)
    with trio.move_on_after(0.1):
        await runtime.wait_for(f"nobody-{n}")
    # restarts, also with a frame that is tried again and then no more
    await crash_quietly(staff["parent"])
    with trio.move_on_after(0.1):
        await again.ask(Do(crash))  # its asker leaves while it waits for another try
    await trio.sleep(3)
    await again.tell(Do(crash))
    await trio.sleep(0.1)
    again.interrupt()  # while it waits for another try
    await trio.sleep(3)
    await again.tell(Do(crash))
    await trio.sleep(10)
    # topics, whose names are used once
    topic: Topic[Note] = runtime.topic(f"topic-{n}")

    async def subscribe(hand: Stagehand) -> None:
        timers = [
            hand.subscribe(topic, lag="wait", buffer=1),
            hand.subscribe(topic),
            hand.watch(worker),
            hand.send_every(1, Note()),
            hand.send_after(50, Note()),
        ]
        await trio.lowlevel.checkpoint()
        for timer in timers:
            timer.cancel()
        hand.send_after(0.1, Note())

    await hears.ask(Do(subscribe))
    for _ in range(5):
        await topic.publish(Note())
    with topic.subscribe(lag="leave", buffer=1) as values:
        for _ in range(3):
            await topic.publish(Note())
        assert values.behind == 1
    await trio.sleep(1)


class Watches(Worker):
    """Is told of ends."""

    @handles
    async def down(self, down: Down) -> None: ...


async def staffed(runtime: Runtime) -> dict[str, Ref]:
    """Spawn those who stay."""
    staff = {
        "worker": await runtime.spawn(Worker, restart="permanent"),
        "drops": await runtime.spawn(Worker, capacity=1, full="drop_oldest"),
        "hears": await runtime.spawn(Watches),
        "undertaker": await runtime.spawn(Undertaker),
        "pair": await runtime.spawn(Pair),
        "parent": await runtime.spawn(Parent, restart="permanent"),
    }
    slowly = Supervision(restarts=math.inf, backoff=Backoff(first=1, factor=1, jitter=0))
    await runtime.spawn(Supervisor, slowly, ChildSpec(Worker, name="again", redeliver=1))
    staff["again"] = runtime.find("again")
    async with trio.open_nursery() as nursery:  # so that both slots have been started
        for _ in range(2):
            nursery.start_soon(staff["pair"].ask, Echo("", 1))
    return staff


def test_traffic_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Bounded everything: a hundred rounds of all there is, and the runtime holds what it did."""
    # what is logged is kept by pytest, with the tracebacks and all that those hold
    caplog.set_level(logging.CRITICAL, logger="greenroom.runtime")

    async def main() -> None:
        supervision = Supervision(restarts=5, within=1)
        async with open_runtime(supervision=supervision) as runtime:
            staff = await staffed(runtime)
            for n in range(20):  # until what is bounded is full
                await round_of(runtime, staff, 100, n)
            before, living = sizes(runtime), alive()
            for n in range(100):
                await round_of(runtime, staff, 2_000, 100 + n)
            after, still = sizes(runtime), alive()

            assert runtime.accounts().sent > 200_000
            assert set(before) >= REACHED
            assert after - before == Counter()
            assert still - living == Counter()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
