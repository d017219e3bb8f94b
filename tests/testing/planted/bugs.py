"""The bugs: each a cast with one who has it, what should be found, and how soon."""

from typing import Final

import attrs

from tests.testing.planted import (
    desk,
    feed,
    indexer,
    journal,
    outbox,
    pool,
    provider,
    session,
    tools,
    worker,
)
from tests.testing.planted.session import Cast


@attrs.frozen
class Bug:
    """One of them."""

    name: str
    cast: Cast
    codes: tuple[str, ...]
    """Of these, at least one is found."""
    runs: int = 1500
    """In at most so many runs."""
    recovers: bool = False
    """Whether the recovery after a crash is looked at."""


BUGS: Final = {
    1: Bug("close without shield", Cast(pool=pool.PartsWithoutShield), ("HELD",)),
    2: Bug("End frame lost on cancel", Cast(provider=provider.LosesTheEnd), ("HELD",)),
    3: Bug("await in finally, no shield", Cast(worker=worker.AwaitsInFinally), ("HELD",)),
    4: Bug("swallowed Cancelled", Cast(clerk=desk.SwallowsTheCancel), ("SWALLOWED",)),
    5: Bug("tool result twice", Cast(worker=worker.AnswersTwice), ("HELD",)),
    6: Bug("tool result lost on cancel", Cast(worker=worker.AnswersNever), ("HELD",)),
    7: Bug("reply after caller gone", Cast(indexer=indexer.TellsWhoHasLeft), ("LAW",)),
    8: Bug("lost wake-up", Cast(outbox=outbox.MissesTheWakeUp), ("RAISED", "HANG")),
    9: Bug("deadlock cycle", Cast(clerk=desk.AsksBack), ("RAISED",)),
    10: Bug("leaked nursery task", Cast(desk=desk.LeavesTheSign), ("HELD",)),
    11: Bug(
        "leaked async generator", Cast(provider=provider.LeavesTheGenerator), ("LEAK_ASYNCGEN",)
    ),
    12: Bug("cancel lost in thread", Cast(tools=tools.NeverLooksUp), ("LATENCY", "LAW")),
    13: Bug(
        "restart storm",
        Cast(indexer=indexer.LeavesTheIndexLocked, librarian=indexer.NeverGivesUp),
        ("LIVELOCK", "LAW"),
    ),
    14: Bug("lock held after cancel", Cast(worker=worker.KeepsTheLock), ("HELD",)),
    15: Bug("message lost between take and own", Cast(outbox=outbox.LosesANote), ("HELD",)),
    16: Bug("shield without deadline", Cast(pool=pool.PartsWithoutDeadline), ("LATENCY", "LAW")),
    17: Bug("history torn by cancel", Cast(desk=desk.TearsTheHistory), ("HELD",)),
    18: Bug(
        "forgotten await on error path", Cast(worker=worker.ForgetsAnAwait), ("LEAK_UNAWAITED",)
    ),
    19: Bug(
        "fd leaked when connect is cancelled", Cast(pool=pool.ForgetsTheSocket), ("LEAK_RESOURCE",)
    ),
    20: Bug(
        "torn log at crash", Cast(journal=journal.TrustsTheLastLine), ("RAISED",), recovers=True
    ),
    21: Bug("Ctrl-C swallowed by a group", Cast(client=session.GoesOnAfterCtrlC), ("SWALLOWED",)),
    22: Bug("group not unwrapped", Cast(tools=tools.CatchesNoGroup), ("RAISED",)),
    23: Bug("cancel before started()", Cast(porter=feed.StartedTooLate), ("HELD",)),
    24: Bug("cleanup budget exhausted half-way", Cast(journal=journal.StopsHalfWay), ("HELD",)),
    25: Bug("subscriber drops at shutdown", Cast(billing=feed.LeavesTheBill), ("RAISED",)),
    26: Bug("span left open", Cast(desk=desk.LeavesTheSpan), ("HELD",)),
    27: Bug("timeout taken for one's own", Cast(worker=worker.BlamesTheTool), ("HELD",)),
    28: Bug("set order", Cast(clerk=desk.TakesWordsAsTheyCome), ("FICKLE",)),
}
