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

__all__ = ["InnerNursery"]

_Start: TypeAlias = tuple[
    contextvars.Context, Callable[..., Awaitable[object]], tuple[Any, ...], object
]


class InnerNursery:
    """A nursery opened when first used; it ends with `close`, or by the failure of a task in it."""

    __slots__ = ("_context", "_failed", "_name", "_nursery", "_over", "_parent", "_pending")

    def __init__(
        self,
        parent: Callable[..., None],
        context: contextvars.Context,
        name: str,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._parent = parent  # start_soon of where the task that opens the nursery runs
        self._context = context
        self._name = name
        self._failed = failed  # told of the failure that ended the nursery
        self._nursery: trio.Nursery | None = None  # set while it is open
        self._over: trio.Event | None = None  # set when it is closed; None until first used
        self._pending: list[_Start] = []  # started in the one step before it is open

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> None:
        """Start a task; as `trio.Nursery.start_soon`. Checkpoint: never."""
        if self._nursery is not None:
            self._nursery.start_soon(function, *args, name=name)
            return
        if self._over is None:
            self._over = trio.Event()
            self._context.run(self._parent, self._run, name=f"{self._name} (inner nursery)")
        elif self._over.is_set():
            raise RuntimeError(f"actor {self._name!r} is over; it starts no more tasks")
        self._pending.append((contextvars.copy_context(), function, args, name))

    async def start(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> Any:
        """Start a task and wait until it calls ``task_status.started()``. Checkpoint: always."""
        while self._nursery is None:
            opened = trio.Event()
            self.start_soon(_set, opened)
            await opened.wait()
        return await self._nursery.start(function, *args, name=name)

    async def _run(self) -> None:
        assert self._over is not None
        try:
            with bare():
                async with trio.open_nursery() as self._nursery:
                    pending, self._pending = self._pending, []
                    for context, function, args, name in pending:
                        context.run(_start_soon, self._nursery, function, args, name)
                    await trio.sleep_forever()
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            self._nursery = None
            self._over.set()

    async def close(self) -> None:
        """
        Cancel every task in it and wait until they are over.

        Cancellation: not cancellable, as the end of a nursery is not; whoever cancels the runtime
        hears of a task that does not end (R10).

        Checkpoint: only if it was ever used.
        """
        if self._over is None:
            return
        while self._nursery is None and not self._over.is_set():
            with trio.CancelScope(shield=True):  # one step: the task that opens it is on its way
                await trio.lowlevel.checkpoint()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=f"{self._name!r} is over")
        with trio.CancelScope(shield=True):  # as a nursery waits for its children, whatever comes
            await self._over.wait()


def _start_soon(
    nursery: trio.Nursery,
    function: Callable[..., Awaitable[object]],
    args: tuple[Any, ...],
    name: object,
) -> None:
    nursery.start_soon(function, *args, name=name)


async def _set(event: trio.Event) -> None:  # noqa: ASYNC124, ASYNC910 - a task of one step
    event.set()
