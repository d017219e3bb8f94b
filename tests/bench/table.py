"""
Print the runtime beside plain Trio: medians of interleaved rounds in one run, and their ratios.

Trust the ratios; the rates are of this machine at this hour.
"""

import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 5
# Ours, beside the baselines for the same work: (variant of bench_trio.py, its test, the goal).
ROWS: dict[str, list[tuple[str, str, float | None]]] = {
    "tell": [("plain", "tell", 0.8)],
    "tell_nowait": [("batch", "tell", 0.5)],
    "tell_all": [("batch", "tell", 0.5)],
    "ask1": [("low", "ask1", 0.65), ("plain", "ask1", None)],
    "ask100": [("low", "ask100", 0.65), ("plain", "ask100", None)],
    "ring": [("low", "ring", 0.6)],
    "pipe": [("batch", "pipe", 0.4)],
    "spawn": [("plain", "spawn", 0.4)],
}


def rate(*command: str) -> tuple[float, float]:
    """Run one benchmark in a process of its own, and return its rates: wall, CPU."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    line = json.loads(done.stdout.splitlines()[-1])
    return line["value"], line["cpu_value"]


def main() -> None:
    rows = sys.argv[1:] or list(ROWS)
    names = " ".join(f"{name} {version(name)}" for name in ("greenroom", "trio"))
    print(f"{names}, Python {platform.python_version()}, {platform.machine()}; {ROUNDS} rounds")
    print(f"{'work':11} {'of':>12} {'wall/s':>10} {'CPU/s':>10} {'ratio':>6}  least to most, goal")
    for test in rows:
        commands: dict[str, tuple[str, ...]] = {"greenroom": (str(HERE / "bench_runtime.py"), test)}
        goals: dict[str, float | None] = {}
        for variant, work, goal in ROWS[test]:
            commands[f"trio {variant}"] = (str(HERE / "baselines/bench_trio.py"), variant, work)
            goals[f"trio {variant}"] = goal
        rounds = [{who: rate(*command) for who, command in commands.items()} for _ in range(ROUNDS)]
        for who in commands:
            wall, cpu = (statistics.median(r[who][i] for r in rounds) for i in (0, 1))
            line = f"{test:11} {who:>12} {wall:10,.0f} {cpu:10,.0f}"
            if who != "greenroom":
                ratios = [r["greenroom"][1] / r[who][1] for r in rounds]
                ratio, goal = statistics.median(ratios), goals[who]
                verdict = "" if goal is None else f", {goal} {'ok' if ratio >= goal else 'short'}"
                line += f" {ratio:6.2f}  {min(ratios):.2f} to {max(ratios):.2f}{verdict}"
            print(line)


if __name__ == "__main__":
    main()
