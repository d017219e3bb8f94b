"""
From the frames of a turn to the conversation: pure, and sync.

Rules of this file: what a conversation holds after a turn, however the turn ended, is decided here
and nowhere else. The frames are fed in the order in which they are emitted. At any point the turn
may end, and `commit` gives a context that is a valid request (I8):

- the text and the calls of one response stand in one message;
- every call that the model made has exactly one output, right after it; a call that nothing settled
  says that it was cancelled;
- of the text, only what the asker took is committed; results of tools are committed whether they
  were seen or not, for what they did is done.

States::

    IDLE --ResponseStarted--> STREAMING --ResponseEnded--> IDLE, or CALLING if it has calls
    CALLING --ToolResult, the last one--> IDLE
"""

from enum import Enum

from greenroom.actors.agent.frames import HandedOff, TurnEnded, TurnFrame
from greenroom.actors.llm.context import Assistant, Context, ToolCall, ToolOutput
from greenroom.actors.llm.frames import (
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseStarted,
    Status,
    TextDelta,
    ToolCallsReady,
    TranscriptDelta,
    Usage,
    UsageReported,
)
from greenroom.actors.tools.frames import ToolResult
from greenroom.runtime import IllegalMove

__all__ = ["Phase", "Transcript"]

_BROKEN_OFF = frozenset({Status.INTERRUPTED, Status.TIMED_OUT, Status.FAILED})


class Phase(Enum):
    """What a turn is in the middle of."""

    IDLE = "idle"
    STREAMING = "streaming"
    CALLING = "calling"


class _Response:
    """One response of the turn; its texts are kept with the number of the frame they came in."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.text: list[tuple[int, str]] = []
        self.reasoning: list[tuple[int, str]] = []
        self.refusal: list[tuple[int, str]] = []
        self.calls: tuple[ToolCall, ...] = ()
        self.outputs: dict[str, ToolOutput] = {}  # by call id, in the order of settling
        self.broken_off: str | None = None

    def messages(self, taken: int | None, reason: str) -> tuple[Assistant | ToolOutput, ...]:
        """Return the messages that the response comes to, all its calls settled."""
        texts = [_joined(pieces, taken) for pieces in (self.text, self.reasoning, self.refusal)]
        lost = taken is not None and any(
            number >= taken for pieces in (self.text, self.refusal) for number, _ in pieces
        )
        assistant = Assistant(
            text=texts[0],
            calls=self.calls,
            reasoning=texts[1],
            refusal=texts[2],
            interrupted=self.broken_off or (reason if lost else None),
        )
        if not (assistant.text or assistant.calls or assistant.refusal):
            return ()
        missing = (
            ToolOutput(call.id, f"cancelled: {reason}", is_error=True)
            for call in self.calls
            if call.id not in self.outputs
        )
        return (assistant, *self.outputs.values(), *missing)


def _joined(pieces: list[tuple[int, str]], taken: int | None) -> str:
    return "".join(text for number, text in pieces if taken is None or number < taken)


class Transcript:
    """
    One turn.

    Args:
        context: The conversation before it, what is to be answered included.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._responses: list[_Response] = []
        self._phase = Phase.IDLE
        self.fed = 0  # frames; the number of the next one
        self.usage = Usage()
        self.calls = 0  # settled

    @property
    def phase(self) -> Phase:
        """What the turn is in the middle of."""
        return self._phase

    @property
    def steps(self) -> int:
        """How many responses there were."""
        return len(self._responses)

    @property
    def response_id(self) -> str:
        """The id of the last response; empty before the first."""
        return self._responses[-1].id if self._responses else ""

    def feed(self, frame: TurnFrame) -> None:
        """
        Take in the next frame of the turn.

        Raises:
            IllegalMove: it can't come now; nothing changed (I6).
        """
        match frame:
            case ResponseStarted():
                self._must_be(Phase.IDLE, frame)
                self._responses.append(_Response(frame.id))
                self._phase = Phase.STREAMING
            case TextDelta() | TranscriptDelta():
                self._must_be(Phase.STREAMING, frame)
                self._responses[-1].text.append((self.fed, frame.text))
            case ReasoningDelta():
                self._must_be(Phase.STREAMING, frame)
                self._responses[-1].reasoning.append((self.fed, frame.text))
            case RefusalDelta():
                self._must_be(Phase.STREAMING, frame)
                self._responses[-1].refusal.append((self.fed, frame.text))
            case ToolCallsReady():
                self._must_be(Phase.STREAMING, frame)
                ids = [call.id for call in frame.calls]
                if len(set(ids)) < len(ids):
                    raise IllegalMove(
                        f"a turn can't take ToolCallsReady with two calls of one id: "
                        f"{', '.join(ids)}"
                    )
                self._responses[-1].calls = frame.calls
            case UsageReported():
                self.usage += frame.usage
            case ResponseEnded():
                self._must_be(Phase.STREAMING, frame)
                response = self._responses[-1]
                if frame.status in _BROKEN_OFF:
                    response.broken_off = frame.detail or frame.status.value
                self._phase = Phase.CALLING if response.calls else Phase.IDLE
            case ToolResult():
                self._settle(frame)
            case HandedOff() | TurnEnded():
                self._must_be(Phase.IDLE, frame)
            case _:
                pass  # announcements, which the conversation does not hold
        self.fed += 1

    def _must_be(self, phase: Phase, frame: TurnFrame) -> None:
        if self._phase is not phase:
            waiting = ", ".join(call.id for call in self.open_calls()) or "none"
            raise IllegalMove(
                f"a turn can't take {type(frame).__name__} while {self._phase.value}; "
                f"open calls: {waiting}"
            )

    def _settle(self, result: ToolResult) -> None:
        if result.call_id not in (call.id for call in self.open_calls()):
            waiting = ", ".join(call.id for call in self.open_calls()) or "none"
            raise IllegalMove(
                f"a turn can't take ToolResult(call_id={result.call_id!r}) while "
                f"{self._phase.value}; open calls: {waiting}"
            )
        self._responses[-1].outputs[result.call_id] = ToolOutput(
            result.call_id, result.text, is_error=result.is_error
        )
        self.calls += 1
        if not self.open_calls():
            self._phase = Phase.IDLE

    def open_calls(self) -> tuple[ToolCall, ...]:
        """Return the calls that wait for their results, in the order of the model."""
        if self._phase is not Phase.CALLING:
            return ()
        response = self._responses[-1]
        return tuple(call for call in response.calls if call.id not in response.outputs)

    def answer(self, taken: int | None = None) -> str:
        """Return the text of the last response, or of its refusal."""
        if not self._responses:
            return ""
        last = self._responses[-1]
        return _joined(last.text, taken) or _joined(last.refusal, taken)

    def commit(self, taken: int | None = None, reason: str = "interrupted") -> Context:
        """
        Return the conversation with the turn as it stands.

        Args:
            taken: How many of the frames fed the asker took; None for all.
            reason: What the messages say of what is missing.
        """
        context = self._context
        for response in self._responses:
            context = context.with_(*response.messages(taken, reason))
        return context
