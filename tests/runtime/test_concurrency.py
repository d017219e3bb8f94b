# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Actors with several slots (R17)."""

from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import ActorRestarted, HandlerStarted, open_runtime
from tests.runtime.cast import (
    Do,
    Echo,
    Ledger,
    Note,
    Pair,
    Stagehand,
    Trio,
    after,
    hang,
    outcome_of,
)

Clock = trio.testing.MockClock


@pytest.mark.parametrize(
    ("how", "capacity"),
    [("ask", 0), ("ask", 1), ("ask", 64), ("tell", 0), ("tell", 1), ("tell_nowait", 64)],
)
async def test_n_slots_run_n_handlers_at_once(
    autojump_clock: Clock, capacity: int, how: str
) -> None:
    """R17: never more, and not fewer while there is work, whatever the mailbox."""
    running, most = 0, 0

    async def work(_: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Trio, capacity=capacity)
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                if how == "tell_nowait":
                    ref.tell_nowait(Do(work))
                else:
                    nursery.start_soon(getattr(ref, how), Do(work))
        ref.stop()
        await ref.wait_stopped()

        assert most == 3
        assert trio.current_time() == 3


async def test_one_slot_runs_one_handler_at_a_time(autojump_clock: Clock) -> None:
    """Isolation: the default."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ref.ask, Do(after(1)))

        assert trio.current_time() == 3


async def test_frames_are_taken_in_order(autojump_clock: Clock) -> None:
    """R17, R6: with one slot they are started so too."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.tell_all(Note(f"{n}") for n in range(100))

    assert [e.frame.text for e in ledger.of(HandlerStarted)] == [f"{n}" for n in range(100)]


async def test_a_crash_in_one_slot_takes_the_others(autojump_clock: Clock) -> None:
    """R17, I7: their askers get ActorRestarted, caused by the crash; the queue ActorStopped."""
    outcomes: list[object] = []
    ledger = Ledger()

    async def crash(_: Any) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Trio)
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    for request in (Do(hang), Do(crash), Do(hang), Echo("queued")):
                        nursery.start_soon(outcome_of, ref, request, outcomes)
                        await trio.testing.wait_all_tasks_blocked()

    assert sorted(map(str, outcomes)) == [
        "ActorCrashed",
        "ActorRestarted",
        "ActorRestarted",
        "ActorStopped",
    ]
    ledger.check()


async def test_actor_restarted_names_the_actor_and_the_crash(autojump_clock: Clock) -> None:
    """R13: each asker gets an error object of its own, with the crash as its cause."""
    errors: list[ActorRestarted] = []
    boom = ValueError("boom")

    async def crash(_: Any) -> None:
        await trio.sleep(1)
        raise boom

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Trio, name="three")

            async def ask() -> None:
                with pytest.raises(ActorRestarted, match="<Ref 'three'> crashed in another") as e:
                    await ref.ask(Do(hang))
                errors.append(e.value)

            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask)
                    nursery.start_soon(ask)
                    await ref.tell(Do(crash))

    assert errors[0] is not errors[1]
    assert errors[0].__cause__ is errors[1].__cause__ is boom


async def test_a_frame_that_arrives_with_a_crash_is_not_started(autojump_clock: Clock) -> None:
    """R17: a slot that was handed a frame in the very step of a crash does not begin it."""
    log: list[str] = []
    for _ in range(10):  # Trio shuffles who runs first
        event = trio.Event()
        ledger = Ledger()

        async def crash(_: Any, event: trio.Event = event) -> None:
            await event.wait()
            raise ValueError("boom")

        with pytest.raises(ValueError, match="boom"):
            async with open_runtime(observers=[ledger]) as runtime:
                ref = await runtime.spawn(Pair, log)
                await ref.tell(Do(crash))
                await ref.tell(Note("first"))
                await trio.testing.wait_all_tasks_blocked()
                event.set()
                ref.tell_nowait(Note("second"))
                await trio.sleep_forever()
        ledger.check()

    assert set(log) <= {"first", "second", "on_stop"}
