"""
Cancel a whole agent turn, with two parallel tools, at every checkpoint.

The real stack: `Agent`, `Dispatcher`, `LLM`, the ``openai`` package, our transport, and the
understudy at the other end; over the network in memory here, in virtual time.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from greenroom.actors.agent import (
    Conversation,
    Outcome,
    Question,
    TurnEnded,
)
from greenroom.actors.llm import Assistant
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime import open_runtime
from greenroom.runtime.testing import World, sweep, sweep_live
from tests.actors.agent.turns import (
    ANSWER,
    IN_TASKS,
    IN_THREADS,
    NO_TLS,
    QUESTION,
    check_context,
    check_events,
    open_stage,
    spawn_agent,
    take_turn,
)
from tests.conftest import TORTURE

# Runs of the sweep, and positions on sockets, that they may not fall under.
FLOOR_MEMORY = {"": 170, "random 1; batch": 80}
FLOOR_SOCKETS = 80


async def cut_turn(w: World) -> None:
    """One turn that may be cut, and all that is promised for it."""
    async with open_stage() as stage:
        provider, network, understudy = stage.provider, stage.network, stage.understudy
        w.own("the network", lambda: network.open == 0)
        w.own("the understudy", lambda: understudy.statistics().connections_open == 0)
        async with open_runtime(observers=[w.history]) as runtime:
            agent = await spawn_agent(runtime, provider, IN_TASKS)
            turn = await take_turn(w, agent, provider)
            check_events(w.history.events)
            if turn.frames or not turn.scope.cancel_called:
                ended = turn.frames[-1]
                assert isinstance(ended, TurnEnded)
                if not turn.scope.cancel_called:
                    assert ended.outcome is Outcome.ANSWERED
                    assert ANSWER in ended.answer
            await trio.testing.wait_all_tasks_blocked()
            assert understudy.statistics().streams_running == 0
            assert network.open == provider.transport.statistics().idle
            context = await agent.ask(Conversation())
            check_context(context, provider)
            kept = "".join(m.text for m in context.messages if isinstance(m, Assistant))
            assert kept == turn.taken  # R12: delivered is what the asker took
            answer = await agent.ask(Question(QUESTION))
            assert ANSWER in answer.text


@pytest.mark.parametrize("order", ["", "random 1; batch"], ids=["as it comes", "another order"])
def test_a_turn_survives_a_cancel_at_every_checkpoint_in_virtual_time(order: str) -> None:
    """I3, I4, I5, I8, I9, I13 hold wherever a turn is cut, and the next turn works."""
    stride = 3 if order and not TORTURE else 1
    report = sweep(
        cut_turn, faults=["cancel"], targets=["turn"], order=order, stride=stride
    ).check()
    print(f"sweep turn over memory: {report.summary()}")

    assert report.runs >= FLOOR_MEMORY[order]


# -- real sockets, real clock, real threads, and the understudy in a process of its own

SERVER = """
import trio
from greenroom.actors.understudy import open_understudy

async def main():
    async with open_understudy(pace=3000) as understudy:
        print(understudy.base_url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Run an understudy in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as peer:
        assert peer.stdout is not None
        try:
            yield peer.stdout.readline().strip()
        finally:
            peer.kill()


def counts_at(base_url: str) -> dict[str, int]:
    """Ask the understudy what it has, this question's own connection included."""
    url = base_url.replace("/v1", "/understudy/statistics")
    with urllib.request.urlopen(url, timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
        return counts


def established(port: int) -> int:
    """Count this machine's established connections to *port*, as ``ss`` does."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "01" and row[2].endswith(f":{port:04X}") for row in rows)


async def settled(base_url: str, *, connections: int) -> dict[str, int]:
    """Return the understudy's counts once it has noticed what we closed; it needs no help for it."""
    while True:
        counts = await trio.to_thread.run_sync(counts_at, base_url)
        if counts["streams_running"] == 0 and counts["connections_open"] == connections + 1:
            return counts
        await trio.lowlevel.checkpoint()


async def cut_real_turn(w: World, base_url: str) -> None:
    """As `cut_turn`, over sockets, and looked at from outside."""
    provider = OpenAIProvider(profile="understudy", base_url=base_url, ssl_context=NO_TLS)
    port = int(base_url.rpartition(":")[2].partition("/")[0])
    w.own("the kernel's connections", lambda: established(port) == 0)
    agent = await spawn_agent(w.runtime, provider, IN_THREADS)
    turn = await take_turn(w, agent, provider)
    check_events(w.history.events)
    if not turn.scope.cancel_called:
        ended = turn.frames[-1]
        assert isinstance(ended, TurnEnded)
        assert ended.outcome is Outcome.ANSWERED
        assert ANSWER in ended.answer
    with trio.fail_after(20):
        await settled(base_url, connections=provider.transport.statistics().idle)
    check_context(await agent.ask(Conversation()), provider)
    assert ANSWER in (await agent.ask(Question(QUESTION))).text


def test_a_turn_survives_a_cancel_at_every_checkpoint_on_real_sockets(base_url: str) -> None:
    """The same promises, with the kernel, threads and another process in the game."""
    stride = 1 if TORTURE else 2
    report = sweep_live(partial(cut_real_turn, base_url=base_url), target="turn", stride=stride)
    print(f"sweep turn over sockets: {report.check().summary()}")

    assert report.positions >= FLOOR_SOCKETS
