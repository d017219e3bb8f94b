"""Doubles for tests of model code: the network in memory, and models that follow a script."""

from greenroom.actors.testing.network import (
    MemoryNetwork,
    MemoryPipe,
    MemoryStream,
    open_memory_network,
)
from greenroom.actors.testing.provider import ScriptedProvider, Step

__all__ = [
    "MemoryNetwork",
    "MemoryPipe",
    "MemoryStream",
    "ScriptedProvider",
    "Step",
    "open_memory_network",
]
