"""What goes wrong with a tool call in a way that the model should read of."""

__all__ = ["InvalidArguments", "ToolError"]


class ToolError(Exception):
    """
    Raised by a tool's function to tell the model what went wrong, in the exception's own text.

    Any other exception becomes a result too, but its text is kept from the model. What to do: put
    nothing secret into it; chain the cause with ``from``, and `ToolResult.detail` will name it.
    """


class InvalidArguments(ToolError):
    """The arguments of a call do not fit the tool's schema; the text says which, and how."""
