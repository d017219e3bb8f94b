"""What observers are told, and what they cannot do (R26)."""

import logging
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    ActorEnded,
    ActorSpawned,
    Event,
    FrameEmitted,
    FrameSent,
    HandlerEnded,
    HandlerStarted,
    open_runtime,
)
from tests.runtime.cast import Count, Do, Echo, Ledger, Note, Nudge, Number, Stagehand, Steered


async def test_every_step_is_told_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """R26: with the time, the actor, the frame's number and its sender."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Stagehand, name="hand")
        await ref.ask(Echo("a", 2))

    assert ledger.events == [
        ActorSpawned(0, "hand", None),
        FrameSent(0, "hand", 1, Echo("a", 2), None),
        HandlerStarted(0, "hand", 1, Echo("a", 2)),
        HandlerEnded(2, "hand", 1, Echo("a", 2), "replied"),
        ActorEnded(2, "hand", "stopped", None),
    ]


async def test_emitted_frames_and_control_frames_are_told() -> None:
    """R26, R11: closing frames included."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        ref = await runtime.spawn(Steered)
        async with ref.stream(Count(2)) as stream:
            assert [n.n async for n in stream] == [0, 1]
        await ref.tell(Nudge("a"))

    assert [e.frame for e in ledger.of(FrameEmitted)] == [Number(0), Number(1)]
    assert Nudge("a") in [e.frame for e in ledger.of(HandlerEnded)]
    ledger.check()


async def test_the_sender_is_the_actor_whose_handler_sent() -> None:
    """R26: by name."""
    ledger = Ledger()
    async with open_runtime(observers=[ledger]) as runtime:
        far = await runtime.spawn(Stagehand, name="far")
        near = await runtime.spawn(Stagehand, name="near")

        async def relay(_: Any) -> None:
            await far.tell(Note())

        await near.ask(Do(relay))

    assert [(e.actor, e.sender) for e in ledger.of(FrameSent)] == [("near", None), ("far", "near")]


async def test_an_observer_that_raises_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """R26: it is logged once, and told nothing more; the others go on."""
    told: list[Event] = []

    def broken(event: Event) -> None:
        told.append(event)
        raise ValueError("observer")

    ledger = Ledger()
    async with open_runtime(observers=[broken, ledger]) as runtime:
        ref = await runtime.spawn(Stagehand)
        assert await ref.ask(Echo("a")) == "a"

    assert len(told) == 1
    assert len(ledger.events) == 5
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert "raised and is told nothing more" in caplog.text


async def test_an_observer_may_send(autojump_clock: trio.testing.MockClock) -> None:
    """R26: told after the fact, an observer finds the frame gone and may use a ref."""
    sent: list[str] = []

    def observer(event: Event) -> None:
        if isinstance(event, HandlerEnded) and isinstance(event.frame, Echo):
            ref.tell_nowait(Note("from the observer"))
            sent.append(event.outcome)

    log: list[str] = []
    async with open_runtime(observers=[observer]) as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.ask(Echo("a"))
        await trio.sleep(1)

    assert sent == ["replied"]
    assert log == ["echo a", "from the observer", "on_stop"]
