"""The session: who is in it, and what happens; the scenario of `scenario`."""

import functools
from typing import Any

import attrs
import trio

from greenroom.runtime import RequestError
from greenroom.runtime.testing import MemoryStore, Scenario, World
from tests.testing.planted.book import Book
from tests.testing.planted.desk import Clerk, Desk
from tests.testing.planted.feed import Billing, Porter
from tests.testing.planted.frames import History, Turn
from tests.testing.planted.indexer import Indexer, Librarian, Screen
from tests.testing.planted.journal import Journal, Told
from tests.testing.planted.outbox import Outbox
from tests.testing.planted.pool import Pool
from tests.testing.planted.provider import Provider
from tests.testing.planted.tools import Tools
from tests.testing.planted.worker import Quota, Worker

QUESTION = "is there a pot of tea for two of us"


class Client:
    """The user's side: asks for a turn, and can live with one that fails."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.failed: list[BaseException] = []

    async def take_turns(self) -> None:
        """Ask for a turn in a task of its own, and wait for all such."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.desk.ask, Turn(QUESTION))
        except* RequestError as group:
            self.failed.extend(group.exceptions)


class GoesOnAfterCtrlC(Client):
    """Catches the group with whatever is in it."""

    async def take_turns(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.desk.ask, Turn(QUESTION))
        except BaseExceptionGroup as group:  # noqa: ASYNC103
            self.failed.extend(group.exceptions)


@attrs.frozen(kw_only=True)
class Cast:
    """Who plays in a session: all are right, or one has a bug."""

    pool: type[Pool] = Pool
    provider: type[Provider] = Provider
    tools: type[Tools] = Tools
    worker: type[Worker] = Worker
    desk: type[Desk] = Desk
    clerk: type[Clerk] = Clerk
    outbox: type[Outbox] = Outbox
    journal: type[Journal] = Journal
    indexer: type[Indexer] = Indexer
    librarian: type[Librarian] = Librarian
    porter: type[Porter] = Porter
    billing: type[Billing] = Billing
    client: type[Client] = Client

    @property
    def scenario(self) -> Scenario:
        """The session that these play in."""
        return functools.partial(session, cast=self)

    @property
    def recovery(self) -> Scenario:
        """What the next process does after a crash."""
        return functools.partial(recover, cast=self)


async def session(w: World, cast: Cast) -> None:
    """Take a turn, which can be cancelled by itself, and then look at the history."""
    spawn = w.runtime.spawn
    book, pool, outbox, lock = Book(), cast.pool(), cast.outbox(), trio.Lock()
    book.watch(w)
    w.own("the pool", pool.is_free)
    w.own("the lock of the tools", lambda: not lock.locked())
    w.own("the outbox", outbox.is_whole)
    usage = w.runtime.topic("usage")
    store, told = w.durable("store", MemoryStore), w.durable("told", Told)
    billing = cast.billing(usage, book)

    with trio.fail_after(120):
        journal = await spawn(cast.journal, store, told, book, name="journal")
        provider = await spawn(cast.provider, pool, book, name="provider")
        worker = await spawn(
            cast.worker, cast.tools(), Quota(w.delay(0.3)), lock, journal, book, name="worker"
        )
        clerk = await spawn(cast.clerk, name="clerk")
        librarian = await spawn(cast.librarian, cast.indexer, book, name="librarian")
        screen = await spawn(Screen, name="screen")
        await spawn(cast.porter, outbox, book, name="porter")
        others = (provider, worker, journal, clerk, librarian, screen, outbox, usage, book)
        client = cast.client(await spawn(cast.desk, *others, name="desk"))

        async with trio.open_nursery() as nursery:
            await nursery.start(billing.run)
            try:
                with w.scope("turn"):
                    await client.take_turns()
            finally:
                screen.stop()
            await trio.sleep(w.delay(0.1))
            outbox.put("thank you")
            await trio.sleep(6)  # the user reads
            await client.desk.ask(History())
            await outbox.wait_empty()
            await billing.end(nursery)
            assert book.billed == book.usage, f"{book.billed} of {book.usage} are billed"


async def recover(w: World, cast: Cast) -> None:
    """Find what was said to be durable."""
    store, told = w.durable("store", MemoryStore), w.durable("told", Told)
    lines = await cast.journal.load(store)
    lost = [line for line in told.lines if line not in lines]
    assert not lost, f"{lost} were said to be durable"
