"""What can't be meant is refused with what to write; what a test's own code raises is told."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio

from greenroom.runtime import Actor, Interrupted, Request, frame, handles
from greenroom.runtime.testing import (
    History,
    World,
    cancel_everywhere,
    examine,
    explore,
    law,
    simulate,
    sweep,
    sweep_live,
)


@frame
class Ask(Request[str]):
    """Asks for a text."""


async def leaky(w: World) -> None:
    """Holds something when it is cut off."""
    held: list[int] = []
    w.own("the lock", lambda: not held)
    with w.scope("turn"):
        held.append(1)
        await trio.sleep(1)
        held.clear()


def plain(history: History) -> Iterator[str]:
    yield from ()


def run_as_a_test(scenario: Any, **options: Any) -> None:
    cancel_everywhere(**options)(scenario)()


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"faults": "cancel"}, TypeError, r"write faults=\['cancel'\]"),
    ({"faults": ["cutoff"]}, ValueError, "faults must be of 'cancel', .* not 'cutoff'"),
    ({"faults": ["jump"]}, ValueError, r"a jump comes second: then=\['jump'\]"),
    ({"faults": ["crash"]}, ValueError, "give recovery="),
    ({"targets": ["trip"]}, ValueError, "no scope 'trip' is open .* there are 'root', 'turn'"),
    ({"targets": "turn"}, TypeError, r"write targets=\['turn'\]"),
    ({"laws": [plain]}, TypeError, r"plain .* is no law; write @law\('what holds'\)"),
    ({"cover": ["nope"]}, ImportError, "nope"),
]


@pytest.mark.parametrize(("options", "kind", "text"), REFUSED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("do", [sweep, examine, run_as_a_test])
def test_a_misspelt_option_is_no_green_test(
    do: Callable[..., Any], options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    """It would try nothing, and so find nothing."""
    with pytest.raises(kind, match=text):
        do(leaky, **options)


@pytest.mark.parametrize(
    ("do", "text"),
    [
        (lambda: sweep(leaky, then="jump"), r"write then=\['jump'\]"),  # type: ignore[arg-type]
        (
            lambda: sweep(leaky, then=["raise"]),
            "then must be of 'cancel', 'interrupt', 'jump', not",
        ),
        (lambda: explore(leaky, runs=0), "runs must be an int >= 1, or None, not 0"),
        (lambda: examine(leaky, orders=-1), "orders must be an int >= 0, not -1"),
        (lambda: examine(leaky, pairs=-2), "pairs must be an int >= 0, not -2"),
        (
            lambda: explore(leaky, strategy="dpor", footprints="reported", bound=2),
            "give footprints or bound, not both",
        ),
        (lambda: explore(leaky, laws=[plain]), "is no law"),  # type: ignore[list-item]
        (lambda: sweep_live(leaky, laws=[plain]), "is no law"),  # type: ignore[list-item]
    ],
)
def test_a_number_or_kind_out_of_range_is_refused(do: Callable[[], object], text: str) -> None:
    """With the value and what to write."""
    with pytest.raises((ValueError, TypeError), match=text):
        do()


def test_a_scenario_must_be_async() -> None:
    """And is told so, not that nothing can be awaited."""

    def sync(w: World) -> None:
        pass

    (problem,) = simulate(sync).problems  # type: ignore[arg-type]  # pyright: ignore

    assert "a scenario must be an async function of a World" in problem.text
    assert "write 'async def'" in problem.text


def test_the_decorator_may_stand_without_brackets() -> None:
    """It is what one writes first."""
    test = cancel_everywhere(leaky)

    assert test.__name__ == "leaky"
    with pytest.raises(AssertionError, match="HELD the lock"):
        test()


def test_what_the_decorator_made_can_be_simulated() -> None:
    """As the story says."""
    test: Any = cancel_everywhere(leaky)

    assert simulate(test, plan="cancel(turn)@5").codes == ("HELD",)


def test_a_plan_of_which_nothing_happens_is_no_green_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario is another than when it was printed."""
    for plan in ("cancel(nope)@3", "cancel(root)@3100"):
        monkeypatch.setenv("GREENROOM_PLAN", plan)
        with pytest.raises(AssertionError, match=r"nothing of the plan .* happened"):
            cancel_everywhere()(leaky)()
    monkeypatch.setenv("GREENROOM_PLAN", "cancel(root)@1 cancel(nope)@3")

    async def fine(w: World) -> None:
        await trio.sleep(1)

    cancel_everywhere()(fine)()


# -- what a test's own code raises is a problem of that run


def test_an_own_that_raises_is_told() -> None:
    """With the plan of the run in which it did."""

    async def half_made(w: World) -> None:
        made: dict[str, trio.Lock] = {}
        w.own("the lock", lambda: not made["lock"].locked())
        await trio.sleep(1)
        made["lock"] = trio.Lock()

    report = examine(half_made, elsewhere=False).first

    assert report.codes == ("HELD",)
    assert "the lock can't be asked whether it is free: KeyError: 'lock'" in str(report.problems[0])
    assert str(report.plan).startswith("cancel(root)@")


def test_a_law_that_raises_is_told() -> None:
    """By its name."""

    @law("all is well")
    def broken(history: History) -> Iterator[str]:
        yield "first"
        raise LookupError("no such event")

    texts = [problem.text for problem in simulate(leaky, laws=[broken]).problems]

    assert texts == ["all is well: first", "all is well: can't be told: LookupError: no such event"]


@pytest.mark.parametrize("method", ["crash", "reopen"])
def test_a_durable_that_raises_is_told(method: str) -> None:
    """As what the next process would begin with."""

    class Broken:
        def crash(self, *, torn: bool = False) -> None:
            if method == "crash":
                raise OSError("no disk")

        def reopen(self) -> None:
            if method == "reopen":
                raise OSError("no disk")

    async def scenario(w: World) -> None:
        w.durable("disk", Broken)
        await trio.sleep(1)

    (problem,) = simulate(scenario, plan="crash@3", recovery=scenario).problems

    assert (problem.code, "OSError: no disk" in problem.text) == ("RAISED", True)
    assert "'disk'" in problem.text


def test_what_a_dying_process_makes_is_not_there_for_the_next() -> None:
    """Also where it is made after the crash, before the process has noticed."""

    class Disk:
        """Keeps what it has once it has crashed: nothing more."""

        def __init__(self) -> None:
            self.lines: list[str] = []
            self.kept: list[str] = []

        def crash(self, *, torn: bool = False) -> None:
            self.kept = list(self.lines)

        def reopen(self) -> None:
            self.lines = self.kept

    async def scenario(w: World) -> None:
        w.durable("disk", Disk).lines.append("line")
        await trio.sleep(1)

    async def recover(w: World) -> None:
        assert w.durable("disk", Disk).lines == []

    async def recover_a_line(w: World) -> None:
        assert w.durable("disk", Disk).lines == ["line"]

    assert simulate(scenario, plan="crash@0", recovery=recover).ok
    assert simulate(scenario, plan="crash@1", recovery=recover_a_line).ok


def test_an_action_that_raises_anything_is_told() -> None:
    """Also what is no `Exception`, which would end Trio."""

    async def scenario(w: World) -> None:
        def act() -> None:
            raise GeneratorExit

        with w.action("act", act):
            await trio.sleep(1)

    assert simulate(scenario, plan="call(act)@4").codes == ("RAISED",)


# -- interruptions


class Talker(Actor, concurrency=2):
    """Its handlers answer an interruption with what they have."""

    @handles
    async def talk(self, request: Ask) -> str:
        try:
            await trio.sleep(1)
        except trio.Cancelled:  # noqa: ASYNC103
            return "half"
        return "all"


async def two_talk(w: World, *, interrupt: bool) -> None:
    talker = await w.runtime.spawn(Talker)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with suppress(Interrupted):
                await talker.ask(Ask())

        for _ in range(2):
            nursery.start_soon(ask)
        await trio.sleep(0.5)
        if interrupt:
            talker.interrupt()


def test_each_handler_may_answer_an_interruption() -> None:
    """R13: of an actor that runs several, all of them."""

    async def scenario(w: World) -> None:
        await two_talk(w, interrupt=True)

    assert simulate(scenario).ok


def test_an_interruption_excuses_only_what_it_hit() -> None:
    """Neither the next handler, nor one that begins after an idle actor was interrupted."""

    async def scenario(w: World) -> None:
        talker = await w.runtime.spawn(Talker)
        talker.interrupt()
        await trio.sleep(1)
        with w.scope("turn"):
            await talker.ask(Ask())

    report = sweep(scenario, faults=["cancel"], targets=["turn"]).first

    assert report.codes == ("SWALLOWED",)


# -- chance


def test_chance_is_seeded_and_given_back() -> None:
    """The module `random`, for each run; the one of the test goes on as before."""
    drawn: list[float] = []

    async def scenario(w: World) -> None:
        drawn.append(random.random())
        await trio.sleep(random.random())
        drawn.append(w.rng.random())

    random.seed(5)
    first = random.random()
    random.seed(5)
    for seed in (1, 1, 2):
        simulate(scenario, seed=seed)

    assert random.random() == first
    assert drawn[:2] == drawn[2:4]
    assert drawn[4] != drawn[0]
    assert drawn[5] != drawn[1]
