"""Which model a command talks to: the understudy that comes along, or a server of the user's."""

import importlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from greenroom.actors.cli.run import CommandError
from greenroom.actors.llm import Provider, Settings
from greenroom.actors.understudy import MODEL, banner, open_understudy

__all__ = ["Model", "ModelOptions", "open_model", "positive"]

_KEY = "OPENAI_API_KEY"
_PACE = 40.0  # tokens a second; about what a model does


@attrs.frozen(kw_only=True)
class ModelOptions:
    """What the user said about the model."""

    model: str | None = None
    """Its name; None for the provider's own."""
    base_url: str | None = None
    """The server; None for OpenAI's with a key, and for the understudy without."""
    api_key_env: str | None = None
    """The variable that holds the key."""
    understudy: bool = False
    """Whether to use the understudy, whatever the environment holds."""
    pace: float | None = None
    """Tokens a second that the understudy speaks, > 0; None for a pace that one can watch."""


@attrs.frozen(kw_only=True)
class Model:
    """A model that can be asked."""

    provider: Provider
    """Its API."""
    settings: Settings
    """What requests start from."""
    is_understudy: bool
    """Whether it is the one that comes along."""


@asynccontextmanager
async def open_model(options: ModelOptions, tell: Callable[[str], None]) -> AsyncGenerator[Model]:
    """
    Open the model that *options* and the environment ask for.

    Entry starts the understudy on a port of its own, if it is to answer; exit stops it.

    Args:
        options: What the user said.
        tell: Called once with the line that says who answers, as soon as that is known.

    Raises:
        CommandError: the options contradict each other, or a variable is missing.
        ProviderError: the key or the address can't be right.
    """
    key = _key(options)
    has_key = bool(key or os.environ.get(_KEY, "").strip())
    if options.base_url or (has_key and not options.understudy):
        if options.pace is not None:
            raise CommandError("--pace is for the understudy; leave it out for a real model", 2)
        yield await _real(options, key, tell)
        return
    if options.model or options.api_key_env:
        raise CommandError(
            f"--model needs to know whose: set {_KEY}, or write --base-url http://HOST:PORT/v1", 2
        )
    pace = positive("--pace", _PACE if options.pace is None else options.pace, "tokens per second")
    async with open_understudy(pace=pace) as server:
        tell(banner(server))
        provider = await _provider(base_url=server.base_url, api_key="", profile="understudy")
        yield Model(
            provider=provider,
            settings=Settings(model=MODEL),
            is_understudy=True,
        )


def positive(option: str, value: float, unit: str) -> float:
    """Return *value* of *option*, which must be > 0 in *unit*."""
    if not value > 0:
        raise CommandError(f"{option} must be {unit} > 0, not {value:g}", 2)
    return value


def _key(options: ModelOptions) -> str | None:
    if options.understudy and (options.base_url or options.api_key_env or options.model):
        raise CommandError("--understudy goes without --model, --base-url and --api-key-env", 2)
    if options.api_key_env is None:
        return None
    key = os.environ.get(options.api_key_env, "").strip()
    if not key:
        raise CommandError(
            f"the variable {options.api_key_env} is not set; --api-key-env names the variable "
            f"that holds the key",
            2,
        )
    return key


async def _real(options: ModelOptions, key: str | None, tell: Callable[[str], None]) -> Model:
    try:
        provider = await _provider(base_url=options.base_url, api_key=key)
    except ValueError as error:
        raise CommandError(str(error).replace("base_url", "--base-url"), 2) from error
    profile = provider.profile
    name = options.model or profile.model
    if not name:
        raise CommandError(f"{profile.base_url} needs the name of a model; write --model NAME", 2)
    tell(f"{name} answers, at {profile.base_url}")
    return Model(
        provider=provider,
        settings=Settings(model=name),
        is_understudy=False,
    )


async def _provider(**arguments: Any) -> Any:
    # importing the SDK takes about a second, in which Ctrl-C should work
    module = await trio.to_thread.run_sync(
        importlib.import_module, "greenroom.actors.llm.openai", abandon_on_cancel=True
    )
    return module.OpenAIProvider(**arguments)
