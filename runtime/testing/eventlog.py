"""An observer that writes down what happened, so that two runs can be compared."""

from typing import cast

import attrs

from greenroom.runtime.events import Event
from greenroom.runtime.testing.wording import wording

__all__ = ["EventLog"]


class EventLog:
    """
    One line for each event, in order; of stacks only how deep they are.

    ``open_runtime(observers=[log])``, and then `text`, or `bytes` of it. What frames carry is written
    so that it is the same in every process: functions by name, sets in order, nothing by its address.
    All is kept until the log itself is forgotten.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __call__(self, event: Event) -> None:
        """Write *event* down."""
        fields: list[str] = []
        for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(event))):
            value: object = getattr(event, field.name)
            if field.name == "stack" and isinstance(value, tuple):
                value = len(cast("tuple[str, ...]", value))
            fields.append(f"{field.name}={wording(value)}")
        self._lines.append(f"{type(event).__name__} {' '.join(fields)}")

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines) + "\n" if self._lines else ""

    def __bytes__(self) -> bytes:
        return self.text.encode()
