"""The register of names: one living actor each, looked up at once or waited for."""

from itertools import count

import trio

from greenroom.runtime.cell import Cell

__all__ = ["Names"]


class Names:
    """The living actors of one runtime, by name."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self._numbers: dict[str, count[int]] = {}  # the next to try, for each class's name
        self._awaited: dict[str, trio.Event] = {}  # set when an actor of this name is there

    def __len__(self) -> int:
        return len(self._cells)

    def choose(self, kind: str, name: str | None) -> str:
        """
        Return *name*, or one made from *kind*, the name of the actor's class.

        Raises:
            ValueError: *name* is taken.
        """
        if name is not None:
            if name in self._cells:
                raise ValueError(
                    f"there is an actor named {name!r} already; names are unique in a runtime"
                )
            return name
        base = kind.lower()
        numbers = self._numbers.setdefault(base, count(1))
        return next(made for n in numbers if (made := f"{base}-{n}") not in self._cells)

    def add(self, cell: Cell) -> None:
        """Note a living actor, and wake those who wait for its name."""
        self._cells[cell.name] = cell
        if self._awaited and (event := self._awaited.pop(cell.name, None)) is not None:
            event.set()

    def remove(self, cell: Cell) -> None:
        """Note that an actor is over; its name is free."""
        del self._cells[cell.name]

    def find(self, name: str) -> Cell | None:
        """Return the living actor of this name, if there is one."""
        return self._cells.get(name)

    def living(self) -> tuple[str, ...]:
        """Return all names, in order of spawning."""
        return tuple(self._cells)

    async def wait_for(self, name: str) -> Cell:
        """Wait until there is one. Cancellation: nothing changes. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        while (cell := self._cells.get(name)) is None:
            event = self._awaited.setdefault(name, trio.Event())
            try:
                await event.wait()
            finally:
                if not event.is_set() and not event.statistics().tasks_waiting:
                    self._awaited.pop(name, None)
        return cell
