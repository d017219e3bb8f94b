"""
Mutants of the code that closes: each is caught by the test that is named beside it.

A mutant is a piece of a function's source and what stands in its place; a piece that is no longer
there fails the test, so that no mutant outlives its code.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from greenroom.actors.llm.openai import OpenAIStream
from greenroom.actors.testing import network as memory
from greenroom.actors.wire import Body, Transport, guard, guarded, innards, network, pipe
from greenroom.actors.wire.pool import PoolLease
from tests.actors.llm.close.strategies import STRATEGIES
from tests.actors.llm.close.test_close_sweep import (
    test_a_first_request_over_tls_leaves_nothing_at_any_position as first_request,
)
from tests.actors.llm.close.test_close_sweep import (
    test_whatever_cuts_a_response_off_leaves_nothing as any_request,
)
from tests.actors.wire.peers import TlsPair, make_tls

HTTPX2, HTTPX, OURS = STRATEGIES[3:]


@attrs.frozen
class Mutant:
    """A change of one function."""

    name: str
    owner: Any
    """The class or module that has the function."""
    function: str
    old: str
    new: str
    caught_by: Callable[[TlsPair], None]
    also_in: tuple[Any, ...] = ()
    """Modules that imported the function by its name."""

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Put the changed function in the place of the sound one."""
        sound = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(sound))
        assert source.count(self.old) >= 1, f"{self.old!r} is gone from {self.function}"
        where: dict[str, Any] = {}
        exec(source.replace(self.old, self.new), sound.__globals__, where)  # noqa: S102
        for owner in (self.owner, *self.also_in):
            patch.setattr(owner, self.function, where[self.function])


def first(strategy: Any) -> Callable[[TlsPair], None]:
    """Return the sweep of a first request over TLS."""
    return functools.partial(first_request, strategy)


def swept(strategy: Any, variant: str, *, tls: bool = False) -> Callable[[TlsPair], None]:
    """Return the sweep of a variant."""
    return functools.partial(any_request, strategy, variant, tls)


MUTANTS = [
    Mutant(
        "ours: a stream is not closed",
        *(OpenAIStream, "_end", "self._body.close(complete=self._reader.is_done)", "pass"),
        first(OURS),
    ),
    Mutant(
        "ours: a request that fails keeps its lease",
        *(Transport, "handle_async_request", "        lease.close(aborted=True)\n", ""),
        first(OURS),
    ),
    Mutant(
        "ours: TLS that fails leaves the connection open",
        *(pipe, "start_tls", "pipe.abort()", "pass"),
        first(OURS),
        (memory,),
    ),
    Mutant(
        "ours: the slot is not given back",
        *(PoolLease, "_end", "pool.slots.release()", "pass"),
        swept(OURS, "cold"),
    ),
    Mutant(
        "ours: the connection is not closed",
        *(PoolLease, "close", "self._pipe.abort()", "pass"),
        swept(OURS, "stalled body"),
    ),
    Mutant(
        "ours: a half-read connection is kept",
        *(Body, "close", "self._lease.close(aborted=not complete)", "self._lease.give_back()"),
        swept(OURS, "stalled body"),
    ),
    Mutant(
        "guard: the pool is not looked through",
        *(guard.GuardedTransport, "handle_async_request", "self._pool.reap()", "0"),
        first(HTTPX2),
    ),
    Mutant(
        "guard: the network backend is not replaced",
        *(
            innards.Pool,
            "harden",
            "Backend(self._pool._network_backend)",
            "None or self._pool._network_backend",
        ),
        first(HTTPX2),
    ),
    Mutant(
        "guard: TLS that fails leaves the connection open",
        *(network.Stream, "start_tls", "abort_stream(self)", "pass"),
        first(HTTPX),
    ),
    Mutant(
        "guard: the content of a request is a generator",
        *(guard, "_steady", "if library is httpx2:", "if library:"),
        first(HTTPX),
    ),
    Mutant(
        "guard: the generator is not closed",
        *(innards.Exchange, "abort", "_close_generator(self._chunks)", "pass"),
        first(HTTPX2),
    ),
    Mutant(
        "guard: the slot is not given back",
        *(innards.Exchange, "abort", "self._pool.let_go(self._pool_stream._pool_request)", "pass"),
        swept(HTTPX, "stalled body"),
    ),
    Mutant(
        "guard: connections of requests that end stay in the pool",
        *(innards.Pool, "let_go", "connections.remove(connection)", "pass"),
        swept(HTTPX2, "stalled body"),
    ),
    Mutant(
        "guard: a close is waited for",
        *(network.Stream, "aclose", "not _close_socket(self._inner)", "True"),
        swept(HTTPX2, "hang on close"),
    ),
    Mutant(
        "guard: the end is waited for without a bound",
        *(guarded.GuardedBody, "_comes_to_its_end", "move_on_after(DRAIN)", "move_on_after(60)"),
        swept(HTTPX2, "hang after the last token"),
    ),
]


@pytest.fixture(scope="module")
def tls() -> TlsPair:
    """Contexts for ``model.test``."""
    return make_tls()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_the_closing_is_caught(
    mutant: Mutant, tls: TlsPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test named beside it fails, where it passes on the sound code."""
    mutant.apply(monkeypatch)

    with pytest.raises(AssertionError, match=r"with the plan|next request"):
        mutant.caught_by(tls)
