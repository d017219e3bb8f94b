"""What users write: `Actor` classes, whose `handles` methods handle frames."""

import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Protocol, TypeVar, Unpack

import trio

from greenroom.runtime.cell import Down
from greenroom.runtime.errors import NotHandled
from greenroom.runtime.events import DeadLetter
from greenroom.runtime.frames import Frame, StreamRequest
from greenroom.runtime.options import SpawnOptions
from greenroom.runtime.ref import Ref
from greenroom.runtime.restart import Supervision
from greenroom.runtime.routes import Routes
from greenroom.runtime.topic import DEFAULT_LAG, LagPolicy, Subscription, Topic

__all__ = ["Actor", "Helpers", "Home", "Spawner", "Timer", "settle_in"]

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

    @property
    def rng(self) -> random.Random: ...

    def find(self, name: str) -> Ref: ...

    async def wait_for(self, name: str) -> Ref: ...

    def topic(self, name: str) -> Topic[Any]: ...

    @property
    def dead_letters(self) -> Topic[DeadLetter]: ...

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        **options: Unpack[SpawnOptions],
    ) -> Ref: ...


class Timer:
    """Something that an actor has set going in the background; see `cancel`."""

    __slots__ = ("scope",)

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    def cancel(self) -> None:
        """Stop it; a no-op once it is over. Checkpoint: never."""
        self.scope.cancel(reason="the timer was cancelled")


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

    def send_later(self, frame: Frame, to: Ref, after: float, every: float) -> Timer: ...

    def watch(self, ref: Ref) -> Timer: ...

    def forward(self, subscription: Subscription[Frame]) -> Timer: ...

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        **options: Unpack[SpawnOptions],
    ) -> Ref: ...

    async def terminate(self, ref: Ref) -> None: ...


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

    deadlines: ClassVar[bool] = False
    """Whether handlers may read `deadline`: to know it costs each asker some microseconds."""

    supervision: Supervision = Supervision()
    """What to do when a child that was spawned with ``restart`` ends; read at the first spawn."""

    __routes__: ClassVar[Routes] = Routes({})
    __greenroom_home__: Home | None = None

    def __init_subclass__(
        cls,
        *,
        concurrency: int | None = None,
        deadlines: bool | None = None,
        supervision: Supervision | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if deadlines is not None:
            cls.deadlines = deadlines
        if supervision is not None:
            if not isinstance(supervision, Supervision):
                raise TypeError(f"supervision must be a Supervision, not {supervision!r}")
            cls.supervision = supervision
        if concurrency is not None:
            if not (isinstance(concurrency, int) and concurrency >= 1):
                raise TypeError(f"concurrency must be an int >= 1, not {concurrency!r}")
            cls.concurrency = concurrency
        cls.__routes__ = Routes.of(cls)
        if cls.__routes__.has_express and cls.concurrency > 1:
            raise TypeError(
                f"{cls.__name__} handles express frames, and so one frame at a time; "
                f"leave concurrency={cls.concurrency} away"
            )

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

        Raises:
            RuntimeError: the class does not ask for it: ``class X(Actor, deadlines=True)``.
        """
        return self._at_home("deadline").deadline

    async def spawn(
        self,
        factory: Callable[..., "Actor"],
        *args: Any,
        **options: Unpack[SpawnOptions],
    ) -> Ref:
        """
        Spawn a child of this incarnation, stopped with it; otherwise as ``runtime.spawn``.

        Checkpoint: always.
        """
        return await self._at_home("spawn").spawn(factory, *args, **options)

    async def terminate(self, ref: Ref) -> None:
        """
        Stop a child for good, also a permanent one, and wait until it is over.

        Raises:
            ValueError: *ref* is no child of this actor.

        Cancellation: the child stops all the same.

        Checkpoint: always.

        Source: OTP ``supervisor:terminate_child/2``.
        """
        await self._at_home("terminate").terminate(ref)

    def watch(self, ref: Ref) -> Timer:
        """
        Have this actor told a `Down` when *ref* is over for good; a restart is not that.

        It is told at once if *ref* is over already. Needs a handler for `Down`. What is returned
        can be cancelled; a `Down` that is in the mailbox by then stays there.

        Checkpoint: never.

        Source: Erlang ``monitor/2``, Akka ``context.watch``.
        """
        if self.__routes__.find(Down) is None:
            raise NotHandled(
                f"{type(self).__name__} has no handler for Down; write one with @handles"
            )
        return self._at_home("watch").watch(ref)

    def subscribe(
        self, topic: Topic[Any], *, buffer: int = DEFAULT_LAG, lag: LagPolicy = "drop_oldest"
    ) -> Timer:
        """
        Have this actor told every frame that is published on *topic* from now on.

        Args:
            topic: What to listen to.
            buffer: How many frames the actor may be behind, beside those in its mailbox.
            lag: What happens then; see `topic`.

        What is returned can be cancelled. `Lagged`, of the policy ``leave``, is a crash, and so is a
        frame that this actor has no handler for. One that its mailbox refuses by its policy is a
        dead letter.

        Raises:
            NotHandled, TypeError: the topic says what it carries, and this actor can't be told that.

        Checkpoint: never.
        """
        home = self._at_home("subscribe")
        if topic.of is not None:
            self._check_told(topic.of, topic.name)
        return home.forward(topic.subscribe(buffer=buffer, lag=lag))

    def _check_told(self, kind: type, topic: str) -> None:
        """Raise unless there is a handler for *kind*, which *topic* carries."""
        if not issubclass(kind, Frame):
            raise TypeError(
                f"topic {topic!r} carries {kind.__name__}, which is no frame; write "
                f"'with topic.subscribe() as values' in a helper task"
            )
        if issubclass(kind, StreamRequest):
            raise TypeError(
                f"topic {topic!r} carries {kind.__name__}, which is answered by a stream"
            )
        if self.__routes__.find(kind) is None:
            raise NotHandled(
                f"{type(self).__name__} has no handler for {kind.__name__}; write one with @handles"
            )

    def send_after(self, seconds: float, frame: Frame, *, to: Ref | None = None) -> Timer:
        """
        Tell *frame* to this actor, or to *to*, in so many seconds; forgotten when the actor ends.

        While the mailbox is full, it waits for room. If it can't be told, it is a dead letter.

        Checkpoint: never.

        Source: Erlang ``send_after/3``.
        """
        return self._send_later("send_after", seconds, math.inf, frame, to)

    def send_every(self, seconds: float, frame: Frame, *, to: Ref | None = None) -> Timer:
        """
        Tell *frame* to this actor, or to *to*, every so many seconds, first in as many.

        A mailbox that is full delays it; what was missed meanwhile is left out. Otherwise as
        `send_after`.

        Checkpoint: never.

        Source: Erlang ``timer:send_interval/3``.
        """
        if not seconds > 0:
            raise ValueError(f"send_every needs seconds > 0, not {seconds!r}")
        return self._send_later("send_every", seconds, seconds, frame, to)

    def _send_later(
        self, what: str, after: float, every: float, frame: Frame, to: Ref | None
    ) -> Timer:
        home = self._at_home(what)
        if not after >= 0:
            raise ValueError(f"{what} needs seconds >= 0, not {after!r}")
        to = to or home.ref
        to.check_tell(frame)
        return home.send_later(frame, to, after, every)

    async def on_start(self) -> None:
        """Get ready; ``spawn`` returns when this has, and raises what it raises."""

    async def on_drained(self) -> None:
        """
        See the children off: runs in an actor that stops, once it has handled all that was queued.

        The children live, and are stopped after it. Cancelled when ``drain_grace`` is over, which
        may be at once; not run after a crash.
        """

    async def on_stop(self) -> None:
        """
        Let go of what `on_start` took; runs once, however the actor ends.

        Shielded from cancellation, for at most ``cleanup_grace`` seconds. Not run if `on_start`
        raised.
        """

    async def on_interrupt(self) -> None:
        """React to an interruption: runs after the cancelled handlers, before the next frame."""
