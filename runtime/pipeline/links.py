"""
How frames get from stage to stage: links, things that a frame can be put into.

A pipeline is a `Chain` of places: stages, and branches side by side (`Side`), each a chain itself.
All links are made before any stage is; a stage that is restarted finds its links as they were, for
they lead to refs and mailboxes, which outlive incarnations.

Frames going down are in the mailboxes as they are; frames going up are in the express lanes, each
in an `Upstream` that stays the same all the way.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import trio

from greenroom.runtime.cell import Cell
from greenroom.runtime.errors import ActorStopped, MailboxFull
from greenroom.runtime.frames import Frame
from greenroom.runtime.pipeline.frames import Lifecycle, Mark, Upstream, upstream
from greenroom.runtime.pipeline.junction import Junction
from greenroom.runtime.pipeline.owed import Owed, inner

__all__ = ["Chain", "Link", "Place", "Port", "Side"]

_MOST_WITHOUT_CHECKPOINT: Final = 64


class Link(Protocol):
    """Where frames of one direction can be put."""

    async def put(self, frame: Frame) -> None:
        """
        Put *frame*, waiting for room.

        Cancellation: *frame* was not put; into branches, perhaps into some of them. A lifecycle frame
            may be put again, and then goes only where it was not put before.

        Checkpoint: when it waits, and at least every 64 frames, as `Emit` does (R12).
        """
        ...


class Unlinked:
    """The link of a place that is not joined to others yet."""

    async def put(self, frame: Frame) -> None:  # noqa: ASYNC124 - it is a link
        raise RuntimeError(
            f"{type(inner(frame)).__name__} can't go anywhere before the pipeline has started; "
            f"push first frames in on_started, not in on_start"
        )


# -- into one stage


class Target(Protocol):
    """The stage that a `Port` leads to."""

    @property
    def cell(self) -> Cell | None:
        """None before it was spawned, and where it could not be."""
        ...

    @property
    def is_over(self) -> bool: ...

    @property
    def is_optional(self) -> bool:
        """Whether frames pass it by once it is over."""
        ...


class Port:
    """The link into a stage; once that is over, and may be passed by, into what is beyond it."""

    __slots__ = ("_beyond", "_count", "_owed", "_target")

    def __init__(self, target: Target, beyond: Callable[[], Link], owed: Owed) -> None:
        self._target = target
        self._beyond = beyond
        self._owed = owed  # what the stage, once it is over, has left for what is beyond
        self._count = 0  # frames since the last checkpoint

    async def put(self, frame: Frame) -> None:  # noqa: ASYNC910 - as `Link` says
        cell = self._target.cell
        if cell is None or self._target.is_over:
            await self._pass_by(frame)
            return
        if (count := self._count) >= _MOST_WITHOUT_CHECKPOINT:
            await trio.lowlevel.checkpoint()
            count = 0
        self._count = count + 1
        try:
            await self._tell(cell, frame)
        except ActorStopped:
            if not self._target.is_optional and not isinstance(inner(frame), Lifecycle):
                await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC120 - both are cut off
                raise
            if not isinstance(frame, Upstream):  # it may wait below for what would wait here
                await cell.wait_stopped()  # or *frame* would overtake what it still handles
            await self._pass_by(frame)

    async def _tell(self, cell: Cell, frame: Frame) -> None:  # noqa: ASYNC910 - as `put`
        try:
            envelope = cell.tell(frame)
            if envelope is not None:
                self._count = 0
                await cell.put(envelope)
        except MailboxFull:
            if isinstance(inner(frame), Lifecycle):
                await cell.put_anyway(frame)  # noqa: ASYNC120 - it has no more to say
            elif not isinstance(inner(frame), Mark):  # of these another will follow
                raise

    async def _pass_by(self, frame: Frame) -> None:  # noqa: ASYNC910 - as `put`
        await self._owed.wait_settled()  # or *frame* would overtake what it has left
        await self._beyond().put(frame)

    @property
    def cell(self) -> Cell | None:
        """The stage's mailbox; None before it was spawned, and where it could not be."""
        return self._target.cell


# -- parallel branches


class _Entering:
    """
    A lifecycle frame on its way into branches, and then through them.

    Attributes:
        frame: It, so that its id is not given to another.
        entered: How many branches it has been put into.
        gone: Set when it has left all branches, or is waited for no more.
    """

    __slots__ = ("entered", "frame", "gone")

    def __init__(self, frame: Lifecycle) -> None:
        self.frame = frame
        self.entered = 0
        self.gone = trio.Event()


class _Fan:
    """Where frames of one direction enter branches."""

    def __init__(self, junction: Junction, entries: Sequence[Link]) -> None:
        self._junction = junction
        self._entries = entries
        # lifecycle frames by id, until they have left all branches and who put them knows of it
        self._entering: dict[int, _Entering] = {}

    async def put(self, frame: Frame) -> None:  # noqa: ASYNC910 - there is at least one entry
        content = inner(frame)
        if isinstance(content, Lifecycle):
            await self._put_lifecycle(frame, content)
            return
        if (mark := self._junction.mark()) is not None:
            # before the next frame, and not after the last: that may be cancelled each time
            await self._put_mark(upstream(mark) if isinstance(frame, Upstream) else mark, mark)
        entered = self._junction.enter(content)
        if entered is not content:
            frame = upstream(entered) if isinstance(frame, Upstream) else entered
        try:
            await self._put_all(frame)
        finally:
            self._junction.entered(entered)

    async def _put_lifecycle(self, frame: Frame, content: Lifecycle) -> None:
        if isinstance(content, Mark):  # of another junction
            self._junction.enter(content)
            await self._put_all(frame)
            return
        entering = self._entering.get(id(content))
        if entering is None:  # else it was cut off, with the stage that put it, and goes on here
            self._junction.enter(content)
            entering = self._entering[id(content)] = _Entering(content)
        while entering.entered < len(self._entries):
            await self._entries[entering.entered].put(frame)
            entering.entered += 1
        # nothing overtakes it while the branches are not at one again
        await entering.gone.wait()
        self._entering.pop(id(content), None)

    async def _put_mark(self, frame: Frame, mark: Mark) -> None:
        try:
            await self._put_all(frame)
        except BaseException:
            self._junction.lost(mark)
            raise

    async def _put_all(self, frame: Frame) -> None:  # noqa: ASYNC910 - as above
        for entry in self._entries:
            await entry.put(frame)

    def forget(self, frame: Lifecycle) -> None:
        """Wait no longer for what will never leave all branches."""
        self.left(frame)
        self._entering.pop(id(frame), None)

    def left(self, frame: Lifecycle) -> None:
        """Note that a lifecycle frame has left every branch, and is beyond them."""
        self._junction.forget(frame)
        if (entering := self._entering.get(id(frame))) is not None:
            entering.gone.set()


class _Exit:
    """Where frames of one direction leave one of the branches."""

    def __init__(self, junction: Junction, branch: int, fan: _Fan, target: Link) -> None:
        self._junction = junction
        self._branch = branch
        self._fan = fan
        self._target = target

    async def put(self, frame: Frame) -> None:  # noqa: ASYNC910 - as `Link` says
        content = inner(frame)
        if self._junction.leave(self._branch, content):
            await self._target.put(frame)
            if isinstance(content, Lifecycle):  # not before: this may be cut off, and come again
                self._fan.left(content)


class Side:
    """Branches side by side, each a chain of places; frames go through all of them at once."""

    def __init__(self, chains: Sequence["Chain"], names: Iterator[int]) -> None:
        self._chains = chains
        self._down = Junction(next(names), len(chains))
        self._up = Junction(next(names), len(chains))
        self._fan_down = _Fan(self._down, [chain.from_above for chain in chains])
        self._fan_up = _Fan(self._up, [chain.from_below for chain in chains])
        self.from_above: Link = self._fan_down
        self.from_below: Link = self._fan_up

    def join(self, down: Link, up: Link) -> None:
        """Say where frames go from here."""
        for n, chain in enumerate(self._chains):
            chain.join(
                _Exit(self._down, n, self._fan_down, down), _Exit(self._up, n, self._fan_up, up)
            )

    def dropped(self, branch: int, frame: Frame) -> None:
        """Note that the full mailbox of a stage in *branch* dropped *frame*; only data lanes do."""
        self._down.drop(branch, frame)

    def forget(self, frame: Lifecycle) -> None:
        """Give up on *frame*, which may be lost in a branch; it goes on no more from here."""
        self._fan_down.forget(frame)
        self._fan_up.forget(frame)


# -- a chain of places


class Place(Protocol):
    """What a chain consists of: a position, or branches, or a chain."""

    @property
    def from_above(self) -> Link: ...

    @property
    def from_below(self) -> Link: ...

    def join(self, down: Link, up: Link) -> None:
        """Say where frames go from here."""
        ...


class _Relay:
    """A link to where another will lead, once that is known."""

    def __init__(self) -> None:
        self.target: Link = Unlinked()

    async def put(self, frame: Frame) -> None:
        await self.target.put(frame)


class Chain:
    """Places one below the other; none at all is a chain too, which frames just pass."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._through_down, self._through_up = _Relay(), _Relay()
        self.from_above: Link = places[0].from_above if places else self._through_down
        self.from_below: Link = places[-1].from_below if places else self._through_up

    def join(self, down: Link, up: Link) -> None:
        """Say where frames go from here, and join the places."""
        self._through_down.target, self._through_up.target = down, up
        for n, place in enumerate(self._places):
            above = self._places[n - 1].from_below if n else up
            below = self._places[n + 1].from_above if n + 1 < len(self._places) else down
            place.join(below, above)
