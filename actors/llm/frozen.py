"""
JSON values that nobody can change.

Settings and tool schemas hold JSON objects that are shared between actors, so what is kept is a
read-only private copy: objects become mapping proxies, arrays become tuples.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

__all__ = ["freeze", "thaw"]


def freeze(value: Any) -> Any:
    """Return a read-only copy of the JSON value *value*."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        return MappingProxyType({key: freeze(item) for key, item in mapping.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in cast("list[Any]", value))
    return value


def thaw(value: Any) -> Any:
    """Return *value*, as `freeze` made it, in plain dicts and lists that the caller owns."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        return {key: thaw(item) for key, item in mapping.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in cast("list[Any]", value)]
    return value
