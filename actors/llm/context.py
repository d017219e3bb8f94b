"""
What a model is asked with: messages, the tools on offer, and the immutable `Context` of both.

A context is a chain of versions. Each version holds what it added and its parent, so that adding
to a conversation of 10 000 messages costs the same as adding to an empty one, and old versions
stay what they were. The tuple of all messages is built when it is first asked for; the newest
version that was asked takes it over from the older one, so that a long conversation of which every
version is kept holds it once.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, TypeAlias

import attrs

from greenroom.actors.llm.frozen import freeze
from greenroom.runtime import Frame, frame

__all__ = [
    "Assistant",
    "Context",
    "Developer",
    "Message",
    "System",
    "ToolCall",
    "ToolOutput",
    "ToolSpec",
    "User",
]


@frame
class ToolCall(Frame):
    """A tool call that a model made, whole."""

    id: str
    """What its output names; unique within the response."""
    name: str
    """The tool's name as sent; empty if the model sent none."""
    arguments: str = "{}"
    """JSON text as the model sent it, ``"{}"`` where it sent nothing."""
    fault: str | None = None
    """Why the call cannot be run, in words for the model; None for a call that can."""


@frame
class ToolSpec(Frame):
    """A tool as the model is told of it."""

    name: str
    """What the model calls it; letters, digits, ``_`` and ``-``."""
    description: str = ""
    """What it does and when to use it, for the model."""
    parameters: Mapping[str, Any] = attrs.field(
        factory=lambda: {"type": "object", "properties": {}}, converter=freeze
    )
    """JSON Schema of the arguments, an object; a read-only copy is kept."""
    strict: bool = False
    """Whether the schema keeps to the subset that a provider can enforce while it samples."""


@frame
class System(Frame):
    """Instructions from whoever runs the system."""

    text: str
    """Plain text."""


@frame
class Developer(Frame):
    """Instructions from the application; sent under the role that the provider knows."""

    text: str
    """Plain text."""


@frame
class User(Frame):
    """What the user said."""

    text: str
    """Plain text."""
    name: str | None = None
    """Who of several users said it; None where there is one."""


@frame
class Assistant(Frame):
    """What one response of the model held: its text and its calls together."""

    text: str = ""
    """The answer, as far as it was delivered."""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls of the response; each needs exactly one `ToolOutput` right after."""
    reasoning: str = ""
    """The reasoning that the provider showed; sent back only to providers that ask for it."""
    refusal: str = ""
    """The refusal, where the model refused."""
    interrupted: str | None = None
    """Why the response was broken off; None if it was not."""


@frame
class ToolOutput(Frame):
    """What a tool call came to."""

    call_id: str
    """The `ToolCall.id` that this answers."""
    text: str
    """The result as the model reads it, JSON or plain text."""
    is_error: bool = False
    """Whether *text* says what went wrong."""


Message: TypeAlias = System | Developer | User | Assistant | ToolOutput

_MESSAGES = (System, Developer, User, Assistant, ToolOutput)


class Context:
    """
    An immutable conversation: messages and the tools on offer. Made by `of`, extended by `with_`.

    Two contexts are equal if their messages and tools are; how they came about does not count.
    """

    __slots__ = ("_added", "_length", "_messages", "_parent", "_tools", "_version")

    def __init__(
        self,
        *,
        _parent: "Context | None" = None,
        _added: tuple[Message, ...] = (),
        _tools: tuple[ToolSpec, ...] = (),
    ) -> None:
        self._parent = _parent
        self._added = _added
        self._tools = _tools
        self._length: int = len(_added) + (0 if _parent is None else _parent._length)
        self._version: int = 0 if _parent is None else _parent._version + 1
        # Written by `messages` of this version, emptied by `messages` of a later one.
        self._messages: tuple[Message, ...] | None = None

    @classmethod
    def of(cls, *messages: Message, tools: Iterable[ToolSpec] = ()) -> "Context":
        """
        Return version 0 of a context.

        Raises:
            TypeError: something among *messages* is no message.
            ValueError: two of *tools* have one name.
        """
        return cls(_added=_checked(messages), _tools=_distinct(tools))

    def with_(self, *messages: Message) -> "Context":
        """
        Return the next version, with *messages* at the end; this one stays as it is.

        Takes time in proportion to the number of *messages* and shares all that was there before.

        Raises:
            TypeError: something among *messages* is no message.
        """
        if not messages:
            return self
        return Context(_parent=self, _added=_checked(messages), _tools=self._tools)

    def with_tools(self, tools: Iterable[ToolSpec]) -> "Context":
        """
        Return the next version, with the same messages and *tools* in place of its tools.

        Raises:
            ValueError: two of *tools* have one name.
        """
        return Context(_parent=self, _tools=_distinct(tools))

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, oldest first."""
        if self._messages is None:
            pieces: list[tuple[Message, ...]] = []
            version: Context | None = self
            while version is not None and version._messages is None:
                pieces.append(version._added)
                version = version._parent
            if version is not None and version._messages is not None:
                pieces.append(version._messages)
                version._messages = None
            self._messages = tuple(chain.from_iterable(reversed(pieces)))
        return self._messages

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The tools on offer."""
        return self._tools

    @property
    def version(self) -> int:
        """How many steps this version is from the one that `of` made."""
        return self._version

    def __len__(self) -> int:
        """Return the number of messages."""
        return self._length

    def __bool__(self) -> bool:
        """Return True: a context without messages is a context."""
        return True

    def __eq__(self, other: object) -> bool:
        """Compare messages and tools."""
        if not isinstance(other, Context):
            return NotImplemented
        return (
            self._length == other._length
            and self._tools == other._tools
            and self.messages == other.messages
        )

    def __repr__(self) -> str:
        """Tell the size, not the content: contexts stand in events and error messages."""
        return (
            f"<Context version {self._version}: {self._length} messages, {len(self._tools)} tools>"
        )

    def open_calls(self) -> tuple[ToolCall, ...]:
        """Return the calls of the last response that still wait for their `ToolOutput`."""
        answered: set[str] = set()
        for message in reversed(self.messages):
            if isinstance(message, ToolOutput):
                answered.add(message.call_id)
            elif isinstance(message, Assistant):
                return tuple(call for call in message.calls if call.id not in answered)
            else:
                break
        return ()

    def problems(self) -> tuple[str, ...]:
        """
        Say why this context is no valid request; empty if it is one (I8).

        Every call needs exactly one output, and the outputs stand right after the response that
        made the calls.
        """
        found: list[str] = []
        waiting: list[str] = []
        for at, message in enumerate(self.messages):
            if isinstance(message, ToolOutput):
                if message.call_id in waiting:
                    waiting.remove(message.call_id)
                else:
                    found.append(
                        f"message {at} is a ToolOutput for {message.call_id!r}, which is no "
                        f"unanswered call of the response right before it"
                    )
                continue
            if waiting:
                found.append(
                    f"message {at} ({type(message).__name__}) stands before the output of "
                    f"{', '.join(waiting)}"
                )
            waiting = []
            if isinstance(message, Assistant):
                waiting = [call.id for call in message.calls]
                if len(set(waiting)) < len(waiting):
                    found.append(f"message {at} has two calls of one id: {', '.join(waiting)}")
        if waiting:
            found.append(f"no output yet for {', '.join(waiting)}")
        return tuple(found)


def _checked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    for message in messages:
        if not isinstance(message, _MESSAGES):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"a context takes messages, not {message!r} ({type(message).__name__}); "
                f"write User('...'), System('...') or the like"
            )
    return messages


def _distinct(tools: Iterable[ToolSpec]) -> tuple[ToolSpec, ...]:
    specs = tuple(tools)
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"tools need distinct names, and {name!r} is there twice")
    return specs
