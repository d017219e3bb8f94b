"""
A runtime inside an asyncio host: `open_guest`, for programs whose event loop is asyncio's.

Trio runs as a guest of the host's loop, in the same thread (`trio.lowlevel.start_guest_run`). Plain
calls such as ``ref.tell_nowait`` work from both sides; what waits has to be carried across, and this
file does that. It is the only one that imports asyncio, and `greenroom.runtime` does not import it:
write ``from greenroom.runtime.guest import open_guest``.

What is awaited on the other side is a `_Visit`: a Trio task with a cancel scope of its own, and on
the host's side a task that waits until that one is over, whatever comes. A cancel of the waiting task
cancels the scope, once, and the wait goes on: so the cancel crosses to the handler and its cleanup is
over before the host's task sees its ``CancelledError``. asyncio can cancel a task as often as it
likes; further cancels change nothing. The tasks of all visits are in one nursery around what the
host opened::

    the Trio run > scope > nursery of visits > what was opened, a runtime for example

so visits live on while the runtime drains, and none outlives the guest. When the run ends, however
it does, every visit that has no outcome gets `GuestEnded`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar, TypeVarTuple

import trio

from greenroom.runtime.frames import Frame
from greenroom.runtime.groups import bare, collapse
from greenroom.runtime.stream import ReplyStream

__all__ = ["Guest", "GuestEnded", "GuestStream", "open_guest"]

OpenedT = TypeVar("OpenedT")
ResultT = TypeVar("ResultT")
FrameT = TypeVar("FrameT", bound=Frame)
ArgTs = TypeVarTuple("ArgTs")

_MOST_WITHOUT_SUSPENSION: Final = 64


class GuestEnded(RuntimeError):
    """
    The guest run is over, so nothing in it can be waited for; open a new one.

    Its ``__cause__`` is the crash that ended it, if it was one.
    """


class _Waiter:
    """Where one asyncio task waits; no cancel of that task gets lost, and none ends the wait."""

    __slots__ = ("_future", "cancelled", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self.cancelled: asyncio.CancelledError | None = None  # the first that hit the wait
        self._future: asyncio.Future[None] | None = None  # made anew after each cancel

    def end(self) -> None:
        """Let the task go on; called by either side."""
        self.is_over = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, on_cancel: Callable[[], object]) -> None:  # noqa: ASYNC910 - asyncio
        """Wait for `end`, and call *on_cancel* at the first cancel."""
        while not self.is_over:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            except asyncio.CancelledError as error:  # noqa: ASYNC103 - whoever waits raises it
                if self.cancelled is None:
                    self.cancelled = error
                    on_cancel()


def _cancel_again(cancelled: asyncio.CancelledError) -> None:
    """
    Cancel the current task at its next wait, by a cancel that it has already got (I9).

    Not now: the block of an `asyncio.timeout` may end before that, and take its cancel back.
    """
    task = asyncio.current_task()
    assert task is not None
    requests = task.cancelling()

    def cancel() -> None:
        if not task.done() and task.cancelling() >= requests:
            task.uncancel()  # the same request, not a further one
            task.cancel(*cancelled.args)

    asyncio.get_running_loop().call_soon(cancel)


class _Visit(Generic[ResultT]):
    """One call from the host into the guest, from its start to its one outcome."""

    __slots__ = ("_args", "_async_fn", "_is_cleanup", "_scope", "error", "values", "waiter")

    def __init__(
        self,
        async_fn: Callable[..., Awaitable[ResultT]],
        args: tuple[Any, ...],
        *,
        is_cleanup: bool,
    ) -> None:
        self._async_fn = async_fn
        self._args = args
        self._scope = trio.CancelScope()
        self._is_cleanup = is_cleanup  # it begins even if it is cancelled before
        self.waiter = _Waiter()
        # the outcome, set by `run`; neither means that it was cancelled, or never ran
        self.values: tuple[ResultT, ...] = ()
        self.error: Exception | None = None

    async def run(self) -> None:  # noqa: ASYNC910 - as the function does
        """Do it, as a Trio task; raises `trio.Cancelled` with the guest, and never an Exception."""
        try:
            with self._scope:
                if not self._is_cleanup:
                    await trio.lowlevel.checkpoint_if_cancelled()
                self.values = (await self._async_fn(*self._args),)
        except Exception as error:
            self.error = error
        except BaseExceptionGroup as group:
            # the guest is cancelled while a nursery of the function failed: each its own way
            cancelled, failed = group.split(trio.Cancelled)
            if not isinstance(failed, Exception) or cancelled is None:
                raise
            self.error = failed
            self.waiter.end()
            raise cancelled from None
        self.waiter.end()

    @property
    def name(self) -> str:
        """The function's, for those who look at Trio's tasks."""
        return getattr(self._async_fn, "__qualname__", repr(self._async_fn))

    def cancel(self) -> None:
        """Carry the cancel of the host's task across; called by the host."""
        self._scope.cancel("the asyncio task that waits for it was cancelled")


class Guest(Generic[OpenedT]):
    """
    The guest run, as its host sees it; made by `open_guest`.

    Plain functions, such as ``ref.tell_nowait``, ``ref.interrupt`` and ``ref.stop``, may be called
    from the host as they are. For what is awaited there are `run` and `stream`.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._task = asyncio.current_task()  # that holds the block
        self._scope = trio.CancelScope()  # around all that Trio runs
        self._arrived = _Waiter()  # for what was opened, or for the end
        self._over = _Waiter()  # for the end of the run
        self._left = trio.Event()  # the host left the block; set by `leave`
        self._error: BaseException | None = None  # that it left with, for what was opened to see
        self._took_error = False  # and it saw it
        self._opened: OpenedT | None = None  # set while it is open
        self._nursery: trio.Nursery | None = None  # of the visits; set while there can be some
        self._visits: set[_Visit[Any]] = set()  # under way; each kept by `_visit`
        self._failure: BaseException | None = None  # that the run ended with
        self._is_in_body = False  # the host's block runs
        self._cancelled_body = False  # by the failure

    def __repr__(self) -> str:
        return f"<Guest{' (over)' if self._over.is_over else ''} of {self._opened!r}>"

    @property
    def opened(self) -> OpenedT:
        """What the context manager gave that `open_guest` was given: the runtime, for example."""
        assert self._opened is not None, "a guest is handed out only once this is set"
        return self._opened

    async def run(self, async_fn: Callable[[*ArgTs], Awaitable[ResultT]], *args: *ArgTs) -> ResultT:
        """
        Run a Trio function in the guest and wait for its result: ``await guest.run(ref.ask, frame)``.

        It runs in the calling task's context variables.

        Returns:
            What the function returned.

        Raises:
            Exception: what the function raised.
            GuestEnded: the guest ended first, or had ended before.
            RuntimeError: this is no asyncio code of the host; the text says what to write there.

        Cancellation:
            A function that has not begun never will; one that runs is cancelled, and the call ends
            once it is over. For ``ref.ask`` that is once the handler's cleanup is, at most
            ``cleanup_grace`` seconds later (R10). Further cancels during that wait change nothing.
            A result that comes all the same is returned, and the cancel hits the task's next wait
            (I9), unless the block of an `asyncio.timeout` ends before that.
        """
        if not callable(async_fn):
            if isinstance(async_fn, Coroutine):
                async_fn.close()
            raise TypeError(
                f"pass the function itself: guest.run(ref.ask, frame), not "
                f"guest.run(ref.ask(frame)); got {async_fn!r}"
            )
        return await self._visit(_Visit(async_fn, args, is_cleanup=False))

    def stream(self, stream: ReplyStream[FrameT]) -> "GuestStream[FrameT]":
        """
        Return the frames of a reply stream for the host to read.

        Write ``async with guest.stream(ref.stream(request)) as frames: async for frame in frames``.
        """
        return GuestStream(self, stream)

    async def run_in_host(
        self, async_fn: Callable[[*ArgTs], Coroutine[Any, Any, ResultT]], *args: *ArgTs
    ) -> ResultT:
        """
        Run an asyncio function in the host and wait for its result; for Trio code of the guest.

        So a handler may use a library that is asyncio's alone. It runs as an asyncio task.

        Raises:
            Exception: what the function raised.
            RuntimeError: its task was cancelled in the host; or this is no Trio code.

        Cancellation:
            Its task is cancelled, once, and the call ends when it is over. A result that comes all
            the same is returned, and the cancel hits the caller's next checkpoint (I9).

        Checkpoint: always on return, perhaps on raise.
        """
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "guest.run_in_host is for Trio code of the guest; in asyncio code, write "
                "'await' and the call itself"
            )
        await trio.lowlevel.checkpoint_if_cancelled()
        caller = trio.lowlevel.current_task()
        task = self._loop.create_task(async_fn(*args))
        task.add_done_callback(lambda _: trio.lowlevel.reschedule(caller))
        raise_cancel: Callable[[], NoReturn] | None = None

        def abort(raise_: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
            nonlocal raise_cancel
            raise_cancel = raise_
            task.cancel("the Trio task that waits for it was cancelled")
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if not task.cancelled():
            return task.result()
        if raise_cancel is not None:
            raise_cancel()
        raise RuntimeError(f"{async_fn!r} was cancelled in the host while the guest waited for it")

    # -- the host's side of a visit

    async def _visit(self, visit: _Visit[ResultT]) -> ResultT:  # noqa: ASYNC910 - asyncio
        task = self._check_host()
        if task.cancelling():
            await asyncio.sleep(0)  # a cancel that is on its way comes before anything is sent
        await self._wait_over(visit)
        cancelled, error = visit.waiter.cancelled, visit.error
        try:
            if error is not None or visit.values:
                if cancelled is not None:
                    _cancel_again(cancelled)
                if error is not None:
                    raise error
                return visit.values[0]
            raise cancelled or self._ended_error()
        finally:
            del visit, cancelled, error  # the errors' tracebacks hold this frame

    async def clean_up(
        self, async_fn: Callable[..., Awaitable[object]], *args: Any
    ) -> asyncio.CancelledError | None:
        """
        Run the end of a block in the guest; the guest's own end will do as well.

        Returns:
            The cancel that hit the task while it waited.
        """
        self._check_host()
        visit = _Visit(async_fn, args, is_cleanup=True)
        await self._wait_over(visit)
        if visit.error is not None:
            raise visit.error
        return visit.waiter.cancelled

    async def _wait_over(self, visit: _Visit[Any]) -> None:
        """Have *visit* run, and wait until it is over, or the guest is."""
        if self._over.is_over:
            return  # noqa: ASYNC910 - asyncio
        self._visits.add(visit)
        if self._nursery is not None:
            self._nursery.start_soon(visit.run, name=f"{visit.name} (guest)")
        try:
            await visit.waiter.wait(visit.cancel)
        finally:
            self._visits.remove(visit)

    def _check_host(self) -> asyncio.Task[Any]:
        """Return the calling task, which must be the host's."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            raise RuntimeError(
                "a guest was used in another event loop than its host's; from another thread, write "
                "asyncio.run_coroutine_threadsafe(guest.run(ref.ask, frame), loop)"
            )
        task = asyncio.current_task()
        if task is None or trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "guest.run is for asyncio code of the host; in Trio code, write "
                "'await ref.ask(frame)' itself"
            )
        return task

    def _ended_error(self) -> GuestEnded:
        if self._failure is None:
            return GuestEnded("the guest has ended: its host has left the block of open_guest")
        error = GuestEnded(f"the guest has ended, by {self._failure!r}; open a new one")
        error.__cause__ = self._failure
        return error

    # -- the run, from its start to its end

    async def enter(self, opened: AbstractAsyncContextManager[OpenedT]) -> None:
        """Start the run, and wait until *opened* is entered."""
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "a Trio run is already under way in this thread; open_guest can be used once at a "
                "time, so open a second runtime inside what you give to it"
            )
        trio.lowlevel.start_guest_run(
            self._keep,
            opened,
            run_sync_soon_threadsafe=self._loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=self._loop.call_soon,
            done_callback=self._run_is_over,
            host_uses_signal_set_wakeup_fd=True,  # asyncio does, for loop.add_signal_handler
            # where the host left SIGINT to Python, Trio handles it: let it end the guest in order
            restrict_keyboard_interrupt_to_checkpoints=True,
        )
        await self._arrived.wait(self._cancel)
        if self._arrived.cancelled is not None:
            await self._over.wait(self._cancel)
            raise self._failure or self._arrived.cancelled
        if self._over.is_over:
            raise self._failure or self._ended_error()
        self._is_in_body = True

    async def _keep(self, opened: AbstractAsyncContextManager[OpenedT]) -> None:
        """Hold *opened* open as long as the host is in its block; the run's main task."""
        with self._scope, bare():
            async with trio.open_nursery() as visits:
                try:
                    async with opened as self._opened:
                        self._nursery = visits
                        self._arrived.end()
                        await self._left.wait()
                        if self._error is not None:
                            self._took_error = True
                            raise self._error
                finally:
                    self._nursery = None  # what is visited is over
                visits.cancel_scope.cancel("the host has left the block of open_guest")

    def _cancel(self) -> None:
        self._scope.cancel("the host's task was cancelled")

    def _run_is_over(self, ended: Any) -> None:
        """Let all go on that wait for the run, and end the host's block if the run failed."""
        self._failure = getattr(ended, "error", None)
        self._over.end()
        self._arrived.end()
        for visit in self._visits:
            visit.waiter.end()
        if self._is_in_body and self._task is not None:
            self._cancelled_body = True
            self._task.cancel("the guest has ended")

    async def leave(self, error: BaseException | None) -> BaseException | None:
        """
        End the run, as the host's block ended, and wait until nothing of it is left.

        Args:
            error: What the block raised, if it did.

        Returns:
            What the block is to raise.
        """
        self._is_in_body = False
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            if not self._over.is_over:
                self._cancel()
        else:
            self._error = error
            self._left.set()
        if isinstance(error, GeneratorExit):
            return error  # noqa: ASYNC910 - the host's task is being destroyed: it can't wait
        await self._over.wait(self._cancel)
        if self._cancelled_body and self._task is not None:
            self._task.uncancel()  # the block got it; this is its answer
        if error is None or isinstance(error, asyncio.CancelledError):
            return self._failure or error or self._over.cancelled
        if self._took_error:
            return self._failure or self._over.cancelled  # it may have suppressed the error
        if self._failure is None:
            return error
        return collapse(BaseExceptionGroup("several failures at once", [error, self._failure]))


@asynccontextmanager
async def open_guest(
    opened: AbstractAsyncContextManager[OpenedT],
) -> AsyncGenerator[Guest[OpenedT]]:
    """
    Run Trio as a guest of asyncio: ``async with open_guest(open_runtime()) as guest``.

    *opened* is entered in the guest, and left there when the block ends, with the block's
    exception if it raised one: as if the block were its own. When the block ends normally, a runtime
    so stops in order; when the host's task is cancelled, in the block or while it waits at its end,
    the runtime is cancelled at once (R22). Either way nothing in the guest is left after it (I4).

    If the guest fails, by the crash of an actor for example, the host's task is cancelled, and the
    block raises the crash: as the block of an `asyncio.TaskGroup` does, but bare.

    There is one guest in a thread at a time. Of the signals, SIGINT is left to the host, unless it
    left it to Python: then Trio handles it, the guest ends, and the block raises KeyboardInterrupt.

    Args:
        opened: A Trio context manager, not yet entered: ``open_runtime(...)``, or one of your own
            that opens a runtime, spawns its actors and yields what the host needs.

    Raises:
        Exception: the block's own, unwrapped; or what *opened* raised, the crash of an actor for
            example; or, if both came at once, one group of them (R14).
        RuntimeError: a Trio run is already under way in this thread.

    Cancellation: as above; further cancels of the host's task do not shorten the wait.

    Source: Trio's guest mode; for the cancel of the host's task, `asyncio.TaskGroup`.
    """
    guest: Guest[OpenedT] = Guest()
    await guest.enter(opened)
    error: BaseException | None = None
    try:
        yield guest
    except BaseException as raised:  # noqa: ASYNC103 - `leave` says what becomes of it
        error = raised
    failure = await guest.leave(error)
    if failure is not None:
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # what the block was ended with is not how it came about
            del failure, error, context


class GuestStream(Generic[FrameT]):
    """
    The frames of one stream request, for the host; made by `Guest.stream`.

    As with a `ReplyStream`, what the host has not taken counts as not delivered, the handler is at
    most ``buffer`` frames ahead, and at the block's end nothing of the request is left (I4).
    """

    def __init__(self, guest: Guest[Any], stream: ReplyStream[FrameT]) -> None:
        self._guest = guest
        self._stream = stream
        self._count = 0  # frames since the last suspension

    @property
    def closing(self) -> tuple[FrameT, ...]:
        """The closing frames that were not taken; complete once the block has ended."""
        return self._stream.closing

    @property
    def untaken(self) -> tuple[FrameT, ...]:
        """What the block left untaken, closing frames included; complete once it has ended."""
        return self._stream.untaken

    async def __aenter__(self) -> Self:
        """Send the request. Cancelled: nothing was sent."""
        await self._guest.run(self._stream.__aenter__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        End the request, and wait until its handler is over, at most ``cleanup_grace`` seconds.

        A cancel of the task during that wait is raised at its end; if the block raised something
        else, that goes on, and the cancel hits the task's next wait.
        """
        end = self._stream.__aexit__
        cancelled = await self._guest.clean_up(  # noqa: ASYNC102 - bounded by R10
            end, exc_type, exc, traceback
        )
        if cancelled is not None:
            if exc is None:
                raise cancelled
            if not isinstance(exc, asyncio.CancelledError):
                _cancel_again(cancelled)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FrameT:
        """
        Return the next frame.

        Raises:
            StopAsyncIteration: the handler returned, and every frame was taken.
            GuestEnded: the guest ended first.
            Exception: as `ReplyStream.__anext__`.

        Cancellation: no frame is lost; the request is cancelled when the block is left (R8). The
        task lets others run when it waits, and at least every 64 frames.
        """
        if self._count >= _MOST_WITHOUT_SUSPENSION:
            self._count = 0
            await asyncio.sleep(0)
        try:
            frame = self._stream.take_nowait()
        except trio.WouldBlock:
            self._count = 0
            return await self._guest.run(self._stream.__anext__)
        self._count += 1
        return frame  # noqa: ASYNC910 - as documented
