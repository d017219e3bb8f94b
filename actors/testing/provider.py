"""
`ScriptedProvider`: a model that says what the test wrote down, when the test says so.

A script is written as it reads, ``"Hel|lo"`` for two pieces of text, or made by `says` and `call`::

    model = ScriptedProvider(
        says("Let me see.", call("multiply", a=6, b=7)),
        says("For|ty|-two").after(1, 2.5),  # two and a half seconds after the first piece
        says("Hel|lo").before_head(ProviderError("busy", category=Category.SERVER)),
        then="No more questions.",
    )

Each request plays the next one. Seconds are those of the Trio clock, virtual under the test kit.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Self, TypeAlias

import attrs
import trio
from pydantic_core import to_json

from greenroom.actors.llm import (
    CallFragment,
    Category,
    Context,
    Event,
    Finished,
    ProviderError,
    Settings,
    TextDelta,
    Usage,
    UsageSeen,
)

__all__ = ["HANG", "Asked", "Script", "ScriptedProvider", "Step", "Wait", "call", "says"]

#: A pause without an end.
HANG: Final = math.inf

#: A pause in seconds (`HANG` for ever), a `trio.Event` to wait for, or an error to raise.
Wait: TypeAlias = float | trio.Event | Exception

#: A chunk of the response, or what comes before the next one.
Step: TypeAlias = Event | Wait

_WAITS: Final = (int, float, trio.Event, Exception)


@attrs.frozen
class Script:
    """
    What one request is answered with; made by `says`, or by `of` from the steps themselves.

    A method returns another script, with more to it; several calls for one place add up.
    """

    steps: tuple[Step, ...] = ()
    """What comes after the head of the response; where they end, the stream does."""
    request: tuple[Wait, ...] = ()
    """What comes before the request is sent."""
    head: tuple[Wait, ...] = ()
    """What comes between the request and the head."""
    closing: Exception | None = None
    """What the stream's ``close`` raises, as that of no good provider does."""

    @classmethod
    def of(cls, steps: "str | Script | Iterable[Step]") -> "Script":
        """
        Return a script of *steps*; waits that stand first come before the head.

        A text is one of `says`.
        """
        if isinstance(steps, Script):
            return steps
        if isinstance(steps, str):
            return says(steps)
        every = tuple(steps)
        first = next(
            (n for n, step in enumerate(every) if not isinstance(step, _WAITS)), len(every)
        )
        head = tuple(step for step in every[:first] if isinstance(step, _WAITS))
        return cls(every[first:], head=head)

    def before_request(self, *waits: Wait) -> Self:
        """Do this before the request is sent; if it fails there, nothing was asked."""
        return attrs.evolve(self, request=(*self.request, *waits))

    def before_head(self, *waits: Wait) -> Self:
        """Do this between the request and the head of the response."""
        return attrs.evolve(self, head=(*self.head, *waits))

    def after(self, chunks: int, *waits: Wait) -> Self:
        """
        Do this after so many chunks; after all of them is before the stream ends.

        Args:
            chunks: From 0, which is between the head and the first one.
            waits: What to do, behind what is to be done there already.

        Raises:
            ValueError: the script has fewer chunks.
        """
        places = [n for n, step in enumerate(self.steps) if not isinstance(step, _WAITS)]
        if not 0 <= chunks <= len(places):
            raise ValueError(f"chunks must be 0 to {len(places)} in this script, not {chunks!r}")
        place = [*places, len(self.steps)][chunks]
        return attrs.evolve(self, steps=(*self.steps[:place], *waits, *self.steps[place:]))

    def at_close(self, error: Exception) -> Self:
        """Have the stream's ``close`` raise *error*, after it has closed."""
        return attrs.evolve(self, closing=error)


def call(tool: str, /, **arguments: Any) -> CallFragment:
    """Return a call of *tool* for `says`, whole and in one chunk."""
    return CallFragment(name=tool, arguments=to_json(arguments).decode())


def says(
    text: str = "", *calls: CallFragment, finish: str | None = None, usage: Usage | None = None
) -> Script:
    """
    Return the script of a whole response.

    Args:
        text: What is said, a chunk for each piece between bars: ``"Hel|lo"``.
        calls: What is called then; one without an index and an id gets its place for both.
        finish: The finish reason; by default ``"tool_calls"`` if there are calls, else ``"stop"``.
        usage: What it cost, as a last chunk.
    """
    steps: list[Step] = [TextDelta(piece) for piece in text.split("|") if piece]
    for place, fragment in enumerate(calls):
        index = place if fragment.index is None else fragment.index
        name = f"call_{place}" if fragment.id is None else fragment.id
        steps.append(attrs.evolve(fragment, index=index, id=name))
    steps.append(Finished(finish or ("tool_calls" if calls else "stop")))
    if usage is not None:
        steps.append(UsageSeen(usage))
    return Script(tuple(steps))


@attrs.frozen
class Asked:
    """What a `ScriptedProvider` was asked."""

    context: Context
    settings: Settings


class ScriptedProvider:
    """
    A `Provider` that plays one script for each request, in order.

    Args:
        scripts: What each request is answered with: a `Script`, a text for `says`, or steps.
        then: What any further one is answered with; by default it is an AssertionError.
        name: What messages and errors call it.
        remember: How many of the last requests *asked* keeps, >= 0.

    Attributes:
        asked: The last requests that were sent, in order.
        requests: How many were sent, >= 0.
        opened: How many responses were begun, with the request and so before the head, >= 0.
        closed: Whether the provider was closed.
    """

    def __init__(
        self,
        *scripts: str | Script | Iterable[Step],
        then: str | Script | Iterable[Step] | None = None,
        name: str = "scripted",
        remember: int = 100,
    ) -> None:
        self.name = name
        self.default_model = "scripted"
        self.asked: deque[Asked] = deque(maxlen=remember)
        self.requests = 0
        self.opened = 0
        self.closed = False
        self._over = 0  # of those opened; added to by the streams
        self._scripts = deque(map(Script.of, scripts))  # at most what was given
        self._then = None if then is None else Script.of(then)

    @property
    def open_streams(self) -> int:
        """
        Responses that were begun, and are not closed now; 0 when nothing has leaked.

        One that has failed or was cut off counts until its ``close`` is called, as does one that
        has come to its end.
        """
        return self.opened - self._over

    def all_closed(self) -> bool:
        """Tell whether no stream is open: ``world.own("the model", model.all_closed)``."""
        return self.open_streams == 0

    async def request(self, context: Context, settings: Settings) -> "ScriptedStream":
        """Begin the next script."""
        await trio.lowlevel.checkpoint()
        script = self._scripts.popleft() if self._scripts else self._then
        if script is None:
            raise AssertionError(
                f"{self.name} was asked {self.requests + 1} times, once too often; "
                f"give it another script, or then=..."
            )
        await _play(script.request)
        self.asked.append(Asked(context, settings))
        self.requests += 1
        self.opened += 1
        try:
            await _play(script.head)
        except BaseException:
            self._over += 1
            raise
        return ScriptedStream(self, script)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do nothing until cancelled."""
        task_status.started()
        await trio.sleep_forever()

    def close(self) -> None:
        """Note that the provider was closed."""
        self.closed = True

    def note_closed(self) -> None:
        """Note that a stream was closed; for `ScriptedStream`."""
        self._over += 1


class ScriptedStream:
    """A response of a `ScriptedProvider`; a `ProviderStream`."""

    def __init__(self, provider: ScriptedProvider, script: Script) -> None:
        """Made by `ScriptedProvider.request`."""
        self._provider = provider
        self._steps = deque(script.steps)  # at most the steps of one script
        self._closing = script.closing
        self._is_open = True
        self.request_id: str | None = f"req_{provider.requests}"
        self.model = "scripted"

    async def events(self) -> tuple[Event, ...]:
        """Return the next chunk, alone, or ``()`` at the end. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        if not self._is_open:
            raise ProviderError("the stream was closed", category=Category.UNKNOWN)
        while self._steps:
            step = self._steps[0]
            if isinstance(step, Exception):
                raise step
            self._steps.popleft()
            if not isinstance(step, _WAITS):
                return (step,)
            try:
                await _play((step,))
            except BaseException:
                self._steps.clear()  # a response that was cut off does not go on
                raise
        return ()

    def close(self) -> None:
        """Close the stream, once. Checkpoint: never."""
        if self._is_open:
            self._is_open = False
            self._provider.note_closed()
            if self._closing is not None:
                raise self._closing


async def _play(waits: tuple[Wait, ...]) -> None:  # noqa: ASYNC910 - there may be none
    for wait in waits:
        if isinstance(wait, Exception):
            raise wait
        if isinstance(wait, trio.Event):
            await wait.wait()
        else:
            await trio.sleep(wait)
