"""
Print how fast the test kit is: runs in a second of CPU time, and runs until something is verified.

Usage: bench_testing.py [ROUNDS]. Rates are of this machine at this hour, medians of the rounds, and
stand beside an empty `trio.run`, which is the least that a run can cost.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from greenroom.runtime.testing import explore, sweep
from tests.testing.scenarios import agent_turn, agent_turn_in_threads
from tests.testing.test_every_order import Box, HeldUpBox, hand_over
from tests.testing.test_simulate import five

ROUNDS = 5


def empty() -> int:
    async def nothing() -> None:
        pass

    for _ in range(300):
        trio.run(nothing, clock=trio.testing.MockClock(autojump_threshold=0))
    return 300


def session() -> int:
    return sweep(five, faults=("cancel", "raise", "interrupt"), targets="all").check().runs


def turn() -> int:
    return sweep(agent_turn, faults=("cancel",), targets=("turn",)).check().runs


def turn_in_threads() -> int:
    return sweep(agent_turn_in_threads, faults=("cancel",), targets=("turn",)).check().runs


def rate(work: Callable[[], int]) -> float:
    began = time.process_time()
    runs = work()
    return runs / (time.process_time() - began)


def main(rounds: int) -> None:
    rows: tuple[tuple[str, Callable[[], int], float | None], ...] = (
        ("an empty trio.run", empty, None),
        ("a session of five actors", session, 300),
        ("an agent's turn, tools in tasks", turn, 40),
        ("an agent's turn, tools in threads", turn_in_threads, 40),
    )
    found: dict[str, list[float]] = {name: [] for name, _, _ in rows}
    for _ in range(rounds):
        for name, work, _ in rows:
            found[name].append(rate(work))
    for name, _, goal in rows:
        median = statistics.median(found[name])
        verdict = "" if goal is None else f"  goal {goal:g} {'ok' if median >= goal else 'short'}"
        print(f"{name:36} {median:8.0f} runs in a second of CPU time{verdict}")
    right = explore(hand_over(Box, 3), strategy="dpor", footprints="reported").check()
    wrong = explore(hand_over(HeldUpBox, 3), strategy="dpor", footprints="reported")
    verdict = "ok" if right.verified and right.runs <= 50 else "short"
    print(f"{'no lost wake-up, verified':36} {right.runs:8} runs  goal 50 {verdict}")
    print(f"{'a lost wake-up, found':36} {wrong.runs:8} runs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
