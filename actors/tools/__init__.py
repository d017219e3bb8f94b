"""
Python functions that models may call, and the actor that runs the calls.

`tool` makes a function a `Tool`; a `Dispatcher` runs the calls of a `Dispatch`, in parallel and
within limits, and answers with exactly one `ToolResult` for each.
"""

from greenroom.actors.tools.dispatcher import Dispatcher
from greenroom.actors.tools.errors import InvalidArguments, ToolError
from greenroom.actors.tools.frames import Dispatch, DispatchFrame, ToolResult, ToolStarted
from greenroom.actors.tools.tool import Tool, tool

__all__ = [
    "Dispatch",
    "DispatchFrame",
    "Dispatcher",
    "InvalidArguments",
    "Tool",
    "ToolError",
    "ToolResult",
    "ToolStarted",
    "tool",
]
