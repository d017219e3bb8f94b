"""
Answers put together from tool results, and honest words for when there are none.

A result counts by its form: a JSON object with a ``value`` (and perhaps ``name``, ``fact``, ``unit``
and ``source``) is a fact, one with ``rows`` a ranking, one with ``hits`` passages that were found.
Any other result is quoted. A result that tells of a failure is named as one, never papered over.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from greenroom.actors.understudy.requests import array, obj
from greenroom.actors.understudy.rules import Reading, is_like, read, stem, words
from greenroom.actors.understudy.turn import Call, Result, Tool

__all__ = ["Fact", "answer", "calculation", "facts_of", "introduction", "unknown"]

_MAX_QUOTE = 700  # characters of a passage or a raw result that an answer quotes at most
# Comparatives that don't say of what, or that sound wrong of the thing itself.
_VAGUE = frozenset({None, "more", "less", "longer", "earlier", "later"})
_NUMERALS = {1: "1st", 2: "2nd", 3: "3rd"}


@attrs.frozen
class Fact:
    """One fact that a tool reported."""

    name: str
    """What it is about, such as Jupiter."""

    fact: str
    """Which fact it is, such as mass."""

    value: Any
    """A number or a text."""

    unit: str
    """The unit; empty for none."""

    source: str
    """Who says so; empty if the tool didn't name it."""

    @property
    def amount(self) -> str:
        """The value with its unit."""
        return amount(self.value, self.unit)


def amount(value: Any, unit: str) -> str:
    """Return *value* with its *unit*, as in "23.1 m/s2"."""
    if not is_number(value):
        return str(value)
    times = "\u00d7 " if unit.startswith("10^") else ""
    return f"{number(value)} {times}{unit}".strip()


def number(value: float) -> str:
    """Return *value* without needless digits."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def is_number(value: object) -> bool:
    """Tell whether *value* is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def facts_of(results: Iterable[Result]) -> list[Fact]:
    """Return the facts among *results*."""
    facts: list[Fact] = []
    for result in results:
        if not result.fault and "value" in obj(result.value):
            values = [str(v) for v in json.loads(result.call.arguments).values()]
            fields = {"name": values[0] if values else result.call.name, "fact": result.call.name}
            fields |= {"unit": "", "source": ""} | result.value
            names = ("name", "fact", "unit", "source")
            name, fact, unit, source = (str(fields[key]) for key in names)
            facts.append(Fact(name, fact.replace("_", " "), fields["value"], unit, source))
    return facts


def calculation(reading: Reading, facts: Sequence[Fact]) -> str | None:
    """Return the expression that answers what *reading* wants computed from *facts*, if it can be."""
    if len(facts) < 2 or len({fact.fact for fact in facts}) > 1:
        return None
    if not all(is_number(fact.value) for fact in facts):
        return None
    terms = [number(v) if v >= 0 else f"({number(v)})" for v in (fact.value for fact in facts)]
    if reading.operation in ("difference", "ratio"):
        if reading.operation == "difference" or reading.direction:
            terms = [terms[facts.index(fact)] for fact in _sorted(facts)]
        return {"difference": " - ", "ratio": " / "}[reading.operation].join(terms[:2])
    together = " + ".join(terms)
    return {"sum": together, "average": f"({together}) / {len(terms)}"}.get(str(reading.operation))


def _sorted(facts: Sequence[Fact], direction: int = 1) -> list[Fact]:
    return sorted(facts, key=lambda fact: fact.value, reverse=direction >= 0)


def answer(
    kind: str,
    calls: Sequence[Call],
    reading: Reading,
    results: dict[Call, Result],
    computed: Result | None,
) -> str:
    """
    Return the answer to a question.

    Args:
        kind: The kind of plan that was followed.
        calls: The calls of the plan.
        reading: The question.
        results: All the results of the turn.
        computed: What a calculator made of the facts, if it was asked.
    """
    planned = [results[call] for call in calls if call in results]
    failures = [_failure(result) for result in planned if result.fault]
    sound = [result for result in planned if not result.fault]
    if kind == "facts":
        said = _told(reading, facts_of(sound), computed)
        said += [_quoted(result) for result in sound if "value" not in obj(result.value)]
    elif kind == "calculate":
        return " ".join(_calculated(result) for result in planned)
    elif kind == "rank":
        said = [_ranking(reading, result) for result in sound]
    elif kind == "search":
        said = [_passages(reading, result) for result in sound]
    else:
        said = [_quoted(result) for result in sound]
    return " ".join(text[0].upper() + text[1:] for text in said + failures if text)


def _failure(result: Result) -> str:
    given = ", ".join(f"{k}={v}" for k, v in json.loads(result.call.arguments).items())
    text = " ".join(str(result.fault or result.text).split())[:_MAX_QUOTE].rstrip(".")
    return f"I couldn't find that out: the tool {result.call.name}({given}) failed, saying: {text}."


def _told(reading: Reading, facts: Sequence[Fact], computed: Result | None) -> list[str]:
    alike = len({fact.fact for fact in facts}) == 1 and all(is_number(f.value) for f in facts)
    compares = reading.comparative or reading.is_superlative or reading.operation == "difference"
    compares = compares or not {"compare", "versus", "vs"}.isdisjoint(reading.words)
    if len(facts) > 1 and alike and compares:
        said = [_compared(reading, facts)]
    else:
        said = [f"{fact.name}'s {fact.fact} is {fact.amount}." for fact in facts]
    if computed is not None:
        said.append(_computed(reading, facts, computed))
    elif reading.operation and len(facts) > 1 and alike:
        said.append(f"I was offered no calculator for the {reading.operation}.")
    sources = dict.fromkeys(fact.source for fact in facts if fact.source)
    return [*said, f"(Source: {'; '.join(sources)}.)"] if sources else said


def _compared(reading: Reading, facts: Sequence[Fact]) -> str:
    direction = reading.direction or 1
    first, second, *others = _sorted(facts, direction)
    if first.value == second.value:
        return f"{first.name} and {second.name} have the same {first.fact}: {first.amount}."
    asked = re.match(r"\s*(?:is|are|was|were|does|do|did|has)\b", reading.text, re.IGNORECASE)
    yes = ("Yes: " if facts[0] is first else "No: ") if asked and len(facts) == 2 else ""
    if others:
        rest = ", ".join(f"{fact.name} {fact.amount}" for fact in (second, *others))
        degree = "highest" if direction > 0 else "lowest"
        return f"{first.name} has the {degree} {first.fact}, {first.amount}; then {rest}."
    how = f"has the {'higher' if direction > 0 else 'lower'} {first.fact}"
    if reading.comparative not in _VAGUE:
        how = f"is {reading.comparative} than {second.name}"
    return f"{yes}{first.name} {how}: {first.amount} against {second.amount} for {second.name}."


def _computed(reading: Reading, facts: Sequence[Fact], computed: Result) -> str:
    value = obj(computed.value).get("value", computed.value)
    if computed.fault or not is_number(value):
        return _failure(computed)
    if reading.operation == "ratio":
        return f"The ratio is {value:.4g}."
    word = {"difference": "difference", "sum": "sum", "average": "average"}[str(reading.operation)]
    return f"The {word} is {amount(value, facts[0].unit)}."


def _calculated(result: Result) -> str:
    expression = str(json.loads(result.call.arguments).get("expression", "That"))
    value = obj(result.value).get("value", result.value)
    return f"{expression} = {number(value)}." if is_number(value) else _failure(result)


def _ranking(reading: Reading, result: Result) -> str:
    found = obj(result.value)
    rows = [obj(row) for row in array(found.get("rows"))]
    if not rows:
        return _quoted(result)
    fact = str(found.get("fact", "value")).replace("_", " ")
    order = found.get("order", "highest")
    pool = f"of the {found['out_of']} that I can look up, " if found.get("out_of") else ""
    named = [
        (row.get("name"), amount(row.get("value"), str(found.get("unit", "")))) for row in rows
    ]
    if reading.ordinal and reading.ordinal <= len(named):
        name, value = named[reading.ordinal - 1]
        place = _NUMERALS.get(reading.ordinal, f"{reading.ordinal}th")
        place = f"{place}-{order}" if reading.ordinal > 1 else str(order)
        said = f"{pool}{name} has the {place} {fact}: {value}."
    elif len(named) == 1 and pool.startswith("of the 1 "):
        pool = pool.removeprefix("of the 1 ").removesuffix(", ")
        said = f"the only {pool} is {named[0][0]}, its {fact} is {named[0][1]}."
    elif len(named) == 1:
        said = f"{pool}{named[0][0]} has the {order} {fact}: {named[0][1]}."
    else:
        listed = ", ".join(f"{n}. {name} ({value})" for n, (name, value) in enumerate(named, 1))
        said = f"{pool}the {order} by {fact} are: {listed}."
    return f"{said} (Source: {found['source']}.)" if found.get("source") else said


def _passages(reading: Reading, result: Result) -> str:
    """Quote the passage that holds most of what the question is about, and at least half of it."""
    subjects = reading.content
    hits = [obj(hit) for hit in array(obj(result.value).get("hits", result.value))]
    known = [_known(subjects, f"{hit.get('heading', '')} {hit.get('text', '')}") for hit in hits]
    most = max(known, default=0)
    if not most or 2 * most < len(subjects):
        return f"I searched for {' '.join(subjects)!r} and found nothing that answers the question."
    asked = set(map(stem, subjects))
    exact = [set(map(stem, read(str(hit.get("heading"))).content)) == asked for hit in hits]
    hit = max(zip(known, exact, hits, strict=True), key=lambda found: found[:2])[2]
    heading = f"{hit['heading']}: " if hit.get("heading") else ""
    return f"{heading}{_shortened(str(hit.get('text')))} ({hit.get('page', 'unnamed page')})"


def _known(subjects: Sequence[str], passage: str) -> int:
    found = set(map(stem, words(passage)))
    return sum(any(is_like(s, word) or s[:5] == word[:5] for word in found) for s in subjects)


def _quoted(result: Result) -> str:
    tables = [obj(entry) for entry in array(result.value)]
    if tables and all("table" in entry for entry in tables):
        listed = "; ".join(
            f"{entry['table']} ({', '.join(map(str, array(entry.get('facts')))).replace('_', ' ')};"
            f" source: {entry.get('source', 'not named')})"
            for entry in tables
        )
        return f"There are {len(tables)} tables of facts: {listed}."
    text = result.value if isinstance(result.value, str) else result.text
    return _shortened(text) or f"The tool {result.call.name} returned nothing."


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_QUOTE else f"{text[:_MAX_QUOTE].rpartition(' ')[0]} ..."


def introduction(tools: Sequence[Tool]) -> str:
    """Say what the understudy is and what it can do with *tools*."""
    return f"I'm the understudy: rules in place of a model. {_abilities(tools)}"


def unknown(tools: Sequence[Tool]) -> str:
    """Say that the question can't be answered, and what could be."""
    return f"I can't answer that: I'm an understudy made of rules, not a model. {_abilities(tools)}"


def _abilities(tools: Sequence[Tool]) -> str:
    if not tools:
        return "This request offers me no tools, so there is nothing that I could look up."
    listed: list[str] = []
    for tool in tools[:8]:
        gist = re.split(r"[.:;(\n]", tool.description.strip())[0].strip()
        listed.append(f"{tool.name} ({gist[:1].lower()}{gist[1:]})" if gist else tool.name)
    return f"What I can use here: {', '.join(listed)}."
