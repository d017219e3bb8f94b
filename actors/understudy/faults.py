"""
Faults on demand: a small language that tells the understudy how to misbehave.

A script is clauses joined by ``;``. Some clauses say what goes wrong, the others to which requests
it happens; requests for completions, by either API, are counted from 1 over the life of the
server. A server may have several scripts: a request gets the first one that applies to it.

=====================  ==========================================================================
clause                 what happens
=====================  ==========================================================================
``delay=SECONDS``      the head of the response comes that much later
``stall-head``         no head ever comes
``status=CODE``        an error response with that status, 400 to 599
``retry-after=SECONDS``  ... with this ``Retry-After`` header; needs ``status``
``stall@EVENT``        after that many events (0: none) nothing more comes
``reset@BYTE``         the connection is reset after that many bytes of the body
``close@BYTE``         the connection is closed after that many bytes of the body
``malformed@EVENT``    that event holds broken JSON
``truncate-utf8@EVENT``  that event holds a character cut in half
``error@EVENT``        that event is an error, and the stream ends with it
``giant=SIZE``         the first event with text grows by SIZE bytes (``64kB``, ``10MB``)
``no-done``            the stream ends without ``data: [DONE]``, or its last event for responses
``hang-close``         after ``[DONE]`` neither the end of the body nor of the connection comes
``nth=NUMBER``         only from that request on (and only that one, unless ``times`` is given)
``times=NUMBER``       only that many requests
=====================  ==========================================================================

Events are counted from 1, the role event being the first; bytes are those of the body before chunk
framing. Clauses that speak of events do nothing to a response that is not streamed. Examples:
``stall@5``, ``reset@1200;nth=2``, ``status=429;retry-after=3;times=2``, ``delay=2;malformed@3``.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence

import attrs

__all__ = ["Fault", "fault_for", "parse_fault"]


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with a request, and with which; made by `parse_fault`."""

    delay: float = 0.0
    """Seconds before the head of the response, >= 0; ``math.inf`` for a head that never comes."""

    status: int | None = None
    """HTTP status of an error response, 400 to 599; None for a normal response."""

    retry_after: float | None = None
    """Seconds for the ``Retry-After`` header of an error response, >= 0; None for no header."""

    stall: int | None = None
    """Events after which nothing more comes, >= 0; None for never."""

    reset: int | None = None
    """Bytes of the body after which the connection is reset, >= 0; None for never."""

    close: int | None = None
    """Bytes of the body after which the connection is closed, >= 0; None for never."""

    malformed: int | None = None
    """Number of the event whose JSON is broken, >= 1; None for none."""

    truncate_utf8: int | None = None
    """Number of the event that holds half a character, >= 1; None for none."""

    error: int | None = None
    """Number of the event that is an error, >= 1; None for none."""

    giant: int = 0
    """Bytes added to the first event with text, 0 to 100 MB."""

    no_done: bool = False
    """Whether ``data: [DONE]`` is left out."""

    hang_close: bool = False
    """Whether the response is never ended after its last event."""

    nth: int = 1
    """Number of the first request that it happens to, >= 1."""

    times: float = math.inf
    """Requests that it happens to, >= 1; ``math.inf`` for all from *nth* on."""

    @property
    def cut(self) -> float:
        """Bytes of the body that are sent at most."""
        return min((at for at in (self.reset, self.close) if at is not None), default=math.inf)

    def applies_to(self, number: int) -> bool:
        """Tell whether this happens to request *number*, counted from 1."""
        return self.nth <= number < self.nth + self.times


def _number(least: float, most: float, unit: str) -> Callable[[str, str], float]:
    def read(clause: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            bound = f">= {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
            raise ValueError(f"fault clause {clause!r}: write a number of {unit} {bound}")
        return value

    return read


def _whole(least: int, most: float, unit: str) -> Callable[[str, str], int]:
    read_number = _number(least, most, unit)

    def read(clause: str, text: str) -> int:
        value = read_number(clause, text)
        if not value.is_integer():
            raise ValueError(f"fault clause {clause!r}: write a whole number of {unit}")
        return int(value)

    return read


def _size(clause: str, text: str) -> int:
    match = re.fullmatch(r"(\d{1,10}) ?(B|kB|MB|)", text, re.IGNORECASE)
    size = match and int(match[1]) * {"k": 1_000, "m": 1_000_000}.get(match[2][:1].lower(), 1)
    if not match or not size or size > 100_000_000:
        raise ValueError(f"fault clause {clause!r}: write a size up to 100MB, such as 64kB or 10MB")
    return size


# {name: (how its value is joined to it, or "" for none, what reads the value)}
CLAUSES: dict[str, tuple[str, Callable[[str, str], float] | None]] = {
    "delay": ("=", _number(0, math.inf, "seconds")),
    "stall-head": ("", None),
    "status": ("=", _whole(400, 599, "an HTTP status")),
    "retry-after": ("=", _number(0, math.inf, "seconds")),
    "stall": ("@", _whole(0, math.inf, "events")),
    "reset": ("@", _whole(0, math.inf, "bytes")),
    "close": ("@", _whole(0, math.inf, "bytes")),
    "malformed": ("@", _whole(1, math.inf, "events")),
    "truncate-utf8": ("@", _whole(1, math.inf, "events")),
    "error": ("@", _whole(1, math.inf, "events")),
    "giant": ("=", _size),
    "no-done": ("", None),
    "hang-close": ("", None),
    "nth": ("=", _whole(1, math.inf, "requests")),
    "times": ("=", _whole(1, math.inf, "requests")),
}


def parse_fault(script: str) -> Fault:
    """
    Read a fault script; the language is described at the top of this module.

    Raises:
        ValueError: A clause is unknown, has a bad value, stands twice, or nothing goes wrong.
    """
    fields: dict[str, float | bool] = {}
    for clause in filter(None, (part.strip() for part in script.split(";"))):
        name, joint, text = (part.strip() for part in _split(clause))
        if name not in CLAUSES:
            near = difflib.get_close_matches(name, CLAUSES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"write one of: {', '.join(CLAUSES)}"
            raise ValueError(f"unknown fault clause {clause!r}; {hint}")
        expected, read = CLAUSES[name]
        if joint != expected:
            form = f"{name}{expected}{'NUMBER' if expected else ''}"
            raise ValueError(f"fault clause {clause!r}: write {form}")
        field = name.replace("-", "_")
        if field in fields:
            raise ValueError(f"fault clause {clause!r} stands twice in {script!r}")
        fields[field] = True if read is None else read(clause, text)
    return _made(script, fields)


def _split(clause: str) -> tuple[str, str, str]:
    at = re.search("[=@]", clause)
    return (clause[: at.start()], at[0], clause[at.end() :]) if at else (clause, "", "")


def _made(script: str, fields: dict[str, float | bool]) -> Fault:
    if not fields.keys() - {"nth", "times", "retry_after"}:
        raise ValueError(f"fault {script!r} lets nothing go wrong; write what, such as stall@5")
    if "retry_after" in fields and "status" not in fields:
        raise ValueError(f"fault {script!r}: retry-after needs status=CODE")
    if "reset" in fields and "close" in fields:
        raise ValueError(f"fault {script!r}: write reset or close, not both")
    if fields.pop("stall_head", False):
        fields["delay"] = math.inf
    if "nth" in fields:
        fields.setdefault("times", 1)
    return Fault(**fields)  # type: ignore[arg-type]  # each was read by the clause of its field


def fault_for(faults: Sequence[Fault], number: int) -> Fault:
    """Return the first of *faults* that applies to request *number*, or one that does nothing."""
    return next((fault for fault in faults if fault.applies_to(number)), Fault())
