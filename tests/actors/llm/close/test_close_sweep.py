"""
Responses cut off at every position: promises I4 (nothing is left) and I13 (the pool is back).

What is swept is in scenario.py, over ten ways that a request can go, plain and over TLS; the whole
table, with the ways of the SDK beside ours, is printed by table.py and stands in
docs/closing-streams.md. `make torture` sweeps every position, CI one in `STRIDE`.
"""

import pytest
import trio

from greenroom.runtime.testing import World, sweep
from tests.actors.llm.close.scenario import Case, swept
from tests.actors.llm.close.strategies import STRATEGIES, Strategy
from tests.actors.llm.close.table import KINDS, cell, kind_of
from tests.actors.llm.close.variants import VARIANTS
from tests.actors.wire.peers import TlsPair, make_tls
from tests.conftest import TORTURE

STRIDE = 1 if TORTURE else 19
SAFE = STRATEGIES[3:]
UNSAFE = STRATEGIES[:3]


@pytest.fixture(scope="module")
def tls() -> TlsPair:
    """Contexts for ``model.test``."""
    return make_tls()


def name_of(strategy: Strategy) -> str:
    """Return the name of a parameter."""
    return strategy.name


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("strategy", SAFE, ids=name_of)
def test_whatever_cuts_a_response_off_leaves_nothing(
    strategy: Strategy, variant: str, is_secure: bool, tls: TlsPair
) -> None:
    """A cancel, a deadline, an error: no connection, slot, task or generator; the next works."""
    case = Case(strategy, VARIANTS[variant], is_secure)

    report = swept(case, tls, stride=STRIDE).check()
    print(f"sweep {case}: {report.summary()}")

    assert report.runs > 3


@pytest.mark.parametrize("strategy", SAFE, ids=name_of)
def test_a_first_request_over_tls_leaves_nothing_at_any_position(
    strategy: Strategy, tls: TlsPair
) -> None:
    """I4, I13, with no position left out: here is where most is lost without a guard."""
    case = Case(strategy, VARIANTS["cold"], True)

    report = swept(case, tls).check()
    print(f"sweep {case}: {report.summary()}")

    assert report.runs >= 80


@pytest.mark.parametrize("strategy", UNSAFE, ids=name_of)
def test_the_sweep_finds_what_the_ways_of_the_sdk_leave(strategy: Strategy, tls: TlsPair) -> None:
    """The same sweep is not blind: connections are lost, slots with them, and generators are left."""
    case = Case(strategy, VARIANTS["cold"], True)

    report = swept(case, tls, stride=3, stop_after=1_000)
    found = [kind_of(one) for one in report.failures]

    for kind in (KINDS[1], KINDS[2], KINDS[4]):
        assert kind in found


@pytest.mark.torture
@pytest.mark.parametrize("index", range(len(UNSAFE)), ids=[name_of(one) for one in UNSAFE])
def test_the_ways_of_the_sdk_leave_something_at_hundreds_of_positions(index: int) -> None:
    """Part of their columns of the table, printed; each has what never ends and what is lost."""
    found: list[str] = []
    for variant in VARIANTS:
        stride = 30 if VARIANTS[variant].hangs_on_close else 3  # what hangs takes its real time
        for is_secure in (False, True):
            result = cell((index, variant, is_secure, stride))
            found += result.kinds
            print(f"{UNSAFE[index].name}, {variant}, {'TLS' if is_secure else 'plain'}: {result}")

    assert len(found) >= 200
    assert all(found.count(kind) >= 3 for kind in KINDS if kind != "other")


@pytest.mark.parametrize("strategy", SAFE[::2], ids=name_of)
def test_cancels_come_to_a_task_that_waits_and_to_one_that_is_about_to_run(
    strategy: Strategy, tls: TlsPair
) -> None:
    """Positions are of both kinds: one wakes the task, one is met at its next checkpoint."""
    found: list[bool] = []

    async def scenario(w: World) -> None:
        task = trio.lowlevel.current_task()
        # the kit's own way to act at a position; Trio has no public name for a parked task
        with w.action("look", lambda: found.append(task._abort_func is not None)):  # pyright: ignore[reportPrivateUsage]
            await Case(strategy, VARIANTS["cold"], True).scenario(tls)(w)

    sweep(scenario, faults=["call"], stop_after=1_000)

    assert found.count(True) >= 15
    assert found.count(False) >= 15
