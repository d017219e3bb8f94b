"""Retry and fallback: again and elsewhere, but never once something was delivered."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio

from greenroom.actors.llm import (
    LLM,
    Category,
    Complete,
    Context,
    Deadline,
    Fallback,
    Generate,
    Patience,
    Pinned,
    Provider,
    ProviderError,
    ProviderTimeout,
    ResponseEnded,
    Retry,
    Settings,
    Status,
    TextDelta,
    User,
)
from greenroom.actors.testing import HANG, ScriptedProvider, says
from greenroom.runtime import Ref, open_runtime
from greenroom.runtime.testing import World, cancel_everywhere, sweep

CONTEXT = Context.of(User("hi"))


def busy(category: Category = Category.SERVER, retry_after: float | None = None) -> ProviderError:
    return ProviderError("busy", category=category, retry_after=retry_after)


async def answer_of(
    provider: Provider, patience: Patience | None = None
) -> tuple[str, ResponseEnded, float]:
    """Return the text, the end, and how long it took (virtual seconds)."""
    async with open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, None, patience)
        began = trio.current_time()
        async with llm.stream(Generate(CONTEXT)) as stream:
            frames = [frame async for frame in stream]
    ended = frames[-1]
    assert isinstance(ended, ResponseEnded)
    text = "".join(frame.text for frame in frames if isinstance(frame, TextDelta))
    assert ended.text == text
    return text, ended, trio.current_time() - began


@pytest.mark.parametrize(
    "script",
    [
        says("no").before_request(busy()),
        says("no").before_head(busy()),
        says("no").after(0, busy()),
        (),  # ends without a token
    ],
    ids=["request", "head", "first chunk", "empty stream"],
)
async def test_what_failed_before_the_first_token_is_asked_again(
    script: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Wherever it failed; the end says what was in vain."""
    provider = ScriptedProvider(script, script, says("Hel|lo"))

    text, ended, took = await answer_of(Retry(provider, first_pause=1.0))

    assert (text, ended.status) == ("Hello", Status.COMPLETED)
    assert len(ended.earlier) == 2
    assert 0.5 + 1 <= took <= 1 + 2
    assert provider.all_closed()


async def test_what_failed_after_the_first_token_is_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was delivered, and can't be taken back (I9)."""
    provider = ScriptedProvider(says("Hel|lo").after(1, busy()), then="again")

    text, ended, _ = await answer_of(Retry(Fallback(provider, provider)))

    assert (text, ended.status) == ("Hel", Status.FAILED)
    assert provider.requests == 1
    assert ended.earlier == ()


async def test_the_last_failure_is_the_one_that_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The others are told with it."""
    provider = ScriptedProvider(
        *(says().before_head(ProviderError(t, category=Category.SERVER)) for t in "abc")
    )

    _, ended, _ = await answer_of(Retry(provider, attempts=3))

    assert (ended.status, ended.detail, ended.earlier) == (Status.FAILED, "c", ("a", "b"))
    assert ended.category is Category.SERVER


@pytest.mark.parametrize(
    ("failure", "asked"),
    [
        (busy(Category.AUTHENTICATION), 1),
        (busy(Category.INVALID_REQUEST), 1),
        (busy(Category.MALFORMED), 1),
        (busy(Category.QUOTA), 1),
        (busy(Category.RATE_LIMIT), 3),
        (busy(Category.CONNECTIVITY), 3),
        (busy(Category.RATE_LIMIT, retry_after=61), 1),
    ],
    ids=lambda value: getattr(value, "category", value),
)
async def test_only_what_may_pass_is_tried_again(
    failure: ProviderError, asked: int, autojump_clock: trio.testing.MockClock
) -> None:
    """And not if the provider wants to be left alone for longer than is bearable."""
    provider = ScriptedProvider(*(says().before_head(failure) for _ in range(3)))

    _, ended, _ = await answer_of(Retry(provider))

    assert ended.status is Status.FAILED
    assert provider.requests == asked


async def test_a_wait_that_was_asked_for_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    """Also where our own pause would be shorter."""
    provider = ScriptedProvider(
        says().before_head(busy(Category.RATE_LIMIT, retry_after=7)), says("ok")
    )

    text, _, took = await answer_of(Retry(provider, first_pause=0))

    assert (text, took) == ("ok", 7.0)


async def test_pauses_grow_to_their_limit(autojump_clock: trio.testing.MockClock) -> None:
    """Each twice the one before, up to half shorter by chance."""
    provider = ScriptedProvider(*(says().before_head(busy()) for _ in range(6)), says("ok"))

    _, _, took = await answer_of(Retry(provider, attempts=7, first_pause=1, longest_pause=4))

    longest = 1 + 2 + 4 + 4 + 4 + 4
    assert longest / 2 < took < longest


async def test_silence_is_given_up_once_and_then_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The mode that the field has: a second request after a first bound, without one of its own."""
    provider = ScriptedProvider(says("no").before_head(HANG), says("yes").before_head(100.0))

    text, ended, took = await answer_of(Retry(provider, attempts=2, within=5, first_pause=0))

    assert (text, took) == ("yes", 105.0)
    assert ended.earlier == ("scripted gave no token within 5 s",)
    assert provider.all_closed()


async def test_the_deadlines_are_those_of_the_whole(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Pauses included; the one that passed is named."""
    provider = ScriptedProvider(then=says().before_head(busy()))

    _, ended, took = await answer_of(
        Retry(provider, attempts=1000), Patience(first_token=3.0, headers=2.0)
    )

    assert (ended.status, ended.deadline, took) == (Status.TIMED_OUT, Deadline.HEADERS, 2.0)


async def test_the_next_provider_answers(autojump_clock: trio.testing.MockClock) -> None:
    """With the settings that are pinned to it."""
    first = ScriptedProvider(says().before_head(busy(Category.AUTHENTICATION)), name="first")
    second = ScriptedProvider(says("no").after(0, HANG), name="second")
    third = ScriptedProvider("yes", name="third")

    text, ended, took = await answer_of(
        Fallback(first, second, Pinned(third, Settings(model="mini", seed=4)), within=2)
    )

    assert (text, took) == ("yes", 2.0)
    assert ended.earlier == ("busy", "second gave no token within 2 s")
    assert third.asked[0].settings == Settings(model="mini", seed=4)
    assert all(provider.all_closed() for provider in (first, second, third))


async def test_a_fallback_may_be_for_some_failures_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As the caller says."""
    other = ScriptedProvider("yes")
    first = ScriptedProvider(says().before_head(busy(Category.INVALID_REQUEST)))

    _, ended, _ = await answer_of(Fallback(first, other, on={Category.SERVER}))

    assert ended.status is Status.FAILED
    assert other.requests == 0


async def test_all_providers_are_run_and_closed() -> None:
    """Each once, however often it is named; also where one can't be closed."""

    class Broken(ScriptedProvider):
        def close(self) -> None:
            super().close()
            raise RuntimeError("broken")

    one, two, three = ScriptedProvider(), Broken(), ScriptedProvider()
    with pytest.raises(RuntimeError, match="broken"):
        async with open_runtime() as runtime:
            await runtime.spawn(LLM, Fallback(Retry(one), Retry(two), Retry(three)))

    assert one.closed
    assert two.closed
    assert three.closed


REFUSED: list[tuple[Callable[[Provider], object], str]] = [
    (lambda p: Retry(p, attempts=0), "attempts must be an int >= 1, not 0"),
    (lambda p: Retry(p, within=0), "within must be seconds > 0 or math.inf, not 0"),
    (lambda p: Retry(p, first_pause=-1), "first_pause must be seconds >= 0"),
    (lambda p: Retry(p, longest_pause=math.nan), "longest_pause must be seconds >= 0"),
    (lambda p: Fallback(), "Fallback needs at least one provider"),
    (lambda p: Fallback(p, within=-1), "within must be seconds > 0"),
    (Pinned, "give settings or model"),
    (lambda p: Pinned(p, Settings(), model="m"), "give settings or model"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_arguments_out_of_range_are_refused(make: Callable[[Provider], object], text: str) -> None:
    """With the value and what to write."""
    with pytest.raises(ValueError, match=text):
        make(ScriptedProvider())


# -- cut off anywhere


async def ask_with_retries(w: World) -> None:
    """Two attempts in vain, and one that is cut off or not."""
    provider = ScriptedProvider(
        says("no").before_request(0.1).before_head(busy()),
        says("no").before_head(0.1).after(0, 0.1, busy()),
        says("a|b|c").after(1, 0.1),
        then="ok",
    )
    w.own("the model", provider.all_closed)
    llm: Ref = await w.runtime.spawn(LLM, Retry(Fallback(provider, provider)), name="llm")
    with w.scope("turn"):
        assert (await llm.ask(Complete(CONTEXT))).text == "abc"
    assert (await llm.ask(Complete(CONTEXT))).text


@pytest.mark.parametrize("order", ["", "random 5; batch"])
def test_nothing_is_left_wherever_attempts_are_cut_off(order: str) -> None:
    """I4, I9: of requests, pauses and streams; and the actor goes on."""
    report = sweep(ask_with_retries, faults=["cancel"], order=order).check()
    print(f"sweep attempts: {report.summary()}")

    assert report.runs >= 70


@cancel_everywhere(floor=30, expect=(ProviderTimeout,))
async def test_attempts_that_are_late_are_let_go(w: World) -> None:
    """I4: each that took too long, whatever comes at that very moment."""
    provider = ScriptedProvider(
        says("no").before_head(1.0), says("no").after(0, 1.0), says("a|b").before_head(1.0)
    )
    w.own("the model", provider.all_closed)
    llm = await w.runtime.spawn(LLM, Retry(provider, within=1.0, first_pause=0.0), name="llm")
    with w.scope("turn"):
        await llm.ask(Complete(CONTEXT))
