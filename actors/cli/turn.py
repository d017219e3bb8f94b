"""One turn on the screen: frames become steps, text and status, and Ctrl-C ends it."""

from collections.abc import Iterator

import trio
from rich.cells import cell_len

from greenroom.actors.agent import HandedOff, Outcome, TurnEnded, TurnFrame, UserMessage
from greenroom.actors.cli.progress import Progress
from greenroom.actors.cli.run import Interrupts
from greenroom.actors.cli.screen import Screen
from greenroom.actors.cli.wording import seconds, shortened, values_of
from greenroom.actors.llm.frames import RefusalDelta, TextDelta, ToolCallsReady, TranscriptDelta
from greenroom.actors.tools import ToolResult
from greenroom.runtime import Ref, ReplyStream, RequestError, bare

__all__ = ["TurnView", "take_turn"]

_LEAST = 20  # columns that a tool's call and its result have at least


class TurnView:
    """
    What the screen shows of one turn.

    Args:
        screen: Where.
        agent: The agent that is asked.
    """

    def __init__(self, screen: Screen, agent: str) -> None:
        self.progress = Progress(agent, trio.current_time())
        self._screen = screen

    def show(self, frame: TurnFrame, *, is_cut: bool = False) -> None:
        """Show the next frame; *is_cut* says that the turn was interrupted before it."""
        match frame:
            case TextDelta(text) | RefusalDelta(text) | TranscriptDelta(text):
                self._screen.text(text)
            case ToolCallsReady():
                self._screen.end_text()
            case ToolResult() if self.progress.was_begun(frame.call_id):
                is_cut = is_cut and frame.text.startswith(f"tool {frame.name!r} was cancelled")
                style = "magenta" if is_cut else "red" if frame.is_error else "green"
                self._screen.line(self._settled(frame, is_cut), style)
            case HandedOff(by, to):
                self._screen.line(f"{by} hands over to {to.name}", "cyan")
            case _:
                pass
        self.progress.feed(frame, trio.current_time())

    def _settled(self, result: ToolResult, is_cut: bool) -> str:
        """Return the line of a tool's result, within the width."""
        head = f"{self.progress.agents[-1].name}: "
        head += self.progress.call(result.call_id, result.name)
        text = ("failed: " if result.is_error else "") + values_of(result.text)
        text = "cancelled" if is_cut else text
        tail = f"  {seconds(result.seconds)}"
        room = self._screen.width - len(" -> ") - len(tail)
        head = shortened(head, max(_LEAST, room - _LEAST))
        return f"{head} -> {shortened(text, max(_LEAST, room - cell_len(head)))}{tail}"

    def status(self) -> Iterator[str]:
        """Yield the rows of status as they are now."""
        now = trio.current_time()
        for row in self.progress.status(now):
            yield row.text(now)


async def take_turn(
    agent: Ref, text: str, screen: Screen, interrupts: Interrupts
) -> tuple[TurnEnded, Progress]:
    """
    Let *agent* answer *text* on the screen; Ctrl-C interrupts it.

    Returns:
        The end of the turn, also of one that was interrupted, and what it came to.

    Checkpoint: always.
    """
    view = TurnView(screen, agent.name)
    ended = TurnEnded(Outcome.INTERRUPTED, detail="Ctrl-C", agent=agent.name)
    stream: ReplyStream[TurnFrame] = agent.stream(UserMessage(text))
    is_sent = False
    with screen.live(view.status), bare():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.keep_drawing)
            try:
                with interrupts.part():
                    async with stream:
                        is_sent = True
                        async for frame in stream:
                            view.show(frame)
                            if isinstance(frame, TurnEnded):
                                ended = frame
            except RequestError as error:
                ended = TurnEnded(Outcome.FAILED, detail=str(error), agent=agent.name)
            nursery.cancel_scope.cancel()
        for frame in stream.untaken if is_sent else ():
            view.show(frame, is_cut=True)
            if isinstance(frame, TurnEnded):
                ended = frame
    return ended, view.progress
