"""
The body of a chat completions request, from a context, settings and a profile. Pure.

Nothing is sent that was not set, the model and the streaming options excepted.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
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

__all__ = ["in_place_of_nothing", "named_model", "render"]


# What Mistral takes as the id of a call. Source: its mistral-common, the validator of requests.
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def render(context: Context, settings: Settings, profile: Profile) -> dict[str, Any]:
    """
    Return the body that asks the provider of *profile* for the next response.

    Raises:
        ProviderError: neither *settings* nor *profile* names a model, or the provider takes no
            tools and *context* has some.
    """
    params = profile.rewrite(settings.to_params(), keep=settings.extra.keys())
    model = named_model(params, profile)
    params.pop("model", None)
    if context.tools and not profile.takes_tools:
        raise ProviderError(
            f"{profile.name} takes no tools, and the context has "
            f"{', '.join(spec.name for spec in context.tools)}; write context.with_tools(())",
            category=Category.INVALID_REQUEST,
        )
    messages = [_message(message, profile) for message in context.messages]
    if settings.system_instruction is not UNSET and settings.system_instruction is not None:
        messages.insert(0, {"role": "system", "content": settings.system_instruction})
    messages = _in_dialect(messages, profile, model)
    body: dict[str, Any] = {"model": model, "messages": messages, **params}
    if context.tools:
        body["tools"] = [_tool(spec, profile) for spec in context.tools]
    body["stream"] = True
    if profile.stream_options:
        body.setdefault("stream_options", {"include_usage": True})
    return body if profile.amend is None else profile.amend(body)


def named_model(params: Mapping[str, Any], profile: Profile) -> str:
    """
    Return the model that *params* ask for, or the own one of *profile*.

    Raises:
        ProviderError: there is neither.
    """
    model = params.get("model") or profile.model
    if not model:
        raise ProviderError(
            f"no model was named for {profile.name}; write Settings(model='...')",
            category=Category.INVALID_REQUEST,
        )
    return str(model)


def _in_dialect(
    messages: list[dict[str, Any]], profile: Profile, model: str
) -> list[dict[str, Any]]:
    """Return *messages*, which are the caller's own, as the provider wants them in their order."""
    if profile.takes_first_system_only(model):
        has_begun = False
        for message in messages:
            if message["role"] != "system":
                has_begun = True
            elif has_begun:
                message["role"] = "user"
    if profile.takes_turns:
        messages = _joined(messages)
    if messages and messages[-1]["role"] == "assistant":
        if profile.last_assistant == "drop":
            messages.pop()
        elif profile.last_assistant == "prefix":
            messages[-1]["prefix"] = True
    return messages


def _joined(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *messages* with those of one role in a row made one."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1]["content"] = f"{joined[-1]['content']}\n\n{message['content']}"
        else:
            joined.append(message)
    return joined


def _message(message: Message, profile: Profile) -> dict[str, Any]:
    match message:
        case System(text):
            return {"role": "system", "content": text}
        case Developer(text):
            return {"role": profile.developer_role, "content": text}
        case User(text, None):
            return {"role": "user", "content": text}
        case User(text, name) if not profile.user_names:
            return {"role": "user", "content": f"{name}: {text}"}
        case User(text, name):
            return {"role": "user", "content": text, "name": name}
        case ToolOutput(call_id, text):
            return {"role": "tool", "tool_call_id": _id(call_id, profile), "content": text}
        case Assistant():
            return _assistant(message, profile)


def _assistant(message: Assistant, profile: Profile) -> dict[str, Any]:
    # A refusal goes back as text, which every provider takes; only OpenAI knows the field.
    text = message.text or message.refusal
    if not message.calls:
        return {"role": "assistant", "content": text or in_place_of_nothing(message)}
    sent: dict[str, Any] = {"role": "assistant", "content": text or None}
    if profile.reasoning_back:
        sent["reasoning_content"] = message.reasoning
    sent["tool_calls"] = [_call(call, profile) for call in message.calls]
    return sent


def in_place_of_nothing(message: Assistant) -> str:
    """Return what is sent for *message*, which holds nothing: several servers refuse that."""
    return "[no answer]" if message.interrupted is None else "[interrupted]"


def _id(call_id: str, profile: Profile) -> str:
    """Return *call_id* in a form that the provider takes, the same one each time."""
    if not profile.short_call_ids or _SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _call(call: ToolCall, profile: Profile) -> Mapping[str, Any]:
    # The arguments go back as they came, so that the model sees what it wrote; a call without a
    # name is not allowed, and its output says what was wrong with it.
    function = {"name": call.name or "unnamed", "arguments": call.arguments}
    return {"id": _id(call.id, profile), "type": "function", "function": function}


def _tool(spec: ToolSpec, profile: Profile) -> Mapping[str, Any]:
    function: dict[str, Any] = {"name": spec.name, "parameters": thaw(spec.parameters)}
    if spec.description:
        function["description"] = spec.description
    if spec.strict and profile.strict_schema:
        function["strict"] = True
    return {"type": "function", "function": function}
