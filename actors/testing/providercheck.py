"""
What every provider has to keep, as one call: `check_provider`, for providers that others write.

It is asked and cut off at every position, and has to work afterwards as before.
"""

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import attrs
import trio

from greenroom.actors.llm import (
    LLM,
    CallFragment,
    Context,
    Event,
    Finished,
    Generate,
    LogprobsDelta,
    ModelSeen,
    Provider,
    ProviderError,
    ProviderStream,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    ToolCallsReady,
    TranscriptDelta,
    UsageReported,
    UsageSeen,
    User,
)
from greenroom.actors.llm.frames import DELTAS
from greenroom.runtime import HandlerStarted
from greenroom.runtime.testing import Scenario, World, simulate, sweep

__all__ = ["ProviderFactory", "check_provider"]

#: What makes a provider: a plain factory, or one of a block that has it open, as over a network.
ProviderFactory: TypeAlias = (
    Callable[[], Provider] | Callable[[], AbstractAsyncContextManager[Provider]]
)

_ASKED: Final = Context.of(User("Which is heavier, Jupiter or Saturn?"))
_EVENTS: Final = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    TranscriptDelta,
    LogprobsDelta,
    RawEvent,
    CallFragment,
    Finished,
    UsageSeen,
    ModelSeen,
)
_TEXTS: Final = (TextDelta, ReasoningDelta, RefusalDelta, TranscriptDelta)
_AFTER_THE_END: Final = (UsageSeen, ModelSeen, RawEvent)


@attrs.frozen
class _Case:
    """What one provider is checked with."""

    make: ProviderFactory
    context: Context
    settings: Settings
    is_free: Callable[[Any], bool] | None

    @asynccontextmanager
    async def opened(self, w: World, *, runs: bool = True) -> AsyncGenerator[Provider]:
        """Open the provider, with its background work if *runs*; at the end it is closed, twice."""
        async with AsyncExitStack() as stack:
            made = self.make()
            if isinstance(made, AbstractAsyncContextManager):
                provider: Provider = await stack.enter_async_context(made)
            else:
                provider = made
            w.own("the provider", lambda: self._is_free(provider))
            async with trio.open_nursery() as nursery:
                if runs:
                    await nursery.start(provider.run)
                try:
                    yield provider
                finally:
                    nursery.cancel_scope.cancel()
                    for _ in range(2):
                        _close(provider, "the provider")
            # a peer in memory needs its turn to see the end
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()

    def _is_free(self, provider: Provider) -> bool:
        return self.is_free is None or self.is_free(provider)

    def check_free(self, provider: Provider, when: str) -> None:
        """Raise AssertionError unless nothing of the provider is in use."""
        if not self._is_free(provider):
            raise AssertionError(f"{when} the provider is not free; close has to let go at once")

    async def respond(self, provider: Provider, most: int | None = None) -> list[Event]:
        """
        Return the events of one response, all or the first so many chunks, and close it.

        Raises:
            AssertionError: it was not as `Provider` and `ProviderStream` say.
            ProviderError: it failed.
        """
        every: list[Event] = []
        chunks = 0
        stream: ProviderStream = await _only_provider_errors(
            "request", partial(provider.request, self.context, self.settings)
        )
        try:
            while most is None or chunks < most:
                events: tuple[Event, ...] = await _only_provider_errors("events", stream.events)
                _check_events(events, every)
                if not events:
                    again = await _only_provider_errors("events", stream.events)
                    if again != ():
                        raise AssertionError(f"after its end events() gave {again!r}, not ()")
                    break
                every += events
                chunks += 1
        finally:
            for _ in range(2):
                _close(stream, "the stream")
        return every


def _close(what: Provider | ProviderStream, name: str) -> None:
    """Close *what*; AssertionError if that raised, or gave something to wait for."""
    try:
        given = cast("Callable[[], object]", what.close)()
    except Exception as error:
        raise AssertionError(
            f"close() of {name} raised {error!r}; it is to be called any number of times"
        ) from None
    if inspect.iscoroutine(given):
        given.close()
    if given is not None:
        raise AssertionError(f"close() of {name} must be a plain function, and gave {given!r}")


async def _only_provider_errors(name: str, function: Callable[[], Any]) -> Any:
    """Call *function*; AssertionError for any exception but a `ProviderError` of one line."""
    try:
        return await function()
    except ProviderError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(
                f"{name} raised an error without its one line: {error!r}"
            ) from None
        raise
    except Exception as error:
        raise AssertionError(
            f"{name} raised {type(error).__name__} ({error}), and only ProviderError is for those "
            f"who call it"
        ) from error


def _check_events(events: object, before: Sequence[Event]) -> None:
    """Raise AssertionError unless *events* may come after those *before*."""
    assert isinstance(events, tuple), f"events() must give a tuple of events, not {events!r}"
    has_finished = any(isinstance(event, Finished) for event in before)
    for event in cast("tuple[object, ...]", events):
        assert isinstance(event, _EVENTS), f"events() gave {event!r}, which is no Event"
        if isinstance(event, _TEXTS) and not event.text:
            raise AssertionError(f"events() gave an empty {type(event).__name__}; leave it out")
        if has_finished and not isinstance(event, _AFTER_THE_END):
            raise AssertionError(
                f"{event!r} came after Finished; only UsageSeen, ModelSeen and RawEvent may"
            )
        has_finished = has_finished or isinstance(event, Finished)


def _check_frames(frames: Sequence[ResponseFrame], *, began: bool) -> None:
    """Raise AssertionError unless *frames* are a response in the documented order (I5)."""
    order: tuple[Any, ...] = (
        ResponseStarted,
        DELTAS,
        ToolCallsReady,
        UsageReported,
        ResponseEnded,
    )
    places = [next(n for n, kind in enumerate(order) if isinstance(f, kind)) for f in frames]
    ends = (places.count(0), places.count(4)) == ((1, 1) if began else (0, 0))
    if not ends or places != sorted(places) or places.count(2) > 1 or places.count(3) > 1:
        kinds = ", ".join(type(frame).__name__ for frame in frames) or "nothing"
        raise AssertionError(f"the LLM actor made {kinds} of it, which is no response (I5)")


async def _direct(case: _Case, w: World) -> None:
    """Ask it without an actor: to the end or cut off, then left early; and then again."""
    async with case.opened(w) as provider:
        try:
            with w.scope("request"):
                await case.respond(provider)
        finally:
            case.check_free(provider, "after a response that ended or was cancelled")
        await case.respond(provider, 0)
        case.check_free(provider, "after a response that was closed before its first chunk")
        await case.respond(provider, 1)
        case.check_free(provider, "after a response that was closed in its midst")
        if not await case.respond(provider):
            raise AssertionError("the response after that had no events at all")


async def _by_the_actor(case: _Case, w: World) -> None:
    """Ask it through the actor, by an asker that is cut off; and then again."""
    async with case.opened(w, runs=False) as provider:  # the actor sees to that
        llm = await w.runtime.spawn(LLM, provider, case.settings, name="llm")
        frames: list[ResponseFrame] = []
        for name in ("asker", "next"):
            frames.clear()
            before = w.history.count(HandlerStarted)
            stream = llm.stream(Generate(case.context), buffer=1)
            with w.scope(name):
                async with stream:
                    async for frame in stream:
                        frames.append(frame)  # noqa: PERF401 - what came before the cut counts
            frames.extend(stream.untaken)
            _check_frames(frames, began=w.history.count(HandlerStarted) > before)
            case.check_free(provider, "after a turn of the LLM actor")
        for frame in frames:
            if isinstance(frame, ResponseEnded) and frame.status is Status.FAILED:
                raise AssertionError(f"the request after that failed: {frame.detail}")


async def _failing(case: _Case, w: World) -> None:
    """Ask one that is to fail, twice."""
    async with case.opened(w) as provider:
        for _ in range(2):
            has_failed = False
            with w.scope("request") as scope:
                try:
                    await case.respond(provider)
                except ProviderError:
                    has_failed = True
                finally:
                    case.check_free(provider, "after a response that failed")
            if not has_failed and not scope.cancelled_caught:
                raise AssertionError("it was to fail with a ProviderError, and came to its end")


def check_provider(
    factory: ProviderFactory,
    *,
    failing: Sequence[ProviderFactory] = (),
    context: Context = _ASKED,
    settings: Settings | None = None,
    is_free: Callable[[Any], bool] | None = None,
) -> int:
    """
    Check that a provider keeps what `Provider` and `ProviderStream` say, wherever it is cut off.

    It is asked directly and through the `LLM` actor: to the end, closed before the first chunk and
    after it, cancelled and hit by Ctrl-C at each position. Each time

    - events come as documented: tuples of `Event`, no empty text, nothing but usage and the model's
      name after `Finished`, and ``()`` at the end and ever after;
    - ``close`` is a plain function that can be called again, of the stream and of the provider;
    - nothing but `ProviderError` comes out of it, with one line as its text;
    - the actor makes one `ResponseStarted` and one `ResponseEnded` of it, in order (I5);
    - the next request works (I13), and nothing is left (I4).

    Args:
        factory: Makes a provider that answers any number of requests, at most some 100 chunks
            each; or a block that has one open, such as a network in memory around it.
        failing: The same for providers each of whose requests fails.
        context: What it is asked.
        settings: With which settings.
        is_free: Tells whether the provider given has nothing open; it is asked at once after each
            ``close``, so that a close that takes its time is found.

    Returns:
        How many runs it took.

    Raises:
        AssertionError: something does not hold; the text says what was done, and what came of it.
    """
    case = _Case(factory, context, settings or Settings(), is_free)
    parts: list[tuple[str, Scenario, str]] = [
        ("when it is asked directly", partial(_direct, case), "request"),
        ("when the LLM actor asks it", partial(_by_the_actor, case), "asker"),
    ]
    for number, make in enumerate(failing):
        failing_case = attrs.evolve(case, make=make)
        when = f"when it fails (failing[{number}])"
        parts.append((when, partial(_failing, failing_case), "request"))
    return sum(
        _swept(scenario, f"the provider does not hold {when}", ("root", target))
        for when, scenario, target in parts
    )


def _swept(scenario: Scenario, what: str, targets: Sequence[str]) -> int:
    """Sweep *scenario* and return how many runs that took; AssertionError that begins with *what*."""
    try:
        simulate(scenario).check()
        return sweep(scenario, faults=("cancel", "interrupt"), targets=targets).check().runs
    except AssertionError as error:
        raise AssertionError(f"{what}, {error}") from None
