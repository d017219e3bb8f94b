"""Doubles for tests of model code: the network in memory."""

from greenroom.actors.testing.network import (
    MemoryNetwork,
    MemoryPipe,
    MemoryStream,
    open_memory_network,
)

__all__ = ["MemoryNetwork", "MemoryPipe", "MemoryStream", "open_memory_network"]
