"""The decisions of `greenroom.runtime.restart`, against the words of OTP's ``supervisor``."""

import math
import re
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
        (Backoff(first=5, most=0), [0, 0, 0]),
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


def test_no_back_off_is_none_however_often() -> None:
    """R19, OTP: at once; nor does a factor that overflows make a delay of nothing long."""
    assert [Backoff().delay(n, half) for n in (1, 2, 2000)] == [0, 0, 0]


def delays_of(supervision: Supervision, lasted: list[float]) -> list[float]:
    """Return the delays of a child that crashes after it *lasted* so long, time after time."""
    history = History()
    delays: list[float] = []
    now = 0.0
    for seconds in lasted:
        now += seconds
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
        now += decision.delay
    return delays


@pytest.mark.parametrize(
    ("lasted", "delays"),
    [
        ([0, 0, 0, 100, 0], [1, 2, 4, 1, 2]),
        ([0, 5, 5], [1, 2, 4]),
        ([0, 5.1, 0], [1, 1, 2]),
    ],
)
def test_a_calm_period_begins_the_back_off_anew(lasted: list[float], delays: list[float]) -> None:
    """R19: calm is to last for longer than the window, from when it was started again."""
    backoff = Backoff(first=1, jitter=0)

    assert delays_of(Supervision(restarts=math.inf, within=5, backoff=backoff), lasted) == delays


def test_delays_longer_than_the_window_go_on_growing() -> None:
    """R19: a child that crashes at once, time after time, comes to wait for the longest delay."""
    supervision = Supervision(restarts=math.inf, backoff=Backoff(first=1, jitter=0))

    assert delays_of(supervision, [0.0] * 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_history_remembers_no_more_than_the_intensity_asks() -> None:
    """R19: bounded also where the window is not, and a supervisor asks on after it gave up."""
    history = History()
    supervision = Supervision(restarts=3, within=math.inf)
    verdicts = [history.add(now, supervision) for now in range(100)]

    assert verdicts == [True] * 3 + [False] * 97
    assert len(history) == 4


class Model:
    """OTP's supervisor, from its documentation: which of the children run, by name, in order."""

    def __init__(self, strategy: Strategy, kinds: list[ChildKind], most: int, within: int) -> None:
        self.strategy, self.most, self.within = strategy, most, within
        self.specs = dict(enumerate(kinds))
        self.restarted: list[int] = []

    def end(self, child: int, crashed: bool, now: int) -> tuple[list[int], list[int]] | str:
        """Return whom it stops and whom it starts, or what else it does."""
        kind = self.specs[child]
        if kind == "temporary" or (kind == "transient" and not crashed):
            del self.specs[child]
            return "ignores"
        self.restarted.append(now)
        if sum(now - self.within <= at for at in self.restarted) > self.most:
            return "gives up"
        if self.strategy == "one_for_one":
            return [], [child]
        rest = [c for c in self.specs if self.strategy == "one_for_all" or c >= child]
        stopped = [c for c in rest if c != child]
        for other in stopped:
            if self.specs[other] == "temporary":
                del self.specs[other]
        return stopped[::-1], [c for c in rest if c in self.specs]


@given(
    strategy=st.sampled_from(STRATEGIES),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    restarts=st.integers(0, 5),
    within=st.integers(0, 10),
    ends=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 4)), max_size=20),
)
def test_every_decision_is_that_of_otps_documentation(
    strategy: Strategy,
    kinds: list[ChildKind],
    restarts: int,
    within: int,
    ends: list[tuple[int, bool, int]],
) -> None:
    """R19: random ends of random children, against a model written from the documented words."""
    model = Model(strategy, kinds, restarts, within)
    supervision = Supervision(strategy, restarts=restarts, within=within)
    children: list[tuple[int, ChildKind]] = list(enumerate(kinds))
    history = History()
    now = 0
    for pick, crashed, gap in ends:
        now += gap
        if not children:
            break
        child = children[pick % len(children)][0]
        decision = decide(
            supervision,
            children,
            child,
            crashed=crashed,
            now=now,
            history=history,
            random=half,
        )
        expected = model.end(child, crashed, now)
        if isinstance(decision, Restart):
            assert (list(decision.stop), list(decision.start)) == expected
            gone = {*decision.stop} - {*decision.start}
        else:
            assert expected == ("ignores" if isinstance(decision, Ignore) else "gives up")
            gone = {child}
        if isinstance(decision, GiveUp):
            break
        children = [(other, kind) for other, kind in children if other not in gone]
        assert dict(children) == model.specs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Supervision("all"), "strategy must be one of one_for_one, .*, not 'all'"),  # type: ignore[arg-type]
        (lambda: Supervision(restarts=-1), r"Supervision.restarts must be an int >= 0, not -1"),
        (lambda: Supervision(restarts=2.5), r"restarts must be an int >= 0, not 2.5"),
        (lambda: Supervision(restarts=True), r"restarts must be an int >= 0, not True"),
        (lambda: Supervision(within=math.nan), r"Supervision.within must be a number >= 0"),
        (lambda: Backoff(factor=0.5), r"Backoff.factor must be a number >= 1, not 0.5"),
        (lambda: Backoff(first=-1), r"Backoff.first must be a number >= 0"),
        (lambda: Backoff(jitter=1.5), r"Backoff.jitter must be a number from 0 to 1, not 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Any], message: str) -> None:
    """The error names the field, the bound and the value."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("restarts", "within", "backoff", "seconds"),
    [
        (3, 6.9, Backoff(first=1, jitter=0), "7"),
        (3, 6.2, Backoff(first=1, jitter=0.1), "6.3"),
        (1, 5, Backoff(first=10, jitter=0), "10"),
        (1000, 999, Backoff(first=1, most=1, jitter=0), "1000"),
        (1_000_000_000, 5, Backoff(first=0.1, factor=1, jitter=0), "1e+08"),
    ],
)
def test_a_supervisor_that_could_never_give_up_is_refused(
    restarts: int, within: float, backoff: Backoff, seconds: str
) -> None:
    """The delays at their shortest outlast the window; the error says what to write instead."""
    message = (
        f"{restarts} restarts take at least {seconds} s by this back-off, so there are never more "
        f"of them within {within:g} s, .* write restarts=math.inf if that is meant"
    )
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        Supervision(restarts=restarts, within=within, backoff=backoff)

    Supervision(restarts=math.inf, within=within, backoff=backoff)


@pytest.mark.parametrize(
    ("restarts", "within", "backoff"),
    [
        (3, 7, Backoff(first=1, jitter=0)),
        (0, 0, Backoff(first=10)),
        (10**9, 0, Backoff()),
        (10**9, 5, Backoff(first=1, most=0)),
        (10**9, math.inf, Backoff(first=1)),
        (1000, 1000, Backoff(first=1, most=1, jitter=0)),
    ],
)
def test_a_supervisor_that_can_give_up_does(restarts: int, within: float, backoff: Backoff) -> None:
    """What is not refused gives up on a child that crashes as soon as it is back."""
    supervision = Supervision(restarts=restarts, within=within, backoff=backoff)
    history, now = History(), 0.0
    for _ in range(min(restarts, 1000)):
        assert history.add(now, supervision)
        now += history.delay(now, supervision, lambda: 0.0)

    if restarts <= 1000:
        assert not history.add(now, supervision)


def test_a_supervisor_that_was_asked_to_never_give_up_does_not() -> None:
    """And keeps no history of what it has restarted."""
    supervision, history = Supervision(restarts=math.inf), History()

    assert all(history.add(0.0, supervision) for _ in range(10_000))
    assert len(history) == 0
