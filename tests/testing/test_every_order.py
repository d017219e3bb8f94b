"""All orders of small systems: what is wrong is found in few runs, what is right is verified."""

import random
from collections.abc import Callable

import pytest
import trio

from greenroom.runtime import Actor, Request, frame, handles, touch
from greenroom.runtime.testing import Scenario, World, explore, simulate
from greenroom.runtime.testing.dpor import Search
from greenroom.runtime.testing.plan import Plan
from greenroom.runtime.testing.scout import Scout
from greenroom.runtime.testing.simulate import Rules, run_once
from greenroom.runtime.testing.sweep import collected


class Box:
    """A mailbox that looks and waits in one step."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.filled: trio.Event | None = None

    def put(self, item: int) -> None:
        touch("box")
        self.items.append(item)
        if self.filled is not None:
            self.filled.set()

    async def get(self) -> int:
        while True:
            touch("box")
            if self.items:
                return self.items.pop()
            self.filled = trio.Event()
            await self.filled.wait()


class HeldUpBox(Box):
    """A mailbox that can be held up between looking and waiting: a wake-up is lost then."""

    async def get(self) -> int:
        touch("box")
        if not self.items:
            await trio.lowlevel.checkpoint()
            touch("box")
            self.filled = trio.Event()
            await self.filled.wait()
        return self.items.pop()


def hand_over(box: Callable[[], Box], noise: int) -> Scenario:
    """One puts, one gets, and one does *noise* steps that are nobody's business."""

    async def scenario(w: World) -> None:
        shared = box()

        async def put() -> None:
            await trio.lowlevel.checkpoint()
            shared.put(1)

        async def hum() -> None:
            for _ in range(noise):
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            nursery.start_soon(hum)
            nursery.start_soon(shared.get)

    return scenario


def test_a_lost_wake_up_is_found_and_its_plan_repeats_it() -> None:
    """In as few runs however much noise there is; the plain order does not show it."""
    runs: set[int] = set()
    for noise in (1, 3, 9):
        scenario = hand_over(HeldUpBox, noise)
        report = explore(scenario, strategy="dpor", footprints="reported")
        runs.add(report.runs)

        assert simulate(scenario).ok
        assert report.first.codes == ("HANG",)
        assert not report.verified
        assert simulate(scenario, plan=str(report.first.plan)).codes == ("HANG",)

    assert len(runs) == 1
    assert runs.pop() <= 10


def test_its_absence_is_verified_in_few_runs() -> None:
    """All orders are tried, and what has nothing to do with it adds none."""
    runs: set[int] = set()
    for noise in (1, 3, 9):
        report = explore(hand_over(Box, noise), strategy="dpor", footprints="reported").check()
        print(f"verified with {noise} steps of noise: {report.runs} runs")
        assert report.verified
        runs.add(report.runs)

    assert len(runs) == 1
    assert runs.pop() <= 50


def test_what_was_not_tried_to_the_end_is_not_verified() -> None:
    """Neither with a bound, nor with too few runs, nor by chance."""
    scenario = hand_over(Box, 1)

    assert not explore(scenario, strategy="dpor", footprints="reported", runs=5).verified
    assert not explore(scenario, strategy="dpor", bound=0, runs=30).verified
    assert not explore(scenario, runs=5).verified


def test_with_a_bound_no_task_is_put_off_more_often() -> None:
    """An order within the bound has at most so many preemptions."""
    few = explore(hand_over(Box, 1), strategy="dpor", bound=0)
    more = explore(hand_over(Box, 1), strategy="dpor", bound=1, runs=few.runs + 1)

    assert few.runs > 1
    assert more.runs == few.runs + 1


@frame
class Add(Request[int]):
    """Asks for a number to be added, and for the sum."""

    number: int


class Adder(Actor):
    """Adds up."""

    def __init__(self) -> None:
        self.sum = 0

    @handles
    async def add(self, request: Add) -> int:
        before = self.sum
        await trio.lowlevel.checkpoint()
        self.sum = before + request.number
        return self.sum


class Careless(Adder, concurrency=2):
    """Adds up, two at a time: one may get lost."""

    @handles
    async def add(self, request: Add) -> int:
        touch("sum", write=False)
        before = self.sum
        await trio.lowlevel.checkpoint()
        touch("sum")
        self.sum = before + request.number
        return self.sum


def two_askers(kind: type[Adder]) -> Scenario:
    async def scenario(w: World) -> None:
        adder = await w.runtime.spawn(kind)
        sums: list[int] = []

        async def ask() -> None:
            sums.append(await adder.ask(Add(1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        assert max(sums) == 2, f"one of two was lost: {sums}"

    return scenario


def test_isolation_is_verified_over_all_orders() -> None:
    """One handler at a time: no order of two askers loses anything. Two slots do."""
    report = explore(two_askers(Adder), strategy="dpor", footprints="reported").check()
    print(f"two askers: {report.runs} runs")
    assert report.verified

    report = explore(two_askers(Careless), strategy="dpor", footprints="reported")
    assert "one of two was lost" in str(report.first.problems[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "luck"}, "strategy must be one of .*'dpor'.*, not 'luck'"),
        (
            {"strategy": "dpor", "footprints": "guessed"},
            "must be 'reported' or None, not 'guessed'",
        ),
        ({"bound": 1}, "footprints and bound are for strategy='dpor'"),
        ({"strategy": "dpor", "footprints": "reported", "bound": 1}, "give footprints or bound"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], message: str) -> None:
    """By value, and with what to write."""
    with pytest.raises(ValueError, match=message):
        explore(hand_over(Box, 1), **options)  # type: ignore[arg-type]


# -- the footprints of Trio's own things are enough

Outcomes = set[tuple[tuple[str, int], ...]]


def program(seed: int, outcomes: Outcomes) -> Scenario:
    """Return a scenario of two tasks that meet at Trio's things, by chance; it notes how it ended."""
    rng = random.Random(seed)
    shape = [[rng.randrange(8) for _ in range(rng.randint(2, 3))] for _ in range(2)]

    async def scenario(w: World) -> None:
        lock, event, semaphore = trio.Lock(), trio.Event(), trio.Semaphore(1)
        send, receive = trio.open_memory_channel[int](1)
        state = {"x": 0, "got": 0}

        def change(who: int) -> None:
            touch("x")
            state["x"] = state["x"] * 3 + who

        async def act(who: int, kind: int) -> None:
            match kind:
                case 0:
                    change(who)
                case 1:
                    async with lock:
                        change(who)
                case 2:
                    event.set()
                case 3:
                    if event.is_set():
                        change(who)
                case 4:
                    try:
                        send.send_nowait(who)
                    except trio.WouldBlock:
                        change(who)
                case 5:
                    try:
                        got = receive.receive_nowait()
                    except trio.WouldBlock:
                        got = 0
                    touch("got")
                    state["got"] = state["got"] * 3 + got
                case 6:
                    async with semaphore:
                        await trio.lowlevel.checkpoint()
                        change(who)
                case _:
                    with trio.move_on_after(1):
                        await event.wait()
                        change(who)

        async def run(who: int) -> None:
            for kind in shape[who - 1]:
                await act(who, kind)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, 1)
            nursery.start_soon(run, 2)
        outcomes.add(tuple(sorted(state.items())))

    return scenario


def outcomes_of(seed: int, *, reduce: bool, most: int) -> tuple[Outcomes, int]:
    """Return all ends of the program, and in how many runs; none if there are more than *most*."""
    found: Outcomes = set()
    scenario = program(seed, found)
    search, runs = Search(reduce=reduce), 0
    while not search.is_complete:
        if runs == most:
            return set(), runs
        scout = Scout(search)
        run_once(scenario, Plan(), Rules(), scout).check()
        scout.finish()
        runs += 1
    return found, runs


def test_the_reduced_search_misses_no_end_that_chance_finds() -> None:
    """Programs by chance, whose tasks meet at all of Trio's things."""
    compared = 0
    with collected():
        for seed in range(20):
            few, runs = outcomes_of(seed, reduce=True, most=400)
            if not few:
                continue
            found: Outcomes = set()
            scenario = program(seed, found)
            for n in range(40):
                run_once(scenario, Plan(policy="random", seed=n), Rules()).check()
            assert found <= few, f"program {seed}"
            compared += 1
            print(f"program {seed}: {runs} runs, {len(few)} ends")
    assert compared >= 10


@pytest.mark.torture
def test_the_reduced_search_ends_in_all_the_same_ways() -> None:
    """As every order does."""
    compared = 0
    with collected():
        for seed in range(60):
            every, runs = outcomes_of(seed, reduce=False, most=4000)
            if every:
                few, fewer = outcomes_of(seed, reduce=True, most=4000)
                assert few == every, f"program {seed}"
                assert fewer <= runs
                compared += 1
    assert compared >= 5
