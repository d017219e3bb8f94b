"""Frames are values."""

from __future__ import annotations

import collections.abc
from typing import Any

import attrs
import pytest

from greenroom.runtime import ControlFrame, Frame, Request, StreamRequest, frame
from greenroom.runtime.frames import registered_frames
from tests.runtime.cast import Echo, Note, Pinned


@frame
class Parcel(Frame):
    """A frame with a tuple, declared as a string."""

    things: tuple[int, ...] = ()


@frame
class Positive(Frame):
    """A frame with a tuple and a validator of its own."""

    things: tuple[int, ...] = attrs.field(default=(1,), validator=attrs.validators.min_len(1))


def test_a_frame_is_compared_by_value_and_hashable() -> None:
    """Two frames of the same fields are equal, and one in a set."""
    assert Note("a") == Note("a") != Note("b")
    assert len({Note("a"), Note("a"), Pinned("a")}) == 2


def test_a_frame_can_be_neither_changed_nor_extended() -> None:
    """A frame is frozen and slotted."""
    note = Note("a")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        note.text = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(note, "__dict__")


@pytest.mark.parametrize("base", [Frame, Request, StreamRequest, ControlFrame])
def test_every_base_makes_slotted_frames(base: type[Frame]) -> None:
    """Whatever the base, a frame has no dict."""
    made = frame(type("Made", (base,), {"__annotations__": {"n": int}}))

    assert not hasattr(made(1), "__dict__")  # pyright: ignore


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (list, "list"),
        (list[int], "list"),
        (dict[str, int], "dict"),
        (set, "set"),
        (bytearray, "bytearray"),
        ("list[int]", "list"),
        ("typing.dict[str, int]", "dict"),
        ("bytearray", "bytearray"),
    ],
)
def test_a_field_declared_as_mutable_is_refused(annotation: Any, kind: str) -> None:
    """Two actors would share it; the error says what to write instead."""
    made = type("Bad", (Frame,), {"__annotations__": {"xs": annotation}})

    with pytest.raises(TypeError, match=rf"Bad.xs is declared as a {kind}; .* write tuple\[...\]"):
        frame(made)


@pytest.mark.parametrize("annotation", [tuple, tuple[int, ...], "tuple[int, ...]", "Tuple[int]"])
def test_a_tuple_field_takes_nothing_but_a_tuple(annotation: Any) -> None:
    """A list where a tuple is declared is refused when the frame is made."""
    made: Any = frame(type("Good", (Frame,), {"__annotations__": {"xs": annotation}}))

    assert made((1,)).xs == (1,)
    with pytest.raises(TypeError, match=r"Good.xs must be a tuple, not \[1\]; write tuple\(...\)"):
        made([1])


def test_tuples_are_checked_where_annotations_are_strings() -> None:
    """``from __future__ import annotations`` changes nothing."""
    with pytest.raises(TypeError, match=r"Parcel.things must be a tuple"):
        Parcel([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_validator_of_ones_own_is_kept() -> None:
    """A field with a validator is checked by that."""
    with pytest.raises(ValueError, match="Length of 'things' must be >= 1"):
        Positive(())


def test_a_read_only_mapping_is_allowed() -> None:
    """The error's advice works."""
    made: Any = frame(
        type("Map", (Frame,), {"__annotations__": {"m": collections.abc.Mapping[str, int]}})
    )

    assert made({"a": 1}).m == {"a": 1}


def test_only_frames_can_be_frames() -> None:
    """The error names the class, and what to write."""

    class Plain:
        pass

    with pytest.raises(TypeError, match=r"not 'Plain'; write class Plain\(Frame\)"):
        frame(Plain)


def test_a_frame_may_extend_another() -> None:
    """A subclass has the fields of its base, and the base's promise."""

    @frame
    class More(Pinned):
        extra: int = 0

    assert More("a", 2).text == "a"
    assert More.uninterruptible
    assert not Echo.uninterruptible


def test_the_registry_knows_each_frame_once() -> None:
    """R16: ``@frame`` registers the class that attrs made, in order of definition."""
    known = list(registered_frames())

    assert known.count(Note) == 1
    assert known.index(Note) < known.index(Pinned) < known.index(Echo)
    assert Frame not in known
