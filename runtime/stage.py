"""What all actors of one runtime share: alarms, observers, bounds, and who runs in which task."""

import contextvars
import logging
import threading
from collections.abc import Iterable
from typing import Protocol

import trio

from greenroom.runtime.alarms import Alarms
from greenroom.runtime.events import CleanupOverran, Observer, Observers

__all__ = ["Occupant", "Stage"]

_log = logging.getLogger("greenroom.runtime")


class Occupant(Protocol):
    """What runs in a task of the runtime: a slot of the actor of this name."""

    @property
    def actor(self) -> str: ...


class Stage:
    """
    The ground that the actors of one runtime stand on; made by `open_runtime` inside ``trio.run``.

    Attributes:
        name: The runtime's name, for messages.
        alarms: Deadlines of cleanups and drains.
        observers: Who is told of events.
        slots: Which slot runs in which task; kept by the loop.
        incarnations: The first task of each actor, as long as it lives; kept by the loop.
        cleanup_grace: Seconds that a caller waits for a cancelled handler.
        drain_grace: Seconds that a stopping actor has for what is queued.
        context: The context variables that actor tasks start with.
    """

    __slots__ = (
        "_thread",
        "_token",
        "alarms",
        "cleanup_grace",
        "context",
        "drain_grace",
        "incarnations",
        "name",
        "observers",
        "slots",
    )

    def __init__(
        self,
        name: str,
        *,
        observers: Iterable[Observer],
        cleanup_grace: float,
        drain_grace: float,
    ) -> None:
        for field, value in (("cleanup_grace", cleanup_grace), ("drain_grace", drain_grace)):
            if not value >= 0:
                raise ValueError(f"{field} must be seconds >= 0 or math.inf, not {value!r}")
        self.name = name
        self.alarms = Alarms()
        self.observers = Observers(observers)
        self.slots: dict[trio.lowlevel.Task, Occupant] = {}
        self.incarnations: set[trio.lowlevel.Task] = set()
        self.cleanup_grace = cleanup_grace
        self.drain_grace = drain_grace
        self.context = contextvars.copy_context()
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def check_thread(self) -> None:
        """Raise a RuntimeError unless this is the runtime's own thread (R30); cheap."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"a ref of runtime {self.name!r} was used in another thread; there, write "
                f"trio.from_thread.run(ref.ask, frame, trio_token=token)"
            )

    def check_run(self) -> None:
        """Raise a RuntimeError unless this is the runtime's own ``trio.run`` (R30)."""
        if trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError(
                f"a ref of runtime {self.name!r} was used in another trio.run(), where its actors "
                f"can't run; open a runtime in this one and spawn them there"
            )

    def sender(self) -> str | None:
        """Return the name of the actor whose handler is running this code, or None."""
        slot = self.slots.get(trio.lowlevel.current_task())
        return slot.actor if slot else None

    def occupant(self, task: trio.lowlevel.Task) -> Occupant | None:
        """Return who runs in *task*, or in the task that waits for it at a nursery's end."""
        while (slot := self.slots.get(task)) is None:
            if task.parent_nursery is None:
                return None
            task = task.parent_nursery.parent_task
        return slot

    def name_occupants(self) -> None:
        """Report every slot that is still there: the runtime was cancelled a grace ago (R10)."""
        for task, slot in list(self.slots.items()):
            self.report_overrun(slot.actor, None, slot.actor, task)

    def report_overrun(
        self, culprit: str, number: int | None, waited_by: str, task: trio.lowlevel.Task
    ) -> None:
        """Name an actor that outlived its cleanup bound, to the log and to observers (R10)."""
        stack = tuple(
            f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
            for frame, line in task.iter_await_frames()
        )
        _log.warning(
            "%r was still cleaning up %g s after it was cancelled; it waits at %s",
            culprit,
            self.cleanup_grace,
            stack[-1] if stack else "an unknown place",
        )
        if self.observers:
            self.observers.notify(
                CleanupOverran(trio.current_time(), culprit, number, waited_by, stack)
            )
