"""
What the documentation of Akka and Pekko says of actors' lives, death watch and dead letters.

Sources: Pekko ``typed/actor-lifecycle.md``, ``typed/fault-tolerance.md``, ``typed/stash.md``, the API
pages of ``PostStop`` and ``BackoffSupervisorStrategy``, and the cases of ``DeathWatchSpec``. What
differs on purpose is in ``docs/peers.md``.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Backoff,
    DeadLetter,
    Down,
    Interrupted,
    NotHandled,
    Ref,
    Refused,
    Supervision,
    Timer,
    handles,
    open_runtime,
)
from tests.runtime.cast import Do, Echo, Note, Stagehand, after, crash, refuse

Clock = trio.testing.MockClock


class Watcher(Stagehand):
    """Watches whom it is given, and notes the ends of them in its log, with the time."""

    def __init__(self, log: list[str], *refs: Ref) -> None:
        super().__init__(log)
        self.refs = refs

    async def on_start(self) -> None:
        for ref in self.refs:
            self.watch(ref)

    async def on_stop(self) -> None:
        self.log.append(f"-{self.ref.name}")

    @handles
    async def down(self, down: Down) -> None:
        self.log.append(f"{down.actor} {down.reason}")


class Life(Stagehand):
    """Notes its starts and stops."""

    async def on_start(self) -> None:
        self.log.append(f"+{self.ref.name}")

    async def on_stop(self) -> None:
        self.log.append(f"-{self.ref.name}")


class Parent(Life):
    """The same, with two children made at each start."""

    async def on_start(self) -> None:
        await super().on_start()
        for name in ("first", "second"):
            await self.spawn(Life, self.log, name=name)


async def run_on(ref: Ref, what: Callable[[Stagehand], object]) -> object:
    """Run a plain function of the actor in its handler."""

    async def run(hand: Stagehand) -> object:
        return what(hand)

    return await ref.ask(Do(run))


async def kill(ref: Ref) -> None:
    with pytest.raises(ActorCrashed):
        await ref.ask(Do(crash))
    await trio.sleep(0.01)


# -- death watch


async def test_one_notice_when_an_actor_is_stopped(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "notify with one Terminated message when an Actor is stopped"."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        await runtime.spawn(Watcher, log, ref)
        ref.stop()
        ref.stop()
        await trio.sleep(1)

        assert log == ["x stopped"]


async def test_one_notice_when_an_actor_is_already_dead(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "... is already dead"; the lifecycle page: whatever the order of the two."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        await runtime.terminate(ref)
        await runtime.spawn(Watcher, log, ref)
        await trio.sleep(1)

        assert log == ["x stopped"]


async def test_all_watchers_get_their_notice(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "notify with all monitors with one Terminated message"."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        for _ in range(3):
            await runtime.spawn(Watcher, log, ref)
        ref.stop()
        await trio.sleep(1)

        assert log == ["x stopped"] * 3


async def test_only_present_watchers_get_a_notice(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "notify with _current_ monitors": one that unwatched is not among them."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        await runtime.spawn(Watcher, log, ref)
        other = await runtime.spawn(Watcher, ["other"])
        timer = await run_on(other, lambda hand: hand.watch(ref))
        assert isinstance(timer, Timer)
        timer.cancel()
        ref.stop()
        await trio.sleep(1)
        assert log == ["x stopped"]

        assert other.statistics().accounts.handled == 1


async def test_a_notice_of_the_end_and_none_of_a_restart(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "notify with a Terminated message once when an Actor is stopped but not when
    restarted": two restarts are allowed, the third crash is the end.
    """
    log: list[str] = []

    class Boss(Actor, supervision=Supervision(restarts=2)):
        def __init__(self, into: list[Ref]) -> None:
            self.into = into

        async def on_start(self) -> None:
            self.into.append(await self.spawn(Stagehand, name="x", restart="permanent"))

    async with open_runtime() as runtime:
        into: list[Ref] = []
        await runtime.spawn(Boss, into, restart="temporary")
        await runtime.spawn(Watcher, log, into[0])
        await kill(into[0])
        await kill(into[0])
        assert await into[0].ask(Echo("foo")) == "foo"
        assert log == []
        await kill(into[0])
        await trio.sleep(1)

        assert log == ["x crashed"]


async def test_who_cannot_hear_of_an_end_may_not_watch(autojump_clock: Clock) -> None:
    """
    DeathWatchSpec, "fail a monitor which does not handle Terminated()".

    Ours is refused when it begins to watch, not when the end has come.
    """
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        async def try_to_watch(hand: Stagehand) -> None:
            with pytest.raises(NotHandled, match="Stagehand has no handler for Down"):
                hand.watch(ref)

        await ref.ask(Do(try_to_watch))


async def test_a_successor_of_the_same_name_can_be_watched(autojump_clock: Clock) -> None:
    """DeathWatchSpec, "be able to watch a child with the same name after the old died"."""
    log: list[str] = []
    async with open_runtime() as runtime:
        watcher = await runtime.spawn(Watcher, log)
        for _ in range(2):
            kid = await runtime.spawn(Stagehand, name="kid")
            await run_on(watcher, partial(_watch, kid))
            kid.stop()
            await trio.sleep(1)

        assert log == ["kid stopped"] * 2


def _watch(ref: Ref, hand: Stagehand) -> object:
    return hand.watch(ref)


async def test_a_notice_that_is_queued_already_is_handled_though_unwatched(
    autojump_clock: Clock,
) -> None:
    """
    DeathWatchSpec, "discard Terminated when unwatched between sysmsg and processing".

    Ours stays in the mailbox: nothing is ever taken out of one (R2).
    """
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        watcher = await runtime.spawn(Watcher, log)
        timer = await run_on(watcher, partial(_watch, ref))
        assert isinstance(timer, Timer)
        await watcher.tell(Do(after(1)))
        ref.stop()
        await trio.sleep(0.5)
        timer.cancel()
        await trio.sleep(1)

        assert log == ["x stopped"]


async def test_the_notice_comes_after_the_last_act_of_the_dead(autojump_clock: Clock) -> None:
    """API of ``PostStop``: "Terminated is only sent ... after this signal has been processed"."""
    log: list[str] = []

    class Slow(Life):
        async def on_stop(self) -> None:
            await trio.sleep(1)
            await super().on_stop()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Slow, log, name="x")
        await runtime.spawn(Watcher, log, ref)
        ref.stop()
        await trio.sleep(2)

        assert log == ["+x", "-x", "x stopped"]


async def test_a_child_can_be_told_from_a_failure(autojump_clock: Clock) -> None:
    """Fault tolerance, "Bubble failures": ``ChildFailed`` has the cause, and is a ``Terminated``."""
    downs: list[Down] = []

    class Keeper(Watcher):
        @handles
        async def down(self, down: Down) -> None:
            downs.append(down)

    async with open_runtime() as runtime:
        stops = await runtime.spawn(Stagehand)
        crashes = await runtime.spawn(Stagehand, restart="temporary")
        await runtime.spawn(Keeper, [], stops, crashes)
        stops.stop()
        await trio.sleep(1)
        await kill(crashes)

        assert [(d.reason, repr(d.error)) for d in downs] == [
            ("stopped", "None"),
            ("crashed", "ValueError('boom')"),
        ]


async def test_a_watch_ends_with_the_incarnation_and_on_start_makes_another(
    autojump_clock: Clock,
) -> None:
    """Fault tolerance: what ``setup`` does is done again at a restart; a notice comes once."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        watcher = await runtime.spawn(Watcher, log, ref, name="w", restart="permanent")
        await kill(watcher)
        ref.stop()
        await trio.sleep(1)

        assert log == ["-w", "x stopped"]


# -- lives


async def test_children_are_stopped_before_their_parents_last_act(autojump_clock: Clock) -> None:
    """API of ``PostStop``: "after this actor and all its child actors (transitively)"."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Parent, log, name="p")
        ref.stop()
        await ref.wait_stopped()

    assert log == ["+p", "+first", "+second", "-second", "-first", "-p"]


async def test_children_are_stopped_when_their_parent_is_restarted(autojump_clock: Clock) -> None:
    """
    Fault tolerance, "Child actors are stopped when parent is restarting".

    ``PreRestart`` and ``PostStop`` are one hook here, ``on_stop``: it ends an incarnation. After a
    crash children are cancelled together, in no promised order, but before it.
    """
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Parent, log, name="p", restart="permanent")
        log.clear()
        await kill(ref)

        assert sorted(log[:2]) == ["-first", "-second"]
        assert log[2:] == ["-p", "+p", "+first", "+second"]


async def test_a_child_never_outlives_its_parent(autojump_clock: Clock) -> None:
    """Lifecycle: "it can never outlive its parent", also one that is permanent."""
    async with open_runtime() as runtime:

        class Mother(Stagehand):
            async def on_start(self) -> None:
                await self.spawn(Stagehand, name="child", restart="permanent")

        ref = await runtime.spawn(Mother)
        ref.stop()
        await ref.wait_stopped()

        assert runtime.living() == ()


async def test_a_stopped_actor_finishes_the_message_at_hand(autojump_clock: Clock) -> None:
    """Lifecycle, "Stopping Actors": after it finishes processing its current message.

    Ours handles what is queued as well, within ``drain_grace``.
    """
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.tell(Echo("at hand", 1))
        await ref.tell(Note("queued"))
        await trio.sleep(0.5)
        ref.stop()
        await ref.wait_stopped()

    assert log == ["echo at hand", "queued", "on_stop"]


async def test_a_failure_without_supervision_is_the_end(autojump_clock: Clock) -> None:
    """Fault tolerance: "the actor will by default be stopped"; ours takes its parent along."""
    with pytest.raises(ValueError, match="boom"):
        async with open_runtime() as runtime:
            await kill(await runtime.spawn(Stagehand))


async def test_a_validation_error_is_no_failure(autojump_clock: Clock) -> None:
    """Fault tolerance: it belongs to the protocol; `Refused` is how it is said here."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        with pytest.raises(Refused):
            await ref.ask(Do(refuse))

        assert ref.statistics().restarts == 0


async def test_the_mailbox_is_kept_over_a_restart(autojump_clock: Clock) -> None:
    """Classic supervision: "the mailbox is not affected"; the message that failed is not in it."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log, restart="permanent")
        await ref.tell(Do(crash))
        for text in "abc":
            await ref.tell(Note(text))
        await trio.sleep(1)

        assert log == ["on_stop", "a", "b", "c"]
        assert ref.statistics().accounts.crashed == 1


async def test_a_restart_begins_with_the_first_behaviour(autojump_clock: Clock) -> None:
    """Fault tolerance: "the original Behavior ... is re-installed"; the state is new."""

    class Counter(Stagehand):
        def __init__(self, start: int) -> None:
            super().__init__()
            self.n = start

        @handles
        async def echo(self, request: Echo) -> str:
            self.n += 1
            return str(self.n)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Counter, 5, restart="permanent")
        assert [await ref.ask(Echo()) for _ in range(2)] == ["6", "7"]
        await kill(ref)

        assert await ref.ask(Echo()) == "6"


async def test_messages_wait_while_a_back_off_lasts(autojump_clock: Clock) -> None:
    """API of ``withStashCapacity``: those that come meanwhile are stashed; ours stay in the mailbox."""
    supervision = Supervision(within=100, backoff=Backoff(first=10, jitter=0))
    async with open_runtime(supervision=supervision) as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        await kill(ref)
        assert await ref.ask(Echo("later")) == "later"

        assert trio.current_time() == 10


async def test_a_back_off_is_reset_after_a_calm_time(autojump_clock: Clock) -> None:
    """API of ``withResetBackoffAfter``: "if the actor does not crash within" it; ours is `within`."""
    supervision = Supervision(
        restarts=math.inf, within=60, backoff=Backoff(first=1, factor=2, jitter=0)
    )
    waits: list[float] = []
    async with open_runtime(supervision=supervision) as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        for calm in (0, 0, 0, 100, 0):
            await trio.sleep(calm)
            began = trio.current_time()
            with pytest.raises(ActorCrashed):
                await ref.ask(Do(crash))
            await ref.ask(Echo())
            waits.append(trio.current_time() - began)

    assert waits == [1, 2, 4, 1, 2]


# -- asking, and letters to the dead


async def test_an_ask_that_was_left_is_not_worked_on(autojump_clock: Clock) -> None:
    """Interaction patterns: "the receiving actor does not know and may still process it".

    Ours knows: it is cancelled where it stands.
    """
    ended: list[float] = []

    async def work(_: Stagehand) -> None:
        try:
            await trio.sleep(100)
        finally:
            ended.append(trio.current_time())

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with trio.move_on_after(1):
            await ref.ask(Do(work))

    assert ended == [1]


async def test_a_message_to_the_dead_is_the_senders_to_know(autojump_clock: Clock) -> None:
    """Message delivery: it goes to dead letters in silence. Ours raises at the sender."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        await runtime.terminate(ref)
        with pytest.raises(ActorStopped, match="<Ref 'x'> stopped before handling Note"):
            await ref.tell(Note())
        with pytest.raises(ActorStopped):
            ref.tell_nowait(Note())


async def test_what_is_left_in_a_mailbox_goes_to_dead_letters(autojump_clock: Clock) -> None:
    """Classic actors: the mailbox of a stopped actor is drained to dead letters; askers are told."""
    async with open_runtime(drain_grace=0) as runtime:
        letters = runtime.dead_letters.subscribe()
        ref = await runtime.spawn(Stagehand, name="x")
        await ref.tell(Echo("busy", 100))
        await ref.tell(Note("left"))
        await trio.sleep(1)
        ref.stop()
        await ref.wait_stopped()

    with letters:
        read: list[DeadLetter] = [letter async for letter in letters]
    assert [(e.actor, e.frame, e.reason) for e in read] == [
        ("x", Note("left"), "the actor stopped")
    ]


# -- waiting for a state


class DataAccess(Actor):
    """Loads its state before its first message, as the example of the stash does."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def on_start(self) -> None:
        await trio.sleep(5)
        self.log.append("loaded")

    @handles
    async def note(self, frame: Note) -> None:
        self.log.append(frame.text)

    async def on_interrupt(self) -> None:
        self.log.append("interrupted")


async def test_what_comes_before_the_state_is_there_waits_in_the_mailbox(
    autojump_clock: Clock,
) -> None:
    """Stash: "load some initial state ... before it can accept the first real message".

    There is no stash: ``on_start`` and handlers may wait, and the mailbox is the bounded buffer.
    """
    log: list[str] = []
    async with open_runtime() as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(runtime.spawn, DataAccess, log, name="d"))
            ref = await runtime.wait_for("d")
            for text in "ab":
                await ref.tell(Note(text))
        await trio.sleep(1)

    assert log == ["loaded", "a", "b"]


async def test_an_interrupted_asker_is_told_apart_from_a_stopped_actor(
    autojump_clock: Clock,
) -> None:
    """Akka has no word for it: what ran is cancelled, and the actor lives on."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(Interrupted, match="no longer needed"):
                    await ref.ask(Echo("x", 100))

            nursery.start_soon(ask)
            await trio.sleep(1)
            ref.interrupt("no longer needed")
        assert await ref.ask(Echo("on")) == "on"
