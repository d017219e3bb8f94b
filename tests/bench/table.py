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
# Ours, beside the baselines for the same work: (variant of bench_trio.py, its test).
ROWS = {
    "tell": [("plain", "tell")],
    "tell_all": [("batch", "tell")],
    "ask1": [("low", "ask1"), ("plain", "ask1")],
    "ask100": [("low", "ask100"), ("plain", "ask100")],
    "spawn": [("low", "spawn"), ("plain", "spawn")],
}


def rate(*command: str) -> tuple[float, float]:
    """Run one benchmark in a process of its own, and return its rates: wall, CPU."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    line = json.loads(done.stdout.splitlines()[-1])
    return line["value"], line["cpu_value"]


def main() -> None:
    names = " ".join(f"{name} {version(name)}" for name in ("greenroom", "trio"))
    print(f"{names}, Python {platform.python_version()}, {platform.machine()}; {ROUNDS} rounds")
    print(f"{'work':9} {'of':>12} {'wall/s':>10} {'CPU/s':>10} {'ratio':>6}  least to most")
    for test, baselines in ROWS.items():
        commands: dict[str, tuple[str, ...]] = {"greenroom": (str(HERE / "bench_runtime.py"), test)}
        for variant, work in baselines:
            commands[f"trio {variant}"] = (str(HERE / "baselines/bench_trio.py"), variant, work)
        rounds = [{who: rate(*command) for who, command in commands.items()} for _ in range(ROUNDS)]
        for who in commands:
            wall, cpu = (statistics.median(r[who][i] for r in rounds) for i in (0, 1))
            ratios = [r["greenroom"][1] / r[who][1] for r in rounds]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if who != "greenroom" else ""
            ratio = f"{statistics.median(ratios):.2f}" if who != "greenroom" else ""
            print(f"{test:9} {who:>12} {wall:10,.0f} {cpu:10,.0f} {ratio:>6}  {spread}")


if __name__ == "__main__":
    main()
