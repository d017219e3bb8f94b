"""Clients that users bring to a provider: which arguments go with them, and their guard."""

from collections.abc import Mapping
from typing import Any

from greenroom.actors.wire.guard import Guard

__all__ = ["guard_for"]


def guard_for(client: Any, http_client: Any, others: Mapping[str, object]) -> Guard | None:
    """
    Return the guard for what a user brought; None if that is nothing.

    Args:
        client: The SDK's client, or None.
        http_client: A client of httpx2 or legacy httpx, or None.
        others: What else was given, by the name of its argument: None for what was not.

    Raises:
        ValueError: something else was given that the client has of its own.
        TypeError: *http_client* is no such client.
        httpx2.UnsupportedProtocol: it may speak HTTP/2.
    """
    names = ["ssl_context", "dial"]
    if client is not None:
        names += ["api_key", "base_url", "organization", "project"]
        others = {"http_client": http_client, **others}
        names.append("http_client")
    elif http_client is None:
        return None
    brought = "http_client" if client is None else "client"
    for name in names:
        if others[name] is not None:
            raise ValueError(f"{brought} brings its own {name}; set it there and leave {name} out")
    return Guard(http_client if client is None else client._client)
