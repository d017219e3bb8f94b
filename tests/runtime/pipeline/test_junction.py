"""What goes on from parallel branches, decided without any of them."""

from collections import Counter, deque
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from greenroom.runtime import ChildSpec, Frame, handles, open_runtime
from greenroom.runtime.pipeline import Branches, Flush, Stage, open_pipeline
from greenroom.runtime.pipeline.frames import Mark
from greenroom.runtime.pipeline.junction import Junction
from tests.runtime.pipeline.cast import Pass, Text
from tests.runtime.test_soak import sizes


def test_a_frame_goes_on_when_the_first_branch_passes_it_on() -> None:
    """And not when another one does later."""
    junction = Junction(1, 3)
    frame = junction.enter(Text("a"))

    assert [junction.leave(branch, frame) for branch in (2, 0, 1)] == [True, False, False]


def test_a_frame_is_known_by_what_it_is_and_not_by_its_value() -> None:
    """Two equal frames are two, and so is one that is sent twice."""
    junction = Junction(1, 2)
    text = Text("a")
    first, again, equal = junction.enter(text), junction.enter(text), junction.enter(Text("a"))

    assert first is text
    assert again is not text
    assert again == text
    left = [junction.leave(branch, frame) for frame in (first, again, equal) for branch in (0, 1)]
    assert left == [True, False] * 3


def test_a_frame_made_in_a_branch_goes_on() -> None:
    """Whichever branch it comes from, and however often."""
    junction = Junction(1, 2)
    made = Text("made")

    assert [junction.leave(branch, made) for branch in (0, 1, 0)] == [True, True, True]
    assert len(junction) == 0


def test_a_lifecycle_frame_goes_on_once_all_have_passed_it_on() -> None:
    """Two equal ones at the same time are told apart."""
    junction = Junction(1, 2)
    one, two = Flush(1), Flush(1)
    junction.enter(one)
    junction.enter(two)

    assert [junction.leave(0, one), junction.leave(0, two)] == [False, False]
    assert [junction.leave(1, one), junction.leave(1, two)] == [True, True]
    assert junction.leave(1, one)  # its stage was cut off before it was beyond
    junction.forget(one)
    assert junction.leave(1, one) is False  # never entered again


def test_marks_of_another_junction_are_lifecycle_frames() -> None:
    """Nested branches pass the outer marks on, once."""
    inner = Junction(2, 2)
    mark = Mark(1, 64)
    inner.enter(mark)

    assert [inner.leave(branch, mark) for branch in (1, 0)] == [False, True]


def test_what_all_branches_are_done_with_is_forgotten() -> None:
    """After 64 frames a mark is due, and once it has left all, nothing before it is known."""
    junction = Junction(1, 2)
    frames = [junction.enter(Text(str(n))) for n in range(64)]
    assert junction.mark() is None  # they are not in all branches yet
    for frame in frames:
        junction.entered(frame)
    mark = junction.mark()

    assert mark is not None
    assert mark == Mark(1, 64)
    assert junction.mark() is None
    late = junction.enter(Text("late"))
    assert junction.leave(0, mark) is False
    assert len(junction) == 65
    assert junction.leave(1, mark) is False
    assert len(junction) == 1
    assert junction.leave(0, late)
    assert len(frames) == 64


@given(st.data(), st.integers(1, 4), st.integers(0, 300))
def test_each_frame_that_any_branch_passes_on_goes_on_once(
    data: st.DataObject, branches: int, count: int
) -> None:
    """Whatever the branches swallow, pass on or make, in whatever order, within bounds (I2)."""
    swallows = data.draw(st.lists(st.integers(1, 5), min_size=branches, max_size=branches))
    depth = data.draw(st.integers(1, 20))
    rng = data.draw(st.randoms(use_true_random=False))
    junction = Junction(1, branches)
    queues: list[deque[Frame]] = [deque(maxlen=depth + 2) for _ in range(branches)]
    out: list[Frame] = []
    expected: Counter[int] = Counter()
    passed: list[list[int]] = [[] for _ in range(branches)]
    most = 0

    def step(branch: int) -> None:
        frame = queues[branch].popleft()
        if isinstance(frame, Text) and int(frame.text) % swallows[branch] == 0:
            return  # it keeps that
        if isinstance(frame, Text):
            passed[branch].append(int(frame.text))
        if junction.leave(branch, frame):
            out.append(frame)

    same = Text("1")
    for n in range(count):
        while any(len(queue) >= depth for queue in queues):
            step(rng.choice([b for b in range(branches) if queues[b]]))
        frame = junction.enter(same if n % 7 == 0 else Text(str(n)))
        assert isinstance(frame, Text)
        if any(int(frame.text) % keeps for keeps in swallows):
            expected[int(frame.text)] += 1
        for queue in queues:
            queue.append(frame)
        junction.entered(frame)
        if (mark := junction.mark()) is not None:
            for queue in queues:
                queue.append(mark)
        most = max(most, len(junction))
    while any(queues):
        step(rng.choice([b for b in range(branches) if queues[b]]))

    assert Counter(int(frame.text) for frame in out if isinstance(frame, Text)) == expected
    assert len(out) == sum(expected.values())
    assert most <= 64 + depth + 64


def test_a_mark_says_nothing_of_a_frame_that_is_not_in_all_branches_yet() -> None:
    """Two tasks may put at the same time; what one of them still waits with is not forgotten."""
    junction = Junction(1, 2)
    slow = junction.enter(Text("slow"))
    for n in range(64):
        junction.entered(junction.enter(Text(str(n))))
    assert junction.mark() is None
    junction.entered(slow)

    assert junction.mark() == Mark(1, 65)


def test_what_a_branch_has_dropped_is_forgotten_without_its_mark() -> None:
    """Where a full mailbox drops frames, marks among them, nothing grows."""
    junction = Junction(1, 2)
    for n in range(640):
        frame = junction.enter(Text(str(n)))
        junction.entered(frame)
        junction.drop(0, frame)
        assert junction.leave(1, frame)
        if (mark := junction.mark()) is not None:
            junction.drop(0, mark)
            junction.leave(1, mark)
        assert len(junction) <= 64

    assert len(junction) == 0


def test_marks_of_another_junction_that_are_lost_are_forgotten() -> None:
    """The next one to get through says it all."""
    inner = Junction(2, 2)
    marks = [Mark(1, 64 * n) for n in range(1, 4)]
    for mark in marks:
        inner.enter(mark)
    inner.drop(0, marks[0])
    inner.leave(1, marks[1])  # and never leaves the other one
    assert [inner.leave(branch, marks[2]) for branch in (0, 1)] == [False, True]

    assert inner.leave(0, marks[0]) is False
    assert inner.leave(0, marks[1]) is False


@pytest.mark.parametrize("full", ["drop_oldest", "drop_newest"])
async def test_a_branch_that_may_miss_frames_holds_nobody_up(
    autojump_clock: MockClock, full: Any
) -> None:
    """However long it hangs; and a frame that it drops comes out of the others, once (R4)."""

    class Hanging(Stage):
        @handles
        async def text(self, frame: Text) -> None:
            await trio.sleep(100)
            await self.push(frame)

    lossy = ChildSpec(Hanging, full=full, capacity=1)
    out: list[str] = []
    async with (
        open_runtime(drain_grace=500) as runtime,
        open_pipeline(runtime, Pass, Branches([lossy], [Pass])) as pipeline,
    ):
        with pipeline.sink(Text, buffer=1000) as texts:
            for n in range(500):
                await pipeline.send(Text(str(n)))
            assert sizes(pipeline)["Junction._known"] <= 2 * 64
            await trio.sleep(250)
            pipeline.stop()
            out += [text.text async for text in texts]

    assert out == [str(n) for n in range(500)]


def test_a_mark_that_could_not_be_sent_is_due_again() -> None:
    """Who sends it may be cancelled; then it follows the next frame."""
    junction = Junction(1, 2)
    for n in range(64):
        junction.entered(junction.enter(Text(str(n))))
    mark = junction.mark()
    assert mark is not None
    assert junction.mark() is None
    junction.lost(mark)

    assert junction.mark() == mark
