"""
What goes wrong between us and a provider: one exception, a category that a caller can act on, and
one line that says what to do, with everything that looks like a credential masked.
"""

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, cast

from greenroom.actors.llm.patience import Deadline

__all__ = ["Category", "ProviderError", "ProviderTimeout", "mask"]


class Category(Enum):
    """What kind of failure it was, by what the caller can do about it."""

    AUTHENTICATION = "authentication"
    """No key or a wrong one: set another."""
    AUTHORIZATION = "authorization"
    """The key is known and may not do this."""
    INVALID_REQUEST = "invalid_request"
    """The request itself is refused, and would be again."""
    NOT_FOUND = "not_found"
    """No such model, or nothing at this address."""
    RATE_LIMIT = "rate_limit"
    """Too many requests for now: wait."""
    QUOTA = "quota"
    """What was paid for is used up: waiting does not help."""
    CONNECTIVITY = "connectivity"
    """The server was not reached, or the connection broke."""
    SERVER = "server"
    """The server failed."""
    MALFORMED = "malformed"
    """The server sent what the API does not allow."""
    UNKNOWN = "unknown"
    """Anything else."""


class ProviderError(Exception):
    """
    A provider failed or refused; the message is one line that says what to do.

    Attributes:
        category: What kind of failure.
        status: The HTTP status, where there was one.
        request_id: The provider's own id of the request, for its support.
        retry_after: Seconds, >= 0, after which the provider asks to try again; None if it doesn't.
        earlier: Why the attempts before this one failed, a line each; see `Retry` and `Fallback`.
    """

    earlier: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each attempt failed, this one last; a line each."""
        return (*self.earlier, str(self))

    def __init__(
        self,
        message: str,
        *,
        category: Category,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(mask(_one_line(message)))
        self.category = category
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class ProviderTimeout(ProviderError):
    """
    A provider let one of the deadlines of `Patience` pass.

    Attributes:
        deadline: Which one.
    """

    def __init__(self, message: str, *, deadline: Deadline) -> None:
        super().__init__(message, category=Category.CONNECTIVITY)
        self.deadline = deadline


_LONGEST = 400  # characters of a message; what servers send beyond that is of no use in a line

# What credentials look like: keys with a prefix, bearer tokens, passwords in addresses, and
# whatever is called a key, token or secret. The first group of each stays.
_CREDENTIALS = (
    re.compile(r"\b((?:sk|pk|rk|gsk|xai|nvapi|hf|pplx|fw|csk)[-_])[\w*.-]{6,}"),
    re.compile(r"\b(Bearer\s+)[^\s\"',;]+", re.IGNORECASE),
    re.compile(r"(://)[^/@\s]+@"),
    re.compile(
        r"\b((?:api[-_ ]?key|access[-_ ]?key|key|token|secret|password|authorization)"
        r"[\"']?\s*[=:]\s*[\"']?)(?!Bearer\b)[\w*.+/=-]{8,}",
        re.IGNORECASE,
    ),
)


def mask(text: str) -> str:
    """Return *text* with everything that looks like a credential replaced by ``***``."""
    for pattern in _CREDENTIALS:
        text = pattern.sub(lambda found: found[1] + "***", text)
    return text


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


_STATUSES = {
    401: Category.AUTHENTICATION,
    402: Category.QUOTA,
    403: Category.AUTHORIZATION,
    404: Category.NOT_FOUND,
    408: Category.SERVER,
    409: Category.SERVER,
    429: Category.RATE_LIMIT,
}

# Error codes and types that say more than the status, or that come without one in a stream.
# Source: platform.openai.com, "Error codes".
_CODES = {
    "insufficient_quota": Category.QUOTA,
    "billing_hard_limit_reached": Category.QUOTA,
    "rate_limit_exceeded": Category.RATE_LIMIT,
    "invalid_api_key": Category.AUTHENTICATION,
    "model_not_found": Category.NOT_FOUND,
    "context_length_exceeded": Category.INVALID_REQUEST,
    "invalid_request_error": Category.INVALID_REQUEST,
    "invalid_prompt": Category.INVALID_REQUEST,
    "content_policy_violation": Category.INVALID_REQUEST,
    "server_error": Category.SERVER,
}


def categorize(status: int | None, *codes: object) -> Category:
    """Return the category of an HTTP *status* with the error *codes* that the body gave."""
    for code in codes:
        if isinstance(code, str) and code in _CODES and (status is None or status in (400, 429)):
            return _CODES[code]
    if status is None:
        # Some servers put the status of a failure in mid-stream into its code.
        numbers = [str(code) for code in codes if str(code).isdecimal() and len(str(code)) == 3]
        return categorize(int(numbers[0])) if numbers else Category.SERVER
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return Category.SERVER
    return Category.INVALID_REQUEST if 300 <= status < 500 else Category.UNKNOWN


def error_in(body: bytes) -> tuple[str, object, object]:
    """Return message, code and type from the *body* of an error, whatever its server calls them."""
    text = body.decode("utf-8", "replace").strip()
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        # An HTML page is the work of a proxy or of another kind of server, and says nothing here.
        return "" if text.startswith("<") else text, None, None
    error: dict[str, Any] = {}
    while isinstance(found, dict):
        error = cast("dict[str, Any]", found)
        found = error.get("error")
    if isinstance(found, str) or not error:
        return found if isinstance(found, str) else text, None, None
    message = error.get("message") or error.get("detail")
    return message if isinstance(message, str) else text, error.get("code"), error.get("type")


def status_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    base_url: str,
    model: str,
    key_variable: str,
) -> ProviderError:
    """Return the error for a response with *status*, whose body began with *body*."""
    message, code, kind = error_in(body)
    category = categorize(status, code, kind)
    wait = _retry_after(headers)
    what_to_do = {
        Category.AUTHENTICATION: f"set {key_variable or 'api_key'} to a key that is valid there",
        Category.AUTHORIZATION: "check what this key is allowed to use",
        Category.NOT_FOUND: f"check the model {model!r} and base_url {base_url!r}",
        Category.QUOTA: "check the plan and the balance of this key",
        Category.RATE_LIMIT: "try again later" if wait is None else f"try again in {wait:g} s",
        Category.SERVER: "try again later" if wait is None else f"try again in {wait:g} s",
    }.get(category)
    if 300 <= status < 400:
        what_to_do = f"write base_url for {headers.get('location', 'the new address')!r}"
    said = f": {message.strip().rstrip('.')}" if message.strip() else ""
    # The advice must survive the cut to one line.
    said = _one_line(said)[: _LONGEST // 2]
    return ProviderError(
        f"{provider} answered with status {status}{said}"
        + (f"; {what_to_do}" if what_to_do else ""),
        category=category,
        status=status,
        request_id=headers.get("x-request-id"),
        retry_after=wait,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that *headers* ask to wait, if they do."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        text = headers.get("retry-after", "")
        if not text or text[0].isdecimal():
            return float(text) if text else None
        # A date, which only the server's own clock can turn into seconds.
        asked, sent = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (asked - sent).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
