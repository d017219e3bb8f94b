"""What a docstring in Google's style tells a model: the description, and each parameter's."""

import inspect
import re

__all__ = ["read_docstring"]

_SECTION = re.compile(
    r"(args|arguments|parameters|params|returns?|yields?|raises|attributes|examples?|notes?"
    r"|cancellation|checkpoint|source):\s*$",
    re.IGNORECASE,
)
_PARAMETERS = ("args", "arguments", "parameters", "params")
# `limit (int, optional): text`; the house writes parameters in running text as *limit*
_ENTRY = re.compile(r"\*{0,2}(\w+)\*{0,2}\s*(?:\(.*?\))?\s*:(?:\s+(.*))?$")


def read_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """
    Read a docstring in Google's style.

    Returns:
        The text before the first section, paragraphs kept and lines joined, and {parameter: text}
        of the ``Args:`` section. A docstring in another style is all description.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    head: list[str] = []
    entries: dict[str, list[str]] = {}
    section: str | None = None  # None before the first
    indent = 0  # columns before a parameter's name; found at the first
    entry: list[str] = []
    for line in lines:
        text = line.strip()
        if found := _SECTION.match(line):
            section, indent = found[1].lower(), 0
        elif section is None:
            head.append(text)
        elif section in _PARAMETERS and text:
            column = len(line) - len(line.lstrip())
            indent = indent or column
            if column <= indent and (named := _ENTRY.match(text)):
                entry = entries.setdefault(named[1], [])
                text = named[2] or ""
            entry.append(text)
    paragraphs = "\n".join(head).strip().split("\n\n")
    description = "\n\n".join(_joined(paragraph) for paragraph in paragraphs)
    return description, {name: " ".join(filter(None, texts)) for name, texts in entries.items()}


def _joined(paragraph: str) -> str:
    """Join the lines of running text, and keep those of a list."""
    return re.sub(r"\n(?![-*\d>|])", " ", paragraph)
