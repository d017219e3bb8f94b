"""
`Profile`: a provider's dialect of the chat completions API, as data.

A profile says where a provider stands, which variable holds its key, how a request must be changed
for it, and where in its streams things stand. What a server needs that differs is a field here and
a row in `profiles`, never a subclass; ``attrs.evolve(Profile.named("ollama"), ...)`` makes another.
"""

from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any, Literal, cast
from urllib.parse import SplitResult, urlsplit

import attrs

from greenroom.actors.llm.frozen import freeze
from greenroom.actors.llm.profiles import ROWS

__all__ = ["PROFILES", "Profile"]


@attrs.frozen(kw_only=True)
class Profile:
    """How one provider differs from OpenAI."""

    name: str
    """What messages and errors call it."""
    base_url: str = ""
    """Where its API stands, as ``https://host/v1``; empty if that must be given."""
    hosts: tuple[str, ...] = ()
    """Other hosts of the provider; one below such a host is one too."""
    key_variable: str = ""
    """The environment variable of its key; empty if it has none."""
    needs_key: bool = False
    """Whether it refuses requests without a key."""
    key_header: str = ""
    """The header that takes the bare key; empty for ``Authorization: Bearer``."""
    query: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=freeze)
    """Parameters of the address of every request, as ``{"api-version": "2024-10-21"}``."""
    model: str = ""
    """The model asked for where settings name none; empty if they must."""
    developer_role: Literal["developer", "system", "user"] = "user"
    """The role under which `Developer` messages are sent."""
    dropped: frozenset[str] = frozenset()
    """Settings that it refuses, and that are therefore not sent."""
    renamed: Mapping[str, str] = attrs.field(factory=dict[str, str], converter=freeze)
    """Its own names of settings, by ours; ``"reasoning.effort"`` for a field in an object."""
    stream_options: bool = True
    """Whether usage is asked for by ``stream_options``."""
    reasoning: tuple[str, ...] = ("reasoning_content", "reasoning")
    """The fields of a delta that may hold reasoning; the first that is not empty counts."""
    think_tags: tuple[str, str] | None = None
    """The tags around reasoning within the text, ``("<think>", "</think>")``; None for none."""
    thinking_begun: bool = False
    """Whether the prompt has opened the reasoning, so that only the closing tag comes."""
    reasoning_back: bool = False
    """Whether responses with calls must be sent back with their reasoning."""
    reasoning_apart: bool = False
    """Whether the usage counts reasoning beside the tokens of the answer, not among them."""
    strict_schema: bool = False
    """Whether it takes ``strict`` in a tool's schema."""
    takes_tools: bool = True
    """Whether it takes tools; if not, a context with tools is refused."""
    takes_turns: bool = False
    """Whether successive messages of one role must be sent as one."""
    first_system_only: tuple[str, ...] = ()
    """
    Parts of the names of models that take system messages only before all others; later ones are
    sent as the user's. ``""`` is a part of every name.
    """
    user_names: bool = True
    """Whether it takes the `User.name`; if not, the name is put in front of the text."""
    last_assistant: Literal["send", "prefix", "drop"] = "send"
    """What to do with a response at the end of the context: send, mark as a prefix, leave out."""
    short_call_ids: bool = False
    """Whether ids of calls must be nine letters or digits; others are replaced alike everywhere."""
    amend: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Has the last word on the whole request body, for what no field can say."""
    source: str = ""
    """Where the provider documents what this profile says."""
    is_tested: bool = False
    """Whether it is held against documented streams; False is from documentation, untested."""

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
            if profile.is_home_of(place):
                return attrs.evolve(profile, base_url=base_url)
        return cls(name=place[1], base_url=base_url)

    def at(self, base_url: str) -> "Profile":
        """
        Return this profile for a server at *base_url*.

        If that is not the provider's own server, the variable of its key is not looked up for it.

        Raises:
            ValueError: *base_url* is no HTTP address.
        """
        ours = self.is_home_of(_place(base_url))
        return attrs.evolve(self, base_url=base_url, key_variable=self.key_variable if ours else "")

    def is_home_of(self, place: tuple[str, str, int]) -> bool:
        """Tell whether *place*, a scheme, host and port, is the provider's own server."""
        homes = [_place(self.base_url)] if self.base_url else []
        homes += [("https", host, 443) for host in self.hosts]
        return any(_is_within(place, home) for home in homes)

    def takes_first_system_only(self, model: str) -> bool:
        """Tell whether *model* takes system messages only before all others."""
        return any(part in model for part in self.first_system_only)

    def rewrite(self, params: Mapping[str, Any], *, keep: Collection[str] = ()) -> dict[str, Any]:
        """
        Return the request body *params* in this provider's dialect.

        Args:
            params: What settings ask for, see `Settings.to_params`.
            keep: Names that the caller wrote for this very provider; they pass as they are.
        """
        rewritten = {name: value for name, value in params.items() if name in keep}
        for name, value in params.items():
            if name in keep or name in self.dropped:
                continue
            target, _, field = self.renamed.get(name, name).partition(".")
            if not field:
                rewritten.setdefault(target, value)
            elif isinstance(within := rewritten.setdefault(target, {}), dict):
                cast("dict[str, Any]", within).setdefault(field, value)
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


PROFILES: Mapping[str, Profile] = {row["name"]: Profile(**row) for row in ROWS}
