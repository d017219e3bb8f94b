"""
Mutants of the runtime, each a mistake that somebody might make: the tests catch every one.

Each runs in a process of its own (see `mutant`), with the random trees of `test_machine` or, where a
finer step is to be seen, of `test_fine_machine`, or with the test that is to catch it; these pass on
the runtime as it is.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 120  # after which a mutant that hangs counts as caught

MACHINE: Final = ("machine",)
FINE_MACHINE: Final = ("fine machine",)


@attrs.frozen
class Mutant:
    """Some source text, and what stands in its place."""

    mistake: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...] = MACHINE


def named(file: str, name: str) -> tuple[str, ...]:
    return (f"tests/runtime/{file}::test_{name}",)


MUTANTS: Final = (
    Mutant(
        "the last to cancel a handler says why, not the first (R13)",
        "envelope.py",
        "if self.ending is None:\n            self.ending = ending",
        "if ending is not None:\n            self.ending = ending",
        FINE_MACHINE,
    ),
    Mutant(
        "after a cancel the slot goes on in the cancelled scope (R9)",
        "loop.py",
        "        while not slot.is_cancelled:\n            if (taken",
        "        while True:\n            if (taken",
        named("test_ask.py", "a_cancel_that_comes_too_late_does_not_hit_the_next_frame"),
    ),
    Mutant(
        "a reply that is made after the asker's cancel is thrown away (R7, I9)",
        "envelope.py",
        "if self.error is not None or self.state is not _SETTLED:",
        "if True:",
        named("test_ask.py", "a_reply_made_although_cancelled_is_returned"),
    ),
    Mutant(
        "an interrupt leaves alone what is queued (R2)",
        "loop.py",
        "if cell.skips(envelope):",
        "if is_tombstone(envelope):",
    ),
    Mutant(
        "a frame that was taken and not started is lost in a restart (R19)",
        "loop.py",
        "self._cell.put_back(envelope)",
        "self._cell.tally.cancelled += 1",
        named("test_supervision.py", "a_frame_that_was_taken_but_not_started_stays_queued"),
    ),
    Mutant(
        "a tombstone is handled (R2, R7)",
        "loop.py",
        "elif content.state is RequestState.SETTLED:",
        "elif content.state is RequestState.CLOSING:",
    ),
    Mutant(
        "on_interrupt waits for a frame after an interrupted handler (R20)",
        "loop.py",
        "if cell.interrupt_pending:\n                        await self._hold(slot)",
        "",
        named("test_interrupt.py", "an_interrupt_of_on_interrupt_runs_it_again"),
    ),
    Mutant(
        "a refusal is a crash (R13)",
        "outcomes.py",
        "elif isinstance(error, Refused):",
        "elif isinstance(error, Interrupted):",
    ),
    Mutant(
        "what is left in the mailbox of a stopped actor is not settled (R20, I3)",
        "cell.py",
        "request.settle(error=self.stopped_error(request.frame))",
        "pass",
        FINE_MACHINE,
    ),
    Mutant(
        "draining has no bound (R20)",
        "cell.py",
        'lambda: self.end_all("stopped")',
        "lambda: None",
    ),
    Mutant(
        "a cancelled asker waits for the cleanup without bound (R10)",
        "envelope.py",
        "shared.alarms.set(by, self._overrun)",
        "shared.alarms.set(math.inf, self._overrun)",
        FINE_MACHINE,
    ),
    Mutant(
        "a terminated child is not supervised any more (R19)",
        "supervisor.py",
        'child.kind = "temporary"',
        "child.kind = None",
        named("test_supervision.py", "a_crash_of_a_terminated_child_is_not_its_parents"),
    ),
    Mutant(
        "what the crash of another slot took is told that the actor stopped (R13, R17)",
        "outcomes.py",
        'self._cell.end_all("crashed", restarted)',
        'self._cell.end_all("crashed")',
        named("test_concurrency.py", "a_crash_in_one_slot_takes_the_others"),
    ),
    Mutant(
        "a frame that crashed its handler is not delivered again (R19)",
        "outcomes.py",
        "self.poison = (*self.poison, (envelope, error))",
        "self.give_up_on(envelope, error)",
        named("test_supervision.py", "a_frame_is_delivered_again_before_all_others"),
    ),
    Mutant(
        "closing frames are lost (R11)",
        "stream.py",
        "self._exchange.closing.extend(frames)",
        "pass",
        named("test_stream.py", "closing_frames_come_last_and_before_the_handler_ends"),
    ),
    Mutant(
        "a slow handler is not named (R23)",
        "loop.py",
        "shared.alarms.set(began + shared.slow_after, name_slow)",
        "None",
        named("test_accounts.py", "a_handler_that_runs_too_long_is_named"),
    ),
)


def is_caught(mutant: Mutant) -> bool:
    """Run what is to catch *mutant*, and tell whether it failed."""
    command = [sys.executable, "-m", "tests.runtime.mutant", mutant.file, mutant.old, mutant.new]
    environment = {k: v for k, v in os.environ.items() if k != "GREENROOM_TORTURE"}
    try:
        result = subprocess.run(
            [*command, *mutant.caught_by],
            check=False,
            cwd=ROOT,
            env=environment,
            timeout=SECONDS,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return True
    output = result.stdout + result.stderr
    print(f"{mutant.mistake}: {output[-600:]}")
    assert "times in" not in output, output  # the old text is not in the source, or twice
    return result.returncode != 0


def test_every_mutant_is_caught_and_the_runtime_itself_is_not() -> None:
    """The tests would see these mistakes, by the rules that each of them breaks."""
    machines = (MACHINE, FINE_MACHINE)
    named = dict.fromkeys(
        name for m in MUTANTS if m.caught_by not in machines for name in m.caught_by
    )
    sound = [Mutant("none", "loop.py", "", "", by) for by in (*machines, tuple(named))]
    with ThreadPoolExecutor(2) as pool:
        caught = dict(zip((*sound, *MUTANTS), pool.map(is_caught, (*sound, *MUTANTS)), strict=True))

    assert [m.caught_by for m in sound if caught[m]] == []
    assert [m.mistake for m in MUTANTS if not caught[m]] == []
