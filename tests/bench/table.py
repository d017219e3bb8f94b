"""
Print the runtime's speed beside plain Trio and its peers; usage: table.py [ROW...].

Rounds are interleaved: each runs every program of the row once, and gives one ratio for each pair.
Trust the ratios; the rates are of this machine at this hour. docs/benchmarks.md says what is what.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
ROUNDS: Final = 5
PATIENCE: Final = 300
"""Seconds that one program may take."""
BYTES: Final = 8_000
"""That an idle actor may take."""

# What a program printed: its rates "value" (wall) and "cpu_value", and whatever else it says.
Figures = dict[str, Any]


@attrs.frozen
class Program:
    """One that does the work of a row."""

    who: str
    """For the table."""
    command: tuple[str, ...]
    """Script in this folder, and its arguments."""
    goal: float | None = None
    """Least ratio of the runtime's rate to this one's."""
    peer: str | None = None
    """Whose environment it runs in; see `peers.py`. None: in this one."""


def ours(test: str, who: str = "greenroom", goal: float | None = None) -> Program:
    return Program(who, ("bench_runtime.py", test), goal)


def plain(variant: str, test: str, goal: float | None = None) -> Program:
    return Program(f"trio {variant}", ("baselines/bench_trio.py", variant, test), goal)


def pykka(test: str, goal: float | None = None) -> Program:
    return Program("pykka", ("baselines/bench_pykka.py", test), goal, "pykka")


def autogen(test: str) -> Program:
    return Program("autogen", ("baselines/bench_autogen.py", "notrace", test), None, "autogen")


def pipecat(goal: float) -> Program:
    script = ("baselines/bench_pipecat.py", "direct", "pipe")
    return Program("pipecat", script, goal, "pipecat")


# The first of a row is divided by each of the others.
ROWS: Final[dict[str, tuple[Program, ...]]] = {
    "tell": (ours("tell"), plain("plain", "tell", 0.8)),
    "tell_nowait": (
        *(ours("tell_nowait"), plain("batch", "tell", 0.5)),
        *(pykka("tell", 1.0), autogen("tell")),
    ),
    "tell_all": (ours("tell_all"), plain("batch", "tell", 0.5), pykka("tell", 1.0)),
    "ask1": (ours("ask1"), plain("low", "ask1", 0.65), pykka("ask1", 1.0), autogen("ask1")),
    "ask100": (
        *(ours("ask100"), plain("low", "ask100", 0.65)),
        *(pykka("ask100", 1.0), autogen("ask100")),
    ),
    "ring": (ours("ring"), plain("low", "ring", 0.6), pykka("ring"), autogen("ring")),
    "pipe": (
        *(ours("pipe"), plain("batch", "pipe", 0.4)),
        *(pipecat(8), pykka("pipe"), autogen("pipe")),
    ),
    "pipeline": (ours("pipeline"), plain("batch", "pipe", 0.4), pipecat(8)),
    "spawn": (ours("spawn"), plain("plain", "spawn", 0.4)),
    "flat": (
        ours("flat100000", "100 000"),
        ours("flat1000", "1 000", 1 / 1.5),
        ours("flat10", "10", 1 / 1.5),
    ),
}


# -- running


def pin() -> None:
    """
    Keep this process, and so all that it runs, on one core where the system lets it.

    A program whose threads take turns, as pykka's do under the interpreter's lock, is up to six
    times as fast on one core as on two: the peers are to be compared with at their fastest.
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def cores() -> int | None:
    """Return how many cores the programs may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def python_of(peer: str | None) -> str:
    """Return the interpreter of the environment that a program runs in."""
    return str(ROOT / "build/bench" / peer / "bin/python") if peer else sys.executable


def version_of(peer: str) -> str | None:
    """Return which version of *peer* its environment has, or None if there is none."""
    name = (HERE / "requirements" / f"{peer}.txt").read_text().split("==")[0]
    asked = (
        "import importlib.metadata, platform;"
        f"print(importlib.metadata.version({name!r}), 'on Python', platform.python_version())"
    )
    try:
        done = subprocess.run(
            [python_of(peer), "-c", asked], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return f"{name} {done.stdout.strip()}" if done.returncode == 0 else None


def measure(program: Program) -> Figures:
    """Run *program* once, in a process of its own."""
    script, *arguments = program.command
    done = subprocess.run(
        [python_of(program.peer), str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,  # what it wrote says more than the exception would
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(program.command)} failed:\n{done.stdout}{done.stderr}")
    figures: Figures = json.loads(lines[-1])
    return figures


def rounds_of(programs: tuple[Program, ...], rounds: int) -> Iterator[dict[str, Figures]]:
    """Run all *programs* that many times, each time beginning with another one."""
    for n in range(rounds):
        first = n % len(programs)
        yield {program.who: measure(program) for program in (*programs[first:], *programs[:first])}


# -- printing


def median_ratio(
    rounds: list[dict[str, Figures]], first: str, other: str, key: str
) -> tuple[float, float, float]:
    """Return the median, the least and the most of the ratios of the rounds."""
    ratios = [found[first][key] / found[other][key] for found in rounds]
    return statistics.median(ratios), min(ratios), max(ratios)


def verdict(goal: float | None, *, is_reached: bool) -> str:
    return "" if goal is None else f"{goal:8.4g} {'ok' if is_reached else 'short'}"


HEADING: Final = (
    f"{'row':11} {'of':>11} {'wall/s':>11} {'CPU/s':>11} {'wall':>6} {'CPU':>6}  "
    f"{'least to most':>14} {'goal':>8}"
)


def lines_of(
    row: str, programs: tuple[Program, ...], rounds: list[dict[str, Figures]]
) -> Iterator[str]:
    """Return what the table says of a row: rates, ratios, and whether its goals are reached."""
    first = programs[0].who
    for program in programs:
        wall, cpu = (
            statistics.median(found[program.who][key] for found in rounds)
            for key in ("value", "cpu_value")
        )
        line = f"{row:11} {program.who:>11} {wall:11,.0f} {cpu:11,.0f}"
        if program.who != first:
            by_wall, _, _ = median_ratio(rounds, first, program.who, "value")
            ratio, least, most = median_ratio(rounds, first, program.who, "cpu_value")
            spread = f"{least:.2f} to {most:.2f}"
            line += f" {by_wall:6.2f} {ratio:6.2f}  {spread:>14} "
            line += verdict(program.goal, is_reached=ratio >= (program.goal or 0))
        yield line.rstrip()
    for program in programs:
        taken: list[float] = [
            found[program.who]["rss_per_actor_B"]
            for found in rounds
            if "rss_per_actor_B" in found[program.who]
        ]
        if taken:
            size = statistics.median(taken)
            line = f"{row:11} {program.who:>11} {size:11,.0f} bytes for an idle actor"
            goal = BYTES if program.who == first else None
            yield f"{line:67} {verdict(goal, is_reached=size <= BYTES)}".rstrip()


def heads(peers: dict[str, str | None], rounds: int) -> Iterator[str]:
    """Return what was measured, of which version and where."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    yield ", ".join(
        (
            f"greenroom {version('greenroom')} ({commit or 'no commit'})",
            *(f"{name} {version(name)}" for name in ("trio", "attrs")),
            f"{platform.python_implementation()} {platform.python_version()}",
        )
    )
    yield from (found for found in peers.values() if found is not None)
    yield (
        f"{platform.system()} {platform.release()}, {platform.machine()}; "
        f"on {cores()} of {os.cpu_count()} cores; rounds: {rounds}"
    )
    if rounds < ROUNDS:
        yield f"fewer than {ROUNDS} rounds: a glance, not a measurement"


def main() -> None:
    parser = argparse.ArgumentParser(description="The runtime's speed, as ratios.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; or all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    arguments = parser.parse_args()
    rows: list[str] = arguments.rows or list(ROWS)
    if unknown := set(rows) - set(ROWS):
        parser.error(f"no row is named {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}")
    if arguments.rounds < 1:
        parser.error(f"rounds must be an int >= 1, not {arguments.rounds}")

    wanted = {program.peer for row in rows for program in ROWS[row] if program.peer}
    peers = {peer: version_of(peer) for peer in sorted(wanted)}
    missing = [peer for peer, found in peers.items() if found is None]
    head = list(heads(peers, arguments.rounds))
    print(*head, "", HEADING, sep="\n", flush=True)
    measured: dict[str, list[dict[str, Figures]]] = {}
    for row in rows:
        programs = tuple(program for program in ROWS[row] if program.peer not in missing)
        measured[row] = list(rounds_of(programs, arguments.rounds))
        print(*lines_of(row, programs, measured[row]), sep="\n", flush=True)
    if missing:
        print(
            f"left out: {', '.join(missing)}; install with: "
            f"python tests/bench/peers.py {' '.join(missing)}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"head": head, "rounds": measured}, indent=1) + "\n")


if __name__ == "__main__":
    pin()
    main()
