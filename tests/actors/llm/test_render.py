"""`render`: the request body, in the dialect of the profile."""

from typing import Any

import pytest

from greenroom.actors.llm import (
    PROFILES,
    Assistant,
    Category,
    Context,
    Developer,
    Message,
    Profile,
    ProviderError,
    Settings,
    System,
    ToolCall,
    ToolOutput,
    ToolSpec,
    User,
)
from greenroom.actors.llm.render import render

PLAIN = Profile(name="plain", model="m", stream_options=False)


def messages(*given: Message, profile: Profile = PLAIN, **settings: Any) -> list[dict[str, Any]]:
    """Return the messages of a request."""
    rendered: list[dict[str, Any]] = render(Context.of(*given), Settings(**settings), profile)[
        "messages"
    ]
    return rendered


def test_a_plain_request_holds_nothing_that_was_not_set() -> None:
    """Model, messages and the streaming flag are all there is."""
    assert render(Context.of(User("hi")), Settings(), PLAIN) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }


def test_usage_is_asked_for_where_the_profile_says_so() -> None:
    """The caller's own stream options win."""
    openai = PROFILES["openai"]
    own = Settings(extra={"stream_options": {"include_obfuscation": False}})

    assert render(Context.of(), Settings(), openai)["stream_options"] == {"include_usage": True}
    assert render(Context.of(), own, openai)["stream_options"] == {"include_obfuscation": False}


def test_the_model_of_the_settings_wins_and_one_must_be_named() -> None:
    """Without any model the error says what to write."""
    assert render(Context.of(), Settings(model="x"), PLAIN)["model"] == "x"
    with pytest.raises(ProviderError, match=r"no model was named for vllm; write Settings\(model"):
        render(Context.of(), Settings(), PROFILES["vllm"])


def test_a_missing_model_is_an_invalid_request() -> None:
    """It is the request that is wrong."""
    with pytest.raises(ProviderError, match="no model") as raised:
        render(Context.of(), Settings(), PROFILES["ollama"])

    assert raised.value.category is Category.INVALID_REQUEST


def test_settings_are_rewritten_and_extra_is_not() -> None:
    """The profile's names take the place of ours, except where the caller wrote for it (R29)."""
    body = render(
        Context.of(),
        Settings(model="m", max_completion_tokens=5, extra={"keep_alive": "5m"}),
        PROFILES["ollama"],
    )

    assert body["max_tokens"] == 5
    assert body["keep_alive"] == "5m"
    assert "max_completion_tokens" not in body


def test_the_system_instruction_is_the_first_message() -> None:
    """It stands before a system message of the context, which stays (case 10)."""
    assert messages(System("s"), system_instruction="base") == [
        {"role": "system", "content": "base"},
        {"role": "system", "content": "s"},
    ]
    assert messages(System("s"), system_instruction=None) == [{"role": "system", "content": "s"}]


@pytest.mark.parametrize(
    ("profile", "role"), [("openai", "developer"), ("deepseek", "system"), ("ollama", "user")]
)
def test_developer_messages_go_out_under_the_role_that_the_provider_knows(
    profile: str, role: str
) -> None:
    """The context itself stays as it is (case 11)."""
    context = Context.of(Developer("d"))
    body = render(context, Settings(model="m"), PROFILES[profile])

    assert body["messages"] == [{"role": role, "content": "d"}]
    assert context.messages == (Developer("d"),)


CALL = ToolCall("c1", "look", '{"a": 1}')


@pytest.mark.parametrize(
    ("message", "rendered"),
    [
        (User("hi", "bob"), {"role": "user", "content": "hi", "name": "bob"}),
        (
            ToolOutput("c1", "4", is_error=True),
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
        ),
        (Assistant("yes"), {"role": "assistant", "content": "yes"}),
        (Assistant("ye", interrupted="barge-in"), {"role": "assistant", "content": "ye"}),
        (Assistant("", interrupted="stop"), {"role": "assistant", "content": "[interrupted]"}),
        (Assistant(""), {"role": "assistant", "content": "[no answer]"}),
        (Assistant(refusal="I can't"), {"role": "assistant", "content": "I can't"}),
        (Assistant("yes", reasoning="hm"), {"role": "assistant", "content": "yes"}),
        (
            # Text and calls of one response stand in one message.
            Assistant("let me look", (CALL, ToolCall("c2", "count"))),
            {
                "role": "assistant",
                "content": "let me look",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"a": 1}'},
                    },
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "count", "arguments": "{}"},
                    },
                ],
            },
        ),
        (
            # Broken arguments go back as they came: a text is all that the API asks for.
            Assistant("", (ToolCall("c1", "", "{oops", fault="..."),)),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "unnamed", "arguments": "{oops"},
                    }
                ],
            },
        ),
    ],
)
def test_each_message_has_its_form(message: Message, rendered: dict[str, Any]) -> None:
    """Every message is one that every server takes."""
    assert messages(message) == [rendered]


def test_reasoning_goes_back_with_calls_where_the_provider_wants_it() -> None:
    """DeepSeek refuses a response with calls without its reasoning, be it empty."""
    deepseek = PROFILES["deepseek"]
    with_calls, empty, without = messages(
        Assistant("", (CALL,), reasoning="hm"),
        Assistant("", (CALL,)),
        Assistant("x", reasoning="hm"),
        profile=deepseek,
        model="m",
    )

    assert with_calls["reasoning_content"] == "hm"
    assert empty["reasoning_content"] == ""
    assert "reasoning_content" not in without


def test_tools_are_sent_with_their_schema_and_strict_only_where_it_is_known() -> None:
    """A provider that does not know `strict` is not sent it."""
    context = Context.of(tools=[ToolSpec("look", "Look it up", strict=True), ToolSpec("bare")])
    strict, bare = render(context, Settings(), PROFILES["openai"])["tools"]
    plain, _ = render(context, Settings(), PLAIN)["tools"]

    assert strict == {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look it up",
            "parameters": {"type": "object", "properties": {}},
            "strict": True,
        },
    }
    assert bare["function"] == {
        "name": "bare",
        "parameters": {"type": "object", "properties": {}},
    }
    assert "strict" not in plain["function"]
