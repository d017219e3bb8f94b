"""No more than is allowed, in order, and nothing held by what is over."""

import math
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import (
    LLM,
    Category,
    Complete,
    Context,
    Limiter,
    Provider,
    ProviderError,
    Settings,
    Usage,
    User,
)
from greenroom.actors.llm.limiter import Allowance, estimate_tokens
from greenroom.actors.testing import HANG, Script, ScriptedProvider, says
from greenroom.runtime import RequestError, open_runtime
from greenroom.runtime.testing import World, cancel_everywhere, sweep

CONTEXT = Context.of(User("hi"))
ASKED = Complete(CONTEXT)


class Wide(LLM, concurrency=50):
    """Has room for more than a limiter lets through."""


async def times_of(limiter: Limiter, count: int) -> list[float]:
    """Return when each of *count* requests at once was answered (virtual seconds)."""
    times: list[float] = []
    async with open_runtime() as runtime:
        llm = await runtime.spawn(Wide, limiter)
        began = trio.current_time()

        async def ask() -> None:
            await llm.ask(ASKED)
            times.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(ask)
    return times


async def test_so_many_streams_run_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """The others wait for one that is over."""
    provider = ScriptedProvider(then=says("a|b").after(1, 1.0))
    limiter = Limiter(provider, streams=2)

    assert await times_of(limiter, 5) == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert (limiter.statistics().streams, limiter.statistics().waiting) == (0, 0)
    assert limiter.statistics().requests == 5


async def test_so_many_requests_go_out_in_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A minute's worth at once, and then one whenever there is one more."""
    limiter = Limiter(ScriptedProvider(then="a"), requests_per_minute=3)

    assert await times_of(limiter, 6) == pytest.approx([0, 0, 0, 20, 40, 60])


async def test_tokens_are_estimated_and_then_put_right(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What was reported counts; without a report, the estimate."""
    each = estimate_tokens(CONTEXT)
    spends = ScriptedProvider(then=says("a", usage=Usage(input=300, output=300, total=600)))
    silent = ScriptedProvider(then=says("a"))

    async with open_runtime() as runtime:
        limiter = Limiter(spends, tokens_per_minute=600)
        llm = await runtime.spawn(LLM, limiter)
        began = trio.current_time()
        await llm.ask(ASKED)
        await llm.ask(ASKED)  # all is spent, so its estimate has to come back first
        assert trio.current_time() - began == pytest.approx(each / 10)
        assert limiter.statistics().tokens == 1200
    # a minute's worth of estimates at once
    limiter = Limiter(silent, tokens_per_minute=2 * each)
    assert await times_of(limiter, 3) == pytest.approx([0, 0, 30])
    assert limiter.statistics().tokens == 3 * each


async def test_a_limit_on_the_answer_is_part_of_the_estimate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """By either of its names; and what is more than a minute's worth goes out after a minute."""
    for settings in (Settings(max_tokens=500), Settings(max_completion_tokens=500)):
        limiter = Limiter(ScriptedProvider(then="a"), tokens_per_minute=100)
        began = trio.current_time()
        for _ in range(2):
            stream = await limiter.request(CONTEXT, settings)
            stream.close()
        # as much as one has spent comes back in five minutes and some, and then a minute's worth
        each = estimate_tokens(CONTEXT) + 500
        assert trio.current_time() - began == pytest.approx(each * 0.6)


@pytest.mark.parametrize(
    "script",
    [
        says("a").before_request(ProviderError("no", category=Category.SERVER)),
        says("a").before_head(ProviderError("no", category=Category.SERVER)),
        says("a").after(0, ProviderError("no", category=Category.SERVER)),
        says("a|b").after(1, ProviderError("no", category=Category.SERVER)),
        says("a").at_close(RuntimeError("no")),
    ],
    ids=["request", "head", "first chunk", "later", "close"],
)
async def test_what_fails_gives_back_its_place(
    script: Script, autojump_clock: trio.testing.MockClock
) -> None:
    """Wherever it fails; also where the stream can't even be closed."""
    limiter = Limiter(ScriptedProvider(script, then="ok"), streams=1)
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, limiter, restart="permanent")
        with pytest.raises(RequestError):  # a failure, or a crash
            await llm.ask(ASKED)
        assert limiter.statistics().streams == 0


REFUSED: list[tuple[Callable[[Provider], object], str]] = [
    (lambda p: Limiter(p, streams=0), "streams must be > 0, or None for any number, not 0"),
    (lambda p: Limiter(p, streams=1.5), "streams must be an int >= 1, not 1.5"),  # type: ignore[arg-type]
    (lambda p: Limiter(p, requests_per_minute=-1), "requests_per_minute must be > 0"),
    (lambda p: Limiter(p, tokens_per_minute=math.inf), "tokens_per_minute must be > 0"),
    (lambda p: Limiter(p, tokens_per_minute=math.nan), "tokens_per_minute must be > 0"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_arguments_out_of_range_are_refused(make: Callable[[Provider], object], text: str) -> None:
    """With the value and what to write."""
    with pytest.raises(ValueError, match=text):
        make(ScriptedProvider())


@given(
    each_minute=st.floats(0.5, 1e6),
    spends=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1000)), max_size=20),
)
def test_an_allowance_is_never_overdrawn_by_who_waits(
    each_minute: float, spends: list[tuple[float, float]]
) -> None:
    """Over any stretch of time no more is spent than a minute's worth and what came back."""
    allowance = Allowance(each_minute, 0.0)
    now = 0.0
    spent = 0.0
    for amount, pause in spends:
        amount = min(amount, each_minute)
        now += pause
        wait = allowance.wait_for(amount, now)
        assert 0 <= wait <= 60 * 1.001
        now += wait
        assert allowance.wait_for(amount, now) <= 1e-6 * 60
        allowance.spend(amount, now)
        spent += amount
        assert spent <= each_minute * (1 + now / 60) * (1 + 1e-6) + 1e-6


async def limited(w: World) -> None:
    """Three that share two places and a minute's worth of two requests."""
    provider = ScriptedProvider(then=says("a|b").after(1, 1.0))
    limiter = Limiter(provider, streams=2, requests_per_minute=2, tokens_per_minute=10_000)
    w.own("the model", provider.all_closed)
    w.own("the places", lambda: limiter.statistics().streams == 0)
    w.own("the queue", lambda: limiter.statistics().waiting == 0)
    llm = await w.runtime.spawn(Wide, limiter, name="llm")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(llm.ask, ASKED)
        with w.scope("turn"):
            await llm.ask(ASKED)
    with trio.fail_after(200):
        assert (await llm.ask(ASKED)).text == "ab"


def test_nothing_is_held_by_who_was_cut_off() -> None:
    """I4: no place, and no turn in the queue: the next one is served."""
    report = sweep(limited, faults=["cancel"]).check()
    print(f"sweep limiter: {report.summary()}")

    assert report.runs >= 60


test_a_limiter_survives_everything = cancel_everywhere(
    floor=30, faults=["cancel", "interrupt"], pairs=40, orders=60
)(limited)


async def test_a_shared_limiter_limits_all_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two actors, one limit."""
    limiter = Limiter(ScriptedProvider(then=says("a|b").after(1, 1.0)), streams=1)
    async with open_runtime() as runtime:
        llms = [await runtime.spawn(LLM, limiter) for _ in range(2)]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for llm in llms:
                nursery.start_soon(llm.ask, ASKED)
        assert trio.current_time() - began == 2.0


async def test_who_waits_lets_a_deadline_pass(autojump_clock: trio.testing.MockClock) -> None:
    """The wait is part of the response."""
    limiter = Limiter(ScriptedProvider(then=says("a").before_head(HANG)), streams=1)
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, limiter)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(llm.ask, ASKED)
            await trio.testing.wait_all_tasks_blocked()
            assert limiter.statistics().streams == 1
            with trio.move_on_after(5) as scope:
                await llm.ask(ASKED)
            assert scope.cancelled_caught
            assert limiter.statistics().waiting == 0
            nursery.cancel_scope.cancel()
