"""Clients that users bring to the provider, and what it leaves to them."""

import json
from typing import Any

import httpx
import httpx2
import openai
import pytest
from trio.testing import MockClock

from greenroom.actors.llm import LLM, Context, Generate, ProviderError, Settings, User
from greenroom.actors.llm.frames import ResponseEnded
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import open_memory_network
from greenroom.actors.wire import BodyState
from greenroom.runtime import open_runtime
from tests.actors.llm.close.sockets import Faults, use
from tests.actors.llm.close.variants import DONE, TOKENS
from tests.actors.wire.peers import END, STREAM_HEAD, Peer, Received, answering

ASKED = Generate(Context.of(User("hi")), Settings(model="m"))


class Server:
    """Answers, and keeps what it was sent."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    async def __call__(self, peer: Peer, request: Received) -> None:
        self.received.append(request)
        await peer.send(STREAM_HEAD, *TOKENS, DONE, END)


async def test_the_sdk_client_of_a_user_sends_with_its_own_key_and_address(
    autojump_clock: MockClock,
) -> None:
    """Azure's too: address, version and key are those that the client makes; it is left open."""
    server = Server()
    async with open_memory_network(answering(server)) as network:
        use(network, Faults())
        async with openai.AsyncAzureOpenAI(
            azure_endpoint="http://azure.test",
            api_key="azure-key",
            api_version="2026-01-01",
            http_client=httpx2.AsyncClient(trust_env=False),
        ) as client:
            provider = OpenAIProvider(client=client)
            async with open_runtime() as runtime:
                llm = await runtime.spawn(LLM, provider)
                async with llm.stream(ASKED) as frames:
                    *_, ended = [frame async for frame in frames]
            closed_with_the_actor = client.is_closed()
    [request] = server.received

    assert isinstance(ended, ResponseEnded)
    assert ended.text == "Hello"
    assert request.target == "/openai/deployments/m/chat/completions?api-version=2026-01-01"
    assert request.headers["api-key"] == "azure-key"
    assert json.loads(request.body)["stream"] is True
    assert not closed_with_the_actor


async def test_a_legacy_client_streams_and_says_how_it_closed(autojump_clock: MockClock) -> None:
    """Hooks of the client are called; key, address and headers are those of the provider."""
    seen: list[str] = []

    async def hook(request: httpx.Request) -> None:
        seen.append(request.headers.get("authorization", ""))

    server = Server()
    async with open_memory_network(answering(server)) as network:
        use(network, Faults())
        async with httpx.AsyncClient(trust_env=False, event_hooks={"request": [hook]}) as http:
            provider = OpenAIProvider(
                http_client=http, api_key="k", base_url="http://model.test/v1"
            )
            stream = await provider.request(ASKED.context, Settings(model="m"))
            while await stream.events():
                pass
            stream.close()
            await http.get("http://model.test/")
            provider.close()
            http_is_closed = http.is_closed

    assert seen[0] == "Bearer k"
    assert stream.closing is not None
    assert stream.closing.state is BodyState.REUSED
    assert not http_is_closed


async def test_an_error_below_a_legacy_client_is_the_providers_error(
    autojump_clock: MockClock,
) -> None:
    """Categories and messages are the same as with our own transport."""

    async def refuse(peer: Peer, _: Received) -> None:
        await peer.close()

    async with open_memory_network(answering(refuse)) as network:
        use(network, Faults())
        async with httpx.AsyncClient(trust_env=False) as http:
            provider = OpenAIProvider(
                http_client=http, api_key="k", base_url="http://model.test/v1"
            )
            with pytest.raises(
                ProviderError, match=r"model\.test gave no answer .*without sending"
            ):
                await provider.request(ASKED.context, Settings(model="m"))

    assert provider.guard is not None
    assert provider.guard.statistics().active == 0


@pytest.mark.parametrize("name", ["api_key", "base_url", "organization", "project"])
def test_what_the_sdk_client_has_is_not_given_twice(name: str) -> None:
    """The message names the argument, and where it belongs."""
    arguments: dict[str, Any] = {name: "x"}
    client = openai.AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient(trust_env=False))

    with pytest.raises(ValueError, match=f"client brings its own {name}; set it there and leave"):
        OpenAIProvider(client=client, **arguments)


def test_a_provider_has_either_a_transport_or_a_guard() -> None:
    """Asking for the transport of somebody else's client says what there is."""
    http = httpx2.AsyncClient(trust_env=False)
    provider = OpenAIProvider(http_client=http, api_key="k")

    with pytest.raises(RuntimeError, match=r"those of the given client; use \.guard"):
        _ = provider.transport
    with pytest.raises(ValueError, match="http_client brings its own ssl_context"):
        OpenAIProvider(http_client=http, api_key="k", ssl_context=httpx2.create_ssl_context())
    assert OpenAIProvider(api_key="k").guard is None
