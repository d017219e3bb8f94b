"""The one task that sleeps to the earliest deadline (R7, R23)."""

import math

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.alarms import Alarm, Alarms


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 3, 5, math.inf]),  # when it rings
            st.sampled_from([None, 0, 1, 2, 4]),  # when it is cancelled
        ),
        max_size=12,
    )
)
def test_alarms_ring_once_in_order_unless_cancelled(
    plans: list[tuple[float, float | None]],
) -> None:
    """R7: at their time, those of one instant in the order in which they were set."""
    rung: list[tuple[float, int]] = []

    async def main() -> None:
        alarms = Alarms()
        made: list[Alarm] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alarms.run)
            for n, (at, _) in enumerate(plans):
                made.append(
                    alarms.set(at, lambda n=n: rung.append((trio.current_time(), n)))  # type: ignore[misc]
                )
            for now in (0, 1, 2, 4):
                await trio.sleep_until(now + 0.5 if now else 0)
                for alarm, (_, cancelled) in zip(made, plans, strict=True):
                    if cancelled == now:
                        alarm.cancel()
                        alarm.cancel()
                        assert not alarm.is_set
            await trio.sleep_until(10)
            alarms.close()
        assert alarms.is_closed

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    expected = [
        (at, n)
        for n, (at, cancelled) in enumerate(plans)
        if at < math.inf and (cancelled is None or (cancelled + 0.5 if cancelled else 0) > at)
    ]

    # at 0 the cancel comes before the alarm task's first step
    assert rung == sorted(expected)


async def test_an_alarm_may_set_and_cancel_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R7: from inside a ring, of the same instant too."""
    rung: list[str] = []
    alarms = Alarms()

    def first() -> None:
        rung.append("first")
        second.cancel()
        alarms.set(trio.current_time() + 1, lambda: rung.append(f"{trio.current_time():g}"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        alarms.set(1, first)
        second = alarms.set(1, lambda: rung.append("second"))
        await trio.sleep(5)
        alarms.close()

    assert rung == ["first", "2"]


async def test_alarms_that_are_cancelled_do_not_pile_up() -> None:
    """R7: of many set and cancelled, at most half stay behind."""
    alarms = Alarms()
    keep = alarms.set(1, lambda: None)
    for _ in range(1000):
        alarms.set(2, lambda: None).cancel()

    assert keep.is_set
    assert len(alarms._heap) <= 2  # pyright: ignore[reportPrivateUsage]
