"""Plans read and write as one line, and policies choose as they say."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.testing.control import Fifo, Pct, Random, policy_of
from greenroom.runtime.testing.plan import Fault, Plan

names = st.from_regex(r"[a-z0-9_#~./-]{1,12}", fullmatch=True)
positions = st.integers(0, 10_000)
faults = st.one_of(
    st.builds(Fault, st.just("cancel"), positions, names),
    st.builds(Fault, st.just("raise"), positions, names),
    st.builds(Fault, st.just("call"), positions, names),
    st.builds(Fault, st.just("fail"), positions, names),
    st.builds(Fault, st.just("crash"), positions, st.sampled_from(["", "torn"])),
    st.builds(Fault, st.just("interrupt"), positions),
    st.builds(
        Fault, st.just("jump"), positions, seconds=st.sampled_from([0.5, 1.0, 5.0, 1e6, 0.001])
    ),
)
plans = (
    st.builds(
        Plan,
        st.lists(faults, max_size=4).map(tuple),
        st.lists(st.tuples(positions, st.integers(0, 9)), max_size=3).map(tuple),
        st.just("fifo"),
        mode=st.sampled_from(["one", "batch", "public", "live"]),
    )
    | st.builds(Plan, policy=st.just("random"), seed=positions, skew=st.floats(0, 1e3))
    | st.builds(
        Plan,
        policy=st.just("pct"),
        seed=positions,
        depth=st.integers(1, 9),
        steps=st.integers(1, 999),
    )
)


@given(plans)
def test_a_plan_is_what_it_says(plan: Plan) -> None:
    """`parse` of what `str` writes is the plan again."""
    assert Plan.parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cancel@3", "cancel needs a target: write cancel(root)@3"),
        ("interrupt(root)@3", "interrupt has no target"),
        ("jump@3", "needs its seconds"),
        ("jump(-1)@3", "needs its seconds"),
        ("explode(root)@3", "'explode(root)@3' is no fault"),
        ("cancel(root)", "is no fault"),
        ("preempt 3", "'3' is no preemption; write step:index"),
        ("crash(soon)@3", "a crash is plain or torn, not 'soon': write crash(torn)@3"),
        ("skew", "'skew' needs one number of seconds; write 'skew 1'"),
        ("skew -1", "skew must be a number of seconds >= 0, not -1.0"),
        ("batch 3", "'batch' is no fault"),
        ("random", "'random' needs 1 numbers"),
        ("pct 3", "'pct 3' needs 3 numbers"),
    ],
)
def test_what_is_no_plan_says_why(text: str, message: str) -> None:
    """A mistake in a pasted line is named."""
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Plan.parse(text)


def test_fifo_goes_on_with_the_same_task() -> None:
    """As long as it can, and then with the one that waited longest."""
    policy = Fifo()

    assert [
        policy.choose(n, tasks) for n, tasks in enumerate([[5, 6], [6, 5], [7, 6], [6, 7]])
    ] == [*(0, 1, 0, 1)]


def test_chance_comes_from_the_seed() -> None:
    """The same seed chooses the same; all tasks are chosen in the long run."""
    tasks = [1, 2, 3]
    first, again, other = (
        [policy.choose(n, tasks) for n in range(300)] for policy in map(Random, (1, 1, 2))
    )

    assert first == again != other
    assert set(Counter(first)) == {0, 1, 2}


def test_pct_changes_its_mind_at_few_steps() -> None:
    """With depth 3 there are 2 steps at which another task goes on than before, by chance."""
    steps: set[int] = set()
    firsts: set[int] = set()
    for seed in range(50):
        policy = Pct(seed, 3, 100)
        chosen = [policy.choose(n, [1, 2, 3]) for n in range(100)]
        changes = [n for n, (a, b) in enumerate(pairwise(chosen), 1) if a != b]

        assert len(changes) == 2  # seeds that draw one step twice have fewer; none of these does
        assert sorted({chosen[0], *(chosen[n] for n in changes)}) == [0, 1, 2]
        steps.update(changes)
        firsts.add(chosen[0])

    assert firsts == {0, 1, 2}
    assert len(steps) > 50


def test_pct_of_depth_1_never_changes_its_mind() -> None:
    """It has the order of the priorities alone, which come from the seed."""
    policies = [Pct(seed, 1, 100) for seed in range(50)]
    chosen = [{policy.choose(n, [1, 2, 3]) for n in range(100)} for policy in policies]

    assert {len(indexes) for indexes in chosen} == {1}
    assert set[int]().union(*chosen) == {0, 1, 2}


def test_a_preemption_is_one_other_choice() -> None:
    """At the step that is said; the plain order then goes on with the task that came by it."""
    turns = ((2, 1), (4, 7))
    tasks = [[1, 2]] * 6

    def chosen(plan: Plan) -> list[int]:
        policy = policy_of(plan)
        return [policy.choose(step, runnable) for step, runnable in enumerate(tasks)]

    assert chosen(Plan()) == [0, 0, 0, 0, 0, 0]
    assert chosen(Plan(preempt=turns)) == [0, 0, 1, 1, 1, 1]
    assert chosen(Plan(preempt=(*turns, (5, 0)))) == [0, 0, 1, 1, 1, 0]
    by_chance = chosen(Plan(policy="random", seed=3))
    assert chosen(Plan(preempt=turns, policy="random", seed=3)) == [
        *by_chance[:2],
        1,
        *by_chance[3:4],
        1,
        *by_chance[5:],
    ]
