"""`render_responses`: a context, settings and a profile as a request to the Responses API."""

from typing import Any

import attrs
import pytest

from greenroom.actors.llm import (
    PROFILES,
    Assistant,
    Context,
    Developer,
    ProviderError,
    Settings,
    System,
    ToolCall,
    ToolOutput,
    ToolSpec,
    User,
)
from greenroom.actors.llm.responses_render import render_responses

OPENAI = PROFILES["openai"]


def body(**settings: Any) -> dict[str, Any]:
    """Return the body with *settings* alone, without what is always there."""
    made = render_responses(Context.of(User("hi")), Settings(**settings), OPENAI)
    return {name: made[name] for name in made.keys() - {"model", "input", "stream"}}


def test_a_conversation_is_a_list_of_items() -> None:
    """Calls and outputs stand beside the messages, and ids of items are never sent."""
    context = Context.of(
        System("a"),
        Developer("b"),
        User("c"),
        User("d", name="Ada"),
        Assistant("e", (ToolCall("call_1", "look", '{"x":1}'), ToolCall("call_2", ""))),
        ToolOutput("call_1", "f"),
        ToolOutput("call_2", "g"),
        Assistant("", (ToolCall("call_3", "look"),)),
        ToolOutput("call_3", "h"),
        Assistant(refusal="no"),
        Assistant(interrupted="user"),
    )
    settings = Settings(system_instruction="be brief")
    call = {"type": "function_call", "name": "look"}
    output = {"type": "function_call_output"}

    assert render_responses(context, settings, OPENAI) == {
        "model": "gpt-4.1",
        "instructions": "be brief",
        "input": [
            {"role": "system", "content": "a"},
            {"role": "developer", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "user", "content": "Ada: d"},
            {"role": "assistant", "content": "e"},
            {**call, "call_id": "call_1", "arguments": '{"x":1}'},
            {**call, "call_id": "call_2", "name": "unnamed", "arguments": "{}"},
            {**output, "call_id": "call_1", "output": "f"},
            {**output, "call_id": "call_2", "output": "g"},
            {**call, "call_id": "call_3", "arguments": "{}"},
            {**output, "call_id": "call_3", "output": "h"},
            {"role": "assistant", "content": "no"},
            {"role": "assistant", "content": "[interrupted]"},
        ],
        "stream": True,
    }


def test_a_tool_says_whether_it_is_strict() -> None:
    """This API takes a schema for a strict one by default, which most are not."""
    tools = [ToolSpec("look", "Look.", strict=True), ToolSpec("ask")]
    made = render_responses(Context.of(User("hi"), tools=tools), Settings(), OPENAI)
    plain: dict[str, Any] = {"type": "object", "properties": {}}

    assert made["tools"] == [
        {
            "type": "function",
            "name": "look",
            "description": "Look.",
            "parameters": plain,
            "strict": True,
        },
        {"type": "function", "name": "ask", "parameters": plain, "strict": False},
    ]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        (
            {"max_completion_tokens": 5, "temperature": 0},
            {"max_output_tokens": 5, "temperature": 0},
        ),
        (
            {"reasoning_effort": "low", "verbosity": "high"},
            {"reasoning": {"effort": "low"}, "text": {"verbosity": "high"}},
        ),
        (
            {"verbosity": "low", "response_format": {"type": "json_object"}},
            {"text": {"verbosity": "low", "format": {"type": "json_object"}}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {}},
                }
            },
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}},
        ),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "name": "f"}},
        ),
        (
            {"logprobs": True, "top_logprobs": 3},
            {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
        ),
        ({"logprobs": False}, {}),
        ({"seed": 1, "stop": "x", "frequency_penalty": 1, "presence_penalty": 1}, {}),
        ({"modalities": ("text",), "audio": {"voice": "alloy"}}, {}),
        ({"store": False, "user": "u"}, {"store": False, "user": "u"}),
        # What the caller wrote for this API passes as it is, and wins (R29).
        (
            {"reasoning_effort": "low", "extra": {"reasoning": {"summary": "auto"}}},
            {"reasoning": {"summary": "auto", "effort": "low"}},
        ),
        (
            {"reasoning_effort": "low", "extra": {"reasoning": {"effort": "high"}, "seed": 1}},
            {"reasoning": {"effort": "high"}, "seed": 1},
        ),
        ({"extra": {"reasoning": None}, "reasoning_effort": "low"}, {"reasoning": None}),
        ({"extra": {"truncation": "auto"}}, {"truncation": "auto"}),
    ],
)
def test_settings_have_the_names_of_this_api(
    settings: dict[str, Any], sent: dict[str, Any]
) -> None:
    """What it does not have is not sent, and nothing is that was not set."""
    assert body(**settings) == sent


def test_without_a_model_nothing_is_sent() -> None:
    """As for chat completions."""
    with pytest.raises(ProviderError, match="no model was named for ollama; write Settings"):
        render_responses(Context.of(User("hi")), Settings(), PROFILES["ollama"])


def test_the_last_word_is_the_profiles() -> None:
    """As for chat completions."""

    def amend(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "background": False}

    profile = attrs.evolve(OPENAI, amend=amend)
    assert render_responses(Context.of(User("hi")), Settings(), profile)["background"] is False
