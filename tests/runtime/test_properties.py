"""Random programs against small models (I2, I3)."""

from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.runtime import (
    ActorStopped,
    DeadLetter,
    HandlerStarted,
    MailboxFull,
    Ref,
    Refused,
    open_runtime,
)
from tests.runtime.cast import Do, Ledger, Note, Pinned, Stagehand, after, outcome_of, stubborn

FULL = st.sampled_from(["wait", "fail", "drop_newest", "drop_oldest"])
STEP = st.one_of(
    st.tuples(st.just("tell"), st.booleans()),
    st.tuples(st.just("tell_nowait"), st.booleans()),
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.just("interrupt"), st.none()),
)


def run(main: Any) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(
    programs=st.lists(st.lists(STEP, max_size=12), min_size=1, max_size=3),
    full=FULL,
    capacity=st.integers(1, 4),
)
def test_per_sender_order_holds_and_nothing_is_lost_but_counted(
    programs: list[list[tuple[str, Any]]], full: Any, capacity: int
) -> None:
    """I2: what is handled of each sender is in order, once; the rest is a dead letter."""
    handled: list[str] = []
    sent: set[str] = set()
    ledger = Ledger()

    class Slow(Stagehand):
        async def note(self, frame: Note | Pinned) -> None:
            handled.append(frame.text)
            if not isinstance(frame, Pinned):
                await trio.sleep(1)

    async def sender(ref: Ref, who: int, program: list[tuple[str, Any]]) -> None:
        for step, (what, detail) in enumerate(program):
            frame = (Pinned if detail else Note)(f"{who}:{step:02}")
            match what:
                case "sleep":
                    await trio.sleep(detail)
                case "interrupt":
                    ref.interrupt()
                case _:
                    try:
                        if what == "tell":
                            await ref.tell(frame)
                        else:
                            ref.tell_nowait(frame)
                    except MailboxFull:
                        continue
                    sent.add(frame.text)

    async def main() -> None:
        async with open_runtime(observers=[ledger], drain_grace=1000) as runtime:
            ref = await runtime.spawn(Slow, capacity=capacity, full=full)
            async with trio.open_nursery() as nursery:
                for who, program in enumerate(programs):
                    nursery.start_soon(sender, ref, who, program)

    run(main)
    dead = {e.frame.text for e in ledger.of(DeadLetter)}

    assert len(handled) == len(set(handled))
    for who in range(len(programs)):
        mine = [text for text in handled if text.startswith(f"{who}:")]
        assert mine == sorted(mine)
    assert set(handled) | dead == sent
    assert set(handled) & dead == set()
    assert len(handled) == len(ledger.of(HandlerStarted))
    ledger.check()


REQUEST = st.tuples(
    st.sampled_from([0, 0.5, 1, 2]),  # when it is asked
    st.sampled_from(["reply", "stubborn", "refuse"]),
    st.sampled_from([0, 0.5, 1, 3]),  # how long it takes
    st.sampled_from([None, 0.5, 1, 2]),  # when its asker leaves
)
EVENT = st.tuples(st.sampled_from([0, 0.5, 1, 2, 3]), st.sampled_from(["interrupt", "stop"]))


@settings(max_examples=150)
@given(
    requests=st.lists(REQUEST, max_size=6),
    events=st.lists(EVENT, max_size=3),
    capacity=st.integers(0, 2),
    concurrency=st.integers(1, 3),
)
def test_every_request_has_exactly_one_outcome(
    requests: list[tuple[float, str, float, float | None]],
    events: list[tuple[float, str]],
    capacity: int,
    concurrency: int,
) -> None:
    """I3, I4: whatever is asked, cancelled, interrupted and stopped, and when."""
    ledger = Ledger()
    outcomes: list[list[object]] = [[] for _ in requests]
    names: list[str] = []

    class Slots(Stagehand, concurrency=concurrency):
        """As many slots as the example says."""

    async def refuse(seconds: float) -> None:
        await trio.sleep(seconds)
        raise Refused("no")

    async def asker(
        ref: Ref, at: float, what: str, seconds: float, leave: float | None, into: list[object]
    ) -> None:
        await trio.sleep(at)

        async def handler(_: Any) -> Any:
            match what:
                case "reply":
                    return await after(seconds, "reply")(_)
                case "refuse":
                    await refuse(seconds)
                case _:
                    with trio.move_on_after(3):
                        await stubborn(seconds)(_)
                    return "reply"

        with trio.CancelScope() as scope:
            if leave is not None:
                scope.deadline = trio.current_time() + leave
            await outcome_of(ref, Do(handler), into)

    async def main() -> None:
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Slots, capacity=capacity)
            async with trio.open_nursery() as nursery:
                for (at, what, seconds, leave), into in zip(requests, outcomes, strict=True):
                    nursery.start_soon(asker, ref, at, what, seconds, leave, into)
                for at, event in sorted(events):
                    await trio.sleep_until(at)
                    getattr(ref, event)()
            try:
                await ref.ask(Do(after(0)))
            except ActorStopped:
                assert "stop" in [event for _, event in events]
            ref.stop()
            await ref.wait_stopped()
            names.extend(runtime.living())

    run(main)

    assert names == []
    legal = {"reply", "Refused", "cancelled", "interrupted: interrupted", "ActorStopped"}
    for into in outcomes:
        assert len(into) == 1
        assert into[0] in legal
    ledger.check(tombstones=len(requests))
