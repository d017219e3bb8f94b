# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Stopping, draining and the order of ends (R20, R22)."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorEnded,
    ActorStopped,
    DeadLetter,
    Down,
    Ref,
    handles,
    open_runtime,
)
from tests.runtime.cast import (
    Do,
    Echo,
    Ledger,
    Note,
    Nudge,
    Stagehand,
    Steered,
    Trio,
    after,
    crash,
    hang,
    outcome_of,
    stubborn,
)

Clock = trio.testing.MockClock


async def test_what_is_queued_is_handled_before_the_end(autojump_clock: Clock) -> None:
    """R20: nothing new is let in, what is queued is drained, and Down says so."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log, name="hand")
        await ref.tell(Do(after(2)))
        await ref.tell_all([Note("1"), Note("2")])
        ref.stop()
        ref.stop()
        with pytest.raises(ActorStopped, match="<Ref 'hand'> stopped before handling Note") as told:
            await ref.tell(Note("late"))
        with pytest.raises(ActorStopped, match="stopped before handling Note"):
            ref.tell_nowait(Note("late"))
        with pytest.raises(ActorStopped, match="stopped before handling Echo"):
            await ref.ask(Echo("late"))

        assert told.value.reason == "stopped"
        assert await ref.wait_stopped() == Down(ref.name, "stopped")
        assert trio.current_time() == 2
        assert log == ["1", "2", "on_stop"]
        assert runtime.living() == ()
        assert await ref.wait_stopped() == Down(ref.name, "stopped")


async def test_what_is_left_after_the_grace_is_cancelled(autojump_clock: Clock) -> None:
    """R20: at drain_grace the running request ends, and the rest are dead letters."""
    ledger = Ledger()
    outcomes: list[object] = []
    async with open_runtime(observers=[ledger], drain_grace=3) as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref, Do(hang), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(outcome_of, ref, Echo("queued"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell(Note("queued"))
            ref.stop()
            assert await ref.wait_stopped() == Down(ref.name, "stopped")

            assert trio.current_time() == 3

    assert outcomes == ["ActorStopped", "ActorStopped"]
    assert [e.frame for e in ledger.of(DeadLetter)] == [Echo("queued"), Note("queued")]
    ledger.check()


async def test_blocked_senders_are_woken_by_a_stop(autojump_clock: Clock) -> None:
    """R20: with ActorStopped, at once."""
    errors: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=1)

        async def tell(frame: Any) -> None:
            try:
                await ref.tell(frame)
            except ActorStopped as error:
                errors.append(f"{type(error).__name__} at {trio.current_time():g}")

        async with trio.open_nursery() as nursery:
            await ref.tell(Do(after(4)))
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell(Note("fits"))
            nursery.start_soon(tell, Note("blocked"))
            nursery.start_soon(outcome_of, ref, Echo("blocked"), errors)
            await trio.sleep(1)
            ref.stop()
            await trio.testing.wait_all_tasks_blocked()

            assert sorted(map(str, errors)) == ["ActorStopped", "ActorStopped at 1"]


async def test_a_stop_from_inside_its_own_handler(autojump_clock: Clock) -> None:
    """R20: the handler ends first; waiting for its own end is cut off by the grace."""

    async def stop_and_wait(hand: Stagehand) -> None:
        hand.ref.stop()
        await hand.ref.wait_stopped()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(ActorStopped):
            await ref.ask(Do(stop_and_wait))

        assert trio.current_time() == 5
        assert await ref.wait_stopped() == Down(ref.name, "stopped")


async def test_actors_stop_in_reverse_order_of_spawning(autojump_clock: Clock) -> None:
    """R22: the normal end of the body drains them, the last first."""
    log: list[str] = []

    async def slow(hand: Stagehand) -> None:
        await trio.sleep(1)
        hand.log.append(f"{hand.ref.name} drained {trio.current_time():g}")

    class Named(Stagehand):
        async def on_stop(self) -> None:
            self.log.append(f"{self.ref.name} stopped")

    async with open_runtime() as runtime:
        for name in "abc":
            ref = await runtime.spawn(Named, log, name=name)
            await ref.tell(Do(slow))
            await ref.tell(Do(slow))

    assert [line for line in log if "stopped" in line] == ["c stopped", "b stopped", "a stopped"]
    assert trio.current_time() == 2


@pytest.mark.parametrize("how", ["exception", "cancel"])
async def test_an_end_by_exception_or_cancel_does_not_drain(
    autojump_clock: Clock, how: str
) -> None:
    """R22: actors are cancelled at once; on_stop still runs."""
    log: list[str] = []
    ledger = Ledger()
    with trio.CancelScope() as scope:
        try:
            async with open_runtime(observers=[ledger]) as runtime:
                ref = await runtime.spawn(Stagehand, log)
                await ref.tell(Do(after(1)))
                await ref.tell(Note("never"))
                await trio.testing.wait_all_tasks_blocked()
                if how == "cancel":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                raise KeyError("mine")
        except KeyError:
            pass

    assert scope.cancelled_caught == (how == "cancel")
    assert trio.current_time() == 0
    assert log == ["on_stop"]
    assert [e.reason for e in ledger.of(ActorEnded)] == ["cancelled"]
    ledger.check()


async def test_a_handler_that_outlives_the_end_of_a_drain_is_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: after drain_grace it is cancelled, after cleanup_grace named; the end waits on (I4)."""
    async with open_runtime(drain_grace=2, cleanup_grace=3) as runtime:
        ref = await runtime.spawn(Stagehand, name="slow")
        await ref.tell(Do(stubborn(60)))
        await trio.testing.wait_all_tasks_blocked()

    assert trio.current_time() == 62
    assert ["'slow'" in r.getMessage() for r in caplog.records] == [True]


async def test_on_stop_is_bounded(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """R10: an on_stop that overruns is named and cancelled; it is shielded until then."""

    class Endless(Actor):
        async def on_stop(self) -> None:
            await trio.sleep_forever()

    with trio.move_on_after(1):
        async with open_runtime(cleanup_grace=3) as runtime:
            await runtime.spawn(Endless, name="endless")
            await trio.sleep_forever()

    assert trio.current_time() == 4
    assert any("'endless' was still cleaning up" in r.getMessage() for r in caplog.records)


async def test_a_crash_in_on_stop_while_cancelled(autojump_clock: Clock) -> None:
    """I7, R14: an on_stop that raises is a crash, also at the end of a cancelled runtime."""

    class Broken(Actor):
        async def on_stop(self) -> None:
            await trio.sleep(1)
            raise ValueError("on_stop")

    refs: list[Ref] = []
    with pytest.raises(ValueError, match="on_stop"), trio.move_on_after(1):
        async with open_runtime() as runtime:
            refs.append(await runtime.spawn(Broken))
            await trio.sleep_forever()

    assert (await refs[0].wait_stopped()).reason == "crashed"
    assert trio.current_time() == 2


async def test_a_crash_in_on_stop_after_a_crash_is_one_group(autojump_clock: Clock) -> None:
    """R14: both are told."""

    class Broken(Stagehand):
        async def on_stop(self) -> None:
            raise KeyError("on_stop")

    async def crash(_: Any) -> None:
        raise ValueError("boom")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError), pytest.RaisesExc(KeyError)):
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Broken)
            await ref.tell(Do(crash))
            await trio.sleep_forever()


async def test_an_on_stop_that_dies_of_a_keyboard_interrupt_still_closes(
    autojump_clock: Clock,
) -> None:
    """I4: whatever on_stop raises, those who wait for the actor hear of its end."""

    class Broken(Stagehand):
        async def on_stop(self) -> None:
            raise KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        ended: list[Down] = []
        with pytest.raises(KeyboardInterrupt):
            async with open_runtime() as runtime:
                ref = await runtime.spawn(Broken)

                async def wait() -> None:
                    ended.append(await ref.wait_stopped())

                nursery.start_soon(wait)

    assert len(ended) == 1


async def test_a_crash_during_the_drain(autojump_clock: Clock) -> None:
    """I7: it ends the runtime as itself, and the rest of the queue is dead letters."""
    ledger = Ledger()

    async def crash(_: Any) -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Stagehand)
            ref.tell_nowait(Do(crash))
            ref.tell_nowait(Note("left"))
            ref.stop()

    assert [e.frame for e in ledger.of(DeadLetter)] == [Note("left")]
    ledger.check()


async def test_control_frames_that_are_queued_are_handled_too() -> None:
    """R20, R1: the control lane is drained like the other."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Steered, log)
        for n in range(20):
            ref.tell_nowait(Nudge(f"{n}"))
        ref.stop()
        await ref.wait_stopped()

    assert log == [*[f"nudge {n}" for n in range(20)], "on_stop"]


async def test_every_slot_drains(autojump_clock: Clock) -> None:
    """R17, R20: an actor with three slots is over when the last of them is."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Trio)
        for seconds in (1, 4, 2):
            await ref.tell(Do(after(seconds)))
        ref.stop()
        await ref.wait_stopped()

        assert trio.current_time() == 4


async def test_a_stop_while_it_starts_takes_effect_after_the_start(autojump_clock: Clock) -> None:
    """R20: what on_start sent to itself is drained; nobody waits for ever."""
    log: list[str] = []

    class Early(Stagehand):
        async def on_start(self) -> None:
            self.ref.tell_nowait(Note("from on_start"))
            self.ref.stop()
            await trio.sleep(1)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Early, log)
        assert await ref.wait_stopped() == Down(ref.name, "stopped")

    assert log == ["from on_start", "on_stop"]


async def test_the_end_of_a_runtime_does_not_wait_for_a_start_that_hangs(
    autojump_clock: Clock,
) -> None:
    """R20, R22: a start has the drain's grace; its spawner gets ActorStopped."""

    class Hangs(Actor):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    errors: list[str] = []

    async with trio.open_nursery() as nursery:
        async with open_runtime() as runtime:

            async def spawn() -> None:
                try:
                    await runtime.spawn(Hangs, name="hangs")
                except ActorStopped as error:
                    errors.append(str(error))

            nursery.start_soon(spawn)
            await trio.sleep(1)

        assert trio.current_time() == 6
    assert errors == ["<Ref 'hangs'> was stopped while it started"]


async def test_asking_a_child_while_the_parent_drains(autojump_clock: Clock) -> None:
    """R18, R20: children end after the parent's last handler."""

    class Parent(Actor):
        async def on_start(self) -> None:
            self.child = await self.spawn(Stagehand)

        @handles
        async def pass_on(self, request: Echo) -> str:
            await trio.sleep(1)
            return await self.child.ask(request)

    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Parent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ref, Echo("a"), outcomes)
            nursery.start_soon(outcome_of, ref, Echo("a"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            ref.stop()

    assert outcomes == ["a", "a"]


async def test_frames_sent_after_a_crash_began_start_nothing(autojump_clock: Clock) -> None:
    """I7: a tell to an actor that is crashing raises nothing odd, and is a dead letter."""
    ledger = Ledger()

    class Slow(Trio):
        async def on_stop(self) -> None:
            await trio.sleep(1)

    async def crash(_: Any) -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Slow)
            await ref.tell(Do(crash))
            await trio.testing.wait_all_tasks_blocked()
            ref.tell_nowait(Note("1"))
            ref.tell_nowait(Note("2"))
            await trio.sleep_forever()

    assert [e.frame for e in ledger.of(DeadLetter)] == [Note("1"), Note("2")]


def shielded(seconds: float) -> Callable[..., Any]:
    """Return a handler that is in a shield all the time, and then returns as if nothing was."""

    async def run(_: Actor) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return run


async def test_a_cancelled_runtime_starts_nothing_more_behind_a_shield(
    autojump_clock: Clock,
) -> None:
    """R9, R22: a handler that did not feel the cancel is the last; what is queued is left over."""
    log: list[str] = []
    ledger = Ledger()
    with trio.move_on_after(1):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Stagehand, log)
            await ref.tell(Do(shielded(2)))
            await ref.tell_all(Note(str(n)) for n in range(5))
            await trio.sleep_forever()

    assert trio.current_time() == 2
    assert log == ["on_stop"]
    assert [e.frame for e in ledger.of(DeadLetter)] == [Note(str(n)) for n in range(5)]


async def test_the_children_of_a_crashed_actor_start_nothing_more_behind_a_shield(
    autojump_clock: Clock,
) -> None:
    """R9, R19: so for actors that end with the one that owns them, and theirs."""
    log: list[str] = []

    async def raise_children(actor: Actor) -> None:
        child = await actor.spawn(Stagehand, log)
        await child.ask(Do(raise_one))
        raise ValueError("boom")

    async def raise_one(actor: Actor) -> None:
        grandchild = await actor.spawn(Stagehand, log)
        await grandchild.tell(Do(shielded(2)))
        await grandchild.tell_all(Note(str(n)) for n in range(5))
        await trio.sleep(1)

    async with open_runtime() as runtime:
        parent = await runtime.spawn(Stagehand, restart="temporary")
        await parent.tell(Do(raise_children))
        await parent.wait_stopped()
        assert trio.current_time() == 2

    assert log == ["on_stop", "on_stop"]
    assert runtime.accounts().undelivered == 5


async def test_on_drained_is_bounded_in_an_idle_actor_too(autojump_clock: Clock) -> None:
    """R20: what it waits for is cancelled at the grace, also where nothing was queued."""

    class Waiting(Actor):
        async def on_drained(self) -> None:
            await trio.sleep_forever()

    async with open_runtime(drain_grace=5) as runtime:
        ref = await runtime.spawn(Waiting)
        ref.stop()
        await ref.wait_stopped()

        assert trio.current_time() == 5


async def test_a_child_that_crashes_during_the_start_is_named(autojump_clock: Clock) -> None:
    """R13: the spawner's error says what happened, in words of its own."""

    class Parent(Actor):
        async def on_start(self) -> None:
            child = await self.spawn(Stagehand)
            await child.tell(Do(crash))
            await trio.sleep_forever()

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime() as runtime:
            with pytest.raises(ActorCrashed, match="'parent'> crashed as it started: ValueError"):
                await runtime.spawn(Parent, name="parent")
            await trio.sleep_forever()
