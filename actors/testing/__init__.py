"""
Doubles for tests of model code: the network in memory, models that follow a script, fake tools.
"""

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
from greenroom.actors.testing.tools import FakeTool, Slow

__all__ = [
    "HANG",
    "Asked",
    "FakeTool",
    "MemoryNetwork",
    "MemoryPipe",
    "MemoryStream",
    "Script",
    "ScriptedProvider",
    "Slow",
    "Step",
    "Wait",
    "call",
    "open_memory_network",
    "says",
]
