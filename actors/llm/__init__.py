"""
Model responses as streams of frames: contexts, settings, providers, and what comes back.

`OpenAIProvider` is imported from `greenroom.actors.llm.openai`, because importing the SDK takes
about a second.
"""

from greenroom.actors.llm.actor import LLM
from greenroom.actors.llm.assembly import Assembly
from greenroom.actors.llm.context import (
    Assistant,
    Context,
    Developer,
    Message,
    System,
    ToolCall,
    ToolOutput,
    ToolSpec,
    User,
)
from greenroom.actors.llm.errors import Category, ProviderError, ProviderTimeout, mask
from greenroom.actors.llm.frames import (
    Generate,
    LogprobsDelta,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFrame,
    ResponseStarted,
    Status,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallsReady,
    ToolCallStarted,
    TranscriptDelta,
    Usage,
    UsageReported,
)
from greenroom.actors.llm.patience import Deadline, Patience
from greenroom.actors.llm.profile import PROFILES, Profile
from greenroom.actors.llm.provider import (
    CallFragment,
    Event,
    Finished,
    ModelSeen,
    Provider,
    ProviderStream,
    UsageSeen,
)
from greenroom.actors.llm.response import ResponseReducer
from greenroom.actors.llm.settings import UNSET, Settings, UnsetType

__all__ = [
    "LLM",
    "PROFILES",
    "UNSET",
    "Assembly",
    "Assistant",
    "CallFragment",
    "Category",
    "Context",
    "Deadline",
    "Developer",
    "Event",
    "Finished",
    "Generate",
    "LogprobsDelta",
    "Message",
    "ModelSeen",
    "Patience",
    "Profile",
    "Provider",
    "ProviderError",
    "ProviderStream",
    "ProviderTimeout",
    "RawEvent",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseEnded",
    "ResponseFrame",
    "ResponseReducer",
    "ResponseStarted",
    "Settings",
    "Status",
    "System",
    "TextDelta",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "ToolCallStarted",
    "ToolCallsReady",
    "ToolOutput",
    "ToolSpec",
    "TranscriptDelta",
    "UnsetType",
    "Usage",
    "UsageReported",
    "UsageSeen",
    "User",
    "mask",
]
