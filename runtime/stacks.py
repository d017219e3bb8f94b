"""Where a task waits, as text: for warnings, events and reports."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import trio

__all__ = ["place_of", "stack_of"]

_TRIO: Final = str(Path(trio.__file__).parent)


def stack_of(task: trio.lowlevel.Task) -> tuple[str, ...]:
    """
    Return where *task* waits, outermost first, each as ``file:line in function``.

    With the extra ``debug`` (stackscope) the async generators that it is in are part of it, and so
    are the tasks of its nurseries, indented, at the place where it opened them.
    """
    try:
        import stackscope  # an extra, so not at import
    except ImportError:
        return tuple(
            f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
            for frame, line in task.iter_await_frames()
        )
    return tuple(_lines(stackscope.extract(task, recurse_child_tasks=True), ""))


def place_of(task: trio.lowlevel.Task) -> str:
    """Return the innermost line of ``stack_of(task)`` that is not Trio's own."""
    lines = [line.strip() for line in stack_of(task)]
    own = [line for line in lines if not line.startswith(_TRIO)]
    return next(reversed(own or lines), "an unknown place")


def _lines(stack: Any, indent: str) -> Iterator[str]:
    for frame in stack.frames:
        code = frame.pyframe.f_code
        yield f"{indent}{code.co_filename}:{frame.lineno} in {code.co_qualname}"
        for context in frame.contexts:
            for child in context.children:
                if hasattr(child, "frames"):  # a task of a nursery, not a nested context
                    yield f"{indent}  {getattr(child.root, 'name', child.root)}:"
                    yield from _lines(child, indent + "    ")
