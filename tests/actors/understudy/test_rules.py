"""How a question is read: degrees, limits, typing mistakes, and what is not mistaken for one."""

from typing import Any

import pytest

from greenroom.actors.understudy.rules import is_like, matches, read

FACTS = [
    "mass",
    "diameter",
    "escape_velocity",
    "orbital_velocity",
    "day_length",
    "mean_temperature",
]
PEAKS = ["Everest", "K2", "Nanga Parbat", "Gasherbrum I", "Gasherbrum II", "Broad Peak"]


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("which is heavier", {"direction": 1, "comparative": "heavier", "is_superlative": False}),
        ("which is hevier", {"comparative": "heavier"}),
        ("which is coldest", {"direction": -1, "is_superlative": True}),
        ("the farthest / furthest planet", {"direction": 1, "is_superlative": True}),
        ("which is less massive", {"direction": -1, "comparative": "less"}),
        ("the top three planets", {"limit": 3, "is_superlative": True}),
        ("5 highest mountains", {"limit": 5}),
        ("second highest mountain", {"ordinal": 2, "limit": None}),
        ("the 3rd largest planet", {"ordinal": 3}),
        ("by how much is it taller", {"operation": "difference"}),
        ("how many times heavier", {"operation": "ratio"}),
        ("what do they weigh together", {"operation": "sum"}),
        ("the average mass of the two", {"operation": "average"}),
        ("what is the mean temperature", {"operation": None, "direction": 0}),
        ("is 7 more than 3", {"expression": None}),
        ("rule R1-R30", {"expression": None}),
        ("what is 2 - -3", {"expression": "2 - -3"}),
        ("a paragraph about 3 - 2 things nobody would compute at all", {"expression": None}),
    ],
)
def test_question_is_read(question: str, fields: dict[str, Any]) -> None:
    """The reading has what the words say, and no more."""
    reading = read(question)

    assert {name: getattr(reading, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("question", "values", "found"),
    [
        ("how heavy is it", FACTS, ["mass"]),
        ("its diameter and mass", FACTS, ["diameter", "mass"]),
        ("escape velocity", FACTS, ["escape_velocity"]),
        ("how fast does it move", FACTS, ["orbital_velocity"]),
        ("how hot is it", FACTS, ["mean_temperature"]),
        ("is there life", FACTS, []),
        ("everest or k2?", PEAKS, ["Everest", "K2"]),
        ("Everst", PEAKS, ["Everest"]),
        ("nanga parbat's height", PEAKS, ["Nanga Parbat"]),
        ("how high is Parbat", PEAKS, ["Nanga Parbat"]),
        ("is Gasherbrum II higher", PEAKS, ["Gasherbrum II"]),
        ("the highest peak", PEAKS, []),
        ("I saw it", PEAKS, []),
    ],
)
def test_question_is_matched_with_values(
    question: str, values: list[str], found: list[str]
) -> None:
    """Spelled out beats implied, implied beats half said; order is that of the question."""
    assert matches(read(question), values)[0] == found


@pytest.mark.parametrize(
    ("word", "wanted", "alike"),
    [
        ("jupter", "jupiter", True),
        ("satrun", "saturn", True),
        ("planets", "planet", True),
        ("masses", "mass", True),
        ("marsh", "mars", True),
        ("uranium", "uranus", False),
        ("golden", "gold", False),
        ("time", "tin", False),
        ("lead", "read", False),
        ("heavier", "heaviest", False),
    ],
)
def test_typing_mistakes_are_told_from_other_words(word: str, wanted: str, alike: bool) -> None:
    """A letter missing, doubled or swapped is forgiven; another word is another word."""
    assert is_like(word, wanted) is alike


@pytest.mark.parametrize("part", ["jupiter ", "1 - ", "((", "(-", "how much ", "a\u0301", "'s "])
def test_long_question_is_read_up_to_a_bound(part: str) -> None:
    """A question of a million characters costs no more than its first page."""
    reading = read(part * 250_000)

    assert len(reading.words) <= 2_000
    assert reading.expression is None or len(reading.expression) <= 2_000
