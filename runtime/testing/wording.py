"""
The text of a value, equal in every process: what `EventLog` writes.

``repr`` is not: functions and plain objects show their address, and a set comes in the order of its
hashes, which for strings differ from one process to the next.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final, cast

import attrs

__all__ = ["wording"]

_ADDRESS: Final = re.compile(r" at 0x[0-9A-Fa-f]+")
_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})


def wording(value: object) -> str:
    """
    Return *value* as text: much as ``repr`` has it, but without addresses, and with sets sorted.

    Functions and classes are named in full; tuples, lists, mappings, attrs classes, dataclasses and
    exceptions are written out, whatever they hold; all else by its ``repr``.
    """
    return _ADDRESS.sub("", _word(value, ()))


def _word(value: Any, around: tuple[int, ...]) -> str:
    """Return the text of *value*, found inside those *around* it."""
    kind: Any = _kind(value)
    if kind in _PLAIN:
        return repr(value)
    if id(value) in around:
        return "..."
    around = (*around, id(value))
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Enum):
        return f"{kind.__name__}.{value.name}"
    if isinstance(value, functools.partial):
        call = cast("functools.partial[object]", value)
        named = [f"{name}={_word(each, around)}" for name, each in call.keywords.items()]
        parts = [_word(call.func, around), *(_word(each, around) for each in call.args), *named]
        return f"partial({', '.join(parts)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return _function(value, around)
    if isinstance(value, BaseException):
        return f"{kind.__name__}({_joined(value.args, around)})"
    if (fields := _fields(kind)) is not None:
        texts = (f"{name}={_word(getattr(value, name), around)}" for name in fields)
        return f"{kind.__name__}({', '.join(texts)})"
    own_repr: Any = kind.__repr__
    if own_repr is object.__repr__:
        return f"<{kind.__module__}.{kind.__qualname__}>"
    return _container(value, around) or repr(value)


def _kind(value: object) -> type[Any]:
    return type(value)


def _function(value: Any, around: tuple[int, ...]) -> str:
    name = f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    owner = getattr(value, "__self__", None)
    if owner is None or isinstance(owner, type) or hasattr(owner, "__spec__"):
        return name
    return f"{name} of {_word(owner, around)}"


@functools.lru_cache(maxsize=1024)
def _fields(kind: type[Any]) -> tuple[str, ...] | None:
    """Return the fields that show in the ``repr`` which attrs or dataclasses made; None for none."""
    made = getattr(kind.__repr__, "__qualname__", "").rpartition(".")[2] == "__repr__"
    if attrs.has(kind) and made:
        return tuple(field.name for field in attrs.fields(kind) if field.repr is not False)
    if dataclasses.is_dataclass(kind) and made:
        return tuple(field.name for field in dataclasses.fields(kind) if field.repr)
    return None


def _container(value: Any, around: tuple[int, ...]) -> str | None:
    """Return the text of a set, mapping, tuple or list; None for what is none of these."""
    kind = _kind(value)
    if isinstance(value, AbstractSet):
        members = ", ".join(
            sorted(_word(each, around) for each in cast("AbstractSet[object]", value))
        )
        return f"{kind.__name__}({members})" if kind is not set or not members else f"{{{members}}}"
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        texts = ", ".join(f"{_word(key, around)}: {_word(each, around)}" for key, each in items)
        return f"{{{texts}}}" if kind is dict else f"{kind.__name__}({texts})"
    if isinstance(value, (tuple, list)):
        texts = _joined(cast("Sequence[object]", value), around)
        if kind is list:
            return f"[{texts}]"
        return f"({texts})" if kind is tuple else f"{kind.__name__}({texts})"
    return None


def _joined(values: Sequence[object], around: tuple[int, ...]) -> str:
    return ", ".join(_word(each, around) for each in values)
