"""`Assembly`: exactly the calls that were sent, however they were cut, numbered and mixed."""

import itertools
import json
import random
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.llm import Assembly, CallFragment, ToolCall, ToolCallStarted

F = CallFragment
Delta: TypeAlias = tuple[CallFragment, ...]


def assembled(*deltas: Delta, tools: tuple[str, ...] = ()) -> tuple[ToolCall, ...]:
    """Return the calls that *deltas* make."""
    assembly = Assembly(tools)
    for delta in deltas:
        assembly.feed(delta)
    return assembly.finish()


# One row each of what the reference gets wrong (a23, a24), and of what servers are known to send.
ROWS: dict[str, tuple[tuple[Delta, ...], list[tuple[str, str, str]]]] = {
    "one call, whole": (((F(0, "a", "f", '{"x":1}'),),), [("a", "f", '{"x":1}')]),
    "arguments in fragments": (
        ((F(0, "a", "f", ""),), (F(0, None, "", '{"x"'),), (F(0, None, "", ":1}"),)),
        [("a", "f", '{"x":1}')],
    ),
    "first index 1": (((F(1, "a", "f", "{}"),),), [("a", "f", "{}")]),
    "two calls in one delta": (
        ((F(0, "a", "f", "{}"), F(1, "b", "g", "{}")),),
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "interleaved": (
        (
            (F(0, "a", "f", ""), F(1, "b", "g", "")),
            (F(1, None, "", '{"y"'),),
            (F(0, None, "", '{"x"'),),
            (F(1, None, "", ":2}"), F(0, None, "", ":1}")),
        ),
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "gap 0 then 2": (
        ((F(0, "a", "f", "{}"),), (F(2, "b", "g", '{"y":'),), (F(2, None, "", "2}"),)),
        [("a", "f", "{}"), ("b", "g", '{"y":2}')],
    ),
    "later index first": (
        ((F(1, "b", "g", "{}"),), (F(0, "a", "f", "{}"),)),
        [("b", "g", "{}"), ("a", "f", "{}")],
    ),
    "no index, ids everywhere, interleaved": (
        (
            (F(None, "a", "f", '{"x"'), F(None, "b", "g", '{"y"')),
            (F(None, "a", "", ":1}"), F(None, "b", "", ":2}")),
        ),
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "no index, id only at the start": (
        (
            (F(None, "a", "f", ""),),
            (F(None, None, "", "{}"),),
            (F(None, "b", "g", ""),),
            (F(None, "", "", "{}"),),
        ),
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "neither index nor id": (
        (
            (F(None, None, "f", '{"x":'),),
            (F(None, None, "", "1}"),),
            (F(None, None, "g", "{}"),),
        ),
        [("call_0", "f", '{"x":1}'), ("call_1", "g", "{}")],
    ),
    "index comes later than the id": (
        ((F(None, "a", "f", ""),), (F(0, "a", "", '{"x"'),), (F(0, None, "", ":1}"),)),
        [("a", "f", '{"x":1}')],
    ),
    "id in an earlier delta than the name": (
        ((F(0, "a"),), (F(0, None, "f", ""),), (F(0, None, "", "{}"),)),
        [("a", "f", "{}")],
    ),
    "id in a later delta than the arguments": (
        ((F(0, None, "f", '{"x"'),), (F(0, "a", "", ":1}"),)),
        [("a", "f", '{"x":1}')],
    ),
    "name after the arguments": (
        ((F(0, "a", "", '{"x":1}'),), (F(0, None, "f", ""),)),
        [("a", "f", '{"x":1}')],
    ),
    "name in fragments": (
        ((F(0, "a", "get_"),), (F(0, None, "weather"),), (F(0, None, "", "{}"),)),
        [("a", "get_weather", "{}")],
    ),
    "name repeated in every delta": (
        (
            (F(0, "a", "get_weather", ""),),
            (F(0, "a", "get_weather", '{"city"'),),
            (F(0, "a", "get_weather", ':"Paris"}'),),
            (F(0, "a", "get_weather", ""),),
        ),
        [("a", "get_weather", '{"city":"Paris"}')],
    ),
    "name repeated, no id, and once more after the arguments are whole": (
        ((F(0, None, "f", "{"),), (F(0, None, "f", "}"),), (F(0, None, "f", " "),)),
        [("call_0", "f", "{} ")],
    ),
    "name of equal halves in fragments": (
        ((F(0, "a", "bon"),), (F(0, None, "bon", "{}"),)),
        [("a", "bonbon", "{}")],
    ),
    "two calls both index 0 with different ids": (
        ((F(0, "a", "f", "{}"),), (F(0, "b", "g", "{}"),)),
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "both index 0, different ids, arguments interleaved": (
        (
            (F(0, "a", "f", '{"x"'), F(0, "b", "g", '{"y"')),
            (F(0, "a", "", ":1}"),),
            (F(0, "b", "", ":2}"),),
        ),
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "both index 0 and no ids": (
        ((F(0, "", "f", '{"x":1}'), F(0, "", "f", '{"x":2}')),),
        [("call_0", "f", '{"x":1}'), ("call_1", "f", '{"x":2}')],
    ),
    "both index 0, no ids, and a blank after the arguments": (
        ((F(0, "", "f", '{"x":1} '), F(0, "", "f", '{"x":2}')),),
        [("call_0", "f", '{"x":1} '), ("call_1", "f", '{"x":2}')],
    ),
    "two indexes with one id": (
        ((F(0, "a", "f", "{}"),), (F(1, "a", "g", '{"y"'),), (F(1, "a", "", ":2}"),)),
        [("a", "f", "{}"), ("call_1", "g", '{"y":2}')],
    ),
    "an index with the id of a call of another index": (
        ((F(0, "a", "f", "{}"), F(1, "b", "g", "{}")), (F(0, "b", "h", "{}"),)),
        [("a", "f", "{}"), ("b", "g", "{}"), ("call_2", "h", "{}")],
    ),
    "both index 0, the first index later than its id": (
        (
            (F(None, "a", "f", '{"x"'), F(0, "a", "", ":1")),
            (F(0, "b", "g", "{}"),),
            (F(0, "a", "", "}"),),
        ),
        [("a", "f", '{"x":1}'), ("b", "g", "{}")],
    ),
    "made ids keep clear of sent ones": (
        ((F(0, None, "f", "{}"),), (F(1, "call_0", "g", "{}"),)),
        [("call_1", "f", "{}"), ("call_0", "g", "{}")],
    ),
    "no arguments at all": (((F(0, "a", "f"),),), [("a", "f", "{}")]),
    "blank arguments": (((F(0, "a", "f", " \n"),),), [("a", "f", "{}")]),
    "empty entries": (((F(0), F()), (F(0, "a", "f", "{}"),)), [("a", "f", "{}")]),
    "an empty entry before others of its delta": (
        ((F(0), F(0, "a", "f", "{}")),),
        [("a", "f", "{}")],
    ),
    "a brace inside a text ends nothing": (
        ((F(0, None, "f", '{"x":"}'),), (F(0, None, "f", '"}'),)),
        [("call_0", "f", '{"x":"}"}')],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_exactly_the_calls_that_were_sent(row: str) -> None:
    """Every row of what providers send gives its calls, whole and in order (case 66)."""
    deltas, calls = ROWS[row]
    made = assembled(*deltas, tools=("f", "g", "get_weather", "bonbon"))

    assert [(call.id, call.name, call.arguments) for call in made] == calls
    assert all(call.fault is None for call in made)


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("f", '{"x":', "the arguments are not valid JSON: Expecting value"),
        ("f", "{'x': 1}", "the arguments are not valid JSON"),
        ("f", "{}{}", "the arguments are not valid JSON: Extra data"),
        ("f", "[1]", "the arguments must be a JSON object, not an array"),
        ("f", '"x"', "the arguments must be a JSON object, not a string"),
        ("f", "1.5", "the arguments must be a JSON object, not a number"),
        ("f", "true", "the arguments must be a JSON object, not a boolean"),
        ("f", "null", "the arguments must be a JSON object, not null"),
        ("f", "[" * 100_000, "the arguments are nested too deeply"),
        ("", "{}", "the call names no tool"),
    ],
)
def test_a_call_that_cannot_run_is_kept_as_sent_and_says_why(
    name: str, arguments: str, fault: str
) -> None:
    """The model is told its fault and can mend it; nothing is dropped (a25, case 67)."""
    (call,) = assembled((F(0, "a", name, arguments),))

    assert call.arguments == arguments
    assert call.fault is not None
    assert call.fault.startswith(fault)


def test_the_last_call_without_a_name_does_not_take_the_others_with_it() -> None:
    """The reference runs nothing then; here the others run and the last says its fault."""
    calls = assembled((F(0, "a", "f", "{}"),), (F(1, "b", "", "{}"),))

    assert [(call.name, call.fault) for call in calls] == [
        ("f", None),
        ("", "the call names no tool"),
    ]


def test_a_call_is_announced_once_its_name_and_id_are_sure() -> None:
    """Arguments make a name sure; what is never sure is announced at the end, once."""
    assembly = Assembly()
    fed = [
        assembly.feed(delta)
        for delta in (
            (F(0, "a", "get_"), F(1, "b", "g")),
            (F(0, None, "weather"),),
            (F(0, None, "", "{"),),
            (F(0, None, "", "}"), F(2, None, "h", "{}")),
        )
    ]

    assert fed == [(), (), (ToolCallStarted(0, "get_weather", "a"),), ()]
    assert assembly.announce() == (
        ToolCallStarted(1, "g", "b"),
        ToolCallStarted(2, "h", "call_2"),
    )
    assert assembly.announce() == ()
    assert len(assembly) == 3
    assert [call.id for call in assembly.finish()] == ["a", "b", "call_2"]


def test_finishing_twice_gives_the_same() -> None:
    """`finish` changes nothing."""
    assembly = Assembly()
    assembly.feed((F(0, None, "f"), F(1, "x", "g"), F(2, "x", "h")))

    assert assembly.finish() == assembly.finish()


TOOLS = ("get", "get_weather", "search-2", "bonbon", "xyxyxy")

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=3), children, max_size=2)
    ),
    max_leaves=5,
)
_call = st.tuples(
    st.sampled_from(TOOLS),
    st.dictionaries(st.text(max_size=4), _json, max_size=3).map(json.dumps),
)


def cut(text: str, random: random.Random) -> list[str]:
    """Cut *text* somewhere into pieces, none of them empty."""
    places = sorted({random.randrange(1, len(text)) for _ in range(random.randrange(4))})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def fragments(
    number: int, name: str, arguments: str, index: int | None, style: str, random: random.Random
) -> list[CallFragment]:
    """Return a legal sequence of fragments for one call, in one of the styles of servers."""
    id = f"id-{number}"
    if style == "repeat":
        return [F(index, id, name, piece) for piece in ["", *cut(arguments, random), ""]]
    names = cut(name, random) if style == "pieces" else [name]
    made = [F(index, None, piece) for piece in names]
    made += [F(index, None, "", piece) for piece in cut(arguments, random)]
    if index is None:
        return [F(None, id, made.name, made.arguments) for made in made]
    at = random.randrange(len(made)) if style == "late id" else 0
    made[at] = F(index, id, made[at].name, made[at].arguments)
    return made


@given(
    st.lists(_call, min_size=1, max_size=4),
    st.sampled_from(["whole", "repeat", "pieces", "late id"]),
    st.sampled_from(["0..", "1..", "gaps", "none"]),
    st.randoms(use_true_random=False),
)
def test_any_legal_cut_numbering_and_mixing_gives_the_same_calls(
    calls: list[tuple[str, str]], style: str, numbering: str, random: random.Random
) -> None:
    """What is sent is what is assembled, whatever the style of the server (case 66)."""
    step = {"0..": 1, "1..": 1, "gaps": 3, "none": 0}[numbering]
    lanes = [
        fragments(
            number,
            name,
            arguments,
            None if numbering == "none" else number * step + (numbering != "0.."),
            style,
            random,
        )
        for number, (name, arguments) in enumerate(calls)
    ]
    order = [number for number, lane in enumerate(lanes) for _ in lane]
    random.shuffle(order)
    assembly = Assembly(TOOLS)
    started: list[ToolCallStarted] = []
    deltas: list[list[CallFragment]] = [[]]
    for number in order:
        if random.random() < 0.5:
            deltas.append([])
        deltas[-1].append(lanes[number].pop(0))
    for delta in deltas:
        started.extend(assembly.feed(delta))
    started.extend(assembly.announce())
    made = assembly.finish()

    sent = {f"id-{number}": call for number, call in enumerate(calls)}
    assert {call.id: (call.name, call.arguments) for call in made} == sent
    assert len(made) == len(calls)
    assert [call.id for call in made] == list(dict.fromkeys(f"id-{n}" for n in order))
    assert sorted(start.index for start in started) == list(range(len(calls)))
    for start in started:
        assert (start.id, start.name) == (made[start.index].id, made[start.index].name)


@given(
    st.lists(_call, min_size=1, max_size=5),
    st.lists(st.integers(-(2**63), 2**63), min_size=5, max_size=5, unique=True),
    st.randoms(use_true_random=False),
)
def test_cutting_mixing_and_numbering_anew_changes_nothing(
    calls: list[tuple[str, str]], numbers: list[int], random: random.Random
) -> None:
    """A stream and any other that says the same - finer, mixed, renumbered - give equal calls (66)."""
    begun = [F(at, f"id-{at}", name) for at, (name, _) in enumerate(calls)]
    plain = assembled(
        tuple(begun), *((F(at, None, "", arguments),) for at, (_, arguments) in enumerate(calls))
    )
    lanes = [
        [F(numbers[at], None, "", piece) for part in cut(arguments, random) for piece in part]
        for at, (_, arguments) in enumerate(calls)
    ]
    order = [at for at, lane in enumerate(lanes) for _ in lane]
    random.shuffle(order)
    mixed: list[Delta] = [tuple(F(numbers[at], one.id, one.name) for at, one in enumerate(begun))]
    for at in order:
        more = (lanes[at].pop(0),)
        mixed[-1:] = [mixed[-1] + more] if random.random() < 0.5 else [mixed[-1], more]

    assert assembled(*mixed) == plain
    assert [(call.name, call.arguments) for call in plain] == calls


@given(st.lists(_call, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_calls_without_index_and_id_are_told_apart_by_whole_arguments(
    calls: list[tuple[str, str]], random: random.Random
) -> None:
    """One after the other, calls need neither (rule 4)."""
    made = assembled(
        *(
            (fragment,)
            for name, arguments in calls
            for fragment in [
                F(None, None, name),
                *(F(None, None, "", piece) for piece in cut(arguments, random)),
            ]
        ),
        tools=TOOLS,
    )
    # A bare repetition of a name is no call: two calls of one tool in a row need arguments with
    # the second name, see the table.
    apart = all(one[0] != other[0] for one, other in itertools.pairwise(calls))

    if apart:
        assert [(call.name, call.arguments) for call in made] == calls


@given(
    st.lists(
        st.builds(
            CallFragment,
            st.none() | st.integers(-1, 3),
            st.none() | st.sampled_from(["", "a", "b", "call_0"]),
            st.sampled_from(["", "", "f", "g", "{"]),
            st.sampled_from(["", "{", "}", "{}", '"', "x"]),
        ),
        max_size=12,
    )
)
def test_no_sequence_at_all_breaks_it(sent: list[Any]) -> None:
    """Whatever comes, ids are unique, every character is kept, and each call can be judged."""
    assembly = Assembly(("f",))
    started = [start for fragment in sent for start in assembly.feed((fragment,))]
    started += assembly.announce()
    made = assembly.finish()

    assert len({call.id for call in made}) == len(made)
    assert all(call.id for call in made)
    assert sorted((start.index, start.id) for start in started) == [
        (at, call.id) for at, call in enumerate(made)
    ]
    kept = sum(len(call.arguments) for call in made if call.arguments != "{}")
    assert kept <= sum(len(fragment.arguments) for fragment in sent)
    if not any(call.arguments == "{}" for call in made):
        assert kept == sum(len(fragment.arguments) for fragment in sent)
    for call in made:
        assert call.fault is not None or isinstance(json.loads(call.arguments), dict)
