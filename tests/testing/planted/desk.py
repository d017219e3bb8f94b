"""The actor that takes the user's turns, and the clerk that finds a title for each."""

import trio

from greenroom.runtime import Actor, Ref, Topic, handles
from tests.testing.planted.book import Book
from tests.testing.planted.frames import (
    Chunk,
    Dispatch,
    Generate,
    History,
    Index,
    Result,
    Save,
    Title,
    Turn,
)
from tests.testing.planted.outbox import Outbox

TOOLS = ("fetch", "compare", "crunch")


class Desk(Actor):
    """Takes one turn at a time; its history has pairs of a question and its answer."""

    def __init__(
        self,
        provider: Ref,
        worker: Ref,
        journal: Ref,
        clerk: Ref,
        librarian: Ref,
        screen: Ref,
        outbox: Outbox,
        usage: Topic[int],
        book: Book,
    ) -> None:
        self.provider = provider
        self.worker = worker
        self.journal = journal
        self.clerk = clerk
        self.librarian = librarian
        self.screen = screen
        self.outbox = outbox
        self.usage = usage
        self.book = book

    @handles
    async def turn(self, request: Turn) -> str:
        with self.book.span(request.text):
            answer = await self.answered(request.text)
            await self.journal.ask(Save(answer))
            await self.librarian.tell(Index(answer, self.screen))
            self.remember(request.text, answer)
            self.outbox.put(answer)
            await self.usage.publish(1)
            self.book.usage += 1
            return answer

    @handles
    async def history(self, request: History) -> tuple[str, ...]:
        await self.usage.publish(1)
        self.book.usage += 1
        return tuple(text for _, text in self.book.history)

    def remember(self, question: str, answer: str) -> None:
        """Add to the history, in one step."""
        self.book.history += [("user", question), ("assistant", answer)]

    async def answered(self, text: str) -> str:
        """Return the answer, with a sign on the screen for as long as that takes."""
        is_typing = trio.CancelScope()
        self.nursery.start_soon(self.show_typing, text, is_typing)
        try:
            return await self.think(text)
        finally:
            is_typing.cancel()
            self.book.over.append(text)

    async def show_typing(self, text: str, is_typing: trio.CancelScope) -> None:
        with is_typing:
            while True:
                await trio.sleep(5)
                self.book.late_signs += text in self.book.over

    async def think(self, text: str) -> str:
        lines = await self.generate(text)
        results = await self.dispatch(self.names(lines))
        title = await self.clerk.ask(Title(text))
        return f"{title}: {len(lines)} lines, {len(results)} results"

    def names(self, lines: list[str]) -> tuple[str, ...]:
        """Return the tools that the response asks for, in order."""
        return TOOLS if "tools" in lines else ()

    async def generate(self, text: str) -> list[str]:
        lines: list[str] = []
        async with self.provider.stream(Generate(text)) as responses:
            async for frame in self.book.noted(responses):
                if isinstance(frame, Chunk):
                    lines.append(frame.text)  # noqa: PERF401 - as one writes it
        return lines

    async def dispatch(self, names: tuple[str, ...]) -> list[Result]:
        results: list[Result] = []
        async with self.worker.stream(Dispatch(names)) as running:
            async for result in self.book.noted(running):
                results.append(result)  # noqa: PERF401 - as one writes it
        return results


class Clerk(Actor):
    """Finds titles; a title may fail, which is no reason to fail the turn."""

    @handles
    async def title(self, request: Title) -> str:
        try:
            return await self.find(request.text)
        except Exception:
            return "untitled"

    async def find(self, text: str) -> str:
        await trio.sleep(0.1)
        return " ".join(self.words(text))

    def words(self, text: str) -> list[str]:
        """Return the words of *text*, each once."""
        return sorted(set(text.split()))


# -- with bugs


class TearsTheHistory(Desk):
    """The question is in the history before its answer is."""

    @handles
    async def turn(self, request: Turn) -> str:
        with self.book.span(request.text):
            self.book.history.append(("user", request.text))
            answer = await self.answered(request.text)
            self.book.history.append(("assistant", answer))
            return answer


class LeavesTheSpan(Desk):
    """What opens the span closes it, unless something comes in between."""

    @handles
    async def turn(self, request: Turn) -> str:
        self.book.spans.append(request.text)
        answer = await self.answered(request.text)
        self.remember(request.text, answer)
        self.book.spans.remove(request.text)
        return answer


class LeavesTheSign(Desk):
    """The helper goes on when the turn is cut off."""

    async def answered(self, text: str) -> str:
        is_typing = trio.CancelScope()
        self.nursery.start_soon(self.show_typing, text, is_typing)
        try:
            answer = await self.think(text)
        finally:
            self.book.over.append(text)
        is_typing.cancel()
        return answer


class SwallowsTheCancel(Clerk):
    """Catches what is not its to catch."""

    @handles
    async def title(self, request: Title) -> str:
        try:
            return await self.find(request.text)
        except BaseException:  # noqa: ASYNC103
            return "untitled"


class TakesWordsAsTheyCome(Clerk):
    """A set has the order of its hashes, which is another one in each process."""

    def words(self, text: str) -> list[str]:
        return list(set(text.split()))


class AsksBack(Clerk):
    """Asks the desk, which waits for the clerk."""

    @handles
    async def title(self, request: Title) -> str:
        history = await self.runtime.find("desk").ask(History())
        return f"{request.text} ({len(history)})"
