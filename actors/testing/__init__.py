"""Doubles for tests of model code: the network in memory, and models that follow a script."""

from greenroom.actors.testing.network import (
    MemoryNetwork,
    MemoryPipe,
    MemoryStream,
    open_memory_network,
)
from greenroom.actors.testing.provider import (
    HANG,
    Asked,
    Script,
    ScriptedProvider,
    Step,
    Wait,
    call,
    says,
)

__all__ = [
    "HANG",
    "Asked",
    "MemoryNetwork",
    "MemoryPipe",
    "MemoryStream",
    "Script",
    "ScriptedProvider",
    "Step",
    "Wait",
    "call",
    "open_memory_network",
    "says",
]
