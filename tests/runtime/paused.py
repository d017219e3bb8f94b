"""
A runtime that goes on only when its test says so: a guest run of Trio whose host is the test.

Time is virtual and stands still; `Paused.do` makes a plain call inside the run, and `Paused.step`
lets one pass of the scheduler go by, in which every task that can runs once. Between two passes
nothing moves, so that two things can be made to meet at every stage of a reaction.
"""

import queue
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import trio
import trio.testing

from greenroom.runtime import Event, Runtime, Supervision, open_runtime
from greenroom.runtime.testing import seam

# A reaction of more passes than these never ends.
_MOST_PASSES = 10_000


def _watch(_: Event) -> None:
    """Do nothing; that there is an observer takes every frame the long way."""


class Paused:
    """
    One runtime, open, and paused.

    Attributes:
        runtime: The runtime.
        ended: How its block ended: the exception, ``"over"``, or None while it has not.
        nursery: For tasks of the test, outside the runtime.
    """

    runtime: Runtime
    nursery: trio.Nursery

    def __init__(self, supervision: Supervision, *, grace: float, watched: bool, seed: int) -> None:
        self.ended: object = None
        self._supervision = supervision
        self._grace = grace
        self._watched = watched
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._clock = trio.testing.MockClock()
        self._outcome: Any = None  # of the run
        self._is_idle = False
        self._scope = trio.CancelScope()
        self._end = trio.Event()
        self._scheduler = seam.scheduler()
        self._was = self._scheduler._r, self._scheduler._ALLOW_DETERMINISTIC_SCHEDULING
        self._scheduler._r = Random(seed)
        self._scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._calls.put,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,
            clock=self._clock,
        )
        self.settle()

    def _done(self, outcome: Any) -> None:
        self._outcome = outcome

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self._run)
            await trio.sleep_forever()

    async def _run(self) -> None:
        try:
            with self._scope:
                async with open_runtime(
                    supervision=self._supervision,
                    observers=[_watch] if self._watched else [],
                    cleanup_grace=self._grace,
                    drain_grace=self._grace,
                ) as self.runtime:
                    await self._end.wait()
        except Exception as error:
            self.ended = error
        else:
            self.ended = "over"

    # -- what the test does

    def do(self, call: Callable[[], object]) -> None:
        """Have *call* made in the next pass."""
        self._token.run_sync_soon(call)
        self._is_idle = False

    def start(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Have a task of the test started in the next pass."""
        self.do(lambda: self.nursery.start_soon(function, *args))

    def leave(self) -> None:
        """End the runtime's block normally."""
        self.do(self._end.set)

    def cancel(self) -> None:
        """Cancel the runtime's block."""
        self.do(self._scope.cancel)

    def advance(self, seconds: float) -> None:
        """Let time go by, at once."""
        self.do(lambda: self._clock.jump(seconds))

    def step(self) -> bool:
        """Let one pass go by, and return True; False if nothing moves, now or ever."""
        if self._is_idle or self._outcome is not None:
            return False
        self._calls.get(timeout=60)()
        self._is_idle = self._calls.empty()  # else Trio sleeps, in a thread, until it is called
        return True

    def settle(self) -> None:
        """Let it go on until nothing moves."""
        for _ in range(_MOST_PASSES):
            if not self.step():
                return
        raise AssertionError(f"after {_MOST_PASSES} passes it still moves")

    def close(self) -> None:
        """Cancel all that is left, and end the run; its tasks must be over then."""
        try:
            self.do(lambda: self.nursery.cancel_scope.cancel(reason="the test is over"))
            self.settle()
            assert self._outcome is not None, "the run does not end"
            self._outcome.unwrap()
        finally:
            self._scheduler._r, self._scheduler._ALLOW_DETERMINISTIC_SCHEDULING = self._was
