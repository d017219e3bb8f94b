"""
One task per runtime that sleeps to the earliest deadline of all and calls back.

Nothing ticks (R23): without an alarm the task sleeps for ever, so that a virtual clock may jump.
Setting and cancelling an alarm are plain calls, legal inside a Trio abort function, which may
neither start a task nor wait (R7).
"""

import heapq
import itertools
import math
from collections.abc import Callable

import trio

__all__ = ["Alarm", "Alarms"]


class Alarm:
    """One call to come; `cancel` forgets it."""

    __slots__ = ("_alarms", "_callback")

    def __init__(self, alarms: "Alarms", callback: Callable[[], None]) -> None:
        self._alarms = alarms
        self._callback: Callable[[], None] | None = callback

    @property
    def is_set(self) -> bool:
        """Whether the call is still to come."""
        return self._callback is not None

    def cancel(self) -> None:
        """Forget the call; a no-op if it was made or forgotten before."""
        if self._callback is not None:
            self._callback = None
            self._alarms.forget()

    def ring(self) -> None:
        """Make the call, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Alarms:
    """The alarms of one runtime."""

    __slots__ = ("_closed", "_dead", "_heap", "_numbers", "_scope")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._dead = 0  # entries of the heap whose alarm was cancelled
        self._numbers = itertools.count()
        self._closed = False
        self._scope: trio.CancelScope | None = None  # of the running task; None before and after

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: the runtime is over."""
        return self._closed

    def set(self, at: float, callback: Callable[[], None]) -> Alarm:
        """
        Call *callback* at *at* (Trio clock, seconds); ``math.inf`` for never.

        Alarms of one instant ring in the order in which they were set. *callback* runs in the
        alarm task and must neither raise nor wait.
        """
        alarm = Alarm(self, callback)
        heapq.heappush(self._heap, (at, next(self._numbers), alarm))
        self._rearm()
        return alarm

    def forget(self) -> None:
        """Note that one of the alarms was cancelled; called by it."""
        self._dead += 1
        if self._dead > len(self._heap) // 2:  # bounded: at most as many dead as live entries
            self._heap = [entry for entry in self._heap if entry[2].is_set]
            heapq.heapify(self._heap)
            self._dead = 0
        self._rearm()

    def _rearm(self) -> None:
        while self._heap and not self._heap[0][2].is_set:
            heapq.heappop(self._heap)
            self._dead -= 1
        if self._scope is not None:
            earliest = self._heap[0][0] if self._heap else math.inf
            self._scope.deadline = -math.inf if self._closed else earliest

    async def run(self) -> None:  # noqa: ASYNC910
        """
        Ring alarms until `close`.

        The shield lasts as long as the runtime: bounds on cleanup must hold while everything is
        being cancelled. `open_runtime` closes it when the last actor is gone.
        """
        while not self._closed:
            with trio.CancelScope(shield=True) as self._scope:
                self._rearm()
                await trio.sleep_forever()
            self._scope = None
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                alarm = heapq.heappop(self._heap)[2]
                if alarm.is_set:
                    alarm.ring()
                else:
                    self._dead -= 1

    def close(self) -> None:
        """End `run`; what is due rings, the rest never will."""
        self._closed = True
        self._rearm()
