"""One run of a scenario: what it finds, and that a plan repeats it."""

import contextlib
import gc
import os
import socket
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from greenroom.runtime.testing.history import History, law
from greenroom.runtime.testing.plan import Plan
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.sweep import sweep
from greenroom.runtime.testing.world import World
from tests.runtime.cast import Count, Echo, Note, Stagehand


async def five(w: World) -> None:
    """Four actors that are told, asked and streamed from, by a turn."""
    refs = [await w.runtime.spawn(Stagehand, name=f"a{n}") for n in range(4)]
    with w.scope("turn"):
        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(ref.ask, Echo("x", 1))
                nursery.start_soon(ref.tell, Note("n"))
        async with refs[0].stream(Count(5)) as numbers:
            async for _ in numbers:
                pass


def test_a_correct_system_has_nothing_wrong_at_any_position() -> None:
    """A cancel of every scope, an error out of every wait, a signal at every position."""
    report = sweep(five, faults=("cancel", "raise", "interrupt"), targets="all").check()
    print(f"sweep five: {report.runs} runs, {report.positions} positions")

    assert report.positions >= 45
    assert report.runs >= 200


def test_the_same_plan_is_the_same_run() -> None:
    """To the last event, for each policy; and another seed is another run."""
    for plan in ("", "cancel(turn)@21", "random 7", "pct 7 3 50", "raise(a0)@9; preempt 3:1 7:2"):
        one, two = simulate(five, plan=plan), simulate(five, plan=plan)

        assert one == two
        assert one.log == two.log != ""
    logs = {simulate(five, plan=f"random {seed}").log for seed in range(12)}
    assert len(logs) > 6


def test_the_collector_and_its_settings_are_as_before() -> None:
    """A run changes nothing for the next."""
    import sys
    import warnings

    before = (gc.isenabled(), sys.unraisablehook, tuple(warnings.filters))
    simulate(five)

    assert (gc.isenabled(), sys.unraisablehook, tuple(warnings.filters)) == before


# -- what is found


async def leave_a_generator(w: World) -> None:
    async def numbers() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await trio.lowlevel.checkpoint()

    async for _ in numbers():
        break


async def leave_a_generator_in_a_cycle(w: World) -> None:
    class Node:
        other: Any

    async def numbers(node: Node) -> AsyncGenerator[int]:
        yield 1

    node = Node()
    node.other = numbers(node)
    await anext(node.other)


async def forget_an_await(w: World) -> None:
    trio.sleep(1)  # type: ignore[unused-coroutine]  # noqa: ASYNC105  # pyright: ignore


async def leave_a_socket(w: World) -> None:
    socket.socket()


LEFT: list[Any] = []


async def leave_a_descriptor(w: World) -> None:
    LEFT.append(os.open("/dev/null", os.O_RDONLY))


async def leave_a_thread(w: World) -> None:
    stop = threading.Event()
    LEFT.append(stop)
    threading.Thread(target=stop.wait, name="left").start()


async def hang(w: World) -> None:
    await trio.sleep_forever()


async def hang_in_a_shield(w: World) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def go_round_in_circles(w: World) -> None:
    while True:
        await trio.lowlevel.checkpoint()


async def raise_something(w: World) -> None:
    raise LookupError("nothing there")


async def keep_a_lock(w: World) -> None:
    lock = trio.Lock()
    w.own("the lock", lambda: not lock.locked())
    await lock.acquire()


@pytest.mark.parametrize(
    ("scenario", "codes", "text"),
    [
        (leave_a_generator, ("LEAK_ASYNCGEN",), "numbers' was garbage collected"),
        (leave_a_generator_in_a_cycle, ("LEAK_ASYNCGEN",), "numbers was not closed"),
        (forget_an_await, ("LEAK_UNAWAITED",), "'sleep' was never awaited"),
        (leave_a_socket, ("LEAK_RESOURCE",), "unclosed <socket.socket"),
        (leave_a_descriptor, ("LEAK_DESCRIPTOR",), "/dev/null is open"),
        (leave_a_thread, ("LEAK_THREAD",), "left goes on"),
        (hang, ("HANG",), "test_simulate.py"),
        (hang_in_a_shield, ("HANG",), "in hang_in_a_shield"),
        (go_round_in_circles, ("LIVELOCK",), "more than 500 steps"),
        (raise_something, ("RAISED",), "LookupError: nothing there"),
        (keep_a_lock, ("HELD",), "the lock is not free"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(
    scenario: Any, codes: tuple[str, ...], text: str
) -> None:
    """Each kind by its code, with a text that says what; and the next run is clean."""
    report = simulate(scenario, max_steps=500)
    for left in LEFT:
        os.close(left) if isinstance(left, int) else left.set()
    LEFT.clear()

    assert set(codes) <= set(report.codes), report.problems
    assert text in " ".join(map(str, report.problems))
    with pytest.raises(AssertionError, match="with the plan 'as it comes'"):
        report.check()
    for thread in threading.enumerate():
        if thread.name == "left":
            thread.join()
    assert simulate(five).ok


@pytest.mark.parametrize("caught", [trio.Cancelled, BaseException])
def test_a_loop_that_swallows_every_cancel_is_left(caught: type[BaseException]) -> None:
    """Nothing ends it, so the kit leaves the run; and the next one is clean."""

    async def deaf(w: World) -> None:
        while True:
            with contextlib.suppress(caught):
                await trio.sleep(1)

    report = simulate(deaf, max_steps=500)

    assert "LIVELOCK" in report.codes
    assert 500 < report.steps <= 1001
    assert simulate(five).ok


def test_a_cleanup_that_takes_too_long_after_a_cancel_is_found() -> None:
    """A shield without a deadline around a peer that does not answer."""

    async def stuck(w: World) -> None:
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(60)

    report = sweep(stuck).first

    assert report.codes == ("LATENCY",)
    assert str(report.plan).startswith("cancel(root)@")


def test_a_named_scope_that_takes_too_long_to_end_is_found() -> None:
    """Where the rest goes on; what the clock jumped meanwhile does not count."""

    async def slow(w: World) -> None:
        with w.scope("turn"):
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(11)
        await trio.sleep(100)

    report = sweep(slow, targets=["turn"], faults=["cancel"]).first
    # before the sleep begins, a jump does not shorten it
    jumped = [simulate(slow, plan=f"{report.plan} jump(5)@{position}") for position in (3, 4, 5)]

    assert report.codes == ("LATENCY",)
    assert report.problems[0].text == "the block of scope 'turn' took 11 s to end after its cancel"
    assert [run.ok for run in jumped] == [False, True, False]
    assert [len(run.fired) for run in jumped] == [2, 2, 2]


async def fan_out(w: World) -> None:
    """Needs all of the results of its own nursery, which it never cancels."""
    found: list[int] = []

    async def one(number: int) -> None:
        await trio.sleep(number)
        found.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(one, number)
    assert found == [0, 1, 2]


def test_nurseries_are_cancelled_where_that_is_asked_for() -> None:
    """By default not: nobody else can, and the code may rest on that."""
    assert sweep(fan_out, faults=["cancel"]).ok
    assert set(simulate(fan_out).targets) == {"root", "main#0"}
    assert "cancel(main#0)@" in str(sweep(fan_out, faults=["cancel"], targets="all").first.plan)
    assert sweep(fan_out, faults=["cancel"], targets=["main#0"]).first.codes == ("RAISED",)
    with pytest.raises(TypeError, match=r"write targets=\['turn'\]"):
        sweep(fan_out, targets="turn")


def test_one_actor_after_another_may_have_the_same_name() -> None:
    """They number their frames alike; that is no frame handled twice."""

    async def two(w: World) -> None:
        for _ in range(2):
            ref = await w.runtime.spawn(Stagehand, name="hand")
            await ref.ask(Echo("x", 1))
            await ref.tell(Note("n"))
            ref.stop()
            await ref.wait_stopped()

    sweep(two, faults=["cancel"]).check()


def test_each_error_of_a_group_is_told() -> None:
    """Not how many there are."""

    async def both(w: World) -> None:
        raise ExceptionGroup("g", [LookupError("one"), ExceptionGroup("h", [ValueError("two")])])

    assert simulate(both).problems[0].text == "LookupError: one; ValueError: two"


def test_what_the_user_froze_stays_frozen() -> None:
    """A sweep freezes and thaws only where nothing was frozen."""
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        sweep(five, faults=["cancel"], stride=50)
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()
    sweep(five, faults=["cancel"], stride=50)
    assert gc.get_freeze_count() == 0


def test_a_law_of_ones_own_is_held() -> None:
    """What it yields is a problem, with its name."""

    @law("nobody says x")
    def quiet(history: History) -> Any:
        for event in history.events:
            if "'x'" in repr(event):
                yield f"{event.actor} heard x"

    report = simulate(five, laws=(quiet,))

    assert report.codes == ("LAW",)
    assert "nobody says x: a0 heard x" in str(report.problems[0])


def test_a_fault_for_nobody_does_nothing() -> None:
    """A plan from an older version of the scenario may name what is not there."""
    report = simulate(five, plan=Plan.parse("cancel(gone)@3 raise(gone)@4 cancel(turn)@9000"))

    assert report.ok
    assert report.fired == ()


def test_a_scenario_that_can_not_be_repeated_is_refused() -> None:
    """The kit runs it twice first, and says where the two differ."""
    runs: list[int] = []

    async def fickle(w: World) -> None:
        runs.append(1)
        ref = await w.runtime.spawn(Stagehand)
        await ref.tell(Note(f"run {len(runs)}"))

    with pytest.raises(AssertionError, match=r"not the same when it is run again: .*run 1.*run 2"):
        sweep(fickle)


def test_a_bug_that_only_a_cancel_shows_is_found_and_its_plan_repeats_it() -> None:
    """A close without a shield is never seen in a run without faults."""
    closed: list[bool] = []

    async def main(w: World) -> None:
        state = [True]
        w.own("the connection", lambda: not state[0])
        try:
            await trio.sleep(1)
        finally:
            await trio.lowlevel.checkpoint()  # the close, which a cancel cuts off
            state[0] = False
            closed.append(True)

    assert simulate(main).ok
    report = sweep(main).first
    again = simulate(main, plan=str(report.plan))

    assert report.codes == ("HELD",)
    assert again.codes == ("HELD",)
    assert len(report.plan.faults) == 1


def test_many_runs_keep_no_more_than_a_few() -> None:
    """Also of runs that end by Ctrl-C, whose frames outlive them for a moment."""
    counts: list[int] = []

    async def interrupted(w: World) -> None:
        await five(w)

    for _ in range(3):
        for position in range(100):
            simulate(interrupted, plan=f"cancel(turn)@20 interrupt@{21 + position % 10}")
        counts.append(len(gc.get_objects()))

    assert abs(counts[2] - counts[1]) < 2_000
