"""
How long to wait for a response: named deadlines that nest, and which of them is due next.

Who waits keeps one cancel scope for the whole response and moves its deadline to what `due` says,
so that the one that fires has a name and no scope is opened for a token.
"""

import math
from enum import Enum
from typing import Any

import attrs

__all__ = ["Deadline", "Patience"]


class Deadline(Enum):
    """The part of a response that took too long."""

    CONNECT = "connect"
    HEADERS = "headers"
    FIRST_TOKEN = "first token"
    BETWEEN_TOKENS = "between tokens"
    RESPONSE = "response"


def _seconds(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    # `not value > 0` also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(
            f"patience: {attribute.name} must be seconds > 0 or math.inf for no limit, "
            f"not {value!r}"
        )


def _limit(default: float) -> float:
    return attrs.field(default=default, validator=_seconds)


@attrs.frozen(kw_only=True)
class Patience:
    """The deadlines of a response; all are relative, and the earliest one fires."""

    connect: float = _limit(5.0)
    """Until a connection stands, TLS included; seconds, > 0, ``math.inf`` for none."""
    headers: float = _limit(math.inf)
    """From the request to the head of the response; seconds, > 0."""
    first_token: float = _limit(math.inf)
    """From the request to the first token of any kind; seconds, > 0."""
    between_tokens: float = _limit(math.inf)
    """From one token to the next, and from the last one to the end; seconds, > 0."""
    response: float = _limit(math.inf)
    """From the request to the end of the response; seconds, > 0."""

    def due(
        self, *, started_at: float, has_head: bool, last_token_at: float | None
    ) -> tuple[float, Deadline]:
        """
        Return when patience ends (Trio clock, ``math.inf`` for never), and with which deadline.

        Args:
            started_at: When the request was begun.
            has_head: Whether the head of the response has come.
            last_token_at: When the last token came; None before the first.
        """
        ends = [(started_at + self.response, Deadline.RESPONSE)]
        if last_token_at is not None:
            ends.append((last_token_at + self.between_tokens, Deadline.BETWEEN_TOKENS))
        else:
            ends.append((started_at + self.first_token, Deadline.FIRST_TOKEN))
            if not has_head:
                ends.append((started_at + self.headers, Deadline.HEADERS))
        return min(ends, key=lambda end: end[0])

    @property
    def silence(self) -> float:
        """The longest that one wait for bytes can rightly last; seconds, perhaps ``math.inf``."""
        return min(self.response, max(self.headers, self.first_token, self.between_tokens))
