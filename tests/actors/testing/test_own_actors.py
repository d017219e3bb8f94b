"""Our own actors pass the check that others' have to pass."""

from functools import partial

from greenroom.actors.agent import Agent, Conversation, UserMessage
from greenroom.actors.llm import LLM, Context, Generate, ToolCall, User
from greenroom.actors.testing import FakeTool, ScriptedProvider, Slow, says
from greenroom.actors.tools import Dispatch, Dispatcher
from greenroom.runtime import Ref
from greenroom.runtime.testing import World, check_actor


def test_the_llm_actor_passes() -> None:
    """I1-I5: eight requests at once, of a model that takes its time."""

    async def spawn(w: World) -> Ref:
        provider = ScriptedProvider(then=says("a|b").before_head(1).after(1, 1))
        w.own("the model", provider.all_closed)
        return await w.runtime.spawn(LLM, provider, name="actor", restart="permanent")

    assert check_actor(spawn, Generate(Context.of(User("hi")))) >= 100


def test_the_dispatcher_passes() -> None:
    """I1-I4: tools that return, that raise, and that are slow to clean up."""

    async def spawn(w: World) -> Ref:
        fake = FakeTool("fake", Slow(1, 1, lingers=1), ValueError("x"), 2)
        w.own("the tool", fake.is_idle)
        make = partial(Dispatcher, [fake.tool])
        return await w.runtime.spawn(make, name="actor", restart="permanent")

    calls = tuple(ToolCall(f"c{n}", "fake") for n in range(2))
    assert check_actor(spawn, Dispatch(calls)) >= 100


def test_an_agent_passes() -> None:
    """I1-I5, I8: a turn without tools, and the conversation after it."""

    async def spawn(w: World) -> Ref:
        provider = ScriptedProvider(then=says("a|b").after(1, 1))
        w.own("the model", provider.all_closed)
        llm = await w.runtime.spawn(LLM, provider, name="llm")
        return await w.runtime.spawn(Agent, llm, name="actor", restart="permanent")

    assert check_actor(spawn, UserMessage("hi"), Conversation()) >= 100
