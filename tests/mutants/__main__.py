"""
Try every mutant of the files of `MODULES`, and print what survives: ``make mutants``.

``python -m tests.mutants [--sample N] [--seed S] [FILE ...]``
"""

import argparse
import os
import random
import re
import sys
from pathlib import Path
from typing import Final

import attrs

from tests.mutants.modules import MODULES, Module
from tests.mutants.mutant import Mutant, mutants_of
from tests.mutants.trial import preload, trial

ROOT: Final = Path(__file__).parents[2]
NICENESS: Final = 10
LEAST: Final = 20.0  # seconds of processor time that each trial has, however short its tests are


@attrs.define
class Tally:
    """What became of the mutants of a file."""

    path: str
    mutants: int
    equivalent: int = 0
    survivors: list[Mutant] = attrs.field(factory=list[Mutant])

    def row(self) -> str:
        killed = self.mutants - len(self.survivors) - self.equivalent
        share = killed / max(1, self.mutants - self.equivalent)
        return (
            f"| `{self.path}` | {self.mutants} | {killed} | {len(self.survivors)} | "
            f"{self.equivalent} | {share:.1%} |"
        )


def known_equivalents() -> dict[str, str]:
    """Return {key: line} of the mutants that README.md says to be equivalent."""
    lines = (Path(__file__).parent / "README.md").read_text().splitlines()
    return {found[1]: line for line in lines if (found := re.match(r"- `([0-9a-f]{8})` ", line))}


def examine(module: Module, equivalents: dict[str, str], sample: int, seed: int) -> Tally:
    """Try *sample* of the mutants of *module*, and print those that survive."""
    path = ROOT / module.path
    source = path.read_text()
    sound = {
        tests: trial(ROOT, tests, path=path, source=source) for tests in (module.fast, module.wide)
    }
    for verdict in sound.values():
        if not verdict.passed:
            sys.exit(f"{verdict.output}\nthe tests fail without a mutant of {module.path}")
    limits = {tests: max(LEAST, 10 * verdict.seconds) for tests, verdict in sound.items()}
    mutants = mutants_of(source)
    chosen = mutants
    if sample < len(mutants):
        chosen = random.Random(seed).sample(mutants, sample)
    tally = Tally(module.path, len(chosen))
    print(
        f"{module.path}: {len(chosen)} of {len(mutants)} mutants, with seed {seed}; "
        f"{sound[module.fast].seconds:.1f} s each at most"
    )
    for mutant in sorted(chosen, key=lambda mutant: mutant.line):
        is_known = mutant.key in equivalents
        selections = (module.fast,) if is_known else (module.fast, module.wide)
        if all(
            trial(ROOT, tests, path=path, source=mutant.source, limit=limits[tests]).passed
            for tests in selections
        ):
            if is_known:
                tally.equivalent += 1
            else:
                tally.survivors.append(mutant)
                print(f"survived: {mutant}", flush=True)
        elif is_known:
            print(f"killed, and so not equivalent: {mutant}", flush=True)
    for key in equivalents.keys() - {mutant.key for mutant in mutants}:
        if module.path in equivalents[key]:
            print(f"no longer a mutant: {equivalents[key]}")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("file", nargs="*", help="of which mutants are made; all if none is given")
    parser.add_argument("--sample", type=int, default=sys.maxsize, help="so many of each file")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    options = parser.parse_args()
    files = options.file
    if unknown := set(files) - {module.path for module in MODULES}:
        parser.error(
            f"no tests are named for {', '.join(sorted(unknown))} in tests/mutants/modules.py"
        )
    os.nice(NICENESS)
    preload()
    equivalents = known_equivalents()
    tallies = [
        examine(module, equivalents, options.sample, options.seed)
        for module in MODULES
        if not files or module.path in files
    ]
    print("\n| file | mutants | killed | survived | equivalent | killed of the others |")
    print("|---|---|---|---|---|---|")
    for tally in tallies:
        print(tally.row())
    return 1 if any(tally.survivors for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
