"""Faults beside cancels: of named points, of the clock, of the process, two at a time."""

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.runtime import Actor, Request, RequestError, fault_point, frame, handles
from greenroom.runtime.testing import InjectedError, World, simulate, sweep


@frame
class Save(Request[int]):
    """Asks for a line to be kept."""


class Disk:
    """Lines that are durable once they are flushed; of the others a torn crash leaves half."""

    def __init__(self) -> None:
        self.text = ""
        self.flushed = 0
        self.is_dead = False

    def crash(self, *, torn: bool = False) -> None:
        self.is_dead = True
        left = len(self.text) - self.flushed
        self.text = self.text[: self.flushed + (left // 2 if torn else 0)]

    def reopen(self) -> None:
        self.is_dead = False

    def write(self, text: str) -> None:
        if not self.is_dead:
            self.text += text

    def flush(self) -> None:
        if not self.is_dead:
            self.flushed = len(self.text)


# -- fault points


async def write_twice(w: World) -> None:
    files: list[str] = []
    w.own("the file", lambda: not files)
    for name in ("one", "two"):
        files.append(name)
        fault_point("disk.write", OSError)
        await trio.sleep(1)
        files.remove(name)


def test_a_fault_point_fails_as_often_as_it_is_passed() -> None:
    """Each passing is a position of its own; the error is the one that the point names."""
    base = simulate(write_twice)
    report = sweep(write_twice, faults=("fail",), stop_after=9)

    assert base.ok
    assert base.points == {"disk.write": 2}
    assert [str(r.plan) for r in report.failures] == ["fail(disk.write)@0", "fail(disk.write)@1"]
    assert report.first.codes == ("RAISED", "HELD")
    assert "OSError: the fault point 'disk.write' fails" in str(report.first.problems[0])


def test_a_fault_point_does_nothing_elsewhere() -> None:
    """In production nobody listens; nor after a run whose plan has it fail more often than it did."""
    plan = "fail(disk.write)@0 fail(disk.write)@1 fail(disk.write)@2"
    passed: list[str] = []

    async def serve() -> None:
        fault_point("disk.write", OSError)
        passed.append("in a run")

    assert simulate(write_twice, plan=plan).codes == ("RAISED", "HELD")
    fault_point("disk.write", OSError)
    passed.append("outside of one")
    trio.run(serve)

    assert passed == ["outside of one", "in a run"]


def test_an_injected_error_may_come_out() -> None:
    """The kit's own error is no fault of the scenario; one that a point names is."""

    async def connect(w: World) -> None:
        fault_point("connect")
        await trio.lowlevel.checkpoint()

    report = sweep(connect, faults=("fail",)).check()

    assert report.runs == 3

    async def connect_and_catch(w: World) -> None:
        with pytest.raises(InjectedError, match="'connect'"):
            fault_point("connect")
        raise LookupError("no")

    assert simulate(connect_and_catch, plan="fail(connect)@0").codes == ("RAISED",)


# -- crashes of the process


async def keep_two_lines(w: World) -> None:
    """Say that a line is kept when it is."""
    disk = w.durable("disk", Disk)
    kept = w.durable("told", Told)

    class Keeper(Actor):
        @handles
        async def save(self, request: Save) -> int:
            disk.write("line\n")
            await trio.sleep(1)
            disk.flush()
            return 1

    keeper = await w.runtime.spawn(Keeper)
    for _ in range(2):
        kept.lines += await keeper.ask(Save())


class Told:
    """What was told outside; that is never lost."""

    def __init__(self) -> None:
        self.lines = 0

    def crash(self, *, torn: bool = False) -> None:
        """Lose nothing."""

    def reopen(self) -> None:
        """Be as before."""


async def find_them(w: World) -> None:
    assert w.life == 2
    lines = w.durable("disk", Disk).text.splitlines(keepends=True)
    assert len(lines) >= w.durable("told", Told).lines, "a line that was told to be kept is lost"
    assert all(line == "line\n" for line in lines), f"torn: {lines}"


def test_what_was_told_to_be_kept_is_there_after_a_crash() -> None:
    """At whatever position the process dies; a torn line is found by crashes alone."""
    report = sweep(keep_two_lines, faults=("crash",), recovery=find_them, stop_after=99)

    assert report.positions > 20
    assert report.runs == 2 + 2 * report.positions
    assert {str(r.plan)[:12] for r in report.failures} == {"crash(torn)@"}
    assert all("AssertionError: torn" in str(r.problems[0]) for r in report.failures)
    first = str(report.first.plan)
    assert simulate(keep_two_lines, plan=first, recovery=find_them).codes == ("RAISED",)


def test_an_early_promise_is_broken_by_a_crash() -> None:
    """The line is told to be kept before it is flushed."""

    async def too_early(w: World) -> None:
        disk, told = w.durable("disk", Disk), w.durable("told", Told)
        disk.write("line\n")
        told.lines += 1
        await trio.sleep(1)
        disk.flush()

    assert sweep(too_early, faults=("cancel",)).ok
    report = sweep(too_early, faults=("crash",), recovery=find_them).first

    assert "a line that was told to be kept is lost" in str(report.problems[0])


def test_the_dying_process_is_not_judged() -> None:
    """It can't be: it is gone. Without a recovery nothing is."""

    async def messy(w: World) -> None:
        w.durable("disk", Disk)
        w.own("a lock", lambda: False)
        await trio.sleep(1)

    async def fine(w: World) -> None:
        w.durable("disk", Disk)

    assert simulate(messy).codes == ("HELD",)
    for recovery in (None, fine):
        assert simulate(messy, plan="crash@3", recovery=recovery).ok
    assert simulate(fine, plan="crash@2", recovery=messy).codes == ("HELD",)


# -- two faults


async def close_two(w: World) -> None:
    """Close two things within three seconds, the second one only if the first was quick."""
    open_ones = ["first", "second"]
    w.own("the two", lambda: not open_ones)
    try:
        await trio.sleep(1)
    finally:
        with trio.move_on_after(3, shield=True):
            await trio.sleep(0.5)
            open_ones.remove("first")
            await trio.lowlevel.checkpoint()
            open_ones.remove("second")


def test_a_cleanup_whose_time_is_over_halfway_is_found_by_a_jump() -> None:
    """A cancel alone never shows it; a cancel, and then a slow peer, does."""
    assert sweep(close_two, faults=("cancel",)).ok
    report = sweep(close_two, faults=("cancel",), then=("jump",)).first

    assert report.codes == ("HELD",)
    assert [fault.kind for fault in report.plan.faults] == ["cancel", "jump"]
    assert simulate(close_two, plan=str(report.plan)).codes == ("HELD",)


def test_what_comes_second_is_said() -> None:
    """A jump alone finds nothing, and what can't come second is refused."""
    with pytest.raises(ValueError, match=r"not 'jump'; a jump comes second: then=\['jump'\]"):
        sweep(close_two, faults=("jump",))
    with pytest.raises(ValueError, match="then must be of 'cancel', 'interrupt', 'jump', not 'ra"):
        sweep(close_two, then=("raise",))


def test_a_jump_is_no_delay_of_the_scenario() -> None:
    """The time that faults make pass is not what a cleanup took."""

    async def quick(w: World) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    report = simulate(quick, plan="cancel(root)@4 jump(60)@5")

    assert report.ok
    assert report.seconds > 60


# -- threads that are none


def double(number: int) -> int:
    return 2 * number


def test_functions_in_threads_are_run_in_virtual_time() -> None:
    """The same in every run, and no thread is started."""
    import threading

    async def work(w: World) -> None:
        began = trio.current_time()
        before = threading.active_count()
        assert await trio.to_thread.run_sync(double, 21) == 42
        with pytest.raises(ValueError, match="invalid literal"):
            await trio.to_thread.run_sync(int, "x")
        assert threading.active_count() == before
        assert trio.current_time() - began == pytest.approx(0.02)

    simulate(work).check()
    sweep(work, faults=("cancel", "interrupt")).check()


def test_a_cancel_that_waits_for_a_thread_is_late() -> None:
    """Trio can't end a thread: its cancel comes when the function is over."""

    async def work(w: World) -> None:
        await trio.to_thread.run_sync(double, 1)

    codes = {simulate(work, plan=f"cancel(root)@{n}", thread_seconds=60).codes for n in range(9)}
    assert codes == {(), ("LATENCY",)}

    async def abandon(w: World) -> None:
        await trio.to_thread.run_sync(double, 1, abandon_on_cancel=True)

    for n in range(9):
        assert simulate(abandon, plan=f"cancel(root)@{n}", thread_seconds=60).ok


def test_going_back_into_trio_from_a_thread_is_refused() -> None:
    """It would wait for itself."""

    def back() -> Any:
        return trio.from_thread.run_sync(double, 1)

    async def work(w: World) -> None:
        await trio.to_thread.run_sync(back)

    text = str(simulate(work).problems[0])

    assert "trio.from_thread.run can't be used under the test kit" in text


class Greeter(Actor):
    """Takes a second to answer."""

    @handles
    async def save(self, request: Save) -> int:
        await trio.sleep(1)
        return 1


async def interrupted(w: World, seen: list[str]) -> None:
    """An asker of an actor that someone interrupts, or stops, meanwhile."""
    greeter = await w.runtime.spawn(Greeter, name="greeter")
    with w.action("barge-in", greeter.interrupt), w.action("stop", greeter.stop):
        try:
            await greeter.ask(Save())
            seen.append("answered")
        except RequestError as error:
            seen.append(type(error).__name__)


def test_what_someone_outside_may_do_is_done_at_each_position() -> None:
    """Each action while it is offered; in a task of its own, which no actor is."""
    seen: list[str] = []
    report = sweep(partial(interrupted, seen=seen), faults=["call"]).check()

    assert report.runs == len(seen) >= 16
    assert set(seen) == {"answered", "Interrupted"}  # a stop lets it answer
    assert simulate(partial(interrupted, seen=[]), plan="call(barge-in)@900").fired == ()
    assert simulate(partial(interrupted, seen=[]), plan="call(shout)@9").fired == ()


def test_what_an_action_raises_is_reported() -> None:
    """It does not end the run, but is wrong; a name that is taken is refused."""

    async def scenario(w: World) -> None:
        with w.action("divide", lambda: 1 / 0):
            await trio.sleep(1)
            with pytest.raises(ValueError, match="named 'divide' is open already"):
                w.action("divide", int).__enter__()

    failure = sweep(scenario).first

    assert failure.codes == ("RAISED",)
    assert "ZeroDivisionError" in failure.story()
    assert str(failure.plan).startswith("call(divide)@")


def test_a_call_comes_before_the_step_at_its_position() -> None:
    """So the first is made before anything is done in the block, and none after it."""
    steps: list[int] = []
    called: list[int] = []

    async def scenario(w: World) -> None:
        steps.clear()
        await wait_all_tasks_blocked()
        with w.action("note", lambda: called.append(len(steps))):
            for n in range(3):
                await trio.lowlevel.checkpoint()
                steps.append(n)
        await trio.lowlevel.checkpoint()
        steps.append(3)

    sweep(scenario).check()
    assert called == [0, 1, 2]
    called.clear()
    sweep(scenario, order="batch").check()
    assert called == [1, 2]  # each task steps once in a batch, so a call is later
