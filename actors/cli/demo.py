"""``greenroom demo``: a team of agents answers one question."""

import trio

from greenroom.actors.agent import Outcome
from greenroom.actors.cli.model import ModelOptions, open_model
from greenroom.actors.cli.run import CommandError, Interrupts, complain
from greenroom.actors.cli.screen import Screen
from greenroom.actors.cli.timeline import Timeline
from greenroom.actors.cli.turn import take_turn
from greenroom.actors.cli.wording import counted, failure, kept, shortened
from greenroom.actors.demo.cast import DEFAULT_QUESTION
from greenroom.actors.demo.team import spawn_team
from greenroom.actors.llm.actor import LLM
from greenroom.runtime import open_runtime

__all__ = ["demo"]


async def demo(
    interrupts: Interrupts,
    *,
    question: str | None,
    options: ModelOptions,
    tool_delay: float,
) -> int:
    """
    Ask the demo's team *question*, show it at work, and then the timeline of frames.

    Returns:
        0 for an answer, else the exit code of what went wrong.

    Raises:
        CommandError: there is no answer; the message says why.
    """
    question = DEFAULT_QUESTION if question is None else question
    if not question.strip():
        raise CommandError('the question is empty; write: greenroom demo "your question"', 2)
    screen = Screen()
    interrupts.last_resort.append(screen.restore)
    timeline = Timeline()
    async with (
        open_model(options, screen) as model,
        open_runtime(observers=[timeline.observe]) as runtime,
    ):
        screen.line()
        screen.line(f"you: {question}", "bold")
        llm = await runtime.spawn(LLM, model.provider, model.settings, name="model")
        team = await spawn_team(runtime, llm, tool_delay=tool_delay)
        ended, progress = await take_turn(team.front_desk, question, screen, interrupts)
        took_until = trio.current_time()
    if ended.outcome is Outcome.INTERRUPTED:
        screen.line(kept(ended, progress.done, progress.calls - progress.done), "magenta")
        return 130
    screen.line()
    screen.line("Timeline: seconds, who sent what to whom", "bold")
    for line in timeline.lines(screen.width):
        screen.line(line)
    screen.line()
    screen.line(progress.summary(took_until, timeline.frames), "bold")
    reason = failure(ended)
    if reason:
        raise CommandError(reason)
    if progress.broken:
        name, detail = next(iter(progress.broken.items()))
        complain(
            f"{counted(len(progress.broken), 'tool')} failed, first {name} "
            f"({shortened(detail, 200)}); mend it, or write --debug for the traceback"
        )
        return 1
    return 0
