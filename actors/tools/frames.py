"""The frames of the dispatcher: the calls that it is asked to run, and how each one ends."""

from typing import TypeAlias

import attrs

from greenroom.actors.llm import ToolCall
from greenroom.runtime import Frame, StreamRequest, frame

__all__ = ["Dispatch", "DispatchFrame", "ToolResult", "ToolStarted"]


def _utf8(text: str) -> str:
    """Return *text* without lone surrogates, which no request to a model could carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@frame
class ToolStarted(Frame):
    """The tool's function begins; a call that cannot be run has a result but no start."""

    call_id: str
    """The `ToolCall.id`."""
    name: str
    """The tool's name."""


@frame
class ToolResult(Frame):
    """How a call ended: exactly one for each call (I3)."""

    call_id: str
    """The `ToolCall.id`."""
    name: str
    """The tool's name, as the model sent it."""
    text: str = attrs.field(converter=_utf8)
    """For the model: the returned text, or other value as JSON, or what went wrong."""
    is_error: bool = attrs.field(kw_only=True, default=False)
    """Whether *text* says what went wrong."""
    seconds: float = attrs.field(kw_only=True, default=0.0)
    """How long the function ran, by the Trio clock, >= 0; 0 for a call that never began."""
    detail: str = attrs.field(kw_only=True, default="")
    """For the application and its logs, not for the model: the exception, if there was one."""


DispatchFrame: TypeAlias = ToolStarted | ToolResult


@frame
class Dispatch(StreamRequest[DispatchFrame]):
    """
    Run *calls*, and stream a `ToolResult` for each, in the order in which they end.

    A block that is left early finds the results that it has not taken in ``stream.closing``: with
    those that it took, they are exactly one for each call. Two cases leave ``closing`` empty: the
    request was still queued, so that nothing began; or a function overran ``cleanup_grace``, so
    that the block did not wait for the end (R10).

    Raises:
        ValueError: two of *calls* have one id.
    """

    calls: tuple[ToolCall, ...]
    """In the order of the model; their ids are distinct."""
    parallel: bool = attrs.field(kw_only=True, default=True)
    """Whether they run all at once, within the dispatcher's limits, or one after another."""

    def __attrs_post_init__(self) -> None:
        """Refuse two calls of one id."""
        ids = [call.id for call in self.calls]
        if len(set(ids)) < len(ids):
            twice = next(call_id for call_id in ids if ids.count(call_id) > 1)
            raise ValueError(f"calls need distinct ids, and {twice!r} is there twice")
