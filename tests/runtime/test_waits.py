"""The wait-for graph of `greenroom.runtime.waits`, alone."""

import itertools
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.waits import AllOf, cycle_text, find_cycle


@attrs.define(eq=False)
class Node:
    """A handler of the graph; it waits for nothing at first."""

    actor: str
    waits: "Edge | AllOf | None" = None


@attrs.define(eq=False)
class Edge:
    """A wait for any of *nodes*; None for a way out."""

    nodes: Sequence[Node] | None

    def blockers(self) -> Sequence[Node] | None:
        return self.nodes

    def describe(self) -> str:
        return "waits for " + " or ".join(node.actor for node in self.nodes or ())


def names(waiter: Node, wait: Edge | AllOf) -> list[str] | None:
    cycle = find_cycle(waiter, wait)
    return None if cycle is None else [step.actor for step, _ in cycle]


def test_a_wait_for_oneself_is_a_cycle() -> None:
    """R24: an actor of one slot that asks itself."""
    a = Node("a")

    assert names(a, Edge([a])) == ["a"]


def test_a_chain_that_ends_may_be_waited_for() -> None:
    """R24: there is a way out as long as somebody in reach does not wait."""
    a, b, c = (Node(name) for name in "abc")
    b.waits = Edge([c])

    assert find_cycle(a, Edge([b])) is None
    assert find_cycle(c, Edge([a])) is None


def test_the_cycle_is_named_from_the_one_that_closes_it() -> None:
    """R24: each step says who waits for what."""
    a, b, c = (Node(name) for name in "abc")
    a.waits, b.waits = Edge([b]), Edge([c])
    cycle = find_cycle(c, Edge([a]))

    assert cycle is not None
    assert cycle_text(cycle) == "'c' waits for a, 'a' waits for b, 'b' waits for c"


def test_one_free_slot_is_a_way_out() -> None:
    """R24: a queued request waits for any slot of its actor."""
    a, b, free = Node("a"), Node("b"), Node("b")
    b.waits = Edge([a])

    assert find_cycle(a, Edge([b, free])) is None
    free.waits = Edge([a])
    assert names(a, Edge([b, free])) == ["a", "b"]


def test_something_outside_the_graph_is_a_way_out() -> None:
    """R24: waits on plain Trio objects are missed, never false."""
    a, b = Node("a"), Node("b")
    b.waits = Edge(None)

    assert find_cycle(a, Edge(None)) is None
    assert find_cycle(a, Edge([b])) is None


def test_a_wait_that_nothing_can_end_is_hopeless() -> None:
    """R24: also one that leads into a knot that was there before."""
    a, b = Node("a"), Node("b")
    b.waits = Edge([b])

    assert names(a, Edge([])) == ["a"]
    assert names(a, Edge([b])) == ["a", "b"]


def test_the_cycle_named_leaves_out_who_only_waits_for_it() -> None:
    """R24: of two slots that are blocked, the one that leads back; each step blocks the one before."""
    a, b, c = (Node(name) for name in "abc")
    b.waits, c.waits = Edge([a]), Edge([b])

    assert names(a, Edge([b, c])) == ["a", "b"]
    assert names(a, Edge([c, b])) == ["a", "b"]


@pytest.mark.parametrize("length", [2, 10_000])
def test_long_chains_are_walked(length: int) -> None:
    """R24: without recursion."""
    nodes = [Node(str(n)) for n in range(length)]
    for node, after in itertools.pairwise(nodes):
        node.waits = Edge([after])

    assert len(names(nodes[-1], Edge([nodes[0]])) or []) == length


def reaches_freedom(start: Node, wait: "Edge | AllOf", seen: frozenset[Node]) -> bool:
    """Tell, depth first and without any shortcut, whether a wait can ever end."""
    assert isinstance(wait, Edge)
    if wait.nodes is None:
        return True
    return any(
        node.waits is None or reaches_freedom(node, node.waits, seen | {node})
        for node in wait.nodes
        if node not in seen
    )


@given(
    edges=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.one_of(st.none(), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
        ),
        max_size=25,
    )
)
def test_it_agrees_with_a_plain_search(edges: list[tuple[int, list[int] | None]]) -> None:
    """R24: no false alarm and no miss; refusing what it names never leaves a dead knot."""
    nodes = [Node(str(n)) for n in range(6)]
    for at, to in edges:
        waiter = nodes[at]
        wait = Edge(None if to is None else [nodes[n] for n in to])
        if waiter.waits is not None:
            waiter.waits = None  # its wait is over
            continue
        cycle = find_cycle(waiter, wait)
        assert (cycle is None) == reaches_freedom(waiter, wait, frozenset({waiter}))
        if cycle is None:
            waiter.waits = wait
        else:
            assert cycle[0] == (waiter, wait)
            for (_, step), (blocker, _) in itertools.pairwise(cycle):
                assert blocker in (step.blockers() or ())
            assert waiter in (cycle[-1][1].blockers() or ())
        for node in nodes:
            if node.waits is not None:
                assert reaches_freedom(node, node.waits, frozenset({node}))


def test_a_wait_for_all_is_as_hopeless_as_the_worst_part() -> None:
    """R24: a value published to several subscribers has to reach every one of them."""
    a, b, free = (Node(name) for name in ("a", "b", "free"))
    b.waits = Edge([a])

    assert names(a, AllOf([Edge([free]), Edge(None)])) is None
    assert names(a, AllOf([])) is None
    assert names(a, AllOf([Edge([free]), Edge([b])])) == ["a", "b"]
    assert names(a, AllOf([Edge([b])])) == ["a", "b"]
    b.waits = AllOf([Edge([free]), Edge([a])])
    cycle = find_cycle(a, Edge([b]))
    assert cycle is not None
    assert cycle_text(cycle) == "'a' waits for b, 'b' waits for a"


def free_of(nodes: list[Node]) -> set[str]:
    """Return who can go on, by growing that set from those who do not wait."""
    free: set[str] = set()
    while True:
        more = {node.actor for node in nodes if _can_end(node.waits, free)}
        if more == free:
            return free
        free = more


def _can_end(wait: "Edge | AllOf | None", free: set[str]) -> bool:
    if wait is None:
        return True
    if isinstance(wait, AllOf):
        return all(_can_end(part, free) for part in wait.parts if isinstance(part, Edge))
    return wait.nodes is None or any(node.actor in free for node in wait.nodes)


_to = st.one_of(st.none(), st.lists(st.integers(0, 5), min_size=1, max_size=3))


@given(
    edges=st.lists(
        st.tuples(st.integers(0, 5), st.lists(_to, min_size=1, max_size=3)),
        max_size=25,
    )
)
def test_waits_for_all_agree_with_a_plain_search(
    edges: list[tuple[int, list[list[int] | None]]],
) -> None:
    """R24: no false alarm and no miss; what is named is a way from part to part."""
    nodes = [Node(str(n)) for n in range(6)]
    for at, parts in edges:
        waiter = nodes[at]
        if waiter.waits is not None:
            waiter.waits = None  # its wait is over
            continue
        found = [Edge(None if to is None else [nodes[n] for n in to]) for to in parts]
        wait = AllOf(found) if len(found) > 1 else found[0]
        waiter.waits = wait
        can_end = waiter.actor in free_of(nodes)
        waiter.waits = None
        cycle = find_cycle(waiter, wait)
        assert (cycle is None) == can_end
        if cycle is None:
            waiter.waits = wait
        else:
            assert cycle[0][0] is waiter
            for (_, step), (blocker, _) in itertools.pairwise(cycle):
                assert blocker in (step.blockers() or ())
            assert waiter in (cycle[-1][1].blockers() or ())
        assert len(free_of(nodes)) == len(nodes)
