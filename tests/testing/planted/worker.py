"""The actor that runs tools: exactly one result for each call."""

import trio

from greenroom.runtime import Actor, Emit, Ref, handles
from tests.testing.planted.book import Book
from tests.testing.planted.frames import Dispatch, Result, Save
from tests.testing.planted.tools import ToolError, Tools


class Quota:
    """How many calls a server allows; to be had from it one by one."""

    def __init__(self, latency: float) -> None:
        self._latency = latency

    async def take(self) -> None:
        """Wait for one. Raises `trio.TooSlowError`: the server is overloaded."""
        with trio.fail_after(0.5):
            await trio.sleep(self._latency)


class Worker(Actor, concurrency=2):
    """Runs the tools of a dispatch one by one, and writes an audit of those that ran."""

    def __init__(
        self, tools: Tools, quota: Quota, lock: trio.Lock, journal: Ref, book: Book
    ) -> None:
        self.tools = tools
        self.quota = quota
        self.journal = journal
        self.book = book
        self.lock = lock

    @handles
    async def dispatch(self, request: Dispatch, emit: Emit[Result]) -> None:
        self.book.calls.update(request.names)
        left = list(request.names)
        try:
            for name in request.names:
                result = await self.run(name)
                await emit(result)
                left.remove(name)
        finally:
            emit.close(*(Result(name, "cancelled") for name in left))

    async def run(self, name: str) -> Result:
        """Run one tool; whatever becomes of it is a result."""
        try:
            await self.quota.take()
        except trio.TooSlowError:
            return Result(name, "the server is overloaded")
        try:
            with trio.fail_after(30):
                return Result(name, await self.audited(name))
        except trio.TooSlowError:
            self.book.blamed[name] += 1
            return Result(name, "too slow")
        except ToolError as error:
            await self.failed(name, error)
            return Result(name, f"failed: {error}")

    async def audited(self, name: str) -> str:
        """Run a tool, one at a time, and note that it was run."""
        async with self.lock:
            self.book.ran[name] += 1
            try:
                text: str = await getattr(self.tools, name)()
            finally:
                with trio.move_on_after(3, shield=True) as grace:
                    await self.write_audit(name)
                self.book.alarms[name] += grace.cancelled_caught  # somebody is told
        return text

    async def write_audit(self, name: str) -> None:
        try:
            await trio.sleep(0.01)
        except Exception:  # the disk is full
            self.book.alarms[name] += 1
            raise
        self.book.audit[name] += 1

    async def failed(self, name: str, error: ToolError) -> None:
        await self.journal.ask(Save(f"{name} failed: {error}"))


# -- with bugs


class AwaitsInFinally(Worker):
    """The audit is written in ``finally``, where the cancel that led there cuts it off."""

    async def audited(self, name: str) -> str:
        async with self.lock:
            self.book.ran[name] += 1
            try:
                text: str = await getattr(self.tools, name)()
            finally:
                await self.write_audit(name)  # noqa: ASYNC102
        return text


class AnswersTwice(Worker):
    """Between a result and the note that it was given is a checkpoint."""

    @handles
    async def dispatch(self, request: Dispatch, emit: Emit[Result]) -> None:
        self.book.calls.update(request.names)
        left = list(request.names)
        try:
            for name in request.names:
                await emit(await self.run(name))
                await self.journal.ask(Save(f"{name} ran"))
                left.remove(name)
        finally:
            emit.close(*(Result(name, "cancelled") for name in left))


class AnswersNever(Worker):
    """Calls that are cancelled have no result."""

    @handles
    async def dispatch(self, request: Dispatch, emit: Emit[Result]) -> None:
        self.book.calls.update(request.names)
        for name in request.names:
            await emit(await self.run(name))


class KeepsTheLock(Worker):
    """Releases the lock at the end, but not on every way there."""

    async def audited(self, name: str) -> str:
        await self.lock.acquire()
        self.book.ran[name] += 1
        try:
            text: str = await getattr(self.tools, name)()
        finally:
            with trio.move_on_after(3, shield=True) as grace:
                await self.write_audit(name)
            self.book.alarms[name] += grace.cancelled_caught
        self.lock.release()
        return text


class ForgetsAnAwait(Worker):
    """On the way that is rarely taken, an ``await`` is missing."""

    async def failed(self, name: str, error: ToolError) -> None:
        self.journal.ask(Save(f"{name} failed: {error}"))  # type: ignore[unused-coroutine]


class BlamesTheTool(Worker):
    """Takes the timeout of something else for its own."""

    async def run(self, name: str) -> Result:
        try:
            with trio.fail_after(30):
                await self.quota.take()
                return Result(name, await self.audited(name))
        except trio.TooSlowError:
            self.book.blamed[name] += 1
            return Result(name, "too slow")
        except ToolError as error:
            await self.failed(name, error)
            return Result(name, f"failed: {error}")
