"""
Agents: a conversation, a model and tools, as actors that hand over to one another.

Start with `Agent`, `UserMessage` and `handoff`.
"""

from greenroom.actors.agent.agent import Agent as Agent
from greenroom.actors.agent.frames import Answer as Answer
from greenroom.actors.agent.frames import Conversation as Conversation
from greenroom.actors.agent.frames import HandedOff as HandedOff
from greenroom.actors.agent.frames import Outcome as Outcome
from greenroom.actors.agent.frames import Question as Question
from greenroom.actors.agent.frames import Rewind as Rewind
from greenroom.actors.agent.frames import TakeOver as TakeOver
from greenroom.actors.agent.frames import TurnEnded as TurnEnded
from greenroom.actors.agent.frames import TurnFrame as TurnFrame
from greenroom.actors.agent.frames import UserMessage as UserMessage
from greenroom.actors.agent.handoff import Handoff as Handoff
from greenroom.actors.agent.handoff import as_tool as as_tool
from greenroom.actors.agent.handoff import handoff as handoff
from greenroom.actors.agent.transcript import Transcript as Transcript
