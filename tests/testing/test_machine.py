"""The machine over a paused system: what its calls do, what it finds, and that nothing is left of it."""

import gc
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
import trio
from hypothesis import Phase, settings
from hypothesis.stateful import Bundle, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Frame,
    HandlerEnded,
    Interrupted,
    Runtime,
    Supervision,
    frame,
    handles,
    open_runtime,
)
from greenroom.runtime.testing import seam
from greenroom.runtime.testing.machine import Call, SystemMachine
from tests.runtime.cast import Do, Echo, Note, Stagehand, hang

STORIES = settings(
    max_examples=60,
    stateful_step_count=12,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],  # not explain, which traces every line
)


@pytest.fixture
def machine() -> Iterator[SystemMachine]:
    """A machine that nobody but the test drives."""
    made = SystemMachine()
    yield made
    made.teardown()


# -- what its calls do


def test_nothing_moves_until_it_is_let(machine: SystemMachine) -> None:
    """A call that was begun makes no step; then as many as are granted, and then as many as it needs."""
    ref = machine.spawn(Stagehand)
    machine.settle()
    call = machine.ask(ref, Echo("x"))

    assert machine.step(0) == 0
    assert machine.history.of(HandlerEnded) == []
    assert machine.step(2) == 2
    assert not call.is_over
    machine.settle()
    assert call.value == "x"
    assert machine.step(5) == 0


def test_time_stands_still_until_it_passes(machine: SystemMachine) -> None:
    """What is due is done in its time, however much passes at once."""
    ref = machine.spawn(Stagehand)
    seen: list[float] = []

    async def wait_twice(_: Actor) -> None:
        for _second in range(2):
            await trio.sleep(1)
            seen.append(trio.current_time())

    machine.ask(ref, Do(wait_twice))
    machine.settle()
    assert (machine.now, seen) == (0, [])
    machine.advance(5)

    assert (machine.now, seen) == (5, [1, 2])
    machine.ask(ref, Do(wait_twice))
    machine.settle()
    machine.jump(5)
    machine.settle()
    assert (machine.now, seen) == (10, [1, 2, 10])


def test_the_outcome_of_a_call_can_be_looked_at_later(machine: SystemMachine) -> None:
    """Its value, its error, or that it was cancelled; until then, that it goes on."""
    ref = machine.spawn(Stagehand)
    fine, failing, left = (machine.ask(ref, Echo("x", seconds)) for seconds in (0, 1, 1))
    machine.settle()
    with pytest.raises(RuntimeError, match="the call 'ask Echo' is not over; let the system go on"):
        _ = failing.value
    machine.interrupt(ref, "enough")
    machine.settle()
    machine.cancel(left)
    machine.settle()

    assert (fine.value, fine.error, fine.is_cancelled) == ("x", None, False)
    with pytest.raises(Interrupted, match="enough"):
        _ = failing.value
    assert isinstance(left.error, Interrupted)
    late = machine.ask(ref, Echo("x", 1))
    machine.settle()
    machine.cancel(late)
    assert not late.is_over
    machine.settle()
    assert (late.is_over, late.is_cancelled) == (True, True)
    with pytest.raises(RuntimeError, match="the call 'ask Echo' was cancelled"):
        _ = late.value
    assert repr(late) == "<Call 'ask Echo' cancelled>"


def test_a_tell_waits_for_room(machine: SystemMachine) -> None:
    """And is over once it was let in."""
    ref = machine.spawn(Stagehand, capacity=1)
    machine.ask(ref, Echo("x", 1))
    machine.settle()
    first, second = machine.tell(ref, Note("a")), machine.tell(ref, Note("b"))
    machine.settle()

    assert (first.is_over, second.is_over) == (True, False)
    machine.advance(1)
    assert second.is_over


def test_an_actor_that_is_stopped_ends(machine: SystemMachine) -> None:
    """What is asked of it afterwards is refused."""
    ref = machine.spawn(Stagehand, name="hand")
    machine.stop(ref)
    machine.settle()
    call = machine.ask(ref, Echo("x"))
    machine.settle()

    assert isinstance(call.error, ActorStopped)
    assert machine.runtime.living() == ()


class Supervised(SystemMachine):
    """A machine whose runtime has options of its own."""

    def open(self, **options: Any) -> AbstractAsyncContextManager[Runtime]:
        return open_runtime(supervision=Supervision(restarts=2), **options)


def test_an_actor_that_is_killed_crashes() -> None:
    """If a handler of it waits in code of its own; its supervision does what it does for a crash."""
    machine = Supervised()
    ref = machine.spawn(Stagehand, name="hand", restart="permanent")
    machine.settle()
    assert machine.kill(ref) is False  # it is idle
    call = machine.ask(ref, Do(hang))
    machine.settle()
    assert machine.kill(ref) is True
    machine.settle()

    assert isinstance(call.error, ActorCrashed)
    again = machine.ask(ref, Echo("x"))
    machine.settle()
    assert again.value == "x"
    machine.teardown()


def test_the_task_that_goes_first_can_be_said(machine: SystemMachine) -> None:
    """By its place among those that can go; it is then gone on with (fifo)."""
    order: list[str] = []

    async def note(name: str) -> None:
        for _ in range(3):
            order.append(name)
            await trio.lowlevel.checkpoint()

    for name in "abc":
        machine.begin(note, name)
    machine.step(2, turn=1)
    machine.step(1, turn=0)

    assert order == ["b", "b", "a"]
    machine.settle()
    assert sorted(order) == [*"aaabbbccc"]


def test_a_runtime_that_cant_be_opened_says_why() -> None:
    """And leaves nothing open."""

    class Wrong(SystemMachine):
        def open(self, **options: Any) -> AbstractAsyncContextManager[Runtime]:
            wrong: Any = {"nonsense": 1}
            return open_runtime(**wrong, **options)

    with pytest.raises(TypeError, match="nonsense"):
        Wrong()
    trio.run(trio.lowlevel.checkpoint)


# -- stories


@frame
class Job(Frame):
    """A piece of work."""


class Careless(Actor):
    """Takes a job off the belt, and puts it away a while later, if it comes to that."""

    def __init__(self, belt: list[int], shelf: list[int]) -> None:
        self.belt = belt
        self.shelf = shelf

    @handles
    async def job(self, frame: Job) -> None:
        number = self.belt.pop()
        for _ in range(4):
            await trio.lowlevel.checkpoint()
        self.shelf.append(number)


class Careful(Careless):
    """Does both in one step."""

    @handles
    async def job(self, frame: Job) -> None:
        await trio.lowlevel.checkpoint()
        self.shelf.append(self.belt.pop())


class Works(SystemMachine):
    """Jobs that are told to an actor, and callers that leave."""

    calls = Bundle("calls")
    actor: type[Careless] = Careful

    def __init__(self) -> None:
        super().__init__()
        self.belt: list[int] = []
        shelf: list[int] = []
        self.number = 0
        self.world.own("each job", lambda: len(self.belt) + len(shelf) == self.number)
        self.ref = self.spawn(self.actor, self.belt, shelf, name="worker")

    @rule(target=calls)
    def order(self) -> Call[None]:
        self.number += 1
        self.belt.append(self.number)
        return self.tell(self.ref, Job())

    @rule(call=calls)
    def leave(self, call: Call[None]) -> None:
        self.cancel(call)


class CarelessWorks(Works):
    actor = Careless


def test_a_correct_system_has_nothing_wrong_in_any_story() -> None:
    """However it is stopped in the middle of a reaction, and cut off."""
    run_machine(Works, settings=STORIES)


def test_what_is_lost_in_flight_is_found_and_told() -> None:
    """A job that a handler has taken and not yet put away when all is cut off."""
    with pytest.raises(AssertionError) as caught:
        run_machine(CarelessWorks, settings=settings(parent=STORIES, max_examples=500))
    told = "\n".join(caught.value.__notes__)

    assert str(caught.value).startswith("  HELD each job is not free at the end\n")
    assert "!! cancel(root) ---" in str(caught.value)
    assert "   cancelled: job (test_machine.py:" in str(caught.value)
    assert told.count("state.order(") == 1
    assert "state.leave(" not in told


def test_a_call_that_is_cancelled_is_in_the_story() -> None:
    """As what is done to actors is."""
    machine = SystemMachine()
    ref = machine.spawn(Stagehand, name="hand")
    machine.world.own("it", lambda: False)
    call = machine.ask(ref, Do(hang))
    machine.settle()
    machine.cancel(call)
    machine.interrupt(ref)
    machine.jump(2)
    machine.stop(ref)
    with pytest.raises(AssertionError) as caught:
        machine.teardown()

    struck = re.findall(r"!! (\S+(?: \S+)*?) ---", str(caught.value))
    assert struck == ["cancel(ask Do)", "interrupt(hand)", "jump(2)", "stop(hand)"]


def test_a_crash_that_ends_the_runtime_fails_at_once() -> None:
    """In the rule that let it happen; the teardown has nothing more to say."""
    machine = SystemMachine()
    ref = machine.spawn(Stagehand, name="hand")

    async def crash(_: Actor) -> None:
        raise ValueError("boom")

    machine.ask(ref, Do(crash))
    with pytest.raises(AssertionError, match=r"RAISED ValueError: boom"):
        machine.settle()
    machine.teardown()
    trio.run(trio.lowlevel.checkpoint)


def test_a_crash_that_is_expected_ends_the_story_quietly() -> None:
    """What is begun afterwards is over at once, and what lets the system go on does nothing."""

    class Crashes(SystemMachine):
        expect = (ValueError,)

    machine = Crashes()
    ref = machine.spawn(Stagehand)

    async def crash(_: Actor) -> None:
        raise ValueError("boom")

    machine.ask(ref, Do(crash))
    machine.settle()
    late = machine.ask(ref, Echo("x"))
    machine.advance(5)
    machine.stop(ref)

    assert not machine.is_open
    assert machine.step(3) == 0
    with pytest.raises(RuntimeError, match="'ask Echo' can't begin: the run is over"):
        _ = late.value
    machine.teardown()


def test_a_run_that_hangs_is_broken() -> None:
    """One that waits in a shield is ended by an error, as `simulate` does, and is a problem."""
    machine = SystemMachine()

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    machine.begin(shielded)
    machine.settle()
    with pytest.raises(AssertionError, match=r"HANG nothing can happen any more"):
        machine.teardown()
    trio.run(trio.lowlevel.checkpoint)


def test_a_run_that_nothing_ends_is_left() -> None:
    """It is a problem, and another run can begin."""
    machine = SystemMachine()

    async def stubborn() -> None:
        while True:
            with suppress(BaseException):  # the bug
                await trio.sleep_forever()

    machine.begin(stubborn)
    machine.settle()
    with pytest.raises(AssertionError, match=r"HANG no cancel and no error ends it"):
        machine.teardown()
    trio.run(trio.lowlevel.checkpoint)


def test_a_reaction_that_never_settles_is_told() -> None:
    """Not waited for."""
    machine = SystemMachine()

    async def busy() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    machine.begin(busy)
    with pytest.raises(AssertionError, match="LIVELOCK it never settles"):
        machine.settle()
    with pytest.raises(AssertionError, match="LIVELOCK it took more than"):
        machine.teardown()
    trio.run(trio.lowlevel.checkpoint)


def test_a_start_that_never_comes_says_so(machine: SystemMachine) -> None:
    """One that only takes time is waited for."""

    class Slow(Stagehand):
        async def on_start(self) -> None:
            await trio.sleep(3)

    class Never(Stagehand):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    machine.spawn(Slow)
    assert machine.now == 3
    with pytest.raises(RuntimeError, match="'spawn' waits for something that never comes"):
        machine.spawn(Never)


# -- nothing is left


def state_of_the_process() -> list[object]:
    """Return what a run changes, and has to put back."""
    return [
        *(gc.isenabled(), sys.unraisablehook, sys.get_asyncgen_hooks()),
        tuple(warnings.filters),
        *(seam.scheduler()._r, seam.scheduler()._ALLOW_DETERMINISTIC_SCHEDULING),
    ]


class Boom(Exception):
    pass


def test_nothing_is_left_when_a_rule_raises() -> None:
    """The rule's own error comes out, and not what is wrong with the run that it left."""

    class Failing(Works):
        @rule()
        @precondition(lambda self: self.number == 2)
        def fail(self) -> None:
            self.world.own("it", lambda: False)
            raise Boom

    before, threads = state_of_the_process(), set(threading.enumerate())
    with pytest.raises(Boom):
        run_machine(Failing, settings=STORIES)

    assert state_of_the_process() == before
    assert set(threading.enumerate()) <= threads  # an idle one of Trio's may end at any time
    trio.run(trio.lowlevel.checkpoint)


def test_a_machine_that_could_not_be_made_is_ended_by_the_next() -> None:
    """Its run was open, and nobody tears it down."""

    class Failing(SystemMachine):
        def __init__(self) -> None:
            super().__init__()
            raise Boom

    before, threads = state_of_the_process(), set(threading.enumerate())
    with pytest.raises(Boom):
        Failing()
    SystemMachine().teardown()

    assert state_of_the_process() == before
    assert set(threading.enumerate()) <= threads  # an idle one of Trio's may end at any time


def test_trio_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for input, as a guest run does where nothing can run; what a program starts takes turns."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr("trio._core._run.start_thread_soon", refuse)
    machine = SystemMachine()
    ref = machine.spawn(Stagehand)

    async def in_a_thread(_: Actor) -> int:
        return await trio.to_thread.run_sync(lambda: 5)

    call = machine.ask(ref, Do(in_a_thread))
    machine.advance(100)
    machine.teardown()

    assert call.value == 5


def test_a_cancel_that_is_swallowed_is_found() -> None:
    """As in every run of the kit."""
    machine = SystemMachine()
    ref = machine.spawn(Stagehand)

    async def swallow(_: Actor) -> int:
        with suppress(BaseException):  # the bug
            await trio.sleep_forever()
        return 1

    call = machine.ask(ref, Do(swallow))
    machine.settle()
    machine.cancel(call)
    with pytest.raises(AssertionError, match="SWALLOWED the handler of 'stagehand-1'"):
        machine.teardown()


def test_without_the_seam_each_step_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a version of Trio that is not known; what is wrong is found at rest, and it says so."""

    def refuse() -> None:
        raise seam.SeamMismatch("not known")

    monkeypatch.setattr(seam, "check", refuse)
    machine = SystemMachine()
    ref = machine.spawn(Stagehand)
    machine.world.own("it", lambda: False)
    call = machine.ask(ref, Echo("x"))
    machine.step(1)

    assert call.value == "x"
    with pytest.raises(AssertionError, match="this version of trio can't be stepped"):
        machine.teardown()


def test_a_rule_of_the_machine_is_left_out_by_a_plain_method() -> None:
    """For stories in which no time passes, for example."""

    class Timeless(SystemMachine):
        seconds_passed = 0.0

        def time_passes(self, seconds: float) -> None:
            type(self).seconds_passed += seconds

    run_machine(Timeless, settings=STORIES)
    assert Timeless.seconds_passed == 0
