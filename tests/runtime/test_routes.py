"""Which handler takes which frame, and what is refused when the class is made (R16)."""

from typing import Any, cast

import pytest

from greenroom.runtime import Actor, Emit, Frame, Request, StreamRequest, frame, handles
from greenroom.runtime.routes import Routes
from tests.runtime.cast import Count, Echo, Note, Nudge, Number, Pinned


@frame
class Child(Note):
    """A subclass of a frame."""


@frame
class Generic(StreamRequest[Number]):
    """Another stream request."""


class Base(Actor):
    @handles
    async def note(self, frame: Note) -> None: ...

    @handles
    async def anything(self, frame: Frame) -> None: ...

    @handles
    async def echo(self, request: Echo) -> str:
        return ""

    @handles
    async def count(self, request: Count | Generic, emit: Emit[Number]) -> None: ...

    @handles
    def nudge(self, frame: Nudge) -> None: ...


class Derived(Base):
    @handles
    async def mine(self, frame: Child | Pinned) -> None: ...

    @handles
    async def new_echo(self, request: Echo) -> str:
        return "new"


class OnlyData(Actor):
    @handles
    async def anything(self, frame: Frame) -> None: ...


@pytest.mark.parametrize(
    ("actor", "sent", "handler"),
    [
        (Base, Note, "note"),
        (Base, Child, "note"),
        (Base, Pinned, "anything"),
        (Base, Echo, "echo"),
        (Base, Count, "count"),
        (Base, Generic, "count"),
        (Base, Nudge, "nudge"),
        (Derived, Child, "mine"),
        (Derived, Pinned, "mine"),
        (Derived, Note, "note"),
        (Derived, Echo, "new_echo"),
        (OnlyData, Echo, "anything"),
        (OnlyData, Nudge, None),
        (OnlyData, Count, None),
        (Actor, Note, None),
    ],
)
def test_the_most_specific_handler_of_the_right_form_wins(
    actor: type[Actor], sent: type[Frame], handler: str | None
) -> None:
    """R16: by the MRO of the frame, subclasses of the actor first; asked twice, the same."""
    for _ in range(2):
        route = actor.__routes__.find(sent)

        assert (route.name if route else None) == handler


def test_the_frames_of_an_actor_are_named_for_messages() -> None:
    """R16: sorted; and an actor without handlers handles nothing."""
    assert OnlyData.__routes__.names() == "Frame"
    assert Base.__routes__.names() == "Count, Echo, Frame, Generic, Note, Nudge"
    assert Routes({}).names() == "nothing"
    assert Base.__routes__.has_control
    assert not OnlyData.__routes__.has_control


async def takes_nothing(self: Any) -> None: ...


async def one(self: Any, frame: Note) -> None: ...


async def other(self: Any, frame: Note | Echo) -> None: ...


async def bare(self, frame): ...  # type: ignore[no-untyped-def]  # pyright: ignore


async def text(self: Any, frame: str) -> None: ...


async def no_emit(self: Any, request: Count) -> None: ...


async def with_emit(self: Any, request: Echo, emit: Emit[Number]) -> None: ...


async def slow_control(self: Any, frame: Nudge) -> None: ...


def sync_data(self: Any, frame: Note) -> None: ...


def sync_two(self: Any, frame: Note, more: int) -> None: ...


async def mixed(self: Any, frame: Note | Count) -> None: ...


async def union_with_none(self: Any, frame: Note | None) -> None: ...


async def unresolved(self: Any, frame: "NotDefinedAnywhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore


bare_method = cast("Any", bare)  # pyright: ignore[reportUnknownArgumentType]
unresolved_method = cast("Any", unresolved)  # pyright: ignore[reportUnknownArgumentType]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([takes_nothing], r"Made.h0 takes no frame; write async def handler\(self, frame\)"),
        ([one, other], "Made.h0 and Made.h1 both handle Note; keep one"),
        ([bare_method], "Made.h0: annotate 'frame' with the frame it handles"),
        ([text], "Made.h0 handles <class 'str'>, which is not a frame; see @frame"),
        (
            [no_emit],
            r"does not fit Count, a StreamRequest; write async def handler\(self, request, emit\)",
        ),
        ([with_emit], r"does not fit Echo, a Request; write async def handler\(self, frame\)"),
        ([slow_control], r"does not fit Nudge, a ControlFrame; write def handler\(self, frame\)"),
        ([sync_data], r"does not fit Note, a Frame; write async def handler\(self, frame\)"),
        ([sync_two], "does not fit Note, a Frame"),
        ([mixed], "does not fit Count, a StreamRequest"),
        ([union_with_none], "handles <class 'NoneType'>, which is not a frame"),
        ([unresolved_method], "can't resolve the annotation .*: define them at module level"),
    ],
)
def test_a_handler_that_does_not_fit_is_refused(methods: list[Any], message: str) -> None:
    """R16: a TypeError at class creation that names the method and what to write."""
    with pytest.raises(TypeError, match=message):
        type("Made", (Actor,), {f"h{n}": handles(method) for n, method in enumerate(methods)})


def test_generic_requests_are_routed_by_their_class() -> None:
    """R16: a subscripted annotation means the class."""

    class Taker(Actor):
        @handles
        async def take(self, request: Request[str]) -> str:
            return ""

    route = Taker.__routes__.find(Echo)
    assert route is not None
    assert route.name == "take"


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "2"])
def test_concurrency_is_checked(concurrency: Any) -> None:
    """R17: when the class is made."""
    with pytest.raises(TypeError, match="concurrency must be an int >= 1, not"):
        type("Made", (Actor,), {}, concurrency=concurrency)
