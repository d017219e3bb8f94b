"""What a scenario is given: a runtime to play in, and ways to tell the kit what to look at."""

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar, cast

import trio

from greenroom.runtime.system import Runtime
from greenroom.runtime.testing.history import History
from greenroom.runtime.testing.plan import check_name
from greenroom.runtime.testing.store import Crashable

__all__ = ["MAIN", "ROOT", "Scenario", "World"]

ROOT: Final = "root"  # the scope around all
MAIN: Final = "main"  # the task that runs the scenario


DurableT = TypeVar("DurableT", bound=Crashable)


class World:
    """
    What a scenario is given.

    Attributes:
        runtime: Open, observed, and seeded.
        history: What has happened so far.
        rng: For all chance of the scenario.
        life: Which process this is: 1, and one more after each ``crash``.
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
        scope_ended: Callable[[str, trio.CancelScope, bool], None] | None = None,
    ) -> None:
        """Made by `simulate`."""
        self.runtime = runtime
        self.history = history
        self.rng = random.Random(seed)
        self.life = life
        self.durables: dict[str, Crashable] = {} if durables is None else durables
        self.scopes: dict[str, trio.CancelScope] = {}  # the open ones, by name
        self.actions: dict[str, Callable[[], object]] = {}  # the open ones, by name
        self.owned: list[tuple[str, Callable[[], bool]]] = []  # at most what the scenario owns
        self.is_crashed = False
        self._latency = latency
        self._scope_ended = scope_ended

    @contextmanager
    def scope(self, name: str) -> Generator[trio.CancelScope]:
        """
        Open a cancel scope that faults can be for, under this *name*.

        Raises:
            ValueError: one with that name is open, or it has spaces, brackets, semicolons or ``#``.
        """
        check_name("a scope", name)
        if "#" in name:
            raise ValueError(f"{name!r} is the name of a nursery; name the scope without a '#'")
        if name in self.scopes or name == ROOT:
            raise ValueError(f"a scope named {name!r} is open already; names are unique")
        scope = trio.CancelScope()
        is_normal = False
        try:
            with scope:
                self.scopes[name] = scope
                try:
                    yield scope
                finally:
                    del self.scopes[name]
            is_normal = True
        finally:
            if self._scope_ended is not None:
                self._scope_ended(name, scope, is_normal)

    @contextmanager
    def action(self, name: str, act: Callable[[], object]) -> Generator[None]:
        """
        Have *act* called by faults, ``call(name)@position``, while the block lasts.

        It is what someone outside may do at any moment: interrupt an actor, stop it, tell it
        something. It is called in a task of its own, before the step at that position; an exception
        out of it is a ``RAISED``.

        Raises:
            ValueError: one with that name is open, or it has spaces, brackets or semicolons.
        """
        check_name("an action", name)
        if name in self.actions:
            raise ValueError(f"an action named {name!r} is open already; names are unique")
        self.actions[name] = act
        try:
            yield
        finally:
            del self.actions[name]

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
            if self.is_crashed:  # what the old life makes now is not there for the next one
                self.durables[name].crash()
        return cast("DurableT", self.durables[name])

    def delay(self, base: float) -> float:
        """
        Return a latency of about *base* seconds, for a double to sleep: other orders have other ones.

        *base* itself in the order as it comes, else from none to twice of it, by chance.
        """
        return base if self._latency is None else base * 2 * self._latency.random()


Scenario: TypeAlias = Callable[[World], Awaitable[object]]
