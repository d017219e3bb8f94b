"""
How the understudy reads a question: words, degrees, numbers and operations, by rules alone.

Nothing here knows any fact or any tool. It knows some English: that *heavier* asks for a mass and
wants the larger one, that *top three* is a limit and *how many times* a ratio. The names and facts
that a question is about are found by comparing its words with those that a tool's schema offers,
with a little tolerance for typing mistakes.
"""

import difflib
import functools
import re
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Reading", "is_like", "matches", "read", "stem", "words"]


def _listed(text: str) -> list[str]:
    return text.split()


# Words that say nothing about the subject of a question.
_STOP = frozenset(
    _listed(
        "a about am an and any are as at be been but by can could did do does for from get give had"
        " has have how i if in into is it its kindly let many me more much my of on one or our"
        " please say says should show so some than that the their them then there these they"
        " this to up us was we were what when where which who whom whose why will with would you"
        " your know want exactly actually explain describe name list world all both compared happen"
        " happens anything something work works mean means system mount mt thanks thank make"
        " write use set create"
    )
)

# What an adjective or noun asks for: (facts that fit, best first; adjectives that want much of it;
# adjectives that want little of it; other words). A fact fits if its name holds all these words.
_SUBJECTS: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (("mass", "weight"), "heavy massive", "light", "weigh weighs weight mass"),
    (("diameter", "radius", "size", "height"), "big large wide", "small tiny", "size across"),
    (("height", "elevation", "altitude"), "high tall", "low short", "height elevation altitude"),
    (("temperature",), "hot warm", "cold cool", "temperature"),
    (("distance",), "far distant", "near close", "distance"),
    (("orbital velocity", "velocity", "speed"), "fast quick", "slow", "speed velocity moves"),
    (("density",), "dense", "", ""),
    (("gravity",), "strong", "weak", "gravity gravitational"),
    (("ascent", "year"), "late recent", "early", "climbed ascended summited climb ascent"),
    (("orbital period", "year", "period"), "", "", "year"),
    (("day length", "day"), "", "", "day rotate rotation spin"),
    (("continent", "country", "location"), "", "", "where continent"),
    (("atomic number", "number"), "", "", "protons proton"),
    (("symbol",), "", "", "symbol abbreviation"),
    ((), "long great many", "little few", "top maximum minimum"),
)
_MOST_READ = 2_000  # characters of a question that are read: no rule needs more
_RANKING = frozenset({"top", "rank", "ranking", "sort"})
_IRREGULAR = {"far": "farther farthest", "many": "more most", "little": "less least"}
_LOW_WORDS = frozenset({"minimum"})

_COUNTS = _listed("one two three four five six seven eight nine ten")
_ORDINALS = _listed("first second third fourth fifth sixth seventh eighth ninth tenth")
_TENS = _listed("twenty thirty forty fifty sixty seventy eighty ninety")
_TEENS = _listed("eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
_NUMBERS = {
    "zero": 0,
    **{word: n for n, word in enumerate(_COUNTS + _TEENS, 1)},
    **{word: 10 * n for n, word in enumerate(_TENS, 2)},
    "hundred": 100,
}

# the first that fits counts: "how many times heavier" asks for no difference
_OPERATIONS = {
    "ratio": r"how many times|how often does|ratio|times (?:as|more|less|\w+er)",
    "difference": r"by how much|how much (?:\w+er|more|less)|how many \w+ (?:\w+er|more|less)"
    r"|difference|gap between",
    "sum": r"sum of|plus|in total|total|together|combined|altogether|add up",
    "average": r"(?:average|mean) of|on average|average \w+ of",
}


@attrs.frozen
class _Form:
    facts: tuple[str, ...]  # the facts that the word asks for, best first
    direction: int  # 1: much of it, -1: little of it, 0: the word does not say
    degree: str  # "er", "est" or "" for the plain form


def _degrees(adjective: str) -> tuple[str, str, str]:
    if adjective in _IRREGULAR:
        words = _IRREGULAR[adjective].split()
        return adjective, words[0], words[-1]
    root = adjective[:-1] if adjective[-1] in "ye" else adjective
    if adjective.endswith("y"):
        root += "i"
    elif re.fullmatch("[^aeiou][aeiou][^aeiouwxy]", adjective):
        root += adjective[-1]
    return adjective, f"{root}er", f"{root}est"


def _forms() -> dict[str, _Form]:
    forms: dict[str, _Form] = {}
    for facts, high, low, others in _SUBJECTS:
        for direction, adjectives in ((1, high), (-1, low)):
            for adjective in adjectives.split():
                for form, degree in zip(_degrees(adjective), ("", "er", "est"), strict=True):
                    forms.setdefault(form, _Form(facts, direction if degree else 0, degree))
        for word in others.split():
            forms.setdefault(word, _Form(facts, -1 if word in _LOW_WORDS else 0, ""))
    forms |= {"further": forms["farther"], "furthest": forms["farthest"]}
    return forms | {"first": _Form((), -1, "est"), "last": _Form((), 1, "est")}


_FORMS = _forms()
_LONG_FORMS = [form for form in _FORMS if len(form) >= 6]


def words(text: str) -> list[str]:
    """Return the words of *text* in lower case, without possessive endings."""
    return re.findall(r"[^\W_]+", re.sub(r"['\u2019]s\b", "", text.lower()))


def stem(word: str) -> str:
    """Return *word* without its plural ending."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@functools.lru_cache(maxsize=1024)
def is_like(word: str, wanted: str) -> bool:
    """Tell whether *word* is *wanted*, its plural, or a likely typing mistake for it."""
    if word in (wanted, f"{wanted}s", f"{wanted}es"):
        return True
    if min(len(word), len(wanted)) < 4 or word[0] != wanted[0] or word in _STOP or word in _FORMS:
        return False
    return difflib.SequenceMatcher(None, word, wanted).ratio() > 0.82


@attrs.frozen(kw_only=True)
class Reading:
    """What the rules make of one question."""

    text: str
    """The question as it came."""

    words: tuple[str, ...]
    """Its words in lower case; what was mistyped in the vocabulary is put right."""

    extremes: tuple[int, ...]
    """The ends of a ranking that it asks for: 1 for the highest, -1 for the lowest, or both."""

    direction: int
    """1 if it asks for the most or more of something, -1 for the least or less, 0 if for neither."""

    comparative: str | None
    """The word that compares two things, such as "heavier"."""

    is_superlative: bool
    """Whether it asks for the first of a ranking."""

    limit: int | None
    """How many it asks for, as in "top three"; None if it doesn't say."""

    ordinal: int | None
    """Which of a ranking it asks for: 2 for "second highest"."""

    operation: str | None
    """What to compute from the facts: difference, ratio, sum or average."""

    expression: str | None
    """The arithmetic that it spells out, if it is about that alone."""

    @property
    def content(self) -> list[str]:
        """The words that say what it is about."""
        return [word for word in self.words if word not in _STOP and len(word) > 1]

    @property
    def subjects(self) -> list[str]:
        """The words of `content` that are neither numbers nor degrees nor facts."""
        known = {*_FORMS, *_NUMBERS, *_ORDINALS, *_RANKING}
        return [w for w in self.content if w not in known and not w[0].isdigit()]

    @property
    def names(self) -> frozenset[str]:
        """The words that look like names: with a capital letter or a digit, but for the first."""
        found: list[str] = re.findall(r"\w+", self.text)
        named = {word.lower() for word in found[1:] if word[0].isupper()}
        return frozenset(named | {word.lower() for word in found if re.search(r"\d", word)})

    @property
    def wanted(self) -> list[tuple[str, ...]]:
        """For each word that asks for a fact, the facts that fit, best first."""
        return [_FORMS[word].facts for word in self.words if word in _FORMS and _FORMS[word].facts]


@functools.lru_cache(maxsize=64)  # an agent's turn asks with the same question again and again
def read(question: str) -> Reading:
    """Read *question* by the rules."""
    question = question[:_MOST_READ]
    asked = re.sub(r"\b(?:tell|show|give) (?:me|us)\b", "", question, flags=re.IGNORECASE)
    found = [_mended(word) for word in words(asked)]
    forms = [(word, _FORMS[word]) for word in found if word in _FORMS]
    degrees = [(word, form) for word, form in forms if form.direction] or forms
    text = " ".join(found)
    counts = "|".join(_COUNTS)
    limit = re.search(
        rf"\b(?:top|first|last) (\d+|{counts})\b|\b(\d+|{counts}) (?:\w+est|most)\b", text
    )
    ordinal = re.search(rf"\b({'|'.join(_ORDINALS)}|\d+[a-z]{{2}}) (?:\w+est|most)\b", text)
    operations = (name for name, cues in _OPERATIONS.items() if re.search(rf"\b(?:{cues})\b", text))
    ranks = not _RANKING.isdisjoint(found)
    return Reading(
        text=question,
        words=tuple(found),
        extremes=tuple(dict.fromkeys(f.direction for _, f in degrees if f.degree == "est")),
        direction=next((form.direction for _, form in degrees), 0),
        comparative=next((word for word, form in forms if form.degree == "er"), None),
        is_superlative=ranks or any(form.degree == "est" for _, form in forms),
        limit=_count(limit[1] or limit[2]) if limit else 10 if "rank" in found else None,
        ordinal=_count(ordinal[1]) if ordinal else None,
        operation=next(operations, None),
        expression=_expression(question),
    )


def _mended(word: str) -> str:
    if word in _FORMS or word in _STOP or len(word) < 5:
        return word
    for ending in ("s", "es"):
        if word.removesuffix(ending) in _FORMS:
            return word.removesuffix(ending)
    return next(iter(difflib.get_close_matches(word, _LONG_FORMS, 1, 0.87)), word)


def _count(text: str) -> int:
    if text in _ORDINALS:
        return _ORDINALS.index(text) + 1
    return _NUMBERS[text] if text in _NUMBERS else int(re.sub(r"\D", "", text)[:6])


def _expression(question: str) -> str | None:
    """Return the arithmetic in *question*, with its words put into signs, if it is about that alone."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", question.lower())
    text = re.sub(r"[a-z]+", lambda word: str(_NUMBERS.get(word[0], word[0])), text)
    for pattern, sign in (
        (r"(\d[\d.]*) ?(?:%|percent) of (\d[\d.]*)", r"\1 / 100 * \2"),
        (r"(?:the )?square root of (\d[\d.]*|\()", r"sqrt(\1)"),
        (r"sqrt\(\(\)", "sqrt("),
        (r"(?<=\d) ?squared", "**2"),
        (r"(?<=\d) ?cubed", "**3"),
        (r"to the power of", "**"),
        (r"multiplied by|times|(?<=\d) ?x ?(?=\d)|\u00d7", "*"),
        (r"divided by|over|\u00f7", "/"),
        (r"plus", "+"),
        (r"minus|\u2212", "-"),
    ):
        text = re.sub(pattern, sign, text)
    runs: list[str] = re.findall(r"(?<![\w^])(?:sqrt|\d+(?:\.\d+)?|[-+*/%^() ])+", text)
    run = max((run.strip() for run in runs), key=len, default="").rstrip("+-*/%^ ")
    if not re.search(r"\d\)* *[-+*/%^]+ *[-(]*(?:\d|sqrt)|sqrt", run[: _MOST_READ // 10]):
        return None
    rest = [word for word in words(text.replace(run, " ")) if word not in _STOP]
    return run if len(rest) <= 2 else None


def matches(reading: Reading, values: Iterable[str]) -> tuple[list[str], float]:
    """
    Return those of *values* that *reading* speaks of, and how surely it does.

    A value that is spelled out counts 1.2, one that a word such as "heavier" asks for counts 1, one
    of which only a part is spelled out counts less; only the surest are returned, in the order of
    the question.
    """
    chosen, surely = _matches(reading, tuple(values))
    return list(chosen), surely


@functools.lru_cache(maxsize=256)  # with the same tools, too
def _matches(reading: Reading, values: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
    named = {value: words(value) for value in values}
    scores: dict[str, float] = {}
    places: dict[str, int] = {}
    taken: set[int] = set()
    for value, parts in sorted(named.items(), key=lambda item: -len(item[1])):
        place = _find(reading.words, parts, taken)
        if place is not None:
            scores[value], places[value] = 1.2, place
            taken.update(range(place, place + len(parts)))
    for facts in reading.wanted:
        fitting = (
            v for fact in facts for v, parts in named.items() if set(fact.split()) <= set(parts)
        )
        for value in list(fitting)[:1]:
            scores.setdefault(value, 1.0)
    for value, parts in named.items():
        hits = [i for i, word in enumerate(reading.words) for p in parts if _is_part(word, p)]
        if hits and value not in scores and not taken.issuperset(hits):
            scores[value], places[value] = min(0.6, len(hits) / len(parts)), hits[0]
    best = max(scores.values(), default=0.0)
    chosen = [value for value, score in scores.items() if score == best]
    return tuple(sorted(chosen, key=lambda value: places.get(value, 0))), best


def _is_part(word: str, part: str) -> bool:
    # a "peak" is any mountain, not the one whose name has the word in it
    return (
        len(part) > 3
        and word not in _STOP
        and part != "peak"
        and (is_like(word, part) or part[:5] == word[:5] == word)
    )


def _find(found: Sequence[str], parts: Sequence[str], taken: set[int]) -> int | None:
    for place in range(len(found) - len(parts) + 1):
        window = found[place : place + len(parts)]
        free = taken.isdisjoint(range(place, place + len(parts)))
        if free and all(is_like(word, part) for word, part in zip(window, parts, strict=True)):
            return place
    return None
