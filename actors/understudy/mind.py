"""
The understudy's mind: what to say next in a conversation, by rules, from what the request offers.

Theory of operation. A turn is what follows the last user message. The question is read afresh at
every request and made into a *plan*: the tool calls whose results would answer it, chosen among the
tools of this request by their names, descriptions and schemas. The reply is then what is still
missing: the planned calls that have no result in this turn yet, all at once; then, if the facts are
to be compared or added up, a call to a calculator; then the answer, put together from the results.
So there is no state but the conversation, the same request always gets the same reply, and a call
is made once in a turn. What cannot be planned is answered honestly, with what could be.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import attrs

from greenroom.actors.understudy.answers import answer, calculation, facts_of, introduction, unknown
from greenroom.actors.understudy.requests import array, obj
from greenroom.actors.understudy.rules import Reading, is_like, matches, read, words
from greenroom.actors.understudy.turn import (
    Call,
    Reply,
    Result,
    Tool,
    call,
    is_handoff,
    offered,
    results_of,
    text_of,
)

__all__ = ["decide"]

# Parameters known by their names: arithmetic, words to search for, the question itself, a count.
_EXPRESSION = frozenset({"expression", "formula", "calculation"})
_QUERY = frozenset({"query", "q", "search", "keywords", "terms"})
_WHOLE = frozenset(
    {"question", "message", "task", "input", "request", "prompt", "text", "reason", "context"}
)
_LIMIT = frozenset({"limit", "count", "top", "n", "max_results", "top_k"})

# Values that make a parameter the order of a ranking.
_DESCENDING = frozenset({"highest", "largest", "descending", "desc"})
_ASCENDING = frozenset({"lowest", "smallest", "ascending", "asc"})

# Units that a question may ask for; no tool converts them.
_UNITS = frozenset({"feet", "miles", "mile", "inches", "yards", "pounds", "tons", "fahrenheit"})


_FOLLOW_UP = re.compile(
    r"\s*(?:and|what about|how about)\b|.*\b(?:it|its|they|them|their|both)\b", re.IGNORECASE
)
_PLURAL = re.compile(r"\b(?:they|them|both)\b", re.IGNORECASE)
_EVERYTHING = re.compile(r"\b(?:about|everything|all you know)\b", re.IGNORECASE)
_GREETING = re.compile(
    r"\s*(?:hi|hello|hey|good (?:morning|day|evening)|thanks|thank you|help|who are you|what are you"
    r"|what can (?:you|i)(?: do| ask)?(?: you| me| for me)?)\b[^a-z]*(?:there|all)?[^a-z]*$",
    re.IGNORECASE,
)
_MEMORY = 4  # questions before this one that a follow-up may refer to
_MAX_CALLS = 24  # calls that one plan makes at most


@attrs.frozen(kw_only=True)
class _Plan:
    kind: str  # facts, rank, calculate, search, delegate or other
    calls: tuple[Call, ...]
    score: float  # how well the question fits; overlap decides between equals
    overlap: float = 0.0
    names: frozenset[str] = frozenset()  # what the calls ask about
    ignored: tuple[str, ...] = ()  # words of the question that a ranking leaves out of account


@attrs.frozen
class _Miss:
    text: str  # what to say about a tool that nearly fitted
    score: float


def decide(body: dict[str, Any]) -> Reply:
    """
    Return what the understudy says next.

    Args:
        body: A valid chat completion request, as decoded from JSON.
    """
    messages = array(body.get("messages"))
    users = [number for number, message in enumerate(messages) if message["role"] == "user"]
    questions = [text_of(messages[number]) for number in users] or [""]
    results = results_of(messages[users[-1] :] if users else messages)
    tools = tuple(offered(body))
    reading = read(questions[-1])
    follows = _FOLLOW_UP.match(questions[-1])
    earlier = [read(question) for question in questions[-_MEMORY - 1 : -1][::-1]] if follows else []
    plan, near = _planned(tools, reading, earlier)
    wanted, computed = _missing(plan, tools, reading, results) if plan else ((), None)

    choice = body.get("tool_choice") or "auto"
    forced = obj(obj(choice).get("function")).get("name")
    if not forced and choice == "required" and not wanted:
        forced = plan.calls[0].name if plan else tools[0].name
    if forced:
        tool = next(tool for tool in tools if tool.name == forced)
        fitting = tuple(made for made in wanted if made.name == forced)
        wanted = fitting or (call(forced, _filled(tool, reading)),)
    if wanted and choice != "none":
        return Reply(calls=wanted[:1] if body.get("parallel_tool_calls") is False else wanted)

    if plan:
        text = answer(plan.kind, plan.calls, reading, results, computed)
        if plan.ignored:
            text += f" I could not take into account: {', '.join(plan.ignored)}."
        if wanted:
            names = ", ".join(dict.fromkeys(made.name for made in wanted))
            text = f"I would have to call {names}, but this request allows no calls. {text}"
        return Reply(text.strip())
    raw = tuple(made for made in results if not is_handoff(made.name))
    if raw:
        return Reply(answer("other", raw, reading, results, None))
    if _GREETING.match(reading.text):
        return Reply(introduction(tools))
    return Reply(near or unknown(tools))


def _missing(
    plan: _Plan, tools: Sequence[Tool], reading: Reading, results: dict[Call, Result]
) -> tuple[tuple[Call, ...], Result | None]:
    """Return the calls that are still to be made, and what a calculator made of the facts."""
    wanted = tuple(made for made in plan.calls if made not in results)
    if wanted or plan.kind != "facts":
        return wanted, None
    expression = calculation(reading, facts_of(results[made] for made in plan.calls))
    for tool in tools:
        if expression and tool.required and tool.required <= _EXPRESSION:
            made = call(tool.name, dict.fromkeys(tool.required, expression))
            return ((), results[made]) if made in results else ((made,), None)
    return (), None


def _planned(
    tools: Sequence[Tool], reading: Reading, earlier: Sequence[Reading]
) -> tuple[_Plan | None, str]:
    """Return the best plan; or none, and what to say about the one that nearly fitted."""
    if _GREETING.match(reading.text):
        return None, ""
    bound = [_bound(tool, tools, reading, earlier) for tool in tools]
    plans = [plan for plan in bound if isinstance(plan, _Plan)]
    plans.sort(key=lambda plan: (-plan.score, -plan.overlap))
    if not plans:
        misses = [miss for miss in bound if isinstance(miss, _Miss) and miss.score > 0]
        return None, max(misses, key=lambda miss: miss.score).text if misses else ""
    best = plans[0]
    for plan in plans[1:]:
        # "how heavy is Jupiter, how high is Everest" takes two tools; so does "how heavy is
        # mercury", where two fit equally well
        alike = plan.kind == best.kind == "facts"
        if alike and (plan.names.isdisjoint(best.names) or plan.score == best.score):
            calls = (best.calls + plan.calls)[:_MAX_CALLS]
            ignored = tuple(word for word in best.ignored if word in plan.ignored)
            names = best.names | plan.names
            best = attrs.evolve(best, calls=calls, names=names, ignored=ignored)
    return best, ""


def _bound(
    tool: Tool, tools: Sequence[Tool], reading: Reading, earlier: Sequence[Reading]
) -> _Plan | _Miss:
    """Return the plan to answer with *tool*, or by how much it missed."""
    if is_handoff(tool.name) or (tool.required and tool.required <= _WHOLE):
        rivals = [t for t in tools if is_handoff(t.name) == is_handoff(tool.name)]
        score = _overlap(tool, rivals, reading)
        handed = call(tool.name, dict.fromkeys(sorted(tool.required), reading.text))
        return _Plan(kind="delegate", calls=(handed,), score=score) if score else _Miss("", 0)
    kind = _kind(tool)
    values: dict[str, list[Any]] = {}
    certain, names = 0.0, list[str]()
    for name in tool.parameters:
        options = tool.options(name)
        found, surely = _found(options, reading, earlier)
        if options and not _ordering(options):
            values[name], certain = list(found), certain + surely
            names += [value.casefold() for value in found if surely != 1.0]
        else:
            values[name] = _given(tool, name, reading)
    missing = [name for name in tool.parameters if name in tool.required and not values[name]]
    is_broad = _EVERYTHING.search(reading.text) and len(reading.content) <= len(names) + 1
    if names and len(missing) == 1 and is_broad:
        name = missing.pop()
        values[name] = list(tool.options(name))
    if missing or any(name not in tool.parameters for name in tool.required):
        return _Miss(_open_question(tool, missing, values), certain)
    overlap = _overlap(tool, [t for t in tools if not is_handoff(t.name)], reading)
    if not _fits(kind, tool, tools, reading, certain, overlap):
        return _Miss("", 0)
    given = {name: found for name, found in values.items() if found}
    combinations = itertools.islice(itertools.product(*given.values()), _MAX_CALLS)
    calls = tuple(call(tool.name, dict(zip(given, chosen, strict=True))) for chosen in combinations)
    return _Plan(
        kind=kind,
        calls=calls,
        score=certain + _bonus(kind, reading),
        overlap=overlap,
        names=frozenset(names),
        ignored=_ignored(tool, values, reading) if kind in ("rank", "facts") else (),
    )


def _found(
    options: Sequence[str], reading: Reading, earlier: Sequence[Reading]
) -> tuple[list[str], float]:
    """Match *options* with the question; what it leaves out is in those before: "and Saturn?"."""
    found, surely = matches(reading, options)
    for past in earlier:
        if not found or _PLURAL.search(reading.text):
            more, surely = matches(past, options)
            found = list(dict.fromkeys(found + more))
    return found, surely


def _kind(tool: Tool) -> str:
    if tool.parameters.keys() & _EXPRESSION:
        return "calculate"
    if tool.parameters.keys() & _QUERY:
        return "search"
    enums = [tool.options(name) for name in tool.parameters if tool.options(name)]
    if any(_ordering(options) for options in enums):
        return "rank"
    return "facts" if enums else "other"


def _ignored(tool: Tool, values: dict[str, list[Any]], reading: Reading) -> tuple[str, ...]:
    known = tool.words.union(*(words(str(value)) for found in values.values() for value in found))
    left = [word for word in reading.subjects if not any(is_like(word, other) for other in known)]
    if _kind(tool) == "facts":  # says of what, so that only other names and units are amiss
        left = [word for word in left if word in reading.names or word in _UNITS]
    return tuple(left)


def _ordering(options: Sequence[str]) -> bool:
    return bool(options) and (_ASCENDING | _DESCENDING).issuperset(options)


def _fits(
    kind: str,
    tool: Tool,
    tools: Sequence[Tool],
    reading: Reading,
    certain: float,
    overlap: float,
) -> bool:
    """Tell whether a tool that could be called has to do with the question."""
    if kind == "rank":
        return certain > 0 and (reading.is_superlative or reading.limit is not None)
    if kind == "facts":
        return certain > 0
    if kind == "search":
        return overlap > 0 or len(tools) == 1
    return kind == "calculate" or overlap > 0


def _bonus(kind: str, reading: Reading) -> float:
    """Prefer the particular to the general: arithmetic, then named things, then rankings."""
    if kind == "rank" and re.match(r"\s*(?:is|are|was|were)\b", reading.text, re.IGNORECASE):
        return 14.0  # "is Everest the highest mountain?" is answered by the ranking
    return {"calculate": 20.0, "facts": 12.0, "rank": 11.0, "other": 0.5}.get(kind, 0.0)


def _given(tool: Tool, name: str, reading: Reading) -> list[Any]:
    """Return the values that the question gives for a parameter that has no list of values."""
    schema = tool.parameters[name]
    options = tool.options(name)
    if options:  # an order
        ends = reading.extremes or (reading.direction or 1,)
        known = {end: _ASCENDING if end < 0 else _DESCENDING for end in ends}
        return [option for end in ends for option in options if option in known[end]]
    if name in _EXPRESSION:
        return [reading.expression] if reading.expression else []
    if name in _QUERY:
        return [" ".join(reading.content)] if reading.content else []
    if name in _LIMIT:
        count = reading.limit or reading.ordinal
        plurals = [word for word in reading.words if word.endswith("s") and word in _plurals(tool)]
        return [count] if count else [] if plurals or not reading.is_superlative else [1]
    if name not in tool.required:
        return []
    if schema.get("type") in ("integer", "number"):
        return [
            float(n) if "." in n else int(n) for n in re.findall(r"\d+(?:\.\d+)?", reading.text)
        ]
    if schema.get("type") == "string":
        return [reading.text] if name in _WHOLE else _proper_names(reading.text)
    return []


def _plurals(tool: Tool) -> set[str]:
    return {f"{word}s" for word in tool.words}


def _proper_names(text: str) -> list[str]:
    """Return what is quoted in *text*, or else its runs of capitalised words but for the first."""
    quoted: list[str] = re.findall(r"[\"“']([^\"”']{1,80})[\"”']", text)
    return quoted or re.findall(r"(?<=[a-z,] )[A-Z][\w-]*(?: [A-Z][\w-]*)*", text)


def _overlap(tool: Tool, rivals: Sequence[Tool], reading: Reading) -> float:
    """Return how much of the question *tool* speaks of, in words that not all its rivals share."""
    shared = frozenset[str].intersection(*(rival.words for rival in rivals))
    own = tool.words - shared if len(rivals) > 1 else tool.words
    score = 0.0
    for word in reading.content:
        # half as sure: "interrupted" for "interruption", and R10 where the tool speaks of R1
        label = re.fullmatch(r"([a-z])\d+", word)
        near = rf"{label[1]}\d+" if label else rf"{word[:5]}.*" if len(word) > 4 else "(?!)"
        if any(is_like(word, known) for known in own):
            score += 2.0
        elif any(re.fullmatch(near, known) for known in own):
            score += 1.0
    for facts in reading.wanted:
        fitting = (n for n, fact in enumerate(facts) if own.issuperset(fact.split()))
        score += 1.0 / (1 + next(fitting, 9))
    return score if score >= 0.5 else 0.0


def _open_question(tool: Tool, missing: Sequence[str], values: dict[str, list[Any]]) -> str:
    known = ", ".join(str(value) for found in values.values() for value in found[:3])
    name = missing[0] if missing else "parameters"
    options = ", ".join(tool.options(name)[:40]) if missing else ""
    about = f" ({known})" if known else ""
    choice = f"; it can be one of: {options}" if options else ""
    return f"I can't tell which {name} you mean{about}, to use the tool {tool.name}{choice}."


def _filled(tool: Tool, reading: Reading) -> dict[str, Any]:
    """Return arguments for a call that the request insists on: from the question, else made up."""
    arguments: dict[str, Any] = {}
    for name in sorted(tool.required & tool.parameters.keys()):
        schema, options = tool.parameters[name], tool.options(name)
        found = matches(reading, options)[0] or options or _given(tool, name, reading)
        empty: dict[str, Any] = {"boolean": False, "array": [], "object": {}, "null": None}
        empty |= {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1)}
        kind = schema.get("type")
        fallback = empty.get(kind, reading.text) if isinstance(kind, str) else reading.text
        arguments[name] = found[0] if found else fallback
    return arguments
