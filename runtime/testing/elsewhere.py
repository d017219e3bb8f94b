"""
The same scenario in another process, where texts have other hashes: is it the same run?

Within one process a set of texts always comes in the same order, so a scenario that depends on it
looks repeatable, until the plan that it printed is tried the next day.
"""

import functools
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.world import Scenario

__all__ = ["other_logs"]

_PROGRAM: Final = "from greenroom.runtime.testing.elsewhere import answer; answer()"
_HASHES: Final = ("1", "2", "3")
_MARK: Final = "\n--log--\n"
_CHILD: Final = "GREENROOM_ELSEWHERE"  # set in the other process, which asks no further one


def other_logs(scenario: Scenario) -> tuple[str, ...]:
    """
    Return the logs of *scenario*, as it comes, in processes with other hashes.

    There are some, as a small set may come in the same order by chance. None at all if no other
    process can find it: it is not a function at the top of a module that can be imported, nor a
    `functools.partial` of one, with arguments that can be pickled. None in such a process either:
    a module that examines when it is imported would start processes without end.
    """
    if _CHILD in os.environ:
        return ()
    function, given = _parts(scenario)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not name.isidentifier() or module in ("", "__main__") or given is None:
        return ()
    what = json.dumps([sys.path, module, inspect.getsourcefile(function), name, given])
    own = os.environ.get("PYTHONHASHSEED")
    processes = [_begin(hashes) for hashes in _HASHES if hashes != own]
    answers = [process.communicate(what)[0].partition(_MARK) for process in processes]
    return tuple(log for _, mark, log in answers if mark)


def _begin(hashes: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hashes, _CHILD: "1"},
    )


def _parts(scenario: Scenario) -> tuple[Any, str | None]:
    """Return the function that *scenario* calls, and what it is given, pickled; None if it can't be."""
    if not isinstance(scenario, functools.partial):
        return scenario, ""
    try:
        given = pickle.dumps((scenario.args, scenario.keywords))
    except Exception:  # whatever the arguments raise
        return scenario.func, None
    return scenario.func, given.hex()


def answer() -> None:
    """Print the log of the scenario that standard input names; run in the other process."""
    sys.path[:], module, file, name, given = json.load(sys.stdin)
    found = getattr(_imported(module, file), name)
    scenario = getattr(found, "scenario", found)
    if given:
        args, keywords = pickle.loads(bytes.fromhex(given))
        scenario = functools.partial(scenario, *args, **keywords)
    report = simulate(scenario)
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
