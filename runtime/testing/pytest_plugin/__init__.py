"""
The pytest plugin: options for the tests that `cancel_everywhere` makes, and what they came to.

pytest loads it wherever greenroom is installed, so it must cost nothing: it is installed as
``greenroom.pytest_plugin``, beside ``greenroom.runtime`` and not inside of it, and imports neither
that nor Trio. It looks at the kit only where a test module has imported it.

What a test came to travels in its report, and so also from the workers of pytest-xdist.
"""

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pytest

__all__ = ["pytest_addoption", "pytest_configure"]

_KIT: Final = "greenroom.runtime.testing.everywhere"
_PLAN: Final = "GREENROOM_PLAN"
_MARK: Final = "greenroom"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; each begins with ``--greenroom-``."""
    group = parser.getgroup("greenroom", "tests made by greenroom's cancel_everywhere")
    group.addoption(
        "--greenroom-plan",
        metavar="PLAN",
        help=f"run each with this plan alone, as a failure printed it (or ${_PLAN})",
    )
    group.addoption(
        "--greenroom-orders",
        type=_count,
        metavar="N",
        help="try N other orders of tasks, whatever the tests say",
    )
    group.addoption(
        "--greenroom-pairs",
        type=_count,
        metavar="N",
        help="try N pairs of faults, whatever the tests say",
    )
    group.addoption(
        "--greenroom-cover",
        action="append",
        default=[],
        metavar="MODULE",
        help="print the awaits of MODULE that no cancel came out of in any of them (repeatable)",
    )
    group.addoption(
        "--greenroom-report",
        type=Path,
        metavar="FILE",
        help="write a line of JSON for each into FILE",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no number >= 0")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and count."""
    config.addinivalue_line("markers", f"{_MARK}: made by greenroom's cancel_everywhere")
    config.pluginmanager.register(_Counting(config), "greenroom-counting")


class _Counting:
    """One session's examined tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: list[dict[str, Any]] = []  # one for each test
        self._before = os.environ.get(_PLAN)
        if plan := config.getoption("greenroom_plan"):
            os.environ[_PLAN] = plan
        self._report: Path | None = config.getoption("greenroom_report")
        if self._report is not None and not hasattr(config, "workerinput"):
            self._report.write_text("")

    def pytest_unconfigure(self) -> None:
        os.environ.pop(_PLAN, None)
        if self._before is not None:
            os.environ[_PLAN] = self._before

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if _is_made_by_the_kit(item):
            item.add_marker(_MARK)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        if not _is_made_by_the_kit(item):
            return (yield)
        kit = sys.modules[_KIT]
        kit.overrides.orders = self._config.getoption("greenroom_orders")
        kit.overrides.pairs = self._config.getoption("greenroom_pairs")
        kit.overrides.cover = tuple(self._config.getoption("greenroom_cover") or ())
        kit.notes.clear()
        try:
            return (yield)
        finally:
            item.user_properties += [(_MARK, note) for note in kit.notes]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, AssertionError) and call.when == "call":
            notes = _notes(report)
            if notes and not self._config.getoption("fulltrace"):
                longrepr: Any = _Story(str(error), notes[-1])  # no frame of it is the user's
                report.longrepr = longrepr
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or hasattr(self._config, "workerinput"):
            return
        for note in _notes(report):
            found = {"test": report.nodeid, **note}
            self._found.append(found)
            if self._report is not None:
                with self._report.open("a") as file:
                    file.write(json.dumps(found) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._found:
            return
        tell = terminalreporter.write_line
        terminalreporter.section("greenroom")
        for found in self._found if terminalreporter.verbosity > 0 else ():
            tell(f"{found['test']}: {found.get('summary', 'not examined')}")
        runs, positions = (
            sum(f.get(what, 0) for f in self._found) for what in ("runs", "positions")
        )
        tell(f"{len(self._found)} scenarios, {positions} positions, {runs} runs")
        if self._config.getoption("greenroom_cover"):
            failed = sum(not found["ok"] for found in self._found)
            if failed == len(self._found):
                tell("no test passed, so nothing can be said of the awaits that were missed")
                return
            missed = self._missed()
            left_out = f" ({failed} tests that failed are left out)" if failed else ""
            tell(f"{len(missed)} awaits that no cancel came out of{left_out}" + ":" * bool(missed))
            for line in missed:
                tell(f"  {line}")

    def _missed(self) -> list[str]:
        """Return the awaits that each of the tests has missed; those that failed don't count."""
        each = [
            found["missed_awaits"]
            for found in self._found
            if "missed_awaits" in found and found["ok"]
        ]
        return [line for line in each[0] if all(line in other for other in each)] if each else []


class _Story:
    """What is shown of a failure: what the kit says, and none of its frames."""

    def __init__(self, text: str, note: dict[str, Any]) -> None:
        self._text = text
        self.reprcrash = _Crash("; ".join([*note["problems"], *filter(None, [note.get("plan")])]))

    def __str__(self) -> str:
        return self._text

    def toterminal(self, writer: Any) -> None:
        writer.line(self._text)


class _Crash:
    """What the short summary shows."""

    def __init__(self, message: str) -> None:
        self.message = message


def _is_made_by_the_kit(item: pytest.Item) -> bool:
    kit: Any = sys.modules.get(_KIT)
    function = getattr(item, "obj", None)
    return kit is not None and isinstance(function, FunctionType) and function in kit.made


def _notes(report: pytest.TestReport) -> list[dict[str, Any]]:
    return [
        note for name, note in report.user_properties if name == _MARK and isinstance(note, dict)
    ]
