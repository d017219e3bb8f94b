"""
Named places in production code at which a test may look in or step in; elsewhere they do nothing.

`fault_point` is where something outside of the program can fail: a write, a connection. `touch` says
that the step that runs reads or writes something that other tasks share, so that an exploration
need not try orders that can't differ. Both cost a look at a context variable while no test listens.
"""

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Final, Protocol

__all__ = ["InjectedError", "Listener", "fault_point", "listener", "touch"]


class InjectedError(Exception):
    """What a fault of the test kit raises, where no other error was named."""


class Listener(Protocol):
    """Who is told of the probes that a run passes."""

    def passes(self, name: str) -> bool:
        """Hear that the fault point *name* is passed; return whether it fails this time."""
        ...

    def touches(self, what: Hashable, write: bool) -> None:
        """Hear that the running step touches *what*."""
        ...


# Set in the context that the tasks of a run under the test kit inherit.
listener: Final[ContextVar[Listener | None]] = ContextVar("greenroom probes", default=None)


def fault_point(name: str, error: type[Exception] = InjectedError) -> None:
    """
    Mark a place where something outside can fail, as ``fault_point("store.write", OSError)``.

    Does nothing but under the test kit with a plan that names it: ``fail(store.write)@2`` has the
    third call with this name raise *error*.

    Args:
        name: Any text; several places may share one. Plans have a dash for spaces, brackets and
            semicolons.
        error: What a failure raises here; it is called with one text.

    Source: the "buggify" sections of FoundationDB.
    """
    heard = listener.get()
    if heard is not None and heard.passes(name):
        raise error(f"the fault point {name!r} fails, as the plan says")


def touch(what: Hashable, *, write: bool = True) -> None:
    """
    Say that the step that runs reads or writes *what*, which other tasks use too.

    Does nothing but under ``explore(..., footprints="reported")``, which takes steps that touch
    nothing in common for independent of each other.

    Args:
        what: A name for it, equal in every run: a text, or a tuple of texts and numbers.
        write: False for a step that only reads it.
    """
    heard = listener.get()
    if heard is not None:
        heard.touches(what, write)
