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
leaves. With ``wait`` it works as long as it publishes no more than its buffer holds; then it waits
for itself, which nobody notices: such a wait is no edge of the wait-for graph (R24).
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Final, Generic, Literal, Self, TypeAlias, TypeVar, get_args

import trio

from greenroom.runtime.errors import MailboxFull
from greenroom.runtime.groups import bare

__all__ = ["DEFAULT_LAG", "LagPolicy", "Lagged", "Subscription", "Topic"]

LagPolicy: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "leave"]

DEFAULT_LAG: Final = 64

ValueT = TypeVar("ValueT")


class Lagged(Exception):
    """A subscriber with the policy ``leave`` was too far behind, and was dropped from its topic."""


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

    def give(self, value: ValueT) -> bool:
        """Hand *value* over, as the policy has it; False if a publisher is to wait."""
        if self.accepts is not None and not self.accepts(value):
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

    async def wait_to_give(self, value: ValueT) -> None:  # noqa: ASYNC910 - `publish` has had one
        """Wait until there is room, and hand *value* over; nothing once it has left."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send.send(value)

    def end(self) -> None:
        """Let nothing more in; what is there can still be read. Idempotent."""
        self._send.close()

    def close(self) -> None:
        """Leave: forget what was not read, and let waiting publishers go. Idempotent."""
        self._topic.forget(self)
        self._receive.close()
        self._send.close()

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

    def __init__(self, name: str, *, waits: bool = True) -> None:
        """
        Args:
            name: For messages.
            waits: Whether subscribers may choose to be waited for.
        """
        self.name = name
        self._waits = waits
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

        Cancellation:
            Before it began to wait: nobody got it. While it waits: all that had room have it, and of
            those that had none, those that have made room since. To publish it again would give
            it to them twice.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        await self.wait_to_give(value, self.offer(value))

    def offer(self, value: ValueT) -> Sequence[Subscription[ValueT]]:
        """Give *value* to all that need not be waited for, and return the others."""
        return [s for s in tuple(self._subscriptions) if not s.give(value)]

    async def wait_to_give(  # noqa: ASYNC910 - as documented
        self, value: ValueT, slow: Sequence[Subscription[ValueT]]
    ) -> None:
        """
        Wait for those that `offer` left out, at once.

        Checkpoint: if there are any.
        """
        if len(slow) == 1:
            await slow[0].wait_to_give(value)
        elif slow:
            with bare():
                async with trio.open_nursery() as nursery:
                    for subscription in slow:
                        nursery.start_soon(subscription.wait_to_give, value)

    def publish_nowait(self, value: ValueT) -> None:
        """
        Give *value* to every subscriber.

        Raises:
            MailboxFull: a subscriber that wants to be waited for has no room; nobody got it.

        Checkpoint: never.
        """
        if any(subscription.is_full for subscription in self._subscriptions):
            raise MailboxFull(
                f"{type(value).__name__} not published: a subscriber of topic {self.name!r} has no "
                f"room; write await topic.publish(...) to wait for it"
            )
        for subscription in tuple(self._subscriptions):
            subscription.give(value)

    def close(self) -> None:
        """
        End the topic: subscribers read what they have, and then the end. Idempotent.

        Publishers that wait are let go; what they had is lost to those that had no room for it.
        """
        self._closed = True
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions:
            subscription.end()
