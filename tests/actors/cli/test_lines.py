"""Lines from a file descriptor."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from greenroom.actors.cli.lines import Lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends are closed at the end, if they are still open."""
    ours, theirs = os.pipe()
    yield ours, theirs
    for end in (ours, theirs):
        try:
            os.close(end)
        except OSError:
            continue


async def test_lines_come_whole_however_they_are_written(pipe: tuple[int, int]) -> None:
    """Several lines at once, characters cut in half, and a last line without an end."""
    lines = Lines(pipe[0])
    for part in (b"one\ntw", b"o\n\xc3", b"\xa9\n\nlast \xff"):
        os.write(pipe[1], part)
    os.close(pipe[1])
    with assert_checkpoints():
        first = await lines.next()

    assert [first, *[await lines.next() for _ in range(5)]] == [
        *("one", "two", "é", "", "last �"),
        None,
    ]


async def test_a_cancelled_wait_loses_nothing(pipe: tuple[int, int]) -> None:
    """What came before the cancellation is there afterwards."""
    lines = Lines(pipe[0])
    os.write(pipe[1], b"be")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.next)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    os.write(pipe[1], b"gun\n")

    assert await lines.next() == "begun"


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """A file can't be waited for, and needn't be."""
    (tmp_path / "file").write_text("a\nb")
    lines = Lines(os.open(tmp_path / "file", os.O_RDONLY))

    assert [await lines.next() for _ in range(3)] == ["a", "b", None]


async def test_a_line_without_end_is_refused() -> None:
    """Input that is no text does not fill the memory."""
    lines = Lines(os.open("/dev/zero", os.O_RDONLY))

    with pytest.raises(ValueError, match="longer than 1048576 characters"):
        await lines.next()
