"""Timers, death watch, topics as an actor hears them, and the waiting look-up of names."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    DeadLetter,
    Down,
    FullPolicy,
    NotHandled,
    Ref,
    Timer,
    Topic,
    handles,
    open_runtime,
)
from tests.runtime.cast import Count, Do, Ledger, Note, Pinned, Stagehand, Steps

Clock = trio.testing.MockClock


class Clocked(Stagehand):
    """Notes when it was told what."""

    @handles
    async def note(self, frame: Note | Pinned) -> None:
        self.log.append(f"{frame.text} at {trio.current_time():g}")


class Watching(Clocked):
    """Watches whom it is told to, and notes the Downs."""

    @handles
    async def down(self, down: Down) -> None:
        self.log.append(f"{down.actor} {down.reason} at {trio.current_time():g}")


async def run_on(ref: Ref, what: Callable[[Stagehand], object]) -> object:
    """Run a plain function of the actor in its handler."""

    async def run(hand: Stagehand) -> object:
        return what(hand)

    return await ref.ask(Do(run))


def watching(other: Ref) -> Callable[[Stagehand], object]:
    """Return what makes an actor watch *other*."""
    return lambda hand: hand.watch(other)


async def test_a_frame_is_sent_later_and_again(autojump_clock: Clock) -> None:
    """send_after once, send_every until it is cancelled; both end with their actor."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Clocked, log)
        await run_on(ref, lambda hand: hand.send_after(2.5, Note("once")))
        timer = await run_on(ref, lambda hand: hand.send_every(1, Note("tick")))
        assert isinstance(timer, Timer)
        await trio.sleep(3.1)
        timer.cancel()
        timer.cancel()
        await trio.sleep(10)
        await run_on(ref, lambda hand: hand.send_after(5, Note("never")))

    assert log == ["tick at 1", "tick at 2", "once at 2.5", "tick at 3", "on_stop"]
    assert trio.current_time() == 13.1


async def test_ticks_that_a_full_mailbox_missed_are_left_out(autojump_clock: Clock) -> None:
    """R4: a timer waits for room as any sender, and makes up for nothing."""
    log: list[str] = []

    async def busy(_: Stagehand) -> None:
        await trio.sleep(4.5)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Clocked, log, capacity=1)
        timer = await run_on(ref, lambda hand: hand.send_every(1, Note("tick")))
        await ref.tell(Do(busy))
        await trio.sleep(6)
        assert isinstance(timer, Timer)
        timer.cancel()

    assert log == ["tick at 4.5", "tick at 4.5", "tick at 4.5", "tick at 5.5", "on_stop"]


async def test_a_timer_for_an_actor_that_is_over_is_a_dead_letter(autojump_clock: Clock) -> None:
    """R20: nobody crashes for it."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Clocked, name="a")
        other = await runtime.spawn(Clocked, name="b")
        await run_on(ref, lambda hand: hand.send_every(1, Note("late"), to=other))
        other.stop()
        await trio.sleep(10)

    letters = ledger.of(DeadLetter)
    assert [(e.actor, e.reason) for e in letters] == [("b", "of a timer: ActorStopped")]


async def test_what_a_timer_cannot_send_is_refused_at_once() -> None:
    """The error comes where the mistake is, not when the time has come."""
    cases: list[tuple[Callable[[Stagehand], object], type[Exception], str]] = [
        (lambda h: h.send_after(-1, Note()), ValueError, "send_after needs seconds >= 0"),
        (lambda h: h.send_every(0, Note()), ValueError, "send_every needs seconds > 0"),
        (lambda h: h.send_after(1, Count()), TypeError, "is answered by a stream"),
        (lambda h: h.send_after(1, Down("x", "stopped")), NotHandled, "no handler for Down"),
        (lambda h: h.watch(h.ref), NotHandled, "Clocked has no handler for Down"),
    ]
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Clocked)
        for what, error, message in cases:

            async def attempt(
                hand: Stagehand,
                what: Callable[[Stagehand], object] = what,
                error: type[Exception] = error,
                message: str = message,
            ) -> None:
                with pytest.raises(error, match=message):
                    what(hand)

            await ref.ask(Do(attempt))


async def test_a_watcher_is_told_of_every_end(autojump_clock: Clock) -> None:
    """Akka: also of one that was over before; not after it was cancelled, and not twice."""
    log: list[str] = []

    async def crash(_: Stagehand) -> None:
        raise ValueError("boom")

    async with open_runtime() as runtime:
        gone = await runtime.spawn(Clocked, name="gone")
        await runtime.terminate(gone)
        crashes = await runtime.spawn(Clocked, name="crashes", restart="temporary")
        stops = await runtime.spawn(Clocked, name="stops")
        unwatched = await runtime.spawn(Clocked, name="unwatched")
        ref = await runtime.spawn(Watching, log)
        for other in (gone, crashes, stops):
            await run_on(ref, watching(other))
        timer = await run_on(ref, lambda hand: hand.watch(unwatched))
        assert isinstance(timer, Timer)
        timer.cancel()
        await trio.sleep(1)
        await crashes.tell(Do(crash))
        await trio.sleep(1)
        stops.stop()
        unwatched.stop()
        await trio.sleep(1)

    assert log == ["gone stopped at 0", "crashes crashed at 1", "stops stopped at 2", "on_stop"]


async def test_a_watcher_that_ends_watches_no_more(autojump_clock: Clock) -> None:
    """R18: the watch is part of its incarnation."""

    class Waits(Actor):
        def __init__(self, other: Ref) -> None:
            self.other = other

        async def on_start(self) -> None:
            self.watch(self.other)

        @handles
        async def down(self, down: Down) -> None:
            raise AssertionError("it had stopped")

    async with open_runtime() as runtime:
        other = await runtime.spawn(Clocked)
        ref = await runtime.spawn(Waits, other)
        await runtime.terminate(ref)
        await runtime.terminate(other)

        assert runtime.living() == ()


async def test_a_name_can_be_waited_for(autojump_clock: Clock) -> None:
    """The look-up returns once an actor of the name is there; a cancel leaves nothing."""
    found: list[tuple[str, float]] = []

    async def look(name: str) -> None:
        ref = await runtime.wait_for(name)
        found.append((ref.name, trio.current_time()))

    async with open_runtime() as runtime:
        with trio.move_on_after(1):
            await runtime.wait_for("late")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, "late")
            nursery.start_soon(look, "late")
            await trio.sleep(2)
            await runtime.spawn(Clocked, name="late")
        await look("late")

    assert found == [("late", 3)] * 3


async def test_an_actor_hears_a_topic(autojump_clock: Clock) -> None:
    """From the call on, in order, until it is cancelled or the actor ends."""
    log: list[str] = []
    async with open_runtime() as runtime:
        topic: Topic[Note] = runtime.topic("news")
        assert runtime.topic("news") is topic
        ref = await runtime.spawn(Clocked, log)
        await topic.publish(Note("before"))
        await run_on(ref, lambda hand: hand.subscribe(topic, lag="wait"))
        for n in range(3):
            await topic.publish(Note(str(n)))
        await trio.sleep(1)
        assert len(topic) == 1
        await runtime.terminate(ref)
        assert len(topic) == 0

    assert log == ["0 at 0", "1 at 0", "2 at 0", "on_stop"]


async def test_dead_letters_are_a_topic(autojump_clock: Clock) -> None:
    """Of frames nobody will handle; it waits for no subscriber, and ends with the runtime."""
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match="waits for no subscriber; write lag='drop_oldest'"):
            runtime.dead_letters.subscribe(lag="wait")
        letters = runtime.dead_letters.subscribe()
        ref = await runtime.spawn(Clocked, name="x", capacity=1, full="drop_newest")
        await trio.testing.wait_all_tasks_blocked()
        for n in range(4):
            ref.tell_nowait(Note(str(n)))

    with letters:
        read = [letter async for letter in letters]

    # one was handed to the waiting handler, one is kept
    assert [(e.actor, e.number, e.reason) for e in read] == [
        ("x", 3, "drop_newest"),
        ("x", 4, "drop_newest"),
    ]


class Undertaker(Actor):
    """Hears of dead letters, in its own time."""

    def __init__(self, log: list[str], seconds: float = 0) -> None:
        self.log, self.seconds = log, seconds

    async def on_start(self) -> None:
        self.subscribe(self.runtime.dead_letters)

    @handles
    async def letter(self, letter: DeadLetter) -> None:
        self.log.append(f"{letter.actor} {type(letter.frame).__name__} {letter.reason}")
        await trio.sleep(self.seconds)


async def test_an_actor_can_be_told_of_dead_letters(autojump_clock: Clock) -> None:
    """A DeadLetter is a frame, as Down is; Akka: an actor subscribes to those it wants to hear of."""
    log: list[str] = []
    async with open_runtime() as runtime:
        await runtime.spawn(Undertaker, log)
        ref = await runtime.spawn(Clocked, name="x", capacity=1, full="drop_newest")
        await trio.testing.wait_all_tasks_blocked()
        for n in range(4):
            ref.tell_nowait(Note(str(n)))
        await trio.sleep(1)

    assert log == ["x Note drop_newest"] * 2


@pytest.mark.parametrize("full", ["drop_newest", "drop_oldest", "fail", "wait"])
async def test_a_dead_letter_that_is_not_heard_makes_no_other(
    autojump_clock: Clock, full: FullPolicy
) -> None:
    """Akka: else one would follow from the other for ever; observers are told of it all the same."""
    log: list[str] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        await runtime.spawn(Undertaker, log, 10, capacity=1, full=full, name="u")
        ref = await runtime.spawn(Clocked, name="x", capacity=1, full="drop_newest")
        await trio.testing.wait_all_tasks_blocked()
        for n in range(8):
            ref.tell_nowait(Note(str(n)))
        await trio.sleep(1000)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(1000)
        trio.lowlevel.remove_instrument(steps)

    assert set(log) == {"x Note drop_newest"}
    assert steps.count < 10  # all is quiet
    letters = [e for e in ledger.of(DeadLetter) if e.actor == "u"]
    assert {type(e.frame) for e in letters} == (set() if full == "wait" else {DeadLetter})
    assert len(log) + len(letters) == 6


async def test_the_end_of_a_watched_actor_is_told_when_there_is_room(
    autojump_clock: Clock,
) -> None:
    """R5: a mailbox that refuses senders when it is full refuses no Down."""
    log: list[str] = []
    async with open_runtime() as runtime:
        other = await runtime.spawn(Stagehand, name="other")
        ref = await runtime.spawn(Watching, log, capacity=1, full="fail")
        await run_on(ref, watching(other))

        async def rest(_: Stagehand) -> None:
            await trio.sleep(10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Do(rest))
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell(Note("fills it"))
            other.stop()

    assert log == ["fills it at 10", "other stopped at 10", "on_stop"]


async def test_a_down_that_cannot_be_told_is_a_dead_letter(autojump_clock: Clock) -> None:
    """R4: a mailbox that drops, and holds only what may not be dropped, has no room for it."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        other = await runtime.spawn(Stagehand, name="other")
        ref = await runtime.spawn(Watching, name="w", capacity=1, full="drop_oldest")
        await run_on(ref, watching(other))

        async def rest(_: Stagehand) -> None:
            await trio.sleep(10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Do(rest))
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell(Pinned("fills it"))
            other.stop()

    assert [(e.actor, e.frame) for e in ledger.of(DeadLetter)] == [
        ("w", Down("other", "stopped", None))
    ]


async def test_who_cannot_hear_a_topic_may_not_subscribe_to_it() -> None:
    """The error comes where the mistake is, where the topic says what it carries."""
    numbers = Topic[int]("numbers", of=int)
    notes = Topic[Note]("notes", of=Note)
    counts = Topic[Count]("counts", of=Count)

    async def attempt(hand: Stagehand) -> None:
        with pytest.raises(NotHandled, match="Clocked has no handler for DeadLetter; write one"):
            hand.subscribe(runtime.dead_letters)
        with pytest.raises(TypeError, match="topic 'numbers' carries int, which is no frame"):
            hand.subscribe(numbers)
        with pytest.raises(TypeError, match="topic 'counts' carries Count, which is answered by"):
            hand.subscribe(counts)
        hand.subscribe(notes)

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Clocked)
        await ref.ask(Do(attempt))

        assert (len(runtime.dead_letters), len(numbers), len(counts), len(notes)) == (0, 0, 0, 1)
