"""The benchmarks run, and their table says what it should; none of this measures anything."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.bench import bench_llm, bench_runtime, llm_ways, table

PROGRAMS = [program for row in table.ROWS.values() for program in row]


@pytest.mark.parametrize("name", bench_runtime.TESTS)
async def test_a_benchmark_handles_what_it_sends(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each runs with small figures, through its own checks, and prints its rates as JSON."""
    _work, full = bench_runtime.TESTS[name]

    await bench_runtime.main(name, **{key: min(value, 30) for key, value in full.items()})

    printed = json.loads(capsys.readouterr().out)
    assert (printed["peer"], printed["test"]) == ("greenroom", name)
    assert "left_out" in printed or min(printed["value"], printed["cpu_value"]) > 0


def test_every_program_of_the_table_is_there() -> None:
    """Each row begins with a benchmark of ours; scripts exist, and peers have pinned versions."""
    names = {row[0].command[1] for row in table.ROWS.values()}

    assert {row[0].command[0] for row in table.ROWS.values()} == {"bench_runtime.py"}
    assert names <= set(bench_runtime.TESTS)
    for program in PROGRAMS:
        assert (table.HERE / program.command[0]).is_file()
        if program.peer is not None:
            pins = (table.HERE / "requirements" / f"{program.peer}.txt").read_text().splitlines()
            assert all(len(pin.split("==")) == 2 for pin in pins), pins


def test_baselines_are_as_they_were_given() -> None:
    """They are the denominators of every ratio, so none may change unnoticed."""
    digest = hashlib.sha256()
    for file in sorted((table.HERE / "baselines").glob("*.*")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())

    assert digest.hexdigest() == "3b6c779379ab2a78cf6f01c97bae759024a19bf94079b242d66c2947986dcf7d"


def figures(*, wall: float, cpu: float) -> table.Figures:
    return {"value": wall, "cpu_value": cpu}


def test_ratios_are_taken_within_a_round() -> None:
    """The median is of the rounds' ratios: a slow hour that hits both programs leaves it alone."""
    programs = (table.ours("tell"), table.plain("plain", "tell", 0.8))
    rounds = [
        {"greenroom": figures(wall=ours, cpu=ours), "trio plain": figures(wall=1.0, cpu=theirs)}
        for ours, theirs in ((60.0, 100.0), (8.0, 10.0), (90.0, 100.0))
    ]

    first, second = table.lines_of("tell", programs, rounds)

    assert first.split() == ["tell", "greenroom", "60", "60"]
    assert second.endswith("1         100  60.00   0.80    0.60 to 0.90      0.8 ok")


@pytest.mark.parametrize(("size", "said"), [(8_000, "ok"), (8_001, "short")])
def test_an_idle_actor_has_its_goal_in_bytes(size: int, said: str) -> None:
    """The row that says how much memory an actor takes says whether that is little enough."""
    programs = (table.ours("spawn"), table.plain("plain", "spawn", 0.4))
    found = {program.who: figures(wall=1, cpu=1) for program in programs}
    found["greenroom"]["rss_per_actor_B"] = size

    *_, last = table.lines_of("spawn", programs, [found])

    assert last.split()[2:] == [f"{size:,}", "bytes", "for", "an", "idle", "actor", "8000", said]


def test_the_table_leaves_out_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without the environment of a peer its row stands all the same, and says how to make it."""
    asked: list[str] = []

    def measure(program: table.Program) -> table.Figures:
        asked.append(program.who)
        return figures(wall=1, cpu=1)

    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "measure", measure)
    file = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["table.py", "pipe", "--rounds=2", f"--json={file}"])

    table.main()

    assert asked == ["greenroom", "trio batch", "trio batch", "greenroom"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "left out: autogen, pipecat, pykka; install with: "
        "python tests/bench/peers.py autogen pipecat pykka"
    )
    assert len(json.loads(file.read_text())["rounds"]["pipe"]) == 2


def test_an_unknown_row_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which rows there are."""
    monkeypatch.setattr(sys, "argv", ["table.py", "tel"])

    with pytest.raises(SystemExit):
        table.main()

    assert "no row is named tel; there are: tell, tell_nowait" in capsys.readouterr().err


@pytest.mark.parametrize("tls", [False, True])
async def test_each_way_of_ours_reads_a_whole_answer(tls: bool) -> None:
    """What is divided by is read to its end, and the first text is told of once."""
    firsts: list[str] = []
    with llm_ways.serving() as server:
        at = server.at(5, 2, tls=tls)
        for name in ("stream", "actor") if tls else ("stream", "actor", "raw"):
            async with llm_ways.WAYS[name](at) as read:
                assert await read(partial(firsts.append, name)) == 5
    assert firsts == ["stream", "actor"] if tls else ["stream", "actor", "raw"]


@pytest.mark.parametrize(("sdk", "said"), [(30.0, "ok"), (29.0, "short")])
def test_a_stream_has_its_goals(sdk: float, said: str) -> None:
    """A goal is held against the median of the rounds' ratios."""
    rounds = [{"SDK": each, "stream": 2.0} for each in (sdk, 10.0, 90.0)]

    assert bench_llm.times_less(15).line(rounds).split()[-1] == said
