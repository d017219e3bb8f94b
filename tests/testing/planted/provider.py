"""The actor that streams responses of a model."""

from contextlib import aclosing

from greenroom.runtime import Actor, Emit, handles
from tests.testing.planted.book import Book
from tests.testing.planted.frames import Chunk, Ended, Generate
from tests.testing.planted.pool import Pool


class Provider(Actor, concurrency=2):
    """Every response that is begun has its one end."""

    def __init__(self, pool: Pool, book: Book) -> None:
        self.pool = pool
        self.book = book

    @handles
    async def generate(self, request: Generate, emit: Emit[Chunk | Ended]) -> None:
        self.book.responses += 1
        status = "interrupted"
        try:
            await self.stream(request.text, emit)
            status = "completed"
        finally:
            emit.close(Ended(status))

    async def stream(self, text: str, emit: Emit[Chunk | Ended]) -> None:
        """Emit the lines of the response, up to the stop word."""
        async with self.pool.connection() as connection, aclosing(connection.lines(text)) as lines:
            async for line in lines:
                if line == "stop":
                    break
                await emit(Chunk(line))


# -- with bugs


class LosesTheEnd(Provider):
    """The end is emitted like any other frame, which a cancelled handler can't."""

    @handles
    async def generate(self, request: Generate, emit: Emit[Chunk | Ended]) -> None:
        self.book.responses += 1
        status = "interrupted"
        try:
            await self.stream(request.text, emit)
            status = "completed"
        finally:
            await emit(Ended(status))  # noqa: ASYNC102


class LeavesTheGenerator(Provider):
    """Breaks out of an async generator and does not close it."""

    async def stream(self, text: str, emit: Emit[Chunk | Ended]) -> None:
        async with self.pool.connection() as connection:
            async for line in connection.lines(text):
                if line == "stop":
                    break
                await emit(Chunk(line))
