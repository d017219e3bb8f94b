"""
A real model on this machine: llama.cpp's server, as a process whose life is a block.

`open_local_model` starts it and gives its address; leaving the block ends it. It needs the extra
``local`` and weights, and says so where they are missing.
"""

from greenroom.actors.local.model import LocalModel, open_local_model
from greenroom.actors.local.process import LocalModelError

__all__ = ["LocalModel", "LocalModelError", "open_local_model"]
