"""The calculator: arithmetic and nothing else, in bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.demo.calculator import calculate
from greenroom.actors.tools import ToolError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1898 - 568", 1330),
        ("2 * (3 + 4)", 14),
        (" (1898 - 568) / 568 ", 2.34154929577),
        ("7 // 2 + 7 % 4", 6),
        ("2 ** 10", 1024),
        ("2^10", 1024),
        ("-2 ** 2", -4),
        ("(-8) ** 3", -512),
        ("2 ** -1", 0.5),
        ("sqrt(2)", 1.41421356237),
        ("abs(-3) + round(2.6)", 6),
        ("0.1 + 0.2", 0.3),
        ("6 / 3", 2),
        ("2 * pi", 6.28318530718),
        ("+1", 1),
    ],
)
def test_arithmetic_is_computed(expression: str, value: float) -> None:
    """Values come out to twelve digits, whole ones as whole numbers."""
    computed = calculate(expression)

    assert computed == {"expression": expression, "value": value}
    assert type(computed["value"]) is type(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "can't read '' as arithmetic; write 2"),
        ("1 +", "can't read '1 [+]' as arithmetic"),
        ("1\0", "can't read"),
        ("one", "can't compute 'one'; write numbers"),
        ("__import__('os')", "can't compute"),
        ("(1).real", "can't compute '1 .real'"),
        ("[1][0]", "can't compute"),
        ("'a' * 3", "can't compute \"'a'\""),
        ("True + 1", "can't compute 'True'"),
        ("1j", "can't compute"),
        ("sqrt(1, 2)", "can't compute 'sqrt[(]1, 2[)]'"),
        ("1 < 2", "can't compute '1 < 2'"),
        ("1 / 0", "'1 / 0' divides by zero"),
        ("1 % 0", "divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("9 ** 9 ** 9", "'9 [*][*] 9 [*][*] 9' is too large to compute"),
        ("10.0 ** 400", "is too large"),
        ("1e999", "is too large"),
        ("sqrt(-1)", "can't take the square root of -1"),
        ("(-8) ** 0.5", "the result is complex"),
        ("1" * 201, "must have at most 200 characters, not 201"),
        ("(" * 199, "can't read"),
    ],
)
def test_anything_else_is_refused_with_a_reason(expression: str, message: str) -> None:
    """Names, calls, texts and huge numbers are errors that a model can read."""
    with pytest.raises(ToolError, match=message):
        calculate(expression)


tokens = st.sampled_from([*"0123456789+-*/%^(). ", "**", "//", "sqrt(", "e", "pi", "1e9", "abs("])


@given(st.lists(tokens, max_size=60).map("".join) | st.text(max_size=40))
def test_any_text_gives_a_finite_number_or_a_tool_error(expression: str) -> None:
    """No expression brings the calculator out of its bounds."""
    try:
        value = calculate(expression)["value"]
    except ToolError:
        return

    assert isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
