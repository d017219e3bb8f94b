"""What comes out of nurseries (R14)."""

import pytest
import trio
import trio.testing

from greenroom.runtime import ActorStopped, bare, open_runtime
from greenroom.runtime.groups import collapse, sole_leaf
from greenroom.runtime.testing import run_seeded
from tests.runtime.cast import Do, Note, Stagehand, crash

A, B = ValueError("a"), KeyError("b")
INTERRUPT, EXIT = KeyboardInterrupt(), SystemExit(3)
INNER = ExceptionGroup("the body's own", [B])
WIDE = ExceptionGroup("the body's own, with two", [A, B])


def echo_of(cause: BaseException) -> Exception:
    echo = RuntimeError("the echo")
    echo.__cause__ = cause
    return echo


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("a nursery's", errors)


async def cancelled() -> trio.Cancelled:
    """Return a Cancelled; only Trio can make one."""
    caught: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            caught.append(error)
            raise
    return caught[0]


def members(error: BaseException) -> tuple[object, ...]:
    """Return what is in a group of errors, or nothing."""
    return getattr(error, "exceptions", ()) if isinstance(error, Exception) else ()


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        pytest.param(A, A, id="no group is what it is"),
        pytest.param(group(A), A, id="one failure comes bare"),
        pytest.param(group(INNER), INNER, id="a body's own group of one stays whole"),
        pytest.param(group(WIDE), WIDE, id="a body's own group of two stays whole"),
        pytest.param(group(A, echo_of(A)), A, id="an echo is dropped"),
        pytest.param(group(echo_of(A), A), A, id="an echo that came first is dropped"),
        pytest.param(group(A, echo_of(echo_of(A))), A, id="the echo of an echo is dropped"),
        pytest.param(group(A, echo_of(group(A))), A, id="an echo may be caused by a group"),
        pytest.param(group(WIDE, echo_of(A)), WIDE, id="a member of a group has echoes too"),
        pytest.param(group(A, INTERRUPT), INTERRUPT, id="KeyboardInterrupt wins"),
        pytest.param(group(group(B, EXIT), A), EXIT, id="SystemExit wins, however deep"),
    ],
)
def test_what_the_caller_of_a_nursery_sees(raised: BaseException, seen: BaseException) -> None:
    """R14: a table of groups and what they collapse to."""
    assert collapse(raised) is seen


def test_several_failures_are_one_group() -> None:
    """R14: body plus child failure is one group, in order."""
    seen = collapse(group(A, B))

    assert members(seen) == (A, B)


def test_failures_that_caused_one_another_are_all_kept() -> None:
    """R14: where everything is the echo of something, nothing is dropped."""
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    seen = collapse(group(one, two))

    assert members(seen) == (one, two)


async def test_cancelled_is_dropped_beside_a_real_error() -> None:
    """R14: Cancelled leaves are dropped beside a real error, however deep they are."""
    gone = await cancelled()

    assert collapse(group(gone, A)) is A
    assert collapse(group(group(gone, A), gone)) is A


async def test_cancelled_alone_comes_as_itself() -> None:
    """R14: where nothing but Cancelled is left, one is raised."""
    gone = await cancelled()

    assert collapse(group(gone, group(await cancelled()))) is gone


async def test_a_group_of_two_keeps_its_errors_without_the_cancelled() -> None:
    """R14: two real errors and a Cancelled in one inner group leave a group of the two."""
    seen = collapse(group(group(A, B, await cancelled())))

    assert members(seen) == (A, B)


def test_a_sole_leaf_is_found_however_deep() -> None:
    """R14: a handler's group with one leaf is unwrapped, one with several is not."""
    assert sole_leaf(group(group(A))) is A
    assert sole_leaf(A) is A
    assert sole_leaf(both := group(group(A, B))) is both


def test_bare_raises_the_failure_with_its_own_context() -> None:
    """R14: what comes out bare tells the story it had before, not of the group."""
    try:
        try:
            raise B
        except KeyError:
            raise A from None
    except ValueError:
        pass
    with pytest.raises(ValueError, match="a") as caught, bare():
        raise group(A)

    assert caught.value is A
    assert A.__context__ is B


def test_bare_lets_everything_else_through() -> None:
    """R14: an exception that is no group, and no exception, pass."""
    with bare():
        pass
    with pytest.raises(ValueError, match="a") as caught, bare():
        raise A

    assert caught.value is A


async def serve() -> None:
    """Fail inside a nursery, as a library does that opens one of its own."""
    async with trio.open_nursery():
        raise ValueError("served badly")


async def test_a_librarys_group_stays_one_unless_its_call_is_wrapped() -> None:
    """R14: a body's own exception passes as it is, a group with one leaf too."""
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="served badly")):
        async with open_runtime():
            await serve()

    async def serve_bare() -> None:
        async with open_runtime():
            with bare():
                await serve()

    with pytest.raises(ValueError, match="served badly"):
        await serve_bare()


@pytest.mark.parametrize("seed", range(20))
def test_a_body_that_sends_to_what_a_crash_took_along_is_its_echo(seed: int) -> None:
    """R14: the crash comes out bare, whatever the senders of that moment were told."""

    async def main() -> None:
        async with open_runtime() as runtime:
            refs = [await runtime.spawn(Stagehand, capacity=1) for _ in range(3)]
            await refs[1].tell(Do(crash))
            while True:
                for ref in refs:
                    await ref.tell(Note())

    with pytest.raises(ValueError, match="boom"):
        run_seeded(main, seed=seed)


async def test_a_sender_who_waited_for_room_is_told_of_the_crash(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """R13, R14: the cause of its ActorStopped is the crash."""

    async def crash_later(_: Stagehand) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=1, restart="temporary")
        await ref.tell(Do(crash_later))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note())
        with pytest.raises(ActorStopped) as caught:
            await ref.tell(Note())

    assert isinstance(caught.value.__cause__, ValueError)
