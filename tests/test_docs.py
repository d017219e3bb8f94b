"""The pages say what is so: their code runs, and the numbers that tests cite stand in them."""

import ast
import doctest
import importlib
import re
import tomllib
from pathlib import Path
from typing import get_args

import attrs
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from greenroom.runtime import Event

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]
MODULES = sorted(
    f"greenroom.{file.relative_to(ROOT).with_suffix('').as_posix()}".replace("/", ".")
    for folder in ("runtime", "actors")
    for file in (ROOT / folder).rglob("*.py")
    if ">>> " in file.read_text()
)


def run_code_blocks(page: Path) -> int:
    """Run the Python blocks of *page* in order, and return how many there were."""
    examples = list(Sybil([PythonCodeBlockParser(), SkipParser()]).parse(page).examples())
    for example in examples:
        example.evaluate()
    return len(examples)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs(page: Path) -> None:
    """Each Python block of a page runs, after the ones above it."""
    assert run_code_blocks(page) > 0


def test_a_wrong_claim_on_a_page_fails(tmp_path: Path) -> None:
    """A page whose code asserts what is not so does not pass."""
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")

    with pytest.raises(AssertionError):
        run_code_blocks(page)


def test_the_examples_in_docstrings_hold() -> None:
    """Each ``>>>`` in a docstring gives what stands below it."""
    failed = [name for name in MODULES if doctest.testmod(importlib.import_module(name)).failed]

    assert failed == []


def first_block(page: str, language: str) -> str:
    """Return the text of the first block of *language* in *page*."""
    found = re.search(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_readme_starts_with_the_two_commands() -> None:
    """The first thing in the README is how to run the demo and the tests."""
    lines = README.read_text().splitlines()

    assert [line.split("  #")[0].strip() for line in lines[2:6]] == [
        "```sh",
        "make demo",
        "make test",
        "```",
    ]


def test_readme_example_is_the_tested_program() -> None:
    """The README's example is examples/greeter.py, and prints what its twin says."""
    page = README.read_text()
    in_readme = ast.parse(first_block(page, "python")).body
    _docstring, *program = ast.parse((ROOT / "examples/greeter.py").read_text()).body

    assert [ast.dump(node) for node in in_readme[:-1]] == [ast.dump(node) for node in program[:-1]]
    assert ast.unparse(in_readme[-1]) == "trio.run(main)"
    assert first_block(page, "text") == (ROOT / "examples/greeter.out").read_text()


def test_every_promise_and_rule_has_its_place() -> None:
    """The page of promises has I1-I13 and R1-R30, each once, in order."""
    page = (ROOT / "docs/promises.md").read_text()
    numbers = re.findall(r"^### ([IR]\d+) ", page, re.MULTILINE)

    assert numbers == [f"I{n}" for n in range(1, 14)] + [f"R{n}" for n in range(1, 31)]


def test_the_table_of_events_is_complete() -> None:
    """The page on inspection has each event with all its fields."""
    rows = (ROOT / "docs/inspection.md").read_text().splitlines()

    for kind in get_args(Event):
        names = [field.name for field in attrs.fields(kind) if field.name not in ("at", "actor")]
        (row,) = [row for row in rows if row.startswith(f"| `{kind.__name__}` |")]
        assert row.endswith(f"| {', '.join(f'`{name}`' for name in names)} |"), row


def test_every_page_is_in_the_index() -> None:
    """A page that no toctree names would be found by nobody."""
    index = (ROOT / "docs/index.md").read_text().splitlines()

    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in {"index", *index}, page.name


def test_news_fragments_are_named_for_the_changelog() -> None:
    """A fragment of an unknown type, or of several lines, would not become one entry."""
    towncrier = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    types = "|".join(kind["directory"] for kind in towncrier["type"])

    for fragment in (ROOT / "docs/news").iterdir():
        assert re.fullmatch(rf"\+?\w+\.({types})(\.\d+)?\.md", fragment.name), fragment.name
        assert len(fragment.read_text().splitlines()) == 1, fragment.name


def test_the_tests_that_the_table_of_behaviours_names_exist() -> None:
    """Each row names what holds it, and a test that was renamed is not left behind."""
    page = (ROOT / "docs" / "model-behaviours.md").read_text()
    rows = re.findall(r"^\| (a\d+) \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    code = "\n".join(path.read_text() for path in (ROOT / "tests" / "actors" / "llm").rglob("*.py"))

    assert [row for row, _ in rows] == [f"a{number}" for number in range(1, 32)]
    for row, held_by in rows:
        names = re.findall(r"`(test_\w+)`", held_by)
        assert names, row
        for name in names:
            assert f"def {name}(" in code, (row, name)
