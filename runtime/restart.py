"""
What a supervisor does about a child that ended: tables and pure functions, no Trio.

The words and the rules are those of OTP's ``supervisor``; the back-off is ours.

============== ============================================
child          is restarted
============== ============================================
``permanent``  always
``transient``  after a crash
``temporary``  never
============== ============================================

================ ==========================================================
strategy         what is restarted with it
================ ==========================================================
``one_for_one``  nothing
``one_for_all``  every other child
``rest_for_one`` the children started after it
================ ==========================================================

Those others are stopped in reverse order of their start; a temporary one among them is stopped and
not started again. All are started in order.

Two counts are kept, over all children of one supervisor. The *intensity* counts restarts within a
sliding window, as OTP has it. The *back-off* counts restarts in a row: each within the window after
the one before it was due. It can't count those in the window, as delays longer than that would make
it begin anew, and a child that crashes at once would never come to wait for `Backoff.most`. A
supervisor whose delays outgrow the window would never give up on a child that crashes again and
again; `Supervision` refuses that, unless it is asked for by ``restarts=math.inf``.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args

import attrs

__all__ = [
    "Backoff",
    "ChildKind",
    "GiveUp",
    "History",
    "Ignore",
    "Restart",
    "Strategy",
    "Supervision",
    "decide",
]

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
ChildKind: TypeAlias = Literal["permanent", "transient", "temporary"]

ChildT = TypeVar("ChildT")


def _number(
    least: float, most: float = math.inf, *, whole: bool = False
) -> Callable[[object, "attrs.Attribute[Any]", float], None]:
    kind = "an int" if whole else "a number"
    span = f">= {least:g}" if most == math.inf else f"from {least:g} to {most:g}"

    def check(owner: object, field: "attrs.Attribute[Any]", value: float) -> None:
        is_kind = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        is_kind = is_kind or (whole and value == math.inf)
        if not (is_kind and least <= value <= most):
            raise ValueError(
                f"{type(owner).__name__}.{field.name} must be {kind} {span}, not {value!r}"
            )

    return check


def _known_strategy(_: object, __: "attrs.Attribute[Any]", value: str) -> None:
    if value not in get_args(Strategy):
        known = ", ".join(get_args(Strategy))
        raise ValueError(f"strategy must be one of {known}, not {value!r}")


@attrs.frozen
class Backoff:
    """
    How long to wait before a restart: ``first * factor ** (n - 1)`` before the nth in a row.

    In a row are restarts of which each came within `Supervision.within` seconds after the one
    before it was due; so a calm period begins anew.
    """

    first: float = attrs.field(default=0.0, validator=_number(0))
    """Seconds before the first, >= 0; 0 for at once, and always, as OTP has it."""
    factor: float = attrs.field(default=2.0, validator=_number(1))
    """By which each delay is longer than the one before it, >= 1."""
    most: float = attrs.field(default=30.0, validator=_number(0))
    """Seconds, at most, >= 0; the jitter may add to it."""
    jitter: float = attrs.field(default=0.1, validator=_number(0, 1))
    """A part of the delay, from 0 to 1, by which it is lengthened or shortened by chance."""

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds before the restart number *attempt*, >= 1, in a row."""
        if self.first == 0:
            return 0.0
        try:
            delay = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            delay = self.most
        return min(delay, self.most) * (1 + self.jitter * (2 * random() - 1))

    def shortest(self, restarts: float, enough: float) -> float:
        """Return the least seconds that so many in a row take; or some number above *enough*."""
        total, attempt = 0.0, 0
        while attempt < restarts and total <= enough:
            attempt += 1
            delay = self.delay(attempt, _least)
            if delay == self.delay(attempt + 1, _least):  # and so are all that follow
                return total + delay * (restarts - attempt + 1) if delay else total
            total += delay
        return total


def _least() -> float:
    """Return the chance that makes a delay the shortest."""
    return 0.0


@attrs.frozen
class Supervision:
    """
    How a parent treats the ends of its children.

    A back-off spreads restarts out. If `restarts` of its delays, at their shortest, last longer than
    `within`, a child that crashes at once would be restarted for ever, and the intensity would be
    there in name only: that is a ValueError. Make `within` longer, or write ``restarts=math.inf``
    for a supervisor that never gives up.
    """

    strategy: Strategy = attrs.field(default="one_for_one", validator=_known_strategy)
    restarts: float = attrs.field(default=3, validator=_number(0, whole=True))
    """
    At most so many within `within` seconds, an int >= 0; one more, and the supervisor gives up.
    ``math.inf`` for never.
    """
    within: float = attrs.field(default=5.0, validator=_number(0))
    """Seconds, >= 0; ``math.inf`` for ever."""
    backoff: Backoff = Backoff()

    def __attrs_post_init__(self) -> None:
        shortest = self.backoff.shortest(self.restarts, self.within)
        if shortest > self.within and self.restarts != math.inf:
            raise ValueError(
                f"{self.restarts} restarts take at least {shortest:g} s by this back-off, so there "
                f"are never more of them within {self.within:g} s, and this supervisor would never "
                f"give up; make within longer, or write restarts=math.inf if that is meant"
            )


@attrs.frozen(eq=False)
class Restart(Generic[ChildT]):
    """Stop *stop* in this order; then, after *delay* seconds, start *start* in this order."""

    stop: tuple[ChildT, ...]
    start: tuple[ChildT, ...]
    delay: float


@attrs.frozen
class Ignore:
    """The end of the child is final, and concerns nobody else."""


@attrs.frozen
class GiveUp:
    """There were too many restarts; the failure goes up."""


class History:
    """
    When a supervisor restarted something, as far back as its intensity looks.

    It keeps one restart more than the intensity allows, and no more: that one gives up.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()  # at most one more than the restarts allowed
        self._in_a_row = 0
        self._due_at = -math.inf  # when the last restart was to be made

    def __len__(self) -> int:
        return len(self._times)

    def add(self, now: float, supervision: Supervision) -> bool:
        """Note a restart, and tell whether the intensity allows it."""
        if supervision.restarts == math.inf:
            return True
        self._times.append(now)
        while self._times[0] < now - supervision.within:
            self._times.popleft()
        if len(self._times) <= supervision.restarts:
            return True
        while len(self._times) > supervision.restarts + 1:
            self._times.popleft()
        return False

    def delay(self, now: float, supervision: Supervision, random: Callable[[], float]) -> float:
        """Return the delay of the restart that was noted last."""
        is_calm = now - self._due_at > supervision.within
        self._in_a_row = 1 if is_calm else self._in_a_row + 1
        delay = supervision.backoff.delay(self._in_a_row, random)
        self._due_at = now + delay
        return delay


def decide(
    supervision: Supervision,
    children: Sequence[tuple[ChildT, ChildKind]],
    ended: ChildT,
    *,
    crashed: bool,
    now: float,
    history: History,
    random: Callable[[], float],
) -> Restart[ChildT] | Ignore | GiveUp:
    """
    Decide about the end of one child.

    Args:
        supervision: Of the parent.
        children: All that live, and the one that ended, in order of their start.
        ended: That one.
        crashed: It ended by a crash.
        now: The time (seconds).
        history: Of this supervisor; a restart is noted in it.
        random: Gives a number in [0, 1), for the jitter.

    Source: Erlang/OTP, Supervisor Behaviour.
    """
    at = next(i for i, (child, _) in enumerate(children) if child is ended)
    kind = children[at][1]
    if kind == "temporary" or (kind == "transient" and not crashed):
        return Ignore()
    if not history.add(now, supervision):
        return GiveUp()
    delay = history.delay(now, supervision, random)
    match supervision.strategy:
        case "one_for_one":
            return Restart((), (ended,), delay)
        case "one_for_all":
            group = children
        case "rest_for_one":
            group = children[at:]
    return Restart(
        stop=tuple(child for child, _ in reversed(group) if child is not ended),
        start=tuple(child for child, other in group if other != "temporary"),
        delay=delay,
    )
