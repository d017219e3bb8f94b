"""
How a command is run: signals become cancellation, and failures one line and an exit code.

The library never touches signals; the command line owns the process and does. While a command
runs, SIGINT and SIGTERM are received by Trio, so that nothing is torn apart at a random
instruction: they cancel a scope, and what is inside cleans up as for any other cancellation.
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

import trio

from greenroom.actors.cli.wording import one_line
from greenroom.actors.llm.errors import ProviderError
from greenroom.runtime import bare

__all__ = ["Command", "CommandError", "Interrupts", "complain", "run_command"]

FAILED = 1
BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended


class CommandError(Exception):
    """A command can't go on; the message is one line that says what to do."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class Interrupts:
    """
    What the next Ctrl-C ends: the `part` that runs, or else, and for SIGTERM, the whole command.

    Once the whole command is ending, one more signal leaves at once, without waiting for cleanup.
    """

    def __init__(self) -> None:
        self.whole = trio.CancelScope()
        self.code: int | None = None  # the exit code, once a signal ends the whole command
        self.last_resort: list[Callable[[], None]] = []  # called before leaving at once
        self._part: trio.CancelScope | None = None

    @contextmanager
    def part(self) -> Generator[trio.CancelScope]:
        """Open the scope that Ctrl-C cancels instead of the whole command; parts don't nest."""
        with trio.CancelScope() as scope:
            self._part = scope
            try:
                yield scope
            finally:
                self._part = None

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """Turn *signals* into cancellation, until cancelled."""
        async for number in signals:
            if self.whole.cancel_called:
                for restore in self.last_resort:
                    restore()
                os._exit(128 + number)
            if number == signal.SIGINT and self._part and not self._part.cancel_called:
                self._part.cancel(reason="Ctrl-C")
            else:
                self.code = 128 + number
                self.whole.cancel(reason=signal.Signals(number).name)


Command: TypeAlias = Callable[[Interrupts], Awaitable[int]]


async def _supervise(command: Command) -> int:
    interrupts = Interrupts()
    code = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, bare():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupts.listen, signals)
            with interrupts.whole:
                code = await command(interrupts)
            nursery.cancel_scope.cancel()
    if interrupts.code is None:
        return code
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)  # behind the ^C that the terminal has shown
    return interrupts.code


def run_command(command: Command, *, debug: bool = False) -> int:
    """
    Run *command* in Trio and return its exit code.

    Args:
        command: Returns the exit code.
        debug: Whether a failure brings its traceback along.
    """
    try:
        code = trio.run(_supervise, command)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:  # came before the signals were received, or after
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except Exception as error:
        if debug:
            traceback.print_exc()
        complain(_said(error, debug))
        return error.code if isinstance(error, CommandError) else FAILED


def _said(error: Exception, debug: bool) -> str:
    if isinstance(error, (CommandError, ProviderError)):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the output can't be written: {error.strerror}"
    hint = "" if debug else "; write --debug for the traceback"
    return f"this is a bug or an odd machine: {type(error).__name__}: {error}{hint}"


def complain(message: str) -> None:
    """Write *message* on stderr, as one line."""
    if sys.stderr is not None:
        print(f"greenroom: {one_line(message)}", file=sys.stderr, flush=True)


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
