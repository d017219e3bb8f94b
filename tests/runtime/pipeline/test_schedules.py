"""
Random pipelines under random schedules, held against a model of what has to come out.

Each stage does one thing to every frame that it takes; so the model knows, of each frame that is
sent, which frames come of it, at which end, and by which way (a word of the stages' letters).
"""

import contextlib
import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, cast

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import (
    ActorStopped,
    ChildSpec,
    Frame,
    MailboxFull,
    Supervision,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.errors import DeadlockError, RequestError, TooManyRestarts
from greenroom.runtime.pipeline import (
    Branches,
    Part,
    Pipeline,
    PipelineInterrupted,
    PipelineStalled,
    Stage,
    handles_up,
    open_pipeline,
)
from greenroom.runtime.pipeline.line import Line
from greenroom.runtime.testing import EventLog, run_seeded

GRACE = 5.0


@frame
class Item(Frame):
    """What goes down, and what comes of it."""

    number: int
    way: str = ""


@frame
class PinnedItem(Item):
    """The same, and no interrupt touches it."""

    uninterruptible = True


@frame
class Rising(Frame):
    """What goes up, and what comes of it."""

    number: int
    way: str = ""


def further(item: Any, letter: str) -> Any:
    """Return what a stage makes of *item*."""
    return type(item)(item.number, item.way + letter)


class Puppet(Stage):
    """Does one thing to each frame, as *role* says, and takes its time."""

    def __init__(self, letter: str, role: str, up_role: str, seed: int, odd: float) -> None:
        self.letter = letter
        self.role = role
        self.up_role = up_role
        self.rng = Random(seed)
        self.odd = odd  # how likely it is to crash, pause or interrupt
        self.inside: list[str] = []

    async def dawdle(self) -> None:
        if self.rng.random() < 0.4:
            await trio.sleep(self.rng.choice((0, 0.01, 0.3)))
        if self.rng.random() < self.odd:
            match self.rng.randrange(4):
                case 0:
                    raise ValueError("boom")
                case 1:
                    self.pause_until(functools.partial(trio.sleep, self.rng.random()), most=0.5)
                case 2:
                    self.interrupt_pipeline("from within")
                case _:
                    self.nursery.start_soon(self.push_later, Item(-1, self.letter))

    async def push_later(self, item: Item) -> None:
        await trio.sleep(0.1)
        with contextlib.suppress(RequestError, MailboxFull):
            await self.push(item)

    def enter(self, what: str) -> None:
        assert not self.inside, (self.inside, what)
        self.inside.append(what)

    async def rest(self, push: Any, item: Frame) -> None:
        """Push, and let others in meanwhile."""
        was, self.inside = self.inside, []
        try:
            await push(item)
            assert self.odd or not self.inside  # it has its turn again, unless it was cancelled
        finally:
            self.inside = was

    @handles
    async def item(self, item: Item) -> None:
        self.enter("down")
        try:
            await self.dawdle()
            if self.role in ("pass", "both"):
                await self.rest(self.push, item)
            if self.role in ("make", "twice"):
                await self.rest(self.push, further(item, self.letter))
            if self.role == "twice":
                await self.rest(self.push, further(item, self.letter + "'"))
            if self.role in ("both", "rise"):
                await self.rest(self.push_up, Rising(item.number, item.way + self.letter))
        finally:
            self.inside.clear()

    @handles_up
    async def rising(self, item: Rising) -> None:
        self.enter("up")
        try:
            await self.dawdle()
            if self.up_role == "pass":
                await trio.lowlevel.checkpoint()
                await self.push_up(item)
            elif self.up_role == "make":
                await self.push_up(further(item, self.letter))
            elif self.up_role == "turn":
                await self.push(Item(item.number, item.way + self.letter))
        finally:
            self.inside.clear()

    async def on_interrupt(self) -> None:
        self.enter("hook")
        try:
            if self.odd and self.rng.random() < 0.3:
                await trio.sleep(0.1)
        finally:
            self.inside.clear()


# -- the model: a plan is a list of stages and of branches (a list of plans each)

Made = tuple[str, int, str, object]  # down or up, number, way, what it is


class Plan:
    """A random pipeline."""

    def __init__(self, seed: int, *, storm: bool = False, turns: bool = False) -> None:
        self.rng = Random(seed)
        self.letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" * 4)
        self.storm = storm
        self.turns = turns
        self.lossy = False
        self.places = self.chain(self.rng.randint(1, 5 if not storm else 4), 2)

    def chain(self, most: int, depth: int) -> list[Any]:
        places: list[Any] = []
        for _ in range(most):
            if depth and self.rng.random() < 0.25:
                places.append(
                    [
                        self.chain(self.rng.randint(0, 2), depth - 1)
                        for _ in range(self.rng.randint(1, 3))
                    ]
                )
            else:
                places.append(self.stage())
        return places

    def stage(self) -> dict[str, Any]:
        rng = self.rng
        ups = ["pass", "pass", "make", "swallow"] + (["turn"] * 2 if self.turns else [])
        full, restart, redeliver = "wait", None, 0
        capacity = rng.choice((0, 1, 1, 2, 4))
        if self.storm:
            full = rng.choice(("wait", "wait", "wait", "fail", "drop_oldest", "drop_newest"))
            restart = rng.choice((None, "transient", "permanent", "temporary"))
            redeliver = rng.choice((0, 0, 1)) if restart else 0
            if full != "wait":
                capacity = max(1, capacity)
        return {
            "letter": next(self.letters),
            "role": rng.choice(("pass", "pass", "make", "twice", "both", "rise", "swallow")),
            "up_role": rng.choice(ups),
            "seed": rng.randrange(10**6),
            "capacity": capacity,
            "full": full,
            "restart": restart,
            "redeliver": redeliver,
            "odd": 0.1 if self.storm else 0.0,
        }

    def parts(self) -> list[Part]:
        return [self.part(place) for place in self.places]

    def part(self, place: Any) -> Part:
        if isinstance(place, list):
            branches = cast("list[list[Any]]", place)
            return Branches(*[[self.part(p) for p in branch] for branch in branches])
        args = tuple(place[key] for key in ("letter", "role", "up_role", "seed", "odd"))
        options = {key: place[key] for key in ("capacity", "full", "restart", "redeliver")}
        return ChildSpec(Puppet, args=args, **options)

    def run(self, made: Iterable[Made]) -> list[Made]:
        """Return what comes out of the whole of *made*, which comes in."""
        return through(self.places, list(made))


def through(places: Sequence[Any], made: list[Made]) -> list[Made]:
    """Follow *made* through *places*: down frames from the top, up frames from the bottom."""
    out: list[Made] = []
    todo = [
        (0 if kind == "down" else len(places) - 1, (kind, n, way, what))
        for kind, n, way, what in made
    ]
    while todo:
        at, item = todo.pop()
        if not 0 <= at < len(places):
            out.append(item)
            continue
        todo += [(at + (1 if r[0] == "down" else -1), r) for r in at_place(places[at], item)]
    return out


def at_place(place: Any, item: Made) -> list[Made]:
    kind, number, way, what = item
    if isinstance(place, list):
        results: list[Made] = []
        passed = False
        for branch in cast("list[list[Any]]", place):
            for result in through(branch, [item]):
                if result[3] is what:
                    if passed:
                        continue
                    passed = True
                results.append(result)
        return results
    letter, role, up_role = place["letter"], place["role"], place["up_role"]
    results = []
    if kind == "down":
        if role in ("pass", "both"):
            results.append(item)
        if role in ("make", "twice"):
            results.append((kind, number, way + letter, object()))
        if role == "twice":
            results.append((kind, number, way + letter + "'", object()))
        if role in ("both", "rise"):
            results.append(("up", number, way + letter, object()))
    elif up_role == "pass":
        results.append(item)
    elif up_role == "make":
        results.append((kind, number, way + letter, object()))
    elif up_role == "turn":
        results.append(("down", number, way + letter, object()))
    return results


async def read(tap: Any, into: list[Any], rng: Random, slowness: float) -> None:
    with tap:
        async for item in tap:
            into.append(item)
            if rng.random() < slowness:
                await trio.sleep(rng.choice((0, 0.05)))


def check_order(seen: Sequence[Any]) -> None:
    ways: dict[str, int] = {}
    for item in seen:
        assert ways.get(item.way, -1) <= item.number, (item, seen)
        ways[item.way] = item.number


def calm(seed: int, *, observed: bool = False) -> bytes:
    """Send into a random pipeline; all that has to come out does, once, in order."""
    rng = Random(seed)
    plan = Plan(seed)
    down: list[Any] = []
    up: list[Any] = []
    log = EventLog()
    count = rng.randint(0, 12)
    risen = rng.randint(0, 6)

    async def main() -> None:
        observers = [log] if observed else []
        async with (
            open_runtime(observers=observers, drain_grace=math.inf) as runtime,
            trio.open_nursery() as nursery,
        ):
            async with (
                open_pipeline(
                    runtime, *plan.parts(), heartbeat=rng.choice((math.inf, 0.5)), flush_grace=60
                ) as pipeline,
                trio.open_nursery() as senders,
            ):
                nursery.start_soon(
                    read, pipeline.sink(Item, buffer=rng.choice((1, 8))), down, rng, 0.2
                )
                nursery.start_soon(
                    read, pipeline.source(Rising, buffer=rng.choice((1, 8))), up, rng, 0.2
                )

                async def send_up() -> None:
                    for n in range(risen):
                        await pipeline.send_up(Rising(n, "^"))

                senders.start_soon(send_up)
                way = rng.randrange(3)
                for n in range(count):
                    if way == 0:
                        await pipeline.send(Item(n))
                    else:
                        pair = [Item(n)]
                        await pipeline.send_all(pair)
                    if rng.random() < 0.1:
                        before = n
                        await pipeline.flush()
                        assert_flushed(pipeline, before)
                await pipeline.flush()
                assert_flushed(pipeline, count - 1)
            assert runtime.living() == ()
            accounts = runtime.accounts()
            assert accounts.pending == 0, accounts
            assert accounts.sent == accounts.handled, accounts

    def assert_flushed(pipeline: Pipeline, last: int) -> None:
        wanted = plan.run([("down", n, "", object()) for n in range(last + 1)])
        line: Line = pipeline._line  # pyright: ignore[reportPrivateUsage]
        out = line.sink.count + line.source.count
        assert out >= len(wanted), (out, wanted)

    async def bounded() -> None:
        with trio.move_on_after(10_000) as scope:
            await main()
        assert not scope.cancelled_caught, "it hangs"

    run_seeded(bounded, seed=seed)
    sent: list[Made] = [("down", n, "", object()) for n in range(count)]
    sent += [("up", n, "^", object()) for n in range(risen)]
    expected = Counter((kind, n, way) for kind, n, way, _ in plan.run(sent))
    seen = Counter(("down", f.number, f.way) for f in down)
    seen += Counter(("up", f.number, f.way) for f in up)
    assert seen == expected, (plan.places, seen - expected, expected - seen)
    check_order(down)
    check_order(up)
    return bytes(log)


def storm(seed: int, *, observed: bool = False) -> bytes:
    """Do all sorts of things to a random pipeline; it ends in its bounds, and leaves nothing."""
    rng = Random(seed)
    plan = Plan(seed, storm=True, turns=rng.random() < 0.2)
    down: list[Any] = []
    log = EventLog()
    expected: tuple[type[BaseException], ...] = (ValueError, MailboxFull, TooManyRestarts)
    if plan.turns:
        expected = (*expected, DeadlockError)

    async def act(pipeline: Pipeline, scope: trio.CancelScope) -> None:
        nonlocal expected
        numbers = iter(range(10**6))
        for _ in range(rng.randint(0, 25)):
            stages = pipeline.stages
            try:
                match rng.randrange(13):
                    case 0 | 1 | 2:
                        kind = rng.choice((Item, PinnedItem))
                        for _ in range(rng.randint(1, 8)):
                            await pipeline.send(kind(next(numbers)))
                    case 3:
                        await pipeline.send_up(Rising(next(numbers), "^"))
                    case 4:
                        pipeline.interrupt("now")
                    case 5:
                        pipeline.pause(*rng.sample(stages, rng.randint(0, len(stages))))
                    case 6 | 7:
                        pipeline.resume()
                    case 8:
                        with trio.move_on_after(rng.choice((0, 0.1, 10))):
                            await pipeline.flush()
                    case 9:
                        await trio.sleep(rng.choice((0, 0.2, 3)))
                    case 10:
                        await trio.lowlevel.checkpoint()
                    case 11 if rng.random() < 0.3:
                        expected = (*expected, ActorStopped)  # its neighbours', as they push
                        rng.choice(stages).stop()
                    case 12 if rng.random() < 0.2:
                        if rng.random() < 0.5:
                            scope.cancel()
                        else:
                            pipeline.stop()
                    case _:
                        pass
            except (ActorStopped, MailboxFull, PipelineStalled):
                pass

    ended: dict[str, float] = {}

    async def main() -> None:
        observers = [log] if observed else []
        async with open_runtime(
            observers=observers, drain_grace=GRACE, cleanup_grace=GRACE
        ) as runtime:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    async with open_pipeline(
                        runtime,
                        *plan.parts(),
                        flush_grace=2,
                        heartbeat=rng.choice((math.inf, 0.5)),
                        supervision=Supervision(restarts=rng.choice((0, 2, 100))),
                    ) as pipeline:
                        if rng.random() < 0.7:
                            tap = pipeline.sink(Item, PipelineInterrupted, buffer=2)
                            nursery.start_soon(read, tap, down, rng, 0.5)
                        elif rng.random() < 0.3:
                            pipeline.source(buffer=1)  # that nobody reads
                        with trio.move_on_after(100):
                            await act(pipeline, scope)
                        ended["at"] = trio.current_time()
                    assert trio.current_time() <= ended["at"] + 3 * GRACE, "the end has no bound"
            assert runtime.living() == (), runtime.living()
            accounts = runtime.accounts()
            assert accounts.pending == 0, accounts
            figures = attrs.asdict(accounts)
            assert figures.pop("sent") == sum(figures.values()), accounts

    async def bounded() -> None:
        with trio.move_on_after(1_000) as scope:
            await main()
        assert not scope.cancelled_caught, "it hangs"

    try:
        run_seeded(bounded, seed=seed)
    except BaseException as failure:
        if unexpected := [leaf for leaf in leaves(failure) if not isinstance(leaf, expected)]:
            raise unexpected[0] from failure
    seen = Counter((f.number, f.way) for f in down if isinstance(f, Item) and f.number >= 0)
    if not any(place.get("redeliver") for place in flat(plan.places)):
        assert not seen or max(seen.values()) == 1, seen
    if not any(isinstance(place, list) for place in plan.places):
        check_order([f for f in down if isinstance(f, Item) and f.number >= 0])
    return bytes(log)


def leaves(failure: BaseException) -> Iterable[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", failure).exceptions:
            yield from leaves(each)
    else:
        yield failure


def flat(places: Sequence[Any]) -> Iterable[dict[str, Any]]:
    for place in places:
        if isinstance(place, list):
            for branch in cast("list[list[Any]]", place):
                yield from flat(branch)
        else:
            yield place


@given(st.integers(0, 2**32))
def test_all_that_has_to_come_out_does_and_once(seed: int) -> None:
    """I2: per way through, nothing is lost, doubled or overtaken; a flush means flushed."""
    calm(seed)


@given(st.integers(0, 2**32))
def test_whatever_is_done_to_it_a_pipeline_ends_in_its_bounds(seed: int) -> None:
    """I3, I4: interrupted, paused, flushed, stopped, crashed or cancelled: nothing is left of it."""
    storm(seed)


@given(st.integers(0, 2**32), st.sampled_from([calm, storm]))
def test_the_same_schedule_gives_the_same_events(seed: int, play: Any) -> None:
    """I11, and R26: what happens is the same with an observer."""
    assert play(seed, observed=True) == play(seed, observed=True)
