"""What the kit is for: bugs of 28 kinds in a session of actors, found, and found again."""

import json
import os
import subprocess
import sys
import time
from functools import cache
from typing import Any

import attrs
import pytest

from greenroom.runtime.testing import (
    Plan,
    Report,
    examine,
    explore,
    simulate,
    sweep,
)
from tests.testing.planted import BUGS, Bug, Cast


@attrs.frozen
class Found:
    """What an examination found; no more is kept, since a report keeps a whole run."""

    plan: Plan
    codes: tuple[str, ...]
    runs: int
    story: str


@cache
def found(number: int) -> Found:
    """Examine a bug, once for all tests that ask what is found."""
    bug = BUGS[number]
    began = time.process_time()
    report = examine(bug.cast.scenario, recovery=bug.cast.recovery if bug.recovers else None)
    seconds = time.process_time() - began
    first = report.first
    codes = ", ".join(first.codes)
    print(f"| {number} | {bug.name} | {codes} | {first.plan} | {report.runs} | {seconds:.1f} |")
    return Found(first.plan, first.codes, report.runs, first.story())


def seen_again(bug: Bug, plan: str) -> Report:
    """Run *bug* once more; what depends on hashes is seen by another process only."""
    if bug.codes == ("FICKLE",):
        return examine(bug.cast.scenario, faults=(), orders=0, pairs=0).first
    return simulate(bug.cast.scenario, plan=plan, recovery=bug.cast.recovery)


@pytest.mark.parametrize("number", BUGS)
def test_each_bug_is_found_by_default_and_its_plan_repeats_it(number: int) -> None:
    """With one of the codes that belong to it, in so many runs, and a plan of two faults at most."""
    bug, first = BUGS[number], found(number)
    plan = str(first.plan)

    assert set(first.codes) & set(bug.codes), first.story
    assert first.runs <= bug.runs
    assert len(first.plan.faults) <= 2
    assert Plan.parse(plan) == first.plan
    assert seen_again(bug, plan).codes == first.codes


# Some bugs at a time: alone, a test that finds all of them would last longer than a test may.
GROUPS = [list(BUGS)[n::3] for n in range(3)]


@pytest.mark.parametrize("numbers", GROUPS, ids=lambda numbers: f"from {numbers[0]}")
def test_the_plans_repeat_in_a_fresh_process(numbers: list[int]) -> None:
    """With other hashes of texts: a plan is worth pasting into a message."""
    bugs = {number: found(number) for number in numbers}
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import repeat; repeat()"],
        input=json.dumps({number: str(bug.plan) for number, bug in bugs.items()}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])

    assert answers == {str(number): list(bug.codes) for number, bug in bugs.items()}


def repeat() -> None:
    """Print the codes that the plans on standard input give; run in the other process."""
    plans: dict[str, str] = json.load(sys.stdin)
    answers = {n: seen_again(BUGS[int(n)], plan).codes for n, plan in plans.items()}
    print(json.dumps(answers))


def test_the_session_without_bugs_has_nothing_wrong() -> None:
    """All cancels and Ctrl-C, other orders, pairs; and of errors and crashes every fifth."""
    cast = Cast()
    report = examine(
        cast.scenario, faults=("cancel", "fail", "interrupt"), orders=60, pairs=100
    ).check()
    others = sweep(
        cast.scenario, faults=("raise", "crash"), stride=5, recovery=cast.recovery
    ).check()
    print(report.summary(), report.runs, others.summary())

    assert report.positions >= 150
    assert report.elsewhere
    assert others.runs >= 150


@pytest.mark.torture
def test_the_session_without_bugs_has_nothing_wrong_by_default() -> None:
    """All single faults, other orders, pairs, crashes."""
    report = examine(Cast().scenario, recovery=Cast().recovery).check()
    print(report.summary(), report.runs)

    assert report.positions >= 150
    assert report.elsewhere


@pytest.mark.torture
def test_the_session_without_bugs_has_nothing_wrong_in_20_000_runs() -> None:
    """Sweeps of all faults and of pairs, and explorations with many seeds and skews."""
    cast = Cast()
    runs = sweep(cast.scenario, recovery=cast.recovery).check().runs
    for then in ("jump", "cancel", "interrupt"):
        for target in ("root", "turn"):
            report = sweep(
                cast.scenario, faults=("cancel",), then=(then,), targets=(target,), stride=2
            )
            runs += report.check().runs
    for seed in range(1, 9):
        for skew in (0.0, 0.3, 1.0):
            runs += explore(cast.scenario, runs=150, seed=seed * 10_000, skew=skew).check().runs
    print(f"{runs} runs")

    assert runs >= 20_000
