"""R25: the text of a value is the same in every process."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
import pytest

from greenroom.runtime import ControlFrame, Down, Frame, frame, handles, open_runtime
from greenroom.runtime.testing import EventLog, run_seeded
from greenroom.runtime.testing.wording import wording
from tests.runtime.cast import Stagehand, crash

ROOT = Path(__file__).parent.parent.parent


class Colour(Enum):
    """An enum."""

    RED = object()


class Plain:
    """An object of which nothing is known."""

    def method(self) -> None: ...


@attrs.define
class Box:
    """An attrs class that can hold itself, and has a secret."""

    content: object = None
    secret: object = attrs.field(default=None, repr=False)


@dataclass
class Card:
    """A dataclass with a secret."""

    content: object = None
    secret: object = field(default=None, repr=False)


class Custom:
    """An object with a repr of its own."""

    def __repr__(self) -> str:
        return f"<Custom {object.__repr__(self)}>"


def ring() -> Box:
    """Return a box that holds itself."""
    box = Box()
    box.content = [box]
    return box


CASES: list[tuple[object, str]] = [
    (None, "None"),
    ("text", "'text'"),
    (1.5, "1.5"),
    (b"x", "b'x'"),
    ({"b", "a", "c"}, "{'a', 'b', 'c'}"),
    (set(), "set()"),
    (frozenset(("b", "a")), "frozenset('a', 'b')"),
    ((1, {"z", "y"}), "(1, {'y', 'z'})"),
    ([1, ({2},)], "[1, ({2})]"),
    ({"k": {"b", "a"}}, "{'k': {'a', 'b'}}"),
    (Box({"b", "a"}, secret=1), "Box(content={'a', 'b'})"),
    (Card((Box(),), secret=1), "Card(content=(Box(content=None)))"),
    (ring(), "Box(content=[...])"),
    (Colour.RED, "Colour.RED"),
    (int, "builtins.int"),
    (len, "builtins.len"),
    (crash, "tests.runtime.cast.crash"),
    (functools.partial(print, {2, 1}, sep=""), "partial(builtins.print, {1, 2}, sep='')"),
    (Plain(), f"<{__name__}.Plain>"),
    (Plain().method, f"{__name__}.Plain.method of <{__name__}.Plain>"),
    (Custom(), f"<Custom <{__name__}.Custom object>>"),
    (ValueError("boom", {"b", "a"}), "ValueError('boom', {'a', 'b'})"),
    (
        Down("x", "crashed", KeyError("k")),
        "Down(actor='x', reason='crashed', error=KeyError('k'))",
    ),
    (ring, f"{__name__}.ring"),
]


@pytest.mark.parametrize(("value", "text"), CASES)
def test_a_value_is_worded_without_addresses_and_in_order(value: object, text: str) -> None:
    """Functions by name, sets sorted, and so whatever holds them."""
    assert wording(value) == text


@frame
class Odd(Frame):
    """A frame that carries what has no repr of its own."""

    what: Callable[..., Any]
    tags: frozenset[str]
    nested: Mapping[str, frozenset[str]]
    box: Box


@frame
class OddNudge(ControlFrame):
    """The same, to be handled at once."""

    what: Callable[..., Any]


class Odds(Stagehand):
    """Takes odd frames, and crashes with one."""

    @handles
    async def odd(self, frame: Odd) -> None:
        if frame.box.content:
            raise ValueError("odd", frame.tags, frame)

    @handles
    def odd_nudge(self, frame: OddNudge) -> None: ...


def record() -> bytes:
    """Return the log of a run in which odd things are sent."""
    log = EventLog()
    tags = frozenset("abcdefghij")

    async def main() -> None:
        async with open_runtime(observers=[log]) as runtime:
            ref = await runtime.spawn(Odds, restart="temporary")
            await ref.tell(OddNudge(lambda: None))
            await ref.tell(Odd(crash, tags, {"k": tags}, Box()))
            await ref.tell(Odd(Plain().method, tags, {"k": tags}, Box({"x", "y", "z"})))
            await ref.wait_stopped()

    run_seeded(main, seed=1)
    return bytes(log)


def test_logs_of_odd_frames_are_equal_in_every_process() -> None:
    """I11: over processes with different hash seeds, where every address differs too."""
    logs = {record()}
    program = "import sys; from tests.testing.test_wording import record; "
    program += "ballast = [object() for _ in range(int(sys.argv[1]))]; "
    program += "sys.stdout.buffer.write(record())"
    for n, hash_seed in enumerate(("0", "1", "2", "random")):
        done = subprocess.run(
            [sys.executable, "-c", program, str(n * 1000)],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        logs.add(done.stdout)

    assert len(logs) == 1
    (log,) = logs
    assert b"0x" not in log
    assert b"ValueError('odd', frozenset('a', 'b'" in log
