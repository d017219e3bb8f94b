"""
Bare exceptions out of nurseries (R14).

A nursery raises a group even for a single failure. `collapse` decides what its caller should see,
and `bare` raises that; every ``open_*`` of Greenroom wraps each nursery it opens in ``with bare():``.
Only the group that this nursery made is opened: a group that a body or a child raised of its own
accord stays whole. That of a library's nested nursery, ``trio.serve_listeners`` say, is such a one:
it comes as a group, though it has one leaf, unless its call is wrapped in ``with bare():`` too.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeGuard

import trio

__all__ = ["bare", "collapse", "leaves", "sole_leaf"]


def _is_group(exc: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(exc, BaseExceptionGroup)


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """Return an iterator over the exceptions inside *exc*, or over *exc* itself if it is no group."""
    if _is_group(exc):
        for child in exc.exceptions:
            yield from leaves(child)
    else:
        yield exc


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Walk the explicit causes of *exc*; a cause that is a group stands for its members too."""
    seen: set[int] = set()
    queue = [exc.__cause__]
    while queue:
        cause = queue.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            queue.append(cause.__cause__)
            if _is_group(cause):
                queue.extend(cause.exceptions)


def _is_echo(exc: BaseException, failures: list[BaseException]) -> bool:
    """Tell whether every leaf of *exc* was caused by one of the other *failures*."""
    others = {id(leaf) for other in failures if other is not exc for leaf in leaves(other)}
    others |= {id(other) for other in failures if other is not exc}
    return all(any(id(cause) in others for cause in _causes(leaf)) for leaf in leaves(exc))


def _without_cancelled(exc: BaseException) -> BaseException | None:
    if _is_group(exc):
        cancelled, rest = exc.split(trio.Cancelled)
        if cancelled is None:
            return exc  # split made an equal group, not the same one
        return rest if rest is None or len(rest.exceptions) > 1 else sole_leaf(rest)
    return None if isinstance(exc, trio.Cancelled) else exc


def sole_leaf(exc: BaseException) -> BaseException:
    """Return the one exception inside a group, however deep, or *exc* itself if there are more."""
    leaf = exc
    while _is_group(leaf) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    return exc if _is_group(leaf) else leaf


def collapse(group: BaseException) -> BaseException:
    """
    Return what the caller of a nursery that raised *group* should see.

    - ``KeyboardInterrupt`` and ``SystemExit`` win over all else.
    - `trio.Cancelled` beside a real error is dropped; where there is nothing else, one is kept.
    - An error whose ``__cause__`` chain holds another of the failures is its echo, and is dropped.
    - What is left comes bare if it is one, else as one group.
    """
    if not _is_group(group):
        return group
    every = list(leaves(group))
    for leaf in every:
        if isinstance(leaf, (KeyboardInterrupt, SystemExit)):
            return leaf
    failures = [e for e in map(_without_cancelled, group.exceptions) if e is not None]
    if not failures:
        return every[0]
    roots = [e for e in failures if not _is_echo(e, failures)] or failures
    return roots[0] if len(roots) == 1 else BaseExceptionGroup("several failures at once", roots)


@contextmanager
def bare() -> Generator[None]:
    """Raise what `collapse` makes of the group that leaves the block, its own context kept."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = collapse(group)
        context = error.__context__
        try:
            raise error
        finally:
            # raising it here made the group its context; the story it had before is the true one
            error.__context__ = context
            del error, context
