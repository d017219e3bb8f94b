"""
`Settings`: what a response is asked for, as an immutable value with three states a field.

`UNSET` is not sent, None is sent as null, and a value is sent as it is. Ranges are those of the
chat completions API and are checked when settings are built.

Source: the request body of OpenAI's "create chat completion", as typed by the openai package 3.54.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs

from greenroom.actors.llm.frozen import freeze, thaw

__all__ = ["UNSET", "Settings", "UnsetType"]


class UnsetType(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Return the name by which it is imported."""
        return "UNSET"

    def __bool__(self) -> bool:
        """Return False."""
        return False


UNSET: Final = UnsetType.UNSET
"""A setting that is not sent, and in a delta one that is left as it was."""

T = TypeVar("T")
Given: TypeAlias = T | UnsetType | None

# Fields of the request that are not settings (R29): they come from the context, or are ours.
_RESERVED = {
    "messages": "they come from the context",
    "tools": "they come from the context; write context.with_tools(...)",
    "stream": "every response is streamed",
}


def _check(expected: str, fits: Callable[[Any], bool]) -> Any:
    """Return a validator for a setting that is unset, None, or *fits*."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is not UNSET and value is not None and not fits(value):
            raise ValueError(f"{attribute.name} must be {expected}, not {value!r}")

    return check


def _between(low: float, high: float) -> Any:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
        )

    return _check(f"a number from {low:g} to {high:g}", fits)


def _whole(low: int, high: int | None = None) -> Any:
    def fits(value: Any) -> bool:
        return type(value) is int and low <= value and (high is None or value <= high)

    return _check(f"an int >= {low}" if high is None else f"an int from {low} to {high}", fits)


_text = _check("a text that is not empty", lambda value: isinstance(value, str) and value != "")
_flag = _check("True or False", lambda value: isinstance(value, bool))
_mapping = _check("a mapping", lambda value: isinstance(value, Mapping))
_texts = _check(
    "a text or several", lambda value: isinstance(value, (str, tuple)) and value not in ("", ())
)
_names = _check(
    "a tuple of texts, as ('text', 'audio')",
    lambda value: (
        isinstance(value, tuple)
        and value != ()
        and all(isinstance(name, str) for name in cast("tuple[object, ...]", value))
    ),
)
_choice = _check(
    "'none', 'auto', 'required' or a mapping that names a tool",
    lambda value: isinstance(value, Mapping) or value in ("none", "auto", "required"),
)


def _check_model(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not UNSET and (not isinstance(value, str) or not value):
        raise ValueError(
            f"model must be the name of a model, not {value!r}; leave it out for the provider's own"
        )


def _check_extra(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"extra must be a mapping, not {value!r}")
    for name, why in _RESERVED.items():
        if name in value:
            raise ValueError(f"extra can't hold {name!r}: {why}")
    if "n" in value and value["n"] != 1:
        raise ValueError(f"extra can't ask for n={value['n']!r}: a stream has one choice")


@attrs.frozen(kw_only=True, repr=False)
class Settings:
    """Every field is `UNSET` unless given; None is sent as null."""

    model: str | UnsetType = attrs.field(default=UNSET, validator=_check_model)
    """The model's name; `UNSET` for the profile's own, the one setting that is always sent."""
    system_instruction: Given[str] = attrs.field(default=UNSET, validator=_text)
    """Sent as the first message, before those of the context."""
    temperature: Given[float] = attrs.field(default=UNSET, validator=_between(0, 2))
    """0 to 2."""
    top_p: Given[float] = attrs.field(default=UNSET, validator=_between(0, 1))
    """0 to 1."""
    top_k: Given[int] = attrs.field(default=UNSET, validator=_whole(-1))
    """Tokens, >= -1; not known to every provider."""
    frequency_penalty: Given[float] = attrs.field(default=UNSET, validator=_between(-2, 2))
    """-2 to 2."""
    presence_penalty: Given[float] = attrs.field(default=UNSET, validator=_between(-2, 2))
    """-2 to 2."""
    seed: Given[int] = attrs.field(default=UNSET, validator=_whole(-(2**63), 2**63 - 1))
    """An int of 64 bits; equal seeds make equal answers likelier."""
    max_tokens: Given[int] = attrs.field(default=UNSET, validator=_whole(1))
    """Tokens, >= 1; the older name of *max_completion_tokens*, never given together with it."""
    max_completion_tokens: Given[int] = attrs.field(default=UNSET, validator=_whole(1))
    """Tokens, >= 1, reasoning included."""
    stop: Given[str | tuple[str, ...]] = attrs.field(
        default=UNSET, validator=_texts, converter=freeze
    )
    """Texts at which the answer ends."""
    service_tier: Given[str] = attrs.field(default=UNSET, validator=_text)
    """A name that the provider knows, as ``"flex"``."""
    reasoning_effort: Given[str] = attrs.field(default=UNSET, validator=_text)
    """A name that the model knows, as ``"low"``."""
    verbosity: Given[str] = attrs.field(default=UNSET, validator=_text)
    """A name that the model knows, as ``"low"``."""
    parallel_tool_calls: Given[bool] = attrs.field(default=UNSET, validator=_flag)
    """Whether one response may make several calls."""
    tool_choice: Given[str | Mapping[str, Any]] = attrs.field(
        default=UNSET, validator=_choice, converter=freeze
    )
    """``"none"``, ``"auto"``, ``"required"``, or the API's mapping that names a tool."""
    response_format: Given[Mapping[str, Any]] = attrs.field(
        default=UNSET, validator=_mapping, converter=freeze
    )
    """The API's mapping, as ``{"type": "json_object"}``."""
    modalities: Given[tuple[str, ...]] = attrs.field(
        default=UNSET, validator=_names, converter=freeze
    )
    """What the answer may be made of, as ``("text", "audio")``."""
    audio: Given[Mapping[str, Any]] = attrs.field(
        default=UNSET, validator=_mapping, converter=freeze
    )
    """The API's mapping, as ``{"voice": "alloy", "format": "pcm16"}``."""
    logprobs: Given[bool] = attrs.field(default=UNSET, validator=_flag)
    """Whether the provider computes log probabilities; they come as `LogprobsDelta`."""
    top_logprobs: Given[int] = attrs.field(default=UNSET, validator=_whole(0, 20))
    """Alternatives a token, 0 to 20; needs *logprobs*."""
    metadata: Given[Mapping[str, str]] = attrs.field(
        default=UNSET, validator=_mapping, converter=freeze
    )
    """Names and texts that the provider stores with the response."""
    user: Given[str] = attrs.field(default=UNSET, validator=_text)
    """Who the provider should take as the end user."""
    prompt_cache_key: Given[str] = attrs.field(default=UNSET, validator=_text)
    """Responses of one key are likelier to share a prompt cache."""
    store: Given[bool] = attrs.field(default=UNSET, validator=_flag)
    """Whether the provider keeps the response."""
    extra: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], validator=_check_extra, converter=freeze
    )
    """
    Anything else for the request body. It wins over the fields above (R29), except that
    ``messages``, ``tools`` and ``stream`` are refused.
    """

    def __attrs_post_init__(self) -> None:
        """Refuse what the API refuses in combination."""
        if not _absent(self.max_tokens) and not _absent(self.max_completion_tokens):
            raise ValueError(
                f"give max_tokens={self.max_tokens!r} or "
                f"max_completion_tokens={self.max_completion_tokens!r}, not both; "
                f"they are two names of one limit"
            )

    def __repr__(self) -> str:
        """Name what is set."""
        set_ = {name: getattr(self, name) for name in _FIELDS}
        given = [f"{name}={value!r}" for name, value in set_.items() if value is not UNSET]
        if self.extra:
            given.append(f"extra={thaw(self.extra)!r}")
        return f"Settings({', '.join(given)})"

    def merge(self, delta: "Settings") -> tuple["Settings", Mapping[str, Any]]:
        """
        Return these settings changed by *delta*, and what was changed.

        A field that is `UNSET` in *delta* stays. *extra* merges key by key. A limit of tokens
        under either of its names takes the place of one under the other.

        Returns:
            The new settings, and the old value (perhaps `UNSET`) of every field or key of *extra*
            whose value is now another.
        """
        values: dict[str, Any] = {}
        for name in _FIELDS:
            if getattr(delta, name) is not UNSET:
                values[name] = getattr(delta, name)
        for name, other in _TWO_NAMES:
            if not _absent(values.get(name, UNSET)) and name not in delta.extra:
                values.setdefault(other, UNSET)
        old: dict[str, Any] = {
            name: getattr(self, name) for name in values if getattr(self, name) != values[name]
        }
        for key, value in delta.extra.items():
            if key not in self.extra or self.extra[key] != value:
                old.setdefault(key, self.extra.get(key, UNSET))
        merged = attrs.evolve(self, **values, extra={**self.extra, **delta.extra})
        return merged, MappingProxyType(old)

    def to_params(self) -> dict[str, Any]:
        """Return what is set, as fields of a request body in plain JSON values; *extra* wins."""
        params: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if name != "system_instruction" and value is not UNSET:
                params[name] = thaw(value)
        params.update(thaw(self.extra))
        for name, other in _TWO_NAMES:
            if name in self.extra and other in params and other not in self.extra:
                del params[other]
        return params


def _absent(value: object) -> bool:
    return value is UNSET or value is None


_FIELDS = tuple(field.name for field in attrs.fields(Settings) if field.name != "extra")
_TWO_NAMES = (
    ("max_tokens", "max_completion_tokens"),
    ("max_completion_tokens", "max_tokens"),
)
