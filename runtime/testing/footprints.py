"""
Which of Trio's things a task uses, reported while a block lasts.

The public methods of events, locks, semaphores, limiters, conditions and memory channels are
wrapped on their classes; what they do, return and raise is as before. A use is reported at the call,
and once more when a wait is over, however it ends: that is another step of the task.
"""

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeAlias
from unittest.mock import patch

import trio

from greenroom.runtime.testing.seam import state_of

__all__ = ["MADE", "Report", "touching"]

Report: TypeAlias = Callable[[object, bool], None]
"""What is told of each use: the thing, and whether it may have changed."""

_LOOKS: Final = False
_WRITES: Final = True

_LOCK: Final = {
    "statistics": _LOOKS,
    "acquire": _WRITES,
    "acquire_nowait": _WRITES,
    "release": _WRITES,
}
_CHANNEL: Final = {"statistics": _LOOKS, "clone": _WRITES, "close": _WRITES, "aclose": _WRITES}
_METHODS: Final[dict[type[Any], dict[str, bool]]] = {
    trio.Event: {"is_set": _LOOKS, "set": _WRITES, "wait": _LOOKS, "statistics": _WRITES},
    trio.Lock: {**_LOCK, "locked": _LOOKS},
    trio.Semaphore: _LOCK,
    trio.CapacityLimiter: {
        **_LOCK,
        "acquire_on_behalf_of": _WRITES,
        "acquire_on_behalf_of_nowait": _WRITES,
        "release_on_behalf_of": _WRITES,
    },
    trio.Condition: {
        **_LOCK,
        "locked": _LOOKS,
        "wait": _WRITES,
        "notify": _WRITES,
        "notify_all": _WRITES,
    },
    trio.MemorySendChannel: {**_CHANNEL, "send": _WRITES, "send_nowait": _WRITES},
    trio.MemoryReceiveChannel: {**_CHANNEL, "receive": _WRITES, "receive_nowait": _WRITES},
}


#: The classes whose making gives a thing its place; of a channel, that of what its ends share.
MADE: Final[tuple[type[Any], ...]] = (
    *(trio.Event, trio.Lock, trio.Semaphore, trio.CapacityLimiter, trio.Condition),
    type(state_of(trio.open_memory_channel[None](0)[0])),
)


@contextmanager
def touching(report: Report) -> Generator[None]:
    """
    Call *report* for every use of one of Trio's things while this block lasts.

    What a subclass overrides, and calls without ``super()``, is not seen; nor is a property that is
    only read.
    """
    with ExitStack() as stack:
        for kind, methods in _METHODS.items():
            for name, writes in methods.items():
                wrapped = _wrapped(getattr(kind, name), report, writes)
                stack.enter_context(patch.object(kind, name, wrapped))
        yield


def _wrapped(method: Callable[..., Any], report: Report, writes: bool) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def wait(thing: object, *args: Any, **kwargs: Any) -> Any:
            report(thing, writes)
            try:
                return await method(thing, *args, **kwargs)
            finally:
                report(thing, writes)

        return wait

    @functools.wraps(method)
    def call(thing: object, *args: Any, **kwargs: Any) -> Any:
        report(thing, writes)
        return method(thing, *args, **kwargs)

    return call
