"""
Shows an agent that answers with two tools run at once, and a turn that is left in its midst: what
was delivered stays in the conversation. The model is the understudy, over real HTTP on loopback.
Leaves out handoffs, settings and errors. On a real model, write OpenAIProvider() instead.
"""

from typing import Any, Literal

import trio

from greenroom.actors.agent import Agent, Conversation, TurnEnded, UserMessage
from greenroom.actors.llm import LLM, Settings, TextDelta, ToolCallsReady
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.understudy import MODEL, open_understudy
from greenroom.runtime import open_runtime

FACTS = {"height": {"Everest": 8849, "K2": 8611}, "first_ascent": {"Everest": 1953, "K2": 1954}}


async def mountain_fact(
    mountain: Literal["Everest", "K2"], fact: Literal["height", "first_ascent"]
) -> dict[str, Any]:
    """Look up a fact about a mountain."""
    value = FACTS[fact][mountain]
    return {"name": mountain, "fact": fact, "value": value, "unit": "m" if value > 5000 else ""}


async def main() -> None:
    async with open_understudy() as understudy, open_runtime() as runtime:
        provider = OpenAIProvider(base_url=understudy.base_url, profile="understudy")
        llm = await runtime.spawn(LLM, provider, Settings(model=MODEL))
        agent = await runtime.spawn(Agent, llm, [mountain_fact], "You know mountains.")

        async with agent.stream(UserMessage("Which is higher, Everest or K2?")) as frames:
            async for frame in frames:
                if isinstance(frame, ToolCallsReady):
                    print("calls at once:", *(call.arguments for call in frame.calls))
                elif isinstance(frame, TurnEnded):
                    print(f"{frame.outcome.value}: {frame.answer}")

        async with agent.stream(UserMessage("How high is Everest?"), buffer=1) as frames:
            async for frame in frames:
                if isinstance(frame, TextDelta):
                    break
        conversation = await agent.ask(Conversation())
        print("kept:", conversation.messages[-1])
        print("problems:", conversation.problems())


if __name__ == "__main__":
    trio.run(main)
