"""`ThinkSplitter`: reasoning between tags is told from text, wherever the stream is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import ReasoningDelta, TextDelta
from greenroom.actors.llm.thinking import ThinkSplitter


def split(*fragments: str, is_begun: bool = False) -> tuple[str, str]:
    """Return text and reasoning of a response that came in *fragments*."""
    splitter = ThinkSplitter(is_begun=is_begun)
    pieces = [piece for fragment in fragments for piece in splitter.feed(fragment)]
    pieces += splitter.end()
    assert all(piece.text for piece in pieces)
    assert splitter.end() == []
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))
    return text, "".join(piece.text for piece in pieces if isinstance(piece, ReasoningDelta))


@pytest.mark.parametrize(
    ("sent", "text", "reasoning"),
    [
        ("", "", ""),
        ("Forty-two", "Forty-two", ""),
        ("<think>Hm.</think>Forty-two", "Forty-two", "Hm."),
        ("<think>\nHm.\n</think>\n\nForty-two", "Forty-two", "Hm.\n"),
        (" \n<think>Hm.</think>Forty-two", "Forty-two", "Hm."),
        ("<think></think>Forty-two", "Forty-two", ""),
        ("<think>\n\n</think>\n\nForty-two", "Forty-two", ""),
        ("a<think>b</think>c<think>d</think>e", "ace", "bd"),
        # Rule 2: a tag that is spoken of takes no answer away, and a nesting ends early.
        ("<think>what is <think>?</think>A tag.", "A tag.", "what is <think>?"),
        ("<think>a<think>b</think>c</think>d", "cd", "a<think>b"),
        # Rules 3 and 4.
        ("Hm.</think>Forty-two", "Hm.Forty-two", ""),
        ("<think>Hm.", "", "Hm."),
        ("<think>Hm.</thin", "", "Hm.</thin"),
        ("Forty<thin", "Forty<thin", ""),
        ("<<think>a</<</think>b", "<b", "a</<"),
        ("a < b, <thinker>, </ think>", "a < b, <thinker>, </ think>", ""),
        (" \n ", " \n ", ""),
        (" a", " a", ""),
        ("a\n", "a\n", ""),
        ("<think>a</think> \n", "", "a"),
    ],
)
def test_each_rule_holds_wherever_the_stream_is_cut(sent: str, text: str, reasoning: str) -> None:
    """One row each of the rules, whole, cut at every place, and in single characters."""
    assert split(sent) == (text, reasoning)
    assert split(*sent) == (text, reasoning)
    for at in range(1, len(sent)):
        assert split(sent[:at], sent[at:]) == (text, reasoning)


def test_a_prompt_may_have_opened_the_reasoning() -> None:
    """Then only the closing tag comes (rule 3)."""
    assert split("\nHm.", "</think>", "\nForty-two", is_begun=True) == ("Forty-two", "Hm.")


def test_text_without_a_tag_is_never_held() -> None:
    """What cannot become a tag is handed on at once."""
    splitter = ThinkSplitter()

    assert splitter.feed("a < b ") == [TextDelta("a < b ")]
    assert splitter.feed("<thin") == []
    assert splitter.feed("g") == [TextDelta("<thing")]


PIECES = ["<think>", "</think>", "<", "<thin", "k>", "/think>", " ", "\n", "a", "b <", "</"]


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.integers(0, 60), max_size=12),
    st.booleans(),
)
def test_any_re_fragmentation_gives_the_same(sent: str, places: list[int], is_begun: bool) -> None:
    """What is text and what is reasoning depends on what was sent, not on how it was cut."""
    cuts = sorted({0, len(sent), *(place for place in places if place < len(sent))})
    fragments = [sent[a:b] for a, b in itertools.pairwise(cuts)]

    assert split(*fragments, is_begun=is_begun) == split(sent, is_begun=is_begun)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_nothing_but_tags_and_white_space_is_taken_out(sent: str) -> None:
    """Every other character comes out once, in order."""
    splitter = ThinkSplitter()
    pieces = [piece for character in sent for piece in splitter.feed(character)] + splitter.end()
    kept = "".join(piece.text for piece in pieces)
    rest = iter("".join(sent.split()))

    assert all(character in rest for character in "".join(kept.split()))
    tags = sent.count("<think>") * len("<think>") + sent.count("</think>") * len("</think>")
    assert len("".join(kept.split())) >= len("".join(sent.split())) - tags
