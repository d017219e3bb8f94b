"""`open_runtime`: the block that owns every actor, and the root of their tree."""

import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack
from weakref import WeakValueDictionary

import trio

from greenroom.runtime.accounts import Accounts, ActorStatistics, Tally
from greenroom.runtime.actor import Actor
from greenroom.runtime.cell import Cell
from greenroom.runtime.events import DeadLetter, Observer
from greenroom.runtime.groups import bare
from greenroom.runtime.helpers import wait_cancelled
from greenroom.runtime.inspection import ActorNode, report, tree
from greenroom.runtime.names import Names
from greenroom.runtime.options import SpawnOptions
from greenroom.runtime.ref import Ref
from greenroom.runtime.restart import Supervision
from greenroom.runtime.shared import Shared
from greenroom.runtime.supervisor import Children
from greenroom.runtime.topic import Topic

__all__ = ["CLEANUP_GRACE", "DRAIN_GRACE", "Runtime", "open_runtime"]

CLEANUP_GRACE: Final = 5.0
DRAIN_GRACE: Final = 5.0


class Runtime:
    """Where actors are spawned; made by `open_runtime`."""

    def __init__(
        self, shared: Shared, start_soon: Callable[..., None], supervision: Supervision
    ) -> None:
        self.name = shared.name
        self._shared = shared
        self._names = Names()
        # those that somebody holds or has subscribed to: without either, a new one is the same
        self._topics: WeakValueDictionary[str, Topic[Any]] = WeakValueDictionary()
        self._dead_letters: Topic[DeadLetter] | None = None  # made when first asked for
        self._children = Children(shared, self._names, self, start_soon, None, supervision)

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r}, {len(self._names)} actors>"

    @property
    def rng(self) -> random.Random:
        """The runtime's random numbers; seeded by ``open_runtime(seed=...)`` (R25)."""
        return self._shared.rng

    async def spawn(
        self,
        factory: Callable[..., Actor],
        *args: Any,
        **options: Unpack[SpawnOptions],
    ) -> Ref:
        """
        Start an actor, and return once its ``on_start`` is done: as ``nursery.start(fn, *args)``.

        Args:
            factory: An `Actor` class, or a function that returns an actor. It and *args* are what a
                restart calls again; for keyword arguments write ``functools.partial``.
            name: Unique among living actors; made from the class's name if not given.
            capacity: Of the mailbox, in frames, >= 0.
            full: What a full mailbox does: see `mailbox`.
            restart: ``"permanent"``, ``"transient"`` or ``"temporary"``: what the parent's
                supervision does when the actor ends (see `restart`). None: the actor is not
                supervised, and its crash is a crash of its parent.
            redeliver: How often a frame whose handler crashed is delivered again, before any other,
                to the incarnation that follows; then it is quarantined. A request that has
                streamed something is not.

        Raises:
            Exception: what ``on_start`` or the factory raised; the actor is then gone.
            ValueError: the name is taken, or an option is out of its range.

        Cancellation: the starting actor is cancelled, and gone.

        Checkpoint: always on return.
        """
        return await self._children.spawn(factory, *args, **options)

    async def terminate(self, ref: Ref) -> None:
        """
        Stop a child of the runtime for good, also a permanent one, and wait until it is over.

        Raises:
            ValueError: *ref* was not spawned by this runtime, but by an actor.

        Cancellation: the child stops all the same.

        Checkpoint: always.
        """
        await self._children.terminate(ref)

    def find(self, name: str) -> Ref:
        """
        Return the ref of the living actor of this name.

        Raises:
            LookupError: there is none now.
        """
        cell = self._names.find(name)
        if cell is None:
            names = ", ".join(sorted(self._names.living())) or "none"
            raise LookupError(f"no living actor is named {name!r}; there are: {names}")
        return Ref(cell)

    async def wait_for(self, name: str) -> Ref:
        """
        Wait until an actor of this name is spawned, and return its ref.

        Raises:
            RuntimeError: this is another thread, another run, or no Trio task (R30).

        Cancellation: nothing changes.

        Checkpoint: always.
        """
        self._shared.check_caller()
        return Ref(await self._names.wait_for(name))

    def topic(self, name: str) -> Topic[Any]:
        """
        Return the topic of this name, made when first asked for; it ends with the runtime.

        One that nobody holds any more, and that nobody has subscribed to, is forgotten.
        """
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, check=self._shared.check_caller)
        return topic

    @property
    def dead_letters(self) -> Topic[DeadLetter]:
        """
        The topic of frames that nobody will handle, and of outcomes that nobody read.

        It waits for no subscriber; one that lags misses some. An actor that handles `DeadLetter` may
        subscribe to it; a letter that it misses makes no other.
        """
        if self._dead_letters is None:
            self._dead_letters = Topic(
                "dead letters", waits=False, of=DeadLetter, check=self._shared.check_caller
            )
            self._shared.undelivered = self._dead_letters.publish_nowait
        return self._dead_letters

    def end_topics(self) -> None:
        """Let subscribers read what they have, and then the end; the block's end does so too."""
        for topic in (*self._topics.values(), *filter(None, (self._dead_letters,))):
            topic.close()

    def living(self) -> tuple[str, ...]:
        """Return the names of all living actors, in order of spawning."""
        return self._names.living()

    def tree(self) -> tuple[ActorNode, ...]:
        """Return the living actors, those that the runtime spawned first, each with its own."""
        return tree(self._children.cells)

    def statistics(self) -> dict[str, ActorStatistics]:
        """Return the figures of each living actor, by name, at this moment."""
        return {cell.name: cell.statistics() for cell in self._cells()}

    def report(self) -> str:
        """
        Return a text for people: who is alive, who waits for whom, and where, with stacks.

        With the extra ``debug`` the stacks show the tasks below a handler too.
        """
        return report(self.name, self._children.cells)

    def accounts(self) -> Accounts:
        """Return where all frames went that were sent to the actors of this runtime."""
        totals, numbered = Tally(), self._shared.numbered
        totals.add(self._shared.tally)
        for cell in self._cells():
            totals.add(cell.tally)
            numbered += cell.number
        return totals.accounts(numbered)

    def _cells(self) -> Iterator[Cell]:
        for child in self._children.cells:
            yield from child.family()

    def cut(self) -> None:
        """Have every actor start no further frame; told when the runtime is cancelled (R22)."""
        for child in self._children.cells:
            child.cut_family()

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
    slow_after: float = math.inf,
    measure: bool = False,
    supervision: Supervision | None = None,
    seed: int | None = None,
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
        slow_after: How long a handler may run until it is named, with its stack, in the log and to
            observers (seconds, >= 0); it goes on.
        measure: Whether to add up the time in handlers, for ``ref.statistics()``.
        supervision: What to do when a child that was spawned with ``restart`` ends; by default each
            is restarted by itself, up to 3 times in 5 seconds.
        seed: For `Runtime.rng`, from which all chance of the runtime comes (R25).

    Raises:
        Exception: the body's own, unwrapped; or the crash of an actor, itself; or, if both or
            several came at once, one group of them. Echoes of a crash, such as the `ActorCrashed`
            that the body got for it, are left out (R14).

    Cancellation:
        Handlers are cancelled and their cleanup is waited for, without bound, as a nursery does;
        one that lasts longer than *cleanup_grace* is named in the log and to observers (R10).

    Checkpoint: entry, never; exit, always.
    """
    shared = Shared(
        name,
        observers=observers,
        cleanup_grace=cleanup_grace,
        drain_grace=drain_grace,
        slow_after=slow_after,
        measure=measure,
        seed=seed,
    )
    with bare():
        async with trio.open_nursery() as around:
            around.start_soon(shared.alarms.run, name=f"{name} (alarms)")
            runtime: Runtime | None = None
            try:
                with bare():
                    async with trio.open_nursery() as nursery:
                        runtime = Runtime(shared, nursery.start_soon, supervision or Supervision())
                        nursery.start_soon(wait_cancelled, runtime.cut, name=f"{name} (sentry)")
                        try:
                            yield runtime
                            await runtime.stop()
                            nursery.cancel_scope.cancel(reason="every actor is over")
                        except BaseException:
                            shared.alarms.set(
                                trio.current_time() + cleanup_grace, shared.name_occupants
                            )
                            raise
            finally:
                shared.alarms.close()
                if runtime is not None:
                    runtime.end_topics()
            assert runtime is not None
            living, accounts = runtime.living(), runtime.accounts()
            assert not living, f"a runtime ended with actors alive: {living}; a bug in Greenroom"
            assert not accounts.pending, f"frames are unaccounted for: {accounts}; a bug likewise"
