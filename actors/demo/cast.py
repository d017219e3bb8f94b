"""
Who plays in the demo: the front desk and its specialists, as plain values.

This says what each agent is told and given; the actors are made from it elsewhere.
"""

from collections.abc import Callable
from typing import Any, get_args

import attrs

from greenroom.actors.demo import facts
from greenroom.actors.demo.calculator import calculate
from greenroom.actors.demo.library import search_docs

__all__ = ["DEFAULT_QUESTION", "FRONT_DESK", "SPECIALISTS", "Role"]

#: What the demo asks when nothing else is asked: two look-ups at once, then a calculation.
DEFAULT_QUESTION = "Which is heavier, Jupiter or Saturn, and by how much?"


@attrs.frozen
class Role:
    """One agent of the demo."""

    name: str
    """What the agent is called; its handoff tool is ``transfer_to_<name>``."""

    description: str
    """What it answers, for whoever chooses between agents: the text of its handoff tool."""

    instructions: str
    """The system text."""

    tools: tuple[Callable[..., Any], ...]
    """The functions that it may call."""


def _names(literal: Any) -> str:
    return ", ".join(name.replace("_", " ") for name in get_args(literal))


_METHOD = (
    "Answer from your tools only, never from memory. Ask for all the facts you need in one step. "
    "Leave every calculation to the calculator. Name the source in one short answer. "
    "If the tools can't tell, say so."
)

SPECIALISTS = (
    Role(
        name="astronomer",
        description=f"Knows the planets of the solar system ({_names(facts.Planet)}): "
        f"{_names(facts.PlanetFact)}.",
        instructions=f"You are the astronomer: you know the planets. {_METHOD}",
        tools=(facts.planet_fact, facts.rank_planets, calculate),
    ),
    Role(
        name="geographer",
        description=f"Knows mountains and peaks ({_names(facts.Mountain)}): "
        f"{_names(facts.MountainFact)}, who is tallest and who was climbed first.",
        instructions=f"You are the geographer: you know mountains. {_METHOD}",
        tools=(facts.mountain_fact, facts.rank_mountains, calculate),
    ),
    Role(
        name="chemist",
        description=f"Knows the chemical elements ({_names(facts.Element)}): "
        f"{_names(facts.ElementFact)}.",
        instructions=f"You are the chemist: you know the elements. {_METHOD}",
        tools=(facts.element_fact, facts.rank_elements, calculate),
    ),
    Role(
        name="librarian",
        description="Searches the documentation of Greenroom: actors, agents, tools, frames, mailboxes, "
        "requests, handlers, ask, tell, stream, interrupt, cancel, stop, crash, supervision, "
        "nurseries, deadlines, timeouts, dead letters, observers, tests, the promises such as I4 and the "
        "rules such as R10.",
        instructions="You are the librarian. Search the documentation and answer from the passages "
        "you find, naming the page. If they do not answer the question, say so.",
        tools=(search_docs,),
    ),
)
"""The specialists, each with the tools of its trade."""

FRONT_DESK = Role(
    name="front_desk",
    description="Receives every question and hands it to the specialist who can answer it.",
    instructions="You are the front desk. Hand the question to the one specialist who can answer "
    "it. Do plain arithmetic with the calculator, and list the tables when asked what is known "
    "here. If nobody can answer, say so and say what can be asked.",
    tools=(calculate, facts.list_tables),
)
"""The agent that a question reaches first; its handoffs to `SPECIALISTS` come on top of its tools."""
