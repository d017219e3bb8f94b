"""`MODULES`: the files of which mutants are made, and the tests that are to kill them."""

from typing import Final

import attrs


@attrs.frozen
class Module:
    """A file, and its tests: `fast` ones for each mutant, `wide` ones for those that survive."""

    path: str
    fast: tuple[str, ...]
    wide: tuple[str, ...]


def _in(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{folder}/test_{name}.py" for name in names)


_RUNTIME: Final = (
    *_in("runtime", "ask", "tell", "stream", "stop", "interrupt", "concurrency", "supervision"),
    *_in("runtime", "children", "context", "accounts", "observers"),
    *_in("runtime/pipeline", "turn", "interruption"),
)
_RUNTIME_WIDE: Final = (
    *_in("runtime", "topic", "deadlock", "timers", "sweeps"),
    *_in("runtime/pipeline", "pipeline", "lifecycle"),
)

MODULES: Final = (
    Module("runtime/mailbox.py", _RUNTIME, _RUNTIME_WIDE),
    Module("runtime/loop.py", _RUNTIME, _RUNTIME_WIDE),
    Module(
        "actors/llm/assembly.py",
        _in("actors/llm", "assembly"),
        _in("actors/llm", "response", "openai", "actor"),
    ),
    Module(
        "actors/agent/transcript.py",
        _in("actors/agent", "transcript", "agent"),
        _in("actors/agent", "interference_sweep"),
    ),
    Module(
        "actors/llm/actor.py",
        _in("actors/llm", "actor", "response"),
        (*_in("actors/llm", "openai", "sockets"), *_in("actors/agent", "agent")),
    ),
    Module(
        "actors/tools/dispatcher.py",
        _in("actors/tools", "dispatcher", "dispatch_sweep"),
        (*_in("actors/tools", "tool"), *_in("actors/agent", "agent", "interference_sweep")),
    ),
)
