"""Which awaits of a module a cancel came out of, and which it never reached."""

import ast
import importlib
import inspect
from collections.abc import Iterable, Iterator
from typing import TypeAlias

__all__ = ["check_modules", "missed"]

_Await: TypeAlias = ast.Await | ast.AsyncFor | ast.AsyncWith


def missed(modules: Iterable[str], reached: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """
    Return the awaits of *modules* that are not among those *reached*, each as ``file:line``.

    Args:
        modules: Names to import. Of each, every ``await``, ``async for`` and ``async with`` counts.
        reached: Files and lines at which a task waited when it was cancelled.

    Raises:
        ImportError: there is no such module, or it has no source.
    """
    lines = set(reached)
    return tuple(
        f"{file}:{node.lineno}"
        for file, node in _awaits(modules)
        if not any((file, line) in lines for line in _lines(node))
    )


def check_modules(modules: Iterable[str]) -> None:
    """Raise ImportError if there is no such module, or it has no source."""
    for _ in _awaits(modules):
        pass


def _awaits(modules: Iterable[str]) -> Iterator[tuple[str, _Await]]:
    for name in modules:
        module = importlib.import_module(name)
        file = inspect.getsourcefile(module)
        if file is None:
            raise ImportError(f"{name!r} has no source file, so its awaits can't be counted")
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, _Await):
                yield file, node


def _lines(node: _Await) -> Iterable[int]:
    """Return the lines at which a task that waits in *node* may be said to stand."""
    if isinstance(node, ast.Await):
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    if isinstance(node, ast.AsyncFor):
        return range(node.lineno, (node.iter.end_lineno or node.lineno) + 1)
    return range(node.lineno, (node.items[-1].context_expr.end_lineno or node.lineno) + 1)
