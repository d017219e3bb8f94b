"""`open_runtime`: the block that owns every actor, and the root of their tree."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.cell import Cell
from greenroom.runtime.events import Observer
from greenroom.runtime.groups import bare
from greenroom.runtime.incarnation import Children
from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy
from greenroom.runtime.ref import Ref
from greenroom.runtime.stage import Stage

__all__ = ["CLEANUP_GRACE", "DRAIN_GRACE", "Runtime", "open_runtime"]

CLEANUP_GRACE: Final = 5.0
DRAIN_GRACE: Final = 5.0


class Runtime:
    """Where actors are spawned; made by `open_runtime`."""

    def __init__(self, stage: Stage, start_soon: Callable[..., None]) -> None:
        self.name = stage.name
        self._names: dict[str, Cell] = {}
        self._children = Children(stage, self._names, self, start_soon, None)

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r}, {len(self._names)} actors>"

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref:
        """
        Start an actor, and return once its ``on_start`` is done: as ``nursery.start(fn, *args)``.

        Args:
            factory: An `Actor` class, or a function that returns an actor. It and *args* are what a
                restart will call again; for keyword arguments write ``functools.partial``.
            name: Unique among living actors; made from the class's name if not given.
            capacity: Of the mailbox, in frames, >= 0.
            full: What a full mailbox does: see `mailbox`.

        Raises:
            Exception: what ``on_start`` or the factory raised; the actor is then gone.
            ValueError: the name is taken, or an option is out of its range.

        Cancellation: the starting actor is cancelled, and gone.

        Checkpoint: always on return.
        """
        return await self._children.spawn(factory, *args, name=name, capacity=capacity, full=full)

    def find(self, name: str) -> Ref:
        """
        Return the ref of the living actor of this name.

        Raises:
            LookupError: there is none now.
        """
        try:
            return Ref(self._names[name])
        except KeyError:
            names = ", ".join(sorted(self._names)) or "none"
            raise LookupError(f"no living actor is named {name!r}; there are: {names}") from None

    def living(self) -> tuple[str, ...]:
        """Return the names of all living actors, in order of spawning."""
        return tuple(self._names)

    async def stop(self) -> None:
        """
        Stop every actor, the last spawned first, each with its drain; the block's end does so too.

        Checkpoint: only if an actor lives.
        """
        await self._children.stop_all()


@asynccontextmanager
async def open_runtime(
    *,
    name: str = "runtime",
    observers: Iterable[Observer] = (),
    cleanup_grace: float = CLEANUP_GRACE,
    drain_grace: float = DRAIN_GRACE,
) -> AsyncGenerator[Runtime]:
    """
    Open a runtime: ``async with open_runtime() as runtime``.

    When the block ends normally, actors stop in reverse order of spawning, each after handling what
    is queued. When it ends by an exception or a cancellation, they are cancelled at once (R22).
    Either way nothing of any actor is left after it (I4).

    Args:
        name: For messages.
        observers: Called with each `events.Event`.
        cleanup_grace: How long a caller waits for a handler that it cancelled (seconds, >= 0).
        drain_grace: How long a stopping actor may handle what is queued (seconds, >= 0).

    Raises:
        Exception: the body's own, unwrapped; or the crash of an actor, itself; or, if both or
            several came at once, one group of them. Echoes of a crash, such as the `ActorCrashed`
            that the body got for it, are left out (R14).

    Cancellation:
        Handlers are cancelled and their cleanup is waited for, without bound, as a nursery does;
        one that lasts longer than *cleanup_grace* is named in the log and to observers (R10).

    Checkpoint: entry, never; exit, always.
    """
    stage = Stage(name, observers=observers, cleanup_grace=cleanup_grace, drain_grace=drain_grace)
    with bare():
        async with trio.open_nursery() as around:
            around.start_soon(stage.alarms.run, name=f"{name} (alarms)")
            try:
                with bare():
                    async with trio.open_nursery() as nursery:
                        runtime = Runtime(stage, nursery.start_soon)
                        try:
                            yield runtime
                            await runtime.stop()
                        except BaseException:
                            stage.alarms.set(
                                trio.current_time() + cleanup_grace, stage.name_occupants
                            )
                            raise
            finally:
                stage.alarms.close()
    assert not runtime.living(), "a runtime ended with actors alive; this is a bug in Greenroom"
