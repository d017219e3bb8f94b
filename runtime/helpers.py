"""
The inner nursery of an incarnation: for further slots, control frames, children and helper tasks.

Most actors need none, and an idle nursery costs a third of an idle actor; so it is opened when
first used, in a task of its own beside the actor's.
"""

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from greenroom.runtime.groups import bare
from greenroom.runtime.shared import Shared

__all__ = ["InnerNursery", "wait_cancelled"]

_Start: TypeAlias = tuple[
    contextvars.Context, Callable[..., Awaitable[object]], tuple[Any, ...], object
]


async def wait_cancelled(told: Callable[[], None]) -> None:
    """
    Wait to be cancelled, and call *told* in the very step in which that happens.

    It may neither wait nor start anything, as Trio is at work then (R7).
    """

    def abort(_: object) -> trio.lowlevel.Abort:
        told()
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


class InnerNursery:
    """A nursery opened when first used; it ends with `close`, or by the failure of a task in it."""

    __slots__ = (
        "_cancelled",
        "_closing",
        "_context",
        "_failed",
        "_name",
        "_nursery",
        "_over",
        "_parent",
        "_pending",
    )

    def __init__(
        self,
        parent: Callable[..., None],
        context: contextvars.Context,
        name: str,
        failed: Callable[[BaseException], None],
        cancelled: Callable[[], None],
    ) -> None:
        self._parent = parent  # start_soon of where the task that opens the nursery runs
        self._context = context
        self._name = name
        self._failed = failed  # told of the failure that ended the nursery
        self._cancelled = cancelled  # told at once when it is cancelled, by whatever
        self._nursery: trio.Nursery | None = None  # set while it is open
        self._closing = False  # set by `close`
        self._over: trio.Event | None = None  # set when it is closed; None until first used
        self._pending: list[_Start] = []  # started in the one step before it is open

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> None:
        """
        Start a task; as `trio.Nursery.start_soon`.

        Nothing is started for who is himself being cancelled, once the nursery has ended: the task
        would be cancelled at once.

        Raises:
            RuntimeError: the actor is over.

        Checkpoint: never.
        """
        if self._nursery is not None:
            try:
                self._nursery.start_soon(function, *args, name=name)
            except RuntimeError:  # its last task is over
                if self._closing:
                    raise self._over_error() from None
            return
        if self._over is None:
            # a copy, as a context can't be entered twice and the caller may be in it
            context = self._context.copy()
            context.run(self._parent, self._run, name=f"{self._name} (inner nursery)")
            self._over = trio.Event()
        elif self._over.is_set():
            if self._closing:
                raise self._over_error()
            return
        self._pending.append((contextvars.copy_context(), function, args, name))

    def _over_error(self) -> RuntimeError:
        return RuntimeError(f"actor {self._name!r} is over; it starts no more tasks")

    async def start(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> Any:
        """Start a task and wait until it calls ``task_status.started()``. Checkpoint: always."""
        while self._nursery is None:
            if self._over is not None and self._over.is_set():
                await trio.lowlevel.checkpoint_if_cancelled()
                raise self._over_error()
            opened = trio.Event()
            self.start_soon(_set, opened)
            await opened.wait()
        # a runtime that was cancelled meanwhile may have closed it, which is no error of the caller
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._nursery.start(function, *args, name=name)

    async def _run(self) -> None:  # noqa: ASYNC910
        assert self._over is not None
        try:
            with bare():
                async with trio.open_nursery() as self._nursery:
                    pending, self._pending = self._pending, []
                    for context, function, args, name in pending:
                        context.run(_start_soon, self._nursery, function, args, name)
                    if self._closing:
                        self._nursery.cancel_scope.cancel(reason=f"{self._name!r} is over")
                    await wait_cancelled(self._cancelled)
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            self._nursery = None
            self._over.set()

    async def close(self, shared: Shared) -> None:
        """
        Cancel every task in it and wait until they are over.

        Cancellation: not cancellable, as the end of a nursery is not; a task that is not over
        within ``cleanup_grace`` is named (R10).

        Checkpoint: only if it was ever used.
        """
        if self._over is None:
            return  # noqa: ASYNC910
        self._closing = True  # for the task that opens it, if that is still on its way
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=f"{self._name!r} is over")
        alarm = shared.alarms.set(
            trio.current_time() + shared.cleanup_grace, lambda: self._name_tasks(shared)
        )
        with trio.CancelScope(shield=True):  # as a nursery waits for its children, whatever comes
            await self._over.wait()
        alarm.cancel()

    def _name_tasks(self, shared: Shared) -> None:
        for task in self._nursery.child_tasks if self._nursery is not None else ():
            if task not in shared.incarnations:  # those of children are named by themselves
                shared.report_overrun(self._name, None, self._name, task)


def _start_soon(
    nursery: trio.Nursery,
    function: Callable[..., Awaitable[object]],
    args: tuple[Any, ...],
    name: object,
) -> None:
    nursery.start_soon(function, *args, name=name)


async def _set(event: trio.Event) -> None:  # noqa: ASYNC124, ASYNC910 - a task of one step
    event.set()
