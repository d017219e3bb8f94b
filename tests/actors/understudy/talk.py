"""A conversation with the understudy's mind, its tool calls run by the plain functions."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from greenroom.actors.demo.cast import FRONT_DESK, SPECIALISTS, Role
from greenroom.actors.llm.frozen import thaw
from greenroom.actors.tools import Tool, ToolError
from greenroom.actors.understudy import problems
from greenroom.actors.understudy.mind import decide

_ROLES = {f"transfer_to_{role.name}": role for role in SPECIALISTS}
_MOST_STEPS = 8

# One agent that has all the tools of the demo at once.
SOLOIST = Role(
    name="soloist",
    description="",
    instructions="You do it all.",
    tools=tuple(dict.fromkeys(f for role in (FRONT_DESK, *SPECIALISTS) for f in role.tools)),
)


@attrs.frozen
class Talk:
    """What came of one question."""

    answer: str
    """The text at the end."""

    calls: tuple[tuple[str, ...], ...]
    """The tool calls, ``name(values)``, those of one response together."""


def function_of(
    name: str, description: str = "", parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the entry of ``tools`` for a function."""
    schema = parameters or {"type": "object", "properties": {}}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def tools_of(role: Role) -> list[dict[str, Any]]:
    """Return the tools that the agent *role* offers to its model."""
    specs = [Tool.of(function).spec for function in role.tools]
    tools = [function_of(s.name, s.description, thaw(s.parameters)) for s in specs]
    if role is FRONT_DESK:
        tools += [function_of(name, to.description) for name, to in _ROLES.items()]
    return tools


def request(question: str, tools: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    """Return a request that asks *question*."""
    body = {"model": "understudy-rules-1", "messages": [{"role": "user", "content": question}]}
    return body | ({"tools": list(tools)} if tools else {}) | more


def talk(question: str, role: Role = FRONT_DESK, history: Sequence[Any] = ()) -> Talk:
    """Ask *question* and let the mind and the tools take turns until it answers."""
    system = {"role": "system", "content": role.instructions}
    messages: list[Any] = [system, *history, {"role": "user", "content": question}]
    calls: list[tuple[str, ...]] = []
    for step in range(_MOST_STEPS):
        body = {"model": "m", "messages": messages, "tools": tools_of(role)}
        assert problems(body) == ()
        reply = decide(body)
        if not reply.calls:
            return Talk(reply.text, tuple(calls))
        calls.append(tuple(f"{c.name}({_values(c.arguments)})" for c in reply.calls))
        made = [
            {
                "id": f"call_{step}_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(reply.calls)
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": made})
        for call, sent in zip(reply.calls, made, strict=True):
            functions: dict[str, Callable[..., Any]] = {f.__name__: f for f in role.tools}
            result = _run(functions.get(call.name), call.arguments)
            messages.append({"role": "tool", "tool_call_id": sent["id"], "content": result})
        role = next((_ROLES[call.name] for call in reply.calls if call.name in _ROLES), role)
    raise AssertionError(f"no answer after {_MOST_STEPS} steps: {calls}")


def _values(arguments: str) -> str:
    return ", ".join(map(str, json.loads(arguments).values()))


def _run(function: Callable[..., Any] | None, arguments: str) -> str:
    if function is None:
        return "handed over"
    try:
        return json.dumps(function(**json.loads(arguments)))
    except ToolError as error:
        return str(error)
