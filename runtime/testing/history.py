"""
What happened in a run, as the runtime's events tell it, and laws that every run has to keep.

A law is a function of the history that returns an iterator over what breaks it, each as a line of
text; `law` gives it a name and a place among `LAWS`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import trio

from greenroom.runtime.errors import (
    ActorCrashed,
    ActorRestarted,
    ActorStopped,
    Interrupted,
    RequestError,
)
from greenroom.runtime.events import (
    ActorEnded,
    ActorRestarting,
    ActorSpawned,
    CleanupOverran,
    DeadLetter,
    Event,
    FrameSent,
    HandlerEnded,
    HandlerStarted,
)
from greenroom.runtime.frames import Request, StreamRequest
from greenroom.runtime.groups import leaves

__all__ = ["LAWS", "History", "Law", "law"]

MOST_RESTARTS: Final = 25

EventT = TypeVar("EventT", bound=Any)


class History:
    """
    The events of one run, in order; an observer.

    Attributes:
        jumped: How much time the faults of the run made pass (virtual seconds).
    """

    def __init__(self) -> None:
        self.events: list[Event] = []  # at most those of one run, which a plan bounds
        self.jumped = 0.0

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[EventT], *, actor: str | None = None) -> list[EventT]:
        """Return the events of this *kind*, of one *actor* or of all."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (actor is None or event.actor == actor)
        ]

    def count(self, kind: type[Any]) -> int:
        """Return how many events of this *kind* there are."""
        return sum(isinstance(event, kind) for event in self.events)


@attrs.frozen
class Law:
    """Something that holds in every run, whatever was done to it."""

    name: str
    breaches: Callable[[History], Iterable[str]]
    """Returns one line for each way in which the history breaks it."""


def law(name: str) -> Callable[[Callable[[History], Iterable[str]]], Law]:
    """
    Make a law of a function: ``@law("one charge an order")``.

    The function is given the `History` of a run, and yields a line of text for each breach.
    """

    def make(function: Callable[[History], Iterable[str]]) -> Law:
        return Law(name, function)

    return make


_Key: TypeAlias = tuple[str, int, int]
"""The name of an actor, how many of that name had ended before, and the number of a frame."""


def _about_frames(history: History, *kinds: type[Any]) -> list[tuple[_Key, Any]]:
    """Return the events of these *kinds*, each with what tells its frame from all others."""
    ended: set[str] = set()
    before: Counter[str] = Counter()
    found: list[tuple[_Key, Any]] = []
    for event in history.events:
        if isinstance(event, kinds):
            of_frame: Any = event
            found.append(((of_frame.actor, before[of_frame.actor], of_frame.number), event))
        elif isinstance(event, ActorEnded):
            ended.add(event.actor)
        elif isinstance(event, ActorSpawned) and event.actor in ended:  # another of that name
            ended.discard(event.actor)
            before[event.actor] += 1
    return found


def _keys(history: History, kind: type[Any]) -> Counter[_Key]:
    return Counter(key for key, _ in _about_frames(history, kind))


@law("every handler that starts ends once (I3)")
def _ends(history: History) -> Iterator[str]:
    started, ended = _keys(history, HandlerStarted), _keys(history, HandlerEnded)
    for key in started.keys() | ended.keys():
        if started[key] != ended[key]:
            actor, _, number = key
            yield f"frame {number} of {actor!r} started {started[key]} times, ended {ended[key]}"


@law("no frame is handled that was not sent, and none twice but after a crash (I2)")
def _handled(history: History) -> Iterator[str]:
    sent = _keys(history, FrameSent)
    crashes = Counter(e.actor for e in history.of(ActorRestarting))
    for key, times in _keys(history, HandlerStarted).items():
        actor, _, number = key
        if key not in sent:
            yield f"frame {number} of {actor!r} was handled and never sent"
        if times > 1 + crashes[actor]:
            yield f"frame {number} of {actor!r} was handled {times} times"


@law("an actor that has ended handles nothing (I4)")
def _nothing_after_the_end(history: History) -> Iterator[str]:
    ended: set[str] = set()
    for event in history.events:
        match event:
            case ActorSpawned(actor=actor):
                ended.discard(actor)
            case ActorEnded(actor=actor):
                ended.add(actor)
            case HandlerStarted(actor=actor, number=number) if actor in ended:
                yield f"frame {number} of {actor!r} was started after its end"
            case _:
                pass


@law("every actor that was spawned has ended (I4)")
def _all_ended(history: History) -> Iterator[str]:
    alive = Counter(e.actor for e in history.of(ActorSpawned))
    alive.subtract(Counter(e.actor for e in history.of(ActorEnded)))
    alive.subtract(Counter(e.actor for e in history.of(ActorRestarting)))
    for actor, count in alive.items():
        if count > 0:
            yield f"{actor!r} has not ended"


@law("no cleanup lasts longer than its bound (R10)")
def _in_time(history: History) -> Iterator[str]:
    if history.jumped:
        return  # a jump of the clock, and not the cleanup, may have been what took so long
    for event in history.of(CleanupOverran):
        where = event.stack[-1].strip() if event.stack else "an unknown place"
        yield f"{event.actor!r} was still cleaning up at {event.at:g} s; it waits at {where}"


@law("no frame is lost but as a dead letter (I2)")
def _none_lost(history: History) -> Iterator[str]:
    asked = (Request, StreamRequest)  # of those, whoever asked knows what became of them
    sent = {
        key: event.frame
        for key, event in _about_frames(history, FrameSent)
        if not isinstance(event.frame, asked)
    }
    started, dead = _keys(history, HandlerStarted), _keys(history, DeadLetter)
    for key in sent.keys() - started.keys() - dead.keys():
        actor, _, number = key
        kind = type(sent[key]).__name__
        yield f"{kind} {number} of {actor!r} was neither handled nor a dead letter"


@law("no actor is restarted over and over")
def _no_storm(history: History) -> Iterator[str]:
    for actor, times in Counter(e.actor for e in history.of(ActorRestarting)).items():
        if times > MOST_RESTARTS:
            yield f"{actor!r} was restarted {times} times, at most {MOST_RESTARTS} are sane"


_MISTAKES: Final = (
    RequestError,
    AssertionError,
    AttributeError,
    NameError,
    TypeError,
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.ClosedResourceError,
)


@law("no supervised actor is restarted because of a mistake in its code")
def _no_mistake(history: History) -> Iterator[str]:
    """
    Look for crashes that nobody means, and that a supervisor would hide.

    A child that crashes because it was told to, or because the one that it asked crashed, is meant.
    """
    for event in history.of(ActorRestarting):
        for error in leaves(event.error) if event.error is not None else ():
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            others = isinstance(cause, ActorRestarted | ActorCrashed | Interrupted)
            others = others or (isinstance(cause, ActorStopped) and cause.reason == "crashed")
            if isinstance(cause, _MISTAKES) and not others:
                yield f"{event.actor!r} crashed: {type(error).__name__}: {error}"


LAWS: Final = (
    _ends,
    _handled,
    _nothing_after_the_end,
    _all_ended,
    _in_time,
    _none_lost,
    _no_storm,
    _no_mistake,
)
