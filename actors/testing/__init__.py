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
from greenroom.actors.testing.providercheck import ProviderFactory, check_provider
from greenroom.actors.testing.toolcheck import check_tool
from greenroom.actors.testing.tools import FakeTool, Slow

__all__ = [
    "HANG",
    "Asked",
    "FakeTool",
    "MemoryNetwork",
    "MemoryPipe",
    "MemoryStream",
    "ProviderFactory",
    "Script",
    "ScriptedProvider",
    "Slow",
    "Step",
    "Wait",
    "call",
    "check_provider",
    "check_tool",
    "open_memory_network",
    "says",
]
