"""
What a run may not leave behind, looked for from inside and from outside of Trio.

`Leaks` is a context manager around one run; afterwards `found` names what is left: async generators
that were not closed, coroutines that were never awaited, sockets and files that only the garbage
collector closed, file descriptors, threads. It turns the collector off meanwhile, so that what is
found does not depend on when it runs, and looks once at the end.
"""

import gc
import itertools
import os
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

__all__ = ["Leaks", "forget"]

_DESCRIPTORS: Final = Path("/proc/self/fd")

# Only what is young is collected after each run, so once in so many the rest is.
_RUNS: Final = 100
_runs: Final = itertools.count(1)


def _descriptors() -> frozenset[str]:
    """Return the open file descriptors of this process, each as its number and what it is."""
    if not _DESCRIPTORS.is_dir():
        return frozenset()
    found: set[str] = set()
    for entry in os.listdir(_DESCRIPTORS):
        try:
            found.add(f"{entry} -> {(_DESCRIPTORS / entry).readlink()}")
        except OSError:
            continue  # the listing's own
    return frozenset(found)


def forget() -> None:
    """
    Collect what a run with leaks left behind, without a word.

    It was said already, and is not to be found once more, by the run that comes next.
    """
    hook, sys.unraisablehook = sys.unraisablehook, _say_nothing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _say_nothing(_: Any) -> None:
    pass


class Leaks:
    """
    What one run left behind.

    Attributes:
        found: One line for each, once the block has ended; the kind first, as ``asyncgen: ...``.
    """

    def __init__(self) -> None:
        self.found: tuple[str, ...] = ()
        self._generators: WeakSet[AsyncGenerator[Any, Any]] = WeakSet()
        self._before: frozenset[str] = frozenset()
        self._threads: set[int | None] = set()
        self._collects = False
        self._warnings: Any = None
        self._caught: list[warnings.WarningMessage] = []
        self._unraisable: list[str] = []
        self._had_unraisable: Any = None

    def __enter__(self) -> Self:
        if next(_runs) % _RUNS == 0:
            forget()  # what only just outlived its run, and is looked at by none of the others
        self._collects = gc.isenabled()
        gc.disable()
        self._before = _descriptors()
        self._threads = {thread.ident for thread in threading.enumerate()}
        self._warnings = warnings.catch_warnings(record=True)
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        self._had_unraisable, sys.unraisablehook = sys.unraisablehook, self._note_unraisable
        return self

    def _note_unraisable(self, unraisable: Any) -> None:
        self._unraisable.append(f"unraisable: {unraisable.exc_value!r} in {unraisable.object!r}")

    def watch_generators(self) -> None:
        """Watch the async generators of the run that begins here; to be called inside of it."""
        first, finalizer = sys.get_asyncgen_hooks()

        def firstiter(generator: AsyncGenerator[Any, Any]) -> None:
            self._generators.add(generator)
            if first is not None:
                first(generator)

        sys.set_asyncgen_hooks(firstiter=firstiter, finalizer=finalizer)

    def open_generators(self) -> tuple[str, ...]:
        """Return those that have begun and are not closed; to be called while the run lasts."""
        alive: list[Any] = [g for g in self._generators if getattr(g, "ag_frame", None) is not None]
        return tuple(sorted(f"asyncgen: {g.__qualname__} was not closed" for g in alive))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            gc.collect(0)
        finally:
            self._warnings.__exit__(kind, error, traceback)
            sys.unraisablehook = self._had_unraisable
            if self._collects:
                gc.enable()
        self.found = tuple(self._all())

    def _all(self) -> Iterator[str]:
        for warning in self._caught:
            text = str(warning.message)
            if text.startswith("Async generator"):
                yield f"asyncgen: {text}"
            elif issubclass(warning.category, ResourceWarning):
                yield f"resource: {text}"
            elif "was never awaited" in text:
                yield f"unawaited: {text}"
        yield from self._unraisable
        for descriptor in sorted(_descriptors() - self._before):
            yield f"descriptor: {descriptor} is open"
        for thread in threading.enumerate():
            if thread.ident not in self._threads and not thread.name.startswith("Trio thread"):
                yield f"thread: {thread.name} goes on"
