"""A whole agent turn over the real HTTP stack, swept by the kit: nothing leaks, nothing is wrong."""

import time
from collections.abc import Sequence

import pytest

from greenroom.actors.agent import Outcome, TurnEnded
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.runtime import FrameEmitted
from greenroom.runtime.testing import FaultKind, Scenario, explore, simulate, sweep
from tests.testing.scenarios import agent_turn, agent_turn_in_threads


def test_the_turn_is_answered_when_nobody_disturbs_it() -> None:
    """What is swept is a turn that calls two tools at once and ends with an answer."""
    report = simulate(agent_turn).check()
    emitted = [event.frame for event in report.events if isinstance(event, FrameEmitted)]
    (ended,) = [frame for frame in emitted if isinstance(frame, TurnEnded)]

    assert ended.outcome is Outcome.ANSWERED
    assert (ended.steps, ended.calls) == (3, 3)
    assert report.seconds == 2  # two look-ups at once, then a calculation
    assert report.positions >= 180


def swept(scenario: Scenario, *faults: FaultKind, targets: Sequence[str] | None = None) -> int:
    began = time.process_time()
    report = sweep(scenario, faults=faults, targets=targets).check()
    rate = report.runs / (time.process_time() - began)
    print(f"swept an agent's turn: {report.runs} runs, {rate:.0f} of them in a second of CPU time")
    return report.runs


def test_a_cancel_at_any_moment_leaves_nothing() -> None:
    """I3, I4, I5, I8, I9, I13: of the turn, of the tools, and of everything."""
    assert swept(agent_turn, "cancel") >= 370


def test_a_cancel_while_functions_run_in_threads_leaves_nothing() -> None:
    """I3, I4: the tools are plain functions; the turn waits for them, and then it is over."""
    assert swept(agent_turn_in_threads, "cancel", targets=("turn",)) >= 180


@pytest.mark.torture
@pytest.mark.parametrize("scenario", [agent_turn, agent_turn_in_threads])
def test_ctrl_c_and_errors_at_any_moment_leave_nothing(scenario: Scenario) -> None:
    """I4, I7, I13: KeyboardInterrupt at each position, an error out of each wait of the scenario."""
    assert swept(scenario, "cancel", "interrupt", "raise") >= 600


def test_other_orders_of_tasks_change_nothing() -> None:
    """I3, I4: a sample of them."""
    report = explore(agent_turn, runs=40).check()

    assert report.orders >= 20


def test_a_connection_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario can fail: a provider whose close does nothing keeps the network open."""

    def keep(_: OpenAIProvider) -> None:
        pass

    monkeypatch.setattr(OpenAIProvider, "close", keep)

    assert "HELD" in simulate(agent_turn, plan="cancel(turn)@120").codes
