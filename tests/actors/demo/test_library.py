"""Full-text search over Markdown pages."""

from pathlib import Path

import pytest

from greenroom.actors.demo.library import Library, search_docs
from greenroom.actors.tools import ToolError

PAGE = """# Mail

Letters are *carried* by [pigeons](https://example.org/pigeon).

## R7 Late letters

A letter that was interrupted is sent again.

It prints

```python
secret = "code is no prose"
```

## Long

"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of two pages and a file that is none."""
    long = "\n\n".join(f"Paragraph {n} about {'filler ' * 60}" for n in range(4))
    (tmp_path / "mail.md").write_text(f"{PAGE}{long}\n\nThe zebra is at the end.\n", "utf-8")
    (tmp_path / "birds.md").write_text("# Birds\n\nPigeons are birds; so are pigeon-like ones.\n")
    (tmp_path / "notes.txt").write_text("zebra zebra zebra")
    return Library(tmp_path)


def test_heading_counts_more_than_text(library: Library) -> None:
    """A rule is found by its number, and the hit says where it stands."""
    assert library.search("R7")["hits"] == [
        {
            "page": "mail.md",
            "heading": "R7 Late letters",
            "text": "A letter that was interrupted is sent again.",
        }
    ]


def test_words_are_found_by_their_stems_best_first(library: Library) -> None:
    """Inflected words match, any word is enough, and more matches come first."""
    interrupting = library.search("interrupting")["hits"]
    pigeon = library.search("pigeon letters nonsense")["hits"]

    assert [hit["heading"] for hit in interrupting] == ["R7 Late letters"]
    assert pigeon[0]["heading"] == "Mail"
    assert {hit["page"] for hit in pigeon} == {"mail.md", "birds.md"}


def test_code_and_link_targets_are_no_text(library: Library) -> None:
    """Only prose is searched, and links keep their words."""
    assert library.search("secret example")["hits"] == []
    assert library.search("carried")["hits"][0]["text"] == "Letters are carried by pigeons."


def test_long_section_is_cut_at_its_paragraphs(library: Library) -> None:
    """A hit in a long section is the paragraph, not the section."""
    assert [hit["text"] for hit in library.search("zebra")["hits"]] == ["The zebra is at the end."]


def test_limit_bounds_the_hits(library: Library) -> None:
    """No more passages come than were asked for."""
    assert len(library.search("paragraph", limit=2)["hits"]) == 2


@pytest.mark.parametrize("query", ['"', "a AND (b", "NEAR(a b)", "heading:x*", "-", "a^2 OR"])
def test_query_syntax_has_no_meaning(library: Library, query: str) -> None:
    """What a search engine would take for operators is only words."""
    try:
        hits = library.search(query)["hits"]
    except ToolError as error:
        assert "at least one word" in str(error)  # noqa: PT017
    else:
        assert all(hit["page"].endswith(".md") for hit in hits)


@pytest.mark.parametrize(
    ("query", "limit", "message"),
    [
        ("?!", 3, "query must hold at least one word, not '[?]!'"),
        ("x", 0, "between 1 and 10, not 0"),
        ("x", 11, "between 1 and 10, not 11"),
    ],
)
def test_misuse_is_told_to_the_model(
    library: Library, query: str, limit: int, message: str
) -> None:
    """Empty queries and limits out of range are errors with a reason."""
    with pytest.raises(ToolError, match=message):
        library.search(query, limit)


def test_own_documentation_is_found() -> None:
    """The docs of this project are searched where they stand: in the repository, or installed."""
    hit = search_docs("R10", limit=1)["hits"][0]

    assert hit["page"] == "promises.md"
    assert hit["heading"].startswith("R10")
