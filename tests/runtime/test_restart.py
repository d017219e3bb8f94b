"""The decisions of `greenroom.runtime.restart`, against the words of OTP's ``supervisor``."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Backoff, ChildKind, Strategy, Supervision
from greenroom.runtime.restart import GiveUp, History, Ignore, Restart, decide

KINDS: list[ChildKind] = ["permanent", "transient", "temporary"]
STRATEGIES: list[Strategy] = ["one_for_one", "one_for_all", "rest_for_one"]


def half() -> float:
    """Return the chance that makes no jitter."""
    return 0.5


@pytest.mark.parametrize(
    ("kind", "crashed", "restarted"),
    [
        ("permanent", True, True),
        ("permanent", False, True),
        ("transient", True, True),
        ("transient", False, False),
        ("temporary", True, False),
        ("temporary", False, False),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_kind_of_child_says_whether_it_is_restarted(
    kind: ChildKind, crashed: bool, restarted: bool, strategy: Strategy
) -> None:
    """R19, OTP: permanent always, transient after an abnormal end, temporary never."""
    decision = decide(
        Supervision(strategy),
        [("a", kind)],
        "a",
        crashed=crashed,
        now=0,
        history=History(),
        random=half,
    )

    assert isinstance(decision, Restart if restarted else Ignore)


FOUR: list[tuple[str, ChildKind]] = [
    ("a", "permanent"),
    ("b", "transient"),
    ("t", "temporary"),
    ("c", "permanent"),
]


@pytest.mark.parametrize(
    ("strategy", "ended", "stop", "start"),
    [
        ("one_for_one", "a", "", "a"),
        ("one_for_one", "c", "", "c"),
        ("one_for_all", "a", "ctb", "abc"),
        ("one_for_all", "b", "cta", "abc"),
        ("one_for_all", "c", "tba", "abc"),
        ("rest_for_one", "a", "ctb", "abc"),
        ("rest_for_one", "b", "ct", "bc"),
        ("rest_for_one", "c", "", "c"),
    ],
)
def test_the_strategy_says_who_goes_along(
    strategy: Strategy, ended: str, stop: str, start: str
) -> None:
    """R19, OTP: stopped in reverse order, started in order; temporary ones are not started again."""
    decision = decide(
        Supervision(strategy), FOUR, ended, crashed=True, now=0, history=History(), random=half
    )

    assert isinstance(decision, Restart)
    assert "".join(decision.stop) == stop
    assert "".join(decision.start) == start


@pytest.mark.parametrize(
    ("restarts", "within", "times", "verdicts"),
    [
        (0, 5, [0], "g"),
        (1, 5, [0, 4], "rg"),
        (1, 5, [0, 5], "rg"),
        (1, 5, [0, 5.1], "rr"),
        (3, 5, [0, 1, 2, 3], "rrrg"),
        (3, 5, [0, 1, 2, 5.5, 6.5], "rrrrr"),
        (2, math.inf, [0, 1e9, 2e9], "rrg"),
    ],
)
def test_more_restarts_than_the_intensity_allows_give_up(
    restarts: int, within: float, times: list[float], verdicts: str
) -> None:
    """R19, OTP: "if more than MaxR restarts occur within MaxT seconds, the supervisor gives up"."""
    history = History()
    supervision = Supervision(restarts=restarts, within=within)
    decisions = [
        decide(
            supervision,
            [("a", "permanent")],
            "a",
            crashed=True,
            now=now,
            history=history,
            random=half,
        )
        for now in times
    ]

    assert "".join("g" if isinstance(d, GiveUp) else "r" for d in decisions) == verdicts


@given(
    restarts=st.integers(0, 4),
    within=st.integers(0, 10),
    gaps=st.lists(st.integers(0, 6), max_size=30),
)
def test_no_window_ever_holds_more_restarts_than_allowed(
    restarts: int, within: int, gaps: list[int]
) -> None:
    """R19: whatever the times, the restarts that were granted keep to the intensity."""
    history = History()
    granted: list[int] = []
    now = 0
    for gap in gaps:
        now += gap
        decision = decide(
            Supervision(restarts=restarts, within=within),
            [("a", "permanent")],
            "a",
            crashed=True,
            now=now,
            history=history,
            random=half,
        )
        recent = [t for t in granted if t >= now - within]
        assert isinstance(decision, GiveUp) == (len(recent) + 1 > restarts)
        if isinstance(decision, GiveUp):
            break  # as a supervisor does
        granted.append(now)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff(), [0, 0, 0]),
        (Backoff(first=1, jitter=0), [1, 2, 4]),
        (Backoff(first=1, factor=10, most=50, jitter=0), [1, 10, 50]),
        (Backoff(first=2, factor=1, jitter=0), [2, 2, 2]),
    ],
)
def test_the_delay_grows_up_to_a_bound(backoff: Backoff, delays: list[float]) -> None:
    """R19: first * factor ** (n - 1), at most so much."""
    assert [backoff.delay(n, half) for n in (1, 2, 3)] == delays


@given(chance=st.floats(0, 1, exclude_max=True), attempt=st.integers(1, 5000))
def test_jitter_stays_within_its_part(chance: float, attempt: int) -> None:
    """R19: the delay is never off by more than the jitter says, however often it was tried."""
    backoff = Backoff(first=1, most=8, jitter=0.25)
    delay = backoff.delay(attempt, lambda: chance)
    plain = min(2.0 ** min(attempt - 1, 3), 8)

    assert 0.75 * plain <= delay <= 1.25 * plain


def test_a_calm_period_begins_the_back_off_anew() -> None:
    """R19: in a row are the restarts that the intensity counts."""
    history = History()
    supervision = Supervision(restarts=9, within=10, backoff=Backoff(first=1, jitter=0))
    delays: list[float] = []
    for now in (0, 1, 2, 100):
        decision = decide(
            supervision,
            [("a", "permanent")],
            "a",
            crashed=True,
            now=now,
            history=history,
            random=half,
        )
        assert isinstance(decision, Restart)
        delays.append(decision.delay)

    assert delays == [1, 2, 4, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Supervision("all"), "strategy must be one of one_for_one, .*, not 'all'"),  # type: ignore[arg-type]
        (lambda: Supervision(restarts=-1), r"Supervision.restarts must be a number >= 0, not -1"),
        (lambda: Supervision(within=math.nan), r"Supervision.within must be a number >= 0"),
        (lambda: Backoff(factor=0.5), r"Backoff.factor must be a number >= 1, not 0.5"),
        (lambda: Backoff(first=-1), r"Backoff.first must be a number >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Any], message: str) -> None:
    """The error names the field, the bound and the value."""
    with pytest.raises(ValueError, match=message):
        make()
