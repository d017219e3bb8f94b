"""Swallowed cancels and signals, threads that take turns, and what no alarm is given for."""

import functools
import time
from contextlib import suppress

import pytest
import trio

from greenroom.runtime import Actor, Interrupted, Refused, Request, frame, handles
from greenroom.runtime.testing import World, examine, simulate, sweep


@frame
class Ask(Request[str]):
    """Asks for a text."""


# -- no alarm


class InTime(Actor):
    """Each handler ends by itself, whatever scopes of its own were cancelled."""

    @handles
    async def work(self, request: Ask) -> str:
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        with trio.CancelScope(shield=True), trio.move_on_after(0.5):
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
        return "in time"


class FinishesAll(Actor):
    """Goes on in a shield, so that it is given no cancel."""

    @handles
    async def work(self, request: Ask) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            with suppress(trio.TooSlowError), trio.fail_after(0.1):
                await trio.sleep_forever()
        return "all the same"


class AnswersAnInterruption(Actor):
    """An interrupted handler may answer with what it has."""

    @handles
    async def work(self, request: Ask) -> str:
        try:
            await trio.sleep(1)
        except trio.Cancelled:  # noqa: ASYNC103
            return "half of it"
        return "all of it"


@pytest.mark.parametrize("actor", [InTime, FinishesAll])
def test_a_cancel_that_comes_out_where_it_should_is_no_alarm(actor: type[Actor]) -> None:
    """Scopes of the handler's own, shields, and nurseries."""

    async def scenario(w: World) -> None:
        ref = await w.runtime.spawn(actor)
        with w.scope("turn"):
            await ref.ask(Ask())

    examine(scenario, elsewhere=False).check()


def test_an_answer_to_an_interruption_is_no_alarm() -> None:
    """That is an outcome (R13); the same answer to a cancel is one."""

    async def scenario(w: World) -> None:
        ref = await w.runtime.spawn(AnswersAnInterruption)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with suppress(Interrupted):
                    await ref.ask(Ask())

            nursery.start_soon(ask)
            await trio.sleep(0.5)
            ref.interrupt()

    assert simulate(scenario).ok
    assert sweep(scenario, faults=["cancel"], targets=["root"]).first.codes == ("SWALLOWED",)


class Refuses(Actor):
    """Takes a cancel for a reason to refuse, and goes on."""

    @handles
    async def work(self, request: Ask) -> str:
        try:
            await trio.sleep(1)
        except trio.Cancelled:  # noqa: ASYNC103
            raise Refused("no time") from None  # noqa: ASYNC104
        return "all of it"


def test_a_handler_that_answers_a_cancel_with_a_refusal_swallows_it() -> None:
    """As one that replies: its actor goes on as if nothing had been."""

    async def scenario(w: World) -> None:
        ref = await w.runtime.spawn(Refuses)
        with w.scope("turn"):
            await ref.ask(Ask())

    report = sweep(scenario, faults=["cancel"], targets=["turn"]).first

    assert report.codes == ("SWALLOWED",)
    assert "for frame 1 refused it, though it was cancelled" in report.problems[0].text


def test_a_scenario_may_deal_with_a_signal_if_it_says_so() -> None:
    """By the exception that it expects."""

    async def scenario(w: World) -> None:
        with suppress(KeyboardInterrupt):
            await trio.sleep(1)

    assert sweep(scenario, faults=["interrupt"]).first.codes == ("SWALLOWED",)
    sweep(scenario, faults=["interrupt"], expect=(KeyboardInterrupt,)).check()


# -- what is left behind stays with its run


def test_what_a_run_left_behind_is_not_found_again_by_the_next() -> None:
    """A socket that the garbage collector closes later is the fault of the run that made it."""

    async def leave(w: World) -> None:
        import socket

        kept: list[object] = []
        w.own("the socket", lambda: not kept)
        kept.append(socket.socket())

    async def nothing(w: World) -> None:
        await trio.lowlevel.checkpoint()

    assert "HELD" in simulate(leave).codes
    assert simulate(nothing).ok


# -- threads


def crunch(rounds: int) -> str:
    for _ in range(rounds):
        trio.from_thread.check_cancelled()
        time.sleep(1)
    return "crunched"


def test_a_sleep_in_a_thread_is_virtual_and_sees_a_cancel() -> None:
    """``time.sleep`` takes virtual time, and ``check_cancelled`` raises after the cancel."""
    took: list[float] = []

    async def scenario(w: World) -> None:
        with trio.move_on_after(2.5):
            await trio.to_thread.run_sync(crunch, 10)
        took.append(trio.current_time())
        assert await trio.to_thread.run_sync(crunch, 2) == "crunched"
        took.append(trio.current_time())

    assert simulate(scenario).ok
    assert took == pytest.approx([3.01, 5.02])
    assert time.sleep.__module__ == "time"


def test_a_thread_that_nobody_waits_for_ends_with_the_run() -> None:
    """An abandoned one is left in the midst of its sleep."""
    left: list[str] = []

    def wait() -> None:
        try:
            time.sleep(100)
        finally:
            left.append("left")

    async def scenario(w: World) -> None:
        with trio.move_on_after(1):
            await trio.to_thread.run_sync(wait, abandon_on_cancel=True)

    assert simulate(scenario).ok
    assert left == ["left"]


# -- other processes


async def tell_words(w: World, words: tuple[str, ...]) -> None:
    with w.scope("-".join(set(words))):
        await trio.lowlevel.checkpoint()
    ref = await w.runtime.spawn(InTime, name="-".join(set(words)))
    await ref.ask(Ask())


def test_a_partial_scenario_is_compared_with_other_processes() -> None:
    """Its arguments are pickled."""
    words = ("a", "pot", "of", "tea", "for", "two", "of", "us")
    report = examine(functools.partial(tell_words, words=words), faults=(), orders=0, pairs=0)
    same = examine(functools.partial(tell_words, words=("a",)), faults=(), orders=0, pairs=0)

    class Local(tuple[str, ...]):
        """Made in a function, so that it can't be pickled."""

    local = functools.partial(tell_words, words=Local(("a",)))

    assert report.first.codes == ("FICKLE",)
    assert same.check().elsewhere
    assert not examine(local, faults=(), orders=0, pairs=0).check().elsewhere
