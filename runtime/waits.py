"""
The wait-for graph: whether a wait could ever end (R24).

A handler waits for at most one thing, and that ends when *any* of its blockers goes on: a running
request has one blocker, the slot that runs it; a queued one, or a full mailbox, has every slot of
its actor. So a wait is hopeless if no way leads from it to a handler that does not wait, or to
something outside the graph. The one exception is a value published to several subscribers that are
all full: that is `AllOf` their waits, and hopeless if one of them is. Nothing is stored here: the
edges are read off what the runtime keeps anyway, at the moment of the wait.
"""

from collections.abc import Sequence
from typing import Protocol

from greenroom.runtime.errors import DeadlockError

__all__ = ["AllOf", "Wait", "Waiter", "check_wait", "cycle_text", "find_cycle"]


class Waiter(Protocol):
    """A running handler."""

    @property
    def actor(self) -> str:
        """The name of its actor."""
        ...

    @property
    def waits(self) -> "Wait | None":
        """What it waits for; None while it can go on."""
        ...


class Wait(Protocol):
    """Something that a handler waits for."""

    def blockers(self) -> "Sequence[Waiter] | None":
        """
        Return those of whom one must go on for the wait to end.

        None: something outside the graph can end it. An empty sequence: nothing can.
        """
        ...

    def describe(self) -> str:
        """Return the wait as a predicate: ``asks 'b' Echo``."""
        ...


class AllOf:
    """A wait that ends when every one of *parts* has; the only one that has parts."""

    def __init__(self, parts: Sequence[Wait]) -> None:
        self.parts = parts

    def blockers(self) -> Sequence[Waiter] | None:
        """Return those of its one part; else there is no such list, see `find_cycle`."""
        return self.parts[0].blockers() if len(self.parts) == 1 else ()

    def describe(self) -> str:
        """Return what the parts say."""
        return " and ".join(part.describe() for part in self.parts)


def check_wait(waiter: Waiter, wait: Wait, way_out: str = "telling instead of asking") -> None:
    """
    Refuse a wait that could never end (R24).

    Args:
        waiter: Who would wait.
        wait: For what.
        way_out: What else to do, for the message.

    Raises:
        DeadlockError: *waiter*, by waiting for *wait*, would close a cycle.
    """
    if wait.blockers() is not None and (cycle := find_cycle(waiter, wait)) is not None:
        text = cycle_text(cycle)
        raise DeadlockError(
            f"this wait would never end: {text}; break the cycle, for example by {way_out}",
            tuple(step.actor for step, _ in cycle),
        )


def find_cycle(waiter: Waiter, wait: Wait) -> tuple[tuple[Waiter, Wait], ...] | None:
    """
    Return the cycle that *waiter* would close by waiting for *wait*; None if it may wait.

    The steps begin with ``(waiter, wait)``. Where no cycle leads back to *waiter*, because all that
    it would wait for is blocked among itself, the steps lead into that knot.

    Cost: linear in the waits that can be reached; it ends at the first way out. Where an `AllOf` of
    several parts is met, all that can be reached is looked at first.
    """
    to_blame: dict[int, Wait] | None = None  # by handler, once an `AllOf` was met
    came_from: dict[int, tuple[Waiter, Wait] | None] = {id(waiter): None}
    order: list[tuple[Waiter, Wait]] = [(waiter, wait)]
    back: tuple[Waiter, Wait] | None = None
    for step in order:  # grows as it goes: breadth first, so that the cycle is a short one
        reason = step[1]
        if isinstance(reason, AllOf) and len(reason.parts) != 1:
            if to_blame is None and (to_blame := _hopeless(waiter, wait)) is None:
                return None
            reason = to_blame[id(step[0])]
        blockers = reason.blockers()
        if blockers is None:
            return None
        for blocker in blockers:
            if blocker is waiter:
                back = back or step
            elif id(blocker) not in came_from:
                blocked_by = blocker.waits
                if blocked_by is None:
                    return None
                came_from[id(blocker)] = step
                order.append((blocker, blocked_by))
    steps: list[tuple[Waiter, Wait]] = []
    at: tuple[Waiter, Wait] | None = back or order[-1]
    while at is not None:
        why = at[1]
        if isinstance(why, AllOf):
            why = why.parts[0] if to_blame is None else to_blame[id(at[0])]
        steps.append((at[0], why))
        at = came_from[id(at[0])]
    return tuple(reversed(steps))


def _hopeless(waiter: Waiter, wait: Wait) -> dict[int, Wait] | None:
    """
    Return, for each handler that can never go on, the part of its wait that is to blame.

    None: *waiter* can. All are taken for hopeless who wait; then those are let go, again and again,
    each part of whose wait has a blocker that was let go.
    """
    waits: dict[int, list[tuple[Wait, list[int]]]] = {}  # their parts, and the blockers of each
    order: list[tuple[Waiter, Wait | None]] = [(waiter, wait)]
    for who, why in order:  # grows as it goes
        if id(who) in waits:
            continue
        found: list[tuple[Wait, list[int]]] = []
        waits[id(who)] = found
        for part in why.parts if isinstance(why, AllOf) else () if why is None else (why,):
            blockers = part.blockers()
            if blockers is not None:
                found.append((part, [id(blocker) for blocker in blockers]))
                order += [(b, b.waits) for b in blockers if id(b) not in waits]
    to_blame: dict[int, Wait] = {}
    while waits:
        to_blame = {}
        for who_id, parts in waits.items():
            stuck = (part for part, others in parts if all(o in waits for o in others))
            if (first := next(stuck, None)) is not None:
                to_blame[who_id] = first
        if len(to_blame) == len(waits):
            break
        waits = {who_id: waits[who_id] for who_id in to_blame}
    return to_blame if id(waiter) in to_blame else None


def cycle_text(steps: Sequence[tuple[Waiter, Wait]]) -> str:
    """Return *steps* as one line: ``'a' asks 'b' Echo, 'b' asks 'a' Echo``."""
    return ", ".join(f"{waiter.actor!r} {wait.describe()}" for waiter, wait in steps)
