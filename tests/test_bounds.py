"""Bounded everything: no buffer of the package can grow without a bound that its line states."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUFFERS = {"deque", "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue", "open_memory_channel"}


def name_of(function: ast.expr) -> str:
    """Return the last name of what is called: ``trio.open_memory_channel[int]`` has one too."""
    if isinstance(function, ast.Subscript):
        function = function.value
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def unbounded(source: str) -> Iterator[str]:
    """Return an iterator over the lines of *source* that make a buffer, and state no bound."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and name_of(node.func) in BUFFERS):
            continue
        text = lines[node.lineno - 1]
        bounds = [*node.args, *(k.value for k in node.keywords if k.arg in ("maxlen", "maxsize"))]
        if name_of(node.func) == "open_memory_channel":
            bounded = bool(bounds) and not any("inf" in ast.unparse(bound) for bound in bounds)
        elif name_of(node.func) == "deque":
            bounded = any(k.arg == "maxlen" for k in node.keywords)
        else:
            bounded = bool(bounds)
        if not bounded and "# at most " not in text:
            yield f"{node.lineno}: {text.strip()}"


@pytest.mark.parametrize(
    ("line", "is_fine"),
    [
        ("trio.open_memory_channel(16)", True),
        ("trio.open_memory_channel[int](buffer)", True),
        ("trio.open_memory_channel(math.inf)", False),
        ("deque(maxlen=3)", True),
        ("deque()", False),
        ("deque()  # at most one for each slot", True),
        ("queue.Queue()", False),
        ("queue.Queue(maxsize=4)", True),
    ],
)
def test_a_buffer_without_a_bound_is_found(line: str, is_fine: bool) -> None:
    """What is looked for, and what passes."""
    assert (list(unbounded(line)) == []) == is_fine


def test_no_buffer_of_the_package_is_unbounded() -> None:
    """Each channel has a bound, and each deque one that its line or its maxlen states."""
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for folder in ("runtime", "actors")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line in unbounded(file.read_text())
    ]

    assert found == []
