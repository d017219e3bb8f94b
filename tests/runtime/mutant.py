"""
One mutant of the runtime, and what it is to be caught by: ``python -m tests.runtime.mutant``.

Given are a file of the runtime, a text in it and what to put in its place, and then a selection:
``machine``, ``fine machine``, or arguments of pytest. The exit status is 0 if the mutant is not caught.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class Mutate(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, with *old* replaced by *new*."""

    def __init__(self, path: Path, old: str, new: str) -> None:
        self.module = f"greenroom.runtime.{path.stem}"
        self.path = path
        source = path.read_text()
        assert source.count(old) == 1, f"{source.count(old)} times in {path.name}: {old!r}"
        self.source = source.replace(old, new)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.source, str(self.path), "exec"), vars(module))  # noqa: S102 - its own source, with one change


def main(file: str, old: str, new: str, *selection: str) -> int:
    root = Path(__file__).parents[2]
    if old:
        sys.meta_path.insert(0, Mutate(root / "runtime" / file, old, new))
    if selection == ("machine",):
        from hypothesis import Phase

        from tests.runtime.test_machine import drive

        drive(150, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
        return 0
    if selection == ("fine machine",):
        from tests.runtime.test_fine_machine import wander_through

        wander_through(range(80))
        return 0
    import pytest

    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *selection]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
