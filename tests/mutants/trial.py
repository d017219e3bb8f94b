"""
A trial of a mutant: tests run in a fork of this process, into which the mutant is imported.

Nothing is written: the fork finds the changed text in memory, in place of the file. A fork that
uses too much processor time, or none at all for long, hangs, and so the mutant is killed; how long
it takes by the clock on the wall does not matter, as the machine may be busy.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs
import hypothesis
import psutil  # type: ignore[import-untyped] # its stubs are apart, and pyright has them
import pytest

PRELOADED: Final = (
    *("pytest", "pytest_trio", "hypothesis.internal.conjecture.engine", "hypothesis.stateful"),
    *("trio.testing", "anyio", "openai", "httpx2", "pydantic", "cattrs", "msgspec", "stackscope"),
)
IDLE_AFTER: Final = 20.0  # seconds on the wall without any progress
MEMORY: Final = 4 * 2**30  # bytes of address space; some mutants append for ever


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, whose text is *source*."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        self.module = module
        self.path = path
        self.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.source, str(self.path), "exec"), vars(module))  # noqa: S102 - our own


@attrs.frozen
class Verdict:
    """How a trial went."""

    passed: bool
    seconds: float
    """Of processor time."""
    output: str
    """What pytest printed."""


def preload() -> None:
    """Import what the tests need from elsewhere, once for all forks; nothing of greenroom."""
    for name in PRELOADED:
        importlib.import_module(name)


def trial(
    root: Path, tests: Sequence[str], *, path: Path, source: str, limit: float = 600
) -> Verdict:
    """
    Run *tests*, until the first fails, with *source* in place of the module at *path*.

    Args:
        root: Of the project.
        limit: Seconds of processor time.
    """
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.setsid()
                for number in (1, 2):
                    os.dup2(output.fileno(), number)
                status = _run(root, tests, path, source, limit)
            except BaseException:
                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(Exception):
                        stream.flush()
                os._exit(status)
        passed, seconds = _wait(pid, limit)
        output.seek(0)
        return Verdict(passed, seconds, output.read())


def _run(root: Path, tests: Sequence[str], path: Path, source: str, limit: float) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parts = path.relative_to(root).with_suffix("").parts
    sys.meta_path.insert(0, _Finder(".".join(("greenroom", *parts)), path, source))
    os.environ.pop("GREENROOM_TORTURE", None)
    os.chdir(root)
    # what was imported before is nobody's test
    warning = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    options = ("-q", "-x", "-p", "no:cacheprovider", "--tb=short", "-W", warning)
    return int(pytest.main([*options, *tests], plugins=[_Plugin()]))


class _Plugin:
    """Has Hypothesis tell of the first example that fails, without a search for a smaller one."""

    def pytest_collection_finish(self) -> None:
        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        parent = hypothesis.settings.get_profile("default")
        hypothesis.settings.register_profile("mutants", parent, phases=phases)
        hypothesis.settings.load_profile("mutants")


def _wait(pid: int, limit: float) -> tuple[bool, float]:
    """Wait for the process to end, or end it; return whether it passed, and its seconds."""
    looked_at = progressed_at = time.monotonic()
    used = 0.0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status == 0, usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
        if time.monotonic() < looked_at + 1:
            continue
        looked_at = time.monotonic()
        if (now := _seconds(pid)) > used + 0.05:
            progressed_at, used = looked_at, now
        if used > limit or looked_at > progressed_at + IDLE_AFTER:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False, used


def _seconds(pid: int) -> float:
    """Return the processor time of a process and of its children."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total
