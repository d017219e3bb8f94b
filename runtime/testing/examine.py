"""All that the kit can do to a scenario, in an order that finds the simplest story first."""

import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

import attrs

from greenroom.runtime.testing.elsewhere import other_logs
from greenroom.runtime.testing.explore import SKEW, orders
from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Fault, FaultKind, Plan
from greenroom.runtime.testing.reach import check_modules, missed
from greenroom.runtime.testing.report import Problem, Report, RunsReport
from greenroom.runtime.testing.simulate import Rules, run_once
from greenroom.runtime.testing.sweep import (
    FAULTS,
    Targets,
    check_faults,
    check_laws,
    collected,
    difference,
    is_much_the_same,
    repeated,
    seconds_of,
    singles,
)
from greenroom.runtime.testing.world import ROOT, Scenario

__all__ = ["PAIRS", "RUNS", "ExamineReport", "examine"]

RUNS: Final = 120
PAIRS: Final = 200
# Crashes after which the recovery is hit by a second one, at each position.
_MOST_RECOVERIES: Final = 3
_AFTER: Final[tuple[FaultKind, ...]] = ("jump", "cancel", "interrupt")


@attrs.frozen(kw_only=True)
class ExamineReport(RunsReport):
    """What an examination came to."""

    positions: int
    """Of the run without faults."""
    faults: int
    """How many single faults were tried: all that there are, unless something was wrong before."""
    orders: int
    """How many other orders were tried, a sample."""
    pairs: int
    """How many pairs of faults were tried, a sample where there are more."""
    elsewhere: bool
    """Whether it was compared with a run in another process."""
    missed_awaits: tuple[str, ...] = ()
    """The awaits of the modules to be covered that no cancel came out of, each as ``file:line``."""

    def summary(self) -> str:
        """Return how much was tried, in a line."""
        return (
            f"swept {self.faults} faults at {self.positions} positions, "
            f"explored {self.orders} orders, tried {self.pairs} pairs of faults"
            + (", compared with another process" if self.elsewhere else "")
        )


def examine(
    scenario: Scenario,
    *,
    faults: Sequence[FaultKind] = FAULTS,
    targets: Targets = None,
    orders: int = RUNS,
    pairs: int = PAIRS,
    laws: Sequence[Law] = LAWS,
    expect: tuple[type[BaseException], ...] = (),
    recovery: Scenario | None = None,
    cover: Sequence[str] = (),
    elsewhere: bool = True,
) -> ExamineReport:
    """
    Try all on *scenario*, until something is wrong: the simplest story is found first.

    As it comes; again, to see that it can be repeated; each single fault, but for those that are
    much the same as others, as an error that comes later out of the same wait; other orders; in
    another process; pairs of faults, first those whose second one comes where only the first one
    leads: into a recovery, a cleanup, or what is done about a failure; and at last the rest of the
    single faults.

    Args:
        scenario: An async function of a `World`.
        faults: Which kinds; see `sweep`.
        targets: Which scopes to cancel; see `sweep`.
        orders: How many other orders, by chance; see `explore`.
        pairs: How many pairs, by chance if there are more.
        laws: What has to hold.
        expect: Exceptions that the scenario may end by.
        recovery: What the next process does after a crash; without one, none is tried.
        cover: Names of modules whose every ``await`` a cancel has to come out of, or be reported.
        elsewhere: Whether to run it in a second process, with other hashes of texts; left out if
            that process could not find the scenario by its name.

    Raises:
        AssertionError: the scenario is not the same when it is run again.
        TypeError, ValueError, ImportError: *faults*, *targets*, *laws* or *cover* name what there
            is not, or a number is out of its range.
    """
    check_faults(faults, has_recovery=recovery is not None)
    check_laws(laws)
    check_modules(cover)
    for name, number in (("orders", orders), ("pairs", pairs)):
        if number < 0:
            raise ValueError(f"{name} must be an int >= 0, not {number!r}")
    rules = Rules(laws=laws, expect=expect, recovery=recovery, covers=bool(cover), looks=pairs > 0)
    inquiry = _Inquiry(scenario, rules)
    with collected():
        inquiry.base = repeated(scenario, rules)
        inquiry.look_at(inquiry.base)
        inquiry.try_singles(faults, targets)
        inquiry.try_orders(orders)
        if elsewhere and not inquiry.failures:
            inquiry.try_elsewhere()
        inquiry.try_pairs(pairs)
        inquiry.try_singles(faults, targets, again=True)
    return ExamineReport(
        runs=inquiry.runs,
        failures=tuple(inquiry.failures),
        positions=inquiry.base.positions,
        faults=inquiry.counts["faults"],
        orders=inquiry.counts["orders"],
        pairs=inquiry.counts["pairs"],
        elsewhere=inquiry.is_compared,
        missed_awaits=missed(cover, inquiry.reached) if cover and not inquiry.failures else (),
    )


def _rank(fault: Fault) -> int:
    """Return how late *fault* is tried: first those of which there are few, and which tell much."""
    if fault.kind == "cancel":
        return 0 if fault.target == ROOT else 3
    return {"fail": 1, "interrupt": 2}.get(fault.kind, 4)


def _length(recovery: tuple[int, Fault]) -> int:
    return recovery[0]


class _Inquiry:
    """An examination under way; it tries nothing more once something is wrong."""

    base: Report

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.failures: list[Report] = []  # at most one
        self.runs = 2
        self.counts = {"faults": 0, "orders": 0, "pairs": 0}
        self.is_compared = False
        self.reached: set[tuple[str, int]] = set()
        self._scenario = scenario
        self._rules = rules
        # each fault of the sweep, and its run
        self._tried: list[tuple[Fault, Report]] = []

    def look_at(self, report: Report) -> None:
        self.reached |= report.reached
        if report.problems:
            self.failures.append(report)

    def _try(self, plan: Plan, what: str) -> Report:
        report = run_once(self._scenario, plan, self._rules)
        self.runs += 1
        self.counts[what] += 1
        self.look_at(report)
        return report

    def try_singles(
        self, kinds: Sequence[FaultKind], targets: Targets, *, again: bool = False
    ) -> None:
        """Try each, but for those that are much the same as others: they come *again*, and last."""
        crashes = self._rules.recovery is not None
        faults = singles(self.base, kinds, targets, crashes=crashes)
        for fault in sorted(faults, key=_rank):
            if self.failures:
                return
            if is_much_the_same(self.base, fault) != again:
                continue
            report = self._try(Plan((fault,)), "faults")
            self._tried.append((fault, attrs.evolve(report, events=(), strikes=())))

    def try_orders(self, count: int) -> None:
        for plan in orders(self.base, seed=0, skew=SKEW, count=count):
            if self.failures:
                return
            self._try(plan, "orders")

    def try_pairs(self, count: int) -> None:
        """Try first those whose second fault comes where only the first one leads, and then others."""
        others = [
            (first, second)
            for first, report in self._tried
            if first.kind == "cancel"
            for second in seconds_of(first, range(first.position + 1, report.positions), _AFTER)
        ]
        if len(others) > count:
            others = random.Random(0).sample(others, count)
        for pair in islice(chain(self._into_recoveries(), self._led_to(), others), count):
            if self.failures:
                return
            self._try(Plan(pair), "pairs")

    def _led_to(self) -> Iterator[tuple[Fault, Fault]]:
        """Return an iterator over pairs of a fault, and one that comes into what is done about it."""
        seen: set[tuple[str, ...]] = set()
        for first, report in self._tried:
            for fault, where in self._seconds(first, report) if first.kind != "crash" else ():
                key = (fault.kind, *where)
                if key not in seen:
                    seen.add(key)
                    yield first, fault

    def _seconds(self, first: Fault, report: Report) -> Iterator[tuple[Fault, tuple[str, ...]]]:
        """Return an iterator over second faults, each with what tells it from much the same ones."""
        after = report.aftermath
        new = {place: at for place, at in after.places.items() if self._is_new(place)}
        for place, position in (after.cleanups | new).items():
            for second in seconds_of(first, (position,), _AFTER):
                yield second, (place,)
        for name, passed in report.points.items():
            for number in range(after.points.get(name, 0), passed):
                yield Fault("fail", number, name), (first.kind, first.target, name)

    def _is_new(self, place: str) -> bool:
        return place not in self.base.aftermath.places

    def _into_recoveries(self) -> Iterator[tuple[Fault, Fault]]:
        """Return an iterator over pairs of a crash, and one of the process that comes after it."""
        lengths: dict[int, Fault] = {}  # of recoveries; one of each is much like the others
        for crash, report in self._tried:
            if crash.kind == "crash":
                lengths[report.positions - crash.position] = crash
        for length, crash in sorted(lengths.items(), key=_length, reverse=True)[:_MOST_RECOVERIES]:
            for position in range(crash.position + 1, crash.position + length):
                yield crash, Fault("crash", position)

    def try_elsewhere(self) -> None:
        logs = other_logs(self._scenario)
        self.is_compared = bool(logs)
        for log in logs:
            if log != self.base.log:
                text = f"in another process {difference(self.base.log, log)}"
                self.failures.append(attrs.evolve(self.base, problems=(Problem("FICKLE", text),)))
                return
