"""Deadlocks between real actors are named by the wait that would close them (R24)."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    DeadlockError,
    Emit,
    Frame,
    Ref,
    Request,
    Topic,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.testing import run_seeded
from tests.runtime.cast import Count, Do, Echo, Note, Number, Pair, Play, Stagehand, after, hang

Clock = trio.testing.MockClock


async def chain(first: Ref, *others: Ref) -> DeadlockError | None:
    """Let *first* ask the next to ask the next, and return the deadlock of the last, if any."""

    def step(refs: tuple[Ref, ...]) -> Do:
        async def ask(_: Stagehand) -> DeadlockError | None:
            if not refs:
                return None
            try:
                return await refs[0].ask(step(refs[1:]))
            except DeadlockError as error:
                return error

        return Do(ask)

    return await first.ask(step(others))


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_ring_of_asks_is_named(autojump_clock: Clock, length: int) -> None:
    """R24: oneself, two, three and more; the cycle is told from the one that closes it."""
    async with open_runtime() as runtime:
        refs = [await runtime.spawn(Stagehand, name=f"a{n}") for n in range(length)]
        error = await chain(*refs, refs[0])

        assert error is not None
        last = f"a{length - 1}"
        assert error.cycle == (last, *(f"a{n}" for n in range(length - 1)))
        assert str(error).startswith(f"this wait would never end: '{last}' asks 'a0' Do")
        assert trio.current_time() == 0
        assert await refs[0].ask(Echo("alive")) == "alive"  # nothing was sent, nobody waits


async def test_an_uncaught_deadlock_is_a_crash_that_says_so(autojump_clock: Clock) -> None:
    """R24, R13: it is an error of the handler that would have waited."""

    async def ask_oneself(hand: Stagehand) -> str:
        return await hand.ref.ask(Echo())

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="a", restart="temporary")
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Do(ask_oneself))

    assert isinstance(caught.value.__cause__, DeadlockError)


async def test_a_chain_without_a_cycle_is_none(autojump_clock: Clock) -> None:
    """R24: no false alarm for asking deep, or for asking the same actor again."""
    async with open_runtime() as runtime:
        a, b, c = [await runtime.spawn(Stagehand) for _ in range(3)]

        assert await chain(a, b, c) is None
        assert await chain(a, b) is None


async def test_a_free_slot_is_a_way_out(autojump_clock: Clock) -> None:
    """R24: with two slots an actor may ask itself once; not twice."""
    async with open_runtime() as runtime:
        pair = await runtime.spawn(Pair, name="pair")
        assert await chain(pair, pair) is None
        error = await chain(pair, pair, pair)

        assert error is not None
        assert set(error.cycle) == {"pair"}


async def test_a_busy_slot_that_waits_for_nobody_is_a_way_out(autojump_clock: Clock) -> None:
    """R24: it may be done at any time, and then takes the request."""

    async with open_runtime() as runtime:
        pair = await runtime.spawn(Pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.ask, Echo("busy", 5))
            await trio.sleep(1)
            assert await chain(pair, pair) is None

        assert trio.current_time() == 5


async def test_a_full_mailbox_closes_a_cycle(autojump_clock: Clock) -> None:
    """R24: a waits for room in b, whose handler asks a."""
    errors: list[DeadlockError] = []

    async def fill(_: Stagehand) -> None:
        for _n in range(5):
            await b.tell(Note("x"))

    async def ask_a(_: Stagehand) -> None:
        await trio.sleep(1)
        with pytest.raises(DeadlockError) as caught:
            await a.ask(Echo())
        errors.append(caught.value)

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a")
        b = await runtime.spawn(Stagehand, name="b", capacity=1)
        await b.tell(Do(ask_a))
        await trio.sleep(0.5)
        await a.tell(Do(fill))
        await trio.sleep(5)

    assert [error.cycle for error in errors] == [("b", "a")]
    assert "'b' asks 'a' Echo, 'a' waits for room in 'b'" in str(errors[0])


async def test_the_one_who_waits_for_room_is_named(autojump_clock: Clock) -> None:
    """R24: telling into a full mailbox of an actor that waits for the teller."""
    errors: list[DeadlockError] = []

    async def ask_b(_: Stagehand) -> str:
        return await b.ask(Do(fill_a))

    async def fill_a(_: Stagehand) -> str:
        await a.tell(Note("fits"))
        with pytest.raises(DeadlockError) as caught:
            await a.tell(Note("does not"))
        errors.append(caught.value)
        return "named"

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a", capacity=1)
        b = await runtime.spawn(Stagehand, name="b")
        assert await a.ask(Do(ask_b)) == "named"

    assert errors[0].cycle == ("b", "a")
    assert "'b' waits for room in 'a', 'a' asks 'b' Do" in str(errors[0])


async def test_a_stream_that_its_consumer_does_not_read_closes_a_cycle(
    autojump_clock: Clock,
) -> None:
    """R24: the emitter waits for the consumer, who asks somebody that asks the emitter."""

    async def consume(_: Stagehand) -> str:
        async with b.stream(Count(100), buffer=1) as numbers:
            assert await anext(numbers) == Number(0)
            await trio.sleep(1)  # the buffer fills up
            with pytest.raises(DeadlockError) as caught:
                await b.ask(Echo())
            assert caught.value.cycle == ("a", "b")
            assert "'b' waits for 'a' to take what it streams for Count" in str(caught.value)
            return "named"

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a")
        b = await runtime.spawn(Stagehand, name="b")

        assert await a.ask(Do(consume)) == "named"


async def test_a_stream_that_another_task_reads_is_no_edge(autojump_clock: Clock) -> None:
    """R24: waits in child tasks are missed, never false."""

    async def consume(_: Stagehand) -> str:
        async with b.stream(Count(100), buffer=1) as numbers, trio.open_nursery() as nursery:

            async def read() -> None:
                async for _ in numbers:
                    await trio.sleep(0.01)

            nursery.start_soon(read)
            await trio.sleep(0.5)
            return await b.ask(Echo("after the stream"))

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a")
        b = await runtime.spawn(Stagehand, name="b")

        assert await a.ask(Do(consume)) == "after the stream"


@pytest.mark.parametrize("of", ["handler", "actor"])
async def test_a_stream_that_another_task_emits_is_no_edge(autojump_clock: Clock, of: str) -> None:
    """R24: the reader doesn't wait for what the emitter's handler itself waits for."""

    async def play(hand: Stagehand, emit: Emit[Number]) -> None:
        async def speak() -> None:
            for n in range(3):
                await trio.sleep(1)
                await emit(Number(n))
            emit.close()

        async with trio.open_nursery() as nursery:
            (nursery if of == "handler" else hand.nursery).start_soon(speak)
            assert await a.ask(Echo("after the stream")) == "after the stream"

    async def consume(_: Stagehand) -> str:
        async with b.stream(Play(play)) as numbers:
            await trio.sleep(0.5)  # b asks
            assert await anext(numbers) == Number(0)
        return "left"

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a")
        b = await runtime.spawn(Stagehand, name="b")

        assert await a.ask(Do(consume)) == "left"


async def test_reading_a_stream_of_ones_own_is_named(autojump_clock: Clock) -> None:
    """R24: at the read that would wait, since entering does not."""

    async def read_oneself(hand: Stagehand) -> str:
        async with hand.ref.stream(Count(3)) as numbers:
            with pytest.raises(DeadlockError, match="'a' waits for 'a' to stream Count"):
                await anext(numbers)
        return "named"

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand, name="a")

        assert await a.ask(Do(read_oneself)) == "named"


async def test_a_child_that_asks_its_spawner_at_its_start_is_named(autojump_clock: Clock) -> None:
    """R24: the spawner's handler waits for on_start."""

    class Eager(Actor):
        async def on_start(self) -> None:
            await parent.ask(Echo())

    async def spawn(hand: Stagehand) -> str:
        with pytest.raises(DeadlockError) as caught:
            await hand.spawn(Eager, name="child")
        assert caught.value.cycle == ("child", "parent")
        return "named"

    async with open_runtime() as runtime:
        parent = await runtime.spawn(Stagehand, name="parent")

        assert await parent.ask(Do(spawn)) == "named"


async def test_a_cycle_across_two_runtimes_is_named(autojump_clock: Clock) -> None:
    """R24, R30: the graph is that of the trio.run."""
    async with open_runtime() as one, open_runtime() as two:
        a = await one.spawn(Stagehand, name="a")
        b = await two.spawn(Stagehand, name="b")
        error = await chain(a, b, a)

        assert error is not None
        assert error.cycle == ("b", "a")


async def test_a_deadline_does_not_excuse_a_cycle(autojump_clock: Clock) -> None:
    """R24: it is named at once, not when the time is up."""

    async def ask_oneself(hand: Stagehand) -> str:
        with pytest.raises(DeadlockError), trio.fail_after(5):
            await hand.ref.ask(Echo())
        return "named"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        assert await ref.ask(Do(ask_oneself)) == "named"

        assert trio.current_time() == 0


async def test_a_cancelled_handler_blocks_nobody(autojump_clock: Clock) -> None:
    """R24: what is being cancelled will end, so whoever waits for it is let wait."""

    async def hang_in_shield(_: Stagehand) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

    async with open_runtime() as runtime:
        a = await runtime.spawn(Stagehand)
        await a.tell(Do(hang_in_shield))
        await trio.sleep(0.1)
        a.interrupt()

        assert await a.ask(Echo("after")) == "after"


@frame
class Follow(Request[bool]):
    """Asks to ask along the path that is left; the reply tells whether a deadlock was named."""

    path: tuple[int, ...] = ()


class Walker(Actor):
    """One node of a random system."""

    def __init__(self, refs: list[Ref]) -> None:
        self.refs = refs

    @handles
    async def follow(self, request: Follow) -> bool:
        await trio.sleep(1)  # so that all walks advance at the same pace
        if not request.path:
            return False
        try:
            return await self.refs[request.path[0]].ask(Follow(request.path[1:]))
        except DeadlockError:
            return True


class Walker2(Walker, concurrency=2):
    """The same with two slots."""


@settings(max_examples=150)
@given(
    slots=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4),
    walks=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=4),
)
def test_walks_never_hang_and_a_walk_without_a_repeat_is_never_named_alone(
    slots: list[int], walks: list[list[int]]
) -> None:
    """R24: whatever asks whom, all ends; and one walk alone is named only if it needs more slots."""

    async def main() -> None:
        refs: list[Ref] = []
        async with open_runtime() as runtime:
            for count in slots:
                refs.append(await runtime.spawn(Walker if count == 1 else Walker2, refs))
            named: list[bool] = []

            async def walk(path: tuple[int, ...]) -> None:
                named.append(await refs[path[0]].ask(Follow(path[1:])))

            with trio.fail_after(1000):
                async with trio.open_nursery() as nursery:
                    for path in walks:
                        nursery.start_soon(walk, tuple(n % len(refs) for n in path))
            for path in walks:
                own = tuple(n % len(refs) for n in path)
                named.clear()
                await walk(own)
                too_many = any(own.count(n) > slots[n] for n in own)
                assert named == [too_many]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_blocked_handler_shows_in_the_report(autojump_clock: Clock) -> None:
    """Inspection: who waits for whom, and where."""

    async def ask_b(_: Stagehand) -> None:
        await b.ask(Do(hang))

    async def stream_b(_: Stagehand, emit: Emit[Number]) -> None:
        await emit(Number(1))

    async with open_runtime(name="house") as runtime:
        a = await runtime.spawn(Stagehand, name="a")
        b = await runtime.spawn(Stagehand, name="b")
        await a.tell(Do(ask_b))
        async with b.stream(Play(stream_b)):
            pass
        await trio.sleep(1)
        report = runtime.report()
        a.interrupt()

    assert "runtime 'house'" in report
    assert "handles Do, asks 'b' Do" in report
    assert "in hang" in report


# -- topics


class Publisher(Stagehand):
    """Subscribes at its start, and publishes when it is told a number: so many notes."""

    def __init__(self, hears: Topic[Frame], tells: Topic[Frame], named: list[str]) -> None:
        super().__init__()
        self.hears, self.tells, self.named = hears, tells, named

    async def on_start(self) -> None:
        self.subscribe(self.hears, buffer=1, lag="wait")

    @handles
    async def publish(self, frame: Number) -> None:
        try:
            for _ in range(frame.n):
                await self.tells.publish(Note("news"))
        except DeadlockError as error:
            self.named.append(str(error))


@pytest.mark.parametrize("capacity", [0, 1, 5])
async def test_an_actor_that_would_wait_for_its_own_subscription_is_named(
    autojump_clock: Clock, capacity: int
) -> None:
    """R24: the publish that nobody can make room for raises; all before it is delivered."""
    named: list[str] = []
    topic = Topic[Frame]("news")
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Publisher, topic, topic, named, name="a", capacity=capacity)
        await ref.tell(Number(100))
        await trio.sleep(1)
        handled = ref.statistics().accounts.handled

    (text,) = named
    assert text.startswith(
        "this wait would never end: 'a' publishes on topic 'news', of which a subscriber waits "
        "for room in 'a'; break the cycle, for example by subscribing with lag='drop_oldest'"
    )
    # the mailbox, one in the hand of the forwarder, and the buffer
    assert handled == 1 + capacity + 1 + 1


async def test_two_actors_that_would_wait_for_each_others_subscriptions_are_named(
    autojump_clock: Clock,
) -> None:
    """R24: over two topics; the one that closes the cycle gets the error, the other goes on."""
    named: list[str] = []
    one, two = Topic[Frame]("one"), Topic[Frame]("two")
    async with open_runtime() as runtime:
        a = await runtime.spawn(Publisher, one, two, named, name="a", capacity=1)
        b = await runtime.spawn(Publisher, two, one, named, name="b", capacity=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.tell, Number(50))
            nursery.start_soon(b.tell, Number(50))
        with trio.fail_after(10):
            assert await a.ask(Echo("alive")) == "alive"
            assert await b.ask(Echo("alive")) == "alive"

    assert named
    assert "a subscriber waits for room in 'a'" in named[0]
    assert "a subscriber waits for room in 'b'" in named[0]


async def test_a_cycle_through_one_of_several_subscribers_is_named(autojump_clock: Clock) -> None:
    """R24: a publish waits for all of them, so one that never has room is enough."""
    named: list[str] = []
    topic, quiet = Topic[Frame]("news"), Topic[Frame]("quiet")
    async with open_runtime() as runtime:
        a = await runtime.spawn(Publisher, topic, topic, named, name="a", capacity=1)
        b = await runtime.spawn(Publisher, topic, quiet, named, name="b", capacity=1)
        await b.tell(Do(after(50)))  # slow, but it ends
        await a.tell(Number(100))
        with trio.fail_after(200):
            assert await a.ask(Echo("alive")) == "alive"

    assert len(named) == 1


async def test_an_ask_that_closes_a_cycle_through_a_topic_is_named(autojump_clock: Clock) -> None:
    """R24: the publisher waits for a subscriber that asks the publisher."""
    named: list[str] = []
    topic, quiet = Topic[Frame]("news"), Topic[Frame]("quiet")

    async def ask_a(_: Stagehand) -> None:
        await trio.sleep(1)
        with pytest.raises(
            DeadlockError, match=r"'b' asks 'a' Echo, 'a' publishes on topic 'news'"
        ):
            await a.ask(Echo())

    async with open_runtime() as runtime:
        a = await runtime.spawn(Publisher, quiet, topic, named, name="a", capacity=1)
        b = await runtime.spawn(Publisher, topic, quiet, named, name="b", capacity=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.ask, Do(ask_a))
            await a.tell(Number(100))
        with trio.fail_after(10):
            assert await a.ask(Echo("alive")) == "alive"

    assert named == []


async def test_a_slow_subscriber_is_no_deadlock(autojump_clock: Clock) -> None:
    """R24: no false alarm where the subscriber goes on in its own time."""
    named: list[str] = []
    topic, quiet = Topic[Frame]("news"), Topic[Frame]("quiet")
    async with open_runtime() as runtime:
        a = await runtime.spawn(Publisher, quiet, topic, named, name="a")
        for _ in range(3):
            b = await runtime.spawn(Publisher, topic, quiet, named, capacity=1)
            for _ in range(3):
                await b.tell(Do(after(5)))
        await a.tell(Number(40))
        assert await a.ask(Echo("alive")) == "alive"

    assert named == []


@frame
class Gossip(Frame):
    """To be published again, *hops* times, on *topic* and those after it."""

    topic: int
    hops: int


class Gossiper(Actor):
    """Hears one topic, and publishes on others: on later ones alone if there is to be no cycle."""

    in_rings = True

    def __init__(self, at: int, topics: list[Topic[Gossip]], named: list[int]) -> None:
        self.at, self.topics, self.named = at, topics, named

    async def on_start(self) -> None:
        self.subscribe(self.topics[self.at], buffer=1, lag="wait")

    @handles
    async def gossip(self, frame: Gossip) -> None:
        try:
            for n in range(frame.hops):
                at = (frame.topic + n) % len(self.topics)
                if not self.in_rings and at <= self.at:
                    continue
                await self.topics[at].publish(Gossip(at + 1, frame.hops - 1))
        except DeadlockError:
            self.named.append(self.at)


class Onward(Gossiper):
    """Publishes on later topics alone."""

    in_rings = False


@settings(max_examples=150)
@given(
    kind=st.sampled_from([Gossiper, Onward]),
    capacities=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    doubled=st.integers(0, 3),
    sent=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=6),
    seed=st.integers(0, 9),
)
def test_gossip_over_topics_always_ends(
    kind: type[Gossiper],
    capacities: list[int],
    doubled: int,
    sent: list[tuple[int, int]],
    seed: int,
) -> None:
    """R24: on any schedule nobody waits for ever; and where there is no cycle, none is named."""

    async def main() -> None:
        topics = [Topic[Gossip](str(n)) for n in range(len(capacities))]
        named: list[int] = []
        async with open_runtime() as runtime:
            refs = [
                await runtime.spawn(kind, at, topics, named, capacity=capacity)
                for at, capacity in enumerate(capacities)
            ]
            # and one more, so that some topics have two to wait for
            await runtime.spawn(kind, doubled % len(topics), topics, named, capacity=1)
            await trio.testing.wait_all_tasks_blocked()
            for to, hops in sent:
                with trio.move_on_after(1):
                    await refs[to % len(refs)].tell(Gossip(to, hops))
            await trio.sleep(1)
            for figures in runtime.statistics().values():
                assert (figures.running, figures.queued, figures.waiting) == (0, 0, 0)
        assert kind.in_rings or not named

    run_seeded(main, seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_an_ask_that_was_just_let_in_still_waits(seed: int) -> None:
    """R24: a sender who is let in goes on, an asker waits for the reply, whoever runs first."""
    named: list[str] = []
    refs: list[Ref] = []

    async def fill(_: Stagehand) -> None:
        try:
            for _n in range(3):
                await refs[1].tell(Note())
        except DeadlockError as error:
            named.append(str(error))

    async def consult(_: Stagehand) -> None:
        try:
            assert await refs[0].ask(Echo("ready")) == "ready"
        except DeadlockError as error:
            named.append(str(error))

    async def main() -> None:
        async with open_runtime() as runtime:
            refs.extend([await runtime.spawn(Stagehand, name=n, capacity=1) for n in ("a", "b")])
            await refs[0].tell(Do(after(1)))
            await trio.sleep(0.1)
            await refs[0].tell(Do(fill))
            await refs[1].tell(Do(consult))  # waits for room in a
            with trio.fail_after(10):
                await trio.sleep(2)
                assert await refs[0].ask(Echo("done")) == "done"

    run_seeded(main, seed=seed)
    assert len(named) == 1, named
