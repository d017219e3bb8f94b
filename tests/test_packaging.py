"""What is shipped: every package, its data and its types; and what importing it may drag in."""

import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"greenroom.runtime": ROOT / "runtime", "greenroom.actors": ROOT / "actors"}

# Installed apart from the package that its folder is in, since importing it must cost nothing.
APART = {"greenroom/runtime/testing/pytest_plugin": "greenroom/pytest_plugin"}

# The modules that only the command uses, and those for tests; they alone may import their extras.
OF_EXTRAS = (
    *("greenroom.actors.cli", "greenroom.actors.demo"),
    *("greenroom.runtime.testing.strategies", "greenroom.runtime.testing.machine"),
    "greenroom.pytest_plugin",
)

# Import names of what the extras bring and the core does not; None in sys.modules bars them.
EXTRAS = (
    *("cyclopts", "rich", "httpx", "hypothesis", "pytest", "sybil", "trustme", "coverage"),
    *("fastapi", "hypercorn", "llama_cpp", "starlette", "trio_asyncio", "uvicorn"),
)


def read_packages() -> list[str]:
    """Return the packages that pyproject.toml lists."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return list(setuptools["packages"])


def shipped_files() -> Iterator[tuple[str, Path]]:
    """Yield each file that belongs into the wheel, with its path there."""
    for package, folder in FOLDERS.items():
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                path = f"{package.replace('.', '/')}/{file.relative_to(folder).as_posix()}"
                parent, _, name = path.rpartition("/")
                yield f"{APART.get(parent, parent)}/{name}", file


def shipped_pages() -> set[str]:
    """Return what of docs/ belongs into the wheel: the pages, and what setuptools adds itself."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "docs/conf.py"]
    return {f"greenroom/docs/{page.name}" for page in pages}


def paths() -> set[str]:
    """Return the path of every shipped file, as it is in the wheel."""
    return {path for path, _ in shipped_files()}


def module_names() -> Iterator[str]:
    """Yield the import name of each module of the two packages."""
    for path, file in shipped_files():
        if file.suffix == ".py":
            yield path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def build(kind: str, source: Path, target: Path) -> Path:
    """Have the build back end make a *kind* of distribution out of *source*, in *target*."""
    made = run_python(
        f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))",
        cwd=source,
    )
    return target / made.splitlines()[-1]


def run_python(program: str, *, cwd: Path = ROOT) -> str:
    """Return what *program* prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_folder_with_an_init_is_listed() -> None:
    """A package that pyproject.toml does not list would silently be missing from the wheel."""
    found = [name for name in module_names() if f"{name.replace('.', '/')}/__init__.py" in paths()]

    assert sorted(read_packages()) == sorted([*found, "greenroom.docs"])


def test_every_folder_with_modules_has_an_init() -> None:
    """A folder without ``__init__.py`` would be a namespace package, and not be shipped."""
    folders = {path.rpartition("/")[0] for path, file in shipped_files() if file.suffix == ".py"}

    assert {folder for folder in folders if f"{folder}/__init__.py" not in paths()} == set()


@pytest.mark.parametrize("package", FOLDERS)
def test_both_packages_are_typed(package: str) -> None:
    """Checkers read the annotations of a package only where they find py.typed."""
    assert f"{package.replace('.', '/')}/py.typed" in paths()


def test_wheel_from_the_sdist_holds_every_file(tmp_path: Path) -> None:
    """A wheel built from the sdist holds every module and data file, and nothing beside them."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in (*FOLDERS.values(), ROOT / "docs"):
        shutil.copytree(folder, source / folder.name, ignore=shutil.ignore_patterns("__pycache__"))

    sdist = build("sdist", source, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    wheel = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == paths() | shipped_pages()


def test_importing_the_core_never_imports_an_extra(tmp_path: Path) -> None:
    """Every module but those for an extra can be imported without any of the extras installed."""
    names = [name for name in module_names() if not name.startswith(OF_EXTRAS)]
    program = (
        "import importlib, json, sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )

    imported = json.loads(run_python(program, cwd=tmp_path))

    assert set(names) <= set(imported)


def test_the_runtime_knows_nothing_of_models(tmp_path: Path) -> None:
    """Importing greenroom.runtime imports neither the actors nor any model library."""
    program = "import json, sys, greenroom.runtime; print(json.dumps(sorted(sys.modules)))"

    imported = json.loads(run_python(program, cwd=tmp_path))

    assert "greenroom.runtime" in imported
    assert not {"greenroom.actors", "openai", "httpx2", "pydantic", "msgspec"} & set(imported)


def test_the_pytest_plugin_costs_nothing(tmp_path: Path) -> None:
    """Loading it, as pytest does in every run, imports nothing of greenroom but itself."""
    program = (
        "import json, pytest, sys\n"
        "before = set(sys.modules)\n"
        "import greenroom.pytest_plugin\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )

    imported = json.loads(run_python(program, cwd=tmp_path))

    assert imported == ["greenroom", "greenroom.pytest_plugin"]


def test_bare_names_are_not_installed(tmp_path: Path) -> None:
    """Outside the repository there is no top-level module called runtime or actors."""
    program = "import importlib.util as u; print(u.find_spec('runtime'), u.find_spec('actors'))"

    assert run_python(program, cwd=tmp_path).split() == ["None", "None"]


def test_the_environment_reads_this_tree() -> None:
    """The greenroom under test is the one beside these tests, not an installed copy."""
    program = "import greenroom.runtime as r; print(r.__file__)"

    assert Path(run_python(program).strip()) == ROOT / "runtime" / "__init__.py"
