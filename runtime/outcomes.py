"""
How a handler's end becomes the outcome of its request, other than by returning (R13, R14, R19).

A refusal goes to the asker, and the actor lives on. Anything else that is raised is a crash, and ends
the incarnation. What was cancelled is settled with the mark that who cancelled it left. `Outcomes` is
the part of a `loop.Loop` that decides this; nothing in it waits.
"""

from collections.abc import Sequence

import trio

from greenroom.runtime.cell import Cell
from greenroom.runtime.envelope import Envelope, Exchange, Slot, frame_in
from greenroom.runtime.errors import (
    ActorCrashed,
    ActorRestarted,
    ActorStopped,
    Interrupted,
    Refused,
    RequestError,
)
from greenroom.runtime.events import HandlerEnded
from greenroom.runtime.frames import Frame
from greenroom.runtime.groups import sole_leaf
from greenroom.runtime.lifecycle import RequestState

__all__ = ["Outcomes"]


class Outcomes:
    """
    What became of the frames of one incarnation.

    Attributes:
        crashed: What ends the incarnation; the first crash wins.
        poison: Frames whose handlers crashed, for the next incarnation if there is one (R19).
    """

    __slots__ = ("_cell", "crashed", "poison")

    def __init__(self, cell: Cell) -> None:
        self.crashed: BaseException | None = None
        self.poison: Sequence[tuple[Envelope, BaseException]] = ()
        self._cell = cell

    def _end_error(self) -> RequestError:
        """Return the error of a request that the end of this incarnation takes."""
        if self._cell.ending is None:  # not from within, so the runtime itself was cancelled
            return ActorStopped(f"<Ref {self._cell.name!r}> was cancelled", "cancelled")
        return self._cell.ending()

    def _settle_failed(self, slot: Slot, exc: Exception) -> None:
        """Move a refusal to its asker; anything else is a crash, and stays (R13, R14)."""
        error = sole_leaf(exc)
        cell = self._cell
        envelope, slot.running, slot.ending = slot.running, None, None
        if slot.exile is not None:
            slot.exile.end(slot)
        if envelope is None:
            self.crash(error)
        elif isinstance(error, Refused):
            self._settle(envelope, error=error)
            cell.tally.refused += 1
            cell.forget_attempts(envelope)
            if not isinstance(envelope[1], Exchange):
                cell.dead_letter(envelope, "Refused, which nobody read")
        else:
            request = envelope[1] if isinstance(envelope[1], Exchange) else None
            if cell.attempts(envelope) < cell.redeliver and (
                request is None or request.may_be_redelivered
            ):
                self.poison = (*self.poison, (envelope, error))  # it may have another handler
            else:
                self.give_up_on(envelope, error)
            self.crash(error)
        if envelope is not None:
            self._ended(envelope, type(error).__name__)
        cell.go_on()

    def give_up_on(self, envelope: Envelope, error: BaseException) -> None:
        """Settle *envelope*, whose handler crashed, and who gets no other."""
        self._settle(envelope, error=self.crash_error(frame_in(envelope), error))
        self._cell.quarantine(envelope, error)

    def _settle_cancelled(self, slot: Slot) -> None:
        """Settle what the slot's scope was cancelled for, if anything."""
        envelope, slot.running = slot.running, None
        ending, slot.ending = slot.ending, None
        if slot.exile is not None:
            slot.exile.end(slot)
        if envelope is not None:
            error = ending or Interrupted(
                f"the asker left {type(frame_in(envelope)).__name__}", "the asker left"
            )
            self._settle(envelope, error=error)
            if isinstance(ending, Interrupted):
                self._cell.tally.interrupted += 1
            else:
                self._cell.tally.cancelled += 1
            self._cell.forget_attempts(envelope)
            self._ended(envelope, "cancelled")
        self._cell.go_on()

    def _settle(self, envelope: Envelope, error: BaseException) -> None:
        request = envelope[1]
        if isinstance(request, Exchange) and request.state is not RequestState.SETTLED:
            request.settle(error=error)

    def crash_error(self, frame: Frame, crash: BaseException) -> ActorCrashed:
        """Return the error of the asker of *frame*."""
        error = ActorCrashed(
            f"<Ref {self._cell.name!r}> crashed handling {type(frame).__name__}: {crash!r}"
        )
        error.__cause__ = crash
        return error

    def crash(self, error: BaseException) -> None:
        """End this incarnation; the first crash is the one that is raised."""
        if self.crashed is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.crashed = error

        def restarted() -> ActorRestarted:
            taken = ActorRestarted(f"<Ref {self._cell.name!r}> crashed in another of its tasks")
            taken.__cause__ = self.crashed
            return taken

        self._cell.end_all("crashed", restarted)

    def _ended(self, envelope: Envelope, outcome: str) -> None:
        observers = self._cell.shared.observers
        if observers:
            observers.notify(
                HandlerEnded(
                    trio.current_time(),
                    self._cell.name,
                    envelope[0],
                    frame_in(envelope),
                    outcome,
                )
            )
