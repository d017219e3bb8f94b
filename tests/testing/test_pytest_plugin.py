"""pytest's options for examined tests, what it prints of them, and that it costs others nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SHOP = """
import trio
from greenroom.runtime import Actor, Request, frame, handles
from greenroom.runtime.testing import cancel_everywhere


@frame
class Book(Request[int]):
    pass


class Office(Actor):
    def __init__(self, seats):
        self.seats = seats

    @handles
    async def book(self, request: Book) -> int:
        self.seats.append(1)
        await trio.sleep(1)
        return self.seats.pop()


class Careful(Office):
    @handles
    async def book(self, request: Book) -> int:
        self.seats.append(1)
        try:
            await trio.sleep(1)
            return 1
        finally:
            self.seats.pop()


def booking(kind):
    async def test_booking(w):
        seats = []
        w.own("the seat", lambda: not seats)
        office = await w.runtime.spawn(kind, seats, name="office")
        with w.scope("customer's"):
            await office.ask(Book())

    return test_booking
"""
TESTS = """
from greenroom.runtime.testing import cancel_everywhere
from shop import Careful, Office, booking

test_careful = cancel_everywhere(orders=3, pairs=3)(booking(Careful))
test_careless = cancel_everywhere(targets=["customer's"], faults=["cancel"])(booking(Office))


def test_other():
    pass
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with two examined tests, of which one fails, and another test."""
    monkeypatch.delenv("GREENROOM_PLAN", raising=False)
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    pytester.makeini("[pytest]\nfilterwarnings = error\npythonpath = .")
    return pytester


def test_a_failure_is_a_story_and_a_command(shop: pytest.Pytester) -> None:
    """No frame of the kit is shown; the command, given to a shell, shows the same again."""
    result = shop.runpytest_subprocess("-k", "careless")
    printed = result.stdout.str()
    (command,) = re.findall(r"^to see it again: (GREENROOM_PLAN=.*)$", printed, re.MULTILINE)

    result.assert_outcomes(failed=1)
    assert "HELD the seat is not free at the end" in printed
    assert "<- Book 1" in printed
    assert "!! cancel(customer's)@" in printed
    assert "everywhere.py" not in printed
    assert "Traceback" not in printed
    result.stdout.re_match_lines([r"FAILED test_shop\.py::test_careless - HELD the seat "])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    again = subprocess.run(
        ["sh", "-c", command],
        cwd=shop.path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "HELD the seat is not free at the end" in again.stdout
    assert "1 scenarios, " in again.stdout
    assert ", 1 runs" in again.stdout


def test_the_frames_are_there_with_full_trace(shop: pytest.Pytester) -> None:
    """For whoever looks for a mistake of the kit."""
    result = shop.runpytest_subprocess("-k", "careless", "--full-trace")

    assert "everywhere.py" in result.stdout.str()


def test_a_mark_selects_what_is_examined(shop: pytest.Pytester) -> None:
    """``-m greenroom``, also with strict markers; and the summary says how much was done."""
    result = shop.runpytest_subprocess("-v", "--strict-markers", "-m", "greenroom")

    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.re_match_lines(
        [
            r"=+ greenroom =+",
            r"test_shop\.py::test_careful: swept \d+ faults at \d+ positions, explored 3 orders, .*",
            r"test_shop\.py::test_careless: swept .*",
            r"2 scenarios, \d+ positions, \d+ runs",
        ]
    )
    printed = result.stdout.str()
    summaries = re.findall(
        r"^test_shop\.py::\w+: swept (\d+) faults at (\d+) ", printed, re.MULTILINE
    )
    each = [(int(faults), int(positions)) for faults, positions in summaries]
    ((positions, runs),) = re.findall(r"2 scenarios, (\d+) positions, (\d+) runs", printed)
    assert len(each) == 2
    assert min(min(numbers) for numbers in each) > 0
    assert int(positions) == sum(number for _, number in each)
    assert int(runs) > sum(number for number, _ in each)  # those without a fault are runs too


def test_options_say_how_much_is_tried_and_where_it_is_written(shop: pytest.Pytester) -> None:
    """A line of JSON for each examined test."""
    result = shop.runpytest_subprocess(
        "--greenroom-orders=5",
        "--greenroom-pairs=0",
        "--greenroom-report=report.jsonl",
        "--greenroom-cover=shop",
    )
    careful, careless = map(json.loads, (shop.path / "report.jsonl").read_text().splitlines())

    result.assert_outcomes(passed=2, failed=1)
    assert (careful["test"], careful["ok"]) == ("test_shop.py::test_careful", True)
    assert (careful["orders"], careful["pairs"], careful["plan"]) == (5, 0, None)
    assert careful["runs"] > careful["positions"] > 10
    assert (careless["test"], careless["ok"]) == ("test_shop.py::test_careless", False)
    assert careless["problems"] == ["HELD the seat is not free at the end"]
    assert re.fullmatch(r"cancel\(customer's\)@\d+", careless["plan"])
    (missed,) = re.findall(r"^  \S*shop\.py:(\d+)$", result.stdout.str(), re.MULTILINE)
    line = (shop.path / "shop.py").read_text().splitlines()[int(missed) - 1]
    assert line.strip() == "await trio.sleep(1)"  # the careless office's, whose test fails


def test_a_plan_is_replayed(shop: pytest.Pytester) -> None:
    """As with the variable in the environment; one with blanks and brackets, too."""
    plan = "cancel(root)@0 cancel(customer's)@300; preempt 3:1"
    result = shop.runpytest_subprocess("-v", "--greenroom-plan", plan)

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f'test_shop.py::test_careless: tried the plan "{plan}"'])
    result.stdout.re_match_lines([r"2 scenarios, \d\d+ positions, 2 runs"])

    swept = shop.runpytest_subprocess("-k", "careless", "--greenroom-report=report.jsonl")
    swept.assert_outcomes(failed=1)
    while_paid = json.loads((shop.path / "report.jsonl").read_text())["plan"]
    result = shop.runpytest_subprocess("--greenroom-plan", while_paid)

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*HELD the seat is not free at the end*"])
    result.stdout.re_match_lines([r"2 scenarios, \d\d+ positions, 2 runs"])


def test_a_wrong_number_is_a_usage_error(shop: pytest.Pytester) -> None:
    """Before anything is run."""
    result = shop.runpytest_subprocess("--greenroom-orders=-1")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--greenroom-orders*"])


def test_it_can_be_left_out(shop: pytest.Pytester) -> None:
    """``-p no:greenroom`` leaves the tests as they are, failures with the kit's frames hidden."""
    result = shop.runpytest_subprocess("-p", "no:greenroom")

    result.assert_outcomes(passed=2, failed=1)
    assert "= greenroom =" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*HELD the seat is not free at the end*"])


def test_other_projects_see_nothing_of_it(pytester: pytest.Pytester) -> None:
    """Where no test imports the kit, it is neither imported nor spoken of."""
    pytester.makepyfile(
        """
        import sys

        def test_other():
            assert "greenroom.pytest_plugin" in sys.modules
            assert not [name for name in sys.modules if name.startswith("greenroom.runtime")]
        """
    )
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1)
    assert "scenarios" not in result.stdout.str()


def test_its_modules_are_seen_by_coverage(shop: pytest.Pytester) -> None:
    """``coverage run -m pytest`` sees the runtime and the plugin, which is loaded after it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "coverage", "run", f"--data-file={shop.path / 'data'}"),
            *("-m", "pytest", "-q", "-k", "careful"),
        ],
        cwd=shop.path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = subprocess.run(
        [sys.executable, "-m", "coverage", "report", f"--data-file={shop.path / 'data'}"],
        cwd=shop.path,
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert done.returncode == 0, done.stdout
    for name in ("/pytest_plugin/__init__.py", "/testing/everywhere.py", "/runtime/loop.py"):
        (line,) = [line for line in told.splitlines() if f"{name} " in line]
        assert int(line.split()[-1].rstrip("%")) > 40, line
