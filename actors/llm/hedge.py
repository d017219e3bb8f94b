"""`Hedge`: a second provider is asked when the first is slow; the first to say something answers."""

import attrs
import trio

from greenroom.actors.llm.attempts import check_seconds, last_of, told_of
from greenroom.actors.llm.context import Context
from greenroom.actors.llm.errors import Category, ProviderError
from greenroom.actors.llm.provider import (
    Event,
    Provider,
    ProviderStream,
    has_begun,
)
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.wrapping import Wrapping
from greenroom.runtime import bare

__all__ = ["Hedge"]


class Hedge(Wrapping):
    """
    A `Provider` that asks the next one too when no token has come for a while, and closes the losers.

    ``LLM(Hedge(provider, provider, after=2.0))`` asks the same provider twice. Who gives the first
    token is the one that answers; the others are closed in the same step, and what they cost until
    then is paid for. One that fails does not end the race while others run, and has the next one
    start at once.

    The request counts as begun at once, so ``patience.headers`` does not apply; ``first_token`` does.

    Args:
        providers: In the order in which they are asked, at least two; the same one may come twice.
        after: How long to wait for a token before the next one is asked, in seconds, > 0.

    Raises:
        ValueError: there are fewer than two providers, or *after* is out of its range.
    """

    def __init__(self, *providers: Provider, after: float) -> None:
        super().__init__(*providers)
        if len(providers) < 2:
            raise ValueError(
                f"a race needs two providers or more, and got {len(providers)}; the same one may "
                f"come twice: Hedge(provider, provider, after=2.0)"
            )
        check_seconds("after", after)
        self._after = after

    async def request(self, context: Context, settings: Settings) -> ProviderStream:
        """See `Provider.request`; nothing is sent before the events are asked for."""
        await trio.lowlevel.checkpoint()
        return _Race(self.providers, self._after, context, settings)


@attrs.define
class _Runner:
    """One of those that race."""

    stream: ProviderStream | None = None
    events: tuple[Event, ...] = ()
    error: ProviderError | None = None


class _Race:
    """A `ProviderStream` that is the stream of who comes first."""

    def __init__(
        self,
        providers: tuple[Provider, ...],
        after: float,
        context: Context,
        settings: Settings,
    ) -> None:
        self._providers = providers
        self._after = after
        self._context = context
        self._settings = settings
        self._winner: _Runner | None = None
        self._stream: ProviderStream | None = None  # the winner's
        self._is_closed = False

    @property
    def request_id(self) -> str | None:
        """See `ProviderStream.request_id`; of the winner."""
        return None if self._stream is None else self._stream.request_id

    @property
    def model(self) -> str:
        """See `ProviderStream.model`; of the winner."""
        return "" if self._stream is None else self._stream.model

    async def events(self) -> tuple[Event, ...]:
        """See `ProviderStream.events`; the first call is the race."""
        if self._stream is not None:
            return await self._stream.events()
        if self._is_closed:
            raise ProviderError("the stream was closed", category=Category.UNKNOWN)
        runners = [_Runner() for _ in self._providers]
        try:
            with bare():
                async with trio.open_nursery() as nursery:
                    await self._start(runners, nursery)
        except BaseException:
            self.close()  # of a winner, who won in the same step
            raise
        failures = [runner.error for runner in runners if runner.error is not None]
        if self._winner is None:
            raise last_of(failures)
        return (*told_of(failures), *self._winner.events)

    async def _start(  # noqa: ASYNC910 - there is always somebody to start
        self, runners: list[_Runner], nursery: trio.Nursery
    ) -> None:
        """Start one after another, each when those before have taken long enough or have failed."""
        running: list[trio.Event] = []
        for runner, provider in zip(runners, self._providers, strict=True):
            over = trio.Event()
            running.append(over)
            nursery.start_soon(self._run, runner, provider, over, nursery.cancel_scope)
            with trio.move_on_after(self._after):
                await over.wait()
                # a runner that began earlier may still be on its way
                # and is waited for by the nursery, or cancelled by who wins
            if self._winner is not None:
                return

    async def _run(  # noqa: ASYNC910 - as the provider does
        self,
        runner: _Runner,
        provider: Provider,
        over: trio.Event,
        race: trio.CancelScope,
    ) -> None:
        try:
            runner.stream = await provider.request(self._context, self._settings)
            while not has_begun(runner.events):
                events = await runner.stream.events()
                if not events:
                    raise ProviderError(
                        f"{provider.name} closed the stream before its first token",
                        category=Category.CONNECTIVITY,
                    )
                runner.events += events
        except ProviderError as error:
            runner.error = error
        else:
            if self._winner is None:
                self._winner, self._stream = runner, runner.stream
                race.cancel(reason="another provider was faster")
        finally:
            if runner.stream is not None and self._winner is not runner:
                runner.stream.close()
            over.set()

    def close(self) -> None:
        """See `ProviderStream.close`."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.close()
