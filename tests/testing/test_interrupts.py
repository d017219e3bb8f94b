"""Ctrl-C: that of a fault is part of the run, and that of the user ends the test."""

import os
import signal
import threading
from typing import Any

import pytest
import trio

from greenroom.runtime.testing import Report, World, examine, simulate, sweep


async def naps(w: World) -> None:
    """Sleeps, and swallows nothing."""
    for _ in range(3):
        await trio.sleep(1)


@pytest.mark.parametrize("plan", ["", "cancel(root)@4", "interrupt@4", "random 3", "batch"])
def test_the_users_own_comes_out_whatever_was_planned(plan: str) -> None:
    """It is not taken for the one of a fault, nor lost in a cancel (I4)."""

    async def interrupted(w: World) -> None:
        try:
            await trio.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(5)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        simulate(interrupted, plan=plan)

    assert signal.getsignal(signal.SIGINT) is before
    assert simulate(naps).ok


def test_the_users_own_comes_out_where_the_scenario_swallows_it() -> None:
    """Also out of an examination, which then tries nothing more."""
    runs: list[World] = []
    sent: list[int] = []

    async def deaf(w: World) -> None:
        runs.append(w)
        try:
            await trio.sleep(1)
            if len(runs) >= 5:
                sent.append(len(runs))
                os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep(1)
        except KeyboardInterrupt:
            await trio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        examine(deaf, expect=(KeyboardInterrupt,), elsewhere=False)

    assert sent == [len(runs)]


def test_a_planned_one_is_no_reason_to_end_the_test() -> None:
    """It comes out of the run alone, where it is expected."""
    report = simulate(naps, plan="interrupt@3")

    assert report.ok
    assert [str(fault) for fault in report.fired] == ["interrupt@3"]


def test_none_comes_in_a_thread() -> None:
    """Trio takes none there, so none is planned, and none counts as swallowed."""
    found: list[Any] = []

    def look() -> None:
        found.append(simulate(naps, plan="interrupt@3"))
        found.append(sweep(naps, faults=["interrupt"]))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    report: Report = found[0]
    assert report.ok
    assert not report.interruptible
    assert not report.fired
    assert found[1].runs == 2


def test_none_comes_where_the_program_handles_it() -> None:
    """It would go to that handler, and no run would hear of it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        report = simulate(naps, plan="interrupt@3")
    finally:
        signal.signal(signal.SIGINT, before)

    assert report.ok
    assert not report.interruptible
    assert not heard
