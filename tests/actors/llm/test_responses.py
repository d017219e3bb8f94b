"""`OpenAIResponses`: the Responses API over the real HTTP stack, with the same frames and guarantees."""

import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from greenroom.actors.llm import (
    LLM,
    Category,
    Context,
    Finished,
    Generate,
    ModelSeen,
    Provider,
    ProviderError,
    RawEvent,
    ResponseEnded,
    ResponseStarted,
    Settings,
    Status,
    TextDelta,
    ToolCallsReady,
    ToolCallStarted,
    ToolSpec,
    Usage,
    UsageReported,
    UsageSeen,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.llm.responses import OpenAIResponses
from greenroom.actors.testing import check_provider, open_memory_network
from greenroom.actors.understudy import MODEL, Understudy
from greenroom.runtime import open_runtime
from tests.actors.llm.served import BASE_URL, HELLO, StreamServer, ask, data


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of the API, with its name and its type."""
    return data({"type": f"response.{kind}", "sequence_number": 1, **fields}, f"response.{kind}")


CREATED = event("created", response={"id": "resp_1", "model": "m-1", "status": "in_progress"})
HI = event("output_text.delta", output_index=0, content_index=0, delta="hi", logprobs=[])
USAGE = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
COMPLETED = event("completed", response={"model": "m-1", "status": "completed", "usage": USAGE})
FAILED = event("failed", response={"error": {"code": "server_error", "message": "oops"}})


async def test_a_response_comes_as_the_same_events(autojump_clock: trio.testing.MockClock) -> None:
    """Cut anywhere, and without an end mark, of which this API has none."""
    stream = CREATED + HI + COMPLETED
    for pieces in ([stream], [bytes((byte,)) for byte in stream]):
        answer = await ask(StreamServer(pieces), OpenAIResponses, api_key="k")

        assert answer.failure is None
        assert answer.events == [
            ModelSeen("m-1"),
            TextDelta("hi"),
            Finished("completed"),
            UsageSeen(Usage(input=2, output=1, total=3)),
        ]
        assert answer.asked.target == "/v1/responses"
        assert answer.asked.headers["authorization"] == "Bearer k"
        assert answer.asked.body == {
            "model": "m",
            "input": [{"role": "user", "content": "hello"}],
            "stream": True,
        }


@pytest.mark.parametrize(
    "pieces",
    [
        [CREATED + COMPLETED],
        [CREATED, COMPLETED],
        [CREATED, COMPLETED, data(b"[DONE]")],
        [CREATED, FAILED],
    ],
)
async def test_after_the_last_event_the_connection_serves_the_next_request(
    pieces: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    """It is an end as [DONE] is for the other API, also where one follows all the same (I13)."""
    async with open_memory_network(StreamServer(pieces).serve) as network:
        provider = OpenAIResponses(base_url=BASE_URL, dial=network.dial)
        for _ in range(2):
            stream = await provider.request(HELLO, Settings(model="m"))
            with contextlib.suppress(ProviderError):
                while await stream.events():
                    pass
            stream.close()
            await trio.testing.wait_all_tasks_blocked()

        assert provider.transport.statistics().idle == 1
        assert network.accepted == 1
        provider.close()


@pytest.mark.parametrize(
    ("tail", "category", "message"),
    [
        (FAILED, Category.SERVER, "model.test broke the response off: oops"),
        (event("cancelled"), Category.UNKNOWN, "it was cancelled there"),
        (data({"type": "error", "message": "gone"}, "error"), Category.SERVER, "off: gone"),
        (data(b"{broken"), Category.MALFORMED, "that is none of the Responses API"),
        (data({"choices": []}), Category.MALFORMED, "it has no type"),
    ],
)
async def test_what_goes_wrong_comes_after_what_was_right(
    tail: bytes, category: Category, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Events of the same piece are handed out first, then the error."""
    answer = await ask(StreamServer([CREATED + HI + tail]), OpenAIResponses)

    assert answer.events == [ModelSeen("m-1"), TextDelta("hi")]
    assert answer.failure is not None
    assert answer.failure.category is category
    assert message in str(answer.failure)


@asynccontextmanager
async def responses_of_understudy(*faults: str) -> AsyncGenerator[OpenAIResponses]:
    """Open a provider over a network in memory, at whose other end the understudy is."""
    understudy = Understudy(faults=faults)
    async with open_memory_network(understudy.serve) as network:
        yield OpenAIResponses(
            profile="understudy", base_url="http://understudy/v1", dial=network.dial
        )


TOOLS = [
    ToolSpec(
        "calculate",
        "Evaluate an arithmetic expression.",
        {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    )
]


async def frames_of(context: Context, *faults: str, **settings: Any) -> list[Any]:
    """Return the frames that the actor makes of a response of the understudy."""
    async with responses_of_understudy(*faults) as provider, open_runtime() as runtime:
        llm = await runtime.spawn(LLM, provider, Settings(model=MODEL, **settings), name="llm")
        async with llm.stream(Generate(context)) as stream:
            return [frame async for frame in stream]


async def test_the_actor_makes_the_same_frames_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Started, deltas, usage, one end: as of chat completions (I5)."""
    frames = await frames_of(HELLO)
    ended = frames[-1]

    assert isinstance(frames[0], ResponseStarted)
    assert isinstance(frames[-2], UsageReported)
    assert isinstance(ended, ResponseEnded)
    assert (ended.status, ended.finish_reason) == (Status.COMPLETED, "completed")
    assert (ended.model, ended.request_id) == (MODEL, "req_1")
    assert ended.text == "".join(f.text for f in frames if isinstance(f, TextDelta))
    assert frames[-2].usage.total == frames[-2].usage.input + frames[-2].usage.output > 0


async def test_calls_are_put_together_and_answered(autojump_clock: trio.testing.MockClock) -> None:
    """A call comes whole, and the request with its output is a valid one (I8, case 66)."""
    asked = Context.of(User("What is 6 * 7?"), tools=TOOLS)
    frames = await frames_of(asked)
    ready = next(frame for frame in frames if isinstance(frame, ToolCallsReady))
    (call,) = ready.calls

    assert any(isinstance(frame, ToolCallStarted) for frame in frames)
    assert frames[-1].status is Status.TOOL_CALLS
    assert (call.name, json.loads(call.arguments), call.fault) == (
        "calculate",
        {"expression": "6 * 7"},
        None,
    )


@pytest.mark.parametrize(
    ("faults", "settings", "status"),
    [
        (("close@900",), {}, Status.FAILED),
        (("reset@900",), {}, Status.FAILED),
        (("error@4",), {}, Status.FAILED),
        (("malformed@5",), {}, Status.FAILED),
        (("truncate-utf8@5",), {}, Status.FAILED),
        (("no-done",), {}, Status.FAILED),
        (("status=429;retry-after=3",), {}, Status.FAILED),
        (("giant=64kB",), {}, Status.COMPLETED),
        (("hang-close",), {}, Status.COMPLETED),
        ((), {"max_tokens": 2}, Status.TRUNCATED),
    ],
)
async def test_each_fault_has_its_status(
    faults: tuple[str, ...],
    settings: dict[str, Any],
    status: Status,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Without its last event a response is no complete one, whatever came before."""
    ended = (await frames_of(HELLO, *faults, **settings))[-1]

    assert ended.status is status
    assert bool(ended.detail) is (status is Status.FAILED)


async def test_raw_events_come_here_too(autojump_clock: trio.testing.MockClock) -> None:
    """They are made where the bodies of both APIs are read."""
    answer = await ask(StreamServer([CREATED + HI + COMPLETED]), OpenAIResponses, raw=True)
    raws = [event for event in answer.events if isinstance(event, RawEvent)]

    assert [raw.fields()["type"] for raw in raws] == [
        "response.created",
        "response.output_text.delta",
        "response.completed",
    ]


def check(*failing: str) -> int:
    """Check the provider against the understudy, which is sound or fails."""

    def is_free(provider: OpenAIProvider) -> bool:
        return provider.transport.statistics().active == 0

    return check_provider(
        responses_of_understudy,
        failing=[partial(responses_of_understudy, fault) for fault in failing],
        context=Context.of(User("hi")),
        settings=Settings(model=MODEL, max_tokens=2),
        is_free=is_free,
    )


def test_the_provider_passes_the_check_of_every_provider() -> None:
    """Cut off and hit by Ctrl-C at each position, nothing is left (I4, I5, I13)."""
    runs = check()
    print(f"checked the Responses provider over HTTP: {runs} runs")

    assert runs >= 300


@pytest.mark.torture
def test_the_provider_passes_the_check_where_the_server_fails() -> None:
    """I4, I13: one that refuses, and one that breaks off."""
    assert check("status=500", "reset@300") >= 600


def test_the_class_is_a_provider() -> None:
    """It has all that the protocol asks for (the type checkers see to the signatures)."""

    def is_a_provider(provider: Provider) -> Provider:
        return provider

    made = is_a_provider(OpenAIResponses(base_url=BASE_URL))
    assert repr(made) == "<OpenAIResponses 'model.test' at http://model.test/v1>"
