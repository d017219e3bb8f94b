"""
Publish and subscribe, inside one ``trio.run``.

A `Topic` hands each value that is published to every subscriber. Each subscriber has a bounded
buffer, and says what is to happen when it lags behind by more than that:

``wait``
    `Topic.publish` waits for it: back-pressure;
``drop_oldest``, ``drop_newest``
    it misses some, which are counted;
``leave``
    it is dropped from the topic; it reads what it has, and then `Lagged` is raised.

A subscriber that waits, leaves or fails does not hold the others up: a publisher first gives to all
that have room, and then waits for the rest, at once. Order is kept per publisher (I2).

Whoever publishes on a topic that it reads itself should subscribe with a policy that drops or
leaves. With ``wait`` it works as long as it publishes no more than there is room for; then it would
wait for itself. Where the subscriber is an actor, by ``Actor.subscribe``, and the publisher a
handler, `Topic.publish` raises `DeadlockError` instead (R24). Who reads a subscription by itself is
plain Trio code, and a wait for it is no edge of the graph.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar, get_args

import trio

from greenroom.runtime.envelope import Slot
from greenroom.runtime.errors import DeadlockError, MailboxFull
from greenroom.runtime.groups import bare
from greenroom.runtime.shared import slots_of_run
from greenroom.runtime.waits import AllOf, Wait, Waiter, check_wait

__all__ = ["DEFAULT_LAG", "LagPolicy", "Lagged", "Subscription", "Topic"]

LagPolicy: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "leave"]

DEFAULT_LAG: Final = 64

_WAY_OUT: Final = "subscribing with lag='drop_oldest', or with a larger buffer"

ValueT = TypeVar("ValueT")


class Lagged(Exception):
    """A subscriber with the policy ``leave`` was too far behind, and was dropped from its topic."""


class _Giving:
    """What a publisher waits for whose value finds a subscription full; a `waits.Wait`."""

    def __init__(self, subscription: "Subscription[Any]", slot: Slot | None) -> None:
        self._subscription = subscription
        self._slot = slot  # whose handler publishes, in this very task
        self.scope = trio.CancelScope()  # around the wait; cancelled by `look_again`
        self.error: DeadlockError | None = None  # why it was
        self.is_over = False  # or given up

    def blockers(self) -> Sequence[Waiter] | None:
        held_up = self._subscription.held_up
        if held_up is None or self.is_over or self._subscription.lets_in(self):
            return None
        return held_up.blockers()

    def describe(self) -> str:
        held_up = self._subscription.held_up
        where = f"publishes on topic {self._subscription.topic_name!r}"
        return f"{where}, of which a subscriber {held_up.describe()}" if held_up else where

    def look_again(self) -> None:
        """Give the wait up if it can never end, now that the subscriber is held up."""
        slot = self._slot
        if slot is not None and not slot.is_cancelled and not self.is_over:
            try:
                check_wait(slot, self, _WAY_OUT)
            except DeadlockError as error:
                self.error = error
                self.give_up()

    def give_up(self) -> None:
        """End the wait; in this very step, as those behind it count the waits before theirs."""
        self.is_over = True
        self._subscription.forget_giving(self)
        self.scope.cancel(reason="a deadlock")


class Subscription(Generic[ValueT]):
    """
    One subscriber's end: ``with topic.subscribe() as values: async for value in values``.

    Attributes:
        delivered: How many values it has taken.
        dropped: How many it missed by its policy.
        accepts: Which values it is given; None: all.
    """

    def __init__(
        self,
        topic: "Topic[ValueT]",
        buffer: int,
        lag: LagPolicy,
        accepts: Callable[[ValueT], bool] | None,
    ) -> None:
        self.delivered = 0
        self.dropped = 0
        self.accepts = accepts
        self._topic = topic
        self._lag: LagPolicy = lag
        self._buffer = buffer
        self._send, self._receive = trio.open_memory_channel[ValueT](buffer)
        self._fate: Lagged | None = None
        self._ended = False  # nothing more is let in
        # what the subscriber waits for before it takes another value, where that is known: set by
        # `hold_up`, and cleared, by who forwards the values to an actor
        self.held_up: Wait | None = None
        self._givings: dict[_Giving, None] = {}  # the waits of publishers, in order; until over

    @property
    def topic_name(self) -> str:
        """The name of its topic."""
        return self._topic.name

    @property
    def behind(self) -> int:
        """How many values wait to be read."""
        return self._send.statistics().current_buffer_used

    @property
    def is_waiting(self) -> bool:
        """Whether its reader waits for the next value."""
        return self._receive.statistics().tasks_waiting_receive > 0

    @property
    def is_full(self) -> bool:
        """Whether a publisher would have to wait for it."""
        return self._lag == "wait" and self.behind >= self._buffer

    def wants(self, value: ValueT) -> bool:
        """Tell whether *value* is for this subscriber."""
        return self.accepts is None or self.accepts(value)

    def give(self, value: ValueT) -> bool:
        """Hand *value* over, as the policy has it; False if a publisher is to wait."""
        if not self.wants(value):
            return True
        try:
            self._send.send_nowait(value)
        except trio.WouldBlock:
            if self._lag == "wait":
                return False
            self.dropped += 1
            if self._lag == "drop_oldest":
                self._receive.receive_nowait()  # there is one, as it is full
                self._send.send_nowait(value)
            elif self._lag == "leave":
                self._fate = Lagged(
                    f"a subscriber of topic {self._topic.name!r} was {self.behind} values behind, "
                    f"which is its bound; read faster, or subscribe with a larger buffer"
                )
                self._topic.forget(self)
                self._send.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left
        return True

    async def wait_to_give(self, value: ValueT, giving: _Giving) -> None:  # noqa: ASYNC910
        """
        Wait until there is room, and hand *value* over; nothing once it has left.

        Nor if there would never be room; that is then the error of *giving* (R24).
        """
        if self.is_full:
            giving.look_again()  # several are waited for by tasks that begin a step later
        if giving.is_over:
            return  # noqa: ASYNC910
        self._givings[giving] = None
        try:
            with (
                giving.scope,
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                await self._send.send(value)
        finally:
            giving.is_over = True
            self.forget_giving(giving)

    def forget_giving(self, giving: _Giving) -> None:
        """Note that *giving* is over or given up."""
        self._givings.pop(giving, None)

    def lets_in(self, giving: _Giving) -> bool:
        """Tell whether *giving* is over, though its publisher may not have noticed yet."""
        givings = list(self._givings)
        let_in = len(givings) - self._send.statistics().tasks_waiting_send
        return self._ended or giving in givings[:let_in]

    def hold_up(self, wait: Wait) -> None:
        """
        Note what the subscriber waits for before it takes another value, until `held_up` is cleared.

        A publisher that waits for it, and so would wait for ever, gets `DeadlockError` (R24).
        """
        self.held_up = wait
        for giving in tuple(self._givings):
            giving.look_again()

    def end(self) -> None:
        """Let nothing more in; what is there can still be read. Idempotent."""
        self._ended = True
        self._send.close()

    def close(self) -> None:
        """Leave: forget what was not read, and let waiting publishers go. Idempotent."""
        self._topic.forget(self)
        self._receive.close()
        self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ValueT:
        """
        Return the next value.

        Raises:
            StopAsyncIteration: the topic was closed, and all was read.
            Lagged: the policy is ``leave``, it was too far behind, and all was read.

        Cancellation: no value is lost.

        Checkpoint: always.
        """
        try:
            value = await self._receive.receive()
        except trio.EndOfChannel:
            raise self._fate or StopAsyncIteration from None
        self.delivered += 1
        return value


class Topic(Generic[ValueT]):
    """
    A subject that values are published on; ``runtime.topic(name)`` gives the one of a name.

    Nothing is kept for those who subscribe later.
    """

    def __init__(
        self,
        name: str,
        *,
        waits: bool = True,
        of: type[ValueT] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            name: For messages.
            waits: Whether subscribers may choose to be waited for.
            of: What it carries, if it is to be known: an actor can then subscribe only if it has a
                handler for that.
            check: Raises a RuntimeError where nothing of it can be waited for (R30).
        """
        self.name = name
        self.of = of
        self._waits = waits
        self._check = check
        self._subscriptions: dict[Subscription[ValueT], None] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}, {len(self._subscriptions)} subscribers>"

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(
        self,
        *,
        buffer: int = DEFAULT_LAG,
        lag: LagPolicy = "drop_oldest",
        accepts: Callable[[ValueT], bool] | None = None,
    ) -> Subscription[ValueT]:
        """
        Subscribe from now on, until the subscription is closed: at the end of its ``with`` block.

        Args:
            buffer: How many values it may be behind, >= 1.
            lag: What happens then; see `topic`.
            accepts: Tells which values it is given; the others take no room in its buffer.

        Raises:
            ValueError: an option is out of its range, or the topic waits for nobody.

        Checkpoint: never; reading does.
        """
        if not (isinstance(buffer, int) and buffer >= 1):
            raise ValueError(f"buffer must be an int >= 1 (values), not {buffer!r}")
        if lag not in get_args(LagPolicy):
            raise ValueError(f"lag must be one of {', '.join(get_args(LagPolicy))}, not {lag!r}")
        if lag == "wait" and not self._waits:
            raise ValueError(
                f"topic {self.name!r} waits for no subscriber; write lag='drop_oldest' or another"
            )
        subscription = Subscription(self, buffer, lag, accepts)
        if self._closed:
            subscription.end()
        else:
            self._subscriptions[subscription] = None
        return subscription

    def forget(self, subscription: Subscription[ValueT]) -> None:
        """Give *subscription* nothing more; called by its ``close``."""
        self._subscriptions.pop(subscription, None)

    async def publish(self, value: ValueT) -> None:
        """
        Give *value* to every subscriber, waiting for those who want to be waited for.

        Once the topic is closed there is nobody to give to.

        Raises:
            DeadlockError: an actor that is to be waited for waits for this handler, or is the one
                that it belongs to (R24). If that is clear from the start, nobody got *value*;
                else as at a cancellation.
            RuntimeError: this is another thread, another run, or no Trio task (R30).

        Cancellation:
            Before it began to wait: nobody got it. While it waits: all that had room have it, and of
            those that had none, those that have made room since. To publish it again would give
            it to them twice.

        Checkpoint: always.
        """
        self._check()
        await trio.lowlevel.checkpoint()
        await self.hand_out(value)

    async def hand_out(self, value: ValueT) -> None:  # noqa: ASYNC910 - as documented
        """Publish *value*; as `publish`, with a checkpoint only if it waits."""
        full = [s for s in self._subscriptions if s.is_full and s.wants(value)]
        if not full:
            self._give(value)
            return  # noqa: ASYNC910
        occupant = slots_of_run().get(trio.lowlevel.current_task())
        slot = occupant if isinstance(occupant, Slot) else None
        givings = [_Giving(subscription, slot) for subscription in full]
        wait = AllOf(givings)
        if slot is None:
            self._give(value)
            await self._wait_to_give(value, full, givings)
            return
        check_wait(slot, wait, _WAY_OUT)
        self._give(value)
        waiting, slot.waiting = slot.waiting, wait
        try:
            await self._wait_to_give(value, full, givings)
        finally:
            slot.waiting = waiting

    def _give(self, value: ValueT) -> None:
        """Give *value* to all that have room, or do without it."""
        for subscription in tuple(self._subscriptions):
            subscription.give(value)

    async def _wait_to_give(  # noqa: ASYNC910 - `publish` has had one
        self, value: ValueT, full: list[Subscription[ValueT]], givings: list[_Giving]
    ) -> None:
        """Wait for all of *full*, at once; raises the first deadlock of them."""
        if len(full) == 1:
            await full[0].wait_to_give(value, givings[0])
        else:
            with bare():
                async with trio.open_nursery() as nursery:

                    async def wait(subscription: Subscription[ValueT], giving: _Giving) -> None:
                        await subscription.wait_to_give(value, giving)
                        if giving.error is not None:
                            for other in givings:
                                other.give_up()

                    for subscription, giving in zip(full, givings, strict=True):
                        nursery.start_soon(wait, subscription, giving)
        if error := next((giving.error for giving in givings if giving.error), None):
            raise error

    def publish_nowait(self, value: ValueT) -> None:
        """
        Give *value* to every subscriber.

        Raises:
            MailboxFull: a subscriber that wants to be waited for has no room; nobody got it.

        Checkpoint: never.
        """
        if any(s.is_full and s.wants(value) for s in self._subscriptions):
            raise MailboxFull(
                f"{type(value).__name__} not published: a subscriber of topic {self.name!r} has no "
                f"room; write await topic.publish(...) to wait for it"
            )
        self._give(value)

    def close(self) -> None:
        """
        End the topic: subscribers read what they have, and then the end. Idempotent.

        Publishers that wait are let go; what they had is lost to those that had no room for it.
        """
        self._closed = True
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions:
            subscription.end()
