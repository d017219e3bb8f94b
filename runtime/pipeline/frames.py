"""The frames that a pipeline itself sends along its stages, and those that it tells its ends."""

from greenroom.runtime.frames import ControlFrame, Frame, frame
from greenroom.runtime.mailbox import Expendable

__all__ = [
    "End",
    "Flush",
    "Heartbeat",
    "Lifecycle",
    "Mark",
    "PinnedUpstream",
    "PipelineInterrupted",
    "PipelineStarted",
    "StageCrashed",
    "Upstream",
    "upstream",
]


class Lifecycle(Frame):
    """
    A frame that every stage passes on, whatever its class handles, after its hook has run.

    In parallel branches it waits for all of them, and goes on once.
    """

    __slots__ = ()

    uninterruptible = True


@frame
class PipelineStarted(Lifecycle):
    """The first frame of all: every stage has started. Hook: ``on_started``."""


@frame
class Flush(Lifecycle):
    """Behind all that was sent before it; see ``Pipeline.flush``. Hook: ``on_flush``."""

    number: int
    """Counts the flushes of a pipeline, from 1."""
    leg: int = 1
    """1 on its way down, 2 up, 3 down again; the hook runs on the first."""


@frame
class End(Lifecycle):
    """The last frame of all, on its way down and then up. Hook: ``on_end``, on its way down."""


@frame
class Mark(Lifecycle, Expendable):
    """
    What was sent into parallel branches before it has left this one, or never will.

    One that is lost is made up for by the next.
    """

    junction: int
    """Which branches, of those of a pipeline, and in which direction."""
    number: int
    """Of the last frame before it."""


@frame
class Heartbeat(ControlFrame):
    """Asks every stage, at once, whether it is there."""

    number: int


@frame
class PipelineInterrupted(Frame):
    """Comes out at both ends, before all else, when a pipeline was interrupted."""

    uninterruptible = True

    reason: str


@frame
class StageCrashed(Frame):
    """Goes up from a stage that crashed, and was restarted or is passed by from now on."""

    uninterruptible = True

    stage: str
    """The name of its actor."""
    error: BaseException | None
    """The crash, where it is known."""


@frame
class Upstream(Frame):
    """What a mailbox holds of a frame that is on its way up; it stays the same all the way."""

    express = True

    frame: Frame


@frame
class PinnedUpstream(Upstream):
    """The same for a frame that no interruption touches."""

    uninterruptible = True


def upstream(frame: Frame) -> Upstream:
    """Return *frame* as a mailbox holds it on its way up."""
    return PinnedUpstream(frame) if frame.uninterruptible else Upstream(frame)
