"""
The profiles that ship, as rows: the arguments of `Profile`, one row a provider.

The first ones are held against a stream as the provider documents it (tests/actors/llm/streams.py
has each with its address); the others are what the documentation says, and nobody tried them here:
their ``is_tested`` is False, and docs/providers.md says so.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["ROWS"]

# Servers that know only the older name of the limit on tokens.
_OLD_LIMIT: Final = {"max_completion_tokens": "max_tokens"}

# What open reasoning models write into their text where the server does not take it out.
_THINK: Final = ("<think>", "</think>")

_TESTED: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "openai",
        "base_url": "https://api.openai.com/v1",
        "key_variable": "OPENAI_API_KEY",
        "needs_key": True,
        "model": "gpt-4.1",
        "developer_role": "developer",
        "strict_schema": True,
        "source": "https://platform.openai.com/docs/api-reference/chat-streaming",
    },
    # The servers without an address listen on ports that are anybody's, so they are not told by
    # their port. This one ships with Greenroom.
    {
        "name": "understudy",
        "developer_role": "developer",
        "strict_schema": True,
        "source": "greenroom.actors.understudy",
    },
    # The model is the deployment. With the v1 API the address ends in /openai/v1; with a dated one
    # it ends in /openai/deployments/NAME, and `query` names the version.
    {
        "name": "azure",
        "hosts": ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
        "key_variable": "AZURE_OPENAI_API_KEY",
        "key_header": "api-key",
        "developer_role": "developer",
        "strict_schema": True,
        "source": "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
    },
    # `reasoning` is Ollama's own field; a model that it does not know to be one that reasons has
    # its tags in the text.
    {
        "name": "ollama",
        "base_url": "http://127.0.0.1:11434/v1",
        "renamed": _OLD_LIMIT,
        "reasoning": ("reasoning", "reasoning_content"),
        "source": "https://docs.ollama.com/api/openai-compatibility",
    },
    # llama-server and llama-cpp-python's server. The latter sends no usage in streams.
    {
        "name": "llama.cpp",
        "renamed": _OLD_LIMIT,
        "source": "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    },
    # `reasoning` since 0.11, before that `reasoning_content`; some versions send both with one
    # text. Without --reasoning-parser the tags are in the text.
    {
        "name": "vllm",
        "reasoning": ("reasoning", "reasoning_content"),
        "source": "https://docs.vllm.ai/en/latest/features/reasoning_outputs/",
    },
    # A response with calls that comes back without its reasoning_content, be it empty, is refused
    # with status 400.
    {
        "name": "deepseek",
        "base_url": "https://api.deepseek.com",
        "key_variable": "DEEPSEEK_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": _OLD_LIMIT,
        "reasoning_back": True,
        "source": "https://api-docs.deepseek.com/api/create-chat-completion",
    },
    {
        "name": "openrouter",
        "base_url": "https://openrouter.ai/api/v1",
        "key_variable": "OPENROUTER_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "reasoning": ("reasoning", "reasoning_content"),
        "first_system_only": ("google/gemini",),
        "source": "https://openrouter.ai/docs/api-reference/streaming",
    },
    # Unknown fields are refused with status 422. Reasoning comes as parts of the content, which
    # needs no setting here. Usage comes unasked.
    {
        "name": "mistral",
        "base_url": "https://api.mistral.ai/v1",
        "key_variable": "MISTRAL_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": {**_OLD_LIMIT, "seed": "random_seed"},
        "dropped": frozenset(
            {"logprobs", "service_tier", "store", "top_k", "top_logprobs", "user", "verbosity"}
        ),
        "stream_options": False,
        "user_names": False,
        "last_assistant": "prefix",
        "short_call_ids": True,
        "source": "https://docs.mistral.ai/api/endpoint/chat",
    },
)

_UNTESTED: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "groq",
        "base_url": "https://api.groq.com/openai/v1",
        "key_variable": "GROQ_API_KEY",
        "needs_key": True,
        "developer_role": "developer",
        "dropped": frozenset({"logprobs", "top_logprobs"}),
        "reasoning": ("reasoning",),
        "think_tags": _THINK,
        "user_names": False,
        "source": "https://console.groq.com/docs/openai",
    },
    # Reasoning tokens are counted beside those of the answer, not among them.
    {
        "name": "xai",
        "base_url": "https://api.x.ai/v1",
        "key_variable": "XAI_API_KEY",
        "needs_key": True,
        "developer_role": "developer",
        "reasoning_apart": True,
        "source": "https://docs.x.ai/docs/api-reference",
    },
    # Its system messages are what developer messages are elsewhere.
    {
        "name": "cerebras",
        "base_url": "https://api.cerebras.ai/v1",
        "key_variable": "CEREBRAS_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "dropped": frozenset({"frequency_penalty", "presence_penalty", "service_tier"}),
        "reasoning": ("reasoning", "reasoning_content"),
        "think_tags": _THINK,
        "source": "https://inference-docs.cerebras.ai/resources/openai",
    },
    # Usage comes unasked, with the last chunk.
    {
        "name": "fireworks",
        "base_url": "https://api.fireworks.ai/inference/v1",
        "key_variable": "FIREWORKS_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": _OLD_LIMIT,
        "dropped": frozenset({"seed"}),
        "stream_options": False,
        "think_tags": _THINK,
        "source": "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    },
    {
        "name": "nvidia",
        "base_url": "https://integrate.api.nvidia.com/v1",
        "key_variable": "NVIDIA_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": _OLD_LIMIT,
        "think_tags": _THINK,
        "source": "https://docs.api.nvidia.com/nim/reference/llm-apis",
    },
    # Each chunk has the usage so far. The roles must take turns, and the user has the last word.
    {
        "name": "perplexity",
        "base_url": "https://api.perplexity.ai",
        "key_variable": "PERPLEXITY_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": _OLD_LIMIT,
        "dropped": frozenset(
            {"logprobs", "parallel_tool_calls", "seed", "tool_choice", "top_logprobs"}
        ),
        "stream_options": False,
        "think_tags": _THINK,
        "user_names": False,
        "takes_tools": False,
        "takes_turns": True,
        "first_system_only": ("",),
        "last_assistant": "drop",
        "source": "https://docs.perplexity.ai/api-reference/chat-completions-post",
    },
    {
        "name": "sambanova",
        "base_url": "https://api.sambanova.ai/v1",
        "key_variable": "SAMBANOVA_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "dropped": frozenset({"frequency_penalty", "presence_penalty", "seed"}),
        "think_tags": _THINK,
        "source": "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
    },
    {
        "name": "together",
        "base_url": "https://api.together.xyz/v1",
        "key_variable": "TOGETHER_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "renamed": _OLD_LIMIT,
        "reasoning": ("reasoning", "reasoning_content"),
        "think_tags": _THINK,
        "source": "https://docs.together.ai/docs/openai-api-compatibility",
    },
    {
        "name": "qwen",
        "base_url": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "hosts": ("dashscope.aliyuncs.com", "dashscope-us.aliyuncs.com"),
        "key_variable": "DASHSCOPE_API_KEY",
        "needs_key": True,
        "renamed": _OLD_LIMIT,
        "source": "https://www.alibabacloud.com/help/en/model-studio/qwen-api-reference",
    },
    {
        "name": "novita",
        "base_url": "https://api.novita.ai/openai/v1",
        "key_variable": "NOVITA_API_KEY",
        "needs_key": True,
        "developer_role": "developer",
        "renamed": _OLD_LIMIT,
        "think_tags": _THINK,
        "source": "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
    },
    {
        "name": "nebius",
        "base_url": "https://api.tokenfactory.nebius.com/v1",
        "hosts": ("api.studio.nebius.com", "api.studio.nebius.ai"),
        "key_variable": "NEBIUS_API_KEY",
        "needs_key": True,
        "think_tags": _THINK,
        "source": "https://docs.tokenfactory.nebius.com/api-reference",
    },
    {
        "name": "baseten",
        "base_url": "https://inference.baseten.co/v1",
        "key_variable": "BASETEN_API_KEY",
        "needs_key": True,
        "source": "https://docs.baseten.co/development/model-apis/overview",
    },
    {
        "name": "sarvam",
        "base_url": "https://api.sarvam.ai/v1",
        "key_variable": "SARVAM_API_KEY",
        "needs_key": True,
        "renamed": _OLD_LIMIT,
        "think_tags": _THINK,
        "source": "https://docs.sarvam.ai/api-reference-docs/chat/chat-completions",
    },
    {
        "name": "gemini",
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
        "key_variable": "GEMINI_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "first_system_only": ("",),
        "source": "https://ai.google.dev/gemini-api/docs/openai",
    },
    # Its makers mean it for trying things out; what it does not know it ignores.
    {
        "name": "anthropic",
        "base_url": "https://api.anthropic.com/v1",
        "key_variable": "ANTHROPIC_API_KEY",
        "needs_key": True,
        "developer_role": "system",
        "source": "https://docs.anthropic.com/en/api/openai-sdk",
    },
)

#: The arguments of each `Profile` that ships.
ROWS: Final[tuple[Mapping[str, Any], ...]] = (
    *({**row, "is_tested": True} for row in _TESTED),
    *_UNTESTED,
)
