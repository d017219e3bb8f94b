"""Topics alone: what each policy does with a subscriber that lags."""

import gc
from collections import Counter
from itertools import count, islice
from typing import get_args

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Lagged, LagPolicy, MailboxFull, Subscription, Topic, open_runtime
from greenroom.runtime.testing import World, cancel_everywhere

Clock = trio.testing.MockClock


@pytest.mark.parametrize(
    ("lag", "read", "dropped"),
    [("drop_oldest", [3, 4], 3), ("drop_newest", [0, 1], 3)],
)
async def test_a_subscriber_that_lags_misses_some(
    lag: LagPolicy, read: list[int], dropped: int
) -> None:
    """What it misses is counted, and the publisher does not wait."""
    topic = Topic[int]("t")
    with topic.subscribe(buffer=2, lag=lag) as values:
        for n in range(5):
            await topic.publish(n)
        assert values.behind == 2
        topic.close()

        assert [n async for n in values] == read
        assert (values.delivered, values.dropped) == (2, dropped)


async def test_a_subscriber_that_may_not_lag_is_dropped_from_the_topic() -> None:
    """It reads what it has, and then the error that names how far behind it was."""
    topic = Topic[int]("news")
    with topic.subscribe(buffer=2, lag="leave") as values:
        for n in range(5):
            await topic.publish(n)
        assert len(topic) == 0
        assert [await anext(values), await anext(values)] == [0, 1]
        with pytest.raises(Lagged, match="a subscriber of topic 'news' was 2 values behind"):
            await anext(values)


async def test_a_publisher_waits_for_who_wants_to_be_waited_for(autojump_clock: Clock) -> None:
    """The others have the value at once."""
    topic = Topic[int]("t")
    seen: list[tuple[int, float]] = []

    async def read_slowly() -> None:
        for _ in range(3):
            await trio.sleep(1)
            await anext(slow)

    with (
        topic.subscribe(buffer=1, lag="wait") as slow,
        topic.subscribe() as fast,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)

            async def read_fast() -> None:
                while len(seen) < 3:
                    seen.append((await anext(fast), trio.current_time()))

            nursery.start_soon(read_fast)
            for n in range(3):
                await topic.publish(n)

    assert seen == [(0, 0), (1, 0), (2, 1)]


async def test_publish_nowait_gives_to_all_or_to_nobody() -> None:
    """MailboxFull, which is a WouldBlock, if one would have to be waited for."""
    topic = Topic[int]("t")
    with topic.subscribe(buffer=1, lag="wait") as one, topic.subscribe() as two:
        topic.publish_nowait(1)
        with pytest.raises(MailboxFull, match="a subscriber of topic 't' has no room"):
            topic.publish_nowait(2)

        assert (one.behind, two.behind) == (1, 1)


async def test_a_subscriber_that_leaves_lets_its_publishers_go(autojump_clock: Clock) -> None:
    """And disturbs nobody."""
    topic = Topic[int]("t")
    values = topic.subscribe(buffer=1, lag="wait")
    with topic.subscribe() as other:
        async with trio.open_nursery() as nursery:
            for n in range(3):
                nursery.start_soon(topic.publish, n)
            await trio.sleep(1)
            values.close()
            values.close()
        await topic.publish(3)

        assert other.behind == 4


async def test_options_out_of_range_are_refused() -> None:
    """The error names the value and what it may be."""
    topic = Topic[int]("t")
    with pytest.raises(ValueError, match="buffer must be an int >= 1"):
        topic.subscribe(buffer=0)
    with pytest.raises(ValueError, match=r"lag must be one of wait, .*, not 'x'"):
        topic.subscribe(lag="x")  # type: ignore[arg-type]


async def test_a_topic_that_is_closed_ends_its_readers() -> None:
    """Also those who come later."""
    topic = Topic[int]("t")
    topic.close()
    with topic.subscribe() as values:
        await topic.publish(1)

        assert [n async for n in values] == []


@cancel_everywhere(targets=["root", "publisher"], floor=30)
async def test_a_publish_that_is_cancelled_gave_each_value_once(w: World) -> None:
    """I1, I2: swept; those who had room have the value, nobody has it twice."""
    topic = Topic[int]("t")
    subscribers = [topic.subscribe(buffer=1, lag="wait") for _ in range(2)]
    fast = topic.subscribe()
    got: list[list[int]] = [[], []]

    async def read(at: int) -> None:
        async for value in subscribers[at]:
            got[at].append(value)
            await trio.sleep(1 + at)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 0)
        nursery.start_soon(read, 1)
        with w.scope("publisher"):
            for n in range(4):
                await topic.publish(n)
        topic.close()
    whole = [n async for n in fast]
    assert whole == list(range(len(whole)))
    for values in got:
        assert values == sorted(set(values))
        assert len(values) >= len(whole) - 1


@given(
    policies=st.lists(
        st.sampled_from(["wait", "drop_oldest", "drop_newest"]), min_size=1, max_size=3
    ),
    buffer=st.integers(1, 3),
    pauses=st.lists(st.sampled_from([0, 0.5, 2]), max_size=12),
)
def test_every_value_is_read_or_counted(
    policies: list[LagPolicy], buffer: int, pauses: list[float]
) -> None:
    """I2: in order, none twice; read and dropped are all that was published."""

    async def main() -> None:
        topic = Topic[int]("t")
        subscriptions = [topic.subscribe(buffer=buffer, lag=policy) for policy in policies]
        read: list[list[int]] = [[] for _ in policies]

        async def listen(at: int) -> None:
            async for value in subscriptions[at]:
                read[at].append(value)
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            for at in range(len(policies)):
                nursery.start_soon(listen, at)
            for n, pause in enumerate(pauses):
                await topic.publish(n)
                await trio.sleep(pause)
            topic.close()
        for at, subscription in enumerate(subscriptions):
            assert read[at] == sorted(read[at])
            assert max(Counter(read[at]).values(), default=1) == 1
            assert len(read[at]) == subscription.delivered
            assert len(read[at]) + subscription.dropped == len(pauses)
            if policies[at] == "wait":
                assert read[at] == list(range(len(pauses)))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("slow", [1, 3])
async def test_a_publish_that_is_cancelled_raises_that_alone(
    slow: int, autojump_clock: Clock
) -> None:
    """R14: however many it waited for, it ends by a bare Cancelled, and they got nothing."""
    topic = Topic[int]("t")
    subscribers = [topic.subscribe(buffer=1, lag="wait") for _ in range(slow)]
    await topic.publish(0)
    ended: list[type[BaseException]] = []
    with trio.move_on_after(1):
        try:
            await topic.publish(1)
        except BaseException as error:
            ended.append(type(error))
            raise

    assert ended == [trio.Cancelled]
    topic.close()
    assert [[n async for n in subscriber] for subscriber in subscribers] == [[0]] * slow


async def test_those_who_are_waited_for_do_not_wait_for_one_another(autojump_clock: Clock) -> None:
    """One that never reads holds up the publisher, but not what the others get."""
    topic = Topic[int]("t")
    topic.subscribe(buffer=1, lag="wait")
    with topic.subscribe(buffer=1, lag="wait") as values:
        await topic.publish(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(topic.publish, 1)
            await trio.testing.wait_all_tasks_blocked()

            with trio.fail_after(1):
                assert [await anext(values), await anext(values)] == [0, 1]
            nursery.cancel_scope.cancel()


async def test_a_topic_that_is_closed_lets_its_publishers_go(autojump_clock: Clock) -> None:
    """What they had for a full subscriber is lost, and there is nobody to wait for any more."""
    topic = Topic[int]("t")
    with topic.subscribe(buffer=1, lag="wait") as values:
        await topic.publish(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(topic.publish, 1)
            await trio.sleep(1)
            topic.close()
        assert len(topic) == 0
        topic.publish_nowait(2)
        await topic.publish(3)

        assert [n async for n in values] == [0]


async def test_a_value_is_delivered_once_it_is_taken(autojump_clock: Clock) -> None:
    """R12: the figures are right at every moment, also while a publisher waits."""
    topic = Topic[int]("t")
    with topic.subscribe(buffer=1, lag="wait") as values:
        async with trio.open_nursery() as nursery:
            for n in range(3):
                nursery.start_soon(topic.publish, n)
            await trio.sleep(1)
            assert (values.delivered, values.behind) == (0, 1)
            await anext(values)
            assert (values.delivered, values.behind) == (1, 1)
            await anext(values)
            await anext(values)

        assert (values.delivered, values.behind) == (3, 0)


async def test_a_subscriber_that_fails_disturbs_nobody(autojump_clock: Clock) -> None:
    """Its block ends, and with it what publishers would wait for; the others hear all."""
    topic = Topic[int]("t")
    heard: list[int] = []

    async def listen_badly() -> None:
        with topic.subscribe(buffer=1, lag="wait") as values:
            async for n in values:
                await trio.sleep(1)
                if n == 1:
                    raise ValueError("boom")

    async def fail() -> None:
        with pytest.raises(ValueError, match="boom"):
            await listen_badly()

    async def listen() -> None:
        with topic.subscribe(buffer=1, lag="wait") as values:
            heard.extend([n async for n in values])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(8):
            await topic.publish(n)
        await trio.testing.wait_all_tasks_blocked()
        assert len(topic) == 1
        topic.close()

    assert heard == list(range(8))


@pytest.mark.parametrize("lag", ["wait", "drop_oldest"])
async def test_a_subscriber_may_publish_on_its_own_topic(lag: LagPolicy) -> None:
    """As long as it publishes no more than its buffer holds, it need not wait for itself."""
    topic = Topic[int]("t")
    read: list[int] = []
    with topic.subscribe(buffer=1, lag=lag) as values:
        await topic.publish(3)
        async for n in values:
            read.append(n)
            if n == 0:
                break
            await topic.publish(n - 1)

    assert read == [3, 2, 1, 0]


async def test_the_order_of_each_publisher_is_kept(autojump_clock: Clock) -> None:
    """I2: for every subscriber, while several publishers wait for several of them."""
    topic = Topic[tuple[str, int]]("t")
    read: list[list[tuple[str, int]]] = [[], [], []]

    async def listen(at: int) -> None:
        with topic.subscribe(buffer=1, lag="wait") as values:
            async for value in values:
                read[at].append(value)
                await trio.sleep(at)

    async def publish(who: str) -> None:
        for n in range(6):
            await topic.publish((who, n))

    async with trio.open_nursery() as nursery:
        for at in range(3):
            nursery.start_soon(listen, at)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as publishers:
            for who in "abc":
                publishers.start_soon(publish, who)
        topic.close()

    for values in read:
        for who in "abc":
            assert [n for name, n in values if name == who] == list(range(6))


async def test_a_topic_that_nobody_holds_or_hears_is_forgotten() -> None:
    """Bounded everything: names that are used once cost nothing; those in use keep their topic."""
    async with open_runtime() as runtime:
        held = runtime.topic("held")
        values = runtime.topic("heard").subscribe()
        for n in range(100):
            await runtime.topic(f"topic-{n}").publish(n)
        gc.collect()
        await runtime.topic("heard").publish(1)
        assert await anext(values) == 1
        assert runtime.topic("held") is held
        topics = [str(each) for each in gc.get_objects() if type(each).__name__ == "Topic"]
        assert not any("'topic-" in text for text in topics)

    assert [value async for value in values] == []  # it ended with the runtime
    values.close()


@attrs.define
class Model:
    """One subscriber, as the words of `topic` have it."""

    lag: LagPolicy
    room: int
    waiting: list[int] = attrs.Factory(list[int])
    dropped: int = 0
    is_in: bool = True

    def hear(self, value: int) -> None:
        if len(self.waiting) < self.room:
            self.waiting.append(value)
            return
        self.dropped += 1
        if self.lag == "drop_oldest":
            self.waiting = [*self.waiting[1:], value]
        self.is_in = self.lag != "leave"


@given(
    deeds=st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(1, 3), st.sampled_from(get_args(LagPolicy))),
            st.tuples(st.sampled_from(["read", "leave"]), st.integers(0, 9), st.none()),
            st.tuples(st.just("publish"), st.integers(1, 4), st.none()),
        ),
        max_size=40,
    )
)
def test_whatever_subscribers_do_each_hears_what_it_should(
    deeds: list[tuple[str, int, LagPolicy | None]],
) -> None:
    """I2: joining, reading, lagging and leaving in any order, against a model."""

    async def main() -> None:
        topic = Topic[int]("t")
        pairs: list[tuple[Subscription[int], Model]] = []
        values = count()
        for deed, n, lag in deeds:
            if lag is not None:
                pairs.append((topic.subscribe(buffer=n, lag=lag), Model(lag, n)))
            elif deed == "publish":
                for value in islice(values, n):
                    hearers = [model for _, model in pairs if model.is_in]
                    if any(m.lag == "wait" and len(m.waiting) == m.room for m in hearers):
                        with pytest.raises(MailboxFull):
                            topic.publish_nowait(value)
                        continue
                    topic.publish_nowait(value)
                    for model in hearers:
                        model.hear(value)
            elif pairs:
                subscription, model = pairs[n % len(pairs)]
                if deed == "leave":
                    subscription.close()
                    pairs.remove((subscription, model))
                elif model.waiting:
                    assert await anext(subscription) == model.waiting.pop(0)
                elif not model.is_in:
                    with pytest.raises(Lagged):
                        await anext(subscription)
            assert len(topic) == sum(model.is_in for _, model in pairs)
            for subscription, model in pairs:
                figures = (subscription.behind, subscription.dropped)
                assert figures == (len(model.waiting), model.dropped)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
