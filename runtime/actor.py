"""What users write: `Actor` classes, whose `handles` methods handle frames."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Protocol, TypeVar

from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy
from greenroom.runtime.ref import Ref
from greenroom.runtime.routes import Routes

__all__ = ["Actor", "Helpers", "Home", "Spawner", "settle_in"]

T = TypeVar("T")


class Helpers(Protocol):
    """A nursery for an actor's helper tasks; they end with the incarnation."""

    def start_soon(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> None:
        """Start a helper; as `trio.Nursery.start_soon`. One that raises crashes the actor."""
        ...

    async def start(
        self, function: Callable[..., Awaitable[object]], *args: Any, name: object = None
    ) -> Any:
        """Start a helper and wait until it calls ``task_status.started()``; checkpoint: always."""
        ...


class Spawner(Protocol):
    """What an actor sees of its runtime: where to spawn actors, and find them by name."""

    def find(self, name: str) -> Ref: ...

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref: ...


class Home(Protocol):
    """What an incarnation gives to its actor."""

    @property
    def ref(self) -> Ref: ...

    @property
    def runtime(self) -> Spawner: ...

    @property
    def helpers(self) -> Helpers: ...

    @property
    def deadline(self) -> float: ...

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref: ...


def settle_in(actor: "Actor", home: Home) -> None:
    """Give *actor* its home; called once, between ``__init__`` and ``on_start``."""
    actor.__greenroom_home__ = home


class Actor:
    """
    State that only its own handlers touch, one handler at a time.

    Subclass it and mark methods with `handles`. ``class X(Actor, concurrency=n)`` runs up to *n*
    handlers at once; then frames are still *taken* in order, but nothing more is promised.

    A handler may await whatever Trio code can. Raising `Refused` declines the request; any other
    exception is a crash. `ref`, `runtime`, `nursery` and `spawn` exist from `on_start` on, not yet
    in ``__init__``.
    """

    concurrency: ClassVar[int] = 1
    """How many handlers may run at once."""

    __routes__: ClassVar[Routes] = Routes({})
    __greenroom_home__: Home | None = None

    def __init_subclass__(cls, *, concurrency: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if concurrency is not None:
            if not (isinstance(concurrency, int) and concurrency >= 1):
                raise TypeError(f"concurrency must be an int >= 1, not {concurrency!r}")
            cls.concurrency = concurrency
        cls.__routes__ = Routes.of(cls)

    def _at_home(self, what: str) -> Home:
        if self.__greenroom_home__ is None:
            raise RuntimeError(
                f"{type(self).__name__}.{what} exists from on_start on, not in __init__; "
                f"and an actor is started by runtime.spawn({type(self).__name__}, ...)"
            )
        return self.__greenroom_home__

    @property
    def ref(self) -> Ref:
        """The actor's own ref."""
        return self._at_home("ref").ref

    @property
    def runtime(self) -> Spawner:
        """The runtime; what is spawned on it outlives this actor."""
        return self._at_home("runtime").runtime

    @property
    def nursery(self) -> Helpers:
        """A nursery for helper tasks of this incarnation, opened when first used (R18)."""
        return self._at_home("nursery").helpers

    @property
    def deadline(self) -> float:
        """
        The asker's deadline for the request being handled (Trio clock, seconds); ``inf`` for none.

        Information only: a caller that gives up cancels the handler (R8).
        """
        return self._at_home("deadline").deadline

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        name: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        full: FullPolicy = "wait",
    ) -> Ref:
        """
        Spawn a child of this incarnation, stopped with it; otherwise as ``runtime.spawn``.

        Checkpoint: always.
        """
        home = self._at_home("spawn")
        return await home.spawn(factory, *args, name=name, capacity=capacity, full=full)

    async def on_start(self) -> None:
        """Get ready; ``spawn`` returns when this has, and raises what it raises."""

    async def on_stop(self) -> None:
        """
        Let go of what `on_start` took; runs once, however the actor ends.

        Shielded from cancellation, for at most ``cleanup_grace`` seconds. Not run if `on_start`
        raised.
        """

    async def on_interrupt(self) -> None:
        """React to an interruption: runs after the cancelled handlers, before the next frame."""
