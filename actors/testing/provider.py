"""`ScriptedProvider`: a model that says what the test wrote down, when the test says so."""

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

import attrs
import trio

from greenroom.actors.llm import Category, Context, Event, ProviderError, Settings

__all__ = ["ScriptedProvider", "Step"]

#: An event; a pause in seconds before the next one (``math.inf`` to hang); or an error to raise.
Step: TypeAlias = Event | float | Exception


@attrs.frozen
class _Asked:
    context: Context
    settings: Settings


class ScriptedProvider:
    """
    A provider that plays one script for each request, in order.

    A script is a sequence of `Step`. A pause or an error that stands first comes before the head of
    the response. The end of the script is the end of the stream.

    Args:
        scripts: What each request is answered with; one more request is an error.

    Attributes:
        asked: The context and settings of each request, in order.
        open: Streams that are not closed now; 0 when nothing has leaked.
        closed: Whether the provider was closed.
    """

    def __init__(self, *scripts: Iterable[Step], name: str = "scripted") -> None:
        self.name = name
        self.default_model = "scripted"
        self.asked: list[_Asked] = []
        self.open = 0
        self.closed = False
        self._scripts = deque(tuple(script) for script in scripts)  # at most what was given

    async def request(self, context: Context, settings: Settings) -> "_ScriptedStream":
        """Begin the next script."""
        self.asked.append(_Asked(context, settings))
        if not self._scripts:
            raise AssertionError(f"{self.name} was asked {len(self.asked)} times, once too often")
        stream = _ScriptedStream(self, deque(self._scripts.popleft()))  # at most one script
        await stream.pause()
        self.open += 1
        return stream

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do nothing until cancelled."""
        task_status.started()
        await trio.sleep_forever()

    def close(self) -> None:
        """Note that the provider was closed."""
        self.closed = True


class _ScriptedStream:
    def __init__(self, provider: ScriptedProvider, steps: deque[Step]) -> None:
        self._provider = provider
        self._steps = steps
        self._is_open = True
        self.request_id: str | None = None
        self.model = "scripted"

    async def pause(self) -> None:
        """Play pauses and errors up to the next event. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        while self._steps:
            step = self._steps[0]
            if isinstance(step, Exception):
                raise step
            if not isinstance(step, (int, float)):
                return
            self._steps.popleft()
            await trio.sleep(step)

    async def events(self) -> tuple[Event, ...]:
        """Return the next event, alone, or ``()`` at the end."""
        if not self._is_open:
            raise ProviderError("the stream was closed", category=Category.UNKNOWN)
        await self.pause()
        if not self._steps:
            return ()
        step = self._steps.popleft()
        assert not isinstance(step, (int, float, Exception))
        return (step,)

    def close(self) -> None:
        """Note that the stream was closed."""
        if self._is_open:
            self._is_open = False
            self._provider.open -= 1
