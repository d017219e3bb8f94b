"""
The wait-for graph: whether a wait could ever end (R24).

A handler waits for at most one thing, and that ends when *any* of its blockers goes on: a running
request has one blocker, the slot that runs it; a queued one, or a full mailbox, has every slot of
its actor. So a wait is hopeless if no way leads from it to a handler that does not wait, or to
something outside the graph. Nothing is stored here: the edges are read off what the runtime keeps
anyway, at the moment of the wait.
"""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Wait", "Waiter", "cycle_text", "find_cycle"]


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


def find_cycle(waiter: Waiter, wait: Wait) -> tuple[tuple[Waiter, Wait], ...] | None:
    """
    Return the cycle that *waiter* would close by waiting for *wait*; None if it may wait.

    The steps begin with ``(waiter, wait)``. Where no cycle leads back to *waiter*, because all that
    it would wait for is blocked among itself, the steps lead into that knot.

    Cost: linear in the waits that can be reached; it ends at the first way out.
    """
    came_from: dict[int, tuple[Waiter, Wait] | None] = {id(waiter): None}
    order: list[tuple[Waiter, Wait]] = [(waiter, wait)]
    back: tuple[Waiter, Wait] | None = None
    for step in order:  # grows as it goes: breadth first, so that the cycle is a short one
        blockers = step[1].blockers()
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
        steps.append(at)
        at = came_from[id(at[0])]
    return tuple(reversed(steps))


def cycle_text(steps: Sequence[tuple[Waiter, Wait]]) -> str:
    """Return *steps* as one line: ``'a' asks 'b' Echo, 'b' asks 'a' Echo``."""
    return ", ".join(f"{waiter.actor!r} {wait.describe()}" for waiter, wait in steps)
