"""
The legal moves of an actor and of a request, as tables.

Rules of this file: every state and every move between states stands here and nowhere else; nothing
here waits, and nothing here knows Trio. A move that is not in the table raises `IllegalMove` and
changes nothing (I6).

An actor::

    STARTING --> RUNNING --> STOPPING --> STOPPED
      ^ |           |           |            ^
      | +-----------+-----------+------------+      (start failed; crashed or cancelled)
      | v           v           v            |
      +-------- RESTARTING ------------------+      (its supervisor decides; given up)

A request (`envelope.Exchange`)::

    QUEUED --> RUNNING --> CLOSING --> SETTLED
       |  ^       |                       ^
       |  +-------+ (redelivered)         |
       +----------+-----------------------+         (never started; replied)

CLOSING is a request whose handler was cancelled and is cleaning up.
"""

from enum import Enum
from typing import Final, TypeVar

from greenroom.runtime.errors import IllegalMove

__all__ = ["ACTOR_MOVES", "REQUEST_MOVES", "ActorState", "RequestState", "moved"]


class ActorState(Enum):
    """Where an actor is in its life."""

    STARTING = "starting"  # on_start runs; nobody but the spawner knows the actor
    RUNNING = "running"
    STOPPING = "stopping"  # the intake is closed; what is queued is still handled
    RESTARTING = "restarting"  # between two incarnations; the mailbox takes frames
    STOPPED = "stopped"

    __hash__ = object.__hash__  # members are singletons; Enum would hash the name each time


class RequestState(Enum):
    """Where a request is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CLOSING = "closing"
    SETTLED = "settled"

    __hash__ = object.__hash__  # as above


ACTOR_MOVES: Final[dict[ActorState, frozenset[ActorState]]] = {
    ActorState.STARTING: frozenset({ActorState.RUNNING, ActorState.RESTARTING, ActorState.STOPPED}),
    ActorState.RUNNING: frozenset({ActorState.STOPPING, ActorState.RESTARTING, ActorState.STOPPED}),
    ActorState.STOPPING: frozenset({ActorState.RESTARTING, ActorState.STOPPED}),
    ActorState.RESTARTING: frozenset({ActorState.STARTING, ActorState.STOPPED}),
    ActorState.STOPPED: frozenset(),
}

REQUEST_MOVES: Final[dict[RequestState, frozenset[RequestState]]] = {
    RequestState.QUEUED: frozenset({RequestState.RUNNING, RequestState.SETTLED}),
    RequestState.RUNNING: frozenset(
        {RequestState.CLOSING, RequestState.QUEUED, RequestState.SETTLED}
    ),
    RequestState.CLOSING: frozenset({RequestState.SETTLED}),
    RequestState.SETTLED: frozenset(),
}

StateT = TypeVar("StateT", ActorState, RequestState)


def moved(table: dict[StateT, frozenset[StateT]], state: StateT, to: StateT) -> StateT:
    """
    Return *to* if *table* allows the move from *state*.

    Raises:
        IllegalMove: it does not; the caller's state is what it was.
    """
    if to not in table[state]:
        allowed = ", ".join(sorted(s.value for s in table[state])) or "nothing"
        raise IllegalMove(f"can't go from {state.value} to {to.value}; allowed: {allowed}")
    return to
