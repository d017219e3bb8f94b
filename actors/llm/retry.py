"""`Retry`: the same provider again, after a pause, as long as nothing was delivered."""

import math
import random
from collections.abc import Collection, Sequence
from typing import Final

from greenroom.actors.llm.attempts import Attempt, Attempting, check_seconds
from greenroom.actors.llm.errors import Category, ProviderError
from greenroom.actors.llm.provider import Provider

__all__ = ["Retry"]

# What may go away by itself.
_PASSING: Final = frozenset({Category.RATE_LIMIT, Category.CONNECTIVITY, Category.SERVER})


class Retry(Attempting):
    """
    A `Provider` that asks another one again when it fails before the first token.

    ``LLM(Retry(OpenAIProvider(), attempts=3))``. What has been delivered is never asked for again,
    so a failure after the first token is the end of the response.

    The pauses are *first_pause*, and then twice the one before, each up to half shorter by chance,
    so that many clients don't come back at once. What the provider asks for (``Retry-After``) counts
    instead where it is longer; where it is longer than *longest_pause_asked*, nothing is tried again.
    The deadlines of `Patience` are for the whole, pauses included.

    Args:
        provider: Who is asked.
        attempts: How often at most, >= 1.
        within: How long each attempt but the last may take to its first token, in seconds.
            ``Retry(provider, attempts=2, within=5, first_pause=0)`` asks a second time after five
            seconds of silence, and then waits as long as it takes.
        first_pause: Seconds before the second attempt, >= 0.
        longest_pause: Seconds that none of the pauses of our own is over, >= 0.
        longest_pause_asked: Seconds to wait at most because a provider asks for it, >= 0.
        on: The categories of failures after which it is worth trying again.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        attempts: int = 3,
        within: float = math.inf,
        first_pause: float = 0.5,
        longest_pause: float = 8.0,
        longest_pause_asked: float = 60.0,
        on: Collection[Category] = _PASSING,
    ) -> None:
        super().__init__(provider)
        if isinstance(attempts, bool) or attempts < 1:
            raise ValueError(f"attempts must be an int >= 1, not {attempts!r}")
        check_seconds("within", within)
        check_seconds("first_pause", first_pause, zero=True)
        check_seconds("longest_pause", longest_pause, zero=True)
        check_seconds("longest_pause_asked", longest_pause_asked, zero=True)
        self._attempts = attempts
        self._within = within
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._longest_pause_asked = longest_pause_asked
        self._on = frozenset(on)

    def next_attempt(self, failures: Sequence[ProviderError]) -> Attempt | None:
        """Say what is tried next, see `NextAttempt`."""
        number = len(failures)
        if number >= self._attempts:
            return None
        is_last = number == self._attempts - 1
        within = math.inf if is_last else self._within
        if not failures:
            return Attempt(self.providers[0], within=within)
        failure = failures[-1]
        if failure.category not in self._on:
            return None
        pause = min(self._longest_pause, self._first_pause * 2 ** min(number - 1, 60))
        pause *= 1 - random.random() / 2
        if failure.retry_after is not None:
            if failure.retry_after > self._longest_pause_asked:
                return None
            pause = max(pause, failure.retry_after)
        return Attempt(self.providers[0], wait=pause, within=within)
