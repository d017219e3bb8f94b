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
from greenroom.actors.llm.fallback import Fallback, Pinned
from greenroom.actors.llm.frames import (
    Complete,
    Completion,
    Generate,
    LogprobsDelta,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnded,
    ResponseFailed,
    ResponseFrame,
    ResponseStarted,
    Status,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallsReady,
    ToolCallStarted,
    TranscriptDelta,
    UpdateSettings,
    Usage,
    UsageReported,
)
from greenroom.actors.llm.hedge import Hedge
from greenroom.actors.llm.limiter import Limiter, LimiterStatistics
from greenroom.actors.llm.patience import Deadline, Patience
from greenroom.actors.llm.profile import PROFILES, Profile
from greenroom.actors.llm.provider import (
    AttemptFailed,
    CallFragment,
    Event,
    Finished,
    ModelSeen,
    Provider,
    ProviderStream,
    UsageSeen,
)
from greenroom.actors.llm.response import ResponseReducer
from greenroom.actors.llm.retry import Retry
from greenroom.actors.llm.settings import UNSET, Settings, UnsetType
from greenroom.actors.llm.stage import LLMStage, Prompt

__all__ = [
    "LLM",
    "PROFILES",
    "UNSET",
    "Assembly",
    "Assistant",
    "AttemptFailed",
    "CallFragment",
    "Category",
    "Complete",
    "Completion",
    "Context",
    "Deadline",
    "Developer",
    "Event",
    "Fallback",
    "Finished",
    "Generate",
    "Hedge",
    "LLMStage",
    "Limiter",
    "LimiterStatistics",
    "LogprobsDelta",
    "Message",
    "ModelSeen",
    "Patience",
    "Pinned",
    "Profile",
    "Prompt",
    "Provider",
    "ProviderError",
    "ProviderStream",
    "ProviderTimeout",
    "RawEvent",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseEnded",
    "ResponseFailed",
    "ResponseFrame",
    "ResponseReducer",
    "ResponseStarted",
    "Retry",
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
    "UpdateSettings",
    "Usage",
    "UsageReported",
    "UsageSeen",
    "User",
    "mask",
]
