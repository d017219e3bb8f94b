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
"""

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


def _at_least(least: float) -> Callable[[object, "attrs.Attribute[Any]", float], None]:
    def check(owner: object, field: "attrs.Attribute[Any]", value: float) -> None:
        if not (isinstance(value, (int, float)) and value >= least):
            raise ValueError(
                f"{type(owner).__name__}.{field.name} must be a number >= {least:g}, not {value!r}"
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

    In a row are the restarts that the intensity counts, so a calm period begins anew.
    """

    first: float = attrs.field(default=0.0, validator=_at_least(0))
    """Seconds before the first; 0 for at once, as OTP has it."""
    factor: float = attrs.field(default=2.0, validator=_at_least(1))
    most: float = attrs.field(default=30.0, validator=_at_least(0))
    """Seconds, at most; the jitter may add to it."""
    jitter: float = attrs.field(default=0.1, validator=_at_least(0))
    """A part of the delay, from 0 to 1, by which it is lengthened or shortened by chance."""

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Return the seconds before the restart number *attempt*, >= 1, in a row."""
        try:
            delay = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            delay = self.most
        return max(0.0, min(delay, self.most) * (1 + self.jitter * (2 * random() - 1)))


@attrs.frozen
class Supervision:
    """How a parent treats the ends of its children."""

    strategy: Strategy = attrs.field(default="one_for_one", validator=_known_strategy)
    restarts: int = attrs.field(default=3, validator=_at_least(0))
    """At most so many restarts within `within` seconds; one more, and the supervisor gives up."""
    within: float = attrs.field(default=5.0, validator=_at_least(0))
    backoff: Backoff = Backoff()


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
    """When a supervisor restarted something, as far back as its intensity looks."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()  # at most as many as the supervision allows, plus one

    def add(self, now: float, within: float) -> int:
        """Note a restart, and return how many there were in the last *within* seconds."""
        self._times.append(now)
        while self._times[0] < now - within:
            self._times.popleft()
        return len(self._times)


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
    count = history.add(now, supervision.within)
    if count > supervision.restarts:
        return GiveUp()
    delay = supervision.backoff.delay(count, random)
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
