"""What all actors of one runtime share: alarms, observers, bounds, and who runs in which task."""

import contextvars
import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from greenroom.runtime.accounts import Tally
from greenroom.runtime.alarms import Alarms
from greenroom.runtime.events import CleanupOverran, DeadLetter, HandlerSlow, Observer, Observers
from greenroom.runtime.frames import Frame
from greenroom.runtime.stacks import place_of, stack_of

__all__ = ["Occupant", "Shared", "slots_of_run"]

_log = logging.getLogger("greenroom.runtime")


class Occupant(Protocol):
    """What runs in a task of the runtime: a slot of the actor of this name."""

    @property
    def actor(self) -> str: ...

    @property
    def shared(self) -> "Shared": ...


# Which slot runs in which task, for all runtimes of one `trio.run`: waits cross between them (R24).
_slots_of_run: trio.lowlevel.RunVar[dict[trio.lowlevel.Task, Occupant]] = trio.lowlevel.RunVar(
    "greenroom.runtime slots"
)


def slots_of_run() -> dict[trio.lowlevel.Task, Occupant]:
    """Return who runs in which task, over all runtimes of this ``trio.run``."""
    try:
        return _slots_of_run.get()
    except LookupError:
        _slots_of_run.set({})
        return _slots_of_run.get()


class Shared:
    """
    What the actors of one runtime share; made by `open_runtime` inside ``trio.run``.

    Attributes:
        name: The runtime's name, for messages.
        alarms: Deadlines of cleanups and drains.
        observers: Who is told of events.
        undelivered: Who is told of dead letters, beside the observers; set by `system`.
        slots: Which slot runs in which task; kept by the loop.
        incarnations: The first task of each actor, as long as it lives; kept by `incarnation`.
        cleanup_grace: Seconds that a caller waits for a cancelled handler.
        drain_grace: Seconds that a stopping actor has for what is queued.
        slow_after: Seconds after which a handler is named as slow; ``inf`` for never.
        measure: Handlers are timed.
        rng: Where all chance of the runtime comes from.
        context: The context variables that actor tasks start with.
        thread: The ident of the thread that all this runs in.
        tally: How frames to actors that are over ended.
        numbered: How many frames these actors numbered.
    """

    __slots__ = (
        "_token",
        "alarms",
        "cleanup_grace",
        "context",
        "drain_grace",
        "incarnations",
        "measure",
        "name",
        "numbered",
        "observers",
        "rng",
        "slots",
        "slow_after",
        "tally",
        "thread",
        "undelivered",
    )

    def __init__(
        self,
        name: str,
        *,
        observers: Iterable[Observer],
        cleanup_grace: float,
        drain_grace: float,
        slow_after: float,
        measure: bool,
        seed: int | None,
    ) -> None:
        seconds = {
            "cleanup_grace": cleanup_grace,
            "drain_grace": drain_grace,
            "slow_after": slow_after,
        }
        for field, value in seconds.items():
            if not value >= 0:
                raise ValueError(f"{field} must be seconds >= 0 or math.inf, not {value!r}")
        self.name = name
        self.alarms = Alarms()
        self.observers = Observers(observers)
        self.undelivered: Callable[[DeadLetter], None] | None = None
        self.slots = slots_of_run()
        self.incarnations: set[trio.lowlevel.Task] = set()
        self.cleanup_grace = cleanup_grace
        self.drain_grace = drain_grace
        self.slow_after = slow_after
        self.measure = measure
        self.rng = random.Random(seed)
        self.context = contextvars.copy_context()
        self.thread = threading.get_ident()
        self.tally = Tally()
        self.numbered = 0
        self._token = trio.lowlevel.current_trio_token()

    def check_thread(self) -> None:
        """Raise a RuntimeError unless this is the runtime's own thread (R30); cheap."""
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                f"a ref of runtime {self.name!r} was used in another thread; there, write "
                f"trio.from_thread.run(ref.ask, frame, trio_token=token)"
            )

    def check_run(self) -> None:
        """Raise a RuntimeError unless a task of the runtime's own ``trio.run`` calls (R30)."""
        if not trio.lowlevel.in_trio_task():
            raise self.outside_error()
        self.check_no_other_run()

    def check_caller(self) -> None:
        """Raise a RuntimeError unless a task of the runtime's own run and thread calls (R30)."""
        self.check_thread()
        self.check_run()

    def check_no_other_run(self) -> None:
        """Raise a RuntimeError inside another ``trio.run`` than the runtime's (R30)."""
        if not trio.lowlevel.in_trio_run():
            return
        if trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError(
                f"a ref of runtime {self.name!r} was used in another trio.run(), where its actors "
                f"can't run; open a runtime in this one and spawn them there"
            )

    def outside_error(self) -> RuntimeError:
        """Return the error for a wait that is no Trio task's: an asyncio host's, for example (R30)."""
        self.check_thread()
        return RuntimeError(
            f"a ref of runtime {self.name!r} was used outside of Trio's tasks, where nothing of it "
            f"can be waited for; in asyncio code, write 'await guest.run(ref.ask, frame)' or "
            f"'async with guest.stream(ref.stream(frame))' (greenroom.runtime.guest)"
        )

    def sender(self) -> str | None:
        """Return the name of the actor whose handler is running this code, or None."""
        slot = (
            self.slots.get(trio.lowlevel.current_task()) if trio.lowlevel.in_trio_task() else None
        )
        return slot.actor if slot else None

    def calling(self) -> Occupant | None:
        """Return who runs in the calling task; None also outside of tasks, as in an asyncio host."""
        if not trio.lowlevel.in_trio_task():
            return None
        return self.occupant(trio.lowlevel.current_task())

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
            if slot.shared is self:
                self.report_overrun(slot.actor, None, slot.actor, task)

    def report_overrun(
        self, culprit: str, number: int | None, waited_by: str, task: trio.lowlevel.Task
    ) -> None:
        """Name an actor that outlived its cleanup bound, to the log and to observers (R10)."""
        _log.warning(
            "%r was still cleaning up %g s after it was cancelled; it waits at %s",
            culprit,
            self.cleanup_grace,
            place_of(task),
        )
        if self.observers:
            self.observers.notify(
                CleanupOverran(trio.current_time(), culprit, number, waited_by, stack_of(task))
            )

    def report_slow(
        self, actor: str, number: int, frame: Frame, seconds: float, task: trio.lowlevel.Task
    ) -> None:
        """Name a handler that has run for longer than it may."""
        _log.warning(
            "%r has been handling %s for %g s; it waits at %s",
            actor,
            type(frame).__name__,
            seconds,
            place_of(task),
        )
        if self.observers:
            self.observers.notify(
                HandlerSlow(trio.current_time(), actor, number, frame, seconds, stack_of(task))
            )

    def dead_letter(self, actor: str, number: int, frame: Frame, reason: str) -> None:
        """Tell observers, and the topic of dead letters, of one."""
        if self.observers or self.undelivered is not None:
            letter = DeadLetter(trio.current_time(), actor, number, frame, reason)
            self.observers.notify(letter)
            # a letter about a letter would be followed by another, for ever
            if self.undelivered is not None and not isinstance(frame, DeadLetter):
                self.undelivered(letter)
