"""The porter, whose work is done by helper tasks, and the task that bills what was used."""

import trio

from greenroom.runtime import Actor, Topic
from tests.testing.planted.book import Book
from tests.testing.planted.outbox import Outbox

END = 0  # the last value that is published


class Porter(Actor):
    """Sends what is in the outbox, and listens to a feed, each in a helper task."""

    def __init__(self, outbox: Outbox, book: Book) -> None:
        self.outbox = outbox
        self.book = book

    async def on_start(self) -> None:
        self.nursery.start_soon(self.outbox.run)
        await self.nursery.start(self.listen)

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.book.feeds += 1  # it is open
        try:
            await trio.sleep(0.1)  # what the feed says first
            task_status.started()
            await trio.sleep_forever()
        finally:
            self.book.feeds -= 1


class Billing:
    """Bills each value of a topic, until the last."""

    def __init__(self, usage: Topic[int], book: Book) -> None:
        self.usage = usage
        self.book = book
        self.over = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self.usage.subscribe(lag="wait") as values:
            task_status.started()
            async for value in values:
                if value == END:
                    break
                await trio.sleep(0.01)
                self.book.billed += value
        self.over.set()

    async def end(self, nursery: trio.Nursery) -> None:
        """End it once all is billed."""
        await self.usage.publish(END)
        await self.over.wait()


# -- with bugs


class StartedTooLate(Porter):
    """What is opened before ``started`` is closed only by those who come that far."""

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.book.feeds += 1
        await trio.sleep(0.1)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.book.feeds -= 1


class LeavesTheBill(Billing):
    """Is cut off at the end, with whatever it has not read yet."""

    async def end(self, nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
