"""What a runtime looks like from outside: its tree, and a report of who waits for whom, and where."""

from collections.abc import Iterable, Iterator

import attrs
import trio

from greenroom.runtime.accounts import ActorStatistics
from greenroom.runtime.cell import Cell
from greenroom.runtime.envelope import frame_in
from greenroom.runtime.stacks import stack_of

__all__ = ["ActorNode", "report", "tree"]


@attrs.frozen
class ActorNode:
    """One actor in the tree, at one moment; as text, it and all below it."""

    name: str
    kind: str
    """The name of its class."""
    statistics: ActorStatistics
    children: tuple["ActorNode", ...]
    """The living actors that it spawned, in that order."""

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> Iterator[str]:
        figures = self.statistics
        yield (
            f"{indent}{self.name} ({self.kind}, {figures.state}, {figures.queued} queued, "
            f"{figures.running} running)"
        )
        for child in self.children:
            yield from child._lines(indent + "  ")


def tree(cells: Iterable[Cell]) -> tuple[ActorNode, ...]:
    """Return *cells* and all that they own."""
    return tuple(
        ActorNode(cell.name, cell.kind, cell.statistics(), tree(cell.children or ()))
        for cell in cells
    )


def report(name: str, cells: Iterable[Cell]) -> str:
    """Return a text for people: each actor with its figures, its handlers, waits and stacks."""
    lines = [f"runtime {name!r} at {trio.current_time():.3f} s"]
    for cell in cells:
        lines += _of_family(cell, "  ")
    return "\n".join(lines)


def _of_family(cell: Cell, indent: str) -> Iterator[str]:
    figures = cell.statistics()
    accounts = figures.accounts
    peak = "" if figures.peak is None else f" (peak {figures.peak})"
    yield (
        f"{indent}{cell.name} ({cell.kind}): {figures.state}; "
        f"{figures.queued} of {figures.capacity} queued{peak}, "
        f"{figures.waiting} senders wait; "
        f"{accounts.handled} of {accounts.sent} handled; {figures.restarts} restarts"
    )
    inner = indent + "    "
    for slot in cell.slots:
        if slot.running is None and slot.waiting is None:
            continue
        doing = type(frame_in(slot.running)).__name__ if slot.running is not None else "a hook"
        wait = f", {slot.waiting.describe()}" if slot.waiting is not None else ""
        ending = f", being cancelled ({slot.reason})" if slot.is_cancelled else ""
        yield f"{inner}handles {doing}{wait}{ending}"
        for line in stack_of(slot.task):
            yield f"{inner}  {line}"
    for child in cell.children or ():
        yield from _of_family(child, indent + "  ")
