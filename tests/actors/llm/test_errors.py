"""`ProviderError`: categories, masking, and one line that says what to do."""

import json
from typing import Any

import pytest

from greenroom.actors.llm import Category, ProviderError, mask
from greenroom.actors.llm.errors import categorize, status_error


def answered(status: int, body: Any = b"", **headers: str) -> ProviderError:
    """Return the error for a response to the provider 'acme'."""
    return status_error(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        provider="acme",
        base_url="https://acme.example/v1",
        model="m-1",
        key_variable="ACME_KEY",
    )


@pytest.mark.parametrize(
    ("status", "body", "category", "text"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}},
            Category.AUTHENTICATION,
            (
                "acme answered with status 401: Incorrect API key provided; "
                "set ACME_KEY to a key that is valid there"
            ),
        ),
        (
            404,
            {"error": {"message": "no such model", "code": "model_not_found"}},
            Category.NOT_FOUND,
            (
                "acme answered with status 404: no such model; "
                "check the model 'm-1' and base_url 'https://acme.example/v1'"
            ),
        ),
        (
            404,
            b"<html><body>nginx</body></html>",
            Category.NOT_FOUND,
            (
                "acme answered with status 404; "
                "check the model 'm-1' and base_url 'https://acme.example/v1'"
            ),
        ),
        (
            429,
            {"error": {"message": "slow down"}},
            Category.RATE_LIMIT,
            "acme answered with status 429: slow down; try again in 2 s",
        ),
        (
            429,
            {"error": {"message": "no credit", "type": "insufficient_quota"}},
            Category.QUOTA,
            "acme answered with status 429: no credit; check the plan and the balance of this key",
        ),
        (
            402,
            {"detail": "pay"},
            Category.QUOTA,
            "acme answered with status 402: pay; check the plan and the balance of this key",
        ),
        (
            403,
            {"error": "no\n entry"},
            Category.AUTHORIZATION,
            "acme answered with status 403: no entry; check what this key is allowed to use",
        ),
        (
            400,
            {"object": "error", "message": "bad field"},
            Category.INVALID_REQUEST,
            "acme answered with status 400: bad field",
        ),
        (
            503,
            b"upstream\xff is gone",
            Category.SERVER,
            "acme answered with status 503: upstream\ufffd is gone; try again in 2 s",
        ),
        (418, b"[[[[", Category.INVALID_REQUEST, "acme answered with status 418: [[[["),
    ],
)
def test_a_status_becomes_a_category_and_a_line_that_says_what_to_do(
    status: int, body: Any, category: Category, text: str
) -> None:
    """Whatever shape a server gives its error, the message is its words and our advice."""
    error = answered(status, body, retry_after="2", x_request_id="req-7")

    assert str(error) == text
    assert (error.category, error.status, error.request_id) == (category, status, "req-7")


def test_a_redirect_says_where_to() -> None:
    """Redirects are not followed; the user is told the address to write."""
    error = answered(308, b"", location="https://acme.example/v2")

    assert str(error).endswith("status 308; write base_url for 'https://acme.example/v2'")
    assert error.category is Category.INVALID_REQUEST


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "1e"}, None),
        (
            {
                "retry_after": "Sun, 22 Nov 2026 10:00:30 GMT",
                "date": "Sun, 22 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        ({"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds, milliseconds, or a date against the server's own clock."""
    assert answered(429, **headers).retry_after == seconds


@pytest.mark.parametrize(
    ("codes", "category"),
    [
        ((None, None), Category.SERVER),
        (("rate_limit_exceeded", None), Category.RATE_LIMIT),
        ((None, "invalid_request_error"), Category.INVALID_REQUEST),
        ((429, None), Category.RATE_LIMIT),
        (("502", None), Category.SERVER),
        ((12345, "odd"), Category.SERVER),
    ],
)
def test_an_error_inside_a_stream_is_told_by_its_codes(
    codes: tuple[object, object], category: Category
) -> None:
    """There is no status in mid-stream; some servers put one into the code."""
    assert categorize(None, *codes) is category


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("key sk-proj-abcdefghij123 is wrong", "key sk-***"),
        ("Authorization: Bearer abc.def-ghi", "Bearer ***"),
        ("https://bob:hunter22@host/v1", "https://***host"),
        ('{"api_key": "0123456789abcdef"}', '"api_key": "***"'),
        ("?key=AIzaSyA123456789&x=1", "?key=***&x=1"),
        ("token=abcdefgh1234", "token=***"),
        ("closed the stream after 128 tokens", "closed the stream after 128 tokens"),
        ("set OPENAI_API_KEY or pass api_key='...'", "set OPENAI_API_KEY or pass api_key='...'"),
        ("max_tokens must be an int >= 1, not 0", "max_tokens must be an int >= 1, not 0"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, masked: str) -> None:
    """Keys, tokens and passwords go; ordinary words stay."""
    assert masked in mask(text)
    for secret in ("abcdefghij123", "abc.def", "hunter22", "0123456789abcdef", "AIza", "abcdefgh"):
        assert secret not in mask(text)


def test_a_message_is_one_line_of_bounded_length() -> None:
    """A server that sends a page of text does not fill a terminal, and the advice stays."""
    error = answered(401, {"error": {"message": "very\n" * 1000}})

    assert "\n" not in str(error)
    assert len(str(error)) <= 400
    assert str(error).endswith("set ACME_KEY to a key that is valid there")
