"""The tables of `greenroom.runtime.lifecycle`."""

from itertools import product

import pytest

from greenroom.runtime import IllegalMove
from greenroom.runtime.lifecycle import (
    ACTOR_MOVES,
    REQUEST_MOVES,
    ActorState,
    RequestState,
    moved,
)

LEGAL_ACTOR_MOVES = {
    ("starting", "running"),
    ("starting", "restarting"),
    ("starting", "stopped"),
    ("running", "stopping"),
    ("running", "restarting"),
    ("running", "stopped"),
    ("stopping", "restarting"),
    ("stopping", "stopped"),
    ("restarting", "starting"),
    ("restarting", "stopped"),
}
LEGAL_REQUEST_MOVES = {
    ("queued", "running"),
    ("queued", "settled"),
    ("running", "closing"),
    ("running", "queued"),
    ("running", "settled"),
    ("closing", "settled"),
}


@pytest.mark.parametrize(("state", "to"), list(product(ActorState, ActorState)))
def test_an_actor_moves_as_the_table_says_and_no_other_way(
    state: ActorState, to: ActorState
) -> None:
    """I6: every pair of states of an actor is legal or raises."""
    if (state.value, to.value) in LEGAL_ACTOR_MOVES:
        assert moved(ACTOR_MOVES, state, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"can't go from {state.value} to {to.value}"):
            moved(ACTOR_MOVES, state, to)


@pytest.mark.parametrize(("state", "to"), list(product(RequestState, RequestState)))
def test_a_request_moves_as_the_table_says_and_no_other_way(
    state: RequestState, to: RequestState
) -> None:
    """I6: every pair of states of a request is legal or raises."""
    if (state.value, to.value) in LEGAL_REQUEST_MOVES:
        assert moved(REQUEST_MOVES, state, to) is to
    else:
        with pytest.raises(IllegalMove, match=f"can't go from {state.value} to {to.value}"):
            moved(REQUEST_MOVES, state, to)


def test_an_illegal_move_names_what_is_allowed() -> None:
    """I6: the error says which moves there are."""
    with pytest.raises(
        IllegalMove, match=r"from running to starting; allowed: restarting, stopped, stopping$"
    ):
        moved(ACTOR_MOVES, ActorState.RUNNING, ActorState.STARTING)
    with pytest.raises(IllegalMove, match=r"from settled to running; allowed: nothing$"):
        moved(REQUEST_MOVES, RequestState.SETTLED, RequestState.RUNNING)
