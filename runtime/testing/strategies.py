"""
Plans for Hypothesis: any few faults, in any order that is nearly the plain one.

``@given(plan=plans(checkout))`` and ``simulate(checkout, plan=plan).check()``. What a plan can be is
read off one run of the scenario as it comes: the positions, what could be done at each of them, and
the steps at which another task could have gone first. The empty plan is the simplest; what fails is
shrunk to few faults and few other turns, early in the run.

It needs Hypothesis, which greenroom itself does not: ``pip install 'greenroom[testing]'``.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Final

from hypothesis import strategies as st

from greenroom.runtime.testing.control import Fifo
from greenroom.runtime.testing.plan import Fault, FaultKind, Plan
from greenroom.runtime.testing.report import Report
from greenroom.runtime.testing.simulate import Rules, run_once
from greenroom.runtime.testing.sweep import JUMP, Targets, singles
from greenroom.runtime.testing.world import ROOT, Scenario

__all__ = ["plans"]

KINDS: Final[tuple[FaultKind, ...]] = ("cancel", "call", "raise", "fail", "interrupt")


def plans(
    scenario: Scenario,
    *,
    max_faults: int = 2,
    max_preempt: int = 3,
    kinds: Sequence[FaultKind] = KINDS,
    targets: Targets = None,
) -> st.SearchStrategy[Plan]:
    """
    Return a strategy for plans that can be tried on *scenario*.

    The scenario is run once as it comes, when the first plan is drawn. One that has other arguments
    is given with values that stand for all: ``plans(partial(checkout, order=ONE))``. What a plan
    names and a run does not have is left out of that run.

    Args:
        scenario: An async function of a `World`.
        max_faults: How many faults a plan has at most, >= 0.
        max_preempt: At how many steps another task goes first, at most, >= 0.
        kinds: Of the faults; ``"jump"`` (by 5 s) and ``"crash"`` may be among them.
        targets: Which scopes to cancel; see `sweep`.

    Raises:
        SeamMismatch: this version of Trio is not known to the seam; when the first plan is drawn.
    """
    for name, most in (("max_faults", max_faults), ("max_preempt", max_preempt)):
        if most < 0:
            raise ValueError(f"{name} must be an int >= 0, not {most!r}")
    space = functools.cache(lambda: _Space(scenario, kinds, targets))

    @st.composite
    def plan(draw: st.DrawFn) -> Plan:
        most = max_faults if space().has_faults else 0
        faults = draw(st.lists(space().fault, max_size=most, unique=True))
        turns = draw(st.lists(space().turn, max_size=max_preempt, unique_by=_step))
        return Plan(tuple(sorted(faults, key=_position)), tuple(sorted(turns)))

    return plan()


def _position(fault: Fault) -> int:
    return fault.position


def _step(turn: tuple[int, int]) -> int:
    return turn[0]


class _Noting:
    """The plain order; notes where there was a choice."""

    def __init__(self) -> None:
        self.others: list[tuple[int, int]] = []  # a step, and the index of one that did not go
        self.most = 1  # could go at once
        self._fifo = Fifo()

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        chosen = self._fifo.choose(step, runnable)
        self.most = max(self.most, len(runnable))
        self.others += [(step, index) for index in range(len(runnable)) if index != chosen]
        return chosen


class _Space:
    """All that a plan for one scenario can consist of."""

    def __init__(self, scenario: Scenario, kinds: Sequence[FaultKind], targets: Targets) -> None:
        noting = _Noting()
        base = run_once(scenario, Plan(), Rules(), noting)
        at_positions: dict[int, list[Fault]] = {}
        fails: list[Fault] = []  # what they count is no position
        for fault in _all_faults(base, kinds, targets):
            if fault.kind == "fail":
                fails.append(fault)
            else:
                at_positions.setdefault(fault.position, []).append(fault)
        positions = [at_positions[position] for position in sorted(at_positions)]
        ways: list[st.SearchStrategy[Fault]] = []
        if positions:  # drawn first, so that a plan is shrunk to the earliest
            ways.append(st.sampled_from(positions).flatmap(st.sampled_from))
        if fails:
            ways.append(st.sampled_from(fails))
        self.fault = st.one_of(ways)
        self.has_faults = bool(ways)
        # Once another task has gone first there are choices where the plain run had none.
        anywhere = st.tuples(st.integers(0, base.steps), st.integers(0, noting.most - 1))
        self.turn = st.sampled_from(noting.others) | anywhere if noting.others else anywhere


def _all_faults(base: Report, kinds: Sequence[FaultKind], targets: Targets) -> Iterator[Fault]:
    """Return an iterator over what can be done to the run of *base*, or to one somewhat longer."""
    alone: list[FaultKind] = [kind for kind in kinds if kind != "jump"]
    yield from singles(base, alone, targets, crashes=True)
    longer = base.positions + base.positions // 4 + 1
    for position in range(longer):
        if "jump" in kinds:
            yield Fault("jump", position, seconds=JUMP)
        if position >= base.positions and "interrupt" in kinds:
            yield Fault("interrupt", position)
        if position >= base.positions and "cancel" in kinds and (not targets or ROOT in targets):
            yield Fault("cancel", position, ROOT)
