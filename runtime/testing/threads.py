"""
Threads that are none: what `trio.to_thread.run_sync` starts is run in Trio's thread, when its time is over.

A real thread ends when it likes, which no run repeats, and virtual time doesn't wait for it. Here a
sync function lasts a virtual time that is said, and its effects come at the end of it.
"""

from collections.abc import Callable
from typing import Any

import outcome
import trio

__all__ = ["VirtualThreads"]


class VirtualThreads:
    """
    Starts none.

    Attributes:
        seconds: How long each lasts, of virtual time.
        running: How many have been started and are not over: at most those that Trio's limiter lets
            run, and the abandoned ones.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = 0

    def start(
        self,
        function: Callable[[], object],
        deliver: Callable[[Any], object],
        name: str | None = None,
    ) -> None:
        """Run *function* after its time, and call *deliver* with its outcome."""
        self.running += 1
        trio.lowlevel.spawn_system_task(self._run, function, deliver, name=f"thread {name}")

    async def _run(self, function: Callable[[], object], deliver: Callable[[Any], object]) -> None:
        try:
            await trio.sleep(self.seconds)
        finally:
            self.running -= 1
        result = outcome.capture(function)
        if isinstance(result, outcome.Error) and "call it from a thread" in str(result.error):
            result = outcome.Error(_refusal(result.error))
        deliver(result)


def _refusal(error: BaseException) -> RuntimeError:
    refusal = RuntimeError(
        "trio.from_thread.run can't be used under the test kit, where threads are run in Trio's "
        "own: it would wait for itself; return a value from the function instead"
    )
    refusal.__cause__ = error
    return refusal
