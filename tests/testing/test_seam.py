"""I11, R25: same seed, same event log, byte for byte, also in another process."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from greenroom.runtime import Ref, RequestError, Supervision, open_runtime
from greenroom.runtime.testing import EventLog, SeamMismatch, run_seeded, seam
from tests.runtime.cast import Count, Echo, Note, Nudge, Steered, outcome_of

ROOT = Path(__file__).parent.parent.parent


async def play(log: EventLog, seed: int) -> None:
    """Let several actors ask, stream, crash, be restarted, be interrupted and stop."""
    async with open_runtime(
        observers=[log], seed=seed, supervision=Supervision(restarts=9)
    ) as runtime:
        refs = [await runtime.spawn(Steered, restart="transient") for _ in range(4)]
        outcomes: list[object] = []

        async def stream(ref: Ref) -> None:
            with contextlib.suppress(RequestError):
                async with ref.stream(Count(5), buffer=1) as numbers:
                    async for _ in numbers:
                        await trio.sleep(runtime.rng.random())

        async with trio.open_nursery() as nursery:
            for n in range(12):
                ref = refs[n % 4]
                nursery.start_soon(ref.tell, Note(f"note {n}"))
                nursery.start_soon(outcome_of, ref, Echo(f"{n}", runtime.rng.random()), outcomes)
                nursery.start_soon(stream, refs[(n + 1) % 4])
            await trio.sleep(1)
            refs[1].interrupt()
            await refs[2].tell(Nudge("crash"))
            await trio.sleep(1)
            assert refs[2].statistics().restarts == 1


def record(seed: int) -> bytes:
    log = EventLog()
    run_seeded(play, log, seed, seed=seed)
    return bytes(log)


def test_the_same_seed_gives_the_same_log_in_every_process() -> None:
    """I11: over processes with different hash seeds."""
    logs = {record(7)}
    for hash_seed in ("0", "1", "2", "random"):
        program = "import sys; from tests.testing.test_seam import record; "
        program += "sys.stdout.buffer.write(record(7))"
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        logs.add(done.stdout)

    assert len(logs) == 1
    assert next(iter(logs)).count(b"\n") > 100


def test_another_seed_gives_another_order() -> None:
    """R25: the log does say in which order things happened."""
    assert len({record(seed) for seed in range(5)}) == 5


def test_the_scheduler_is_left_as_it_was() -> None:
    """Also when the run fails."""
    trio_run = seam.scheduler()
    was = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_seeded(fail, seed=1)

    assert (trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING) == was


def test_an_unknown_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the version, and the way to try all the same."""

    async def nothing() -> str:
        return "ran"

    monkeypatch.setattr(seam, "_EXPECTED", "another")
    with pytest.raises(SeamMismatch, match=rf"trio {trio.__version__} chooses the order"):
        run_seeded(nothing, seed=1)
    monkeypatch.setenv("GREENROOM_TRUST_TRIO", trio.__version__)

    assert run_seeded(nothing, seed=1) == "ran"
