"""
The table of what each strategy leaves behind: ``python -m tests.actors.llm.close.table [STRIDE]``.

A stride of 1, the default, is the whole sweep and takes a quarter of an hour. It is printed as
Markdown; docs/closing-streams.md has it.
"""

import itertools
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from multiprocessing import Pool
from typing import Final

import attrs

from greenroom.runtime.testing import Report
from tests.actors.llm.close.scenario import Case, Left, swept
from tests.actors.llm.close.strategies import STRATEGIES
from tests.actors.llm.close.variants import VARIANTS
from tests.actors.wire.peers import make_tls

PROCESSES: Final = 2

#: What a run of a case can leave, worst first; each run is counted for the first that it has.
KINDS: Final = (
    "never ends",
    "next request starves",
    "connection or slot lost",
    "other",
    "async generators only",
)


def kind_of(report: Report) -> str:
    """Return which of `KINDS` is wrong with a run that failed."""
    codes = set(report.codes)
    texts = " ".join(problem.text for problem in report.problems)
    if codes & {"HANG", "LIVELOCK", "LATENCY"}:
        return KINDS[0]
    if "got no connection" in texts:
        return KINDS[1]
    if Left.__name__ in texts or codes & {"HELD", "LEAK_DESCRIPTOR", "LEAK_RESOURCE"}:
        return KINDS[2]
    return KINDS[4] if codes == {"LEAK_ASYNCGEN"} else KINDS[3]


@attrs.frozen
class Cell:
    """What the sweep of a case came to."""

    runs: int
    """Runs with a fault."""
    kinds: Sequence[str]
    """What was wrong with each that failed."""

    def __str__(self) -> str:
        return f"{len(self.kinds)}/{self.runs}"


def cell(asked: tuple[int, str, bool, int]) -> Cell:
    """Sweep one case, in a process of the pool."""
    index, variant, is_secure, stride = asked
    warnings.simplefilter("ignore")
    case = Case(STRATEGIES[index], VARIANTS[variant], is_secure)
    report = swept(case, make_tls(), stride=stride, stop_after=sys.maxsize)
    failed = [one for one in report.failures if one.plan.faults]
    return Cell(report.runs - 2, [kind_of(one) for one in failed])


def row(*columns: object) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, columns))} |"


def head(*columns: str) -> Iterable[str]:
    """Return the two rows that a Markdown table begins with."""
    yield row(*columns)
    yield row("---", *("---:" for _ in columns[1:]))


def main(stride: int) -> None:
    """Sweep all, and print the tables."""
    began = time.monotonic()
    names = [strategy.name for strategy in STRATEGIES]
    rows = list(itertools.product(VARIANTS, (False, True)))
    asked = [(i, variant, tls, stride) for variant, tls in rows for i in range(len(names))]
    with Pool(PROCESSES) as pool:
        cells = pool.map(cell, asked, chunksize=1)
    by_row = [cells[at : at + len(names)] for at in range(0, len(cells), len(names))]
    print(*head("", *names), sep="\n")
    for (variant, tls), found in zip(rows, by_row, strict=True):
        print(row(f"{variant}, {'TLS' if tls else 'plain'}", *found))
    print(
        row("**all**", *(f"**{Cell(*total)}**" for total in map(totals, zip(*by_row, strict=True))))
    )
    print()
    print(*head("of which", *names), sep="\n")
    for kind in KINDS:
        columns = map(totals, zip(*by_row, strict=True))
        print(row(kind, *(kinds.count(kind) for _, kinds in columns)))
    print(f"\nstride {stride}, {time.monotonic() - began:.0f} s", file=sys.stderr)


def totals(cells: Sequence[Cell]) -> tuple[int, list[str]]:
    """Return the runs of all *cells*, and what was wrong with them."""
    return sum(one.runs for one in cells), [kind for one in cells for kind in one.kinds]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
