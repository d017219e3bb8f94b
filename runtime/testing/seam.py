"""
The one place that touches Trio's internals: it makes the order of tasks depend on a seed alone.

Trio shuffles each batch of runnable tasks, unseeded, unless two private names of its scheduler are
set. `run_seeded` sets them for the length of one run. A hash over the lines that this relies on
stands guard: on a Trio that schedules otherwise it refuses to promise anything.
"""

import hashlib
import importlib
import inspect
import os
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar

import trio
import trio.testing

__all__ = ["SeamMismatch", "run_seeded"]

ResultT = TypeVar("ResultT")

_EXPECTED: Final = "1454cf8b54b0ad4bd447706b3af99672c7e089ffce9d96a7b57a1e8d96efc9dc"
_ESCAPE: Final = "GREENROOM_TRUST_TRIO"


class SeamMismatch(RuntimeError):
    """This version of Trio schedules in a way that the seam was not made for."""


def scheduler() -> Any:
    """Return the module of Trio whose private names are set here."""
    return importlib.import_module("trio._core._run")


def _fingerprint() -> str:
    """Return a hash of the lines that choose the order of a batch, comments left out."""
    source = inspect.getsource(scheduler().unrolled_run)
    try:
        start = source.index("batch = list(runner.runq)")
        lines = source[start : source.index("while batch:", start)].splitlines()
    except ValueError:
        return "other lines altogether"
    code = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def _check() -> None:
    found = _fingerprint()
    if found != _EXPECTED and os.environ.get(_ESCAPE) != trio.__version__:
        raise SeamMismatch(
            f"trio {trio.__version__} chooses the order of its tasks by other lines than those "
            f"known here, so a seed would promise nothing; use another version of trio, or set "
            f"{_ESCAPE}={trio.__version__} to try all the same"
        )


def run_seeded(
    function: Callable[..., Awaitable[ResultT]],
    *args: Any,
    seed: int,
    clock: trio.abc.Clock | None = None,
) -> ResultT:
    """
    Run *function* as `trio.run` does, with the order of its tasks chosen by *seed* alone.

    Args:
        function: The async function, and then its arguments.
        seed: Any int; the same one gives the same order.
        clock: Virtual time that jumps whenever all tasks wait, unless another clock is given.

    What else can differ between two runs is the program's: sets of strings under another
    ``PYTHONHASHSEED``, `random` and `uuid`, threads, sockets, and when garbage is collected. For
    random numbers, actors have ``self.runtime.rng`` (``open_runtime(seed=...)``).

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.

    Source: Trio's own ``test_scheduler_determinism.py``.
    """
    _check()
    trio_run = scheduler()
    was = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = Random(seed), True
    try:
        return trio.run(
            function, *args, clock=clock or trio.testing.MockClock(autojump_threshold=0)
        )
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = was
