"""
`Provider`: what stands between the LLM actor and a model's API, and the events it speaks in.

A provider sends a request and hands back a stream whose close is a plain function. It knows
nothing of actors; the actor knows nothing of HTTP.
"""

from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.frames import (
    LogprobsDelta,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TranscriptDelta,
    Usage,
)
from greenroom.actors.llm.settings import Settings

__all__ = [
    "AttemptFailed",
    "CallFragment",
    "Event",
    "Finished",
    "ModelSeen",
    "Provider",
    "ProviderStream",
    "UsageSeen",
    "has_begun",
]


@attrs.frozen
class CallFragment:
    """One entry of the tool calls of one delta."""

    index: int | None = None
    """The place the provider gives the call; None if it gives none."""
    id: str | None = None
    """The call's id, perhaps only in some of its fragments; None or empty if absent."""
    name: str = ""
    """The tool's name or a piece of it, perhaps once more."""
    arguments: str = ""
    """The next piece of the arguments, JSON text."""


@attrs.frozen
class Finished:
    """The model is done; usage may still come."""

    reason: str | None
    """The finish reason as sent; None if the provider ended the stream without one."""


@attrs.frozen
class UsageSeen:
    """A snapshot of the usage, which takes the place of any before."""

    usage: Usage
    """All of the response so far."""


@attrs.frozen
class ModelSeen:
    """The first chunk came, or the model's name changed."""

    name: str
    """The model as served; empty if the provider does not say."""


@attrs.frozen
class AttemptFailed:
    """A request was in vain, and is made again; nothing of it was delivered."""

    reason: str
    """Why, in a line."""


Event: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | TranscriptDelta
    | LogprobsDelta
    | RawEvent
    | CallFragment
    | Finished
    | UsageSeen
    | ModelSeen
    | AttemptFailed
)


_ANSWERS: Final = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    TranscriptDelta,
    CallFragment,
    Finished,
)


def has_begun(events: Iterable[Event]) -> bool:
    """Tell whether the model has said something in *events*, or has ended: nothing takes that back."""
    return any(isinstance(event, _ANSWERS) for event in events)


class ProviderStream(Protocol):
    """A response that is being received."""

    @property
    def request_id(self) -> str | None:
        """The provider's own id of the request; None until it is known."""
        ...

    @property
    def model(self) -> str:
        """The model as served, or as asked for until the provider says."""
        ...

    async def events(self) -> tuple[Event, ...]:
        """
        Wait for what comes next.

        Returns:
            At least one event, or ``()`` at the end and ever after.

        Raises:
            ProviderError: the provider or the connection failed. Events that came before were
                returned before.

        Cancellation:
            The response is aborted; nothing of it is left.
        """
        ...

    def close(self) -> None:
        """
        Let go of the response; idempotent, and legal at any time.

        A response that has ended gives its connection back. Any other is aborted, which the
        server sees at once.

        Checkpoint: never.
        """
        ...


class Provider(Protocol):
    """A model's API."""

    @property
    def name(self) -> str:
        """What messages and errors call it."""
        ...

    @property
    def default_model(self) -> str:
        """The model of requests whose settings name none; empty if there is none."""
        ...

    async def request(self, context: Context, settings: Settings) -> ProviderStream:
        """
        Ask for a response, and return once its head has come.

        Raises:
            ProviderError: the provider refused, or could not be reached.

        Cancellation:
            The request is aborted; nothing of it is left.
        """
        ...

    # ASYNC114 wants startable functions listed for a rule about nurseries in __aenter__.
    async def run(  # noqa: ASYNC114
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Do the background work of this provider until cancelled; wait if there is none."""
        ...

    def close(self) -> None:
        """
        Abort all streams and close all connections; idempotent.

        Checkpoint: never.
        """
        ...
