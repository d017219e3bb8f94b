"""
What every actor has to keep, as one call: `check_actor`, for actors that others write.

An actor is given frames by askers that are cut off at each position, and is itself interrupted,
stopped and crashed at each; afterwards it has to answer as before, and nothing may be left.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, cast

import attrs
import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.errors import ActorStopped, NotHandled, Refused, RequestError
from greenroom.runtime.events import FrameSent, HandlerStarted
from greenroom.runtime.frames import Frame, Request, StreamRequest
from greenroom.runtime.ref import Ref
from greenroom.runtime.testing.history import LAWS, History, Law, law
from greenroom.runtime.testing.report import Report
from greenroom.runtime.testing.simulate import simulate
from greenroom.runtime.testing.sweep import sweep
from greenroom.runtime.testing.world import Scenario, World

__all__ = ["ActorFactory", "actor_scenario", "check_actor"]

#: What makes the actor: a factory as ``spawn`` takes it, or an async function that spawns it.
ActorFactory: TypeAlias = Callable[[], Actor] | Callable[[World], Awaitable[Ref]]

_NAME: Final = "actor"
_ASKER: Final = "asker"


@attrs.define
class _Told:
    """What became of the tells of one run."""

    begun: int = 0
    returned: int = 0
    cancelled: int = 0


@law("frames of one sender are taken in the order in which they were sent (I2)")
def _in_order(history: History) -> Iterator[str]:
    last: dict[str, int] = {}
    for event in history.of(HandlerStarted, actor=_NAME):
        if type(event.frame).express:
            continue
        if event.number < last.get(event.actor, -1):
            yield f"frame {event.number} was taken after frame {last[event.actor]}"
        last[event.actor] = event.number


async def _send(ref: Ref, frame: Frame, told: _Told) -> RequestError | None:
    """Send *frame* in the way that is its kind's, and return the error that it ended with, if any."""
    try:
        if isinstance(frame, StreamRequest):
            async with ref.stream(cast("StreamRequest[Frame]", frame), buffer=1) as replies:
                async for _ in replies:
                    pass
        elif isinstance(frame, Request):
            await ref.ask(cast("Request[object]", frame))
        else:
            told.begun += 1
            try:
                await ref.tell(frame)
            except trio.Cancelled:
                told.cancelled += 1
                raise
            told.returned += 1
    except NotHandled:
        raise
    except RequestError as error:
        return error  # noqa: ASYNC910 - it was raised by what checkpoints
    return None  # noqa: ASYNC910 - likewise


def actor_scenario(
    factory: ActorFactory,
    *frames: Frame,
    owns: Mapping[str, Callable[[], bool]] | None = None,
    strict: bool = True,
) -> Scenario:
    """
    Return the scenario that `check_actor` sweeps, to see again what it found by its plan.

    Args:
        factory, frames, owns: See `check_actor`.
        strict: Whether the actor must answer at the end; a run in which it is made to crash at any
            position may end otherwise.
    """
    return partial(_play, factory, frames, owns or {}, strict)


async def _play(
    factory: ActorFactory,
    frames: Sequence[Frame],
    owns: Mapping[str, Callable[[], bool]],
    strict: bool,
    w: World,
) -> None:
    for name, is_free in owns.items():
        w.own(name, is_free)
    if inspect.iscoroutinefunction(factory):
        ref: Ref = await factory(w)
    else:
        make = cast("Callable[[], Actor]", factory)
        ref = await w.runtime.spawn(make, name=_NAME, restart="permanent" if not strict else None)
    told = _Told()
    allowed: tuple[type[RequestError], ...] = (Refused,)

    def interrupt() -> None:
        ref.interrupt("the check interrupted it")

    def stop() -> None:
        nonlocal allowed
        allowed = (Refused, ActorStopped)
        ref.stop()

    with w.scope(_ASKER), w.action("interrupt", interrupt), w.action("stop", stop):
        for frame in frames:
            await _send(ref, frame, told)
        async with trio.open_nursery() as nursery:
            for frame in frames:
                nursery.start_soon(_send, ref, frame, told)
    for frame in frames:
        error = await _send(ref, frame, told)
        if strict and error is not None and not isinstance(error, allowed):
            raise AssertionError(
                f"afterwards {frame!r} ended with {type(error).__name__}: {error}; it has to be "
                f"handled as if nothing had happened, or refused"
            ) from error
    _check_tells(w.history, frames, told)


def _check_tells(history: History, frames: Sequence[Frame], told: _Told) -> None:
    """Raise AssertionError if a cancelled tell sent something, or a tell that returned did not (I1)."""
    tells = [frame for frame in frames if not isinstance(frame, (Request, StreamRequest))]
    sent = sum(
        any(event.frame is frame for frame in tells) and event.sender is None
        for event in history.of(FrameSent)
    )
    if not told.returned <= sent <= told.begun - told.cancelled:
        raise AssertionError(
            f"{told.begun} tells, of which {told.cancelled} were cancelled and {told.returned} "
            f"returned, sent {sent} frames (I1)"
        )


def check_actor(
    factory: ActorFactory,
    *frames: Frame,
    owns: Mapping[str, Callable[[], bool]] | None = None,
    laws: Sequence[Law] = (),
    expect: tuple[type[BaseException], ...] = (),
    cancel_budget: float = 10.0,
) -> int:
    """
    Check that an actor keeps what the runtime promises, whatever is done to it and to its askers.

    Each frame is told, asked or streamed, as its class has it: first one after another, then all at
    once, and once more at the end, where it has to be handled or refused as if nothing had happened.
    That is run as it comes, and then once for each position

    - with the askers cancelled, with everything cancelled, and with Ctrl-C (as by `sweep`);
    - with the actor interrupted, and with the actor stopped;
    - with an error out of each wait of the actor, which it is restarted after if it crashes.

    What has to hold each time: `LAWS`, order (I2), no cancelled tell that sent something (I1), one
    outcome for each request (I3), and nothing left: no task, thread, generator or descriptor, and
    nothing of *owns* (I4). A cleanup has to end within ``cleanup_grace`` (R10).

    Args:
        factory: A factory for ``spawn``, without arguments: the class, or a `functools.partial`. Or an
            async function of a `World` that spawns the actor, and others that it needs, and returns
            its ref.
        frames: What it is sent; at least one, and none that crashes it.
        owns: By name, what has to be free at the end: see `World.own`.
        laws: More that has to hold.
        expect: Exceptions that the runtime may end by, beside those that faults bring.
        cancel_budget: See `simulate`.

    Returns:
        How many runs it took.

    Raises:
        AssertionError: something does not hold; the text says what was done, what came of it, and
            has the story.
        ValueError: there are no *frames*.
    """
    if not frames:
        raise ValueError("give at least one frame: check_actor(Greeter, Greet('Ada'))")
    name = getattr(factory, "__name__", repr(factory))
    every = (*LAWS, *laws)
    ordered = () if _concurrency(factory) > 1 else (_in_order,)
    scenario = actor_scenario(factory, *frames, owns=owns)
    report = simulate(scenario, laws=(*every, *ordered), expect=expect)
    _require(report, f"{name} does not hold when nobody disturbs it")
    runs = 1
    for done, faults, strict in (
        ("its askers, or everything, are cut off", ("cancel", "interrupt"), True),
        ("it is interrupted or stopped", ("call",), True),
        ("an error comes out of what it waits for", ("raise",), False),
    ):
        swept = sweep(
            scenario if strict else actor_scenario(factory, *frames, owns=owns, strict=False),
            faults=cast("Any", faults),
            targets=("root", _ASKER),
            laws=(*every, *ordered) if strict else every,
            expect=expect,
            cancel_budget=cancel_budget,
        )
        runs += swept.runs
        for failure in swept.failures:
            _require(failure, f"{name} does not hold when {done}")
    return runs


def _concurrency(factory: object) -> int:
    while isinstance(factory, partial):
        factory = cast("partial[object]", factory).func
    return int(getattr(factory, "concurrency", 2))  # of an unknown actor no order is promised


def _require(report: Report, what: str) -> None:
    """Raise AssertionError with what is wrong with *report*, and its story."""
    if report.ok:
        return
    try:
        report.check()
    except AssertionError as error:
        raise AssertionError(f"{what}, {error}") from None
