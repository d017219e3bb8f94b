"""`Patience`: which deadline is due, and when."""

import math
from typing import Any

import pytest

from greenroom.actors.llm import Deadline, Patience


@pytest.mark.parametrize("bad", [0, -1, math.nan, True, "5", None])
def test_a_deadline_is_seconds_above_zero(bad: Any) -> None:
    """The error names the deadline and says how to have none."""
    with pytest.raises(ValueError, match=r"first_token must be seconds > 0 or math.inf"):
        Patience(first_token=bad)


def test_only_connecting_is_bounded_unless_asked_for() -> None:
    """The defaults wait for a slow model as long as it takes."""
    assert Patience() == Patience(
        connect=5,
        headers=math.inf,
        first_token=math.inf,
        between_tokens=math.inf,
        response=math.inf,
    )
    due, _ = Patience().due(started_at=0, has_head=False, last_token_at=None)

    assert due == math.inf


ALL = Patience(headers=2, first_token=5, between_tokens=3, response=20)


@pytest.mark.parametrize(
    ("patience", "has_head", "last_token_at", "due"),
    [
        (ALL, False, None, (102, Deadline.HEADERS)),
        (ALL, True, None, (105, Deadline.FIRST_TOKEN)),
        (ALL, True, 104, (107, Deadline.BETWEEN_TOKENS)),
        (ALL, True, 119, (120, Deadline.RESPONSE)),
        (Patience(headers=9, response=4), False, None, (104, Deadline.RESPONSE)),
        (Patience(headers=9, first_token=4), False, None, (104, Deadline.FIRST_TOKEN)),
    ],
)
def test_the_earliest_deadline_of_the_phase_is_due(
    patience: Patience, has_head: bool, last_token_at: float | None, due: tuple[float, Deadline]
) -> None:
    """Deadlines nest, and the innermost that ends first gives its name."""
    assert patience.due(started_at=100, has_head=has_head, last_token_at=last_token_at) == due


@pytest.mark.parametrize(
    ("patience", "silence"),
    [
        (Patience(), math.inf),
        (Patience(headers=2, first_token=9, between_tokens=3), 9),
        (Patience(headers=2, between_tokens=3), math.inf),
        (Patience(between_tokens=3, response=30), 30),
    ],
)
def test_silence_is_the_longest_wait_that_may_be_right(patience: Patience, silence: float) -> None:
    """A transport that knows no phases may wait that long for bytes, and no longer."""
    assert patience.silence == silence
