# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Spawning, starting, children and helpers (R18)."""

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorEnded,
    ActorSpawned,
    ActorStopped,
    Ref,
    Request,
    Runtime,
    frame,
    handles,
    open_runtime,
)
from tests.runtime.cast import Do, Echo, Ledger, Note, Nudge, Stagehand, Steered, hang, stubborn

Clock = trio.testing.MockClock


@frame
class Make(Request[Ref]):
    """Asks for a new actor."""


class Parent(Stagehand):
    """Spawns two children when it starts."""

    async def on_start(self) -> None:
        self.children = [
            await self.spawn(Named, self.log, name=f"{self.ref.name}.{n}") for n in (1, 2)
        ]

    async def on_stop(self) -> None:
        self.log.append(f"{self.ref.name} stopped")


class Named(Stagehand):
    """Says its name when it stops."""

    async def on_stop(self) -> None:
        self.log.append(f"{self.ref.name} stopped")


async def test_children_stop_with_their_parent_the_last_first(autojump_clock: Clock) -> None:
    """R18: after its last handler and before its on_stop."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Parent, log, name="p")
        await runtime.spawn(Named, log, name="q")
        assert runtime.living() == ("p", "p.1", "p.2", "q")
        ref.stop()
        await ref.wait_stopped()

        assert runtime.living() == ("q",)
    assert log == ["p.2 stopped", "p.1 stopped", "p stopped", "q stopped"]


async def test_children_are_cancelled_with_a_cancelled_parent(autojump_clock: Clock) -> None:
    """R22, I4: at once, and all of them are gone."""
    log: list[str] = []
    ledger = Ledger()
    with trio.move_on_after(1):
        async with open_runtime(observers=[ledger]) as runtime:
            await runtime.spawn(Parent, log, name="p")
            await runtime.find("p.1").tell(Do(hang))
            await trio.sleep_forever()

    assert sorted(log) == ["p stopped", "p.1 stopped", "p.2 stopped"]
    assert {e.reason for e in ledger.of(ActorEnded)} == {"cancelled"}
    assert {e.actor: e.parent for e in ledger.of(ActorSpawned)} == {
        "p": None,
        "p.1": "p",
        "p.2": "p",
    }


async def test_the_crash_of_a_child_ends_the_runtime_as_itself(autojump_clock: Clock) -> None:
    """R19, I7: the root is the only supervisor as yet."""
    boom = ValueError("boom")

    async def crash(_: Any) -> None:
        raise boom

    ledger = Ledger()
    with pytest.raises(ValueError, match="boom") as caught:
        async with open_runtime(observers=[ledger]) as runtime:
            await runtime.spawn(Parent, name="p")
            with pytest.raises(ActorCrashed):
                await runtime.find("p.1").ask(Do(crash))
            await trio.sleep_forever()

    assert caught.value is boom
    assert {e.actor: e.reason for e in ledger.of(ActorEnded)} == {
        "p": "crashed",
        "p.1": "crashed",
        "p.2": "cancelled",
    }


async def test_spawn_raises_what_on_start_raised(autojump_clock: Clock) -> None:
    """R18: bare, and by then the actor and its helpers are gone; on_stop is not run."""
    log: list[str] = []

    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            log.append("helper over")

    class Broken(Stagehand):
        async def on_start(self) -> None:
            self.nursery.start_soon(helper)
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)

    async def fail() -> None:
        raise KeyError("on_start")

    async with open_runtime() as runtime:
        with pytest.raises(KeyError, match="on_start"):
            await runtime.spawn(Broken, log)

        assert trio.current_time() == 3
        assert runtime.living() == ()
        assert log == ["helper over"]


async def test_a_cancelled_spawn_leaves_nothing(autojump_clock: Clock) -> None:
    """I4: the starting actor is cancelled, cleans up, and is gone when spawn ends."""
    log: list[str] = []

    class Slow(Stagehand):
        async def on_start(self) -> None:
            await stubborn(2)(self)

    async with open_runtime() as runtime:
        with trio.move_on_after(1) as scope:
            await runtime.spawn(Slow, log)

        assert scope.cancelled_caught
        assert trio.current_time() == 3
        assert runtime.living() == ()
    assert log == []


async def test_a_start_that_ends_although_cancelled_is_a_start(autojump_clock: Clock) -> None:
    """I9: the ref is returned, and the cancel hits the next checkpoint."""

    class Slow(Stagehand):
        async def on_start(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    async with open_runtime() as runtime:
        refs: list[Ref] = []
        with trio.move_on_after(1) as scope:
            refs.append(await runtime.spawn(Slow))
            await trio.lowlevel.checkpoint()

        assert scope.cancelled_caught
        assert await refs[0].ask(Echo("alive")) == "alive"


async def test_an_on_start_that_raises_while_cancelled_is_a_crash(autojump_clock: Clock) -> None:
    """I7: its spawner is gone, so the runtime's block raises it."""

    class Broken(Stagehand):
        async def on_start(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("cleanup")

    with pytest.raises(KeyError, match="cleanup"):
        async with open_runtime() as runtime:
            with trio.move_on_after(1):
                await runtime.spawn(Broken)


async def test_a_start_that_fails_in_its_first_step(autojump_clock: Clock) -> None:
    """I4: the helpers that it started a moment ago are cancelled before they do anything."""
    log: list[str] = []

    async def helper() -> None:
        try:
            await trio.lowlevel.checkpoint()
            log.append("never")
        finally:
            log.append("over")

    class Broken(Stagehand):
        async def on_start(self) -> None:
            self.nursery.start_soon(helper)
            raise KeyError("at once")

    async with open_runtime() as runtime:
        with pytest.raises(KeyError, match="at once"):
            await runtime.spawn(Broken)

        assert runtime.living() == ()
        assert log == ["over"]


async def test_a_helper_that_raises_crashes_the_actor(autojump_clock: Clock) -> None:
    """R18, I7: the running asker gets ActorRestarted; other helpers are cancelled."""

    async def helper() -> None:
        await trio.sleep(1)
        raise KeyError("helper")

    class Helped(Stagehand):
        async def on_start(self) -> None:
            self.nursery.start_soon(helper)
            self.nursery.start_soon(trio.sleep_forever)

    refs: list[Ref] = []
    with pytest.raises(KeyError, match="helper"):
        async with open_runtime() as runtime:
            refs.append(await runtime.spawn(Helped, name="helped"))
            await refs[0].ask(Do(hang))

    assert (await refs[0].wait_stopped()).reason == "crashed"


async def test_a_helper_that_raises_while_it_is_cancelled(autojump_clock: Clock) -> None:
    """I7: a failure in a helper's cleanup is a crash like any other, also when cancelled."""

    async def helper() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("helper's cleanup")

    class Helped(Stagehand):
        async def on_start(self) -> None:
            self.nursery.start_soon(helper)
            await trio.lowlevel.checkpoint()

    for cut in (False, True):
        with pytest.raises(KeyError, match="helper's cleanup"), trio.move_on_after(1):
            async with open_runtime() as runtime:
                await runtime.spawn(Helped)
                if cut:
                    await trio.sleep_forever()
                await trio.lowlevel.checkpoint()


async def test_a_helper_that_does_not_end_is_named(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """R10: by the actor that it belongs to; a slow child is named itself, not its parent."""

    class Helped(Stagehand):
        async def on_start(self) -> None:
            self.nursery.start_soon(stubborn(20), self)
            await trio.lowlevel.checkpoint()

    class Top(Stagehand):
        async def on_start(self) -> None:
            await self.spawn(Helped, name="below")

    async with open_runtime() as runtime:
        await runtime.spawn(Top, name="top")
        await trio.testing.wait_all_tasks_blocked()

    assert trio.current_time() == 20
    assert ["'below'" in r.getMessage() for r in caplog.records] == [True]


async def test_helpers_can_be_started_and_waited_for(autojump_clock: Clock) -> None:
    """R18: as with any nursery, from the first step on."""

    async def service(
        value: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await trio.sleep(1)
        task_status.started(value)
        await trio.sleep_forever()

    class Helped(Stagehand):
        async def on_start(self) -> None:
            for n in (1, 2):
                self.log.append(f"{await self.nursery.start(service, n)}")

    log: list[str] = []
    async with open_runtime() as runtime:
        await runtime.spawn(Helped, log)

    assert log == ["1", "2", "on_stop"]


async def test_an_actor_that_is_over_starts_nothing(autojump_clock: Clock) -> None:
    """R18: its nursery and its spawn say so."""
    kept: list[Stagehand] = []

    class Keeps(Stagehand):
        async def on_start(self) -> None:
            kept.append(self)
            self.nursery.start_soon(trio.sleep_forever)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Keeps, name="gone")
        ref.stop()
        await ref.wait_stopped()
        with pytest.raises(RuntimeError, match="actor 'gone' is over; it starts no more tasks"):
            kept[0].nursery.start_soon(trio.sleep_forever)
        with pytest.raises(RuntimeError, match="actor 'gone' is over"):
            await kept[0].spawn(Stagehand)

        assert runtime.living() == ()


async def test_a_runtime_that_is_over_starts_nothing() -> None:
    """R18: spawn says so, and leaves nothing behind."""
    runtimes: list[Runtime] = []
    async with open_runtime(name="short") as runtime:
        runtimes.append(runtime)
    with pytest.raises(RuntimeError, match="runtime 'short' is over; it starts no more actors"):
        await runtimes[0].spawn(Stagehand)

    assert runtimes[0].living() == ()


@pytest.mark.parametrize("what", ["ref", "runtime", "nursery", "deadline"])
async def test_there_is_no_ref_in_init(what: str) -> None:
    """R18: the error says from when on, and how actors are started."""

    class Eager(Actor):
        def __init__(self) -> None:
            getattr(self, what)

    async with open_runtime() as runtime:
        with pytest.raises(
            RuntimeError,
            match=rf"Eager.{what} exists from on_start on, not in __init__; and an actor is "
            r"started by runtime.spawn\(Eager, ...\)",
        ):
            await runtime.spawn(Eager)

        assert runtime.living() == ()


async def test_what_cannot_be_spawned_is_named() -> None:
    """R18: the error names the factory and what it gave; names are unique."""
    async with open_runtime() as runtime:
        with pytest.raises(TypeError, match=r"spawn takes an Actor class, .* gave 'text'"):
            await runtime.spawn(lambda: "text")  # type: ignore[arg-type,return-value]  # pyright: ignore
        await runtime.spawn(Stagehand, name="hand")
        with pytest.raises(ValueError, match="there is an actor named 'hand' already; names are"):
            await runtime.spawn(Stagehand, name="hand")

        assert runtime.living() == ("hand",)


async def test_names_are_made_from_the_class_and_found_again() -> None:
    """R18: numbers count on, a name given is free again, and find says who there is."""
    async with open_runtime(name="house") as runtime:
        first = await runtime.spawn(Stagehand)
        second = await runtime.spawn(partial(Stagehand, log=[]))
        assert (first.name, second.name) == ("stagehand-1", "stagehand-2")
        assert runtime.find("stagehand-2") == second != first
        assert len({first, second, runtime.find("stagehand-1")}) == 2
        assert repr(first) == "<Ref 'stagehand-1'>"
        assert repr(runtime) == "<Runtime 'house', 2 actors>"
        first.stop()
        await first.wait_stopped()
        assert (await runtime.spawn(Stagehand)).name == "stagehand-3"
        assert (await runtime.spawn(Stagehand, name="stagehand-1")).name == "stagehand-1"
        with pytest.raises(LookupError, match="no living actor is named 'x'; there are: stagehand"):
            runtime.find("x")
        await runtime.stop()
        with pytest.raises(LookupError, match="there are: none"):
            runtime.find("x")


async def test_what_is_spawned_on_the_runtime_outlives_the_spawner(autojump_clock: Clock) -> None:
    """R18: ``self.runtime.spawn`` makes a child of the root."""

    class Maker(Stagehand):
        @handles
        async def make(self, request: Make) -> Ref:
            return await self.runtime.spawn(Stagehand, name="made")

    async with open_runtime() as runtime:
        maker = await runtime.spawn(Maker)
        made = await maker.ask(Make())
        maker.stop()
        await maker.wait_stopped()

        assert await made.ask(Echo("alive")) == "alive"


async def test_a_control_handler_that_crashes_during_the_start(autojump_clock: Clock) -> None:
    """I7: the spawner gets ActorCrashed, and the runtime ends with the crash itself."""

    class Slow(Steered):
        async def on_start(self) -> None:
            self.ref.tell_nowait(Nudge("crash"))
            await trio.sleep_forever()

    with pytest.raises(ValueError, match="the control handler crashed"):
        async with open_runtime() as runtime:
            with trio.CancelScope(shield=True), pytest.raises(ActorCrashed):
                await runtime.spawn(Slow)
            await trio.sleep_forever()


async def test_a_start_may_fill_several_slots(autojump_clock: Clock) -> None:
    """R17, R18: what on_start sent to itself is taken by as many slots as there are."""

    class Eager(Stagehand, concurrency=2):
        async def on_start(self) -> None:
            for _ in range(2):
                self.ref.tell_nowait(Do(sleep))

    async def sleep(_: Any) -> None:
        await trio.sleep(1)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Eager)
        ref.stop()
        await ref.wait_stopped()

        assert trio.current_time() == 1


async def test_a_ref_that_leaves_before_its_actor_starts(autojump_clock: Clock) -> None:
    """R18: a start that failed leaves a ref that says so."""
    kept: list[Ref] = []

    class Broken(Stagehand):
        async def on_start(self) -> None:
            kept.append(self.ref)
            self.ref.tell_nowait(Note())
            raise KeyError("on_start")

    async with open_runtime() as runtime:
        with pytest.raises(KeyError, match="on_start"):
            await runtime.spawn(Broken)
        with pytest.raises(ActorStopped):
            await kept[0].ask(Echo())
