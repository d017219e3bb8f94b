"""
What is done to a run: which faults come where, and which task goes first; pure, and pasteable.

A `Plan` reads and writes as one line::

    cancel(root)@18
    cancel(turn)@21 jump(5)@24
    interrupt@7; preempt 3:1 9:2
    cancel(root)@40; random 17; skew 1
    fail(store.write)@2 crash(torn)@31; batch

A fault comes at a *position*: the positions are the moments before each step of a task of the
scenario, and one before each jump of the clock, counted from 0. Only those of a ``fail`` are counted
otherwise: by how often the fault point was passed before. ``preempt 3:1`` has the task with index 1
among the runnable ones go first at step 3, in place of the one that the policy would choose. The
policies are ``fifo``, which goes on with the same task as long as it can, also with one that a
preemption chose, ``random SEED`` and ``pct SEED DEPTH STEPS``. With ``skew SECONDS`` the clock is one
more that may go first: time passes while tasks could run, at most so much of it before all of them
have.

The modes: in ``one``, which is not written, a task makes one step and then all are asked again, as
if any of them could be slow; in ``batch`` those that are runnable make a step each, in another order,
as Trio does it today; ``public`` leaves the order to Trio, and repeats nothing. ``live`` does that
too, and runs in real time with real threads and sockets. Positions are then those before and after
each step of a task while the target is open, since what comes before it has another length each time.
"""

import math
import re
from typing import Final, Literal, Self, TypeAlias, get_args

import attrs

__all__ = ["Fault", "FaultKind", "Mode", "Plan", "PolicyName", "check_name", "plain"]

FaultKind: TypeAlias = Literal["cancel", "call", "raise", "fail", "interrupt", "jump", "crash"]
PolicyName: TypeAlias = Literal["fifo", "random", "pct"]
Mode: TypeAlias = Literal["one", "batch", "public", "live"]

_NAME: Final = r"[^\s();]+"
_FAULT: Final = re.compile(rf"(?P<kind>[a-z]+)(\((?P<target>{_NAME})\))?@(?P<position>\d+)")
_WITH_TARGET: Final = ("cancel", "call", "raise", "fail")
TORN: Final = "torn"


def check_name(what: str, name: str) -> None:
    """Raise ValueError if a plan can't name *what*, a scope, an action or a fault point, by *name*."""
    if re.fullmatch(_NAME, name) is None:
        raise ValueError(
            f"{name!r} is no name for {what}, since a plan could not be written with it; write one "
            f"without spaces, brackets and semicolons, such as {plain(name)!r}"
        )


def plain(name: str) -> str:
    """Return *name* as a plan can have it, with a dash for what it can't."""
    return re.sub(r"[\s();]+", "-", name).strip("-") or "unnamed"


def _check_position(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if not (isinstance(value, int) and value >= 0):
        raise ValueError(f"{attribute.name} must be an int >= 0, not {value!r}")


@attrs.frozen
class Fault:
    """Something that is done to a run, at one position."""

    kind: FaultKind
    """
    ``cancel``: a scope; ``call``: what the scenario offers as an action; ``raise``: an exception out
    of the await of a blocked task; ``fail``: one out of a `fault_point`; ``interrupt``: Ctrl-C;
    ``jump``: of the clock; ``crash``: of the process.
    """
    position: int = attrs.field(validator=_check_position)
    target: str = ""
    """
    Of a ``cancel``: the name of the scope, or ``root``; of a ``call``: that of the action; of a
    ``raise``: that of the task; of a ``fail``: that of the point; of a ``crash``: ``torn``, or nothing.
    """
    seconds: float = 0.0
    """Of a ``jump``."""

    def __attrs_post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"kind must be one of {get_args(FaultKind)}, not {self.kind!r}")
        if self.target:
            check_name("the target of a fault", self.target)
        if self.kind == "crash" and self.target not in ("", TORN):
            raise ValueError(f"a crash is plain or torn, not {self.target!r}: write crash(torn)@3")
        if self.kind != "crash" and (self.kind in _WITH_TARGET) != bool(self.target):
            need = "needs a target" if self.kind in _WITH_TARGET else "has no target"
            raise ValueError(f"{self.kind} {need}: write {self.kind}(root)@{self.position}")
        if (self.kind == "jump") != (0 < self.seconds < math.inf):
            raise ValueError(f"a jump, and nothing else, has seconds > 0, not {self.seconds!r}")

    def __str__(self) -> str:
        inside = f"({self.target})" if self.target else f"({self.seconds:g})" * bool(self.seconds)
        return f"{self.kind}{inside}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the fault that *text* stands for; ValueError if it stands for none."""
        match = _FAULT.fullmatch(text)
        if match is None or match["kind"] not in get_args(FaultKind):
            raise ValueError(
                f"{text!r} is no fault; write for example cancel(root)@7, interrupt@3, jump(5)@24"
            )
        position, inside = int(match["position"]), match["target"] or ""
        if match["kind"] == "jump":
            try:
                return cls("jump", position, seconds=float(inside))
            except ValueError as error:
                raise ValueError(f"{text!r} needs its seconds: jump(5)@{position}") from error
        kind: FaultKind = match["kind"]  # type: ignore[assignment]  # one of them, as tested
        return cls(kind, position, target=inside)


def _check_skew(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name} must be a number of seconds >= 0, not {value!r}")


@attrs.frozen
class Plan:
    """All that is done to one run; an empty one is the run as it comes."""

    faults: tuple[Fault, ...] = ()
    preempt: tuple[tuple[int, int], ...] = ()
    """Pairs of a step and the index of the task that goes first there."""
    policy: PolicyName = "fifo"
    seed: int = 0
    """Of ``random`` and ``pct``."""
    depth: int = 3
    """Of ``pct``: how many points of a run must fall into the right order for a bug to show, >= 1."""
    steps: int = 200
    """Of ``pct``: about how many steps a run has."""
    skew: float = attrs.field(default=0.0, validator=_check_skew)
    """How much time may pass while tasks could run; seconds >= 0, with 0 none."""
    mode: Mode = "one"

    def __str__(self) -> str:
        parts = [" ".join(map(str, self.faults))]
        if self.preempt:
            parts.append("preempt " + " ".join(f"{step}:{index}" for step, index in self.preempt))
        if self.policy == "random":
            parts.append(f"random {self.seed}")
        if self.policy == "pct":
            parts.append(f"pct {self.seed} {self.depth} {self.steps}")
        if self.skew:
            parts.append(f"skew {self.skew!r}")
        if self.mode != "one":
            parts.append(self.mode)
        return "; ".join(filter(None, parts)) or "as it comes"

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Return the plan that *text* stands for, as `str` writes it.

        Raises:
            ValueError: it stands for none; the text says which part.
        """
        faults: list[Fault] = []
        preempt: list[tuple[int, int]] = []
        policy: PolicyName = "fifo"
        mode: Mode = "one"
        seed, depth, steps, skew = 0, 3, 200, 0.0
        if text.strip() == "as it comes":
            return cls()
        for part in filter(None, (part.strip() for part in text.split(";"))):
            word, *rest = part.split()
            match word:
                case "preempt":
                    preempt += [_pair(item) for item in rest]
                case "random":
                    policy, (seed,) = "random", _numbers(part, rest, 1)
                case "pct":
                    policy, (seed, depth, steps) = "pct", _numbers(part, rest, 3)
                case "skew":
                    skew = _seconds(part, rest)
                case "batch" | "public" | "live" if not rest:
                    mode = word
                case _:
                    faults += [Fault.parse(item) for item in (word, *rest)]
        return cls(tuple(faults), tuple(preempt), policy, seed, depth, steps, skew, mode)


def _pair(text: str) -> tuple[int, int]:
    step, _, index = text.partition(":")
    if not (step.isdecimal() and index.isdecimal()):
        raise ValueError(f"{text!r} is no preemption; write step:index, for example preempt 3:1")
    return int(step), int(index)


def _seconds(part: str, words: list[str]) -> float:
    try:
        (seconds,) = map(float, words)
    except ValueError as error:
        raise ValueError(f"{part!r} needs one number of seconds; write 'skew 1'") from error
    return seconds


def _numbers(part: str, words: list[str], count: int) -> list[int]:
    if len(words) != count or not all(word.isdecimal() for word in words):
        raise ValueError(f"{part!r} needs {count} numbers; write 'random 17' or 'pct 17 3 200'")
    return [int(word) for word in words]
