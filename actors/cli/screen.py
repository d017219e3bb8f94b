"""
The terminal: lines that stay, text that grows, and below it the rows of status.

On a terminal, the rows of status and the unfinished last row of the text are a live region that is
redrawn in place; whatever is finished scrolls by above it. On anything else, output is plain text
without control codes, and there is no status. Colours are the terminal's own palette, so that they
suit light and dark; no meaning is carried by colour alone.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from greenroom.actors.cli.wording import cut, printable, settled_rows

__all__ = ["Screen"]

_FRAME = 1 / 15  # seconds between two drawings of the live region


class _Console(Console):
    """A console whose closed output is the caller's to see to."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError("the output was closed")


class Screen:
    """Standard output, as the terminal or the file that it is."""

    def __init__(self) -> None:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        # decided here alone: the variables that force colours are not meant for pipes
        self.console = _Console(
            force_terminal=is_terminal, highlight=False, markup=False, emoji=False
        )
        self.is_live = is_terminal and not self.console.is_dumb_terminal
        self._live: Live | None = None  # while `live` is open
        self._status: Callable[[], Iterator[str]] = lambda: iter(())
        self._open = ""  # the last row of the text, which goes on
        self._in_text = False
        self._drawn: list[str] = []  # what the live region shows

    @property
    def width(self) -> int:
        """Columns of a line; a file has 100."""
        return self.console.width if self.console.is_terminal else 100

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line that stays, below the text so far."""
        self.end_text()
        self._print(printable(text), style)

    def headline(self, text: str) -> None:
        """Write what everything after it is to be read with."""
        self.line(text, "dim")

    def cut_line(self, text: str, style: str = "") -> None:
        """Write a line that stays, cut to the width."""
        self.line(cut(printable(text), self.width), style)

    def text(self, delta: str) -> None:
        """Write more of the growing text."""
        delta = printable(delta)
        self._in_text = True
        if not self.is_live:
            self.console.file.write(delta)
            self.console.file.flush()
            self._open = (self._open + delta).rpartition("\n")[2][-1:]
            return
        rows, self._open = settled_rows(self._open + delta, self.console.width - 1)
        for row in rows:
            self._print(row)

    def end_text(self) -> None:
        """End the growing text, if there is one, at the end of a line."""
        if self._in_text:
            self._in_text = False
            rest, self._open = self._open, ""
            if self.is_live and rest:
                self._print(rest.rstrip())
            elif rest:
                self._print("")

    def prompt(self, text: str) -> None:
        """Write *text* and leave the cursor behind it."""
        self.end_text()
        self.console.print(Text(text, style="bold"), end="")
        self.console.file.flush()

    def _print(self, text: str, style: str = "") -> None:
        # plain output is not broken into rows: whoever reads it has another width
        if self.is_live:
            self.console.print(Text(text, style=style))
        else:
            self.console.file.write(f"{text}\n")
            self.console.file.flush()

    @contextmanager
    def live(self, status: Callable[[], Iterator[str]]) -> Generator[None]:
        """
        Show what *status* yields below the text while the block runs; the terminal is then restored.

        Somebody must call `draw` now and then, see `keep_drawing`.
        """
        if not self.is_live:
            try:
                yield
            finally:
                self.end_text()
            return
        self._status = status
        live = Live(console=self.console, auto_refresh=False, transient=True)
        live.start()
        self._live = live
        try:
            self.draw()
            yield
        finally:
            self._live, self._drawn = None, []
            live.update(Group())
            live.stop()
            self.end_text()

    def draw(self) -> None:
        """Redraw the live region, if it changed."""
        if self._live is None:
            return
        # one row is left free, and some columns for what the terminal echoes, such as ^C
        most = max(1, self.console.height - 2)
        rows = [cut(printable(row), self.console.width - 5) for row in self._status()][:most]
        shown = [self._open, *rows]
        if shown != self._drawn:
            self._drawn = shown
            texts = [Text(row, style="dim", no_wrap=True) for row in rows]
            if self._open:
                texts.insert(0, Text(self._open, no_wrap=True, overflow="crop"))
            self._live.update(Group(*texts), refresh=True)

    async def keep_drawing(self) -> None:
        """Call `draw` until cancelled. Checkpoint: always."""
        while True:
            self.draw()
            await trio.sleep(_FRAME)

    def restore(self) -> None:
        """Give the terminal back at once, whatever runs."""
        if self._live is not None:
            self._live.stop()
