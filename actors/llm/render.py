"""
The body of a chat completions request, from a context, settings and a profile. Pure.

Nothing is sent that was not set, the model and the streaming options excepted.
"""

from collections.abc import Mapping
from typing import Any

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
from greenroom.actors.llm.errors import Category, ProviderError
from greenroom.actors.llm.frozen import thaw
from greenroom.actors.llm.profile import Profile
from greenroom.actors.llm.settings import UNSET, Settings

__all__ = ["render"]


def render(context: Context, settings: Settings, profile: Profile) -> dict[str, Any]:
    """
    Return the body that asks the provider of *profile* for the next response.

    Raises:
        ProviderError: neither *settings* nor *profile* names a model.
    """
    params = profile.rewrite(settings.to_params(), keep=settings.extra.keys())
    if "model" not in params and profile.model:
        params["model"] = profile.model
    if "model" not in params:
        raise ProviderError(
            f"no model was named for {profile.name}; write Settings(model='...')",
            category=Category.INVALID_REQUEST,
        )
    messages = [_message(message, profile) for message in context.messages]
    if settings.system_instruction is not UNSET and settings.system_instruction is not None:
        messages.insert(0, {"role": "system", "content": settings.system_instruction})
    body: dict[str, Any] = {"model": params.pop("model"), "messages": messages, **params}
    if context.tools:
        body["tools"] = [_tool(spec, profile) for spec in context.tools]
    body["stream"] = True
    if profile.stream_options:
        body.setdefault("stream_options", {"include_usage": True})
    return body


def _message(message: Message, profile: Profile) -> Mapping[str, Any]:
    match message:
        case System(text):
            return {"role": "system", "content": text}
        case Developer(text):
            return {"role": profile.developer_role, "content": text}
        case User(text, None):
            return {"role": "user", "content": text}
        case User(text, name):
            return {"role": "user", "content": text, "name": name}
        case ToolOutput(call_id, text):
            return {"role": "tool", "tool_call_id": call_id, "content": text}
        case Assistant():
            return _assistant(message, profile)


def _assistant(message: Assistant, profile: Profile) -> Mapping[str, Any]:
    # A refusal goes back as text, which every provider takes; only OpenAI knows the field.
    text = message.text or message.refusal
    if not message.calls:
        # Several servers refuse an assistant message that holds nothing.
        empty = "[no answer]" if message.interrupted is None else "[interrupted]"
        return {"role": "assistant", "content": text or empty}
    sent: dict[str, Any] = {"role": "assistant", "content": text or None}
    if profile.reasoning_back:
        sent["reasoning_content"] = message.reasoning
    sent["tool_calls"] = [_call(call) for call in message.calls]
    return sent


def _call(call: ToolCall) -> Mapping[str, Any]:
    # The arguments go back as they came, so that the model sees what it wrote; a call without a
    # name is not allowed, and its output says what was wrong with it.
    function = {"name": call.name or "unnamed", "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(spec: ToolSpec, profile: Profile) -> Mapping[str, Any]:
    function: dict[str, Any] = {"name": spec.name, "parameters": thaw(spec.parameters)}
    if spec.description:
        function["description"] = spec.description
    if spec.strict and profile.strict_schema:
        function["strict"] = True
    return {"type": "function", "function": function}
