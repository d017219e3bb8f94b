"""
Whether the stages of a pipeline get on: a heartbeat, and who does not keep up with it.

A `Heartbeat` is a control frame, so that no handler holds it up, however long it streams. Each stage
answers it at once; what it has done since the one before tells whether it is stuck (`is_stuck`).

While nothing is at work there is no heartbeat, and nothing ticks (R23): the next frame begins anew.
"""

import contextlib
import logging
import math
from collections.abc import Sequence

import attrs
import trio

from greenroom.runtime.envelope import frame_in
from greenroom.runtime.errors import MailboxFull
from greenroom.runtime.events import StageStalled
from greenroom.runtime.frames import Frame
from greenroom.runtime.pipeline.frames import Heartbeat
from greenroom.runtime.pipeline.line import Line, Position
from greenroom.runtime.stacks import stack_of

__all__ = ["Monitor", "Sample", "check_period", "is_stuck"]

_log = logging.getLogger("greenroom.runtime")


@attrs.frozen
class Sample:
    """A stage at one heartbeat."""

    progress: tuple[int, ...]
    answered: bool
    is_busy: bool
    is_excused: bool
    """It is paused, waits for room, or is over."""


def is_stuck(before: Sample, now: Sample) -> bool:
    """Tell whether a stage has done nothing between two heartbeats, and should have."""
    if now.is_excused:
        return False
    return not now.answered or (now.is_busy and before.progress == now.progress)


class Monitor:
    """Sends the heartbeats of a line; one task, run by its owner."""

    def __init__(self, line: Line, period: float) -> None:
        self._line = line
        self._period = period
        self._number = 0
        self._woken = trio.Event()  # set by the first frame that comes while nothing is at work
        self._stuck_since: dict[Position, float] = {}  # at most one entry for each stage

    def moved(self, frame: Frame) -> None:
        """Note that there is something to watch again."""
        self.stirred()

    def stirred(self) -> None:
        """Note that there may be."""
        self._woken.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._wait_for_work()
            await self._watch()

    async def _wait_for_work(self) -> None:
        self._woken = trio.Event()
        self._line.watchers.add(self)
        try:
            await self._woken.wait()
        finally:
            self._line.watchers.discard(self)

    async def _watch(self) -> None:
        """Beat until nothing is at work."""
        before = self._beat()
        while True:
            await trio.sleep(self._period)
            now = [self._sample(position) for position in self._line.positions]
            for position, earlier, later in zip(self._line.positions, before, now, strict=True):
                self._judge(position, earlier, later)
            if not any(sample.is_busy for sample in now):
                return
            before = self._beat()

    def _beat(self) -> Sequence[Sample]:
        samples = [self._sample(position) for position in self._line.positions]
        self._number += 1
        for cell in self._line.cells:
            if cell.is_open:
                with contextlib.suppress(MailboxFull):  # it does not answer, and is named for that
                    cell.tell(Heartbeat(self._number))
        return samples

    def _sample(self, position: Position) -> Sample:
        cell, slot = position.cell, position.slot
        is_over = position.is_over or cell is None or not cell.is_open
        is_held_up = slot is not None and self._line.holds_up(slot)
        return Sample(
            progress=position.progress,
            answered=position.beat == self._number,
            is_busy=not (is_over or position.is_paused)
            and (
                slot is None
                or slot.running is not None
                or (cell is not None and cell.mailbox.has_backlog)
            ),
            is_excused=is_over or position.is_paused or is_held_up,
        )

    def _judge(self, position: Position, before: Sample, now: Sample) -> None:
        if not is_stuck(before, now):
            self._stuck_since.pop(position, None)
            return
        at = trio.current_time()
        since = self._stuck_since.setdefault(position, at - self._period)
        self._report(position, at, at - since)

    def _report(self, position: Position, at: float, seconds: float) -> None:
        slot, cell = position.slot, position.cell
        assert cell is not None
        stack = stack_of(slot.task) if slot is not None else ()
        running = frame_in(slot.running) if slot is not None and slot.running is not None else None
        _log.warning(
            "pipeline %r makes no progress: for %g s, %s",
            self._line.name,
            seconds,
            position.describe(),
        )
        if cell.shared.observers:
            cell.shared.observers.notify(
                StageStalled(at, position.name, self._line.name, running, seconds, stack)
            )


def check_period(period: float) -> None:
    """Raise a ValueError unless *period* is one for heartbeats."""
    if not period > 0 or math.isnan(period):
        raise ValueError(f"heartbeat must be seconds > 0, or math.inf for none, not {period!r}")
