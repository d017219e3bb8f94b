"""
A response that is asked for again as long as nothing of it was delivered.

What is tried next, and whether, is a plain function of what has failed so far (`NextAttempt`): that
is all that `Retry` and `Fallback` differ in. `Attempted` is the stream that does as it says.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import trio

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.errors import Category, ProviderError, ProviderTimeout
from greenroom.actors.llm.patience import Deadline
from greenroom.actors.llm.provider import (
    AttemptFailed,
    Event,
    Provider,
    ProviderStream,
    has_begun,
)
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.wrapping import Wrapping

__all__ = [
    "Attempt",
    "Attempted",
    "Attempting",
    "NextAttempt",
    "check_seconds",
    "last_of",
    "told_of",
]


@attrs.frozen
class Attempt:
    """What is tried."""

    provider: Provider
    wait: float = 0.0
    """Seconds before the request, >= 0."""
    within: float = math.inf
    """Seconds from the request to the first token, > 0; then the attempt has failed."""


NextAttempt: TypeAlias = Callable[[Sequence[ProviderError]], Attempt | None]
"""
Says what is tried after these failures, none for the first; None if nothing more is.
"""


def check_seconds(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ValueError if *value* is no number of seconds > 0, or >= 0 with *zero*."""
    if isinstance(value, bool) or not (value >= 0 if zero else value > 0):
        least = ">= 0" if zero else "> 0"
        raise ValueError(f"{name} must be seconds {least} or math.inf, not {value!r}")


def told_of(failures: Sequence[ProviderError]) -> tuple[AttemptFailed, ...]:
    """Return the events that tell of *failures*."""
    return tuple(AttemptFailed(reason) for error in failures for reason in error.reasons)


def last_of(failures: Sequence[ProviderError]) -> ProviderError:
    """Return the last of *failures*, at least one, which then has the others with it."""
    last = failures[-1]
    last.earlier = (
        tuple(reason for error in failures[:-1] for reason in error.reasons) + last.earlier
    )
    return last


class Attempted:
    """
    A `ProviderStream` that begins anew, until the first token has come.

    Each attempt that failed is told as an `AttemptFailed`; the failure of the last one is raised,
    and has the others in ``earlier``.
    """

    def __init__(self, choose: NextAttempt, context: Context, settings: Settings) -> None:
        self._choose = choose
        self._context = context
        self._settings = settings
        self._failures: list[ProviderError] = []  # at most one for each attempt
        self._told = 0  # of those, as events
        self._stream: ProviderStream | None = None
        self._has_begun = False  # a token or the end came: nothing is tried again
        self._due_at = math.inf  # when the attempt has failed (Trio clock)
        self._attempt: Attempt | None = None  # the one that runs

    @property
    def request_id(self) -> str | None:
        """See `ProviderStream.request_id`; of the attempt that runs."""
        return None if self._stream is None else self._stream.request_id

    @property
    def model(self) -> str:
        """See `ProviderStream.model`; of the attempt that runs."""
        return "" if self._stream is None else self._stream.model

    async def begin(self) -> None:  # noqa: ASYNC910 - as the provider does
        """
        Make attempts until one has the head of its response.

        Raises:
            ProviderError: the last one has failed, and nothing more is to be tried.

        Cancellation: the request is aborted.
        """
        while (attempt := self._choose(self._failures)) is not None:
            try:
                if attempt.wait:
                    await trio.sleep(attempt.wait)
                self._attempt = attempt
                self._due_at = trio.current_time() + attempt.within
                with trio.CancelScope(deadline=self._due_at) as scope:
                    self._stream = await attempt.provider.request(self._context, self._settings)
                if scope.cancelled_caught:
                    raise self._late()
            except ProviderError as error:
                self._failures.append(error)
            else:
                return
        raise last_of(self._failures)

    async def events(self) -> tuple[Event, ...]:  # noqa: ASYNC910 - as the provider's
        """See `ProviderStream.events`; attempts that failed are told first."""
        while True:
            if self._told < len(self._failures):
                told, self._told = self._told, len(self._failures)
                await trio.lowlevel.checkpoint()
                return told_of(self._failures[told:])
            assert self._stream is not None, "begin() comes first"
            if self._has_begun:
                return await self._stream.events()
            try:
                return await self._first_events(self._stream)
            except ProviderError as error:
                self._drop()
                self._failures.append(error)
            await self.begin()

    async def _first_events(self, stream: ProviderStream) -> tuple[Event, ...]:
        with trio.CancelScope(deadline=self._due_at) as scope:
            events = await stream.events()
            if not events:
                raise ProviderError(
                    "the stream was closed before its first token", category=Category.CONNECTIVITY
                )
            self._has_begun = has_begun(events)
            return events
        assert scope.cancelled_caught
        raise self._late()

    def _late(self) -> ProviderTimeout:
        attempt = self._attempt
        assert attempt is not None, "something was late"
        return ProviderTimeout(
            f"{attempt.provider.name} gave no token within {attempt.within:g} s",
            deadline=Deadline.FIRST_TOKEN,
        )

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """See `ProviderStream.close`."""
        if self._stream is not None:
            self._stream.close()


class Attempting(Wrapping, ABC):
    """A `Provider` that makes attempts at others; a subclass says which, by `next_attempt`."""

    async def request(self, context: Context, settings: Settings) -> Attempted:
        """See `Provider.request`; the failure that is raised is the last one."""
        stream = Attempted(self.next_attempt, context, settings)
        await stream.begin()
        return stream

    @abstractmethod
    def next_attempt(self, failures: Sequence[ProviderError]) -> Attempt | None:
        """Say what is tried next, see `NextAttempt`."""
