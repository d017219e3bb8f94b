"""`Collected`: the frames of a response, put together again. Pure, but for being awaited."""

import trio

from greenroom.actors.llm.frames import (
    Completion,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    TextDelta,
    ToolCallsReady,
    TranscriptDelta,
    UsageReported,
)

__all__ = ["Collected"]

_MOST_WITHOUT_CHECKPOINT = 64


class Collected:
    """A sink for the frames of one response; once it was closed, `completion` is the whole."""

    def __init__(self) -> None:
        self._frames: list[ResponseFrame] = []  # at most those of one response
        self._since_checkpoint = 0

    async def __call__(self, frame: ResponseFrame, /) -> None:  # noqa: ASYNC910 - as `Emit`
        """Keep *frame*. Checkpoint: at least every 64 frames (R12)."""
        self._since_checkpoint += 1
        if self._since_checkpoint >= _MOST_WITHOUT_CHECKPOINT:
            self._since_checkpoint = 0
            await trio.lowlevel.checkpoint()
        self._frames.append(frame)

    def close(self, *frames: ResponseFrame) -> None:
        """Keep the last *frames*."""
        self._frames += frames

    def discard_unread(self) -> int:
        """Return 0: who asked for the whole has nothing of a response that was cut off (R12)."""
        self._frames.clear()
        return 0

    def completion(self) -> Completion:
        """Return what the frames are together."""
        frames = self._frames
        ended = frames[-1]
        assert isinstance(ended, ResponseEnded), "a response ends once, and last (I5)"
        return Completion(
            "".join(f.text for f in frames if isinstance(f, TextDelta)),
            calls=next((f.calls for f in frames if isinstance(f, ToolCallsReady)), ()),
            reasoning="".join(f.text for f in frames if isinstance(f, ReasoningDelta)),
            refusal="".join(f.text for f in frames if isinstance(f, RefusalDelta)),
            transcript="".join(f.text for f in frames if isinstance(f, TranscriptDelta)),
            usage=next((f.usage for f in frames if isinstance(f, UsageReported)), None),
            ended=ended,
        )
