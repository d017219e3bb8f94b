"""
What Pykka's documentation and the names of its tests say, held against our actors.

Sources: jodal/pykka, ``tests/test_actor.py``, ``tests/test_ref.py``, ``tests/test_registry.py`` and the
pages of ``ThreadingActor``, ``ActorRef`` and ``ActorRegistry``. Proxies, traversable attributes and
futures have no counterpart; see ``docs/peers.md``.
"""

import pytest
import trio
import trio.testing

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    MailboxFull,
    Ref,
    Refused,
    Topic,
    open_runtime,
)
from tests.runtime.cast import Do, Echo, Note, Stagehand, crash, refuse

Clock = trio.testing.MockClock


class Tale(Stagehand):
    """Notes its start too."""

    async def on_start(self) -> None:
        self.log.append("on_start")


async def stop_twice(hand: Stagehand) -> None:
    hand.ref.stop()
    hand.ref.stop()


# -- test_actor.py


async def test_messages_left_in_queue_after_actor_stops_receive_an_error(
    autojump_clock: Clock,
) -> None:
    """Sent after the stop: at once. Queued before it: handled here, unless the grace is over."""
    errors: list[str] = []

    async def ask(ref: Ref, text: str) -> None:
        try:
            await ref.ask(Echo(text))
        except ActorStopped as error:
            errors.append(f"{text}: {error.reason}")

    async with open_runtime(drain_grace=1) as runtime:
        ref = await runtime.spawn(Stagehand)
        async with trio.open_nursery() as nursery:
            await ref.tell(Echo("busy", 10))
            nursery.start_soon(ask, ref, "queued")
            await trio.sleep(0.5)
            ref.stop()
            await ask(ref, "late")
            assert errors == ["late: stopped"]

    assert errors == ["late: stopped", "queued: stopped"]


async def test_a_stop_of_an_actor_that_stops_is_no_error(autojump_clock: Clock) -> None:
    """``test_stop_requests_left_in_queue_after_actor_stops_are_handled``."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.tell(Echo("busy", 1))
        ref.stop()
        ref.stop()
        assert (await ref.wait_stopped()).reason == "stopped"
        ref.stop()

        assert (await ref.wait_stopped()).reason == "stopped"


async def test_actors_are_told_apart(autojump_clock: Clock) -> None:
    """``test_actor_has_unique_uuid``: names, unique among the living, are what a urn is there."""
    async with open_runtime() as runtime:
        refs = [await runtime.spawn(Stagehand) for _ in range(3)]

        assert len({ref.name for ref in refs}) == 3
        assert len(set(refs)) == 3


async def test_init_can_be_called_with_arbitrary_arguments() -> None:
    """An actor is a plain object until it is spawned."""

    class Any_(Actor):
        def __init__(self, *args: object, **kwargs: object) -> None:
            self.given = (args, kwargs)

    assert Any_(1, 2, foo="bar").given == ((1, 2), {"foo": "bar"})


async def test_on_start_is_called_before_first_message_is_processed(
    autojump_clock: Clock,
) -> None:
    """And ``spawn`` returns after it."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Tale, log)
        assert log == ["on_start"]
        await ref.tell(Note("first"))

    assert log == ["on_start", "first", "on_stop"]


async def test_on_start_is_called_after_the_actor_is_registered(autojump_clock: Clock) -> None:
    """It can be found by its name from there."""
    found: list[bool] = []

    class Looks(Stagehand):
        async def on_start(self) -> None:
            found.append(self.runtime.find("me") == self.ref)

    async with open_runtime() as runtime:
        await runtime.spawn(Looks, name="me")

    assert found == [True]


async def test_on_start_can_stop_actor_before_receive_loop_is_started(
    autojump_clock: Clock,
) -> None:
    """It ends as one that was stopped: ``on_stop`` runs, and nothing is handled."""
    log: list[str] = []

    class Early(Stagehand):
        async def on_start(self) -> None:
            self.ref.stop()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Early, log)
        assert (await ref.wait_stopped()).reason == "stopped"

    assert log == ["on_stop"]


async def test_on_start_failure_causes_actor_to_stop(autojump_clock: Clock) -> None:
    """And here the spawner gets the failure."""
    log: list[str] = []

    class Fails(Stagehand):
        async def on_start(self) -> None:
            raise KeyError("early")

    async with open_runtime() as runtime:
        with pytest.raises(KeyError, match="early"):
            await runtime.spawn(Fails, log)

        assert runtime.living() == ()
        assert log == []


async def test_on_stop_is_called_when_actor_is_stopped(autojump_clock: Clock) -> None:
    """Once, however often it is stopped."""
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        ref.stop()
        ref.stop()
        await ref.wait_stopped()

        assert log == ["on_stop"]


async def test_on_stop_failure_causes_actor_to_stop(autojump_clock: Clock) -> None:
    """It is over, and here the failure is its crash."""

    class Fails(Stagehand):
        async def on_stop(self) -> None:
            raise KeyError("late")

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Fails, restart="temporary")
        ref.stop()
        down = await ref.wait_stopped()

    assert (down.reason, repr(down.error)) == ("crashed", "KeyError('late')")


async def test_actor_is_stopped_when_unhandled_exceptions_are_raised(
    autojump_clock: Clock,
) -> None:
    """
    ``on_failure`` is for an exception that nobody can be given; here ``Down`` has it, and the parent.

    ``on_stop`` runs too: Pykka leaves it out after a failure.
    """
    log: list[str] = []
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log, restart="temporary")
        await ref.tell(Do(crash))
        down = await ref.wait_stopped()

        assert repr(down.error) == "ValueError('boom')"
        assert runtime.living() == ()
        assert log == ["on_stop"]


async def test_an_exception_goes_to_the_asker(autojump_clock: Clock) -> None:
    """
    ``ask`` re-raises what the actor raised, and the actor lives on: ours does for `Refused` alone.

    Anything else is a crash; the asker gets `ActorCrashed` from it.
    """
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, restart="temporary")
        with pytest.raises(Refused):
            await ref.ask(Do(refuse))
        assert await ref.ask(Echo("alive")) == "alive"
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Do(crash))
        assert isinstance(caught.value.__cause__, ValueError)

        assert (await ref.wait_stopped()).reason == "crashed"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_all_actors_are_stopped_on_base_exception(
    autojump_clock: Clock, kind: type[BaseException]
) -> None:
    """Also those that would be restarted; and here it leaves the block as itself."""
    log: list[str] = []

    async def end_it_all(_: Actor) -> None:
        raise kind

    with pytest.raises(kind):  # noqa: PT012
        async with open_runtime() as runtime:
            await runtime.spawn(Stagehand, log)
            ref = await runtime.spawn(Stagehand, log)
            await ref.tell(Do(end_it_all))
            await trio.sleep_forever()

    assert log == ["on_stop"] * 2


async def test_actor_can_call_stop_on_self_multiple_times(autojump_clock: Clock) -> None:
    """And the handler that does so still replies."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        await ref.ask(Do(stop_twice))

        assert (await ref.wait_stopped()).reason == "stopped"


async def test_actor_processes_all_messages_before_stop_on_self_stops_it(
    autojump_clock: Clock,
) -> None:
    """Those that were sent before it."""
    log: list[str] = []

    async def greet_and_stop(hand: Stagehand) -> None:
        hand.ref.tell_nowait(Note("greetings"))
        hand.ref.stop()

    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, log)
        await ref.ask(Do(greet_and_stop))
        await ref.wait_stopped()

    assert log == ["greetings", "on_stop"]


# -- test_ref.py


async def test_repr_reveals_that_this_is_a_ref() -> None:
    """With the name, in angle brackets."""
    async with open_runtime() as runtime:
        assert repr(await runtime.spawn(Stagehand, name="x")) == "<Ref 'x'>"


async def test_whether_an_actor_is_alive_can_be_asked(autojump_clock: Clock) -> None:
    """``is_alive`` is a state in its figures; by then it may have changed, as there."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        assert ref.statistics().state == "running"
        await runtime.terminate(ref)

        assert ref.statistics().state == "stopped"


@pytest.mark.parametrize("message", [123, {"a": "dict"}, ["a", "list"], ValueError("x")])
async def test_tell_accepts_frames_alone(message: object) -> None:
    """``test_tell_accepts_any_object_as_the_message``: ours are values, declared and checked."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(TypeError, match="only frames can be sent"):
            await ref.tell(message)  # type: ignore[arg-type]


async def test_tell_and_ask_fail_if_actor_is_stopped(autojump_clock: Clock) -> None:
    """``ActorDeadError`` is `ActorStopped`, and says how it ended."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, name="x")
        await runtime.terminate(ref)
        with pytest.raises(ActorStopped, match="<Ref 'x'> stopped before handling Note"):
            await ref.tell(Note())
        with pytest.raises(ActorStopped, match="<Ref 'x'> stopped before handling Echo"):
            await ref.ask(Echo())


async def test_ask_blocks_until_response_arrives(autojump_clock: Clock) -> None:
    """Only the asking task does."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)

        assert await ref.ask(Echo("pong", 3)) == "pong"
        assert trio.current_time() == 3


async def test_ask_can_timeout_if_blocked_too_long(autojump_clock: Clock) -> None:
    """By Trio's own word for it; and here the actor stops working on it."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand)
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(1):
                await ref.ask(Echo("pong", 100))
        assert await ref.ask(Echo("next")) == "next"

        assert trio.current_time() == 1


async def test_ask_can_go_on_beside_other_work(autojump_clock: Clock) -> None:
    """``test_ask_can_return_future_instead_of_blocking``: a nursery is where it goes on."""
    replies: list[str] = []

    async def ask(ref: Ref) -> None:
        replies.append(await ref.ask(Echo("pong", 1)))

    async with open_runtime() as runtime:
        refs = [await runtime.spawn(Stagehand) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(ask, ref)

        assert replies == ["pong"] * 3
        assert trio.current_time() == 1


async def test_an_inbox_has_a_bound() -> None:
    """Pykka's is a ``queue.Queue`` without one; ours makes senders wait, or says that it is full."""
    async with open_runtime() as runtime:
        ref = await runtime.spawn(Stagehand, capacity=2, full="fail")
        await ref.tell(Echo("busy", 1))
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Note("1"))
        ref.tell_nowait(Note("2"))
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("3"))


# -- test_registry.py


async def test_actors_can_be_found(autojump_clock: Clock) -> None:
    """``get_by_urn``: by name, in the runtime that they live in; there is no global registry."""
    async with open_runtime() as one, open_runtime() as other:
        ref = await one.spawn(Stagehand, name="x")
        assert one.find("x") == ref
        with pytest.raises(LookupError, match="no living actor is named 'x'"):
            other.find("x")
        await one.terminate(ref)
        with pytest.raises(LookupError):
            one.find("x")


async def test_all_actors_are_stopped_in_reverse_order(autojump_clock: Clock) -> None:
    """``ActorRegistry.stop_all``: "in the opposite order of what they were started"."""
    log: list[str] = []

    class Named(Stagehand):
        async def on_stop(self) -> None:
            self.log.append(self.ref.name)

    async with open_runtime() as runtime:
        for name in "abc":
            await runtime.spawn(Named, log, name=name)
        await runtime.stop()

        assert log == ["c", "b", "a"]
        assert runtime.living() == ()


async def test_a_message_can_be_broadcast(autojump_clock: Clock) -> None:
    """``ActorRegistry.broadcast``: a topic, to those who subscribed to it."""
    log: list[str] = []

    class Hears(Stagehand):
        def __init__(self, topic: Topic[Note]) -> None:
            super().__init__(log)
            self.topic = topic

        async def on_start(self) -> None:
            self.subscribe(self.topic)

    async with open_runtime() as runtime:
        topic: Topic[Note] = runtime.topic("all")
        for _ in range(3):
            await runtime.spawn(Hears, topic)
        await topic.publish(Note("hello"))
        await trio.testing.wait_all_tasks_blocked()

        assert log == ["hello"] * 3
