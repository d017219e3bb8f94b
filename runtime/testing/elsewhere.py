"""
The same scenario in another process, where texts have other hashes: is it the same run?

Within one process a set of texts always comes in the same order, so a scenario that depends on it
looks repeatable, until the plan that it printed is tried the next day.
"""

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.world import Scenario

__all__ = ["other_log"]

_PROGRAM: Final = "from greenroom.runtime.testing.elsewhere import answer; answer()"
_MARK: Final = "\n--log--\n"


def other_log(scenario: Scenario) -> str | None:
    """
    Return the log of *scenario*, as it comes, in a process with other hashes.

    None if no other process can find it: it is not a function at the top of a module that can be
    imported.
    """
    module, name = getattr(scenario, "__module__", ""), getattr(scenario, "__qualname__", "")
    if not name.isidentifier() or module in ("", "__main__"):
        return None
    hashes = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([sys.path, module, inspect.getsourcefile(scenario), name]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hashes},
        check=False,
    )
    _, mark, log = done.stdout.partition(_MARK)
    return log if mark else None


def answer() -> None:
    """Print the log of the scenario that standard input names; run in the other process."""
    sys.path[:], module, file, name = json.load(sys.stdin)
    found = getattr(_imported(module, file), name)
    report = simulate(getattr(found, "scenario", found))
    sys.stdout.write(_MARK + report.log)


def _imported(module: str, file: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = made
        spec.loader.exec_module(made)
        return made
