"""The actor that keeps lines on disk, and how they are found again after a crash."""

import json

import trio

from greenroom.runtime import Actor, handles
from greenroom.runtime.testing import MemoryStore
from tests.testing.planted.book import Book
from tests.testing.planted.frames import Save

FILE = "journal"


class Told:
    """Lines that somebody was told are durable; the memory of that somebody outlives the crash."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_down = False

    def crash(self, *, torn: bool = False) -> None:
        self.is_down = True

    def reopen(self) -> None:
        self.is_down = False

    def tell(self, line: str) -> None:
        if not self.is_down:
            self.lines.append(line)


class Journal(Actor):
    """One line of JSON for each text; durable before it is said to be."""

    def __init__(self, store: MemoryStore, told: Told, book: Book) -> None:
        self.store = store
        self.told = told
        self.book = book

    async def on_start(self) -> None:
        self.book.files += 1

    async def on_stop(self) -> None:
        try:
            with trio.move_on_after(2):
                await self.take_leave()
        finally:
            self.book.files -= 1

    async def take_leave(self) -> None:
        await self.store.write(FILE, b'"the end"\n')
        await self.store.sync(FILE)

    @handles
    async def save(self, request: Save) -> None:
        await self.store.write(FILE, json.dumps(request.text).encode() + b"\n")
        await self.store.sync(FILE)
        self.told.tell(request.text)

    @classmethod
    async def load(cls, store: MemoryStore) -> list[str]:
        """Return the lines that are whole; the last may be torn."""
        if FILE not in store.names:
            return []
        data = await store.read(FILE)
        whole, _, _ = data.rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]


# -- with bugs


class StopsHalfWay(Journal):
    """What comes after the farewell is left out if that takes too long."""

    async def on_stop(self) -> None:
        with trio.move_on_after(2):
            await self.take_leave()
            self.book.files -= 1


class TrustsTheLastLine(Journal):
    """Takes each line for whole."""

    @classmethod
    async def load(cls, store: MemoryStore) -> list[str]:
        if FILE not in store.names:
            return []
        data = await store.read(FILE)
        return [json.loads(line) for line in data.splitlines()]
