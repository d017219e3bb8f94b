# ruff: noqa: PT012 - what raises is often the end of the block that the story is told in
"""Telling: checkpoints, order and full mailboxes (R4-R6, I1, I2)."""

import weakref
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    DeadLetter,
    Dropped,
    HandlerEnded,
    MailboxFull,
    NotHandled,
    SenderWaited,
    handles,
    open_runtime,
)
from tests.runtime.cast import (
    Count,
    Do,
    Echo,
    Ledger,
    Note,
    Nudge,
    Pinned,
    Stagehand,
    Steered,
    Steps,
    Unknown,
    after,
    hang,
    outcome_of,
    refuse,
)

Clock = trio.testing.MockClock


async def test_tell_is_a_checkpoint_and_tell_nowait_is_none(autojump_clock: Clock) -> None:
    """R5: on the success path, full or not."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=2)
        with trio.testing.assert_checkpoints():
            await ref.tell(Note("a"))
        with trio.testing.assert_no_checkpoints():
            ref.tell_nowait(Note("b"))
        with trio.testing.assert_checkpoints():
            await ref.tell_all([])


async def test_a_cancelled_tell_sent_nothing(autojump_clock: Clock) -> None:
    """I1: neither with room nor without."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.tell(Note("with room"))
        await ref.tell(Do(after(3)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("fits"))
        with trio.move_on_after(1) as scope:
            await ref.tell(Note("without room"))
        assert scope.cancelled_caught

    assert log == ["fits", "on_stop"]


async def test_a_mailbox_holds_64_frames_if_nothing_is_said(autojump_clock: Clock) -> None:
    """R4: the capacity that `spawn` states, beside the frame that is handled."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.tell(Do(after(3)))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(64):
            ref.tell_nowait(Note())

        with pytest.raises(MailboxFull, match="the mailbox holds 64 frames"):
            ref.tell_nowait(Note())


async def test_tell_waits_for_room(autojump_clock: Clock) -> None:
    """R4: back-pressure is the default, and observers are told of the wait."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand, capacity=1)
        await ref.tell(Do(after(3)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("fits"))
        with pytest.raises(MailboxFull, match="Note not sent: the mailbox holds 1 frames and"):
            ref.tell_nowait(Note("no room"))
        await ref.tell(Note("waits"))

        assert trio.current_time() == 3
    (waited,) = ledger.of(SenderWaited)
    assert waited.seconds == 3
    ledger.check()


async def test_tell_all_keeps_the_order_and_waits_where_it_must(autojump_clock: Clock) -> None:
    """R5, I2: through a mailbox far smaller than the list."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=3)
        await ref.tell_all(Note(f"{n}") for n in range(200))

    assert log == [*(f"{n}" for n in range(200)), "on_stop"]


async def test_a_mailbox_of_no_capacity_hands_frames_over(autojump_clock: Clock) -> None:
    """R4: a tell ends when the actor takes the frame."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=0)
        await ref.tell(Do(after(2)))
        with pytest.raises(MailboxFull, match="holds 0 frames"):
            ref.tell_nowait(Note("no"))
        await ref.tell(Note("yes"))
        assert trio.current_time() == 2
        assert await ref.ask(Echo("and a request")) == "and a request"

    assert log == ["yes", "echo and a request", "on_stop"]


@pytest.mark.parametrize(
    ("full", "sent", "handled", "outcome"),
    [
        ("drop_newest", [Note("1"), Note("2"), Note("3")], ["1", "2"], None),
        ("drop_oldest", [Note("1"), Note("2"), Note("3")], ["2", "3"], None),
        ("drop_oldest", [Pinned("1"), Note("2"), Note("3")], ["1", "3"], None),
        ("drop_newest", [Note("1"), Note("2"), Pinned("3")], ["1", "3"], None),
        ("drop_oldest", [Pinned("1"), Pinned("2"), Note("3")], ["1", "2"], MailboxFull),
        ("drop_oldest", [Pinned("1"), Pinned("2"), Pinned("3")], ["1", "2"], MailboxFull),
        ("drop_newest", [Pinned("1"), Pinned("2"), Pinned("3")], ["1", "2"], MailboxFull),
        ("fail", [Note("1"), Note("2"), Note("3")], ["1", "2"], MailboxFull),
    ],
)
@pytest.mark.parametrize("nowait", [False, True])
async def test_what_a_full_mailbox_does(
    autojump_clock: Clock,
    full: Any,
    sent: list[Any],
    handled: list[str],
    outcome: type[Exception] | None,
    nowait: bool,
) -> None:
    """R4: each policy, with a mailbox of two and three frames."""
    log: list[str] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=2, full=full)
        await ref.tell(Do(after(1)))
        await trio.testing.wait_all_tasks_blocked()
        raised: type[BaseException] | None = None
        for frame in sent:
            try:
                if nowait:
                    ref.tell_nowait(frame)
                else:
                    await ref.tell(frame)
            except trio.WouldBlock as error:  # MailboxFull is one
                raised = type(error)

        assert raised is outcome
        assert trio.current_time() == 0  # nobody waits under these policies
        assert ref.statistics().dropped == (0 if outcome else 1)
    assert log == [*handled, "on_stop"]
    assert len(ledger.of(DeadLetter)) == (0 if outcome else 1)
    ledger.check()


async def test_a_dropped_request_ends_as_dropped(autojump_clock: Clock) -> None:
    """R4, I3: whether it was queued or is the new one."""
    outcomes: list[object] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="hand", capacity=1, full="drop_oldest")
        async with trio.open_nursery() as nursery:
            await ref.tell(Do(after(1)))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(outcome_of, ref, Echo("old"), outcomes)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell(Note("new"))
            await trio.testing.wait_all_tasks_blocked()
            assert outcomes == ["Dropped"]
        ref = await runtime.spawn(Stagehand, name="other", capacity=1, full="drop_newest")
        await ref.tell(Do(after(1)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("fits"))
        with pytest.raises(
            Dropped, match=r"mailbox of <Ref 'other'> dropped Echo \(policy drop_newest\)"
        ) as caught:
            await ref.ask(Echo("new"))

        assert caught.value.policy == "drop_newest"


async def test_a_tombstone_goes_first_and_is_no_drop(autojump_clock: Clock) -> None:
    """R4, R2: a cancelled request in a full mailbox is nobody's loss."""
    log: list[str] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(lambda: Stagehand(log), capacity=2, full="drop_oldest")
        await ref.tell(Do(after(5)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("1"))
        with trio.move_on_after(1):
            await ref.ask(Echo("gone"))
        await ref.tell(Note("2"))

        assert ref.statistics().dropped == 0
    assert log == ["1", "2", "on_stop"]
    ledger.check(tombstones=1)


async def test_an_ask_by_policy_fail_raises_at_once(autojump_clock: Clock) -> None:
    """R4: MailboxFull, and nothing was sent."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=1, full="fail")
        await ref.tell(Do(after(1)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("fits"))
        with pytest.raises(MailboxFull, match="Echo not sent"):
            await ref.ask(Echo("no room"))


async def test_telling_a_request_discards_its_reply(autojump_clock: Clock) -> None:
    """R16: and its refusal is a dead letter."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.tell(Echo("reply"))
        await ref.tell(Do(refuse))

    (dead,) = ledger.of(DeadLetter)
    assert dead.reason == "Refused, which nobody read"
    ledger.check()


async def test_misuse_of_tell_has_a_text(autojump_clock: Clock) -> None:
    """R16: each says what is wrong and what to write."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="hand")
        with pytest.raises(TypeError, match="Count is answered by a stream; write 'async with ref"):
            await ref.tell(Count(1))
        with pytest.raises(TypeError, match="only frames can be sent, not 'text'; see @frame"):
            await ref.tell("text")  # type: ignore[arg-type]  # pyright: ignore
        with pytest.raises(NotHandled, match="<Ref 'hand'> has no handler for Unknown"):
            ref.tell_nowait(Unknown())
        with pytest.raises(NotHandled, match="no handler for Nudge"):
            ref.tell_nowait(Nudge())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"capacity": -1}, r"capacity must be an int >= 0 \(frames\), not -1"),
        ({"capacity": 1.5}, r"capacity must be an int >= 0 \(frames\), not 1.5"),
        ({"capacity": True}, r"capacity must be an int >= 0 \(frames\), not True"),
        ({"full": "burn"}, "full must be one of wait, fail, drop_newest, drop_oldest, not 'burn'"),
        ({"capacity": 0, "full": "drop_oldest"}, "needs a capacity of at least 1, to drop from"),
    ],
)
async def test_mailbox_options_are_checked(options: dict[str, Any], text: str) -> None:
    """A wrong option raises at spawn, and nothing is left of the actor."""
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=text):
            await runtime.spawn(Stagehand, **options)

        assert runtime.living() == ()


async def test_control_frames_pass_a_busy_actor(autojump_clock: Clock) -> None:
    """R1, R26: they are handled at once, while a data handler is suspended; observers are told."""
    log: list[str] = []
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(lambda: Steered(log), capacity=1)
        await ref.tell(Do(after(9)))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Note("queued"))
        await ref.tell(Nudge("1"))
        ref.tell_nowait(Nudge("2"))
        await trio.testing.wait_all_tasks_blocked()

        assert log == ["nudge 1", "nudge 2"]
        assert [(e.frame, e.outcome) for e in ledger.of(HandlerEnded)] == [
            (Nudge("1"), "replied"),
            (Nudge("2"), "replied"),
        ]


async def test_the_control_lane_is_bounded(autojump_clock: Clock) -> None:
    """R1: it has the data lane's capacity; tell waits for room, tell_nowait does not."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(lambda: Steered(log), capacity=2)
        await trio.testing.wait_all_tasks_blocked()
        sent = 0
        with pytest.raises(MailboxFull, match="Nudge not sent: the control lane is full"):
            while True:
                ref.tell_nowait(Nudge(f"{sent}"))
                sent += 1
        await ref.tell(Nudge("last"))

        assert sent <= 3  # two, and one handed to the reader
    assert log == [*(f"nudge {n}" for n in range(sent)), "nudge last", "on_stop"]


async def test_a_control_handler_that_raises_is_a_crash(autojump_clock: Clock) -> None:
    """R1, R13: running askers get ActorRestarted, queued ones ActorStopped."""
    outcomes: list[object] = []
    ledger = Ledger()
    with pytest.raises(ValueError, match="the control handler crashed"):
        async with open_runtime(observers=[ledger]) as runtime:
            ref = await runtime.spawn(Steered)
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(outcome_of, ref, Do(hang), outcomes)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(outcome_of, ref, Echo("queued"), outcomes)
                    await trio.testing.wait_all_tasks_blocked()
                    await ref.tell(Nudge("crash"))

    assert sorted(map(str, outcomes)) == ["ActorRestarted", "ActorStopped"]
    ledger.check()


async def test_the_loop_lets_others_run_at_least_every_64_frames() -> None:
    """R3: handlers that never wait do not keep the loop for themselves."""

    class Busy(Actor):
        def __init__(self) -> None:
            self.since = 0
            self.longest = 0
            self.step = -1

        @handles
        async def note(self, frame: Note) -> None:
            self.since = self.since + 1 if self.step == steps.count else 1
            self.step = steps.count
            self.longest = max(self.longest, self.since)

    steps = Steps()
    busy = Busy()
    async with open_runtime() as runtime:
        trio.lowlevel.add_instrument(steps)
        ref = await runtime.spawn(lambda: busy, capacity=1000)
        for _ in range(500):
            ref.tell_nowait(Note())
        ref.stop()
        await ref.wait_stopped()
        trio.lowlevel.remove_instrument(steps)

    assert 60 <= busy.longest <= 64


async def test_an_idle_actor_keeps_nothing_of_its_last_frame(autojump_clock: Clock) -> None:
    """What a frame carries lives no longer than its handler, however long the next one takes."""

    async def nothing(_: Stagehand) -> None: ...

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.tell(Do(nothing))  # the next one goes the short way
        await trio.testing.wait_all_tasks_blocked()
        payload = after(0)
        kept = weakref.ref(payload)
        await ref.tell(Do(payload))
        del payload
        await trio.testing.wait_all_tasks_blocked()

        assert kept() is None


async def test_an_idle_actor_keeps_nothing_of_its_first_frame_either(autojump_clock: Clock) -> None:
    """Nor of a request: not the frame, and not what was replied."""

    class Reply:
        """Something that can be referred to weakly."""

    kept: list[weakref.ref[Any]] = []

    async def reply(_: Stagehand) -> Reply:
        made = Reply()
        kept.append(weakref.ref(made))
        return made

    async with open_runtime() as runtime:
        told = await runtime.spawn(Stagehand)
        asked = await runtime.spawn(Stagehand)
        payload = after(0)
        kept.append(weakref.ref(payload))
        await told.tell(Do(payload))
        del payload
        for _ in range(2):  # the first request goes another way than the second
            await asked.ask(Do(reply))
        await trio.testing.wait_all_tasks_blocked()

        assert [ref() for ref in kept] == [None] * 3
