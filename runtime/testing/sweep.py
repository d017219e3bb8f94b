"""
Every fault at every position, one at a time: complete for the order of tasks that it sweeps.

Between two steps of a task Trio runs nothing else, so the positions are all the moments at which a
cancel, a signal or an error of something waited for can come from outside.
"""

import gc
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, Literal, TypeAlias

import attrs

from greenroom.runtime.testing.history import LAWS, Law
from greenroom.runtime.testing.plan import Fault, FaultKind, Plan
from greenroom.runtime.testing.reach import check_modules, missed
from greenroom.runtime.testing.report import Report, RunsReport
from greenroom.runtime.testing.simulate import CANCEL_BUDGET, Rules, run_once
from greenroom.runtime.testing.world import MAIN, ROOT, Scenario

__all__ = [
    "FAULTS",
    "SweepReport",
    "Targets",
    "check_faults",
    "check_laws",
    "check_stride",
    "collected",
    "is_much_the_same",
    "seconds_of",
    "singles",
    "sweep",
]

FAULTS: Final[tuple[FaultKind, ...]] = ("cancel", "call", "raise", "fail", "interrupt", "crash")
JUMP: Final = 5.0

Targets: TypeAlias = Sequence[str] | Literal["all"] | None
"""Which scopes are cancelled; see `sweep`."""


@attrs.frozen(kw_only=True)
class SweepReport(RunsReport):
    """What the runs of a sweep came to."""

    positions: int
    """Of the run without faults; of a `sweep_live`, those at which a run was cancelled."""
    missed_awaits: tuple[str, ...] = ()
    """The awaits of the modules to be covered that no cancel came out of, each as ``file:line``."""

    def summary(self) -> str:
        """Return how much was tried, in a few words."""
        return f"{self.runs} runs, {self.positions} positions"


def sweep(
    scenario: Scenario,
    *,
    faults: Sequence[FaultKind] = FAULTS,
    then: Sequence[FaultKind] = (),
    targets: Targets = None,
    order: Plan | str = "",
    stride: int = 1,
    laws: Sequence[Law] = LAWS,
    stop_after: int = 1,
    expect: tuple[type[BaseException], ...] = (),
    cancel_budget: float = CANCEL_BUDGET,
    recovery: Scenario | None = None,
    cover: Sequence[str] = (),
) -> SweepReport:
    """
    Run *scenario* once as it comes, twice to see that it can be repeated, and once for each fault.

    Args:
        scenario: An async function of a `World`.
        faults: Which kinds: ``"cancel"``, ``"call"`` (see `World.action`), ``"raise"``, ``"fail"``,
            ``"interrupt"``, and ``"crash"``, which needs a *recovery*.
        then: Which kinds come second, at each position after each cancel, while all is cleaned up:
            ``"cancel"`` of the root, ``"interrupt"``, ``"jump"`` by 5 s.
        targets: The names of the scopes to cancel; by default the root and each scope of
            `World.scope`, and with ``"all"`` each nursery of the scenario's own code besides, which
            nobody but that code can cancel.
        order: The order of tasks that is swept, as ``"random 7"`` or ``"pct 7 3 100"``; a plan
            without faults.
        stride: Only every so many faults are tried, int >= 1.
        laws: What has to hold.
        stop_after: How many runs with something wrong are enough.
        expect: Exceptions that the scenario may end by, beside those that faults bring.
        cancel_budget: See `simulate`.
        recovery: See `simulate`.
        cover: Names of modules whose every ``await`` a cancel has to come out of, or be reported.

    Raises:
        ValueError: *order* has faults, or an order that can't be repeated; *stride* is out of range;
            *faults*, *then* or *targets* name what there is not.
        AssertionError: the scenario is not the same when it is run again, so that a plan would not
            repeat what it found; the text has the first line of the log that differs.
    """
    order = Plan.parse(order) if isinstance(order, str) else order
    if order.faults or order.mode in ("public", "live"):
        raise ValueError(
            f"order must be a plan that can be repeated and has no faults, such as 'random 7', "
            f"not {str(order)!r}"
        )
    check_stride(stride)
    check_faults(faults, has_recovery=recovery is not None)
    check_faults(then, "then", ("cancel", "interrupt", "jump"))
    check_laws(laws)
    check_modules(cover)
    rules = Rules(
        laws=laws,
        cancel_budget=cancel_budget,
        expect=expect,
        recovery=recovery,
        covers=bool(cover),
    )
    with collected():
        base = repeated(scenario, rules, order)
        failures = [base] if base.problems else []
        reached = set(base.reached)
        runs = 2

        def once(plan: Plan) -> Report:
            nonlocal runs
            runs += 1
            report = run_once(scenario, plan, rules)
            reached.update(report.reached)
            if report.problems:
                failures.append(report)
            return report

        every = singles(base, faults, targets, crashes=recovery is not None)
        for fault in islice(every, 0, None, stride):
            if len(failures) >= stop_after:
                break
            report = once(attrs.evolve(order, faults=(fault,)))
            if fault.kind == "cancel" and report.ok:
                for second in seconds_of(fault, range(fault.position + 1, report.positions), then):
                    if len(failures) < stop_after:
                        once(attrs.evolve(order, faults=(fault, second)))
        return SweepReport(
            runs=runs,
            failures=tuple(failures),
            positions=base.positions,
            missed_awaits=missed(cover, reached) if cover and not failures else (),
        )


def check_faults(
    kinds: Sequence[FaultKind],
    name: str = "faults",
    allowed: Sequence[FaultKind] = FAULTS,
    *,
    has_recovery: bool = True,
) -> None:
    """Raise TypeError or ValueError if *kinds* are none that can be tried."""
    if isinstance(kinds, str):
        raise TypeError(f"{name} must be a list of kinds: write {name}=[{kinds!r}]")
    for kind in kinds:
        if kind not in allowed:
            hint = "; a jump comes second: then=['jump']" if kind == "jump" else ""
            raise ValueError(
                f"{name} must be of {', '.join(map(repr, allowed))}, not {kind!r}{hint}"
            )
    if tuple(kinds) == ("crash",) and not has_recovery:
        raise ValueError(
            "a crash alone tells nothing: give recovery=..., what the next process does after it"
        )


def check_laws(laws: Sequence[Law]) -> None:
    """Raise TypeError if some of *laws* is none."""
    for one in laws:
        if not isinstance(one, Law):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{one!r} is no law; write @law('what holds') above the function")


def check_stride(stride: int) -> None:
    """Raise ValueError for a *stride* that leads nowhere."""
    if not (isinstance(stride, int) and stride >= 1):
        raise ValueError(f"stride must be an int >= 1, not {stride!r}")


@contextmanager
def collected() -> Generator[None]:
    """
    Collect garbage once, so that the collection after each run in this block is cheap.

    Not where something is frozen already, which would thaw at the end.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def repeated(scenario: Scenario, rules: Rules, order: Plan | None = None) -> Report:
    """Run *scenario* twice in *order*, or as it comes; AssertionError if it was not the same."""
    base, again = (run_once(scenario, order or Plan(), rules) for _ in range(2))
    if base.log != again.log:
        raise AssertionError(difference(base.log, again.log))
    return base


def singles(
    base: Report,
    kinds: Sequence[FaultKind],
    targets: Targets = None,
    *,
    crashes: bool = False,
) -> Iterator[Fault]:
    """
    Return an iterator over the faults of these *kinds* that can come to the run of *base*.

    Raises:
        TypeError: *targets* is no list.
        ValueError: it names what was not open in that run.
    """
    _check_targets(targets, base)
    for kind in kinds:
        match kind:
            case "cancel":
                for target, (first, last) in base.targets.items():
                    if _is_meant(target, targets):
                        for position in range(first, last + 1):
                            yield Fault("cancel", position, target)
            case "call":
                for name, (first, last) in base.actions.items():
                    for position in range(first, last + 1):
                        yield Fault("call", position, name)
            case "raise":
                for position, names in enumerate(base.blocked):
                    for name in names:
                        yield Fault("raise", position, name)
            case "fail":
                for name, times in base.points.items():
                    for count in range(times):
                        yield Fault("fail", count, name)
            case "interrupt":
                for position in range(base.positions if base.interruptible else 0):
                    yield Fault("interrupt", position)
            case "crash":
                for position in range(base.positions if crashes else 0):
                    yield Fault("crash", position)
                    yield Fault("crash", position, "torn")
            case "jump":
                pass  # alone it finds nothing


def _check_targets(targets: Targets, base: Report) -> None:
    if targets is None or targets == "all":
        return
    if isinstance(targets, str):
        raise TypeError(f"targets must be a list of names, or 'all': write targets=[{targets!r}]")
    for target in targets:
        if target not in base.targets and not base.problems:
            there_are = ", ".join(map(repr, base.targets))
            raise ValueError(f"no scope {target!r} is open in this scenario; there are {there_are}")


def _is_meant(target: str, targets: Targets) -> bool:
    if targets is None:
        return "#" not in target
    return targets == "all" or target in targets


def is_much_the_same(base: Report, fault: Fault) -> bool:
    """
    Tell whether *fault* differs little from others, so that it can come last.

    That is an error or a signal out of a wait that went on before and after, and the cancel of a
    scope that is open for just as long as another.
    """
    if fault.kind == "cancel":
        first = next(
            name for name, span in base.targets.items() if span == base.targets[fault.target]
        )
        return first != fault.target
    name = {"raise": fault.target, "interrupt": MAIN}.get(fault.kind)
    around = base.blocked[max(0, fault.position - 1) : fault.position + 2]
    return len(around) == 3 and all(name in names for names in around)


def seconds_of(
    first: Fault, positions: Iterable[int], kinds: Sequence[FaultKind]
) -> Iterator[Fault]:
    """Return an iterator over the faults of *kinds* that may come after *first*, at *positions*."""
    make: dict[str, Callable[[int], Fault]] = {
        "cancel": lambda position: Fault("cancel", position, ROOT),
        "interrupt": lambda position: Fault("interrupt", position),
        "jump": lambda position: Fault("jump", position, seconds=JUMP),
    }
    for kind in kinds:
        if kind == "cancel" and first.target == ROOT:
            continue  # again: does nothing
        for position in positions:
            yield make[kind](position)


def difference(one: str, other: str) -> str:
    """Return what to say of two logs that should be the same."""
    pairs = zip(one.splitlines(), other.splitlines(), strict=False)
    line = next((f"{a!r}, and then {b!r}" for a, b in pairs if a != b), "one is longer")
    return f"the scenario is not the same when it is run again: {line}"
