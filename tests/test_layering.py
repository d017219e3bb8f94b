"""
Who may import whom: a file imports only from rows above its own (docs/contributing.md).

The two tables below are those rows, first to last. What is on the same line of the design is put
in an order here, so that there is one answer for every pair. ``__init__`` is where the package
offers its public names: rows above it never import the package itself, rows below may.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent

ROWS = {
    "runtime": (
        *("errors", "probes", "frames", "codec", "events", "accounts"),  # values
        *("lifecycle", "restart", "waits", "groups"),  # decisions; groups is pure as well
        *("alarms", "stacks", "shared"),  # what the actors of one runtime share
        *(
            "routes",
            "envelope",
            "mailbox",
            "topic",
            "intake",
            "turn",
            "cell",
            "stream",
            "ref",
            "options",
            "actor",
            "helpers",
            "context",
            "outcomes",
            "loop",
            "incarnation",
        ),  # one actor
        *(
            "names",
            "supervisor",
            "supervisor_actor",
            "inspection",
            "pipeline",
            "system",
        ),  # many actors
        *("guest", "__init__", "journal", "cluster", "testing"),  # edges
    ),
    "actors": (
        *("wire", "llm", "tools", "agent", "__init__"),
        *("understudy", "local", "telemetry", "serve", "testing", "demo", "cli"),
    ),
}

# Tables and pure functions, which leave doing to others.
WITHOUT_TRIO = (
    *("runtime/lifecycle.py", "runtime/restart.py", "runtime/waits.py", "runtime/testing/dpor.py"),
    *("actors/llm/assembly.py", "actors/llm/thinking.py", "actors/llm/responses_events.py"),
    "actors/agent/transcript.py",
)

# The one file that meets the other event loop.
WITH_ASYNCIO = ("runtime/guest.py",)


@attrs.frozen
class Import:
    """One imported name."""

    file: str
    """Path below the root."""

    line: int
    """Number of the line, from 1."""

    text: str
    """The line itself."""

    target: str
    """The module imported, or imported from."""

    name: str | None
    """The name imported from it; None where the module itself is imported."""

    def refused(self, reason: str) -> str:
        return f"{self.file}:{self.line}: {self.text.strip()!r}: {reason}"


def module_of(file: str) -> str:
    """Return the import name of the module in *file*, a path below the root."""
    return "greenroom." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def row_of(module: str) -> tuple[str, str]:
    """Return the package (runtime or actors) and the row of *module*."""
    _, package, *rest = module.split(".")
    return package, rest[0] if rest else "__init__"


class Tree:
    """The source tree under *root*, and what is wrong with its imports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(
            file.relative_to(root).as_posix() for top in ROWS for file in (root / top).rglob("*.py")
        )
        self.modules = {module_of(file) for file in self.files}

    def imports(self, file: str) -> Iterator[Import]:
        """Yield what *file* imports, wherever in it that stands."""
        source = (self.root / file).read_text()
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(file, node.lineno, lines[node.lineno - 1], alias.name, None)
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                for alias in node.names:
                    whole = f"{module}.{alias.name}"
                    is_module = whole in self.modules and not self.offers(module, alias.name)
                    target, name = (whole, None) if is_module else (module, alias.name)
                    yield Import(file, node.lineno, lines[node.lineno - 1], target, name)

    def offers(self, package: str, name: str) -> bool:
        """Tell whether *name* is a public name of *package*, though a module in it has that too."""
        home = self.root / package.removeprefix("greenroom.").replace(".", "/") / "__init__.py"
        return home.exists() and name in public_names(home)

    def violations(self) -> Iterator[str]:
        """Yield a line for each import, file or circle that breaks a rule."""
        edges: dict[str, set[str]] = {}
        for file in self.files:
            package, row = row_of(module_of(file))
            if row not in ROWS[package]:
                yield f"{file}: has no row; give it one in tests/test_layering.py"
                continue
            for found in self.imports(file):
                if reason := self.why_not(file, found):
                    yield found.refused(reason)
                elif found.target in self.modules:
                    edges.setdefault(module_of(file), set()).add(found.target)
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            yield f"circle of imports: {' <- '.join(error.args[1])}"

    def why_not(self, file: str, found: Import) -> str | None:
        """Return why *file* may not import *found*; None if it may."""
        top = found.target.split(".")[0]
        if found.target.startswith("."):
            return "is relative; write the absolute name"
        if top in ROWS:
            return f"write greenroom.{top}"
        if top == "asyncio" and file not in WITH_ASYNCIO:
            return "only runtime/guest.py may import asyncio"
        if top == "trio" and file in WITHOUT_TRIO:
            return "decides only, and may not import trio"
        if top != "greenroom":
            return None
        if found.target not in self.modules:
            return "names no module; write from greenroom.runtime import ... or the module's name"
        return self.why_not_above(file, found)

    def why_not_above(self, file: str, found: Import) -> str | None:
        """Return why the greenroom module of *found* is not for *file*; None if it is."""
        package, row = row_of(module_of(file))
        other, target_row = row_of(found.target)
        if package == "actors" and other == "runtime":
            return self.why_not_public(found)
        if package != other:
            return "the runtime knows nothing of models"
        order = ROWS[package]
        if target_row not in order:
            return f"{target_row} has no row; give it one in tests/test_layering.py"
        if order.index(target_row) > order.index(row):
            return f"{target_row} stands below {row}"
        if row == target_row and file == f"{package}/{row}/__init__.py":
            return None
        if found.target == f"greenroom.{package}.{row}" and found.target != module_of(file):
            return "write the module itself, not the package that this file is part of"
        return None

    def why_not_public(self, found: Import) -> str | None:
        """Return why *found* is no public name of the runtime; None if it is."""
        if found.name is None:
            return "write from greenroom.runtime import ..."
        home = self.root / "runtime" / "/".join(found.target.split(".")[2:]) / "__init__.py"
        if not home.exists():
            return "only greenroom.runtime and its packages are public, not their modules"
        if found.name not in public_names(home):
            return f"{found.name} is not in __all__ of {found.target}"
        return None


def public_names(file: Path) -> set[str]:
    """Return the names that ``__all__`` in *file* lists."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def test_files_import_only_from_rows_above() -> None:
    """No import in runtime/ or actors/ breaks a rule; the offending lines are listed."""
    broken = list(dict.fromkeys(Tree(ROOT).violations()))  # a line may import many names

    assert not broken, "\n" + "\n".join(broken)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A small tree that breaks no rule."""
    plant(
        tmp_path, "runtime/__init__.py", "from greenroom.runtime.ref import Ref\n__all__ = ['Ref']"
    )
    plant(tmp_path, "runtime/frames.py", "import attrs")
    plant(tmp_path, "runtime/lifecycle.py", "")
    plant(tmp_path, "runtime/ref.py", "import trio\nfrom greenroom.runtime.frames import Frame")
    plant(tmp_path, "runtime/testing/__init__.py", "__all__ = ['sweep']")
    plant(tmp_path, "actors/__init__.py", "from greenroom.actors.llm import LLM")
    plant(tmp_path, "actors/llm/__init__.py", "from greenroom.actors.llm.actor import LLM")
    plant(tmp_path, "actors/llm/actor.py", "from greenroom.actors.llm.assembly import Assembly")
    plant(tmp_path, "actors/llm/assembly.py", "from greenroom.runtime import Ref")
    plant(tmp_path, "actors/wire/__init__.py", "")
    plant(tmp_path, "actors/wire/pipe.py", "import trio")
    return tmp_path


def plant(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_a_tree_that_breaks_no_rule_passes(planted: Path) -> None:
    """The rows, public names and packages of the planted tree are all allowed."""
    assert list(Tree(planted).violations()) == []


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("runtime/frames.py", "from greenroom.runtime.ref import Ref", "ref stands below frames"),
        ("runtime/frames.py", "from greenroom.runtime import Ref", "__init__ stands below frames"),
        ("runtime/ref.py", "from greenroom.actors.llm import LLM", "knows nothing of models"),
        ("runtime/ref.py", "def f():\n    from greenroom.runtime.testing import x", "stands below"),
        ("runtime/ref.py", "from . import frames", "is relative"),
        ("runtime/ref.py", "from .frames import Frame", "is relative"),
        ("runtime/ref.py", "import runtime.frames", "write greenroom.runtime"),
        ("runtime/ref.py", "import asyncio", "only runtime/guest.py"),
        ("runtime/ref.py", "import greenroom", "names no module"),
        ("runtime/lifecycle.py", "import trio", "may not import trio"),
        ("runtime/lifecycle.py", "from trio.lowlevel import Task", "may not import trio"),
        ("runtime/odd.py", "", "has no row"),
        ("actors/llm/assembly.py", "from trio import Event", "may not import trio"),
        ("actors/wire/pipe.py", "from asyncio import Event", "only runtime/guest.py"),
        ("actors/wire/pipe.py", "from greenroom.actors.llm import LLM", "llm stands below wire"),
        ("actors/wire/pipe.py", "from greenroom.runtime import Cell", "Cell is not in __all__"),
        ("actors/wire/pipe.py", "from greenroom.runtime.ref import Ref", "not their modules"),
        ("actors/wire/pipe.py", "from greenroom.runtime.testing import x", "x is not in __all__"),
        ("actors/wire/pipe.py", "import greenroom.runtime", "write from greenroom.runtime"),
        ("actors/wire/pipe.py", "from greenroom import runtime", "write from greenroom.runtime"),
        ("actors/wire/pipe.py", "from greenroom.actors.wire import x", "write the module itself"),
        ("actors/llm/assembly.py", "import greenroom.actors.llm.actor", "circle of imports"),
    ],
)
def test_a_planted_violation_is_found(planted: Path, file: str, source: str, reason: str) -> None:
    """Each kind of forbidden import is reported, once, with its file and the reason."""
    plant(planted, file, source)

    (found,) = Tree(planted).violations()

    assert reason in found
    assert file in found or module_of(file) in found
    assert reason in ("has no row", "circle of imports") or source.splitlines()[-1].strip() in found
