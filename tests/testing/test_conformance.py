"""The check of an actor: ours pass, and actors that are broken in one way each fail by it."""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest
import trio

from greenroom.runtime import (
    Actor,
    Frame,
    Ref,
    Refused,
    Request,
    frame,
    handles,
)
from greenroom.runtime.testing import (
    Probe,
    World,
    actor_scenario,
    check_actor,
    law,
    simulate,
)
from tests.runtime.cast import Count, Echo, Note, Pair, Pinned, Stagehand, Steered


@frame
class Add(Request[int]):
    """Asks for a sum."""

    n: int


class Sum(Actor):
    """Adds up, and waits for something meanwhile; the base of those that are broken."""

    def __init__(self) -> None:
        self.sum = 0

    @handles
    async def add(self, request: Add) -> int:
        await trio.sleep(1)
        self.sum += request.n
        return self.sum


@pytest.mark.parametrize(
    ("factory", "frames"),
    [
        (Sum, [Add(1), Add(2)]),
        (Stagehand, [Note("a"), Echo("x", 1), Count(3), Pinned("b")]),
        (Pair, [Note("a"), Echo("x", 1), Count(3)]),
        (Steered, [Note("a"), Echo("x", 1)]),
        (partial(Probe, ["ok"], seconds=1, cleanup=1), [Echo("x"), Note("n")]),
        (partial(Probe, [Refused("no")]), [Echo("x")]),
    ],
)
def test_an_actor_that_keeps_its_promises_passes(
    factory: Callable[..., Actor], frames: list[Frame]
) -> None:
    """I1-I4, R10: told, asked and streamed from, in one slot and in two, one that declines too."""
    runs = check_actor(factory, *frames)
    print(f"checked {factory!r}: {runs} runs")

    assert runs >= 60


def test_an_actor_that_needs_others_is_spawned_by_a_function() -> None:
    """With whatever it needs, in the world of the run."""

    class Front(Actor):
        def __init__(self, behind: Ref) -> None:
            self.behind = behind

        @handles
        async def add(self, request: Add) -> int:
            return await self.behind.ask(request)

    async def spawn(w: World) -> Ref:
        behind = await w.runtime.spawn(Sum, name="behind")
        return await w.runtime.spawn(Front, behind, name="actor")

    assert check_actor(spawn, Add(1)) >= 60


# -- broken, each in its own way


class Locking(Sum):
    """Keeps its place when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.places = trio.Semaphore(1)

    @handles
    async def add(self, request: Add) -> int:
        await self.places.acquire()
        await trio.sleep(1)
        self.places.release()
        return 1


class Wrapping(Sum):
    """Takes a cancel for an error."""

    @handles
    async def add(self, request: Add) -> int:
        try:
            await trio.sleep(1)
        except BaseException as error:  # noqa: ASYNC103
            raise ValueError("something went wrong") from error
        return 1


class Lingering(Sum):
    """Cleans up for a minute."""

    @handles
    async def add(self, request: Add) -> int:
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(60)
        return 1


class Generating(Sum):
    """Leaves an async generator behind where it is cut off."""

    @handles
    async def add(self, request: Add) -> int:
        async def numbers() -> AsyncGenerator[int]:
            try:
                while True:
                    await trio.sleep(1)
                    yield 1
            finally:
                await trio.lowlevel.checkpoint()

        async for number in numbers():
            return number
        return 0


class Halving(Sum):
    """Cannot go on from what a cancel leaves of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.halves = 0

    @handles
    async def add(self, request: Add) -> int:
        if self.halves % 2:
            raise RuntimeError("the halves don't fit")
        self.halves += 1
        await trio.sleep(1)
        self.halves += 1
        return 1


class Stubborn(Sum):
    """Does not end when it is asked to stop."""

    async def on_stop(self) -> None:
        await trio.sleep_forever()


class Offended(Sum):
    """Is never the same after an interrupt."""

    is_offended = False

    async def on_interrupt(self) -> None:
        self.is_offended = True

    @handles
    async def add(self, request: Add) -> int:
        if self.is_offended:
            await trio.sleep_forever()
        return await super().add(request)


@pytest.mark.parametrize(
    ("broken", "done", "found"),
    [
        (Locking, "its askers, or everything, are cut off", "HANG"),
        (Wrapping, "its askers, or everything, are cut off", "ValueError: something went wrong"),
        (Lingering, "when", "was still cleaning up"),
        (Generating, "nobody disturbs it", "LEAK_ASYNCGEN"),
        (Halving, "its askers, or everything, are cut off", "the halves don't fit"),
        (Stubborn, "nobody disturbs it", "LAW no cleanup lasts longer"),
        (Offended, "it is interrupted after step", "HANG"),
    ],
)
def test_an_actor_that_is_broken_fails(broken: type[Sum], done: str, found: str) -> None:
    """By what was done to it, what came of it, and the story."""
    with pytest.raises(AssertionError) as caught:
        check_actor(broken, Add(1))
    text = str(caught.value)

    assert f"{broken.__name__} does not hold when" in text
    assert done in text
    assert found in text
    assert "Add" in text.partition("\n\n")[2]  # the story


def test_a_law_and_a_thing_of_ones_own_are_held() -> None:
    """What `owns` names is free at the end, and the laws hold in each run."""
    taken: list[int] = []

    class Keeping(Sum):
        @handles
        async def add(self, request: Add) -> int:
            taken.append(1)
            await trio.sleep(1)
            return taken.pop()

    @law("nothing is added")
    def nothing(history: Any) -> Any:
        yield "something was"

    with pytest.raises(AssertionError, match="HELD the seat is not free"):
        check_actor(Keeping, Add(1), owns={"the seat": lambda: not taken})
    with pytest.raises(AssertionError, match="nothing is added: something was"):
        check_actor(Sum, Add(1), laws=[nothing])


def test_what_it_found_is_seen_again_by_its_plan() -> None:
    """The scenario that it sweeps can be had."""
    with pytest.raises(AssertionError) as caught:
        check_actor(Locking, Add(1))
    plan = str(caught.value).partition("with the plan '")[2].partition("'")[0]

    assert simulate(actor_scenario(Locking, Add(1)), plan=plan).codes == ("HANG",)
    assert simulate(actor_scenario(Sum, Add(1)), plan=plan).ok


def test_misuse_is_refused() -> None:
    """No frames, and frames that it has no handler for."""
    with pytest.raises(ValueError, match="give at least one frame"):
        check_actor(Sum)
    with pytest.raises(AssertionError, match="NotHandled"):
        check_actor(Sum, Echo("x"))
