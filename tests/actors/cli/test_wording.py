"""What the command line says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from greenroom.actors.agent import Outcome, TurnEnded
from greenroom.actors.cli import wording
from greenroom.actors.llm import Assistant, Context, ToolCall, ToolOutput, User


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    """Escape sequences, bells and marks of direction show instead of acting."""
    text = "a\x1b[2Jb\x07\r\n\tc\u202ed\x9b"

    assert wording.printable(text) == "a�[2Jb�\n    c�d�"


@pytest.mark.parametrize(
    ("text", "width", "rows", "rest"),
    [
        ("", 10, [], ""),
        ("short", 10, [], "short"),
        ("exactly 10", 10, [], "exactly 10"),
        ("one two three", 10, ["one two"], "three"),
        ("one two thr", 10, ["one two"], "thr"),
        ("ends with ", 9, [], "ends with "),
        ("ends with  a", 9, ["ends with"], "a"),
        ("line\nnext", 10, ["line"], "next"),
        ("line\n", 10, ["line"], ""),
        ("a\n\nb", 10, ["a", ""], "b"),
        ("unbreakable", 4, ["unbr", "eaka"], "ble"),
        ("日本語日本", 4, ["日本", "語日"], "本"),
        ("  indented text", 8, ["", "indented"], "text"),
    ],
)
def test_rows_are_broken_between_words(text: str, width: int, rows: list[str], rest: str) -> None:
    """A row that is full is settled; the last one goes on."""
    assert wording.settled_rows(text, width) == (rows, rest)


@given(st.text(alphabet="ab 日\n", max_size=60), st.integers(2, 12), st.integers(1, 7))
def test_rows_do_not_depend_on_how_the_text_came(text: str, width: int, step: int) -> None:
    """Piece by piece comes to the same rows as all at once, none wider than the terminal."""
    rows: list[str] = []
    rest = ""
    for at in range(0, len(text), step):
        more, rest = wording.settled_rows(rest + text[at : at + step], width)
        rows += more

    assert (rows, rest) == wording.settled_rows(text, width)
    assert all(cell_len(row) <= width for row in [*rows, rest.rstrip()])


@given(st.text(max_size=80), st.integers(1, 20))
def test_what_is_shortened_fits(text: str, cells: int) -> None:
    """Whatever the characters, the line is no wider than asked for."""
    line = wording.shortened(text, cells)

    assert cell_len(line) <= cells
    assert "\n" not in line


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 ms"), (0.0994, "99 ms"), (0.0996, "0.1 s"), (9.94, "9.9 s"), (9.96, "10 s")],
)
def test_durations_have_the_precision_of_their_size(value: float, said: str) -> None:
    """Milliseconds are told where they matter."""
    assert wording.seconds(value) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "f()"),
        ('{"a": "x", "b": 2, "c": 3.0, "d": ""}', 'f(x, 2, 3, "")'),
        ('{"a": [1, null]}', "f([1, null])"),
        ('{"a": ', 'f({"a":)'),
        ("[1]", "f([1])"),
        ('{"a": "\\u001b"}', "f(�)"),
    ],
)
def test_calls_show_the_values_of_their_arguments(arguments: str, said: str) -> None:
    """A call reads like one, even if its arguments are no JSON."""
    assert wording.call_text("f", arguments) == said


@pytest.mark.parametrize(
    ("answer", "done", "cancelled", "said"),
    [
        ("", 0, 0, "interrupted: kept your message"),
        ("", 0, 2, "interrupted: kept your message, cancelled 2 tool calls"),
        ("", 1, 0, "interrupted: kept 1 tool result"),
        ("a b", 0, 0, "interrupted: kept 2 words of the answer"),
        (
            "a",
            2,
            1,
            "interrupted: kept 1 word of the answer and 2 tool results, cancelled 1 tool call",
        ),
    ],
)
def test_an_interrupted_turn_tells_what_is_kept(
    answer: str, done: int, cancelled: int, said: str
) -> None:
    """What of the turn the conversation holds is told in a line."""
    assert wording.kept(TurnEnded(Outcome.INTERRUPTED, answer), done, cancelled) == said


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_without_an_answer_says_what_to_do(outcome: Outcome) -> None:
    """Only an answer, a refusal and what is seen to elsewhere have nothing to add."""
    said = wording.failure(TurnEnded(outcome, detail="why"))
    fine = {Outcome.ANSWERED, Outcome.REFUSED, Outcome.HANDED_OFF, Outcome.INTERRUPTED}

    assert bool(said) is (outcome not in fine)
    assert "why" in said or not said


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("write another base_url", "write another --base-url"),
        ("no model; write Settings(model='...')", "no model; write --model NAME"),
        (
            "status 401; set api_key to a key that is valid there",
            "status 401; set --api-key-env to the variable of a key that is valid there",
        ),
        ("set OPENAI_API_KEY to a key", "set OPENAI_API_KEY to a key"),
    ],
)
def test_arguments_of_the_library_are_told_as_options(detail: str, said: str) -> None:
    """The command line's users know options, not arguments."""
    assert wording.failure(TurnEnded(Outcome.FAILED, detail=detail)) == said


def test_a_conversation_is_a_row_for_each_thing_said() -> None:
    """Calls and results have rows of their own, and a break is marked."""
    context = Context.of(
        User("q"),
        Assistant("let me see", (ToolCall("1", "f", '{"x": 1}'), ToolCall("2", "g"))),
        ToolOutput("1", '{"y": 2}'),
        ToolOutput("2", "no", is_error=True),
        Assistant("so", interrupted="Ctrl-C"),
    )

    assert list(wording.conversation(context)) == [
        ("you", "q"),
        ("model", "let me see"),
        ("call", "f(1)"),
        ("call", "g()"),
        ("result", "2"),
        ("error", "no"),
        ("model", "so"),
        ("", "(broken off here)"),
    ]
