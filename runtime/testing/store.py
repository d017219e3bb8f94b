"""
`MemoryStore`: files that lose at a crash what was not synced, on virtual time.

What a disk does to a log, and a test wants to see::

    store = MemoryStore()
    await store.write("log", b"one")
    await store.sync("log")
    await store.write("log", b"two")
    store.crash()   # the process is gone: its tasks may go on, and write nothing any more
    store.reopen()  # the next life
    assert await store.read("log") == b"one"
"""

from typing import Protocol

import attrs
import trio

__all__ = ["Crashable", "MemoryStore"]


class Crashable(Protocol):
    """A double for something durable, which a crash of the process can be played on."""

    def crash(self, *, torn: bool = False) -> None:
        """
        Lose what is not durable; what the old life still writes from here on is ignored.

        Args:
            torn: Whether a part of what is not durable stays. Checkpoint: never.
        """
        ...

    def reopen(self) -> None:
        """Begin the next life, which finds what the crash left. Checkpoint: never."""
        ...


@attrs.define
class _File:
    data: bytearray = attrs.Factory(bytearray)
    synced: int = 0  # of *data*, the first so many bytes survive a crash


class MemoryStore:
    """
    Named files in memory; a `Crashable`.

    Every operation takes *delay* seconds on the Trio clock, and has its effect at the end of them,
    in one step: an operation that is cancelled did nothing. `rename` and `delete` are atomic and
    durable; a file that was written and never synced is there after a crash, and empty.

    Each life, from one `reopen` to the next, is told by *when an operation began*: one of the old
    life that is still under way at the crash, or begins before `reopen`, goes on as if nothing had
    happened and changes nothing.

    Args:
        delay: Of each operation; seconds, >= 0.

    Raises:
        ValueError: *delay* is out of its range.
    """

    def __init__(self, *, delay: float = 0.001) -> None:
        if not delay >= 0:
            raise ValueError(f"delay must be seconds >= 0, not {delay!r}")
        self._delay = delay
        self._files: dict[str, _File] = {}
        self._life = 0  # counted up by crash, so that the old life is known by its number
        self._is_down = False  # from crash to reopen
        self.crashes = 0
        """How often it crashed, >= 0."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._files)} files{', crashed' * self._is_down}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The files that are there, sorted."""
        return tuple(sorted(self._files))

    async def write(self, name: str, data: bytes) -> None:
        """
        Append *data* to the file *name*, which is made if it is not there.

        Cancellation: nothing was written. Checkpoint: always.
        """
        if await self._counts():
            self._files.setdefault(name, _File()).data += data

    async def sync(self, name: str) -> None:
        """
        Make what is in the file *name* durable.

        Raises:
            FileNotFoundError: there is none.

        Cancellation: nothing became durable. Checkpoint: always.
        """
        if await self._counts():
            file = self._file(name)
            file.synced = len(file.data)

    async def rename(self, old: str, new: str) -> None:
        """
        Give the file *old* the name *new*, in place of any that has it; durable with what is synced.

        Raises:
            FileNotFoundError: there is no *old*.

        Cancellation: nothing was renamed. Checkpoint: always.
        """
        if await self._counts():
            file = self._file(old)
            del self._files[old]
            self._files[new] = file

    async def delete(self, name: str) -> None:
        """
        Delete the file *name*, for good.

        Raises:
            FileNotFoundError: there is none.

        Cancellation: nothing was deleted. Checkpoint: always.
        """
        if await self._counts():
            self._file(name)
            del self._files[name]

    async def read(self, name: str) -> bytes:
        """
        Return what is in the file *name*, synced or not.

        Raises:
            FileNotFoundError: there is none.

        Checkpoint: always.
        """
        await trio.sleep(self._delay)
        return bytes(self._file(name).data)

    def crash(self, *, torn: bool = False) -> None:
        """
        Lose what was not synced; from here to `reopen`, and of what began before, nothing counts.

        Args:
            torn: Whether the first half of what was not synced stays in each file, rounded down, as
                where a disk was in the midst of it.

        Checkpoint: never.
        """
        self._life += 1
        self._is_down = True
        self.crashes += 1
        for file in self._files.values():
            kept = (len(file.data) - file.synced) // 2 if torn else 0
            del file.data[file.synced + kept :]
            file.synced = len(file.data)

    def reopen(self) -> None:
        """
        Begin the next life.

        What is there is durable, be it a torn rest.

        Checkpoint: never.
        """
        self._is_down = False

    async def _counts(self) -> bool:
        """Let the delay pass, and tell whether the life that began the operation still lasts."""
        life, is_down = self._life, self._is_down
        await trio.sleep(self._delay)
        return not is_down and life == self._life and not self._is_down

    def _file(self, name: str) -> _File:
        try:
            return self._files[name]
        except KeyError:
            there = ", ".join(map(repr, self.names)) or "none"
            raise FileNotFoundError(f"no file is named {name!r}; there are: {there}") from None
