"""
Interrupt or stop any actor of a team at any step of a turn.

A desk calls two tools and hands off to an expert, who asks a third agent as a tool: ten actors.
Whichever of them is struck, and whenever, the asker's stream, the conversation and what observers
were told agree, and the next turn works.
"""

from collections import Counter, defaultdict

import pytest
import trio
import trio.testing

from greenroom.actors.agent import (
    Agent,
    Conversation,
    HandedOff,
    Question,
    TurnEnded,
    TurnFrame,
    UserMessage,
    as_tool,
    handoff,
)
from greenroom.actors.llm import (
    LLM,
    Assistant,
    CallFragment,
    Finished,
    ResponseEnded,
    ResponseStarted,
    TextDelta,
    ToolOutput,
)
from greenroom.actors.testing import ScriptedProvider, Step
from greenroom.runtime import (
    Event,
    Frame,
    FrameEmitted,
    Interrupted,
    Ref,
    RequestError,
    Runtime,
    open_runtime,
)
from tests.actors.agent.test_agent import SEVEN, SIX, calls, multiply, says
from tests.actors.agent.turns import check_events, check_frames

STRIDE = 4  # every so many steps; each run of the sweep begins at another one
FLOOR = 25

FIRST: list[Step] = [
    *(TextDelta("Let me "), TextDelta("see. ")),
    CallFragment(0, "c0", "multiply", SIX),
    CallFragment(1, "c1", "multiply", SEVEN),
    CallFragment(2, "c2", "transfer_to_expert", "{}"),
    Finished("tool_calls"),
]


class Strike(trio.abc.Instrument):
    """Does something once, after step *point* of any task."""

    def __init__(self, point: int, *, stop: bool) -> None:
        self.point = point
        self.target: Ref | None = None  # armed while set
        self.struck = False
        self.stop = stop  # or else interrupt
        self._seen = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.target is None or task.parent_nursery is None:
            return
        if self._seen == self.point:
            self.struck = True
            if self.stop:
                self.target.stop()
            else:
                self.target.interrupt("barge-in")
        self._seen += 1


async def spawn_team(runtime: Runtime, *providers: ScriptedProvider) -> Ref:
    desk_llm, expert_llm, aide_llm = [
        await runtime.spawn(LLM, provider, name=f"{name}.llm")
        for provider, name in zip(providers, ("desk", "expert", "aide"), strict=True)
    ]
    aide = await runtime.spawn(Agent, aide_llm, [multiply], name="aide")
    ask = as_tool(aide, description="multiplies")
    expert = await runtime.spawn(Agent, expert_llm, [ask], name="expert")
    to_expert = handoff(expert, description="knows")
    return await runtime.spawn(Agent, desk_llm, [multiply], "", [to_expert], name="desk")


async def struck_turn(strike: Strike, name: str) -> None:
    events: list[Event] = []
    providers = (
        ScriptedProvider(FIRST, *[says("The ", "desk.")] * 2),
        ScriptedProvider(calls('{"question": "?"}', name="ask_aide"), *[says("The ", "end.")] * 3),
        ScriptedProvider(calls(SIX), *[says("Six, ", "I say.")] * 2),
    )
    async with open_runtime(observers=[events.append]) as runtime:
        desk = await spawn_team(runtime, *providers)
        frames: list[TurnFrame] = []
        error: RequestError | None = None
        trio.lowlevel.add_instrument(strike)
        strike.target = runtime.find(name)
        stream = desk.stream(UserMessage("hi"), buffer=2)
        try:
            async with stream:
                async for frame in stream:
                    frames.append(frame)  # noqa: PERF401 - what came before the error counts
        except RequestError as exc:
            error = exc
        strike.target = None
        trio.lowlevel.remove_instrument(strike)

        assert [provider.open_streams for provider in providers] == [0, 0, 0]
        assert error is None or (name == "desk" and isinstance(error, Interrupted))
        check_frames(frames)
        assert error is not None or isinstance(frames[-1], TurnEnded)
        if not (strike.struck and strike.stop and name == "desk"):
            context = await desk.ask(Conversation())
            texts = "".join(m.text for m in context.messages if isinstance(m, Assistant))
            assert context.problems() == ()
            assert texts == "".join(f.text for f in frames if isinstance(f, TextDelta))  # R12
            handed = any(isinstance(f, HandedOff) for f in frames)
            assert handed == (
                ToolOutput("c2", "expert has the conversation now") in context.messages
            )
            if not strike.stop:
                await desk.ask(Question("and?"))
    check_events(events)
    check_emitted(events)


def check_emitted(events: list[Event]) -> None:
    """I5, R11: each handler told observers of a frame once, and of an end for each start."""
    told: dict[tuple[str, int], list[Frame]] = defaultdict(list)
    for event in events:
        if isinstance(event, FrameEmitted):
            told[event.actor, event.number].append(event.frame)
    for frames in told.values():
        assert max(Counter(map(id, frames)).values()) == 1
        starts = [f.id for f in frames if isinstance(f, ResponseStarted)]
        assert starts == [f.id for f in frames if isinstance(f, ResponseEnded)]


@pytest.mark.parametrize("stop", [False, True], ids=["interrupt", "stop"])
@pytest.mark.parametrize(
    "name",
    ["desk", "desk.llm", "desk.tools", "expert", "expert.llm", "expert.tools", "aide", "aide.llm"],
)
def test_a_team_survives_a_strike_at_any_step(name: str, stop: bool) -> None:
    """I3, I4, I5, I8, I9 and R12 hold whichever actor is interrupted or stopped, and whenever."""
    positions = 0
    while True:
        strike = Strike(positions * STRIDE + positions % STRIDE, stop=stop)
        try:
            trio.run(struck_turn, strike, name, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"{name} was struck at step {strike.point}")
            raise
        if not strike.struck:
            break
        positions += 1
    print(f"{name}: {positions} positions")

    assert positions >= FLOOR
