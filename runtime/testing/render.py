"""The story of a run, for people: a lane for each actor, time going down, and where faults struck."""

from collections.abc import Iterator, Sequence

from greenroom.runtime.events import (
    ActorEnded,
    ActorInterrupted,
    ActorRestarting,
    ActorSpawned,
    CleanupOverran,
    DeadLetter,
    Event,
    FrameEmitted,
    FrameSent,
    HandlerEnded,
    HandlerStarted,
)

__all__ = ["mermaid", "timeline"]

_WIDTH = 18
_MOST_LANES = 6

# What was done to the run, and where it came out, each before the event with this index.
Strikes = Sequence[tuple[int, str]]


def _said(event: Event) -> str | None:
    """Return *event* in a few words, from the actor's point of view; None to leave it out."""
    match event:
        case ActorSpawned():
            return "starts"
        case ActorEnded(reason=reason):
            return f"ends ({reason})"
        case ActorRestarting():
            return "restarts"
        case ActorInterrupted():
            return "interrupted"
        case FrameSent(number=number, frame=frame):
            return f"<- {type(frame).__name__} {number}"
        case HandlerStarted(number=number):
            return f"handles {number}"
        case HandlerEnded(number=number, outcome=outcome):
            return f"{number}: {outcome}"
        case FrameEmitted(number=number, frame=frame):
            return f"{number}: -> {type(frame).__name__}"
        case DeadLetter(number=number):
            return f"dead letter {number}"
        case CleanupOverran():
            return "CLEANUP OVERRUNS"
        case _:
            return None


def timeline(events: Sequence[Event], strikes: Strikes = (), *, last: int = 40) -> str:
    """
    Return *events* as lanes of text, one for each actor, at most the *last* lines of it.

    Args:
        events: In order.
        strikes: What was done to the run, each before the event with this index.
        last: How many lines, >= 1.
    """
    actors = list(dict.fromkeys(event.actor for event in events))
    shown = actors if len(actors) <= _MOST_LANES else actors[: _MOST_LANES - 1]
    lanes = [*shown, *(["others"] if len(actors) > len(shown) else [])]
    heading = " " * 9 + " ".join(f"{name[:_WIDTH]:{_WIDTH}}" for name in lanes)
    lines = list(_lines(events, lanes, _by_index(strikes)))
    left_out = [f"({len(lines) - last} lines before)"] if len(lines) > last else []
    return "\n".join(line.rstrip() for line in (heading, *left_out, *lines[-last:]))


def _lines(
    events: Sequence[Event], lanes: Sequence[str], strikes: dict[int, list[str]]
) -> Iterator[str]:
    width = 9 + (_WIDTH + 1) * len(lanes)
    for index, event in enumerate(events):
        for strike in strikes.pop(index, ()):
            yield _bar(strike, width)
        if (said := _said(event)) is not None:
            lane = lanes.index(event.actor) if event.actor in lanes else len(lanes) - 1
            yield f"{event.at:7.2f}  " + " " * ((_WIDTH + 1) * lane) + said[: _WIDTH * 2]
    for late in strikes.values():
        for strike in late:
            yield _bar(strike, width)


def _bar(strike: str, width: int) -> str:
    return f"{strike} ".ljust(width, "-") if strike.startswith("!!") else strike


def _by_index(strikes: Strikes) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for index, strike in strikes:
        grouped.setdefault(index, []).append(strike)
    return grouped


def mermaid(events: Sequence[Event], strikes: Strikes = ()) -> str:
    """Return the same as the source of a Mermaid sequence diagram."""
    lines = ["sequenceDiagram"]
    at = _by_index(strikes)
    for index, event in enumerate(events):
        here = at.get(index, ())
        lines += [f"  Note over {_id(event.actor)}: {strike.strip()}" for strike in here]
        match event:
            case FrameSent(actor=actor, sender=sender, frame=frame, number=number):
                lines.append(
                    f"  {_id(sender or 'outside')}->>{_id(actor)}: {type(frame).__name__} {number}"
                )
            case HandlerEnded(actor=actor, number=number, outcome=outcome):
                lines.append(f"  Note right of {_id(actor)}: {number} {outcome}")
            case ActorEnded(actor=actor, reason=reason):
                lines.append(f"  Note right of {_id(actor)}: {reason}")
            case _:
                pass
    return "\n".join(lines)


def _id(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
