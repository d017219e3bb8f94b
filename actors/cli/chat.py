"""``greenroom chat``: a conversation on the terminal, or over a pipe."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import attrs
import trio

from greenroom.actors.agent import Agent, Conversation, Outcome, Rewind, TurnEnded
from greenroom.actors.cli.lines import Lines
from greenroom.actors.cli.model import ModelOptions, open_model
from greenroom.actors.cli.run import CommandError, Interrupts, complain
from greenroom.actors.cli.screen import Screen
from greenroom.actors.cli.turn import take_turn
from greenroom.actors.cli.wording import conversation, counted, failure, kept, one_line
from greenroom.actors.demo.team import Team, spawn_team
from greenroom.actors.llm.actor import LLM
from greenroom.runtime import Ref, open_runtime

__all__ = ["chat"]

_HELP = """\
/undo      take back your last message and all that came of it
/tools     what the agents can call
/context   the conversation as the model is told it
/help      this
/quit      leave, as does Ctrl-D
Ctrl-C interrupts the turn that runs; at the prompt it leaves."""


@attrs.define(kw_only=True)
class _Chat:
    """A conversation that goes on."""

    screen: Screen
    interrupts: Interrupts
    agent: Ref
    """Who takes the next turn."""
    team: Team | None
    """The team of which *agent* is the front desk; None for an agent alone."""

    async def turn(self, text: str) -> TurnEnded:
        """Take a turn, and say what came of it if that was no answer. Checkpoint: always."""
        ended, progress = await take_turn(self.agent, text, self.screen, self.interrupts)
        if self.team is not None and len(progress.agents) > 1:
            self.team = await self.team.renewed(await self.agent.ask(Conversation()))
            self.agent = self.team.front_desk
        if ended.outcome is Outcome.INTERRUPTED:
            self.screen.line(kept(ended, progress.done, progress.calls - progress.done), "magenta")
        elif reason := failure(ended):
            complain(reason)
        return ended

    async def obey(self, command: str) -> None:
        """Do what a line with a slash says. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        match command:
            case "/undo":
                before = len(await self.agent.ask(Conversation()))
                left = len(await self.agent.ask(Rewind()))
                self.screen.line(
                    f"took back {counted(before - left, 'message')}; {left} left"
                    if before
                    else "there is nothing to take back"
                )
            case "/tools":
                for line in self._tools():
                    self.screen.cut_line(line)
            case "/context":
                context = await self.agent.ask(Conversation())
                for who, what in conversation(context):
                    self.screen.cut_line(f"{who:>7}  {what}")
                self.screen.line(f"({counted(len(context), 'message')})", "dim")
            case "/help":
                for line in _HELP.splitlines():
                    self.screen.line(line)
            case _:
                complain(f"no command {command!r}; write /help for those there are")

    def _tools(self) -> Iterator[str]:
        if self.team is None:
            yield "this agent has no tools; write greenroom chat --team for the demo's"
            return
        for agent, tools in self.team.tools.items():
            yield agent
            for tool in tools:
                yield f"  {tool.name}: {one_line(tool.spec.description)}"


async def chat(
    interrupts: Interrupts,
    *,
    options: ModelOptions,
    instructions: str,
    team: bool,
    tool_delay: float,
) -> int:
    """
    Converse: each line of standard input is a turn, or a command that begins with a slash.

    Returns:
        0; or 1 if lines came from a pipe or a file and one of them came to no answer.

    Raises:
        CommandError: it can't begin.
    """
    if team and instructions:
        raise CommandError("--instructions are for one agent; leave out --team", 2)
    screen = Screen()
    interrupts.last_resort.append(screen.restore)
    async with open_model(options, screen) as model, open_runtime() as runtime:
        if screen.is_live:
            screen.line("Write /help for commands; Ctrl-C interrupts a turn.", "dim")
        llm = await runtime.spawn(LLM, model.provider, model.settings, name="model")
        if team or (model.is_understudy and not instructions):
            staff = await spawn_team(runtime, llm, tool_delay=tool_delay)
            talk = _Chat(screen=screen, interrupts=interrupts, agent=staff.front_desk, team=staff)
        else:
            agent = await runtime.spawn(Agent, llm, (), instructions, name="assistant")
            talk = _Chat(screen=screen, interrupts=interrupts, agent=agent, team=None)
        return await _converse(talk)


async def _converse(talk: _Chat) -> int:
    is_typed = sys.stdin is not None and sys.stdin.isatty()
    lines = Lines(os.open(os.devnull, os.O_RDONLY) if sys.stdin is None else sys.stdin.fileno())
    failed = False
    while True:
        line: str | None = None
        if is_typed:
            talk.screen.prompt("you> ")
        # at the prompt Ctrl-C is a way to leave, elsewhere it ends the whole command
        with talk.interrupts.part() if is_typed else nullcontext():
            try:
                line = await lines.next()
            except ValueError as error:
                raise CommandError(f"{error}; write shorter ones") from error
        if line is None and is_typed:
            talk.screen.line()
        text = "/quit" if line is None else line.strip()
        if text == "/quit":
            return int(failed and not is_typed)
        if text.startswith("/"):
            await talk.obey(text)
        elif text:
            if not is_typed:
                talk.screen.line(f"you: {text}", "bold")
            ended = await talk.turn(text)
            failed = failed or bool(failure(ended))
            if ended.outcome is Outcome.INTERRUPTED and not is_typed:
                return 130
