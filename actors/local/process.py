"""
`open_server`: a server program as a child process that lives as long as a block.

Three things end it. Leaving the block kills it and waits until it is gone. Its own end, before it
is ready or after, cancels the block and is raised there, with what it said last. And when this
process ends in any other way, SIGKILL included, its leash closes (see `leash`).

What it says goes to the logger ``greenroom.local``, a line each, at level DEBUG.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from greenroom.runtime import bare

__all__ = ["LocalModelError", "open_server"]

_log = logging.getLogger("greenroom.local")

_LEASH: Final = str(Path(__file__).with_name("leash.py"))
_LOOK: Final = 0.1  # seconds between two looks whether it is ready
_LINE: Final = 4096  # bytes of a line; a longer one counts as several
_QUOTED: Final = 300  # characters of its last line in a message
_GRACE: Final = 5.0  # seconds for the kernel to end what was killed

# What a child gets to see. Its settings are command-line arguments; llama.cpp's server would also
# read HOST, PORT, CONFIG_FILE and others from here, over those, and no key is its business.
_PASSED: Final = (
    *("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"),
    *("PYTHONHOME", "PYTHONPATH"),
)


class LocalModelError(Exception):
    """A local model can't be had, or is gone; the message is one line that says what to do."""


@attrs.define
class _Output:
    """What a process says, line by line; the last line is kept for messages."""

    last: str = ""
    is_over: trio.Event = attrs.field(factory=trio.Event)
    _begun: bytes = b""  # a line without an end yet

    def feed(self, chunk: bytes) -> None:
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._begun) > _LINE:
            self._line(self._begun)
            self._begun = b""

    def end(self) -> None:
        self._line(self._begun)
        self.is_over.set()

    def _line(self, line: bytes) -> None:
        if text := line.decode(errors="replace").strip():
            _log.debug("%s", text)
            self.last = text

    def quoted(self) -> str:
        """Return its last line, for a message."""
        return f"it said last: {self.last[:_QUOTED]}" if self.last else "it said nothing"


@asynccontextmanager
async def open_server(
    target: str,
    arguments: Sequence[str],
    *,
    name: str,
    is_ready: Callable[[], Awaitable[bool]],
    ready_within: float,
    waiting: Callable[[float], None] | None = None,
) -> AsyncGenerator[int]:
    """
    Run the Python program *target* while the block runs; the value is its process id.

    Entry returns once it is ready; exit kills it and returns once it is gone, cancelled or not.

    Args:
        target: A module, as for ``python -m``, or the path of a file that ends in ``.py``.
        arguments: What it is given.
        name: What messages call it.
        is_ready: Asked again and again; returns whether the server serves.
        ready_within: Seconds that it may take until then, > 0.
        waiting: Called after each look at a server that is not ready, with the seconds so far.

    Raises:
        LocalModelError: it can't be started, isn't ready in time, or ended before the block did.
        ValueError: *ready_within* is out of range.

    Cancellation: anywhere; nothing of it is left.
    """
    if not ready_within > 0:
        raise ValueError(f"ready_within must be seconds > 0, not {ready_within!r}")
    with bare():
        process = await _start(target, arguments, name)
        output = _Output()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_listen, process, output)
                nursery.start_soon(_watch, process, output, name)
                await _until_ready(is_ready, ready_within, waiting, output, name)
                yield process.pid
                nursery.cancel_scope.cancel()
        finally:
            _kill(process)
            with trio.move_on_after(_GRACE, shield=True) as scope:
                await _gone(process)
            if scope.cancelled_caught:
                _log.error("process %d was killed %g s ago and is there", process.pid, _GRACE)


async def _start(target: str, arguments: Sequence[str], name: str) -> trio.Process:
    command = [sys.executable, "-P", _LEASH, target, *arguments]
    try:
        # A session of its own, so that Ctrl-C on the terminal is ours to obey.
        return await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        raise LocalModelError(f"{name} can't be started: {error}") from error


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    return {key: ours[key] for key in _PASSED if key in ours} | {"PYTHONUNBUFFERED": "1"}


async def _listen(process: trio.Process, output: _Output) -> None:
    """Take in what the process says, so that it never waits for a reader. Checkpoint: always."""
    assert process.stdout is not None
    async for chunk in process.stdout:
        output.feed(bytes(chunk))
    output.end()


async def _watch(process: trio.Process, output: _Output, name: str) -> None:
    """Raise when the process has ended. Checkpoint: always."""
    code = await process.wait()
    with trio.move_on_after(1):  # the pipe holds the last words; who else has it may keep it open
        await output.is_over.wait()
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    raise LocalModelError(f"{name} {how}; {output.quoted()}")


async def _until_ready(
    is_ready: Callable[[], Awaitable[bool]],
    within: float,
    waiting: Callable[[float], None] | None,
    output: _Output,
    name: str,
) -> None:
    """Return once the server serves. Checkpoint: always."""
    began_at = trio.current_time()
    with trio.move_on_after(within) as scope:
        while not await is_ready():
            if waiting is not None:
                waiting(trio.current_time() - began_at)
            await trio.sleep(_LOOK)
    if scope.cancelled_caught:
        raise LocalModelError(
            f"{name} was not ready within {within:g} seconds; {output.quoted()}; "
            f"give it longer by ready_within, if the machine is slow"
        )


def _kill(process: trio.Process) -> None:
    """
    Kill the process and all that it started.

    It has nothing to save, and its own way to end would first wait for responses that run.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _gone(process: trio.Process) -> None:
    """Return once the process, which was killed, is gone. Checkpoint: always."""
    await process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            await pipe.aclose()
