"""
The one place that touches Trio's internals: it lets the kit say which task goes first.

Trio shuffles each batch of runnable tasks, unseeded, unless two private names of its scheduler are
set. `taken_over` sets them for the length of one run: what it is given is asked once for each batch,
and may also hold tasks back. A hash over the lines that this relies on stands guard: on a Trio that
schedules otherwise it refuses to promise anything.
"""

import functools
import hashlib
import importlib
import inspect
import os
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from random import Random
from typing import Any, Final, NoReturn, Protocol, TypeVar

import trio
import trio.testing

__all__ = ["SeamMismatch", "hold", "raise_in", "run_seeded", "taken_over"]

ResultT = TypeVar("ResultT")

_EXPECTED: Final = "1454cf8b54b0ad4bd447706b3af99672c7e089ffce9d96a7b57a1e8d96efc9dc"
_ESCAPE: Final = "GREENROOM_TRUST_TRIO"


class SeamMismatch(RuntimeError):
    """This version of Trio schedules in a way that the seam was not made for."""


def scheduler() -> Any:
    """Return the module of Trio whose private names are set here."""
    return importlib.import_module("trio._core._run")


@functools.cache
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


class Shuffler(Protocol):
    """What orders each batch of runnable tasks; `random.Random` is one."""

    def shuffle(self, x: Any, /) -> None:
        """Order the batch in place; it is run from its end. It comes in order of making."""
        ...


@contextmanager
def taken_over(shuffler: Shuffler) -> Generator[None]:
    """
    Let *shuffler* order every batch of tasks of the runs in this block.

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.
    """
    _check()
    trio_run = scheduler()
    was = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = shuffler, True
    try:
        yield
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = was


def hold(tasks: Iterable[trio.lowlevel.Task]) -> None:
    """Have *tasks*, taken out of a batch, come again with the next one."""
    scheduler().GLOBAL_RUN_CONTEXT.runner.runq.extend(tasks)


def raise_in(task: trio.lowlevel.Task, error: BaseException) -> bool:
    """
    Raise *error* out of what *task* waits for, as Trio raises a cancel; tell whether it could.

    It can where a cancel could: a task that waits in a shield of its own is hit as well, one whose
    wait can't be cut short is not.
    """
    if getattr(task, "_abort_func", None) is None:
        return False

    def raise_error() -> NoReturn:
        raise error

    getattr(task, "_attempt_abort")(raise_error)  # noqa: B009 - private, and only here
    return True


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
    with taken_over(Random(seed)):
        return trio.run(
            function, *args, clock=clock or trio.testing.MockClock(autojump_threshold=0)
        )
