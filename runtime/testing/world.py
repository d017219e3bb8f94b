"""What a scenario is given: a runtime to play in, and ways to tell the kit what to look at."""

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol, TypeAlias, TypeVar, cast

import trio

from greenroom.runtime.system import Runtime
from greenroom.runtime.testing.history import History

__all__ = ["MAIN", "ROOT", "Crashable", "Scenario", "World"]

ROOT: Final = "root"  # the scope around all
MAIN: Final = "main"  # the task that runs the scenario


class Crashable(Protocol):
    """Something that outlives the process, as a disk does; a double of it."""

    def crash(self, *, torn: bool = False) -> None:
        """Lose what a dying process had not made durable, and hear nothing more of it."""
        ...

    def reopen(self) -> None:
        """Be there for the next process."""
        ...


DurableT = TypeVar("DurableT", bound=Crashable)


class World:
    """
    What a scenario is given.

    Attributes:
        runtime: Open, observed, and seeded.
        history: What has happened so far.
        rng: For all chance of the scenario.
        life: Which process this is: 1, and 2 for the one after a ``crash``.
    """

    def __init__(
        self,
        runtime: Runtime,
        history: History,
        seed: int,
        *,
        life: int = 1,
        durables: dict[str, Crashable] | None = None,
        latency: random.Random | None = None,
        scope_ended: Callable[[str, trio.CancelScope], None] | None = None,
    ) -> None:
        """Made by `simulate`."""
        self.runtime = runtime
        self.history = history
        self.rng = random.Random(seed)
        self.life = life
        self.durables: dict[str, Crashable] = {} if durables is None else durables
        self.scopes: dict[str, trio.CancelScope] = {}  # the open ones, by name
        self.owned: list[tuple[str, Callable[[], bool]]] = []  # at most what the scenario owns
        self._latency = latency
        self._scope_ended = scope_ended

    @contextmanager
    def scope(self, name: str) -> Generator[trio.CancelScope]:
        """Open a cancel scope that faults can be for, under this *name*."""
        if name in self.scopes or name == ROOT:
            raise ValueError(f"a scope named {name!r} is open already; names are unique")
        with trio.CancelScope() as scope:
            self.scopes[name] = scope
            try:
                yield scope
            finally:
                del self.scopes[name]
        if self._scope_ended is not None:
            self._scope_ended(name, scope)

    def own(self, name: str, is_free: Callable[[], bool]) -> None:
        """Have it checked at the end that the lock, pool or limiter *name* is free again."""
        self.owned.append((name, is_free))

    def durable(self, name: str, make: Callable[[], DurableT]) -> DurableT:
        """
        Return what stands for *name* on disk: made once, and there again after a crash.

        Args:
            name: Under which the recovery finds it.
            make: Makes it, the first time.
        """
        if name not in self.durables:
            self.durables[name] = make()
        return cast("DurableT", self.durables[name])

    def delay(self, base: float) -> float:
        """
        Return a latency of about *base* seconds, for a double to sleep: other orders have other ones.

        *base* itself in the order as it comes, else from none to twice of it, by chance.
        """
        return base if self._latency is None else base * 2 * self._latency.random()


Scenario: TypeAlias = Callable[[World], Awaitable[object]]
