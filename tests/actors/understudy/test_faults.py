"""The fault language: what it means, and how it says that it was misread."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.understudy import Fault, parse_fault
from greenroom.actors.understudy.faults import fault_for


@pytest.mark.parametrize(
    ("script", "fields"),
    [
        ("delay=2", {"delay": 2.0}),
        ("delay=0.25", {"delay": 0.25}),
        ("stall-head", {"delay": math.inf}),
        ("status=429;retry-after=3", {"status": 429, "retry_after": 3.0}),
        (" status = 500 ; times = 2 ;", {"status": 500, "times": 2}),
        ("stall@5", {"stall": 5}),
        ("stall@0", {"stall": 0}),
        ("reset@1200;nth=2", {"reset": 1200, "nth": 2, "times": 1}),
        ("close@0;nth=2;times=3", {"close": 0, "nth": 2, "times": 3}),
        ("malformed@3", {"malformed": 3}),
        ("truncate-utf8@3", {"truncate_utf8": 3}),
        ("error@2", {"error": 2}),
        ("giant=10MB", {"giant": 10_000_000}),
        ("giant=64kB", {"giant": 64_000}),
        ("giant=7", {"giant": 7}),
        ("no-done", {"no_done": True}),
        ("hang-close", {"hang_close": True}),
        ("delay=2;malformed@3;no-done", {"delay": 2.0, "malformed": 3, "no_done": True}),
    ],
)
def test_script_is_read(script: str, fields: dict[str, Any]) -> None:
    """Each clause sets its field; a lone nth means that request only."""
    assert parse_fault(script) == Fault(**fields)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "fault '' lets nothing go wrong; write what, such as stall@5"),
        ("nth=2", "lets nothing go wrong"),
        ("stal@5", "unknown fault clause 'stal@5'; did you mean 'stall'?"),
        ("explode", "unknown fault clause 'explode'; write one of: delay, stall-head"),
        ("stall=5", "fault clause 'stall=5': write stall@NUMBER"),
        ("stall", "fault clause 'stall': write stall@NUMBER"),
        ("no-done=1", "fault clause 'no-done=1': write no-done"),
        ("delay=-1", "write a number of seconds >= 0"),
        ("delay=soon", "write a number of seconds >= 0"),
        ("delay=inf", "write a number of seconds >= 0"),
        ("delay=nan", "write a number of seconds >= 0"),
        ("status=200", "write a number of an HTTP status between 400 and 599"),
        ("status=429.5", "write a whole number of an HTTP status"),
        ("retry-after=3;delay=1", "retry-after needs status=CODE"),
        ("malformed@0", "write a number of events >= 1"),
        ("reset@1.5", "write a whole number of bytes"),
        ("reset@1;close@1", "write reset or close, not both"),
        ("giant=huge", "write a size up to 100MB, such as 64kB or 10MB"),
        ("giant=0", "write a size up to 100MB"),
        ("giant=101MB", "write a size up to 100MB"),
        ("delay=1;delay=2", "fault clause 'delay=2' stands twice"),
        ("delay=1;times=0", "write a number of requests >= 1"),
    ],
)
def test_bad_script_says_what_to_write(script: str, message: str) -> None:
    """An error names the clause and the form that it should have."""
    with pytest.raises(ValueError, match=message.replace("?", "[?]").replace("(", "[(]")):
        parse_fault(script)


def test_request_gets_the_first_fault_that_applies() -> None:
    """Scripts are tried in order, each for the requests that it selects."""
    first, second = parse_fault("status=500;times=2"), parse_fault("delay=1;nth=2;times=3")
    third = parse_fault("no-done;nth=7")
    chosen = [fault_for([first, second, third], number) for number in range(1, 9)]

    assert chosen == [first, first, second, second, Fault(), Fault(), third, Fault()]


clauses = st.sampled_from(
    ["delay", "stall", "status", "reset", "giant", "nth", "no-done", "hang-close", "x"]
)
scripts = st.lists(
    st.tuples(
        clauses, st.sampled_from(["=", "@", ""]), st.sampled_from(["1", "5e3", "-2", "kB", ""])
    )
).map(lambda parts: ";".join("".join(part) for part in parts))


@given(scripts | st.text(max_size=30))
def test_any_text_is_a_fault_or_a_value_error(script: str) -> None:
    """Reading never fails in another way, and what was read begins where it says."""
    try:
        fault = parse_fault(script)
    except ValueError:
        return

    assert fault_for([fault], fault.nth) is fault
    assert fault_for([fault], fault.nth - 1) == Fault()
