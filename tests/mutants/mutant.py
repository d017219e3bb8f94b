"""
`Mutant`: a source text with one small change, as the operators of mutmut make it.

All mutants of a file are made, those left out by `is_left_out` excepted, which change nothing that
a program sees: texts for people, types, and declarations.
"""

import hashlib
from collections import Counter

import attrs
import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider
from mutmut.mutation.mutators import mutation_operators

DECLARATIONS = {"__all__", "__slots__"}
LEFT_OUT_CALLS = {"len", "isinstance"}  # as mutmut itself has it
MESSAGE_CALLS = {"MailboxFull", "IllegalMove"}  # besides what ends with Error
NAMES = {"name", "thread_name"}  # keywords of start_soon, and of to_thread.run_sync


@attrs.frozen
class Mutant:
    """A source text with one change, and what the change is."""

    key: str
    """Eight hexadecimal digits, the same as long as the function and the changed lines are."""
    line: int
    function: str
    old: str
    new: str
    source: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"`{self.key}` line {self.line} `{self.function}`: `{self.old}` -> `{self.new}`"


def mutants_of(source: str) -> list[Mutant]:
    """Return the mutants of *source*, in the order of their lines."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    finder = _Finder()
    wrapper.visit(finder)
    seen = {source}
    keys: Counter[str] = Counter()
    mutants: list[Mutant] = []
    for function, old_node, new_node in finder.changes:
        changed = wrapper.module.deep_replace(old_node, new_node)
        assert isinstance(changed, cst.Module)
        text = changed.code
        if text in seen or not _compiles(text):
            continue
        seen.add(text)
        line, old, new = _difference(source, text)
        name = f"{function}\0{old}\0{new}"
        keys[name] += 1
        key = hashlib.sha256(f"{name}\0{keys[name]}".encode()).hexdigest()[:8]
        mutants.append(Mutant(key, line, function, old, new, text))
    return sorted(mutants, key=lambda mutant: mutant.line)


class _Finder(cst.CSTVisitor):
    """Collects (function, node, what may stand in its place)."""

    METADATA_DEPENDENCIES = (ParentNodeProvider,)

    def __init__(self) -> None:
        self.changes: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if is_left_out(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                function = ".".join(self._names)
                self.changes += [
                    (function, node, new) for new in operator(node) if not _is_for_people(node, new)
                ]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()


def is_left_out(node: cst.CSTNode) -> bool:
    """Tell whether neither *node* nor what is in it is to be changed."""
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom():
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name in DECLARATIONS
        case cst.Param(default=default):  # as mutmut: others could fail at the import
            return not isinstance(default, cst.Name | cst.BaseNumber | cst.BaseString | None)
        case cst.SimpleString(value=text):
            return " " in text  # a sentence
        case cst.Call(func=cst.Name(value=name)):
            return name in LEFT_OUT_CALLS | MESSAGE_CALLS or name.endswith("Error")
        case cst.Call(func=cst.Attribute(value=cst.Name(value="_log"))):
            return True
        case cst.Arg(keyword=cst.Name(value=name)):
            return name in NAMES
        case _:
            return False


def _is_for_people(node: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Tell whether only the name of a task or thread, or the type of a cast, is changed."""
    if not (isinstance(node, cst.Call) and isinstance(new, cst.Call)):
        return False
    if isinstance(node.func, cst.Name) and node.func.value == "cast":
        return True
    old_rest, new_rest = (
        [arg for arg in call.args if arg.keyword is None or arg.keyword.value not in NAMES]
        for call in (node, new)
    )
    return old_rest == new_rest and node.func is new.func


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _difference(source: str, text: str) -> tuple[int, str, str]:
    """Return the number of the first line that differs, and the differing lines of both."""
    old, new = source.splitlines(), text.splitlines()
    shorter = min(len(old), len(new))
    first = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    last = next((n for n in range(shorter - first) if old[-1 - n] != new[-1 - n]), shorter - first)
    return first + 1, _flat(old[first : len(old) - last]), _flat(new[first : len(new) - last])


def _flat(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
