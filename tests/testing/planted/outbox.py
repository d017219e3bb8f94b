"""A queue of one's own, as people write them: what is put in is sent, in order."""

from collections import deque

import trio


class Outbox:
    """Notes on their way out; at each moment a note is in here, or was sent."""

    def __init__(self) -> None:
        self.notes: deque[str] = deque()
        self.sent: list[str] = []
        self.count = 0
        self.filled = trio.Event()

    def is_whole(self) -> bool:
        return len({*self.notes, *self.sent}) == self.count

    def put(self, note: str) -> None:
        self.notes.append(note)
        self.count += 1
        self.filled.set()

    async def send(self, note: str) -> None:
        await trio.sleep(0.1)
        self.sent.append(note)

    async def wait_filled(self) -> None:
        while not self.notes:
            self.filled = trio.Event()
            await self.filled.wait()

    async def send_first(self) -> None:
        """Wait for a note, and send it; it leaves the box when it is sent."""
        await self.wait_filled()
        await self.send(self.notes[0])
        self.notes.popleft()

    async def run(self) -> None:
        """Send what is in it, all the time."""
        while True:
            await self.send_first()

    async def wait_empty(self) -> None:
        while self.notes:  # noqa: ASYNC110
            await trio.sleep(0.1)


# -- with bugs


class MissesTheWakeUp(Outbox):
    """Looks, then lets others run, and then waits: for what has been and gone."""

    async def wait_filled(self) -> None:
        while not self.notes:
            await trio.lowlevel.checkpoint()  # a line in a log, say
            self.filled = trio.Event()
            await self.filled.wait()


class LosesANote(Outbox):
    """Takes a note out before it is sent."""

    async def send_first(self) -> None:
        await self.wait_filled()
        note = self.notes.popleft()
        await self.send(note)
