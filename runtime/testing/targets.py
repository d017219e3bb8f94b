"""What a fault could be for, at one moment of a run: nurseries, and tasks that wait."""

from pathlib import Path
from types import FrameType

import trio

__all__ = ["is_own_task", "own_nurseries", "own_place", "waits_in_own_code"]

_OURS = "greenroom."
_LIBRARIES = ("trio.", "contextlib")


def _module(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}"


def own_nurseries(task: trio.lowlevel.Task) -> list[trio.Nursery]:
    """
    Return the open nurseries of *task* that the scenario's own code holds.

    Not Greenroom's: nobody outside of it can cancel those.
    """
    if not task.child_nurseries:
        return []
    frames = [frame for frame, _ in task.iter_await_frames()]
    own = [frame for frame in frames if not _module(frame).startswith((_OURS, *_LIBRARIES))]
    held = {id(value) for frame in own for value in frame.f_locals.values()}
    return [nursery for nursery in task.child_nurseries if id(nursery) in held]


def is_own_task(task: trio.lowlevel.Task) -> bool:
    """Tell whether what *task* was started with is the scenario's own."""
    frame, _ = next(iter(task.iter_await_frames()))
    return not _module(frame).startswith((_OURS, *_LIBRARIES))


def waits_in_own_code(task: trio.lowlevel.Task) -> bool:
    """Tell whether the innermost frame of *task*, libraries left out, is the scenario's own."""
    modules = [_module(frame) for frame, _ in task.iter_await_frames()]
    own = [module for module in modules if not module.startswith(_LIBRARIES)]
    return bool(own) and not own[-1].startswith(_OURS)


def own_place(task: trio.lowlevel.Task) -> str | None:
    """Return where in the scenario's own code *task* waits, as ``function (file:line)``, if it does."""
    found = None
    for frame, line in task.iter_await_frames():
        if not _module(frame).startswith((_OURS, *_LIBRARIES)):
            found = f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{line})"
    return found
