"""
Full-text search over Markdown pages, such as the project's own documentation.

Pages are cut at their headings, and long sections at their paragraphs, so that a hit is a passage
that fits an answer. The index is SQLite's FTS5 with English stemming: *interrupted* finds
*interrupt*.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from greenroom.actors.tools import ToolError

__all__ = ["Library", "search_docs"]

_MAX_HITS = 10  # passages that one search returns at most
_MAX_SECTION = 1_000  # characters; a longer section is cut at its paragraphs

_FENCE = re.compile(  # with the few words that lead up to it, as "It prints"
    r"^(?:[^\n.:]{1,20}\n\n)?```.*?^```$", re.MULTILINE | re.DOTALL
)
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(\w[^*\n]*)\*{1,2}(?![\w*])")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_DEFINITION = re.compile(r"(?:^|\n)([^\n]+)\n: ")
_HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)


def _passages(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) for each passage of a page; code blocks and link targets are left out."""
    prose = _LINK.sub(lambda link: link[1] or link[2], _FENCE.sub("", markdown))
    prose = _EMPHASIS.sub(r"\1", prose)
    # a definition is a section of its own, under the word that it defines
    parts = _HEADING.split(_DEFINITION.sub(r"\n## \1\n", prose))
    for heading, body in zip(["", *parts[1::2]], parts[0::2], strict=True):
        paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", body)]
        paragraphs = [paragraph for paragraph in paragraphs if paragraph]
        for text in paragraphs if len(body) > _MAX_SECTION else [" ".join(paragraphs)]:
            if text:
                yield heading.strip(), text


class Library:
    """
    The Markdown pages of one folder, indexed when first searched.

    Searches may run in several threads: each works on a private copy of the index.
    """

    def __init__(self, folder: Traversable) -> None:
        """
        Take the pages ``*.md`` that stand directly in *folder*.

        Args:
            folder: A path, or a folder of an installed package.
        """
        self._folder = folder
        self._image: bytes | None = None  # the index; written once by _index, maybe by two threads

    def _index(self) -> bytes:
        pages = sorted(self._folder.iterdir(), key=lambda page: page.name)
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute(
                "CREATE VIRTUAL TABLE passages"
                " USING fts5(page UNINDEXED, heading, text, tokenize = 'porter unicode61')"
            )
            for page in pages:
                if page.name.endswith(".md"):
                    database.executemany(
                        "INSERT INTO passages VALUES (?, ?, ?)",
                        [(page.name, *found) for found in _passages(page.read_text("utf-8"))],
                    )
            database.commit()
            return database.serialize()

    def search(self, query: str, limit: int = 5) -> dict[str, Any]:
        """
        Find the passages that fit *query* best.

        Args:
            query: Words to look for; any of them may match, more is better.
            limit: How many passages to return, between 1 and 10.

        Returns:
            The passages, best first, each with its page, heading and text.

        Raises:
            ToolError: *query* holds no word, or *limit* is out of range.
            FileNotFoundError: The folder does not exist.
        """
        words = re.findall(r"\w+", query)
        if not words:
            raise ToolError(f"query must hold at least one word, not {query!r}")
        if not 1 <= limit <= _MAX_HITS:
            raise ToolError(f"limit must be passages between 1 and {_MAX_HITS}, not {limit}")
        self._image = image = self._image or self._index()
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(image)
            hits = database.execute(
                "SELECT page, heading, text FROM passages WHERE passages MATCH ?"
                " ORDER BY bm25(passages, 0.0, 4.0, 1.0), rowid LIMIT ?",
                (" OR ".join(f'"{word}"' for word in words), limit),
            ).fetchall()
        return {
            "query": query,
            "hits": [{"page": page, "heading": head, "text": text} for page, head, text in hits],
        }


@cache
def _docs() -> Library:
    # docs/ stands beside actors/ in the repository and in the installed package alike
    return Library(Path(__file__).resolve().parents[2] / "docs")


def search_docs(query: str, limit: int = 5) -> dict[str, Any]:
    """
    Search Greenroom's own documentation: actors, frames, mailboxes, rules (R10), promises (I4).

    Args:
        query: Words to look for, such as "interrupt actor" or "R10".
        limit: How many passages to return, between 1 and 10.

    Returns:
        The passages, best first, each with its page, heading and text.

    Raises:
        ToolError: *query* holds no word, or *limit* is out of range.
    """
    return _docs().search(query, limit)
