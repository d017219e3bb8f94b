"""What is wrong with a run that is over: its error, its end, the laws, what is held and left behind."""

from collections.abc import Iterator, Sequence

import attrs

from greenroom.runtime.groups import leaves
from greenroom.runtime.probes import InjectedError
from greenroom.runtime.testing.director import Director
from greenroom.runtime.testing.history import History, Law
from greenroom.runtime.testing.leaks import Leaks
from greenroom.runtime.testing.report import Problem
from greenroom.runtime.testing.world import ROOT, World

__all__ = ["Outcome", "problems_of"]


@attrs.define
class Outcome:
    """What one run leaves to be judged."""

    history: History
    world: World | None = None
    generators: tuple[str, ...] = ()
    seconds: float = 0.0
    error: BaseException | None = None


def problems_of(
    run: Outcome,
    director: Director,
    leaks: Leaks,
    laws: Sequence[Law],
    *,
    cancel_budget: float,
    expect: tuple[type[BaseException], ...],
) -> Iterator[Problem]:
    """Return an iterator over all that is wrong with *run*."""
    for code, text in director.gave_up.items():
        yield Problem(code, text)
    kinds = {fault.kind for fault in director.fired}
    allowed = list(expect)
    if "interrupt" in kinds:
        allowed.append(KeyboardInterrupt)
    if "raise" in kinds or "fail" in kinds:
        allowed.append(InjectedError)
    if run.error is not None and not _is_allowed(run.error, tuple(allowed)):
        yield Problem("RAISED", "; ".join(f"{type(e).__name__}: {e}" for e in leaves(run.error)))
    for name, took in director.latencies.items():
        if took > cancel_budget:
            what = "it" if name == ROOT else f"the block of scope {name!r}"
            yield Problem("LATENCY", f"{what} took {took:g} s to end after its cancel")
    for text in director.cancels.swallowed if not director.gave_up else ():
        yield Problem("SWALLOWED", text)
    if director.cancels.expects_interrupt and not _has_interrupt(run.error):
        text = "Ctrl-C came, and no KeyboardInterrupt came out"
        if KeyboardInterrupt not in expect:
            yield Problem("SWALLOWED", f"{text}; expect=(KeyboardInterrupt,) says that it need not")
    for one in laws:
        yield from _breaches(one, run.history)
    for name, is_free in run.world.owned if run.world is not None else ():
        try:
            text = "" if is_free() else "is not free at the end"
        except Exception as error:
            text = f"can't be asked whether it is free: {type(error).__name__}: {error}"
        if text:
            yield Problem("HELD", f"{name} {text}")
    for name in director.strays:
        yield Problem("STRAYS", f"the system task {name!r} goes on when all is over")
    for leak in (*run.generators, *leaks.found):
        kind, _, text = leak.partition(": ")
        yield Problem(f"LEAK_{kind.upper()}", text)


def _breaches(law: Law, history: History) -> Iterator[Problem]:
    try:
        for breach in law.breaches(history):
            yield Problem("LAW", f"{law.name}: {breach}")
    except Exception as error:
        yield Problem("LAW", f"{law.name}: can't be told: {type(error).__name__}: {error}")


def _has_interrupt(error: BaseException | None) -> bool:
    return error is not None and any(isinstance(e, KeyboardInterrupt) for e in leaves(error))


def _is_allowed(error: BaseException, allowed: tuple[type[BaseException], ...]) -> bool:
    """Tell whether each leaf of *error*, or what caused it, is one of *allowed*."""

    def is_one(leaf: BaseException | None) -> bool:
        while leaf is not None and not isinstance(leaf, allowed):
            leaf = leaf.__cause__
        return leaf is not None

    return all(map(is_one, leaves(error)))
