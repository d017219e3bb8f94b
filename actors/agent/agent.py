"""`Agent`: a conversation, a model and tools, as an actor."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs
import trio

from greenroom.actors.agent.frames import (
    Answer,
    Conversation,
    Outcome,
    Question,
    Rewind,
    TakeOver,
    TurnEnded,
    TurnFrame,
    UserMessage,
)
from greenroom.actors.agent.handoff import Handoff
from greenroom.actors.agent.turn import Sink, Turn, Unheard
from greenroom.actors.llm.context import Context, User
from greenroom.actors.llm.settings import Settings
from greenroom.actors.tools import Dispatcher, Tool
from greenroom.runtime import Actor, Emit, Ref, Refused, handles

__all__ = ["Agent"]

_BROKEN = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INTERRUPTED})


class Agent(Actor):
    """
    An agent: ``agent = await runtime.spawn(Agent, llm, [search], "You are a librarian.")``.

    ``async with agent.stream(UserMessage("...")) as frames`` takes a turn: the model and the tools
    alternate until there is an answer, and every frame of it comes through, with `TurnEnded` as the
    last. Turns of one agent are taken one after another; the conversation grows with each.

    When the block ends, nothing of the turn is left: no stream, no tool, no task (I4). What was
    delivered until then is in the conversation, every call has its result, and the conversation
    can go on at once (I8).

    Args:
        llm: The model, an `LLM` actor; many agents may share one.
        tools: What the model may call.
        instructions: The system prompt.
        handoffs: Whom it may hand the conversation to; see `handoff`.
        settings: For its requests, merged over those of *llm*.
        max_steps: Responses in a turn, >= 1.
        context: The conversation to start from.
    """

    def __init__(
        self,
        llm: Ref,
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (),
        instructions: str = "",
        handoffs: Iterable[Handoff] = (),
        settings: Settings | None = None,
        max_steps: int = 10,
        context: Context | None = None,
    ) -> None:
        if not (isinstance(max_steps, int) and max_steps >= 1):
            raise ValueError(f"max_steps must be an int >= 1, not {max_steps!r}")
        self._llm = llm
        self._tools = tuple(
            cast("Tool[..., Any]", tool) if isinstance(tool, Tool) else Tool.of(tool)
            for tool in tools
        )
        self._handoffs = tuple(handoffs)
        self._settings = settings or Settings()
        if instructions:
            self._settings = attrs.evolve(self._settings, system_instruction=instructions)
        self._max_steps = max_steps
        self._context = context or Context.of()
        self._owner: Ref | None = None  # whom the conversation was handed to; None for ourselves
        self._dispatcher: Ref | None = None  # our child; spawned by on_start

    async def on_start(self) -> None:
        """Spawn the dispatcher, which runs the tools. Checkpoint: always."""
        taken = {tool.name for tool in self._tools} & {h.spec.name for h in self._handoffs}
        if taken:
            raise ValueError(f"a tool and a handoff are both named {', '.join(sorted(taken))}")
        self._dispatcher = await self.spawn(Dispatcher, self._tools, name=f"{self.ref.name}.tools")

    @handles
    async def converse(self, request: UserMessage, emit: Emit[TurnFrame]) -> None:
        """Take a turn of the agent's own conversation."""
        await self._converse(request.text, emit)

    @handles
    async def answer(self, request: Question) -> Answer:
        """Take a turn, and reply with its answer."""
        ended = await self._converse(request.text, Unheard())
        if ended.outcome in _BROKEN:
            raise Refused(f"{self.ref.name} could not answer: {ended.detail}")
        return Answer(ended.answer, ended.outcome, ended.usage)

    @handles
    async def take_over(self, request: TakeOver, emit: Emit[TurnFrame]) -> None:
        """Take a turn in somebody else's conversation."""
        handoffs = self._handoffs if request.may_hand_off else ()
        turn = Turn(self.ref.name, request.context, emit)
        interrupted: str | None = "cancelled"
        try:
            await self._run_here(turn, handoffs)
            interrupted = None
        except trio.Cancelled as cancelled:
            interrupted = cancelled.reason or "cancelled"
            raise
        finally:
            turn.close(interrupted)

    @handles
    async def conversation(self, request: Conversation) -> Context:  # noqa: ASYNC124, ASYNC910
        """Reply with the conversation as it stands."""
        return self._context  # noqa: ASYNC910

    @handles
    async def rewind(self, request: Rewind) -> Context:  # noqa: ASYNC124, ASYNC910
        """Forget the last turns."""
        messages = self._context.messages
        said = [at for at, message in enumerate(messages) if isinstance(message, User)]
        kept = said[-request.turns] if request.turns <= len(said) else 0
        self._context = Context.of(*messages[:kept])
        if not kept:
            self._owner = None
        return self._context  # noqa: ASYNC910

    async def _converse(self, text: str, emit: Sink) -> TurnEnded:
        context = self._context.with_(User(text))
        turn = Turn(self.ref.name, context, emit)
        interrupted: str | None = "cancelled"
        try:
            for _ in range(self._max_steps):
                if self._owner is None or self._owner == self.ref:
                    taker = await self._run_here(turn, self._handoffs)
                else:
                    taker = await turn.continue_at(self._owner)
                if taker is None:
                    break
                self._owner = taker
            else:
                turn.fail(f"handed off {self._max_steps} times without an answer")
            interrupted = None
        except trio.Cancelled as cancelled:
            interrupted = cancelled.reason or "cancelled"
            raise
        finally:
            self._context, ended = turn.close(interrupted)
        return ended  # noqa: ASYNC910

    async def _run_here(self, turn: Turn, handoffs: Iterable[Handoff]) -> Ref | None:
        assert self._dispatcher is not None, "on_start spawned it"
        takers: dict[str, Ref] = {}
        specs = [tool.spec for tool in self._tools]
        for handoff in handoffs:
            to = handoff.to
            try:
                takers[handoff.spec.name] = self.runtime.find(to) if isinstance(to, str) else to
            except LookupError:
                continue
            specs.append(handoff.spec)
        return await turn.run_here(
            self.ref.name,
            self._llm,
            self._dispatcher,
            tuple(specs),
            takers,
            self._settings,
            self._max_steps,
        )
