"""
What the documentation of Erlang/OTP and Elixir says of supervisors, held against ours.

Sources: OTP Design Principles, "Supervisor Behaviour" (``system/doc/design_principles/sup_princ.md``)
and the cases of ``lib/stdlib/test/supervisor_SUITE.erl``; Elixir's ``Supervisor``,
``DynamicSupervisor`` and ``GenServer``. What differs on purpose is in ``docs/peers.md``.
"""

import itertools
from functools import partial
from typing import get_args

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    ActorCrashed,
    ActorStopped,
    ChildKind,
    ChildSpec,
    Down,
    Ref,
    Refused,
    Runtime,
    SpawnChild,
    Strategy,
    Supervision,
    Supervisor,
    TerminateChild,
    handles,
    open_runtime,
)
from tests.runtime.cast import Do, Echo, Note, Stagehand, crash

Clock = trio.testing.MockClock

KINDS: tuple[ChildKind, ...] = get_args(ChildKind)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Child(Stagehand):
    """Notes in a book when it starts and stops; fails to start while its name is in *failing*."""

    def __init__(self, book: list[str], failing: list[str] | None = None) -> None:
        super().__init__([])
        self.book = book
        self.failing = failing if failing is not None else []

    async def on_start(self) -> None:
        name = self.ref.name
        if name in self.failing:
            self.failing.remove(name)
            self.book.append(f"!{name}")
            raise RuntimeError(f"{name} does not start")
        self.book.append(f"+{name}")

    async def on_stop(self) -> None:
        self.book.append(f"-{self.ref.name}")


async def end_normally(hand: Stagehand) -> None:
    hand.ref.stop()


async def kill(ref: Ref) -> None:
    """Crash an actor, and wait until its supervisor has dealt with it."""
    with pytest.raises((ActorCrashed, ActorStopped)):
        await ref.ask(Do(crash))
    await trio.sleep(0.01)


def spec(
    book: list[str], name: str, kind: ChildKind = "permanent", failing: list[str] | None = None
) -> ChildSpec:
    return ChildSpec(Child, (book, failing), name=name, restart=kind)


async def supervise(
    runtime: Runtime,
    supervision: Supervision,
    *specs: ChildSpec,
    restart: ChildKind = "temporary",
    name: str = "boss",
) -> Ref:
    return await runtime.spawn(Supervisor, supervision, *specs, name=name, restart=restart)


# -- the whole table


def expected(strategy: Strategy, kinds: tuple[ChildKind, ...], at: int, how: str) -> str:
    """Return what is stopped and started, in the words of the page; the one that ended comes first."""
    names = "abc"
    kind = kinds[at]
    begun = f"-{names[at]}"
    if kind == "temporary" or (kind == "transient" and how != "crash"):
        return begun
    along = {"one_for_one": [at], "one_for_all": [0, 1, 2], "rest_for_one": [*range(at, 3)]}
    group = along[strategy]
    stopped = [f"-{names[n]}" for n in reversed(group) if n != at]
    started = [f"+{names[n]}" for n in group if kinds[n] != "temporary"]
    return " ".join([begun, *stopped, *started])


@pytest.mark.parametrize("how", ["normal", "shutdown", "crash"])
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_who_is_restarted_who_goes_along_and_in_what_order(
    autojump_clock: Clock, strategy: Strategy, at: int, how: str
) -> None:
    """
    Permanent always, transient after an abnormal end, temporary never; in reverse order, in order.

    Source: sup_princ, "Restart Strategy" and "Child Specification"; supervisor_SUITE,
    ``permanent_normal`` to ``temporary_bystander``. *normal* is an actor that stops itself,
    *shutdown* one that another stops.
    """
    for kinds in itertools.product(KINDS, repeat=3):
        book: list[str] = []
        async with open_runtime() as runtime:
            specs = [spec(book, name, kind) for name, kind in zip("abc", kinds, strict=True)]
            await supervise(runtime, Supervision(strategy), *specs)
            assert book == ["+a", "+b", "+c"]
            book.clear()
            ended = runtime.find("abc"[at])
            match how:
                case "normal":
                    await ended.tell(Do(end_normally))
                case "shutdown":
                    ended.stop()
                case _:
                    await ended.tell(Do(crash))
            await trio.sleep(1)

            assert " ".join(book) == expected(strategy, kinds, at, how), kinds


# -- starting


async def test_children_are_started_in_order_and_the_start_waits_for_them(
    autojump_clock: Clock,
) -> None:
    """sup_princ, "Starting a Supervisor": it does not return until all have been started."""
    book: list[str] = []

    class Slow(Child):
        async def on_start(self) -> None:
            await trio.sleep(1)
            await super().on_start()

    async with open_runtime() as runtime:
        specs = [ChildSpec(Slow, (book,), name=name) for name in "abc"]
        await supervise(runtime, Supervision(), *specs)

        assert book == ["+a", "+b", "+c"]
        assert trio.current_time() == 3


async def test_a_child_that_fails_to_start_takes_the_earlier_ones_along(
    autojump_clock: Clock,
) -> None:
    """
    Those already started are stopped in reverse order, and the supervisor fails to start.

    Source: Elixir ``Supervisor.start_link/2``; supervisor_SUITE, ``sup_start_fail``.
    """
    book: list[str] = []
    failing = ["c"]
    async with open_runtime() as runtime:
        with pytest.raises(RuntimeError, match="c does not start"):
            await supervise(
                runtime, Supervision(), *(spec(book, name, failing=failing) for name in "abcd")
            )

        assert book == ["+a", "+b", "!c", "-b", "-a"]
        assert runtime.living() == ()


# -- intensity


@pytest.mark.parametrize("intensity", [0, 1, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_the_intensity_is_reached_without_harm_and_exceeded_by_one(
    autojump_clock: Clock, intensity: int, strategy: Strategy
) -> None:
    """
    "If more than MaxR restarts occur in the last MaxT seconds", the children are ended, then itself.

    Source: sup_princ, "Maximum Restart Intensity"; supervisor_SUITE, ``one_for_one``,
    ``one_for_all``, ``rest_for_one``.
    """
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(
            runtime,
            Supervision(strategy, restarts=intensity, within=3600),
            *(spec(book, name) for name in "abc"),
        )
        for n in range(intensity):
            await kill(runtime.find("abc"[n % 3]))
            assert runtime.living() == ("boss", "a", "b", "c")
        book.clear()
        await kill(runtime.find("b"))
        down = await boss.wait_stopped()

    assert (down.reason, repr(down.error)) == ("crashed", "ValueError('boom')")
    assert set(book) == {"-a", "-b", "-c"}


async def test_the_window_of_the_intensity_slides(autojump_clock: Clock) -> None:
    """supervisor_SUITE, ``multiple_restarts``: never more than one in each second, for a long time."""
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision(restarts=1, within=1), spec([], "a"))
        for _ in range(20):
            await kill(runtime.find("a"))
            await trio.sleep(1.01)
        assert runtime.find("a").statistics().restarts == 20
        await kill(runtime.find("a"))
        await trio.sleep(0.5)
        await kill(runtime.find("a"))

        assert (await boss.wait_stopped()).reason == "crashed"


async def test_a_start_that_fails_at_a_restart_counts_until_the_supervisor_gives_up(
    autojump_clock: Clock,
) -> None:
    """supervisor_SUITE, ``one_for_one_escalation``: a child whose restart fails is tried again."""
    book: list[str] = []
    failing: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(
            runtime,
            Supervision(restarts=4, within=3600),
            spec(book, "a", failing=failing),
            spec(book, "b"),
        )
        book.clear()
        failing += ["a"] * 100
        await kill(runtime.find("a"))
        down = await boss.wait_stopped()

    assert book == ["-a", *["!a"] * 4, "-b"]
    assert "a does not start" in str(down.error)


@pytest.mark.parametrize(
    ("strategy", "story"),
    [
        ("one_for_all", "-a -c -b +a !b -a +a +b +c"),
        ("rest_for_one", "-a -c -b +a !b +b +c"),
    ],
)
async def test_another_child_that_fails_to_restart_is_tried_again(
    autojump_clock: Clock, strategy: Strategy, story: str
) -> None:
    """
    Under one_for_all the one already back is ended first; under rest_for_one it is left alone.

    Source: supervisor_SUITE, ``one_for_all_other_child_fails_restart`` and its namesake for
    rest_for_one.
    """
    book: list[str] = []
    failing: list[str] = []
    async with open_runtime() as runtime:
        await supervise(
            runtime,
            Supervision(strategy, restarts=3),
            *(spec(book, name, failing=failing) for name in "abc"),
        )
        book.clear()
        failing.append("b")
        await kill(runtime.find("a"))
        await trio.sleep(1)

        assert " ".join(book) == story


# -- stopping


async def test_a_supervisor_stops_its_children_in_reverse_order_and_then_itself(
    autojump_clock: Clock,
) -> None:
    """sup_princ, "Stopping"."""
    book: list[str] = []

    class Boss(Supervisor):
        async def on_stop(self) -> None:
            book.append("-boss")

    async with open_runtime() as runtime:
        boss = await runtime.spawn(Boss, Supervision(), *(spec(book, name) for name in "abc"))
        book.clear()
        boss.stop()
        await boss.wait_stopped()

    assert book == ["-c", "-b", "-a", "-boss"]


async def test_a_child_has_so_long_to_end_and_is_then_killed(autojump_clock: Clock) -> None:
    """sup_princ, "shutdown": an integer time-out; supervisor_SUITE, ``sup_stop_timeout``."""
    async with open_runtime(drain_grace=1) as runtime:
        idle = await runtime.spawn(Stagehand)
        busy = await runtime.spawn(Stagehand)
        await busy.tell(Echo("long", 200_000))
        await runtime.stop()

        assert trio.current_time() == 1
        assert busy.statistics().accounts.cancelled == 1
        assert idle.statistics().state == "stopped"


async def test_no_grace_is_a_brutal_kill(autojump_clock: Clock) -> None:
    """
    sup_princ, "shutdown": ``brutal_kill``; what runs is cancelled at once, what is queued not begun.

    Ours still lets the cancelled handler clean up, and runs ``on_stop``: nothing here can be killed.
    """
    log: list[str] = []
    async with open_runtime(drain_grace=0) as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.tell(Echo("long", 200_000))
        await trio.sleep(1)
        await ref.tell(Note("queued"))
        await runtime.stop()

        assert trio.current_time() == 1

    assert log == ["echo long", "on_stop"]


# -- children that come and go


async def test_a_child_that_was_terminated_is_not_restarted(autojump_clock: Clock) -> None:
    """Elixir ``Supervisor.terminate_child/2``, and the others are not touched."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(
            runtime, Supervision("one_for_all"), *(spec(book, name) for name in "abc")
        )
        book.clear()
        await boss.ask(TerminateChild(runtime.find("b")))
        await trio.sleep(10)

        assert book == ["-b"]
        assert runtime.living() == ("boss", "a", "c")


async def test_a_child_that_was_terminated_takes_no_part_in_a_later_restart(
    autojump_clock: Clock,
) -> None:
    """Ours is as with ``delete_child``: its specification is gone with it."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(
            runtime, Supervision("one_for_all"), *(spec(book, name) for name in "abc")
        )
        await boss.ask(TerminateChild(runtime.find("b")))
        book.clear()
        await kill(runtime.find("a"))

        assert book == ["-a", "-c", "+a", "+c"]


async def test_terminating_a_child_twice_is_no_error(autojump_clock: Clock) -> None:
    """supervisor_SUITE, ``child_adm``: ok, also where the child is not running."""
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision(), spec([], "a"))
        child = runtime.find("a")
        await boss.ask(TerminateChild(child))
        await boss.ask(TerminateChild(child))

        assert runtime.living() == ("boss",)


async def test_children_added_later_behave_as_the_others(autojump_clock: Clock) -> None:
    """sup_princ, "Adding a Child Process": in order of their start, also in a restart."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision("rest_for_one"), spec(book, "a"))
        for name in "bc":
            await boss.ask(SpawnChild(spec(book, name)))
        book.clear()
        await kill(runtime.find("b"))

        assert book == ["-b", "-c", "+b", "+c"]


async def test_children_added_later_are_lost_with_their_supervisor(autojump_clock: Clock) -> None:
    """sup_princ, "Adding a Child Process": "if a supervisor dies and is recreated"."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(
            runtime, Supervision(restarts=0), spec(book, "a"), restart="permanent"
        )
        await boss.ask(SpawnChild(spec(book, "b")))
        await kill(runtime.find("a"))
        await trio.sleep(1)

        assert runtime.living() == ("boss", "a")
        assert book[2:] == ["-a", "-b", "+a"]


async def test_a_child_that_cannot_be_added_is_the_askers_error_alone(
    autojump_clock: Clock,
) -> None:
    """Elixir ``start_child/2``: the specification is discarded, the error returned; the rest lives."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision(), spec(book, "a"))
        with pytest.raises(Refused, match="b does not start") as caught:
            await boss.ask(SpawnChild(spec(book, "b", failing=["b"])))
        assert isinstance(caught.value.__cause__, RuntimeError)
        with pytest.raises(Refused, match="there is an actor named 'a' already"):
            await boss.ask(SpawnChild(spec(book, "a")))

        assert runtime.living() == ("boss", "a")
        assert book == ["+a", "!b"]


async def test_only_a_child_can_be_terminated(autojump_clock: Clock) -> None:
    """Elixir ``terminate_child/2``: ``not_found``, and the supervisor goes on."""
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision(), spec([], "a"))
        other = await runtime.spawn(Stagehand, name="other")
        with pytest.raises(Refused, match="<Ref 'other'> is no child of this parent"):
            await boss.ask(TerminateChild(other))

        assert runtime.living() == ("boss", "a", "other")


@pytest.mark.parametrize("kind", KINDS)
async def test_many_children_of_one_kind_are_each_for_themselves(
    autojump_clock: Clock, kind: ChildKind
) -> None:
    """sup_princ, "Simplified one_for_one Supervisors"; Elixir ``DynamicSupervisor``."""
    book: list[str] = []
    async with open_runtime() as runtime:
        boss = await supervise(runtime, Supervision(restarts=50))
        refs = [await boss.ask(SpawnChild(spec(book, f"n{n}", kind))) for n in range(20)]
        for ref in refs[::2]:
            await kill(ref)

        back = 0 if kind == "temporary" else 1
        assert [ref.statistics().restarts for ref in refs] == [back, 0] * 10
        assert len(runtime.living()) == 1 + (20 if back else 10)


# -- supervisors of supervisors


async def test_a_supervisor_that_gives_up_is_restarted_with_all_its_children(
    autojump_clock: Clock,
) -> None:
    """sup_princ, "Maximum Restart Intensity": the next higher-level supervisor takes some action."""
    book: list[str] = []
    async with open_runtime() as runtime:
        inner = ChildSpec(
            Supervisor,
            (Supervision(restarts=1), spec(book, "a"), spec(book, "b")),
            name="inner",
            restart="transient",
        )
        await supervise(runtime, Supervision(), inner, spec(book, "other"), name="outer")
        book.clear()
        await kill(runtime.find("a"))
        assert book == ["-a", "+a"]
        book.clear()
        await kill(runtime.find("a"))
        await trio.sleep(1)

        assert book == ["-a", "-b", "+a", "+b"]
        assert runtime.find("inner").statistics().restarts == 1


async def test_the_restarts_of_all_levels_multiply(autojump_clock: Clock) -> None:
    """sup_princ, "Avoiding common mistakes": the product of the intensities, and then the end."""
    book: list[str] = []
    async with open_runtime() as runtime:
        inner = ChildSpec(
            Supervisor,
            (Supervision(restarts=2, within=3600), spec(book, "a")),
            name="inner",
            restart="permanent",
        )
        outer = await supervise(runtime, Supervision(restarts=3, within=3600), inner, name="outer")
        crashes = 0
        while "a" in runtime.living():
            await kill(runtime.find("a"))
            crashes += 1
        down = await outer.wait_stopped()

    # three lives at each level below, four above: OTP counts the restarts, which are one less
    assert crashes == (2 + 1) * (3 + 1)
    assert (down.reason, repr(down.error)) == ("crashed", "ValueError('boom')")


async def test_what_nobody_restarts_ends_the_runtime(autojump_clock: Clock) -> None:
    """sup_princ: the top supervisor gives up, and the application ends; ours by the crash itself."""
    with pytest.raises(ValueError, match="boom"):  # noqa: PT012
        async with open_runtime() as runtime:
            await runtime.spawn(Supervisor, Supervision(restarts=0), spec([], "a"), name="boss")
            await kill(runtime.find("a"))
            await trio.sleep(1)


# -- GenServer


async def test_a_cast_expects_nothing_and_a_call_one_reply(autojump_clock: Clock) -> None:
    """Elixir ``GenServer.cast/2``, ``call/3``; in the order in which they were sent."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.tell(Note("one"))
        assert await ref.ask(Echo("two")) == "two"

    assert log == ["one", "echo two", "on_stop"]


async def test_a_call_that_times_out_is_not_handled_after_all(autojump_clock: Clock) -> None:
    """Elixir ``GenServer.call/3`` warns that it may be, and the reply arrive late: ours is cancelled."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.tell(Echo("busy", 10))
        with trio.move_on_after(1) as timeout:
            await ref.ask(Echo("late"))
        assert timeout.cancelled_caught

    assert log == ["echo busy", "on_stop"]


async def test_a_call_to_a_server_that_dies_exits_with_its_reason(autojump_clock: Clock) -> None:
    """Elixir ``GenServer.call/3``: the caller learns of the crash, whoever restarts the server."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Do(crash))

    assert repr(caught.value.__cause__) == "ValueError('boom')"


# -- monitors


class Monitor(Stagehand):
    """Watches whom it was given, and keeps the Downs."""

    def __init__(self, downs: list[Down], *refs: Ref) -> None:
        super().__init__()
        self.downs, self.refs = downs, refs

    async def on_start(self) -> None:
        for ref in self.refs:
            self.watch(ref)

    @handles
    async def down(self, down: Down) -> None:
        self.downs.append(down)


async def test_a_monitor_says_down_once_with_the_reason(autojump_clock: Clock) -> None:
    """Erlang ``monitor/2``: also for one that is not there any more; each monitor has its message."""
    downs: list[Down] = []
    async with open_runtime() as runtime:
        gone = await runtime.spawn(Stagehand, name="gone")
        await runtime.terminate(gone)
        ref = await runtime.spawn(Stagehand, name="x", restart="temporary")
        await runtime.spawn(partial(Monitor, downs, gone, ref, ref))
        await trio.sleep(1)
        await kill(ref)

    assert [(d.actor, d.reason) for d in downs] == [
        ("gone", "stopped"),
        ("x", "crashed"),
        ("x", "crashed"),
    ]
