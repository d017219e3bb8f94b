"""The options of ``spawn``, which several offer: the runtime, actors, and whoever spawns for others."""

from typing import TypedDict

from greenroom.runtime.mailbox import FullPolicy
from greenroom.runtime.restart import ChildKind

__all__ = ["SpawnOptions"]


class SpawnOptions(TypedDict, total=False):
    """The options of ``spawn``, for ``**options: Unpack[SpawnOptions]``; see `Runtime.spawn`."""

    name: str | None
    """Unique among living actors; made from the class's name if not given."""
    capacity: int
    """Of the mailbox (frames, >= 0); 64 if not given."""
    full: FullPolicy
    """What a full mailbox does; it lets senders wait if not given."""
    restart: ChildKind | None
    """What the parent does when the actor ends; a crash is the parent's if not given."""
    redeliver: int
    """How often a frame whose handler crashed is delivered again (>= 0); never if not given."""
