"""
Every exception of the runtime, named after what the caller can do about it.

A request ends in a reply, in `trio.Cancelled` (the *caller* was cancelled, never the callee) or in
exactly one `RequestError`. Each request gets an exception object of its own.
"""

import trio

__all__ = [
    "ActorCrashed",
    "ActorRestarted",
    "ActorStopped",
    "DeadlockError",
    "Dropped",
    "IllegalMove",
    "Interrupted",
    "MailboxFull",
    "NotHandled",
    "Refused",
    "RequestError",
    "TooManyRestarts",
]


class RequestError(Exception):
    """A request ended without a reply; the subclass says why."""


class Refused(RequestError):
    """
    Raised by a handler to decline a request: the asker gets it, and the actor lives on.

    What to do: mend the request. Any other exception of a handler is a crash.
    """


class NotHandled(RequestError, TypeError):
    """The actor has no handler for this frame; nothing was sent. Mend the call."""


class Interrupted(RequestError):
    """
    The actor was interrupted while the request was queued or running.

    Attributes:
        reason: What the interrupter gave, or ``"interrupted"``.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ActorCrashed(RequestError):
    """
    Handling this very request crashed the actor; ``__cause__`` is the crash.

    What to do: nothing here; a supervisor or the runtime's block gets the crash itself.
    """


class ActorRestarted(RequestError):
    """The crash of another slot, or of a sibling, took the request along; it may be sent again."""


class ActorStopped(RequestError):
    """
    The actor stopped before it handled the request, or had stopped before it was sent.

    Attributes:
        reason: ``"stopped"``, ``"cancelled"`` or ``"crashed"``.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeadlockError(RequestError):
    """
    The wait would have closed a cycle of handlers that wait for one another; nothing was sent.

    What to do: tell instead of asking, ask from a task that is no handler, or allow the actor more
    handlers at once (``concurrency``).

    Attributes:
        cycle: The names of the actors, from the one that would have waited.
    """

    def __init__(self, message: str, cycle: tuple[str, ...]) -> None:
        super().__init__(message)
        self.cycle = cycle


class MailboxFull(RequestError, trio.WouldBlock):
    """The mailbox is full and its policy lets nobody wait; nothing was sent. Try again later."""


class Dropped(RequestError):
    """
    A full mailbox dropped the request by its policy.

    Attributes:
        policy: ``"drop_newest"`` or ``"drop_oldest"``.
    """

    def __init__(self, message: str, policy: str) -> None:
        super().__init__(message)
        self.policy = policy


class IllegalMove(RuntimeError):
    """A life cycle was asked for a move that it does not have; nothing changed (I6)."""


class TooManyRestarts(RuntimeError):
    """A permanent child stopped by itself again and again; its supervisor has given up."""
