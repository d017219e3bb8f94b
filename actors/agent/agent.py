"""`Agent`: a conversation, a model and tools, as an actor."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs

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
        names = [tool.name for tool in self._tools] + [h.spec.name for h in self._handoffs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"tools and handoffs need distinct names, and {name!r} is there twice; "
                    f"write name='...' for one of them"
                )
        self._settings = settings or Settings()
        if instructions:
            self._settings = attrs.evolve(self._settings, system_instruction=instructions)
        self._max_steps = max_steps
        self._context = context or Context.of()
        # whom the conversation was handed to, None for us, each with the length it had before the
        # turn that did it; grown by _converse, cut back by rewind
        self._handed: list[tuple[int, Ref | None]] = []
        self._dispatcher: Ref | None = None  # our child; spawned by on_start

    async def on_start(self) -> None:
        """Spawn the dispatcher, which runs the tools. Checkpoint: always."""
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
        with Turn(self.ref.name, request.context, emit) as turn:
            await self._run_here(turn, self._handoffs if request.may_hand_off else ())

    @handles
    async def conversation(self, request: Conversation) -> Context:  # noqa: ASYNC124, ASYNC910
        """Reply with the conversation as it stands."""
        return self._context  # noqa: ASYNC910

    @handles
    async def rewind(self, request: Rewind) -> Context:  # noqa: ASYNC124, ASYNC910
        """Forget the last turns, and the handoffs in them."""
        messages = self._context.messages
        said = [at for at, message in enumerate(messages) if isinstance(message, User)]
        kept = said[-request.turns] if request.turns <= len(said) else 0
        self._context = Context.of(*messages[:kept])
        while self._handed and self._handed[-1][0] >= kept:
            self._handed.pop()
        return self._context  # noqa: ASYNC910

    async def _converse(self, text: str, emit: Sink) -> TurnEnded:
        before, owner = self._context, self._handed[-1][1] if self._handed else None
        turn = Turn(self.ref.name, before.with_(User(text)), emit, owner)
        try:
            with turn:
                for _ in range(self._max_steps):
                    if turn.owner is None or turn.owner == self.ref:
                        goes_on = await self._run_here(turn, self._handoffs)
                    else:
                        goes_on = await turn.continue_at(turn.owner)
                    if not goes_on:
                        break
                else:
                    turn.fail(f"handed off {self._max_steps} times without an answer")
        finally:
            self._context = turn.context
            if turn.owner != owner:
                self._handed.append((len(before), turn.owner))
        return turn.ended  # noqa: ASYNC910

    async def _run_here(self, turn: Turn, handoffs: Iterable[Handoff]) -> bool:
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
