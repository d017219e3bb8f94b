"""A run whose order of tasks comes from a seed: `trio.run`, but repeatable."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

import trio
import trio.testing

from greenroom.runtime.testing.seam import taken_over

__all__ = ["run_seeded"]

ResultT = TypeVar("ResultT")


def run_seeded(
    function: Callable[..., Awaitable[ResultT]],
    *args: Any,
    seed: int,
    clock: trio.abc.Clock | None = None,
) -> ResultT:
    """
    Run *function* as `trio.run` does, with the order of its tasks chosen by *seed* alone.

    Args:
        function: The async function, and then its arguments.
        seed: Any int; the same one gives the same order.
        clock: Virtual time that jumps whenever all tasks wait, unless another clock is given.

    What else can differ between two runs is the program's: sets of strings under another
    ``PYTHONHASHSEED``, `random` and `uuid`, threads, sockets, and when garbage is collected. For
    random numbers, actors have ``self.runtime.rng`` (``open_runtime(seed=...)``).

    Raises:
        SeamMismatch: this version of Trio is not known to the seam.

    Source: Trio's own ``test_scheduler_determinism.py``.
    """
    with taken_over(Random(seed)):
        return trio.run(
            function, *args, clock=clock or trio.testing.MockClock(autojump_threshold=0)
        )
