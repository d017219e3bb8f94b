"""
The body of a request to the Responses API, from a context, settings and a profile. Pure.

The conversation is a list of items: messages, and beside them calls and their outputs. Nothing is
sent that was not set, the model and ``stream`` excepted; so the provider's own default for
``store`` holds, which at OpenAI is to keep the response for 30 days: `Settings.store` says no.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator
from typing import Any, cast

import attrs

from greenroom.actors.llm.context import (
    Assistant,
    Context,
    Developer,
    Message,
    System,
    ToolOutput,
    ToolSpec,
    User,
)
from greenroom.actors.llm.frozen import thaw
from greenroom.actors.llm.profile import Profile
from greenroom.actors.llm.render import in_place_of_nothing, named_model
from greenroom.actors.llm.settings import UNSET, Settings

__all__ = ["render_responses"]

# What this API calls our settings, and those that it does not have.
_RENAMED = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "response_format": "text.format",
}
_DROPPED = frozenset(
    {"audio", "frequency_penalty", "logprobs", "modalities", "presence_penalty", "seed", "stop"}
)


def render_responses(context: Context, settings: Settings, profile: Profile) -> dict[str, Any]:
    """
    Return the body that asks the provider of *profile* for the next response.

    Raises:
        ProviderError: neither *settings* nor *profile* names a model.
    """
    params = settings.to_params()
    written = settings.extra.keys()
    for name, form in (("response_format", "json_schema"), ("tool_choice", "function")):
        if name in params and name not in written:
            params[name] = _flat(params[name], form)
    if params.get("logprobs"):
        params.setdefault("include", ["message.output_text.logprobs"])
    dialect = attrs.evolve(profile, dropped=_DROPPED, renamed=_RENAMED)
    params = dialect.rewrite(params, keep=written)
    body: dict[str, Any] = {"model": named_model(params, profile)}
    params.pop("model", None)
    if settings.system_instruction is not UNSET and settings.system_instruction is not None:
        body["instructions"] = settings.system_instruction
    body["input"] = [item for message in context.messages for item in _items(message, profile)]
    body |= params
    if context.tools:
        body["tools"] = [_tool(spec, profile) for spec in context.tools]
    body["stream"] = True
    return body if profile.amend is None else profile.amend(body)


def _flat(value: Any, form: str) -> Any:
    """Return *value* with what stands under *form* beside its type, as this API has it."""
    sent = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return {"type": form, **sent[form]} if form in sent else cast("Any", value)


def _items(message: Message, profile: Profile) -> Iterator[dict[str, Any]]:
    match message:
        case System(text):
            yield {"role": "system", "content": text}
        case Developer(text):
            yield {"role": profile.developer_role, "content": text}
        case User(text, None):
            yield {"role": "user", "content": text}
        case User(text, name):
            # This API has no names.
            yield {"role": "user", "content": f"{name}: {text}"}
        case ToolOutput(call_id, text):
            yield {"type": "function_call_output", "call_id": call_id, "output": text}
        case Assistant():
            text = message.text or message.refusal
            if text or not message.calls:
                yield {"role": "assistant", "content": text or in_place_of_nothing(message)}
            for call in message.calls:
                yield {
                    "type": "function_call",
                    "call_id": call.id,
                    "name": call.name or "unnamed",
                    "arguments": call.arguments,
                }


def _tool(spec: ToolSpec, profile: Profile) -> dict[str, Any]:
    # Unlike chat completions, this API takes a schema for a strict one unless it is told otherwise.
    tool: dict[str, Any] = {
        "type": "function",
        "name": spec.name,
        "parameters": thaw(spec.parameters),
        "strict": spec.strict and profile.strict_schema,
    }
    if spec.description:
        tool["description"] = spec.description
    return tool
