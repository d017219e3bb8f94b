"""
Record the captures of this folder: run the command line in tmux, type, and keep what is seen.

Usage: ``.venv/bin/python docs/captures/record.py [NAME ...]`` from the root; needs tmux. Each
capture is the text of a terminal of 80 columns, colours left out; ``--colours`` prints them instead.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
GREENROOM = Path(sys.executable).parent / "greenroom"
COLUMNS, ROWS = 80, 30
PATIENCE = 30.0  # seconds for anything to show up


class Terminal:
    """One terminal, in a tmux server of its own."""

    def __init__(self, name: str) -> None:
        self._tmux = ["tmux", "-L", f"greenroom-{os.getpid()}-{name}", "-f", "/dev/null"]
        self._ask("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "env PS1='$ ' sh")
        self.wait_for("$")

    def _ask(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def seen(self, *, colours: bool = False) -> str:
        """Return all that was on the terminal, what scrolled away included."""
        text = self._ask("capture-pane", "-p", "-S", "-", *(["-e"] if colours else []))
        return text.rstrip() + "\n"

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Wait until *text* was seen that many times."""
        until = time.monotonic() + PATIENCE
        while self.seen().count(text) < times:
            if time.monotonic() > until:
                raise TimeoutError(f"{text!r} did not show up in:\n{self.seen()}")
            time.sleep(0.02)

    def type(self, line: str) -> None:
        """Type *line* and the return key."""
        self._ask("send-keys", "-l", line)
        self._ask("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press one key, such as ``C-c``."""
        self._ask("send-keys", key)

    def run(self, *arguments: str) -> None:
        """Type a ``greenroom`` command."""
        self.type(shlex.join(["greenroom", *arguments]))

    def close(self) -> None:
        """End the terminal and all that runs in it."""
        self._ask("kill-server")


def demo(terminal: Terminal) -> None:
    """The default question."""
    terminal.run("demo")
    terminal.wait_for(", total ")


def working(terminal: Terminal) -> None:
    """The default question, halfway: two tools run at once."""
    terminal.run("demo", "--tool-delay", "3")
    terminal.wait_for("waits for 2 tools")


def questions(terminal: Terminal) -> None:
    """Three questions, typed one after another."""
    terminal.run("chat")
    for number, question in enumerate(
        (
            "How much higher is Everest than K2?",
            "What are the five lightest elements?",
            "How do I interrupt an actor?",
        ),
        start=1,
    ):
        terminal.wait_for("you>", times=number)
        terminal.type(question)
    terminal.wait_for("you>", times=4)
    terminal.press("C-d")
    terminal.wait_for("$", times=2)


def _interrupted(terminal: Terminal, *options: str, until: str, then: tuple[str, ...]) -> None:
    terminal.run("chat", *options)
    terminal.wait_for("you>")
    terminal.type("Which is heavier, Jupiter or Saturn, and by how much?")
    terminal.wait_for(until)
    terminal.press("C-c")
    terminal.wait_for("interrupted")
    for number, line in enumerate(then, start=2):
        terminal.wait_for("you>", times=number)
        terminal.type(line)
    terminal.wait_for("you>", times=len(then) + 2)
    terminal.press("C-c")
    terminal.wait_for("$", times=2)


def interrupted_before_the_first_token(terminal: Terminal) -> None:
    """Ctrl-C while the model has said nothing yet, then the conversation goes on."""
    _interrupted(
        terminal,
        *("--pace", "0.5"),
        until="waits for the model",
        then=("/context",),
    )


def interrupted_in_mid_stream(terminal: Terminal) -> None:
    """Ctrl-C while the answer comes: what was seen is kept, and no more."""
    _interrupted(
        terminal,
        *("--pace", "12"),
        until="Jupiter is heavier than",
        then=("/context", "How heavy is Mars?"),
    )


def interrupted_during_a_tool(terminal: Terminal) -> None:
    """Ctrl-C while two tools run: both are cancelled, and the history says so."""
    _interrupted(
        terminal,
        *("--tool-delay", "60"),
        until="waits for 2 tools",
        then=("/context", "/undo"),
    )


CAPTURES: dict[str, Callable[[Terminal], None]] = {
    "demo": demo,
    "demo-at-work": working,
    "questions": questions,
    "interrupted-before-the-first-token": interrupted_before_the_first_token,
    "interrupted-in-mid-stream": interrupted_in_mid_stream,
    "interrupted-during-a-tool": interrupted_during_a_tool,
}


def main() -> None:
    """Record the captures that the command line names, or all."""
    colours = "--colours" in sys.argv
    os.environ["PATH"] = f"{GREENROOM.parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.pop("OPENAI_API_KEY", None)
    for name in [argument for argument in sys.argv[1:] if argument[0] != "-"] or CAPTURES:
        terminal = Terminal(name)
        try:
            CAPTURES[name](terminal)
            if colours:
                print(terminal.seen(colours=True))
            else:
                (HERE / f"{name}.txt").write_text(terminal.seen())
        finally:
            terminal.close()


if __name__ == "__main__":
    main()
