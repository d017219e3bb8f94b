"""
Cancel at every step (I1, I3, I4, I9): each scenario at each position at which a cancel can arrive.

Whatever the point: one outcome a request, frames conserved, no task left, and the next request works.
"""

from typing import Any

import trio

from greenroom.runtime import Actor, Emit, Ref, Runtime, handles, open_runtime
from greenroom.runtime.testing import Scenario, World, sweep
from tests.conftest import TORTURE
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Ledger,
    Note,
    Number,
    Play,
    Stagehand,
    Trio,
    after,
    hang,
    outcome_of,
    stubborn,
)

# Fewer runs with a cancel than these, and a scenario no longer does what it says.
FLOORS = {
    "tell, full": 40,
    "ask, queued": 47,
    "ask, running": 45,
    "ask, closing": 40,
    "chain": 65,
    "stream": 37,
    "stream, left": 42,
    "stream, interrupted": 54,
    "spawn": 51,
    "children": 103,
    "stop": 60,
    "interrupt, slots": 89,
    "runtime": 162,
}


def swept(name: str, scenario: Scenario) -> None:
    """Cancel each scope of *scenario* at every position, and interrupt it at every third."""
    report = sweep(scenario, faults=("cancel",)).check()
    interrupted = sweep(scenario, faults=("interrupt",), stride=1 if TORTURE else 3).check()
    print(f"sweep {name}: {report.summary()}; interrupted: {interrupted.runs} runs")
    assert report.runs >= FLOORS[name]
    assert interrupted.runs >= report.positions // 3


async def still_works(runtime: Runtime) -> None:
    for name in runtime.living():
        assert await runtime.find(name).ask(Echo(name)) == name


async def slowly(_: Any, *__: object) -> str:
    """A handler of several steps, whose cleanup has steps too."""
    try:
        for _n in range(2):
            await trio.lowlevel.checkpoint()
        await trio.sleep(1)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            await trio.lowlevel.checkpoint()
    return "slowly"


def test_telling_a_full_mailbox() -> None:
    """I1, I2: a cancelled tell sent nothing, and one that returned was handled."""

    async def scenario(w: World) -> None:
        log: list[str] = []
        sent: list[str] = []
        async with open_runtime(observers=[w.history]) as runtime:
            ref = await runtime.spawn(lambda: Stagehand(log), capacity=1)
            await ref.tell(Do(after(1)))
            with w.scope("cut"):
                for n in range(4):
                    await ref.tell(Note(f"{n}"))
                    sent.append(f"{n}")
        assert log == [*sent, "on_stop"]

    swept("tell, full", scenario)


def test_asking_a_busy_actor() -> None:
    """I3: a queued request that is cancelled never starts."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        outcomes: list[object] = []
        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Stagehand)
            await ref.tell(Do(after(1)))
            await ref.tell(Do(after(1)))
            with w.scope("cut"):
                await outcome_of(ref, Echo("a", 1), outcomes)
            await still_works(runtime)
        assert outcomes in ([], ["a"], ["cancelled"])
        ledger.check(tombstones=1)

    swept("ask, queued", scenario)


def test_asking_an_idle_actor() -> None:
    """I3, I4, I9: when the ask is over, so is the handler."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        outcomes: list[object] = []
        running = 0

        async def handler(_: Any) -> str:
            nonlocal running
            running += 1
            try:
                return await slowly(_)
            finally:
                running -= 1

        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Stagehand)
            with w.scope("cut"):
                await outcome_of(ref, Do(handler), outcomes)
            assert running == 0
            await still_works(runtime)
        assert outcomes in ([], ["slowly"], ["cancelled"])
        ledger.check(tombstones=1)

    swept("ask, running", scenario)


def test_a_second_cancel_while_closing() -> None:
    """I3, R10: a request that is closing already is left to its cleanup."""

    async def scenario(w: World) -> None:
        outcomes: list[object] = []
        async with open_runtime(observers=[w.history]) as runtime:
            ref = await runtime.spawn(Stagehand)
            with w.scope("cut"), trio.move_on_after(0.5):
                await outcome_of(ref, Do(stubborn(1)), outcomes)
                raise AssertionError
            await still_works(runtime)
        assert outcomes in ([], ["cancelled"])

    swept("ask, closing", scenario)


def test_a_chain_of_three() -> None:
    """I4: A asks B asks C, and nothing of it is left."""

    async def scenario(w: World) -> None:
        running: list[str] = []
        outcomes: list[object] = []
        async with open_runtime(observers=[w.history]) as runtime:
            a, b, c = [await runtime.spawn(Stagehand) for _ in range(3)]

            def noted(name: str, what: Any) -> Any:
                async def run(_: Any) -> Any:
                    running.append(name)
                    try:
                        return await what(_)
                    finally:
                        running.remove(name)

                return Do(run)

            def asks(ref: Ref, request: Any) -> Any:
                async def run(_: Any) -> Any:
                    return await ref.ask(request)

                return run

            request = noted("a", asks(b, noted("b", asks(c, noted("c", slowly)))))
            with w.scope("cut"):
                await outcome_of(a, request, outcomes)
            assert running == []
            await still_works(runtime)
        assert outcomes in ([], ["slowly"], ["cancelled"])

    swept("chain", scenario)


def test_reading_a_stream() -> None:
    """I2, I4: what was taken is a prefix, and the handler is over with the block."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        taken: list[int] = []
        running = 0

        async def play(_: Any, emit: Emit[Number]) -> None:
            nonlocal running
            running += 1
            try:
                for n in range(6):
                    await emit(Number(n))
            finally:
                emit.close(Number(-1))
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()
                running -= 1

        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Stagehand)
            stream = ref.stream(Play(play), buffer=2)
            started = False
            with w.scope("cut") as cut:
                async with stream:
                    started = True
                    async for number in stream:
                        taken.append(number.n)  # noqa: PERF401 - it may be cut off
            assert running == 0
            if started and stream.untaken:
                seen = taken + [n.n for n in stream.untaken]
                assert seen == [*range(len(seen) - 1), -1]
            elif not cut.cancel_called:
                assert taken == [0, 1, 2, 3, 4, 5, -1]
            await still_works(runtime)
        ledger.check(tombstones=1)

    swept("stream", scenario)


def test_leaving_a_stream() -> None:
    """I4: a block that is broken off, and cancelled while it ends."""

    async def scenario(w: World) -> None:
        async with open_runtime(observers=[w.history]) as runtime:
            ref = await runtime.spawn(Stagehand)
            with w.scope("cut"):
                async with ref.stream(Count(100), buffer=1) as stream:
                    async for number in stream:
                        if number.n == 2:
                            break
                async with ref.stream(Play(slowly)):
                    await trio.lowlevel.checkpoint()
            await still_works(runtime)

    swept("stream, left", scenario)


def test_an_interrupted_stream() -> None:
    """I3: interrupted and cancelled, in any order, it has one outcome."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        ends: list[str] = []

        async def read(ref: Ref) -> None:
            try:
                async with ref.stream(Play(slowly)) as stream:
                    async for _ in stream:
                        pass
            except trio.Cancelled:
                ends.append("cancelled")
                raise
            except Exception as error:
                ends.append(type(error).__name__)

        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Stagehand)
            with w.scope("cut"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, ref)
                    await trio.sleep(0.5)
                    ref.interrupt()
                    await trio.lowlevel.checkpoint()
            await still_works(runtime)
        assert ends in ([], ["cancelled"], ["Interrupted"])
        ledger.check(tombstones=1)

    swept("stream, interrupted", scenario)


class Slow(Stagehand):
    """Starts, and stops, in several steps."""

    async def on_start(self) -> None:
        self.log.append("start")
        self.nursery.start_soon(trio.sleep_forever)
        await slowly(self)
        self.log.append("started")

    async def on_stop(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("stopped")


def test_spawning() -> None:
    """I4: an actor either is there, or nothing of it is; what started is stopped."""

    async def scenario(w: World) -> None:
        log: list[str] = []
        async with open_runtime(observers=[w.history]) as runtime:
            refs: list[Ref] = []
            with w.scope("cut"):
                refs.append(await runtime.spawn(Slow, log, name="slow"))
            assert runtime.living() == tuple(ref.name for ref in refs)
            await still_works(runtime)
        assert log.count("started") == log.count("stopped") == len(refs)

    swept("spawn", scenario)


class Family(Stagehand):
    """Spawns two children, one after the other, and one more when asked."""

    async def on_start(self) -> None:
        for _ in range(2):
            await self.spawn(Slow, self.log)


def test_spawning_children() -> None:
    """I4: a parent that was cancelled while it started leaves no child."""

    async def scenario(w: World) -> None:
        log: list[str] = []
        async with open_runtime(observers=[w.history]) as runtime:
            with w.scope("cut"):
                ref = await runtime.spawn(Family, log)
                ref.stop()
                await ref.wait_stopped()
            if not runtime.living():
                assert log.count("started") == log.count("stopped")
        assert log.count("started") == log.count("stopped")

    swept("children", scenario)


def test_stopping() -> None:
    """I4, R20: whoever waits may leave; the stop goes on."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        log: list[str] = []
        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Slow, log)
            await ref.tell(Do(slowly))
            await ref.tell(Note("queued"))
            with w.scope("cut"):
                ref.stop()
                await ref.wait_stopped()
            assert (await ref.wait_stopped()).reason == "stopped"
            assert runtime.living() == ()
        assert log == ["start", "started", "queued", "stopped"]
        ledger.check()

    swept("stop", scenario)


def test_interrupting_several_slots() -> None:
    """I3, R17: askers of three slots, cancelled around an interrupt."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        outcomes: list[object] = []
        async with open_runtime(observers=[w.history, ledger]) as runtime:
            ref = await runtime.spawn(Trio)
            with w.scope("cut"):
                async with trio.open_nursery() as nursery:
                    for n in range(5):
                        nursery.start_soon(outcome_of, ref, Do(stubborn(n)), outcomes)
                    await trio.sleep(1)
                    ref.interrupt()
                    await trio.lowlevel.checkpoint()
            assert len(outcomes) <= 5
            assert set(outcomes) <= {"cancelled", "interrupted: interrupted"}
            await still_works(runtime)
        ledger.check(tombstones=5)

    swept("interrupt, slots", scenario)


class Asks(Actor):
    """Passes a request on to a child."""

    async def on_start(self) -> None:
        self.child = await self.spawn(Stagehand)

    @handles
    async def echo(self, request: Echo) -> str:
        return await self.child.ask(request)


def test_a_whole_runtime() -> None:
    """I4, I3: a runtime with all of it, opened, used and closed, cut anywhere."""

    async def scenario(w: World) -> None:
        ledger = Ledger()
        outcomes: list[object] = []
        runtimes: list[Runtime] = []
        with w.scope("cut"):
            async with open_runtime(observers=[w.history, ledger]) as runtime:
                runtimes.append(runtime)
                ref = await runtime.spawn(Asks)
                three = await runtime.spawn(Trio, capacity=1)
                async with trio.open_nursery() as nursery:
                    for n in range(3):
                        nursery.start_soon(outcome_of, ref, Echo(f"{n}", n), outcomes)
                        nursery.start_soon(outcome_of, three, Do(slowly), outcomes)
                async with three.stream(Count(5), buffer=1) as stream:
                    async for _ in stream:
                        pass
                await three.tell(Do(hang))
                three.interrupt()
        for runtime in runtimes:
            assert runtime.living() == ()
        assert len(outcomes) <= 6
        ledger.check(tombstones=6)

    swept("runtime", scenario)
