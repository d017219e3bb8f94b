"""A step that does not end, in real time: the one place where the kit looks at that."""

import signal
import types
from collections.abc import Callable

import pytest

from greenroom.runtime.testing import World, simulate, stuck

SPIN = """
def spin(is_over):
    while not is_over():
        pass
"""


def spinning_in(module: str) -> Callable[[Callable[[], bool]], None]:
    """Return a function, of a module of that name, that goes on until it is told."""
    made = types.ModuleType(module)
    exec(SPIN, made.__dict__)  # noqa: S102 - a module that no file is needed for
    spin: Callable[[Callable[[], bool]], None] = made.spin
    return spin


class Alarms:
    """Counts the looks of the watch, through its own handler."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self) -> int:
        self.seen += 1
        return 0  # always the same step


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "_SECONDS", 0.02)


@pytest.mark.parametrize("module", ["shop", "pdbx", "mypdb"])
def test_a_step_that_does_not_end_is_ended(module: str) -> None:
    """At the second look that finds the same step."""
    alarms = Alarms()
    told: list[str] = []

    with (
        pytest.raises(stuck.StuckError),
        stuck.watched_for_stuck_steps(alarms, told.append),
    ):
        spinning_in(module)(lambda: alarms.seen >= 5)

    assert alarms.seen == 2
    assert "in spin" in told[0] or "<lambda>" in told[0]


@pytest.mark.parametrize("module", ["pdb", "bdb", "pydevd", "_pydevd_bundle.x", "IPython.core"])
def test_a_program_that_stands_still_in_a_debugger_is_left_alone(module: str) -> None:
    """Someone reads there."""
    alarms = Alarms()
    told: list[str] = []

    with stuck.watched_for_stuck_steps(alarms, told.append):
        spinning_in(module)(lambda: alarms.seen >= 5)

    assert alarms.seen >= 5
    assert not told


def test_a_handler_of_the_programs_own_is_kept() -> None:
    """There it is not watched."""
    heard: list[int] = []

    async def scenario(w: World) -> None:
        signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    try:
        assert simulate(scenario).ok
    finally:
        signal.signal(signal.SIGALRM, before)

    assert heard == [signal.SIGALRM]
