"""Topics alone: what each policy does with a subscriber that lags."""

from collections import Counter

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Lagged, LagPolicy, MailboxFull, Topic
from tests.sweep import Cut, sweep

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


def test_a_publish_that_is_cancelled_gave_each_value_once() -> None:
    """I1, I2: swept; those who had room have the value, nobody has it twice."""

    async def scenario(cut: Cut) -> None:
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
            with cut:
                for n in range(4):
                    await topic.publish(n)
            topic.close()
        whole = [n async for n in fast]
        assert whole == list(range(len(whole)))
        for values in got:
            assert values == sorted(set(values))
            assert len(values) >= len(whole) - 1

    assert sweep(scenario, name="publish") >= 10


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
