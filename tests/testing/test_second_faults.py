"""Second faults that come into what is done about a first one, and nowhere else."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from greenroom.runtime import Actor, Interrupted, Request, fault_point, frame, handles
from greenroom.runtime.testing import InjectedError, MemoryStore, World, examine, simulate


@frame
class Speak(Request[str]):
    """Asks for a word."""


# -- systems with a fault that takes two; `right` has it mended


async def cleanup_fails(w: World, *, right: bool) -> None:
    """A cleanup that can itself fail, and then gives nothing back."""
    held: list[int] = []
    w.own("the row", lambda: not held)
    with w.scope("turn"):
        held.append(1)
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            if right:
                held.clear()
            fault_point("journal")
            held.clear()
            raise
        except BaseException:
            held.clear()
            raise
        held.clear()


async def compensation_is_cut_off(w: World, *, right: bool) -> None:
    """What is done about a failure waits, and can be cancelled there."""
    held: list[int] = []
    w.own("the reservation", lambda: not held)
    await trio.sleep(1)
    held.append(1)
    try:
        fault_point("bank")
    except InjectedError:
        try:
            await trio.sleep(1)  # the other side is told
        finally:
            if right:
                held.clear()
    held.clear()


async def retries_run_out(w: World, *, right: bool) -> None:
    """The second attempt is taken for one that can't fail."""
    answers: list[str] = []
    for _ in range(2):
        with suppress(InjectedError):
            await trio.sleep(1)
            fault_point("net")
            answers.append("yes")
            break
    if right and not answers:
        return
    assert answers


class Speaker(Actor):
    """Says that it was interrupted, which takes a moment."""

    def __init__(self, taken: list[str], right: bool) -> None:
        self.taken = taken
        self.right = right

    @handles
    async def speak(self, request: Speak) -> str:
        await trio.sleep(1)
        return "word"

    async def on_interrupt(self) -> None:
        self.taken.append("the loudspeaker")
        try:
            await trio.sleep(1)
        finally:
            if self.right:
                self.taken.clear()
        self.taken.clear()


async def interruption_is_cut_off(w: World, *, right: bool) -> None:
    """An actor is interrupted, and all is cancelled while it says so."""
    taken: list[str] = []
    w.own("the loudspeaker", lambda: not taken)
    speaker = await w.runtime.spawn(Speaker, taken, right, name="speaker")
    with w.action("barge-in", speaker.interrupt), suppress(Interrupted):
        await speaker.ask(Speak())
    await trio.sleep(2)


class Ledger:
    """What is known to be kept, in the next process too."""

    def __init__(self) -> None:
        self.kept = 0
        self._at_crash = 0

    def crash(self, *, torn: bool = False) -> None:
        self._at_crash = self.kept

    def reopen(self) -> None:
        self.kept = self._at_crash


async def compact(store: MemoryStore, *, right: bool) -> int:
    """Write the log anew, and return how many lines it has."""
    if "log" not in store.names:
        return 0
    whole = await store.read("log")
    if right:
        if "new" in store.names:
            await store.delete("new")
        await store.write("new", whole)
        await store.sync("new")
        await store.rename("new", "log")
    else:
        await store.delete("log")
        await store.write("log", whole)
        await store.sync("log")
    return len(whole)


async def keeps_a_log(w: World, *, right: bool) -> None:
    """Three lines, each of which is durable before it counts."""
    store, ledger = w.durable("store", MemoryStore), w.durable("ledger", Ledger)
    for number in range(3):
        await store.write("log", b"x")
        await store.sync("log")
        ledger.kept = number + 1


async def reads_the_log(w: World, *, right: bool) -> None:
    """The next process compacts the log; the wrong one by deleting it first."""
    store, ledger = w.durable("store", MemoryStore), w.durable("ledger", Ledger)
    assert await compact(store, right=right) >= ledger.kept


@pytest.mark.parametrize(
    ("scenario", "kinds", "code"),
    [
        (cleanup_fails, ["cancel", "fail"], "HELD"),
        (compensation_is_cut_off, ["fail", "cancel"], "HELD"),
        (retries_run_out, ["fail", "fail"], "RAISED"),
        (interruption_is_cut_off, ["call", "cancel"], "HELD"),
    ],
)
def test_a_second_fault_is_tried_where_the_first_one_leads(
    scenario: Callable[..., Any], kinds: list[str], code: str
) -> None:
    """By default; no single fault shows these, and mended there is no alarm."""
    found = examine(partial(scenario, right=False), elsewhere=False).first

    assert code in found.codes
    assert [fault.kind for fault in found.plan.faults] == kinds
    assert simulate(partial(scenario, right=False), plan=str(found.plan)).codes == found.codes
    for fault in found.plan.faults:
        assert simulate(partial(scenario, right=False), plan=str(fault)).ok
    examine(partial(scenario, right=True), elsewhere=False).check()


def test_a_recovery_is_crashed_as_well() -> None:
    """Positions go on in the next process; a third one recovers and is judged."""
    wrong, recovery = partial(keeps_a_log, right=False), partial(reads_the_log, right=False)
    found = examine(wrong, recovery=recovery, elsewhere=False).first
    first, second = found.plan.faults

    assert (first.kind, second.kind) == ("crash", "crash")
    assert first.position < second.position < found.positions
    story = found.timeline(last=1000)
    assert story.index(f"!! {first}") < story.index(f"!! {second}")
    assert simulate(wrong, plan=str(found.plan), recovery=recovery).codes == ("RAISED",)
    assert simulate(wrong, plan=str(first), recovery=recovery).ok
    right = partial(keeps_a_log, right=True)
    examine(right, recovery=partial(reads_the_log, right=True), elsewhere=False).check()
