"""
Streams as providers document them, each with the address of the page, and what they say to us.

They are written after the documented form of each provider, with fields that only it has, and not
taken from anybody's code.
"""

from typing import Any

import attrs

from greenroom.actors.llm import (
    CallFragment,
    Event,
    Finished,
    ModelSeen,
    ReasoningDelta,
    TextDelta,
    Usage,
    UsageSeen,
)
from tests.actors.llm.served import data

DONE = data(b"[DONE]")


@attrs.frozen
class Sample:
    """A stream of one provider."""

    profile: str
    """The name of its profile."""

    source: str
    """Where its form is documented."""

    sent: bytes
    """The body."""

    events: list[Event]
    """What it says."""


def chunk(model: str, delta: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a chunk with one choice, or none without *delta*; *more* goes where it belongs."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    of_choice = {"finish_reason", "native_finish_reason", "content_filter_results", "stop_reason"}
    choice |= {name: more.pop(name) for name in of_choice & more.keys()}
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_767_225_600}
    return {**base, "model": model, "choices": [] if delta is None else [choice], **more}


SAFE = {"hate": {"filtered": False, "severity": "safe"}}

SAMPLES = (
    Sample(
        "openai",
        "https://platform.openai.com/docs/api-reference/chat-streaming",
        b"".join(
            data({**each, "service_tier": "default", "obfuscation": "Xk3"})
            for each in (
                chunk("gpt-4.1-2025-04-14", {"role": "assistant", "content": "", "refusal": None}),
                chunk("gpt-4.1-2025-04-14", {"content": "Hello"}, usage=None),
                chunk("gpt-4.1-2025-04-14", {}, finish_reason="stop", usage=None),
                chunk(
                    "gpt-4.1-2025-04-14",
                    usage={
                        "prompt_tokens": 19,
                        "completion_tokens": 10,
                        "total_tokens": 29,
                        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                        "completion_tokens_details": {
                            "reasoning_tokens": 3,
                            "audio_tokens": 0,
                            "accepted_prediction_tokens": 0,
                            "rejected_prediction_tokens": 0,
                        },
                    },
                ),
            )
        )
        + DONE,
        [
            ModelSeen("gpt-4.1-2025-04-14"),
            TextDelta("Hello"),
            Finished("stop"),
            UsageSeen(Usage(input=19, output=10, total=29, cached=4, reasoning=3)),
        ],
    ),
    # The first event is about the prompt alone, and has neither a model nor choices.
    Sample(
        "azure",
        "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming",
        data(
            {
                **chunk(""),
                "id": "",
                "object": "",
                "created": 0,
                "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
            }
        )
        + data(chunk("gpt-4o-2024-11-20", {"role": "assistant"}, content_filter_results={}))
        + data(chunk("gpt-4o-2024-11-20", {"content": "Hello"}, content_filter_results=SAFE))
        # With the asynchronous filter, annotations come behind the text, without a delta.
        + data(
            {
                **chunk(""),
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "content_filter_results": SAFE,
                        "content_filter_offsets": {"check_offset": 44, "start_offset": 44},
                    }
                ],
            }
        )
        + data(chunk("gpt-4o-2024-11-20", {}, finish_reason="content_filter"))
        + DONE,
        [
            ModelSeen(""),
            ModelSeen("gpt-4o-2024-11-20"),
            TextDelta("Hello"),
            Finished("content_filter"),
        ],
    ),
    Sample(
        "ollama",
        "https://docs.ollama.com/api/openai-compatibility",
        b"".join(
            data({**each, "system_fingerprint": "fp_ollama"})
            for each in (
                chunk("qwen3:8b", {"role": "assistant", "content": "", "reasoning": "Weather."}),
                chunk(
                    "qwen3:8b",
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [
                            {
                                "id": "call_a1b2",
                                "index": 0,
                                "type": "function",
                                "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                            }
                        ],
                    },
                ),
                chunk("qwen3:8b", {"role": "assistant", "content": ""}, finish_reason="tool_calls"),
                chunk(
                    "qwen3:8b",
                    usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
                ),
            )
        )
        + DONE,
        [
            ModelSeen("qwen3:8b"),
            ReasoningDelta("Weather."),
            CallFragment(0, "call_a1b2", "weather", '{"city":"Oslo"}'),
            Finished("tool_calls"),
            UsageSeen(Usage(input=5, output=7, total=12)),
        ],
    ),
    # The name stands in the first fragment, and timings in the last event.
    Sample(
        "llama.cpp",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        data(chunk("local.gguf", {"role": "assistant", "content": None}))
        + data(chunk("local.gguf", {"reasoning_content": "Hm"}))
        + data(
            chunk(
                "local.gguf",
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "Zk1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": "{"},
                        }
                    ]
                },
            )
        )
        + data(chunk("local.gguf", {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}))
        + data(chunk("local.gguf", {}, finish_reason="tool_calls"))
        + data(
            chunk(
                "local.gguf",
                usage={"completion_tokens": 4, "prompt_tokens": 9, "total_tokens": 13},
                timings={"prompt_n": 9, "predicted_per_second": 61.5},
            )
        )
        + DONE,
        [
            ModelSeen("local.gguf"),
            ReasoningDelta("Hm"),
            CallFragment(0, "Zk1", "weather", "{"),
            CallFragment(0, None, "", "}"),
            Finished("tool_calls"),
            UsageSeen(Usage(input=9, output=4, total=13)),
        ],
    ),
    # Between versions the field was renamed; some send both with one text.
    Sample(
        "vllm",
        "https://docs.vllm.ai/en/latest/features/reasoning_outputs/",
        data(chunk("Qwen/Qwen3-8B", {"role": "assistant", "content": ""}, prompt_token_ids=None))
        + data(chunk("Qwen/Qwen3-8B", {"reasoning": "Hm", "reasoning_content": "Hm"}))
        + data(chunk("Qwen/Qwen3-8B", {"reasoning_content": "."}))
        + data(chunk("Qwen/Qwen3-8B", {"content": "Yes"}, token_ids=None))
        + data(chunk("Qwen/Qwen3-8B", {"content": ""}, finish_reason="stop", stop_reason=None))
        + data(
            chunk(
                "Qwen/Qwen3-8B",
                usage={"prompt_tokens": 9, "total_tokens": 13, "completion_tokens": 4},
            )
        )
        + DONE,
        [
            ModelSeen("Qwen/Qwen3-8B"),
            ReasoningDelta("Hm"),
            ReasoningDelta("."),
            TextDelta("Yes"),
            Finished("stop"),
            UsageSeen(Usage(input=9, output=4, total=13)),
        ],
    ),
    # Comments keep the connection alive while the request waits; usage comes with the finish.
    Sample(
        "deepseek",
        "https://api-docs.deepseek.com/api/create-chat-completion",
        b": keep-alive\n\n: keep-alive\n\n"
        + data(
            chunk(
                "deepseek-reasoner",
                {"role": "assistant", "content": None, "reasoning_content": ""},
            )
        )
        + data(chunk("deepseek-reasoner", {"content": None, "reasoning_content": "Hm"}))
        + b": keep-alive\n\n"
        + data(chunk("deepseek-reasoner", {"content": "Yes", "reasoning_content": None}))
        + data(
            chunk(
                "deepseek-reasoner",
                {"content": "", "reasoning_content": None},
                finish_reason="stop",
                usage={
                    "prompt_tokens": 17,
                    "completion_tokens": 9,
                    "total_tokens": 26,
                    "prompt_tokens_details": {"cached_tokens": 16},
                    "completion_tokens_details": {"reasoning_tokens": 8},
                    "prompt_cache_hit_tokens": 16,
                    "prompt_cache_miss_tokens": 1,
                },
            )
        )
        + DONE,
        [
            ModelSeen("deepseek-reasoner"),
            ReasoningDelta("Hm"),
            TextDelta("Yes"),
            Finished("stop"),
            UsageSeen(Usage(input=17, output=9, total=26, cached=16, reasoning=8)),
        ],
    ),
    Sample(
        "openrouter",
        "https://openrouter.ai/docs/api-reference/streaming",
        b": OPENROUTER PROCESSING\n\n"
        + data(
            chunk(
                "z-ai/glm-4.6",
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning": "Hm",
                    "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}],
                },
                provider="Z.AI",
                native_finish_reason=None,
            )
        )
        + b": OPENROUTER PROCESSING\n\n"
        + data(chunk("z-ai/glm-4.6", {"role": "assistant", "content": "Yes"}, provider="Z.AI"))
        + data(
            chunk(
                "z-ai/glm-4.6",
                {"role": "assistant", "content": ""},
                finish_reason="stop",
                native_finish_reason="stop",
            )
        )
        + data(
            chunk(
                "z-ai/glm-4.6",
                {"role": "assistant", "content": ""},
                usage={
                    "prompt_tokens": 6,
                    "completion_tokens": 3,
                    "total_tokens": 9,
                    "cost": 0.00012,
                    "is_byok": False,
                    "prompt_tokens_details": {"cached_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                },
            )
        )
        + DONE,
        [
            ModelSeen("z-ai/glm-4.6"),
            ReasoningDelta("Hm"),
            TextDelta("Yes"),
            Finished("stop"),
            UsageSeen(Usage(input=6, output=3, total=9, cached=2, reasoning=1)),
        ],
    ),
    # Reasoning comes as parts of the content, calls come whole, usage comes with the finish.
    Sample(
        "mistral",
        "https://docs.mistral.ai/capabilities/reasoning/",
        data(chunk("magistral-medium-latest", {"role": "assistant", "content": ""}, p="abc"))
        + data(
            chunk(
                "magistral-medium-latest",
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "Weather."}]}
                    ]
                },
            )
        )
        + data(
            chunk(
                "magistral-medium-latest",
                {"content": [{"type": "text", "text": "Let me look."}]},
            )
        )
        + data(
            chunk(
                "magistral-medium-latest",
                {
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "D681PevKs",
                            "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                            "index": 0,
                        }
                    ],
                },
                finish_reason="tool_calls",
                usage={"prompt_tokens": 20, "total_tokens": 50, "completion_tokens": 30},
            )
        )
        + DONE,
        [
            ModelSeen("magistral-medium-latest"),
            ReasoningDelta("Weather."),
            TextDelta("Let me look."),
            CallFragment(0, "D681PevKs", "weather", '{"city": "Oslo"}'),
            Finished("tool_calls"),
            UsageSeen(Usage(input=20, output=30, total=50)),
        ],
    ),
)
