"""Each program in examples/ with an .out file beside it prints what that says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted(ROOT.glob("examples/*.py"))
WITH_SOCKETS = ("open_understudy", "import socket")
WITH_TWIN = [program for program in PROGRAMS if program.with_suffix(".out").exists()]


@pytest.mark.parametrize("program", WITH_TWIN, ids=lambda program: program.stem)
def test_example_prints_its_twin(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An example prints what its .out file says, however long it would take in real time."""
    if any(sign in program.read_text() for sign in WITH_SOCKETS):  # they need the real clock
        done = subprocess.run(
            [sys.executable, program], capture_output=True, text=True, timeout=60, check=False
        )

        assert (done.stdout, done.stderr) == (program.with_suffix(".out").read_text(), "")
        return
    name = f"greenroom_example_{program.stem}"
    spec = importlib.util.spec_from_file_location(name, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)

    spec.loader.exec_module(module)
    trio.run(module.main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert capsys.readouterr().out == program.with_suffix(".out").read_text()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_example_is_short_and_says_what_it_leaves_out(program: Path) -> None:
    """An example is under 60 lines and opens with what it shows and what it leaves out."""
    text = program.read_text()

    assert len(text.splitlines()) < 60
    assert text.startswith('"""\nShows ')
    assert "Leaves out" in text.split('"""')[1].replace("\n", " ")


def test_there_are_examples() -> None:
    """The tests above walk a list that is not empty."""
    assert {"agent", "fastapi_guest", "greeter", "interrupt", "pipeline", "supervised"} <= {
        program.stem for program in WITH_TWIN
    }
