"""Supervision on the whole runtime: restarts, strategies, giving up, what a restart keeps."""

import logging
import math
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorRestarted,
    ActorRestarting,
    ActorStopped,
    Backoff,
    ChildKind,
    ChildSpec,
    Down,
    Emit,
    Event,
    Frame,
    FrameQuarantined,
    Ref,
    SpawnChild,
    Strategy,
    Supervision,
    Supervisor,
    TerminateChild,
    TooManyRestarts,
    handles,
    open_runtime,
)
from greenroom.runtime.testing import World, sweep
from tests.runtime.cast import (
    Do,
    Echo,
    Note,
    Nudge,
    Number,
    Pinned,
    Play,
    Stagehand,
    Steered,
    outcome_of,
    stubborn,
)

Clock = trio.testing.MockClock


async def crash(_: Stagehand) -> None:
    raise ValueError("boom")


async def stop_itself(hand: Stagehand) -> None:
    hand.ref.stop()


class Lives(Stagehand):
    """Notes when it starts and stops in a log that outlives it, under its own name."""

    def __init__(self, log: list[str]) -> None:
        super().__init__([])
        self.book = log

    async def on_start(self) -> None:
        self.book.append(f"+{self.ref.name}")

    async def on_stop(self) -> None:
        self.book.append(f"-{self.ref.name}")


async def crashed(ref: Ref) -> None:
    with pytest.raises(ActorCrashed):
        await ref.ask(Do(crash))


# -- one child


async def test_a_restart_keeps_the_ref_and_the_name_and_begins_anew(
    autojump_clock: Clock,
) -> None:
    """R19: the factory is called again with its arguments; the state is new."""
    events: list[Event] = []
    made: list[Stagehand] = []

    def factory(text: str) -> Stagehand:
        made.append(Stagehand([text]))
        return made[-1]

    async with open_runtime(observers=[events.append]) as runtime:
        ref = await runtime.spawn(factory, "hello", name="x", restart="transient")
        await ref.tell(Note("first"))
        await crashed(ref)
        assert await ref.ask(Echo("again")) == "again"
        assert runtime.find("x") == ref
        assert ref.statistics().restarts == 1

    assert [hand.log for hand in made] == [
        ["hello", "first", "on_stop"],
        ["hello", "echo again", "on_stop"],
    ]
    restart = next(e for e in events if isinstance(e, ActorRestarting))
    assert (restart.actor, repr(restart.error), restart.delay) == ("x", "ValueError('boom')", 0)


@pytest.mark.parametrize(
    ("kind", "end", "restarts"),
    [
        ("permanent", crash, 1),
        ("permanent", stop_itself, 1),
        ("transient", crash, 1),
        ("transient", stop_itself, 0),
        ("temporary", crash, 0),
        ("temporary", stop_itself, 0),
    ],
)
async def test_the_kind_of_child_decides(
    autojump_clock: Clock, kind: ChildKind, end: object, restarts: int
) -> None:
    """R19, OTP: a permanent child is restarted also when it stopped by itself."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x", restart=kind)
        await ref.tell(Do(end))  # type: ignore[arg-type]
        await trio.sleep(1)

        assert (ref.statistics().state, ref.statistics().restarts) == (
            "running" if restarts else "stopped",
            restarts,
        )
        if restarts:
            assert await ref.ask(Echo("alive")) == "alive"


async def test_a_crash_that_is_not_restarted_is_no_silence(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """I7: a temporary child's crash is its Down, an event, and an error in the log."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x", restart="temporary")
        await crashed(ref)
        down = await ref.wait_stopped()

    assert (down.actor, down.reason, repr(down.error)) == ("x", "crashed", "ValueError('boom')")
    records = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [r.getMessage() for r in records] == ["'x' crashed and is not restarted"]


async def test_queued_requests_stay_queued_over_a_restart(autojump_clock: Clock) -> None:
    """R19: their askers wait on; the crashed one's gets ActorCrashed."""
    replies: list[object] = []

    async def slow_crash(_: Stagehand) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async def ask(text: str) -> None:
        replies.append(await ref.ask(Echo(text)))

    async with open_runtime(
        supervision=Supervision(within=100, backoff=Backoff(first=10, jitter=0))
    ) as runtime:
        ref = await runtime.spawn(Stagehand, restart="transient")
        async with trio.open_nursery() as nursery:
            await ref.tell(Do(slow_crash))
            nursery.start_soon(ask, "a")
            nursery.start_soon(ask, "b")
            await trio.sleep(5)
            assert ref.statistics().state == "restarting"
            assert ref.statistics().queued == 2
            nursery.start_soon(ask, "sent while it was down")

        assert sorted(map(str, replies)) == ["a", "b", "sent while it was down"]
        assert trio.current_time() == 11


async def test_an_asker_may_leave_while_the_actor_is_down(autojump_clock: Clock) -> None:
    """R7, R19: a queued request becomes a tombstone, and is never started."""
    log: list[str] = []
    async with open_runtime(
        supervision=Supervision(within=100, backoff=Backoff(first=10, jitter=0))
    ) as runtime:
        ref = await runtime.spawn(partial(Stagehand, log), restart="transient")
        await crashed(ref)
        with trio.move_on_after(1) as scope:
            await ref.ask(Echo("never"))
        assert scope.cancelled_caught
        assert await ref.ask(Echo("late")) == "late"

    assert "echo never" not in log


async def test_other_slots_requests_end_with_the_crash(autojump_clock: Clock) -> None:
    """R17, R19: what ran beside the crash gets ActorRestarted."""

    class Two(Stagehand, concurrency=2):
        pass

    errors: list[BaseException] = []

    async def ask() -> None:
        try:
            await ref.ask(Echo("slow", 10))
        except ActorRestarted as error:
            errors.append(error)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Two, restart="transient")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await crashed(ref)

    assert [repr(e.__cause__) for e in errors] == ["ValueError('boom')"]


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_stop_while_the_actor_is_down_is_its_end(
    autojump_clock: Clock, ordered: bool
) -> None:
    """R19, R20: it is not started again, and what is queued is undelivered."""
    async with open_runtime(
        supervision=Supervision(within=100, backoff=Backoff(first=10, jitter=0))
    ) as runtime:
        ref = await runtime.spawn(Stagehand, name="x", restart="permanent")
        await crashed(ref)
        await ref.tell(Note("queued"))
        if ordered:
            await runtime.terminate(ref)
        else:
            ref.stop()

        assert (await ref.wait_stopped()).reason == "stopped"
        assert ref.statistics().accounts.undelivered == 1
        assert runtime.living() == ()
        assert trio.current_time() == 0


async def test_the_end_of_the_runtime_does_not_wait_for_a_back_off(autojump_clock: Clock) -> None:
    """R22: what is down stays down."""
    async with open_runtime(
        supervision=Supervision(within=9000, backoff=Backoff(first=1000, most=1000))
    ) as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        await runtime.spawn(Stagehand)
        await crashed(ref)

    assert trio.current_time() == 0


async def test_terminate_ends_a_permanent_child(autojump_clock: Clock) -> None:
    """R19, OTP terminate_child: and only a parent can."""

    class Parent(Stagehand):
        async def on_start(self) -> None:
            self.child = await self.spawn(Stagehand, name="child", restart="permanent")

    async def end_child(hand: Stagehand) -> None:
        assert isinstance(hand, Parent)
        await hand.terminate(hand.child)
        await hand.terminate(hand.child)  # it is over: a no-op

    async with open_runtime() as runtime:
        parent = await runtime.spawn(Parent)
        child = runtime.find("child")
        with pytest.raises(ValueError, match="<Ref 'child'> is no child of this parent"):
            await runtime.terminate(child)
        await parent.ask(Do(end_child))

        assert runtime.living() == (parent.name,)


# -- giving up


async def test_the_intensity_ends_in_the_crash_itself(autojump_clock: Clock) -> None:
    """R19, I7: one restart too many, and the crash leaves open_runtime as itself."""
    queued: list[BaseException] = []

    async def ask() -> None:
        try:
            await ref.ask(Echo("queued"))
        except ActorStopped as error:
            queued.append(error)

    async def crash_late(_: Stagehand) -> None:
        await trio.sleep(1)
        raise KeyError("the third")

    with pytest.raises(KeyError, match="the third"):  # noqa: PT012
        async with open_runtime(supervision=Supervision(restarts=2, within=10)) as runtime:
            ref = await runtime.spawn(Stagehand, restart="permanent")
            await crashed(ref)
            await crashed(ref)
            async with trio.open_nursery() as nursery:
                await ref.tell(Do(crash_late))
                nursery.start_soon(ask)

    assert [str(error.__cause__) for error in queued] == ["'the third'"]


async def test_a_restart_may_make_an_actor_of_another_class(autojump_clock: Clock) -> None:
    """R16, R19: the factory is called again, and the handlers are those of what it returns."""

    class Understudy(Actor):
        @handles
        async def any(self, frame: Frame) -> None:
            log.append(f"understudy: {frame}")

    def make() -> Actor:
        made.append(None)
        return Stagehand(log) if len(made) == 1 else Understudy()

    log: list[str] = []
    made: list[None] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(make, restart="transient")
        await ref.tell(Note("first"))
        await crashed(ref)
        await ref.tell(Note("second"))
        await trio.sleep(1)  # as what is down when the runtime ends stays down

    assert log == ["first", "on_stop", "understudy: Note(text='second')"]


async def test_an_actor_that_stopped_by_itself_has_its_control_lane_again(
    autojump_clock: Clock,
) -> None:
    """R1, R19: the mailbox that comes after the closed one is of the same kind."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(lambda: Steered(log), restart="permanent")
        await ref.tell(Do(stop_itself))
        await trio.sleep(1)
        await ref.tell(Nudge("again"))
        assert await ref.ask(Echo("too")) == "too"

    assert log == ["on_stop", "nudge again", "echo too", "on_stop"]


async def test_an_actor_that_stops_again_and_again_is_given_up(autojump_clock: Clock) -> None:
    """R19: where there is no crash to raise, the error says what happened."""
    with pytest.raises(TooManyRestarts, match="'x', which is permanent, stopped more than 3 times"):  # noqa: PT012
        async with open_runtime() as runtime:
            ref = await runtime.spawn(Stagehand, name="x", restart="permanent")
            for _ in range(4):
                await ref.tell(Do(stop_itself))
                await trio.sleep(1)


async def test_a_start_that_fails_at_a_restart_is_another_crash(autojump_clock: Clock) -> None:
    """R19: on_start and the factory are tried again, within the intensity."""
    tries: list[str] = []

    class Fragile(Stagehand):
        def __init__(self) -> None:
            super().__init__()
            tries.append("made")
            if len(tries) == 3:
                raise RuntimeError("not made")

        async def on_start(self) -> None:
            tries.append("started")
            if len(tries) == 5:
                raise RuntimeError("not started")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Fragile, restart="transient")
        await crashed(ref)
        await trio.sleep(1)
        assert ref.statistics().restarts == 3
        assert await ref.ask(Echo("up")) == "up"

    assert tries == ["made", "started", "made", "made", "started", "made", "started"]


async def test_the_first_start_is_the_spawners_to_handle() -> None:
    """R18: spawn raises what on_start raised; nothing is restarted."""

    class Fails(Actor):
        async def on_start(self) -> None:
            raise ValueError("no")

    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="no"):
            await runtime.spawn(Fails, restart="permanent")

        assert runtime.living() == ()


async def test_a_nested_supervisor_passes_on_what_it_can_t_handle(autojump_clock: Clock) -> None:
    """R19: giving up crashes the parent, whose supervisor restarts it with all its children."""
    log: list[str] = []

    class Team(Stagehand, supervision=Supervision(restarts=1, within=100)):
        async def on_start(self) -> None:
            log.append("team")
            await self.spawn(Lives, log, name="a", restart="permanent")
            await self.spawn(Lives, log, name="b", restart="permanent")

    async with open_runtime() as runtime:
        await runtime.spawn(Team, name="team", restart="permanent")
        await crashed(runtime.find("a"))
        await trio.sleep(1)
        await crashed(runtime.find("a"))
        await trio.sleep(1)
        assert log == ["team", "+a", "+b", "-a", "+a", "-a", "-b", "team", "+a", "+b"]
        assert runtime.living() == ("team", "a", "b")

    assert log[-2:] == ["-b", "-a"]


# -- strategies


@pytest.mark.parametrize(
    ("strategy", "log"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
    ],
)
async def test_a_strategy_takes_siblings_along_in_order(
    autojump_clock: Clock, strategy: Strategy, log: list[str]
) -> None:
    """R19, OTP: stopped in reverse order, then started in order; mailboxes stay."""
    book: list[str] = []
    async with open_runtime(supervision=Supervision(strategy)) as runtime:
        refs = {n: await runtime.spawn(Lives, book, name=n, restart="permanent") for n in "abc"}
        await runtime.spawn(Lives, book, name="apart")  # not supervised: not concerned
        book.clear()
        await crashed(refs["b"])
        for ref in refs.values():
            await ref.tell(Note("kept"))
        await trio.sleep(1)

        assert book == log
        assert {name: ref.statistics().accounts.handled for name, ref in refs.items()} == {
            "a": 1,
            "b": 1,
            "c": 1,
        }


async def test_a_temporary_sibling_is_stopped_for_good(autojump_clock: Clock) -> None:
    """R19, OTP one_for_all: and running requests of the siblings get ActorRestarted."""
    errors: list[BaseException] = []

    async def ask() -> None:
        try:
            await other.ask(Echo("slow", 10))
        except ActorRestarted as error:
            errors.append(error)

    async with open_runtime(supervision=Supervision("one_for_all")) as runtime:
        ref = await runtime.spawn(Stagehand, name="a", restart="permanent")
        other = await runtime.spawn(Stagehand, name="b", restart="permanent")
        third = await runtime.spawn(Stagehand, name="c", restart="temporary")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await crashed(ref)

        assert (await third.wait_stopped()).reason == "stopped"
        assert len(errors) == 1
        assert runtime.living() == ("a", "b")


async def test_a_start_that_fails_in_a_group_begins_the_group_again(autojump_clock: Clock) -> None:
    """R19: a later decision takes over what an earlier one had not done."""
    book: list[str] = []
    fails = [True]

    class Fragile(Lives):
        async def on_start(self) -> None:
            await super().on_start()
            if self.ref.statistics().restarts and fails:
                fails.clear()
                raise RuntimeError("not yet")

    async with open_runtime(supervision=Supervision("one_for_all")) as runtime:
        first = await runtime.spawn(Lives, book, name="a", restart="permanent")
        await runtime.spawn(Fragile, book, name="b", restart="permanent")
        await runtime.spawn(Lives, book, name="c", restart="permanent")
        book.clear()
        await crashed(first)
        await trio.sleep(1)

        assert book == ["-a", "-c", "-b", "+a", "+b", "-a", "+a", "+b", "+c"]
        assert runtime.living() == ("a", "b", "c")


async def test_one_childs_back_off_does_not_hold_up_another(autojump_clock: Clock) -> None:
    """R19: under one_for_one each restarts by itself."""
    supervision = Supervision(restarts=9, within=1000, backoff=Backoff(first=10, jitter=0))
    async with open_runtime(supervision=supervision) as runtime:
        a = await runtime.spawn(Stagehand, restart="permanent")
        b = await runtime.spawn(Stagehand, restart="permanent")
        await crashed(a)
        await trio.sleep(9)
        await crashed(b)
        await a.ask(Echo())
        assert trio.current_time() == 10
        await b.ask(Echo())
        assert trio.current_time() == 29  # the second in a row


# -- the poison frame


async def test_a_frame_is_delivered_again_before_all_others(autojump_clock: Clock) -> None:
    """R19: its asker waits on; the second try may succeed."""
    log: list[str] = []

    async def crash_once(hand: Stagehand) -> str:
        log.append("try")
        await trio.sleep(1)
        if log.count("try") == 1:
            raise ValueError("boom")
        return "done"

    async with open_runtime() as runtime:
        ref = await runtime.spawn(partial(Stagehand, log), restart="transient", redeliver=1)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                log.append(await ref.ask(Do(crash_once)))

            nursery.start_soon(ask)
            await trio.sleep(0.5)
            await ref.tell(Note("after"))

    assert [entry for entry in log if entry != "on_stop"] == ["try", "try", "after", "done"]


@pytest.mark.parametrize("redeliver", [0, 1, 2])
async def test_a_poison_frame_is_quarantined(autojump_clock: Clock, redeliver: int) -> None:
    """R19: after so many tries it is set aside, and the actor goes on with the next."""
    events: list[Event] = []
    log: list[str] = []
    async with open_runtime(observers=[events.append]) as runtime:
        ref = await runtime.spawn(partial(Stagehand, log), restart="transient", redeliver=redeliver)
        poison = Do(crash)
        await ref.tell(poison)
        await ref.tell(Note("after"))
        await trio.sleep(1)
        figures = ref.statistics()

    assert log[-2:] == ["after", "on_stop"]
    assert figures.restarts == redeliver + 1
    assert [(q.frame, q.attempts) for q in figures.quarantined] == [(poison, redeliver + 1)]
    assert (figures.accounts.crashed, figures.accounts.handled) == (1, 1)
    assert sum(isinstance(e, FrameQuarantined) for e in events) == 1


async def test_a_stream_that_emitted_is_not_delivered_again(autojump_clock: Clock) -> None:
    """R19: "unless nothing was emitted"."""
    tries: list[int] = []

    async def emit_and_crash(_: Stagehand, emit: Emit[Number]) -> None:
        tries.append(1)
        if len(tries) == 2:
            await emit(Number(1))
        raise ValueError("boom")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="transient", redeliver=5)
        async with ref.stream(Play(emit_and_crash)) as numbers:
            assert await anext(numbers) == Number(1)
            with pytest.raises(ActorCrashed):
                await anext(numbers)

    assert len(tries) == 2


async def test_an_asker_that_leaves_between_tries_is_let_go(autojump_clock: Clock) -> None:
    """R7, R19: what waits to be delivered again is queued, and can be cancelled."""
    tries: list[int] = []

    async def count_and_crash(_: Stagehand) -> None:
        tries.append(1)
        raise ValueError("boom")

    supervision = Supervision(within=100, backoff=Backoff(first=10, jitter=0))
    async with open_runtime(supervision=supervision) as runtime:
        ref = await runtime.spawn(Stagehand, restart="transient", redeliver=1)
        with trio.move_on_after(1):
            await ref.ask(Do(count_and_crash))
        assert trio.current_time() == 1
        await ref.ask(Echo())

    assert len(tries) == 1


@pytest.mark.parametrize("capacity", [0, 1])
async def test_an_actor_that_had_no_frame_yet_is_restarted_with_a_sibling(
    capacity: int, autojump_clock: Clock
) -> None:
    """R19: it waits for its first frame, is woken without one, and loses none."""
    log: list[str] = []
    supervision = Supervision(strategy="one_for_all")
    async with open_runtime(supervision=supervision) as runtime:
        idle = await runtime.spawn(Lives, log, name="idle", capacity=capacity, restart="permanent")
        bad = await runtime.spawn(Stagehand, restart="permanent")
        await trio.testing.wait_all_tasks_blocked()
        await crashed(bad)
        await idle.tell(Note("after"))
        await trio.sleep(1)
        figures = idle.statistics()

    assert log == ["+idle", "-idle", "+idle", "-idle"]
    assert figures.restarts == 1
    assert (figures.accounts.sent, figures.accounts.handled) == (1, 1)


async def test_options_out_of_range_are_refused() -> None:
    """The error names the value and what it may be."""
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=r"restart must be one of permanent, .*, not 'always'"):
            await runtime.spawn(Stagehand, restart="always")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="redeliver must be an int >= 0"):
            await runtime.spawn(Stagehand, restart="permanent", redeliver=-1)
        with pytest.raises(ValueError, match="redeliver=2 needs a restart policy"):
            await runtime.spawn(Stagehand, redeliver=2)

        assert runtime.living() == ()


# -- the ready-made supervisor


async def test_a_supervisor_starts_its_specs_and_takes_more(autojump_clock: Clock) -> None:
    """R19: static children come back with it, later ones do not."""
    book: list[str] = []
    supervision = Supervision("rest_for_one", restarts=1, within=100)
    async with open_runtime() as runtime:
        boss = await runtime.spawn(
            partial(Supervisor, supervision, ChildSpec(Lives, (book,), name="static")),
            name="boss",
            restart="permanent",
        )
        later = await boss.ask(SpawnChild(ChildSpec(Lives, (book,), name="later")))
        assert book == ["+static", "+later"]
        await boss.ask(TerminateChild(later))
        assert book[2:] == ["-later"]
        await boss.ask(SpawnChild(ChildSpec(Lives, (book,), name="later")))
        book.clear()
        for _ in range(2):
            await crashed(runtime.find("static"))
            await trio.sleep(1)

        assert book == ["-static", "-later", "+static", "+later", "-static", "-later", "+static"]
        assert runtime.living() == ("boss", "static")


# -- whatever happens


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_cancel_at_any_step_of_a_restart_leaves_nothing(strategy: Strategy) -> None:
    """I4, R19: swept over every step of the whole runtime."""

    async def scenario(w: World) -> None:
        with w.scope("cut"):
            supervision = Supervision(strategy, within=10, backoff=Backoff(first=1, jitter=0))
            async with open_runtime(observers=[w.history], supervision=supervision) as runtime:
                refs = [
                    await runtime.spawn(Lives, [], restart="permanent", redeliver=1)
                    for _ in range(3)
                ]
                await refs[0].tell(Pinned("kept"))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(refs[2].tell, Note("queued"))
                    await refs[1].tell(Do(crash))
                    await trio.sleep(5)
        # open_runtime asserts that no actor lives and that every frame is accounted for

    report = sweep(scenario, faults=("cancel", "interrupt")).check()
    print(f"sweep restart, {strategy}: {report.summary()}")
    assert report.runs >= 100


class Chaos(Stagehand):
    """Crashes at its start as often as it is told to."""

    def __init__(self, failures: list[int]) -> None:
        super().__init__()
        self._failures = failures

    async def on_start(self) -> None:
        if self._failures and self.ref.statistics().restarts:
            self._failures.pop()
            raise RuntimeError("at its start")


@settings(max_examples=60)
@given(
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    kinds=st.lists(
        st.sampled_from(["permanent", "transient", "temporary"]), min_size=1, max_size=4
    ),
    deeds=st.lists(
        st.tuples(
            st.sampled_from(["crash", "stop", "tell", "ask", "fail start", "terminate"]),
            st.integers(0, 3),
            st.sampled_from([0, 0.1, 1, 20]),
        ),
        max_size=12,
    ),
    first=st.sampled_from([0, 1]),
)
def test_no_history_of_crashes_breaks_a_supervisor(
    strategy: Strategy, kinds: list[ChildKind], deeds: list[tuple[str, int, float]], first: int
) -> None:
    """R19, I3, I4: whatever comes, permanent children live, all asks end, all frames are counted."""

    async def main() -> None:
        failures: list[int] = []
        ended: set[int] = set()
        asked: list[str] = []

        async def ask(ref: Ref) -> None:
            try:
                await ref.ask(Echo("x", 0.2))
            except (ActorStopped, ActorRestarted, ActorCrashed) as error:
                asked.append(type(error).__name__)
            else:
                asked.append("replied")

        supervision = Supervision(strategy, restarts=math.inf, backoff=Backoff(first=first, most=2))
        async with open_runtime(supervision=supervision, seed=1) as runtime:
            refs = [await runtime.spawn(Chaos, failures, restart=kind) for kind in kinds]
            asks = 0
            async with trio.open_nursery() as nursery:
                for deed, at, pause in deeds:
                    at %= len(refs)
                    ref = refs[at]
                    if deed == "crash" and _is_open(ref):
                        ref.tell_nowait(Do(crash))
                    elif deed == "stop":
                        ref.stop()
                        if ref.statistics().state in ("restarting", "stopped"):
                            ended.add(at)
                    elif deed == "tell" and _is_open(ref):
                        ref.tell_nowait(Note("x"))
                    elif deed == "ask":
                        asks += 1
                        nursery.start_soon(ask, ref)
                    elif deed == "fail start":
                        failures.append(1)
                    elif deed == "terminate":
                        ended.add(at)
                        await runtime.terminate(ref)
                    await trio.sleep(pause)
            await trio.sleep(100)
            for at, (kind, ref) in enumerate(zip(kinds, refs, strict=True)):
                state = ref.statistics().state
                assert state in ("running", "stopped")
                if kind == "permanent" and at not in ended:
                    assert state == "running"
            assert len(asked) == asks

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def _is_open(ref: Ref) -> bool:
    return ref.statistics().state not in ("stopping", "stopped")


class Watcher(Actor):
    """Keeps the Downs that it is told."""

    def __init__(self, downs: list[Down], watched: list[Ref]) -> None:
        self.downs = downs
        self.watched = watched

    async def on_start(self) -> None:
        for ref in self.watched:
            self.watch(ref)

    @handles
    async def down(self, down: Down) -> None:
        self.downs.append(down)


async def test_a_watcher_hears_of_the_end_and_not_of_a_restart(autojump_clock: Clock) -> None:
    """R19, Akka: Terminated comes once, when the actor is over for good."""
    downs: list[Down] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x", restart="permanent")
        await runtime.spawn(Watcher, downs, [ref])
        await crashed(ref)
        await trio.sleep(1)
        assert downs == []
        await runtime.terminate(ref)
        await trio.sleep(1)

        assert downs == [Down("x", "stopped")]


# -- what a restart, a stop and a crash do to one another


async def test_a_frame_that_was_taken_but_not_started_stays_queued(autojump_clock: Clock) -> None:
    """R19: a slot that wakes up with a frame, and finds that another crashed, keeps it for later."""

    class Two(Stagehand, concurrency=2):
        pass

    log: list[str] = []

    async def tell_and_crash(hand: Stagehand) -> None:
        hand.ref.tell_nowait(Note("kept"))  # to the other slot, which waits for one
        raise ValueError("boom")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Two, log, restart="transient")
        async with trio.open_nursery() as nursery:
            for _ in range(2):  # so that both slots have been started
                nursery.start_soon(ref.ask, Echo("", 1))
        await ref.tell(Do(tell_and_crash))
        await trio.sleep(1)
        accounts = ref.statistics().accounts

    assert "kept" in log
    assert (accounts.undelivered, accounts.crashed, accounts.handled) == (0, 1, 3)


async def test_terminate_ends_a_back_off(autojump_clock: Clock) -> None:
    """R22: the runtime does not wait for a restart that will not come."""
    supervision = Supervision(within=9000, backoff=Backoff(first=1000, most=1000))
    async with open_runtime(supervision=supervision) as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        await crashed(ref)
        await trio.testing.wait_all_tasks_blocked()
        await runtime.terminate(ref)

    assert trio.current_time() == 0


async def test_a_crash_of_an_actor_that_was_told_to_stop_is_its_end(autojump_clock: Clock) -> None:
    """R20: a transient child is not brought back by a crash while it drains."""

    async def crash_later(_: Stagehand) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="transient")
        await ref.tell(Do(crash_later))
        ref.stop()
        down = await ref.wait_stopped()

    assert (down.reason, repr(down.error)) == ("crashed", "ValueError('boom')")
    assert ref.statistics().restarts == 0


async def test_a_crash_of_a_terminated_child_is_not_its_parents(autojump_clock: Clock) -> None:
    """R19, R20: a supervised child stays so while it drains; the runtime goes on."""

    async def crash_later(_: Stagehand) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="permanent")
        other = await runtime.spawn(Stagehand)
        await ref.tell(Do(crash_later))
        await runtime.terminate(ref)

        assert (await ref.wait_stopped()).reason == "crashed"
        assert await other.ask(Echo("alive")) == "alive"


async def test_a_temporary_child_that_crashes_as_it_is_stopped_ends_by_a_crash(
    autojump_clock: Clock,
) -> None:
    """R19, I7: a restart of its siblings ends it, but its own crash is how it ended."""

    async def crash_in_cleanup(_: Stagehand) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("boom")

    async with open_runtime(supervision=Supervision("one_for_all")) as runtime:
        first = await runtime.spawn(Stagehand, restart="permanent")
        second = await runtime.spawn(Stagehand, restart="temporary")
        await second.tell(Do(crash_in_cleanup))
        await trio.sleep(1)
        await crashed(first)
        down = await second.wait_stopped()

    assert (down.reason, repr(down.error)) == ("crashed", "ValueError('boom')")


async def test_a_cancel_overtakes_the_restart_of_a_group(autojump_clock: Clock) -> None:
    """R22, I3, I4: what crashed before it, and ends after it, is over for good; its asker is told."""
    outcomes: list[object] = []

    async def crash_above_a_slow_child(hand: Stagehand) -> None:
        child = await hand.spawn(Stagehand)
        await child.tell(Do(stubborn(3)))
        await trio.sleep(1)
        raise ValueError("boom")

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(2.5):
                async with open_runtime(supervision=Supervision("one_for_all")) as runtime:
                    first = await runtime.spawn(Stagehand, restart="permanent")
                    second = await runtime.spawn(Stagehand, restart="permanent")
                    await second.tell(Do(crash_above_a_slow_child))
                    nursery.start_soon(outcome_of, second, Echo(), outcomes)
                    await trio.sleep(2)
                    await first.tell(Do(crash))
                    await trio.sleep_forever()

    assert outcomes == ["ActorStopped"]


async def test_the_end_of_a_runtime_overtakes_a_restart_of_a_group(autojump_clock: Clock) -> None:
    """R22: what is on its way down for a sibling's sake is not started again."""

    async def hang(_: Stagehand) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    with trio.fail_after(100):
        async with open_runtime(supervision=Supervision("one_for_all")) as runtime:
            first = await runtime.spawn(Stagehand, restart="permanent")
            await runtime.spawn(Stagehand, restart="permanent")
            last = await runtime.spawn(Stagehand, restart="permanent")
            await last.tell(Do(hang))
            await trio.sleep(1)
            await crashed(first)
            await trio.sleep(1)

    assert trio.current_time() == 3
    assert runtime.living() == ()
