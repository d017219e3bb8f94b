"""A librarian that supervises an indexer, and the screen that is told what was indexed."""

import math

import trio

from greenroom.runtime import (
    Actor,
    ActorStopped,
    Ref,
    Supervision,
    fault_point,
    handles,
)
from tests.testing.planted.book import Book
from tests.testing.planted.frames import Index, Indexed


class Screen(Actor):
    """Shows what was indexed; there as long as somebody looks."""

    @handles
    async def indexed(self, frame: Indexed) -> None:
        await trio.lowlevel.checkpoint()


class Indexer(Actor):
    """Writes an index, with a lock around it; begins anew when that fails."""

    def __init__(self, book: Book) -> None:
        self.book = book

    async def on_start(self) -> None:
        if self.book.index_locks:
            raise RuntimeError("the index is locked; is another indexer running?")

    @handles
    async def index(self, frame: Index) -> None:
        await self.write(frame.text)
        await self.say_so(frame)

    async def write(self, text: str) -> None:
        self.book.index_locks += 1
        try:
            await trio.sleep(0.3)
            fault_point("index.write", OSError)
        finally:
            self.book.index_locks -= 1

    async def say_so(self, frame: Index) -> None:
        """Tell whoever wants to know, if he still does."""
        try:
            await frame.reply_to.tell(Indexed(frame.text))
        except ActorStopped:
            return


class Librarian(Actor, supervision=Supervision(restarts=3)):
    """Has an indexer as a child, and passes on to it what is to be indexed."""

    indexer: Ref

    def __init__(self, kind: type[Indexer], book: Book) -> None:
        self.kind = kind
        self.book = book

    async def on_start(self) -> None:
        self.indexer = await self.spawn(
            self.kind, self.book, name="indexer", restart="transient", redeliver=1
        )

    @handles
    async def index(self, frame: Index) -> None:
        await self.indexer.tell(frame)


# -- with bugs


class TellsWhoHasLeft(Indexer):
    """Crashes when nobody wants to know any more."""

    async def say_so(self, frame: Index) -> None:
        await frame.reply_to.tell(Indexed(frame.text))


class LeavesTheIndexLocked(Indexer):
    """A write that fails leaves the lock, and each new incarnation finds it."""

    async def write(self, text: str) -> None:
        self.book.index_locks += 1
        await trio.sleep(0.3)
        fault_point("index.write", OSError)
        self.book.index_locks -= 1


class NeverGivesUp(Librarian, supervision=Supervision(restarts=math.inf)):
    """Restarts for ever, and at once, what can't start."""
