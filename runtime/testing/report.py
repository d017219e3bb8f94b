"""What a run came to, and everything that is wrong with it."""

import functools
import json
import os
from typing import Any, Final, Self

import attrs

from greenroom.runtime.events import Event
from greenroom.runtime.testing.eventlog import EventLog
from greenroom.runtime.testing.plan import Fault, Plan
from greenroom.runtime.testing.render import mermaid, timeline

__all__ = ["PLAN_VARIABLE", "Problem", "Report", "RunsReport"]

PLAN_VARIABLE: Final = "GREENROOM_PLAN"


@attrs.frozen
class Problem:
    """Something that is wrong with a run."""

    code: str
    """
    ``RAISED``, ``HANG``, ``LIVELOCK``, ``LATENCY``, ``SWALLOWED``, ``LAW``, ``HELD``, ``STRAYS``,
    or ``LEAK_`` and a kind.
    """
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@attrs.frozen
class Aftermath:
    """
    What a run passed after its first fault, where a second one may tell something new.

    Places are lines of the scenario's own code at which a task waits, each with the first position
    of that.
    """

    cleanups: dict[str, int] = attrs.Factory(dict[str, int])
    """Those at which a task waited after it had been given a cancel."""
    places: dict[str, int] = attrs.Factory(dict[str, int])
    """All of them; of a run without faults, those of the whole run."""
    points: dict[str, int] = attrs.Factory(dict[str, int])
    """How often each `fault_point` had been passed before."""


@attrs.frozen(kw_only=True)
class Report:
    """What one run came to."""

    plan: Plan
    problems: tuple[Problem, ...]
    steps: int
    """Of tasks of the scenario."""
    positions: int
    """At which a fault can come."""
    targets: dict[str, tuple[int, int]]
    """
    The scopes that a cancel can be for, each with the first and the last position at which it is
    open: the root, the named ones, and those of nurseries that the scenario's own code opened. Of a
    run without faults only.
    """
    actions: dict[str, tuple[int, int]]
    """The actions that a call can be for, likewise."""
    blocked: tuple[tuple[str, ...], ...]
    """
    For each position, the names of the tasks that wait in the scenario's own code, which an error
    can come out of. Of a run without faults only.
    """
    interruptible: bool
    """Whether Ctrl-C can come: in the main thread, where nothing else handles it."""
    points: dict[str, int]
    """How often each `fault_point` was passed."""
    fired: tuple[Fault, ...]
    """The faults that came."""
    reached: frozenset[tuple[str, int]]
    """The lines of awaits that a cancel came out of, each with its file; only if they were asked for."""
    aftermath: Aftermath = attrs.field(eq=False, repr=False)
    """What it passed after its first fault; only if that was asked for."""
    seconds: float
    """Of virtual time."""
    events: tuple[Event, ...] = attrs.field(eq=False, repr=False)
    strikes: tuple[tuple[int, str], ...] = attrs.field(eq=False, repr=False)
    """
    The faults that came, and where in the scenario's code a cancel came out, in words; each before
    the event with this index.
    """

    @functools.cached_property
    def log(self) -> str:
        """The events of the run, a line each; equal for equal runs, in every process."""
        log = EventLog()
        for event in self.events:
            log(event)
        return log.text

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the problems, each once."""
        return tuple(dict.fromkeys(problem.code for problem in self.problems))

    def check(self) -> Self:
        """
        Return the report itself.

        Raises:
            AssertionError: something is wrong; the text says what, and how to see it again.
        """
        __tracebackhide__ = True
        if self.problems:
            raise AssertionError(self.story())
        return self

    def story(self) -> str:
        """Return what is wrong, who did what until then, and how to see it again."""
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        plan = str(self.plan)
        command = _command(plan)
        again = f"to see it again: {command}\nor in code" if command else "to see it again"
        return (
            f"with the plan {plan!r}:\n{lines}\n\n{self.timeline()}\n\n"
            f"{again}: simulate(scenario, plan={plan!r})"
        )

    def timeline(self, *, last: int = 40) -> str:
        """Return the end of the story: a lane for each actor, with the faults where they struck."""
        return timeline(self.events, self.strikes, last=last)

    def mermaid(self) -> str:
        """Return the story as the source of a Mermaid sequence diagram."""
        return mermaid(self.events, self.strikes)

    def to_json(self) -> str:
        """Return the report for programs: an object with plan, problems, counts and the log's lines."""
        return json.dumps(
            {
                "plan": str(self.plan),
                "problems": [attrs.asdict(problem) for problem in self.problems],
                "fired": [str(fault) for fault in self.fired],
                "steps": self.steps,
                "positions": self.positions,
                "seconds": self.seconds,
                "log": self.log.splitlines(),
            },
            indent=1,
        )


def _command(plan: str) -> str:
    """Return the shell command that runs the test of this moment with *plan*, if there is one."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return f"{PLAN_VARIABLE}={_quoted(plan)} pytest {_quoted(test)}" if test else ""


def _quoted(text: str) -> str:
    """Return *text* as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


@attrs.frozen(kw_only=True)
class RunsReport:
    """What several runs came to."""

    runs: int
    failures: tuple[Report, ...]
    """The runs with something wrong, at most as many as were asked for."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong in any run."""
        return not self.failures

    @property
    def first(self) -> Report:
        """The first run with something wrong; IndexError if there is none."""
        return self.failures[0]

    def check(self) -> Self:
        """Return the report itself; AssertionError, by `Report.check`, if something is wrong."""
        __tracebackhide__ = True
        if self.failures:
            self.first.check()
        return self

    def to_json(self) -> str:
        """Return the report for programs: an object with the counts and the failures."""
        counts: dict[str, Any] = {
            field.name: value
            for field in attrs.fields(type(self))
            if isinstance(value := getattr(self, field.name), int | str | bool | None)
        }
        return json.dumps({**counts, "failures": [json.loads(f.to_json()) for f in self.failures]})
