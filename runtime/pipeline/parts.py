"""What a pipeline is made of, as its user says it, and how that becomes places."""

import functools
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any, TypeAlias, Union

import attrs

from greenroom.runtime.actor import Actor
from greenroom.runtime.mailbox import DEFAULT_CAPACITY
from greenroom.runtime.pipeline.line import Line, Position
from greenroom.runtime.pipeline.links import Chain, Place, Side
from greenroom.runtime.pipeline.stage import Stage, take_place
from greenroom.runtime.ref import Ref
from greenroom.runtime.supervisor_actor import ChildSpec

__all__ = ["Branches", "Part", "build"]

Part: TypeAlias = Union[Callable[[], Stage], ChildSpec, "Branches"]


class Branches:
    """
    Branches side by side: ``Branches([A, B], [C], [])``.

    Each is a list of parts, and an empty one is a branch that only passes on. Every frame goes into
    all of them. A frame that more than one of them passes on comes out once, when the first does; a
    frame made in a branch comes out as it is. `Flush` and `End` come out once, when all have passed
    them on. Order is kept within each branch, and not between them. All this holds in both
    directions.

    A branch whose mailboxes are full holds the others up; for one that may miss some, give its
    first part a `ChildSpec` with ``full="drop_oldest"``.
    """

    def __init__(self, *branches: list[Part] | tuple[Part, ...]) -> None:
        if not branches:
            raise ValueError("Branches needs at least one branch: Branches([A, B], [C])")
        for branch in branches:
            if not isinstance(branch, (list, tuple)):
                raise TypeError(f"a branch must be a list of parts, not {branch!r}")
        self.branches: tuple[tuple[Part, ...], ...] = tuple(tuple(branch) for branch in branches)


class Entrance(Stage):
    """Passes on what comes; stands where branches would be the first or last thing."""


class _Builder:
    """Makes the places of one line."""

    def __init__(self, line: Line, capacity: int) -> None:
        self._line = line
        self._capacity = capacity
        self._junctions = count(1)
        self._names: Counter[str] = Counter()
        self.positions: list[Position] = []
        self.sides: list[Side] = []

    def chain(self, parts: tuple[Part, ...]) -> Chain:
        return Chain([self.place(part) for part in parts])

    def place(self, part: Part) -> Place:
        if isinstance(part, Branches):
            bounds = [len(self.positions)]
            chains: list[Chain] = []
            for branch in part.branches:
                chains.append(self.chain(branch))
                bounds.append(len(self.positions))
            side = Side(chains, self._junctions)
            for n, (first, end) in enumerate(pairwise(bounds)):
                for position in self.positions[first:end]:
                    position.on_drop = (*position.on_drop, functools.partial(side.dropped, n))
            self.sides.append(side)
            return side
        spec = part if isinstance(part, ChildSpec) else None
        if spec is None:
            if not callable(part):
                raise TypeError(
                    f"a part of a pipeline must be a Stage class, a function that returns a stage, "
                    f"a ChildSpec or Branches, not {part!r}; write the class itself, not an instance"
                )
            spec = ChildSpec(part, capacity=self._capacity, restart=None)
        position = Position(
            self._line,
            spec.name or self._name(_kind(spec.factory)),
            functools.partial(self._spawn, spec),
            is_optional=spec.restart == "temporary",
        )
        self.positions.append(position)
        return position

    def _name(self, kind: str) -> str:
        self._names[kind] += 1
        number = self._names[kind]
        return f"{self._line.name}/{kind}" + (f"-{number}" if number > 1 else "")

    async def _spawn(self, spec: ChildSpec, position: Position) -> Ref:
        line = self._line
        assert line.spawn is not None
        return await line.spawn(
            _Made(spec, position),
            name=position.name,
            capacity=spec.capacity,
            full=spec.full,
            restart=spec.restart,
            redeliver=spec.redeliver,
        )


@attrs.define
class _Made:
    """The factory of a stage, which also gives each incarnation its place."""

    spec: ChildSpec
    position: Position

    def __call__(self) -> Actor:
        made: Any = self.spec.factory(*self.spec.args)
        if not isinstance(made, Stage):
            raise TypeError(
                f"a part of a pipeline must be a Stage or return one, but "
                f"{self.spec.factory!r} gave {made!r}"
            )
        if made.__position__ not in (None, self.position):
            raise RuntimeError(
                f"{self.spec.factory!r} gave a stage that has another place in a pipeline already; "
                f"it must make a new one each time"
            )
        if self.position.ref is not None:
            self.position.line.restarted(self.position)
        take_place(made, self.position)
        return made


def _kind(factory: Callable[..., Any]) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return str(getattr(factory, "__name__", type(factory).__name__)).strip("<>").lower()


def _may_begin_with_branches(parts: tuple[Part, ...]) -> bool:
    lasting = (p for p in parts if not (isinstance(p, ChildSpec) and p.restart == "temporary"))
    return isinstance(next(lasting, None), Branches)


def build(line: Line, parts: tuple[Part, ...], capacity: int = DEFAULT_CAPACITY) -> Chain:
    """
    Make the places of *line*, not joined yet, and note its positions.

    Frames from outside go into one mailbox, so that they are sent or not (I1); so there is an
    `Entrance` where branches are the first or the last part, or can be as optional stages are over.
    """
    if not parts:
        raise ValueError("a pipeline needs at least one part: open_pipeline(runtime, MyStage)")
    if _may_begin_with_branches(parts):
        parts = (Entrance, *parts)
    if _may_begin_with_branches(parts[::-1]):
        parts = (*parts, Entrance)
    builder = _Builder(line, capacity)
    chain = builder.chain(parts)
    line.positions = tuple(builder.positions)
    line.sides = tuple(builder.sides)
    line.entry, line.entry_up = chain.from_above, chain.from_below
    return chain
