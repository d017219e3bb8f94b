"""The search over schedules: the reduced one sees all that the full one sees, each trace once."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greenroom.runtime.testing.dpor import Diverged, Place, Search, Touch
from tests.testing.toy import Op, Program, Seen, any_program, run, search_all


def found(*tasks: Sequence[Op]) -> Seen:
    """Return what the reduced search finds in a program whose tasks are all there at first."""
    program = tuple(map(tuple, tasks))
    seen = search_all(program, len(program), Search())
    assert seen is not None
    return seen


def compare(program: Program, roots: int, limit: int) -> tuple[Seen, Seen] | None:
    """Search *program* both ways; None if the full search takes more than *limit* runs."""
    full = search_all(program, roots, Search(reduce=False), limit=limit)
    if full is None:
        return None
    reduced = search_all(program, roots, Search())
    assert reduced is not None
    assert reduced.outcomes == full.outcomes, (program, roots)
    assert reduced.traces == full.traces, (program, roots)
    assert reduced.useful == len(full.traces), (program, roots)
    return full, reduced


def compare_many(seeds: range, limit: int) -> list[tuple[Seen, Seen]]:
    programs = (any_program(random.Random(seed)) for seed in seeds)
    pairs = [pair for program in programs if (pair := compare(*program, limit))]
    full, reduced = (sum(pair[n].runs for pair in pairs) for n in (0, 1))
    deadlocks = sum(bool(pair[0].deadlocks) for pair in pairs)
    either = sum(0 < pair[0].deadlocks < len(pair[0].outcomes) for pair in pairs)
    print(f"{len(pairs)} programs: {full} runs in full, {reduced} reduced")
    print(f"{deadlocks} can end in a deadlock, {either} of them also otherwise")
    assert either > len(pairs) / 40
    return pairs


def test_the_reduced_search_sees_all_that_the_full_one_sees() -> None:
    """Every outcome and every trace of programs by chance, deadlocks too, and no trace twice."""
    pairs = compare_many(range(450), limit=200)

    assert len(pairs) >= 350
    assert sum(len(full.traces) > 1 for full, _ in pairs) > 120


@pytest.mark.torture
def test_the_reduced_search_sees_all_that_the_full_one_sees_in_larger_programs() -> None:
    """The same, for more programs that may take longer."""
    assert len(compare_many(range(10_000, 14_000), limit=4_000)) > 3_500


def test_no_program_is_found_for_which_the_searches_differ() -> None:
    """The same, where a program that fails is made as small as can be."""
    traces: list[int] = []  # of each program that was searched in full

    @given(st.randoms(use_true_random=False))
    def search(rng: random.Random) -> None:
        pair = compare(*any_program(rng), limit=200)
        assume(pair is not None)
        assert pair is not None
        traces.append(len(pair[0].traces))

    search()
    print(f"{len(traces)} programs, {sum(n > 1 for n in traces)} of them with several traces")

    assert len(traces) >= 100
    # seen are 29 where this file is run alone, and 23 in the whole suite
    assert sum(n > 1 for n in traces) >= 12


@pytest.mark.parametrize(
    ("tasks", "outcomes", "deadlocks"),
    [
        # Two locks, taken in either order.
        (
            [
                [("acquire", "l"), ("acquire", "m"), ("release", "m"), ("release", "l")],
                [("acquire", "m"), ("acquire", "l"), ("release", "l"), ("release", "m")],
            ],
            2,
            1,
        ),
        # Whoever is told first takes the one thing that there is; the other waits for ever.
        ([[("until", "x"), ("receive", "d")]] * 2 + [[("send", "d", 7), ("write", "x", 1)]], 2, 2),
        # Who started a task waits for its end; its children meet somebody else's at a lock.
        (
            [
                [("spawn", 2), ("spawn", 2), ("join",), ("read", "x")],
                [("acquire", "l"), ("read", "x"), ("release", "l")],
                [("acquire", "l"), ("store", "x"), ("release", "l")],
            ],
            None,
            0,
        ),
    ],
)
def test_tasks_that_wait_for_each_other_are_searched_in_full(
    tasks: list[list[Op]], outcomes: int | None, deadlocks: int
) -> None:
    """With all deadlocks that there are."""
    program: Program = tuple(map(tuple, tasks))
    pair = compare(program, 2 if outcomes is None else len(program), 100_000)

    assert pair is not None
    assert pair[1].deadlocks == deadlocks
    assert outcomes in (None, len(pair[1].outcomes))


@pytest.mark.parametrize(
    "tasks",
    [
        # Only the last race of each step is turned round.
        [
            [("set", "e"), ("opaque", "x"), ("until", "x")],
            [("skip",), ("wait", "e")],
            [("wait", "e"), ("add", "x", 2), ("set", "e")],
        ],
        # Any step between the two of a race is taken for one that could have come first.
        [
            [("send", "d", 2), ("send", "c", 1)],
            [("notify", "e"), ("set", "e")],
            [("receive", "c"), ("wait", "e"), ("wait", "e")],
        ],
    ],
)
def test_mistakes_that_programs_by_chance_seldom_show(tasks: list[list[Op]]) -> None:
    """Each is one that misses a trace of this program."""
    assert compare(tuple(map(tuple, tasks)), len(tasks), 10_000)


def test_a_task_does_not_race_with_the_one_that_started_it() -> None:
    """Both write, and there is only one order, whoever else could run."""
    program: Program = (
        (("write", "x", 1), ("spawn", 2)),
        (("skip",), ("skip",)),
        (("write", "x", 2),),
    )
    seen = search_all(program, 2, Search())

    assert seen is not None
    assert seen.runs == 1


@pytest.mark.parametrize(
    ("tasks", "traces"),
    [
        ([[("write", name, 1)] * 3 for name in "xyz"], 1),
        ([[("read", "x")] * 3] * 3, 1),
        ([[("write", "x", 1)], [("write", "x", 2)]], 2),
        ([[("write", "x", 1)], [("read", "x")]], 2),
        ([[("write", "x", n)] for n in range(4)], 24),
        ([[("read", "x"), ("store", "x")]] * 2, 4),
        ([[("acquire", "l"), ("release", "l")]] * 2, 4),
        ([[("opaque", "x")], [("skip",)], [("skip",)]], 4),
        # Three accounts, and from each a transfer to the next: any order of the two steps at each
        # account, but for the one in which every step waits for the one before it in a circle.
        ([[("add", a, -1), ("add", b, 1)] for a, b in ("xy", "yz", "zx")], 7),
        # Who waits is woken by a step that it can't come before.
        ([[("wait", "e"), ("read", "x")], [("write", "x", 1), ("set", "e")]], 2),
        # The second write comes after time passed, and nothing can run by then.
        ([[("write", "x", 1)], [("sleep", 1), ("write", "x", 2)]], 1),
    ],
)
def test_known_programs_have_as_many_traces_as_they_should(
    tasks: list[list[Op]], traces: int
) -> None:
    """Each is run once, and nothing else is run."""
    seen = found(*tasks)

    assert (seen.runs, len(seen.traces)) == (traces, traces)


@pytest.mark.parametrize("noise", [0, 1, 3, 30])
def test_noise_adds_no_runs(noise: int) -> None:
    """A lost wake-up and a check-then-act race are found in as few runs, however long the tasks."""
    skips = noise * [("skip",)]
    waiter = [*skips, ("read", "x"), *skips, ("when", 0, "wait", "e"), *skips]
    setter = [*skips, ("write", "x", 1), *skips, ("notify", "e"), *skips]
    lost = found(waiter, setter)
    race = found(*2 * [[*skips, ("read", "x"), *skips, ("store", "x"), *skips]])

    assert (lost.runs, lost.deadlocks) == (3, 1)
    assert (race.runs, len(race.outcomes)) == (4, 3)


def test_a_full_search_is_much_longer() -> None:
    """The same lost wake-up, with one step of noise at each place, in every order."""
    skip: Op = ("skip",)
    waiter: tuple[Op, ...] = (skip, ("read", "x"), skip, ("when", 0, "wait", "e"), skip)
    setter: tuple[Op, ...] = (skip, ("write", "x", 1), skip, ("notify", "e"), skip)
    full = search_all((waiter, setter), 2, Search(reduce=False))

    assert full is not None
    assert full.runs > 150
    assert full.deadlocks == 1


def test_a_run_that_only_repeats_is_known_for_one() -> None:
    """All tasks that can go on sleep: it counts apart, and no trace is missed for it."""
    program: Program = (
        (("send", "d", 0),),
        (("send", "d", 0), ("acquire", "l")),
        (("acquire", "l"),),
        (("send", "d", 0), ("write", "x", 1)),
    )
    full = search_all(program, 4, Search(reduce=False))
    reduced = search_all(program, 4, Search())

    assert full is not None
    assert reduced is not None
    assert reduced.traces == full.traces
    assert (reduced.runs, reduced.useful) == (10, len(full.traces))


def schedules(program: Program, search: Search) -> list[tuple[tuple[Place, ...], int]]:
    """Return the tasks of each run in order, and how many preemptions it had."""
    all_of_them: list[tuple[tuple[Place, ...], int]] = []
    while not search.is_complete:
        toy, _ = run(program, len(program), search)
        search.finish()
        order = [place for place, _ in toy.choices]
        pairs = pairwise(toy.choices)
        count = sum(a != b and a in runnable for (a, _), (b, runnable) in pairs)
        all_of_them.append((tuple(order), count))
    return all_of_them


@pytest.mark.parametrize("bound", range(5))
def test_a_bound_leaves_all_schedules_with_so_few_preemptions(bound: int) -> None:
    """They are those of the full search that have no more, each once."""
    program: Program = (
        (("read", "x"), ("acquire", "l"), ("store", "x"), ("release", "l")),
        (("acquire", "l"), ("add", "x", 2), ("release", "l")),
        (("until", "x"), ("skip",)),
    )
    every = schedules(program, Search(reduce=False))
    bounded = schedules(program, Search(reduce=False, bound=bound))

    assert max(count for _, count in every) > 4
    assert len(set(bounded)) == len(bounded)
    assert set(bounded) == {(order, count) for order, count in every if count <= bound}


def step(search: Search, runnable: Sequence[Place], *names: str) -> Place:
    """Have the chosen task write *names*."""
    task = runnable[search.choose(runnable)]
    search.ran(frozenset(Touch(what, write=True) for what in names))
    return task


def begun() -> Search:
    """Return a search of two tasks that write x, the first run of it being over."""
    search = Search()
    assert step(search, [(0,), (1,)], "x") == (0,)
    assert step(search, [(1,)], "x") == (1,)
    search.finish()
    return search


def test_a_run_goes_as_the_search_says() -> None:
    """Two writers: the second run is the other way round, and the last."""
    search = begun()
    assert not search.is_complete
    assert step(search, [(0,), (1,)], "x") == (1,)
    assert step(search, [(0,)], "x") == (0,)
    search.finish()

    assert search.is_complete


def longer() -> Search:
    """Return a search whose second run is to differ from the first at its second step."""
    search = Search()
    for runnable in ([(0,)], [(0,), (1,)], [(1,)]):
        step(search, runnable, "x")
    search.finish()
    return search


def test_other_tasks_than_before_are_an_error() -> None:
    """The scenario is not deterministic."""
    with pytest.raises(Diverged, match=r"step 0: \(2,\) could run, where .* before: \(0,\), \(1,"):
        begun().choose([(2,)])
    with pytest.raises(Diverged, match=r"step 0: .*\(1,\) could run once time had passed, where"):
        begun().choose([(0,), (1,)], waited=True)


def test_another_step_than_before_is_an_error() -> None:
    """Keys have to be equal in every run, and so has what a step does."""
    with pytest.raises(Diverged, match=r"\(0,\) touched 'y' \(write\) .*: touched 'x' \(write\)"):
        step(longer(), [(0,)], "y")
    search = longer()
    search.choose([(0,)])
    with pytest.raises(Diverged, match=r"and woke \(0, 0\), where .* and woke nobody; only a scen"):
        search.ran(frozenset([Touch("x", write=True)]), woke=[(0, 0)])


def test_an_earlier_end_than_before_is_an_error() -> None:
    """Where another run with the same choices went on."""
    search = longer()
    step(search, [(0,)], "x")
    with pytest.raises(Diverged, match=r"step 1: the run was over, where .* before: it went on"):
        search.finish()


def test_misuse_is_refused() -> None:
    """With what to do instead."""
    with pytest.raises(ValueError, match="bound must be an int >= 0 or None, not -1"):
        Search(reduce=False, bound=-1)
    with pytest.raises(
        ValueError, match=r"bound=2 can't be had with reduce=True: .* write reduce="
    ):
        Search(bound=2)
    search = Search()
    with pytest.raises(ValueError, match="runnable must have at least one task"):
        search.choose([])
    with pytest.raises(RuntimeError, match=r"ran\(\) is for a step that choose\(\) has chosen"):
        search.ran(None)
    search.choose([(0,)])
    with pytest.raises(RuntimeError, match=r"say with ran\(\) what step 0 did before the next"):
        search.choose([(0,)])
    with pytest.raises(RuntimeError, match=r"say with ran\(\) what step 0 did before finish"):
        search.finish()
    search.ran(None)
    search.finish()
    assert search.is_complete
    with pytest.raises(RuntimeError, match="the search is complete; make another"):
        search.choose([(0,)])


def test_a_task_woken_by_nobody_known_is_no_loss() -> None:
    """Where it could not have come first, all that could run are tried, and both orders seen."""
    search = Search()
    orders: list[list[Place]] = []
    while not search.is_complete:
        # (2,) can run once any other did, but nobody says so; it writes what (0,) writes.
        waiting, order = [(0,), (1,)], list[Place]()
        while waiting:
            order.append(waiting.pop(search.choose(waiting)))
            writes = order[-1] != (1,)
            search.ran(frozenset([Touch("x", write=True)] if writes else []))
            if len(order) == 1:
                waiting.insert(0, (2,))
        search.finish()
        orders.append(order)

    assert [(0,), (2,), (1,)] in orders
    assert [(1,), (2,), (0,)] in orders
