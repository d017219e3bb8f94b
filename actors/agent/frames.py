"""What an agent is asked, and what a turn is made of."""

from enum import Enum
from typing import TypeAlias

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.frames import ResponseFrame, Usage
from greenroom.actors.tools.frames import DispatchFrame
from greenroom.runtime import Frame, Ref, Request, StreamRequest, frame

__all__ = [
    "Answer",
    "Conversation",
    "HandedOff",
    "Outcome",
    "Question",
    "Rewind",
    "TakeOver",
    "TurnEnded",
    "TurnFrame",
    "UserMessage",
]


class Outcome(Enum):
    """How a turn ended."""

    ANSWERED = "answered"
    """The model answered."""
    TRUNCATED = "truncated"
    """The limit on tokens cut the answer off."""
    FILTERED = "filtered"
    """The provider withheld the rest of the answer."""
    REFUSED = "refused"
    """The model refused."""
    EMPTY = "empty"
    """The model ended well and said nothing."""
    EXHAUSTED = "exhausted"
    """``max_steps`` responses went by without an answer."""
    HANDED_OFF = "handed off"
    """Another agent is to go on: only a `TakeOver` ends so, and its asker sees to it."""
    INTERRUPTED = "interrupted"
    """Whoever asked left, or the agent was interrupted."""
    TIMED_OUT = "timed_out"
    """A deadline of the model's `Patience` passed."""
    FAILED = "failed"
    """The provider, the connection or an actor of the team failed."""


@frame
class HandedOff(Frame):
    """Another agent has the conversation from here on."""

    by: str
    """The agent that had it."""
    to: Ref
    """The agent that has it."""


@frame
class TurnEnded(Frame):
    """The end of a turn; nothing of it comes after this, and nothing of it is left."""

    outcome: Outcome
    """How it ended."""
    answer: str = ""
    """The text of the last response, as far as it was delivered."""
    usage: Usage = Usage()
    """Of all responses of the turn together."""
    detail: str = ""
    """Why, for what went wrong; one line that says what to do."""
    agent: str = ""
    """The agent that had the conversation at the end."""
    steps: int = 0
    """Responses asked for."""
    calls: int = 0
    """Tool calls settled."""


TurnFrame: TypeAlias = ResponseFrame | DispatchFrame | HandedOff | TurnEnded


@frame
class UserMessage(StreamRequest[TurnFrame]):
    """Take a turn: what the user says, answered by every frame of the turn."""

    text: str
    """What the user said."""


@frame
class Answer(Frame):
    """What a turn came to."""

    text: str
    """The answer."""
    outcome: Outcome
    """How the turn ended; never interrupted, timed out or failed."""
    usage: Usage
    """Of all responses of the turn together."""


@frame
class Question(Request[Answer]):
    """Take a turn, and reply with its answer; refused if the turn fails."""

    text: str
    """What the user said."""


@frame
class TakeOver(StreamRequest[TurnFrame]):
    """Take a turn in somebody else's conversation; the agent's own stays as it is."""

    context: Context
    """The conversation, a valid request that ends with what is to be answered."""
    may_hand_off: bool = True
    """Whether the asker goes on at the agent that a `HandedOff` names."""


@frame
class Conversation(Request[Context]):
    """Reply with the agent's conversation as it stands."""


@frame
class Rewind(Request[Context]):
    """Forget the last turns, the user's messages included; reply with what is left."""

    turns: int = 1
    """How many, >= 1; more than there are leave an empty conversation."""

    def __attrs_post_init__(self) -> None:
        """Refuse what is no count of turns."""
        if not (isinstance(self.turns, int) and self.turns >= 1):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"turns must be an int >= 1, not {self.turns!r}")
