"""The check of a provider: ours pass, and each broken one fails by what is wrong with it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from greenroom.actors.llm import (
    Category,
    Context,
    Event,
    Finished,
    ProviderError,
    Settings,
    TextDelta,
    Usage,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import (
    Script,
    ScriptedProvider,
    call,
    check_provider,
    open_memory_network,
    says,
)
from greenroom.actors.testing.provider import ScriptedStream
from greenroom.actors.understudy import MODEL, Understudy

GONE = ProviderError("gone", category=Category.CONNECTIVITY)
SLOWLY = says("a|b", call("x"), usage=Usage(total=1)).before_request(1).before_head(1).after(1, 1)


def is_free(provider: ScriptedProvider) -> bool:
    return provider.all_closed()


def scripted(script: Script = SLOWLY) -> ScriptedProvider:
    return ScriptedProvider(then=script)


@asynccontextmanager
async def over_http(*faults: str) -> AsyncGenerator[OpenAIProvider]:
    understudy = Understudy(faults=faults)
    async with open_memory_network(understudy.serve) as network:
        url = "http://understudy/v1"
        yield OpenAIProvider(profile="understudy", base_url=url, dial=network.dial)


def test_the_scripted_provider_passes() -> None:
    """I4, I5, I13: and where it fails, before the request, before the head or in mid-response."""
    failing = [SLOWLY.before_request(GONE), SLOWLY.before_head(GONE), SLOWLY.after(1, GONE)]
    runs = check_provider(
        scripted, failing=[partial(scripted, script) for script in failing], is_free=is_free
    )
    print(f"checked the scripted provider: {runs} runs")

    assert runs >= 150


def check_over_http(*failing: str) -> int:
    def pool_is_free(provider: OpenAIProvider) -> bool:
        return provider.transport.statistics().active == 0

    return check_provider(
        over_http,
        failing=[partial(over_http, fault) for fault in failing],
        context=Context.of(User("hi")),
        settings=Settings(model=MODEL),
        is_free=pool_is_free,
    )


def test_the_openai_provider_passes() -> None:
    """I4, I5, I13: over our transport, in memory, against the understudy."""
    runs = check_over_http()
    print(f"checked the provider over HTTP: {runs} runs")

    assert runs >= 400


@pytest.mark.torture
def test_the_openai_provider_passes_where_the_server_fails() -> None:
    """I4, I13: one that refuses, and one that breaks off."""
    assert check_over_http("status=500", "reset@300") >= 800


# -- broken, each in its own way


class Broken(ScriptedProvider):
    """The base of those that are: its streams are of another class."""

    kind: type[ScriptedStream] = ScriptedStream

    def __init__(self) -> None:
        super().__init__(then=SLOWLY)

    async def request(self, context: Context, settings: Settings) -> ScriptedStream:
        await super().request(context, settings)
        self._over += 1
        return self.kind(self, SLOWLY)


class AsyncClose(ScriptedStream):
    async def close(self) -> None:  # type: ignore[override]  # pyright: ignore
        await trio.lowlevel.checkpoint()


class CloseTwice(ScriptedStream):
    def close(self) -> None:
        if not self._is_open:
            raise RuntimeError("closed already")
        super().close()


class ListOfEvents(ScriptedStream):
    async def events(self) -> tuple[Event, ...]:
        return list(await super().events())  # type: ignore[return-value]  # pyright: ignore


class TextAfterTheEnd(ScriptedStream):
    async def events(self) -> tuple[Event, ...]:
        events = await super().events()
        return (*events, TextDelta("?")) if Finished("tool_calls") in events else events


class EndsWithAnError(ScriptedStream):
    async def events(self) -> tuple[Event, ...]:
        events = await super().events()
        if not events:
            raise EOFError("no more")
        return events


class EmptyText(ScriptedStream):
    async def events(self) -> tuple[Event, ...]:
        events = await super().events()
        return (TextDelta(""), *events) if events else ()


class SwallowsCancels(ScriptedStream):
    async def events(self) -> tuple[Event, ...]:
        try:
            return await super().events()
        except trio.Cancelled:  # noqa: ASYNC103
            with trio.CancelScope(shield=True):
                await trio.sleep(60)
            raise


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (AsyncClose, "close() of the stream must be a plain function"),
        (CloseTwice, "it is to be called any number of times"),
        (ListOfEvents, "must give a tuple of events, not [TextDelta"),
        (TextAfterTheEnd, "TextDelta(text='?') came after Finished"),
        (EndsWithAnError, "events raised EOFError (no more), and only ProviderError"),
        (EmptyText, "an empty TextDelta; leave it out"),
        (SwallowsCancels, "LATENCY"),
    ],
)
def test_a_stream_that_is_broken_fails(stream: type[ScriptedStream], text: str) -> None:
    """By what it did and what it should."""

    class Provider(Broken):
        kind = stream

    with pytest.raises(AssertionError) as caught:
        check_provider(Provider)

    assert "the provider does not hold when it is asked directly" in str(caught.value)
    assert text in str(caught.value)


class Leaky(ScriptedProvider):
    """Forgets a request that is cancelled before its head."""

    def __init__(self) -> None:
        super().__init__(then=SLOWLY)

    async def request(self, context: Context, settings: Settings) -> ScriptedStream:
        over = self._over
        try:
            return await super().request(context, settings)
        except BaseException:
            self._over = over
            raise


class OneAtATime(ScriptedProvider):
    """Is busy for ever once a request was cancelled."""

    def __init__(self) -> None:
        super().__init__(then=SLOWLY)
        self.turn = trio.Semaphore(1)

    async def request(self, context: Context, settings: Settings) -> ScriptedStream:
        await self.turn.acquire()
        stream = await super().request(context, settings)
        self.turn.release()
        return stream


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (Leaky, "after a response that ended or was cancelled the provider is not free"),
        (OneAtATime, "HANG"),
    ],
)
def test_a_provider_that_a_cancel_breaks_fails(factory: type[ScriptedProvider], text: str) -> None:
    """I4, I13: only where it is cut off, with the plan that shows it again."""
    with pytest.raises(AssertionError) as caught:
        check_provider(factory, is_free=is_free)

    assert text in str(caught.value)
    assert "with the plan 'cancel(" in str(caught.value)


def test_one_that_is_to_fail_and_does_not_fails() -> None:
    """And one that fails by another error."""
    with pytest.raises(AssertionError, match="it was to fail with a ProviderError"):
        check_provider(scripted, failing=[scripted])
    with pytest.raises(AssertionError, match=r"request raised OSError \(no route\)"):
        check_provider(
            scripted, failing=[partial(scripted, SLOWLY.before_request(OSError("no route")))]
        )


def test_what_is_checked_can_be_chosen() -> None:
    """The context and the settings reach the provider."""
    asked: list[Any] = []

    class Noting(ScriptedProvider):
        async def request(self, context: Context, settings: Settings) -> ScriptedStream:
            asked.append((context, settings))
            return await super().request(context, settings)

    context, settings = Context.of(), Settings(temperature=0.5)
    check_provider(lambda: Noting(then="a"), context=context, settings=settings)

    assert asked
    assert all(each == (context, settings) for each in asked)
