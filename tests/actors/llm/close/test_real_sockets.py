"""
The guard over real sockets and the real clock, where the sweep in memory can't look (I4, I13).

That the kernel's sockets behave as `sockets.MemorySocket` does is what this adds: descriptors are
counted, and TLS and TCP are Trio's own down to the system calls.
"""

from types import ModuleType

import httpx
import httpx2
import pytest
import trio

from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime.testing import World, sweep_live
from tests.actors.llm.close.scenario import quietly
from tests.actors.llm.close.strategies import PATIENCE, ask_provider, closing, pool_of_one
from tests.actors.llm.close.variants import OK, Server
from tests.actors.wire.peers import answering, listening, make_tls, over_tls
from tests.conftest import TORTURE


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
def test_a_cancel_anywhere_leaves_nothing_over_real_sockets(
    library: ModuleType, is_secure: bool
) -> None:
    """A pool of one, a cold start: no descriptor, no slot, no generator is left."""
    tls = make_tls()
    handler = answering(Server())

    async def scenario(w: World) -> None:
        async with listening(over_tls(handler, tls.server) if is_secure else handler) as port:
            http = pool_of_one(library, tls)
            async with closing(http):
                provider = OpenAIProvider(
                    http_client=http,
                    api_key="k",
                    base_url=f"http{'s' if is_secure else ''}://127.0.0.1:{port}/v1",
                    patience=PATIENCE,
                )

                async def ask(model: str) -> None:
                    await ask_provider(provider, model)

                with w.scope("request"):
                    await quietly(ask, "cold")
                assert provider.guard is not None
                with trio.fail_after(5):
                    await ask(OK)
                    while provider.guard.statistics().parked:  # noqa: ASYNC110
                        await trio.sleep(0.001)
                now = provider.guard.statistics()
                assert (now.active, now.overdue) == (0, 0)
                provider.close()

    report = sweep_live(scenario, target="request", stride=1 if TORTURE else 3).check()

    assert report.positions >= 8
