"""
Lines from standard input, in a way that can be cancelled and never touches the terminal's modes.

The terminal's own line editing is used, so that there is nothing to restore, however we end. What
is typed while a turn runs waits in the terminal, and is read at the next prompt.
"""

import codecs
import contextlib
import os

import trio

__all__ = ["Lines"]

_LONGEST = 1 << 20  # characters of a line; what comes without a newline for longer is no question
_CHUNK = 65536  # bytes read at once


class Lines:
    """
    The lines that a file descriptor gives: a terminal, a pipe or a file.

    Args:
        fd: Is read from, never closed, and stays blocking.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read = ""  # decoded, and not handed out yet
        self._is_over = False

    async def next(self) -> str | None:
        """
        Return the next line without its end; None when there are no more.

        Raises:
            ValueError: a line is longer than any question.

        Cancellation: nothing is lost.

        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        while "\n" not in self._read and not self._is_over:
            if len(self._read) > _LONGEST:
                raise ValueError(f"a line of the input is longer than {_LONGEST} characters")
            # a file, or /dev/null, is always ready and lets nobody wait
            with contextlib.suppress(PermissionError):
                await trio.lowlevel.wait_readable(self._fd)
            chunk = os.read(self._fd, _CHUNK)
            self._is_over = not chunk
            self._read += self._decoder.decode(chunk, final=not chunk)
        line, newline, self._read = self._read.partition("\n")
        return line if line or newline else None
