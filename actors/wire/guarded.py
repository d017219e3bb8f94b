"""
The body of a response that somebody else's HTTP client received, closed as our own `Body` is.

The states are those of `greenroom.actors.wire.body`, with one difference: `PARKED` is not final.
A body that was closed with ``complete=True`` reads on in the background, for 50 ms at most, and is
then `REUSED` if its end came, else `CLOSED`. `GuardedBody.closing` is there once all is done.
"""

import contextlib
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any, Final, Protocol

import httpx2
import trio

from greenroom.actors.wire.body import BodyState, Closing
from greenroom.actors.wire.errands import Errand
from greenroom.actors.wire.innards import exchange_of
from greenroom.actors.wire.network import abort_stream

__all__ = ["DRAIN", "GuardedBody", "guarded_stream", "in_library", "library_of"]

#: Seconds that the end of a body may take to come after all that matters has come.
DRAIN: Final = 0.05

# Calls of GuardedBody.receive without a checkpoint of ours, at most (rule R12).
_DRY_CALLS: Final = 64

_ERRAND: Final = "end of a response"


class Source(Protocol):
    """What a `GuardedBody` reads and ends."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the one iterator over the body."""
        ...

    @property
    def is_kept(self) -> bool:
        """After `release`: whether the connection is ready for another request."""
        ...

    async def release(self) -> None:
        """Do what is left to do after the end, or after an `abort` that could not do it all."""
        ...

    def abort(self) -> bool:
        """Close the connection now; return whether nothing is left to do. Never raises."""
        ...


class UnknownSource:
    """A response of which only the public side is known."""

    def __init__(self, stream: Any, network_stream: Any) -> None:
        """
        Take over a response.

        Args:
            stream: An async iterable of bytes, with an ``aclose``.
            network_stream: What the response has under this name in its extensions, or None.
        """
        self._stream = stream
        self._network_stream = network_stream
        self._iterator: AsyncIterator[bytes] = aiter(stream)

    @property
    def is_kept(self) -> bool:
        """Nobody knows. If not, the next request will make a new one."""
        return True

    def chunks(self) -> AsyncIterator[bytes]:
        """See `Source.chunks`."""
        return self._iterator

    async def release(self) -> None:
        """See `Source.release`. Checkpoint: as the response's own closing."""
        try:
            close = getattr(self._iterator, "aclose", None)
            if close is not None:
                # RuntimeError: it runs, in another task, and ends there
                with contextlib.suppress(RuntimeError):
                    await close()
        finally:
            await self._stream.aclose()

    def abort(self) -> bool:
        """See `Source.abort`."""
        if self._network_stream is not None:
            abort_stream(self._network_stream)
        return False


class GuardedBody(httpx2.AsyncByteStream):
    """
    The body of a response, and the only owner of its connection; used as a `Body` is.

    A response's own methods work through it too.
    """

    def __init__(self, source: Source, library: ModuleType) -> None:
        """
        Take over *source*.

        Args:
            source: The response, of which nothing was read.
            library: ``httpx2`` or ``httpx``, whose errors come out of the response's own methods.
        """
        # Called once, when all is done. It must not hold the body, or nobody would miss that.
        self.on_closed: Callable[[GuardedBody, Closing], object] | None = None
        self._source = source
        self._library = library
        self._chunks = source.chunks()
        self._state = BodyState.OPEN
        self._closing: Closing | None = None
        self._closed = False  # close() was called
        self._waiting = False  # receive() waits in the source; for good if that raises
        self._dry_calls = 0  # calls of receive since our last checkpoint
        self._errand: Errand | None = None  # what is left to do, while that lasts
        self._since = 0.0  # when the closing began, Trio clock; set with the first state after OPEN
        self._token = trio.lowlevel.current_trio_token()

    def __repr__(self) -> str:
        return f"<GuardedBody {self._state.value}>"

    @property
    def state(self) -> BodyState:
        """What became of this body and its connection."""
        return self._state

    @property
    def closing(self) -> Closing | None:
        """How it was let go of; None until nothing of it is left to be done."""
        if self._closing is None and self._errand is not None and self._errand.is_overdue:
            return Closing(self._state, trio.current_time() - self._since, is_overdue=True)
        return self._closing

    async def receive(self) -> bytes:
        """
        Return the next payload, without its framing; see ``Body.receive``.

        Raises:
            httpx2.TransportError: as ``Body.receive``, whatever the client's library is.
            httpx2.StreamClosed: `close` was called before.

        Cancellation: the connection is closed, before anything else runs.

        Checkpoint: whenever it waits, and at least every 64 calls.
        """
        try:
            return await self._receive()
        except Exception as error:
            same = in_library(error, httpx2)
            if same is error:
                raise
            raise same from error

    def close(self, *, complete: bool = False) -> None:
        """
        End the reading, at once and for good. Idempotent; the first call decides.

        Args:
            complete: The caller needs no more and knows that no more of meaning follows. Then the
                connection is read in the background until its end comes, for 50 ms at most, to be
                used again; until then it keeps its slot. Otherwise it is closed now.

        Checkpoint: never.
        """
        if self._closed:
            return
        self._closed = True
        if self._state is not BodyState.OPEN:
            return
        self._since = _now(self._since)
        if complete and not self._waiting and self._begin(self._drain):
            self._state = BodyState.PARKED
        else:
            self._end(BodyState.CLOSED if complete else BodyState.ABORTED)

    def abort(self) -> None:
        """As `close`, and a body that reads on in the background is ended too."""
        self.close()
        if self._state is BodyState.PARKED:
            self._end(BodyState.CLOSED)

    async def aclose(self) -> None:  # noqa: ASYNC910 - waits only if there is something to do
        """As `close`, for httpx; waits for what is left to do, 1 s at most. Checkpoint: perhaps."""
        self.close()
        if self._errand is not None:
            await self._errand.wait()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the body itself: an async generator would need closing by somebody."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next payload; see `receive`."""
        try:
            data = await self._receive()
        except Exception as error:
            same = in_library(error, self._library)
            if same is error:
                raise
            raise same from error
        if not data:
            raise StopAsyncIteration
        return data

    def __del__(self) -> None:
        """Close the connection of a body that was dropped unread, and say so."""
        if getattr(self, "_state", None) is BodyState.OPEN:
            self._state = BodyState.ABORTED
            # A finaliser runs in any thread and in the middle of anything.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._source.abort)
            warnings.warn(
                "a response body was dropped while open; "
                "call its close(), or read the response to its end",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    async def _receive(self) -> bytes:
        if self._closed:
            raise self._library.StreamClosed
        try:
            self._dry_calls += 1
            if self._dry_calls > _DRY_CALLS or self._state is not BodyState.OPEN:
                self._dry_calls = 0
                await trio.lowlevel.checkpoint()
            while self._state is BodyState.OPEN:
                self._waiting = True
                try:
                    data = await anext(self._chunks)
                except StopAsyncIteration:
                    await self._finish()
                else:
                    self._waiting = False
                    if data:
                        return data
            return b""  # noqa: ASYNC910 - after a checkpoint, or after _finish
        except BaseException:
            self.close()
            if self._errand is not None:
                await self._errand.wait()  # noqa: ASYNC102 - is shielded, and bounded
            raise

    async def _finish(self) -> None:
        """Give the connection back after the end of the body."""
        self._since = trio.current_time()
        self._state = BodyState.CLOSED  # unless it can be kept
        errand = self._errand = Errand(self._release, name=_ERRAND)
        await errand.wait()
        if self._closing is None:  # it is overdue
            self._source.abort()

    async def _release(self) -> None:
        try:
            await self._source.release()
            if self._source.is_kept:
                self._state = BodyState.REUSED
        except BaseException:
            self._source.abort()
            raise
        finally:
            self._tell()

    async def _drain(self) -> None:
        """Read to the end of the body if that comes soon, and give the connection back."""
        try:
            if await self._comes_to_its_end():
                await self._source.release()
                if self._state is BodyState.PARKED and self._source.is_kept:
                    self._state = BodyState.REUSED
        finally:
            if self._state is BodyState.PARKED:
                self._end(BodyState.CLOSED)
            elif self._state is BodyState.REUSED:
                self._tell()

    async def _comes_to_its_end(self) -> bool:
        with trio.move_on_after(DRAIN):
            while True:
                await trio.lowlevel.checkpoint()  # reading what has come already is none
                if await anext(self._chunks, None) is None:
                    return True
        return False

    def _end(self, state: BodyState) -> None:
        """Close the connection, and have the rest done if that is not all."""
        self._state = state
        if self._errand is not None:
            self._errand.cancel()
        if self._source.abort() or not self._begin(self._clear_up):
            self._tell()

    def _begin(self, work: Callable[[], Awaitable[object]]) -> bool:
        """Have *work* done by an errand, unless there is no run, or none any more."""
        try:
            self._errand = Errand(work, name=_ERRAND)
        except RuntimeError:
            return False
        return True

    async def _clear_up(self) -> None:
        try:
            await self._source.release()
        finally:
            self._tell()

    def _tell(self) -> None:
        if self._closing is None:
            self._closing = Closing(self._state, _now(self._since) - self._since)
            self._errand = None
            if self.on_closed is not None:
                self.on_closed(self, self._closing)


def _now(otherwise: float) -> float:
    return trio.current_time() if trio.lowlevel.in_trio_run() else otherwise


def guarded_stream(response: Any, library: ModuleType) -> GuardedBody:
    """Return a body for *response* of *library*, which nothing was read of."""
    source: Source | None = exchange_of(response)
    if source is None:
        network_stream = response.extensions.get("network_stream")
        source = UnknownSource(response.stream, network_stream)
    if library is httpx2:
        return GuardedBody(source, library)
    # Legacy httpx asserts that a response's stream is of its own class.
    kind: type[GuardedBody] = type("GuardedBody", (GuardedBody, library.AsyncByteStream), {})
    return kind(source, library)


def in_library(error: Exception, library: ModuleType) -> Exception:
    """Return *error* of httpcore, httpcore2, httpx or httpx2 as *library* has it; others as is."""
    native: tuple[type[Exception], ...] = (library.HTTPError, library.StreamError)
    if isinstance(error, native):
        return error
    for kind in type(error).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("httpcore", "httpcore2", "httpx", "httpx2"):
            same: Any = getattr(library, kind.__name__, None)
            if isinstance(same, type) and issubclass(same, library.HTTPError):
                translated: Exception = same(str(error))
                return translated
            if isinstance(same, type) and issubclass(same, library.StreamClosed):
                closed: Exception = same()
                return closed
    return error


def library_of(client: object) -> ModuleType | None:
    """Return ``httpx2`` or legacy ``httpx``, whichever has the class of *client*; None for neither."""
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if kind.__name__ == "AsyncClient" and root in ("httpx", "httpx2"):
            return sys.modules[root]
    return None
