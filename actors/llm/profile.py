"""
`Profile`: a provider's dialect of the chat completions API, as data.

A profile says where a provider stands, which variable holds its key, and how a request must be
changed for it. What a server needs that differs is a row here, never a subclass.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import attrs

from greenroom.actors.llm.frozen import freeze

__all__ = ["PROFILES", "Profile"]


@attrs.frozen(kw_only=True)
class Profile:
    """How one provider differs from OpenAI."""

    name: str
    """What messages and errors call it."""
    base_url: str = ""
    """Where its API stands, as ``https://host/v1``; empty if that must be given."""
    key_variable: str = ""
    """The environment variable of its key; empty if it has none."""
    needs_key: bool = False
    """Whether it refuses requests without a key."""
    model: str = ""
    """The model asked for where settings name none; empty if they must."""
    developer_role: Literal["developer", "system", "user"] = "user"
    """The role under which `Developer` messages are sent."""
    dropped: frozenset[str] = frozenset()
    """Settings that it refuses, and that are therefore not sent."""
    renamed: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=freeze)
    """Its own names of settings, by ours."""
    stream_options: bool = True
    """Whether usage is asked for by ``stream_options``."""
    reasoning: tuple[str, ...] = ("reasoning_content", "reasoning")
    """The fields of a delta that may hold reasoning; the first that is not empty counts."""
    reasoning_back: bool = False
    """Whether responses with calls must be sent back with their reasoning."""
    strict_schema: bool = False
    """Whether it takes ``strict`` in a tool's schema."""

    @classmethod
    def named(cls, name: str) -> "Profile":
        """
        Return the profile that ships under *name*.

        Raises:
            ValueError: there is none.
        """
        if name not in PROFILES:
            raise ValueError(
                f"no profile is named {name!r}; there are {', '.join(sorted(PROFILES))}"
            )
        return PROFILES[name]

    @classmethod
    def for_base_url(cls, base_url: str) -> "Profile":
        """
        Return the shipped profile of the server at *base_url*, or a plain one without a key.

        Only the same scheme, host (or a host below it) and port count as the same server, so that
        a provider's key is never looked up for another one's address.

        Raises:
            ValueError: *base_url* is no HTTP address.
        """
        place = _place(base_url)
        for profile in PROFILES.values():
            if profile.base_url and _is_within(place, _place(profile.base_url)):
                return attrs.evolve(profile, base_url=base_url)
        return cls(name=place[1], base_url=base_url)

    def at(self, base_url: str) -> "Profile":
        """
        Return this profile for a server at *base_url*.

        If that is not the provider's own server, the variable of its key is not looked up for it.

        Raises:
            ValueError: *base_url* is no HTTP address.
        """
        place = _place(base_url)
        ours = bool(self.base_url) and _is_within(place, _place(self.base_url))
        return attrs.evolve(self, base_url=base_url, key_variable=self.key_variable if ours else "")

    def rewrite(self, params: Mapping[str, Any], *, keep: Collection[str] = ()) -> dict[str, Any]:
        """
        Return the request body *params* in this provider's dialect.

        Args:
            params: What settings ask for, see `Settings.to_params`.
            keep: Names that the caller wrote for this very provider; they pass as they are.
        """
        rewritten: dict[str, Any] = {}
        for name, value in params.items():
            if name in keep:
                rewritten[name] = value
            elif name not in self.dropped:
                rewritten.setdefault(self.renamed.get(name, name), value)
        return rewritten


def _place(base_url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of *base_url*; every name of this machine is one host."""
    hint = f"base_url must look like 'http://127.0.0.1:8000/v1', not {base_url!r}"
    try:
        parts: SplitResult = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ValueError(f"{hint}: {error}") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(hint)
    return parts.scheme, "localhost" if _is_loopback(host) else host, port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_within(place: tuple[str, str, int], home: tuple[str, str, int]) -> bool:
    scheme, host, port = place
    return (scheme, port) == (home[0], home[2]) and (
        host == home[1] or host.endswith("." + home[1])
    )


# Servers that know only the older name of the limit on tokens.
_OLD_LIMIT = {"max_completion_tokens": "max_tokens"}

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="openai",
            base_url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            needs_key=True,
            model="gpt-4.1",
            developer_role="developer",
            strict_schema=True,
        ),
        # The servers without an address listen on ports that are anybody's, so they are not told by
        # their port. This one ships with Greenroom.
        Profile(name="understudy", developer_role="developer", strict_schema=True),
        # Source: docs.ollama.com/api/openai-compatibility (its request fields).
        Profile(name="ollama", base_url="http://127.0.0.1:11434/v1", renamed=_OLD_LIMIT),
        # llama-server and llama-cpp-python's server. The latter sends no usage in streams.
        Profile(name="llama.cpp", renamed=_OLD_LIMIT),
        # Source: docs.vllm.ai, "Reasoning Outputs": `reasoning` since 0.11, before that
        # `reasoning_content`; some versions send both with one text.
        Profile(
            name="vllm",
            reasoning=("reasoning", "reasoning_content"),
        ),
        # Source: api-docs.deepseek.com, "Thinking Mode": a response with calls that comes back
        # without its reasoning_content, be it empty, is refused with status 400.
        Profile(
            name="deepseek",
            base_url="https://api.deepseek.com",
            key_variable="DEEPSEEK_API_KEY",
            needs_key=True,
            developer_role="system",
            renamed=_OLD_LIMIT,
            reasoning_back=True,
        ),
        # Source: openrouter.ai/docs, "Streaming" and "Reasoning Tokens".
        Profile(
            name="openrouter",
            base_url="https://openrouter.ai/api/v1",
            key_variable="OPENROUTER_API_KEY",
            needs_key=True,
            developer_role="system",
            reasoning=("reasoning", "reasoning_content"),
        ),
    )
}
