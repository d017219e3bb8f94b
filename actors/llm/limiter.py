"""`Limiter`: no more requests, tokens and streams than a provider allows; who is early waits."""

import math
from typing import Final

import attrs
import trio

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.provider import Event, Provider, ProviderStream, UsageSeen
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.wrapping import Wrapping

__all__ = ["Allowance", "Limiter", "LimiterStatistics", "estimate_tokens"]

_MINUTE: Final = 60.0
_LETTERS: Final = 4  # of a token, about, in English


class Allowance:
    """
    What may be spent: so much at once, and so much more with time. Pure.

    It may go below zero, by what turned out to be more than was said; then nothing can be taken
    until it is made up for.

    Args:
        each_minute: What comes back in a minute, and the most that gathers; > 0.
        now: The time (seconds).
    """

    __slots__ = ("_at", "_left", "_most")

    def __init__(self, each_minute: float, now: float) -> None:
        self._most = each_minute
        self._left = float(each_minute)
        self._at = now

    def left(self, now: float) -> float:
        """Return what may be spent at the time *now*."""
        gained = max(0.0, now - self._at) * self._most / _MINUTE
        self._left = min(self._most, self._left + gained)
        self._at = max(self._at, now)
        return self._left

    def wait_for(self, amount: float, now: float) -> float:
        """
        Return how long it takes until *amount* may be spent, in seconds; 0 if it may now.

        More than ever gathers may be spent once all has.
        """
        missing = min(amount, self._most) - self.left(now)
        # a little more, so that rounding never leaves a wait of nothing
        return 0.0 if missing <= 1e-9 * self._most else missing * _MINUTE / self._most

    def spend(self, amount: float, now: float) -> None:
        """Take *amount* off, which may be negative: something that was not spent after all."""
        self._left = min(self._most, self.left(now) - amount)


def estimate_tokens(context: Context) -> int:
    """Return about how many tokens *context* has: a quarter of its letters, >= 1."""
    letters = sum(len(str(message)) for message in context.messages)
    letters += sum(len(str(spec)) for spec in context.tools)
    return max(1, letters // _LETTERS)


@attrs.frozen
class LimiterStatistics:
    """What a limiter holds at one moment."""

    streams: int
    """Responses that run, >= 0."""
    waiting: int
    """Requests that wait, >= 0."""
    requests: int
    """Requests let through since the start, >= 0."""
    tokens: int
    """Tokens of responses that are over, as reported or else as estimated, since the start; >= 0."""


class Limiter(Wrapping):
    """
    A `Provider` that lets through only so much; requests wait their turn, in order.

    What a request will cost is estimated from its context and its limit on tokens, and put right by
    the usage that is reported. The wait is part of the response, so the deadlines of `Patience` go on
    meanwhile. A limiter that several actors share limits them together.

    Args:
        provider: Who is asked.
        streams: Responses at once, >= 1; None for any number.
        requests_per_minute: > 0; None for any number.
        tokens_per_minute: > 0, of prompts and answers; None for any number.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        streams: int | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        super().__init__(provider)
        for name, value in (
            ("streams", streams),
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
        ):
            if value is not None and (isinstance(value, bool) or not 0 < value < math.inf):
                raise ValueError(f"{name} must be > 0, or None for any number, not {value!r}")
        if streams is not None and not isinstance(streams, int):  # pyright: ignore
            raise ValueError(f"streams must be an int >= 1, not {streams!r}")
        self._slots = None if streams is None else trio.Semaphore(streams)
        self._limits = (requests_per_minute, tokens_per_minute)
        self._allowances: tuple[Allowance | None, Allowance | None] | None = None  # once it runs
        self._turn = trio.StrictFIFOLock()
        self._running = 0
        self._waiting = 0
        self._requests = 0
        self._tokens = 0

    def statistics(self) -> LimiterStatistics:
        """Return the figures of this moment."""
        return LimiterStatistics(self._running, self._waiting, self._requests, self._tokens)

    async def request(self, context: Context, settings: Settings) -> ProviderStream:
        """
        See `Provider.request`.

        Cancellation: while it waits, nothing was spent.
        """
        estimate = _estimate(context, settings) if self._limits[1] is not None else 0
        self._waiting += 1
        try:
            await self._wait(estimate)
        finally:
            self._waiting -= 1
        self._running += 1
        self._requests += 1
        use = _Use(self, estimate)
        try:
            stream = await self.providers[0].request(context, settings)
        except BaseException:
            use.end()
            raise
        return _Limited(stream, use)

    async def _wait(self, tokens: int) -> None:
        """Wait for a slot, and then until the allowances are enough; then take of them."""
        if self._slots is not None:
            await self._slots.acquire()
        try:
            async with self._turn:
                for allowance, amount in zip(self._allowed(), (1, tokens), strict=True):
                    if allowance is None:
                        continue
                    while wait := allowance.wait_for(amount, trio.current_time()):  # noqa: ASYNC110
                        await trio.sleep(wait)
                for allowance, amount in zip(self._allowed(), (1, tokens), strict=True):
                    if allowance is not None:
                        allowance.spend(amount, trio.current_time())
        except BaseException:
            self._free_slot()
            raise

    def _allowed(self) -> tuple[Allowance | None, Allowance | None]:
        if self._allowances is None:
            now = trio.current_time()
            requests, tokens = (
                None if limit is None else Allowance(limit, now) for limit in self._limits
            )
            self._allowances = requests, tokens
        return self._allowances

    def _free_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()

    def settle(self, estimate: int, spent: int | None) -> None:
        """End a response that cost *spent* tokens, None if nobody has said; for its `_Use`."""
        self._running -= 1
        self._free_slot()
        tokens = estimate if spent is None else spent
        self._tokens += tokens
        _, allowance = self._allowed()
        if allowance is not None:
            allowance.spend(tokens - estimate, trio.current_time())


class _Use:
    """What one response holds of a limiter; ended once."""

    def __init__(self, limiter: Limiter, estimate: int) -> None:
        self.spent: int | None = None
        self._limiter: Limiter | None = limiter
        self._estimate = estimate

    def end(self) -> None:
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.settle(self._estimate, self.spent)


class _Limited:
    """A `ProviderStream` that gives back what it holds when it is over."""

    def __init__(self, stream: ProviderStream, use: _Use) -> None:
        self._stream = stream
        self._use = use

    @property
    def request_id(self) -> str | None:
        """See `ProviderStream.request_id`."""
        return self._stream.request_id

    @property
    def model(self) -> str:
        """See `ProviderStream.model`."""
        return self._stream.model

    async def events(self) -> tuple[Event, ...]:
        """See `ProviderStream.events`."""
        events = await self._stream.events()
        for event in events:
            if isinstance(event, UsageSeen):
                self._use.spent = event.usage.total
        return events

    def close(self) -> None:
        """See `ProviderStream.close`."""
        try:
            self._stream.close()
        finally:
            self._use.end()


def _estimate(context: Context, settings: Settings) -> int:
    limit = max(
        (
            value
            for value in (settings.max_tokens, settings.max_completion_tokens)
            if isinstance(value, int)
        ),
        default=0,
    )
    return estimate_tokens(context) + limit
