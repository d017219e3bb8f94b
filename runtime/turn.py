"""
Which of an actor's two lanes has its handler run: one at a time, so that its state needs no lock.

An actor that handles express frames has a slot for each lane. The data slot has the turn, and lends
it to the express slot whenever it runs no handler: while it waits for a frame, and between two. It
lends it too while its handler, or ``on_interrupt``, *rests*, that is, waits for room in a mailbox
further down; so what comes the other way is handled meanwhile, and two neighbours that send to one
another do not wait for each other for ever. A handler that rests has the turn again before it goes
on. An express slot that is held up otherwise, by a pause say, has no turn meanwhile.

The turn is asked for only by the express slot, so that the data lane pays nothing for it.
"""

from collections.abc import Callable, Sequence

import trio

from greenroom.runtime.envelope import Slot
from greenroom.runtime.errors import DeadlockError
from greenroom.runtime.waits import check_wait

__all__ = ["Turn"]


class _Other:
    """What a slot waits for that wants the turn; a `waits.Wait`."""

    __slots__ = ("_turn", "_waiter")

    def __init__(self, turn: "Turn", waiter: Slot) -> None:
        self._turn = turn
        self._waiter = waiter

    def blockers(self) -> Sequence[Slot] | None:
        turn = self._turn
        if self._waiter.is_express:
            return None if turn.is_free or turn.data is None else (turn.data,)
        return (turn.express,) if turn.is_lent and turn.express is not None else None

    def describe(self) -> str:
        kind = "data" if self._waiter.is_express else "express"
        return f"waits for its own handler of {kind} frames"


class Turn:
    """
    The turn of one actor; it outlives incarnations, and is free between them.

    Attributes:
        data: The slot of the data lane, while there is one; kept by the loop, with the next.
        crash: Ends the incarnation that it is a slot of.
        express: The slot that has the turn lent, or wants it.
        is_lent: It has it.
        runs_hook: The data slot runs ``on_interrupt``, which is no frame's handler.
    """

    __slots__ = ("_lot", "_rests", "crash", "data", "express", "is_lent", "runs_hook")

    def __init__(self) -> None:
        self.data: Slot | None = None
        self.crash: Callable[[BaseException], None] | None = None
        self.express: Slot | None = None
        self.is_lent = False
        self.runs_hook = False
        self._rests = False  # the data slot's handler waits for room
        self._lot = trio.lowlevel.ParkingLot()  # whoever waits for it

    @property
    def is_free(self) -> bool:
        """Whether the data slot runs no handler, or one that rests."""
        if self.data is None or self._rests:
            return True
        return self.data.running is None and not self.runs_hook

    @property
    def is_asked(self) -> bool:
        """Whether the express slot has the turn, or waits for it."""
        return self.express is not None

    def offer(self) -> None:
        """Let who waits for the turn look again."""
        self._lot.unpark_all()

    # -- the express slot's side

    async def borrow(self, slot: Slot) -> None:  # noqa: ASYNC910
        """
        Wait until the express *slot* has the turn; in any case `give_back` follows.

        Raises:
            DeadlockError: it never would (R24).

        Checkpoint: only if it waits.
        """
        self.express = slot
        while not self.is_free:  # noqa: ASYNC913
            await self._wait(slot)
        self.is_lent = True

    def put_off(self) -> None:
        """Give the turn back, as something else holds the express slot up, but go on wanting it."""
        self.is_lent = False
        self.offer()

    def give_back(self) -> None:
        """Note that the express slot has the turn no more, and wants it no more."""
        self.express = None
        self.is_lent = False
        self.offer()

    # -- the data slot's side

    async def wait_back(self, slot: Slot) -> None:  # noqa: ASYNC910
        """Lend the turn to who wants it, and wait until it is back. Checkpoint: if it is asked."""
        self.offer()
        while self.is_asked:  # noqa: ASYNC913
            await self._wait(slot)

    def rest(self) -> None:
        """Lend the turn while the data slot's handler waits for room; `resume` ends that."""
        self._rests = True
        if self.is_asked:
            self.offer()

    async def resume(self) -> None:  # noqa: ASYNC910
        """
        Take the turn back, once the express slot's handler is over.

        What the handler rested for is done, so nothing that happens here is an error of that. If the
        express slot's handler would never be over, the actor crashes with the `DeadlockError` (R24).

        Cancellation:
            Goes on at once, for the same reason; the cancel hits the next checkpoint. So it does when
            the actor crashes.

        Checkpoint: only if it waits, and then not for cancellation.
        """
        try:
            while self.is_lent and self.data is not None:  # noqa: ASYNC913
                await self._wait(self.data)
        except trio.Cancelled:  # noqa: ASYNC103 - as documented
            pass
        except DeadlockError as error:
            if self.crash is None:
                raise
            self.crash(error)
        finally:
            self._rests = False

    async def _wait(self, slot: Slot) -> None:
        wait = _Other(self, slot)
        check_wait(slot, wait)
        before, slot.waiting = slot.waiting, wait
        try:
            await self._lot.park()
        finally:
            slot.waiting = before
