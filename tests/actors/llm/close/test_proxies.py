"""What users bring a client for most: a proxy. The guard over tunnels, at every position (I4, I13)."""

from types import ModuleType

import httpx
import httpx2
import pytest
import trio

from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.testing import open_memory_network
from greenroom.runtime.testing import World, sweep
from tests.actors.llm.close import sockets
from tests.actors.llm.close.scenario import quietly
from tests.actors.llm.close.strategies import PATIENCE, ask_provider, closing, pool_of_one
from tests.actors.llm.close.variants import OK, Server
from tests.actors.wire.peers import Peer, TlsPair, answering, make_tls, over_tls
from tests.conftest import TORTURE


@pytest.fixture(scope="module")
def tls() -> TlsPair:
    """Contexts for ``model.test``."""
    return make_tls()


@pytest.mark.parametrize("is_secure", [False, True], ids=["forwarded", "tunnelled"])
@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
def test_a_request_through_a_proxy_leaves_nothing_wherever_it_is_cut_off(
    library: ModuleType, is_secure: bool, tls: TlsPair
) -> None:
    """Also between the tunnel, the TLS in it and the request, the connection is somebody's or closed."""

    async def proxy(stream: trio.abc.Stream) -> None:
        if is_secure:
            peer = Peer(stream)
            if await peer.request() is None:
                return
            await peer.send(b"HTTP/1.1 200 Established\r\n\r\n")
            await over_tls(answering(Server()), tls.server)(stream)
        else:
            await answering(Server())(stream)

    async def scenario(w: World) -> None:
        async with open_memory_network(proxy) as network:
            sockets.use(network, sockets.Faults())
            http = pool_of_one(library, tls, proxy="http://proxy.test:3128")
            async with closing(http):
                provider = OpenAIProvider(
                    http_client=http,
                    api_key="k",
                    base_url=f"http{'s' if is_secure else ''}://model.test/v1",
                    patience=PATIENCE,
                )
                [transport] = filter(None, http._mounts.values())
                pool = transport._inner._pool

                async def ask(model: str) -> None:
                    await ask_provider(provider, model)

                with w.scope("request"):
                    await quietly(ask, "cold")
                await trio.sleep(0.1)
                idle = [one for one in pool._connections if one.is_idle()]
                assert pool._requests == []
                assert pool._connections == idle
                assert network.open == len(idle)
                with trio.fail_after(5):
                    await ask(OK)
                provider.close()
            await trio.sleep(0.1)
            assert network.open == 0

    report = sweep(
        scenario, faults=["cancel", "raise"], targets=["request"], stride=1 if TORTURE else 3
    ).check()

    assert report.runs >= 12
