"""The ready-made `Supervisor`, an actor that is nothing else, and the frames that it handles."""

from collections.abc import Callable
from typing import Any

import attrs

from greenroom.runtime.actor import Actor
from greenroom.runtime.errors import Refused
from greenroom.runtime.frames import Request, frame
from greenroom.runtime.mailbox import DEFAULT_CAPACITY, FullPolicy
from greenroom.runtime.ref import Ref
from greenroom.runtime.restart import ChildKind, Supervision
from greenroom.runtime.routes import handles

__all__ = ["ChildSpec", "SpawnChild", "Supervisor", "TerminateChild"]


@attrs.frozen
class ChildSpec:
    """What a `Supervisor` spawns; the fields are those of ``spawn``."""

    factory: Callable[..., Actor]
    args: tuple[Any, ...] = ()
    name: str | None = attrs.field(default=None, kw_only=True)
    capacity: int = attrs.field(default=DEFAULT_CAPACITY, kw_only=True)
    full: FullPolicy = attrs.field(default="wait", kw_only=True)
    restart: ChildKind | None = attrs.field(default="permanent", kw_only=True)
    redeliver: int = attrs.field(default=0, kw_only=True)


@frame
class SpawnChild(Request[Ref]):
    """Asks a `Supervisor` for another child; refused, from the error, if that did not start."""

    spec: ChildSpec


@frame
class TerminateChild(Request[None]):
    """Asks a `Supervisor` to stop a child for good; done when that is over. Refused for others."""

    ref: Ref


class Supervisor(Actor):
    """
    An actor that only owns others: ``runtime.spawn(Supervisor, supervision, *specs)``.

    The children are started in order; if it is restarted itself, so are they, as new actors. What it
    was asked to spawn later is gone then, as with a ``DynamicSupervisor``.

    Source: OTP ``supervisor``.
    """

    def __init__(self, supervision: Supervision, *specs: ChildSpec) -> None:
        self.supervision = supervision
        self._specs = specs

    async def on_start(self) -> None:  # noqa: ASYNC910
        for spec in self._specs:
            await self._spawn(spec)

    async def _spawn(self, spec: ChildSpec) -> Ref:
        return await self.spawn(
            spec.factory,
            *spec.args,
            name=spec.name,
            capacity=spec.capacity,
            full=spec.full,
            restart=spec.restart,
            redeliver=spec.redeliver,
        )

    @handles
    async def spawn_child(self, request: SpawnChild) -> Ref:
        try:
            return await self._spawn(request.spec)
        except Exception as exc:  # the asker's mistake, which is not to cost the other children
            raise Refused(f"{request.spec.factory!r} was not started: {exc!r}") from exc

    @handles
    async def terminate_child(self, request: TerminateChild) -> None:
        try:
            await self.terminate(request.ref)
        except ValueError as exc:
            raise Refused(str(exc)) from exc
