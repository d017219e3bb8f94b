"""
What the command line says, as pure functions: from frames and values to short lines of text.

Texts that come from models and servers may hold anything; `printable` takes out what a terminal
would obey, and everything here goes through it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from rich.cells import cell_len, chop_cells

from greenroom.actors.agent import Outcome, TurnEnded
from greenroom.actors.llm.context import (
    Assistant,
    Context,
    Message,
    ToolOutput,
    User,
)

__all__ = [
    "call_text",
    "conversation",
    "counted",
    "cut",
    "failure",
    "kept",
    "one_line",
    "printable",
    "seconds",
    "settled_rows",
    "shortened",
    "values_of",
]

# C0 (without tab and newline), DEL, C1, the marks that turn the direction of text around, and
# lone surrogates, which can't be encoded.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return *text* without what a terminal would obey; carriage returns go, the rest shows."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r", "")).expandtabs(4)


def one_line(text: str) -> str:
    """Return *text* as one printable line."""
    return printable(" ".join(text.split()))


def shortened(text: str, cells: int) -> str:
    """Return *text* as one line of at most *cells* columns, >= 1."""
    return cut(one_line(text), cells)


def cut(text: str, cells: int) -> str:
    """Return *text*, a printable line, cut to *cells* columns, >= 1."""
    if cell_len(text) <= cells:
        return text
    return (chop_cells(text, cells - 1)[0] if cells > 1 else "") + "…"


def seconds(value: float) -> str:
    """Return a duration (seconds, >= 0) with the precision that its size deserves."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 60 else f"{value // 60:.0f} min {value % 60:.0f} s"


def counted(number: int, noun: str) -> str:
    """Return *number* with *noun*, in the plural where it must be."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def call_text(name: str, arguments: str) -> str:
    """Return a tool call with the values of its arguments; *arguments* is JSON text."""
    return f"{one_line(name)}({values_of(arguments)})"


def values_of(text: str) -> str:
    """Return the values of a JSON object in a row, or *text* itself if it is anything else."""
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return one_line(text)
    values = cast("dict[str, Any]", given).values()
    return one_line(", ".join(map(_value, values)))


def _value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def settled_rows(text: str, width: int) -> tuple[list[str], str]:
    """
    Break *text* into rows of at most *width* columns, as far as more text can't change them.

    Returns:
        The rows that are done, and the text of the row that goes on.
    """
    rows: list[str] = []
    *lines, rest = text.split("\n")
    for line in lines:
        done, last = settled_rows(line, width)
        rows += [*done, last.rstrip()]
    # a space at the end of a row is no reason to begin another, a word behind it is
    while cell_len(rest.rstrip(" ")) > width:
        fits = len(chop_cells(rest, width)[0])
        space = rest.rfind(" ", 0, fits + 1)
        at = space if space > 0 else max(1, fits)
        rows.append(rest[:at].rstrip())
        rest = rest[at:].lstrip(" ")
    return rows, rest


def kept(ended: TurnEnded, done: int, cancelled: int) -> str:
    """Say what an interrupted turn left: *done* and *cancelled* are tool calls, >= 0."""
    words = len(ended.answer.split())
    parts = [f"{counted(words, 'word')} of the answer"] if words else []
    if done:
        parts.append(counted(done, "tool result"))
    said = f"interrupted: kept {' and '.join(parts) or 'your message'}"
    return f"{said}, cancelled {counted(cancelled, 'tool call')}" if cancelled else said


_ADVICE: Final = {
    Outcome.TRUNCATED: "the limit on tokens cut the answer off; ask for less, or raise the limit",
    Outcome.FILTERED: "the provider withheld the rest of the answer; ask differently",
    Outcome.EMPTY: "the model ended without an answer; ask again, or ask differently",
    Outcome.EXHAUSTED: "the model came to no answer; ask for less at once",
    Outcome.TIMED_OUT: "the model took too long; try again",
    Outcome.FAILED: "the turn failed",
}


def failure(ended: TurnEnded) -> str:
    """Say in one line why a turn came to no whole answer; empty if it did."""
    advice = _ADVICE.get(ended.outcome, "")
    if ended.outcome is Outcome.FAILED and ended.detail:
        # the library speaks of arguments, and here they are options
        detail = re.sub(r"\bSettings\(model='\.\.\.'\)", "--model NAME", ended.detail)
        detail = re.sub(r"\bset api_key to\b", "set --api-key-env to the variable of", detail)
        return detail.replace("base_url", "--base-url")
    return f"{advice} ({ended.detail})" if advice and ended.detail else advice


def conversation(context: Context) -> Iterator[tuple[str, str]]:
    """Yield (who, what) for each message of *context*, calls and results on rows of their own."""
    for message in context.messages:
        yield from _rows(message)


def _rows(message: Message) -> Iterator[tuple[str, str]]:
    match message:
        case Assistant():
            if message.text or message.refusal:
                yield "model", one_line(message.text or message.refusal)
            for call in message.calls:
                yield "call", call_text(call.name, call.arguments)
            if message.interrupted is not None:
                yield "", "(broken off here)"
        case ToolOutput():
            yield "error" if message.is_error else "result", values_of(message.text)
        case User():
            yield "you", one_line(message.text)
        case _:
            yield type(message).__name__.lower(), one_line(message.text)
