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
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol

import trio

__all__ = [
    "SeamMismatch",
    "cancel_is_due",
    "check",
    "has_returned",
    "hold",
    "is_open",
    "owed_to",
    "raise_in",
    "refuse_trio",
    "state_of",
    "taken_over",
]

_EXPECTED: Final = "1454cf8b54b0ad4bd447706b3af99672c7e089ffce9d96a7b57a1e8d96efc9dc"
_ESCAPE: Final = "GREENROOM_TRUST_TRIO"

# What trio.to_thread gives to a thread: what to run, and what to call with its outcome.
StartThread = Callable[[Callable[[], object], Callable[[Any], object], str | None], None]


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


def check() -> None:
    """Raise `SeamMismatch` if this version of Trio is not known here."""
    if _fingerprint() != _EXPECTED and os.environ.get(_ESCAPE) != trio.__version__:
        raise SeamMismatch(
            f"trio {trio.__version__} chooses the order of its tasks by other lines than those "
            f"known here, so a seed would promise nothing; use another version of trio, set "
            f"{_ESCAPE}={trio.__version__} to try all the same, or do without the order of tasks: "
            f'mode="public" cancels at every step, but repeats nothing'
        )


class Shuffler(Protocol):
    """What orders each batch of runnable tasks; `random.Random` is one."""

    def shuffle(self, x: Any, /) -> None:
        """Order the batch in place; it is run from its end. It comes in order of making."""
        ...


@contextmanager
def taken_over(shuffler: Shuffler, start_thread: StartThread | None = None) -> Generator[None]:
    """
    Let *shuffler* order every batch of tasks of the runs in this block.

    Args:
        shuffler: Asked once for each batch.
        start_thread: Called in place of starting a thread for `trio.to_thread.run_sync`.

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.
    """
    check()
    run: Any = scheduler()
    threads: Any = importlib.import_module("trio._threads")
    was = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, threads.start_thread_soon
    run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = shuffler, True
    threads.start_thread_soon = start_thread or was[2]
    try:
        yield
    finally:
        run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, threads.start_thread_soon = was


def hold(tasks: Iterable[trio.lowlevel.Task]) -> None:
    """Have *tasks*, taken out of a batch, come again with the next one."""
    scheduler().GLOBAL_RUN_CONTEXT.runner.runq.extend(tasks)


def cancel_is_due(task: trio.lowlevel.Task) -> bool:
    """Tell whether what *task* is given at its next step is a cancel."""
    error = getattr(getattr(task, "_next_send", None), "error", None)
    return isinstance(error, trio.Cancelled)


def owed_to(task: trio.lowlevel.Task) -> trio.CancelScope | None:
    """
    Return the scope that a cancel given to *task* now has to come out to; None if none is cancelled.

    That is the outermost of those that are cancelled, up to the next shield.
    """
    status: Any = getattr(task, "_cancel_status", None)
    if status is None or not status.effectively_cancelled:
        return None
    while status.parent_cancellation_is_visible_to_us and status.parent.effectively_cancelled:
        status = status.parent
    scope: trio.CancelScope = status._scope
    return scope


def is_open(scope: trio.CancelScope) -> bool:
    """Tell whether the block of *scope* has begun and not ended."""
    return getattr(scope, "_cancel_status", None) is not None


def has_returned() -> bool:
    """Tell whether the task that exits has returned; from within `task_exited` of an instrument."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_qualname != "Runner.task_exited":
        frame = frame.f_back
    return frame is not None and hasattr(frame.f_locals["outcome"], "value")


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


def refuse_trio() -> None:
    """Have Trio refuse, in this thread, what waits for Trio's own: as it does in that one."""
    scheduler().GLOBAL_RUN_CONTEXT.task = None


def state_of(thing: Any) -> object:
    """Return what *thing* shares with others: both ends of a channel, and their clones, are one."""
    return getattr(thing, "_state", thing)
