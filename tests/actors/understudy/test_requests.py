"""What the understudy refuses: the same as the real API, with the place named (I8)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params

from greenroom.actors.understudy import problems
from greenroom.actors.understudy.requests import PARAMETERS

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def calling(*ids: str, **more: Any) -> dict[str, Any]:
    """Return an assistant message that makes the calls *ids*."""
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": call_id, "type": "function", "function": function} for call_id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls} | more


def result(call_id: str) -> dict[str, Any]:
    """Return the answer to the call *call_id*."""
    return {"role": "tool", "tool_call_id": call_id, "content": "1"}


def with_function(**more: Any) -> dict[str, Any]:
    """Return ``tools`` with one function."""
    return {"tools": [{"type": "function", "function": {"name": "f"} | more}]}


VALID: list[list[Any]] = [
    [USER],
    [{"role": "system", "content": "s"}, {"role": "developer", "content": "d", "name": "n"}, USER],
    [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
    [USER, {"role": "assistant", "content": "ok", "refusal": None, "tool_calls": None}],
    [USER, {"role": "assistant", "content": "", "audio": None, "annotations": []}],
    [USER, {"role": "assistant", "content": None, "refusal": "no"}],
    [USER, calling("a", "b"), result("b"), result("a"), USER],
    [USER, calling("a", content="text too"), result("a"), calling("a"), result("a")],
    [USER, USER],
]


@pytest.mark.parametrize("messages", VALID)
def test_valid_conversation_passes(messages: list[Any]) -> None:
    """Every form that the real API takes is taken."""
    assert problems({"model": "m", "messages": messages}) == ()


# (messages, the place, a part of the message)
CONVERSATIONS: list[tuple[Any, str | None, str]] = [
    (None, "messages", "Missing required parameter: 'messages'"),
    ("hi", "messages", "expected array, but got string"),
    ([], "messages", "the array is empty"),
    (["hi"], "messages[0]", "expected object, but got string"),
    ([{"content": "x"}], "messages[0].role", "expected one of system, developer, user"),
    ([{"role": "robot", "content": "x"}], "messages[0].role", "but got 'robot'"),
    ([{"role": ["user"], "content": "x"}], "messages[0].role", "expected one of"),
    ([{"role": "user"}], "messages[0].content", "but got null"),
    ([{"role": "user", "content": 1}], "messages[0].content", "but got number"),
    ([{"role": "user", "content": []}], "messages[0].content", "the array is empty"),
    ([{"role": "user", "content": [{"type": "pdf"}]}], "messages[0].content[0].type", "'pdf'"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "Missing"),
    (
        [{"role": "system", "content": [{"type": "image_url", "image_url": {}}]}],
        "messages[0].content[0].type",
        "expected one of text, but got 'image_url'",
    ),
    ([USER | {"mood": "good"}], "messages[0].mood", "Unknown parameter"),
    ([USER | {"name": 7}], "messages[0].name", "expected string"),
    ([USER, {"role": "assistant"}], "messages[1].content", "but got null"),
    ([USER, {"role": "assistant", "content": None, "tool_calls": []}], "messages[1].tool_calls", "at least one"),
    ([USER, {"role": "assistant", "content": "", "function_call": {}}], None, ""),
    ([USER, {"role": "assistant", "content": "", "audio": {"id": "x"}}], "messages[1].audio", "Unsupported"),
    ([USER, calling("a")], "messages", "did not have response messages: a"),
    ([USER, calling("a", "b"), result("a")], "messages", "response messages: b"),
    ([USER, calling("a"), USER, result("a")], "messages", "response messages: a"),
    ([USER, calling("a"), USER, result("a")], "messages[3].tool_call_id", "answers no tool call"),
    ([USER, calling("a"), result("a"), result("a")], "messages[3].tool_call_id", "'a' answers no"),
    ([USER, result("a")], "messages[1].tool_call_id", "answers no tool call"),
    ([USER, calling("a"), result("a") | {"tool_call_id": None}], "messages[2].tool_call_id", "Missing"),
    ([USER, calling("a", "a"), result("a")], "messages[1].tool_calls[1].id", "no other call"),
    ([USER, calling(""), result("")], "messages[1].tool_calls[0].id", "expected a string"),
    ([USER | {"tool_calls": []}], "messages[0].tool_calls", "Unknown parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "param", "message"), CONVERSATIONS)
def test_invalid_conversation_is_refused_at_its_place(
    messages: Any, param: str | None, message: str
) -> None:
    """What is wrong with a message is named with its place, and calls with their ids."""
    found = problems({"model": "m", "messages": messages})

    if param is None:
        assert found == ()
    else:
        assert [
            problem for problem in found if problem.param == param and message in problem.message
        ]


@pytest.mark.parametrize(
    ("function", "place", "message"),
    [
        ({"name": "f", "arguments": {}}, "function.arguments", "expected string, but got object"),
        ({"name": "f"}, "function.arguments", "got null"),
        ({"arguments": "{}"}, "function.name", "Missing"),
        ({"name": "a b", "arguments": "{}"}, "function.name", "but got 'a b'"),
        ({"name": 5, "arguments": "{}"}, "function.name", "expected string"),
        ("f", "function.name", "Missing"),
    ],
)
def test_tool_call_of_a_wrong_form_is_refused(function: Any, place: str, message: str) -> None:
    """Arguments are a string and names are names, also in the history."""
    call = {"id": "a", "type": "function", "function": function}
    messages = [USER, calling("a", tool_calls=[call]), result("a")]
    first = problems({"model": "m", "messages": messages})[0]

    assert first.param == f"messages[1].tool_calls[0].{place}"
    assert message in first.message


PARAMETER_ROWS: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "model", "Missing"),
    ({"model": 5}, "model", "expected string"),
    ({"top": 1}, "top", "Unknown parameter: 'top'"),
    ({"temperature": 2.5}, "temperature", "expected 0 to 2, but got 2.5"),
    ({"temperature": True}, "temperature", "expected number, but got boolean"),
    ({"max_tokens": 0}, "max_tokens", "expected 1 to"),
    ({"max_tokens": 1.5}, "max_tokens", "expected integer, but got number"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "not both"),
    ({"n": 2}, "n", "but got 2"),
    ({"logprobs": True}, "logprobs", "False only"),
    ({"stream": "yes"}, "stream", "expected boolean"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when 'stream'"),
    ({"stream": True, "stream_options": {"x": True}}, "stream_options.x", "Unknown"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "boolean"),
    ({"stop": ["a"] * 5}, "stop", "1 to 4 strings"),
    ({"stop": ""}, "stop", "1 to 4 strings"),
    ({"stop": [1]}, "stop", "1 to 4 strings"),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "but got 'huge'"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "json_object"),
    ({"modalities": ["audio"]}, "modalities", "text"),
    ({"audio": {}}, "audio", "Unsupported"),
    ({"functions": []}, "functions", "Unsupported"),
    ({"tools": []}, "tools", "1 to 128 tools, but got 0"),
    ({"tools": [TOOL] * 129}, "tools", "but got 129"),
    ({"tools": ["f"]}, "tools[0]", "type 'function'"),
    ({"tools": [TOOL, TOOL]}, "tools[1].function.name", "'f' stands twice"),
    (with_function(name=None), "tools[0].function.name", "Missing"),
    (with_function(name="a.b"), "tools[0].function.name", "but got 'a.b'"),
    (with_function(description=5), "tools[0].function.description", "expected string"),
    (with_function(strict="yes"), "tools[0].function.strict", "expected boolean"),
    (with_function(colour="red"), "tools[0].function.colour", "Unknown"),
    (with_function(parameters=[]), "tools[0].function.parameters", "expected object"),
    (with_function(parameters={"type": "string"}), "tools[0].function.parameters", "'object'"),
    (
        with_function(parameters={"type": "object", "properties": {"x": {"type": "array"}}}),
        "tools[0].function.parameters.properties.x",
        "needs 'items'",
    ),
    (
        with_function(parameters={"type": "object", "properties": {"x": 5}}),
        "tools[0].function.parameters.properties.x",
        "expected object",
    ),
    (
        with_function(parameters={"type": "object", "required": ["x"]}),
        "tools[0].function.parameters.required",
        "names that stand in 'properties'",
    ),
    ({"tool_choice": "auto"}, "tool_choice", "only allowed when 'tools'"),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", "only allowed when 'tools'"),
    ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "expected none, auto"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
        "no tool named 'g'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("more", "param", "message"), PARAMETER_ROWS)
def test_invalid_parameter_is_refused_by_name(
    more: dict[str, Any], param: str, message: str
) -> None:
    """What is out of range, of a wrong type, unknown or not to be had is named."""
    first = problems({"model": "m", "messages": [USER]} | more)[0]

    assert first.param == param
    assert message in first.message


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0, "top_p": 1, "seed": -1, "max_tokens": 5, "n": 1, "stop": "x", "user": "u"},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stop": ["a", "b"], "logprobs": False, "metadata": {"a": "b"}, "store": True},
        {"temperature": None, "tools": None, "stop": None, "max_tokens": None, "stream": False},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        with_function(parameters={}, strict=None, description=""),
        with_function(parameters={"type": "object", "properties": {"x": True}, "required": ["x"]}),
        {"response_format": {"type": "json_object"}, "modalities": ["text"]},
    ],
)  # fmt: skip
def test_documented_parameters_pass(more: dict[str, Any]) -> None:
    """What the API documents and the understudy has is taken, null included."""
    assert problems({"model": "m", "messages": [USER]} | more) == ()


def test_parameters_are_those_of_the_official_client() -> None:
    """The list of known parameters is complete: it is the one of the SDK."""
    known = completion_create_params.CompletionCreateParamsBase.__annotations__

    assert known.keys() | {"stream"} == PARAMETERS


@pytest.mark.parametrize("body", [None, [], "x", 5, True])
def test_body_that_is_no_object_is_refused(body: Any) -> None:
    """A request is a JSON object."""
    assert "Invalid type for 'body': expected object" in problems(body)[0].message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("role content tool_calls type id function name arguments text".split()),  # noqa: SIM905
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(PARAMETERS)), values, max_size=6) | values)
def test_any_json_is_judged(body: Any) -> None:
    """No JSON value makes the check itself fail, and each problem says something."""
    assert all(problem.message for problem in problems(body))
