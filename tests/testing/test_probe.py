"""The probe: what it records, and everything that it can be told to do."""

import pytest
import trio
import trio.testing

from greenroom.runtime import ActorCrashed, NotHandled, Refused, open_runtime
from greenroom.runtime.testing import Probe, ProbeCrash, World, sweep
from tests.runtime.cast import Count, Echo, Note, Nudge, Number


async def test_it_records_and_answers_from_its_script(autojump_clock: object) -> None:
    """Frames that are told, asked and streamed; the last answer is for ever."""
    probe = Probe(["one", [Number(1), Number(2)], Refused("no")], remember=3)
    async with open_runtime() as runtime:
        ref = await runtime.spawn(probe.play, name="probe")
        await ref.tell(Note("n"))
        assert await ref.ask(Echo("x")) == "one"
        async with ref.stream(Count(9)) as numbers:
            assert [number async for number in numbers] == [Number(1), Number(2)]
        for _ in range(2):
            with pytest.raises(Refused, match="no"):
                await ref.ask(Echo("y"))
        with pytest.raises(NotHandled):
            await ref.tell(Nudge())

    assert list(probe.frames) == [Count(9), Echo("y"), Echo("y")]
    assert (probe.taken, probe.done, probe.running) == (5, 3, 0)
    assert (probe.starts, probe.stops, probe.cancelled) == (1, 1, 0)


async def test_without_answers_a_request_gets_none(autojump_clock: object) -> None:
    """And a stream nothing; each frame takes the seconds that it was given."""
    probe = Probe(seconds=2)
    async with open_runtime() as runtime:
        ref = await runtime.spawn(probe.play)
        began = trio.current_time()
        assert await ref.ask(Echo("x")) is None
        async with ref.stream(Count(9)) as numbers:
            assert [number async for number in numbers] == []
        assert trio.current_time() - began == 4


async def test_it_waits_while_it_is_held(autojump_clock: object) -> None:
    """With one frame taken; the others stay in its mailbox."""
    probe = Probe(["ok"])
    async with open_runtime() as runtime:
        ref = await runtime.spawn(probe.play)
        probe.hold()
        probe.hold()
        await ref.tell_all([Note("a"), Note("b")])
        await trio.testing.wait_all_tasks_blocked()
        held = (list(probe.frames), probe.running, probe.is_idle())
        probe.release()
        assert await ref.ask(Echo("x")) == "ok"

    assert held == ([Note("a")], 1, False)
    assert probe.is_idle()


async def test_it_crashes_where_it_is_told_to(autojump_clock: object) -> None:
    """On a frame or a class of them, so often; what it recorded outlives the crash."""
    probe = Probe(["ok"], crash_on=[Note("bad"), Echo], crashes=2)
    async with open_runtime() as runtime:
        ref = await runtime.spawn(probe.play, restart="permanent")
        await ref.tell_all([Note("good"), Note("bad")])
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Echo("x"))
        assert await ref.ask(Echo("y")) == "ok"

    assert isinstance(caught.value.__cause__, ProbeCrash)
    assert list(probe.frames) == [Note("good"), Note("bad"), Echo("x"), Echo("y")]
    assert probe.starts == 3


async def test_it_is_slow_to_clean_up(autojump_clock: object) -> None:
    """R10: who cancels it waits for that; and it counts interrupts."""
    probe = Probe(cleanup=3)
    async with open_runtime() as runtime:
        ref = await runtime.spawn(probe.play)
        probe.hold()
        began = trio.current_time()
        with trio.move_on_after(1):
            await ref.ask(Echo("x"))
        took = trio.current_time() - began
        ref.interrupt()
        probe.release()
        await ref.ask(Echo("y"))

    assert took == 4
    assert (probe.cancelled, probe.interrupts) == (1, 1)


def test_a_scenario_owns_it() -> None:
    """I4: wherever its asker is cut off, it is idle at the end."""

    async def scenario(w: World) -> None:
        probe = Probe(["ok"], seconds=1, cleanup=1)
        w.own("the probe", probe.is_idle)
        ref = await w.runtime.spawn(probe.play, name="probe")
        with w.scope("asker"):
            assert await ref.ask(Echo("x")) == "ok"

    sweep(scenario, faults=("cancel", "interrupt")).check()
