"""A race of providers: one answers, and nothing is left of the others."""

from collections.abc import Callable

import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    Category,
    Complete,
    Context,
    Hedge,
    Patience,
    Provider,
    ProviderError,
    ResponseFailed,
    Status,
    User,
)
from greenroom.actors.testing import HANG, ScriptedProvider, says
from greenroom.runtime import open_runtime
from greenroom.runtime.testing import World, cancel_everywhere, sweep

ASKED = Complete(Context.of(User("hi")))


def broken(text: str = "broken") -> ProviderError:
    return ProviderError(text, category=Category.SERVER)


async def race(*providers: Provider, patience: Patience | None = None) -> tuple[str, float]:
    """Return the answer of a race in which the next one starts after 2 s, and how long it took."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, Hedge(*providers, after=2.0), None, patience)
        began = trio.current_time()
        text = (await llm.ask(ASKED)).text
        return text, trio.current_time() - began


async def test_who_is_quick_runs_alone(autojump_clock: trio.testing.MockClock) -> None:
    """The second one is never asked."""
    first, second = ScriptedProvider(says("a|b").before_head(1.9)), ScriptedProvider("c")

    assert await race(first, second) == ("ab", 1.9)
    assert second.requests == 0


@pytest.mark.parametrize("slow", ["head", "first token", "later"])
async def test_the_first_token_decides(slow: str, autojump_clock: trio.testing.MockClock) -> None:
    """Not the head; who has begun to speak is left to speak, however slowly."""
    script = says("a|b")
    script = {
        "head": script.before_head(HANG),
        "first token": script.after(0, HANG),
        "later": script.before_head(2.1).after(1, 9.0),
    }[slow]
    first, second = ScriptedProvider(script), ScriptedProvider(says("c|d").after(0, 0.5))

    text, took = await race(first, second)

    assert (text, took) == (("ab", 11.1) if slow == "later" else ("cd", 2.5))
    assert (first.requests, second.requests) == (1, 1)
    assert first.all_closed()
    assert second.all_closed()


async def test_two_in_one_step_have_one_winner(autojump_clock: trio.testing.MockClock) -> None:
    """The other one is closed, though it has a token too."""
    first = ScriptedProvider(says("a").before_head(3.0))
    second = ScriptedProvider(says("b").before_head(1.0))

    text, took = await race(first, second)

    assert text in ("a", "b")
    assert took == 3.0
    assert first.all_closed()
    assert second.all_closed()


async def test_a_failure_starts_the_next_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """And is no end while somebody runs."""
    providers = [ScriptedProvider(says().before_head(0.5, broken(t))) for t in "xy"]

    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, Hedge(*providers, ScriptedProvider("c"), after=2.0))
        completion = await llm.ask(ASKED)

    assert completion.text == "c"
    assert completion.ended.earlier == ("x", "y")
    assert completion.ended.timings.total == 1.0


async def test_where_all_fail_it_has_failed(autojump_clock: trio.testing.MockClock) -> None:
    """With the last failure, and the others beside it."""
    providers = [ScriptedProvider(says().before_head(broken(t))) for t in "xy"]

    with pytest.raises(ResponseFailed, match="y") as failed:
        await race(*providers)

    assert failed.value.ended.status is Status.FAILED
    assert failed.value.ended.earlier == ("x",)


async def test_an_error_that_is_none_of_a_provider_ends_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is a fault of a double or a bug, and comes out bare; nothing runs on."""
    first = ScriptedProvider(says("a").before_head(HANG))
    second = ScriptedProvider()  # has no script

    with pytest.raises(ResponseFailed, match="AssertionError: scripted was asked 1 times"):
        await race(first, second)

    assert first.all_closed()


async def test_the_deadline_of_the_first_token_is_for_the_race(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody said anything in time."""
    providers = [ScriptedProvider(says("a").before_head(HANG)) for _ in range(2)]

    with pytest.raises(ResponseFailed, match="first token"):
        await race(*providers, patience=Patience(first_token=5.0))

    assert all(provider.all_closed() for provider in providers)


REFUSED: list[tuple[Callable[[Provider], object], str]] = [
    (lambda p: Hedge(p, after=1), "two providers or more, and got 1"),
    (lambda p: Hedge(p, p, after=0), "after must be seconds > 0"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_arguments_out_of_range_are_refused(make: Callable[[Provider], object], text: str) -> None:
    """With the value and what to write."""
    with pytest.raises(ValueError, match=text):
        make(ScriptedProvider())


async def hedged(w: World) -> None:
    """Three that race; two come close to one another."""
    providers = [
        ScriptedProvider(says("a|b").before_head(seconds), then="ok") for seconds in (5.0, 1.0, 0.5)
    ]
    for number, provider in enumerate(providers):
        w.own(f"model {number}", provider.all_closed)
    llm = await w.runtime.spawn(LLM, Hedge(*providers, after=1.0), name="llm")
    with w.scope("turn"):
        assert (await llm.ask(ASKED)).text == "ab"
    assert (await llm.ask(ASKED)).text in ("ab", "ok")


def test_nothing_is_left_wherever_a_race_is_cut_off() -> None:
    """I4, I9: no stream of any of them."""
    report = sweep(hedged, faults=["cancel"]).check()
    print(f"sweep hedge: {report.summary()}")

    assert report.runs >= 60


test_a_race_survives_everything = cancel_everywhere(
    floor=30, faults=["cancel", "interrupt"], pairs=60, orders=60
)(hedged)
