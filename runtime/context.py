"""How a handler runs in the context variables of its asker (R15)."""

from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any

__all__ = ["InContext", "is_same"]


def is_same(context: Context | None, own: Context) -> bool:
    """Compare two contexts; a value that can't be compared makes them differ."""
    try:
        return context == own
    except Exception:
        return False


class InContext:
    """Drive a coroutine in a context that is not the task's own (R15)."""

    __slots__ = ("_context", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> None:
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        run, send, throw = self._context.run, self._coroutine.send, self._coroutine.throw
        try:
            trap = run(send, None)
            while True:
                try:
                    result = yield trap
                except BaseException as exc:  # noqa: ASYNC103 - handed to the coroutine
                    trap = run(throw, exc)
                else:
                    trap = run(send, result)
        except StopIteration as stop:
            return stop.value
