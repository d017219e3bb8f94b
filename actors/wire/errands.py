"""
Work that has to go on when the one who began it is cancelled, within a bound.

An `Errand` runs in a system task, so that no cancel of its beginner reaches it. It is bounded from
both sides: the work is cancelled when its time is up, and who waits for it waits no longer than
that, shielded. Work that shields itself without a deadline, as httpcore's closing does, can outlast
both; it is then left to itself, and `Errand.is_overdue` says so.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

__all__ = ["PATIENCE", "Errand"]

#: Seconds that an errand has, and that anybody waits for one.
PATIENCE: Final = 1.0

_log = logging.getLogger("greenroom.wire")


class Errand:
    """One piece of work in a system task."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], *, name: str, seconds: float = PATIENCE
    ) -> None:
        """
        Begin *work*; an `Exception` from it is logged, and goes no further.

        Args:
            work: Is called once, soon.
            name: Of the task.
            seconds: After which the work is cancelled, > 0.

        Raises:
            RuntimeError: no Trio run is under way.
        """
        self._work = work
        self._scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self._done = trio.Event()
        self._name = name
        trio.lowlevel.spawn_system_task(self._run, name=name)

    @property
    def is_overdue(self) -> bool:
        """Whether the time is up and the work goes on all the same."""
        return not self._done.is_set() and self._scope.deadline <= trio.current_time()

    def cancel(self) -> None:
        """Cancel the work. Checkpoint: never."""
        self._scope.cancel(reason="what it was for has ended")

    async def wait(self) -> None:
        """
        Wait for the work to end, or for its time to be up.

        Cancellation: shielded, since the wait is bounded.

        Checkpoint: always, but not one that a cancel comes out of.
        """
        with trio.CancelScope(shield=True, deadline=self._scope.deadline):
            await self._done.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._work()
        except Exception as error:
            _log.debug("%s failed", self._name, exc_info=error)
        finally:
            self._done.set()
        await trio.lowlevel.cancel_shielded_checkpoint()
