"""
Which model a command talks to: the understudy that comes along, one that runs on this machine, or
a server of the user's.
"""

import importlib
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from greenroom.actors.cli.progress import Row
from greenroom.actors.cli.run import CommandError
from greenroom.actors.cli.screen import Screen
from greenroom.actors.llm import Provider, Settings
from greenroom.actors.local import LocalModel, LocalModelError, open_local_model
from greenroom.actors.understudy import MODEL, banner, open_understudy

__all__ = ["Model", "ModelOptions", "open_model", "positive"]

_KEY = "OPENAI_API_KEY"
_PACE = 40.0  # tokens a second; about what a model does
_LOCAL_TOKENS = 256  # of one response; a small model may not find an end


@attrs.frozen(kw_only=True)
class ModelOptions:
    """What the user said about the model."""

    model: str | None = None
    """Its name; None for the provider's own. With *local*, the path of its file."""
    base_url: str | None = None
    """The server; None for OpenAI's with a key, and for the understudy without."""
    api_key_env: str | None = None
    """The variable that holds the key."""
    understudy: bool = False
    """Whether to use the understudy, whatever the environment holds."""
    local: bool = False
    """Whether to run a model on this machine, whatever the environment holds."""
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
async def open_model(options: ModelOptions, screen: Screen) -> AsyncGenerator[Model]:
    """
    Open the model that *options* and the environment ask for.

    Entry starts the understudy on a port of its own, or a model on this machine, if that is to
    answer; exit stops it.

    Args:
        options: What the user said.
        screen: Is told who answers, in one line, as soon as that is known.

    Raises:
        CommandError: the options contradict each other, a variable is missing, or there is no
            local model, or none any more.
        ProviderError: the key or the address can't be right.
    """
    key = _key(options)
    has_key = bool(key or os.environ.get(_KEY, "").strip())
    is_remote = bool(options.base_url) or (has_key and not options.understudy)
    if options.pace is not None and (options.local or is_remote):
        raise CommandError("--pace is for the understudy; leave it out for a real model", 2)
    if is_remote and not options.local:
        yield await _real(options, key, screen)
        return
    opening = _local(options, screen) if options.local else _understudy(options, screen)
    async with opening as model:
        yield model


@asynccontextmanager
async def _understudy(options: ModelOptions, screen: Screen) -> AsyncGenerator[Model]:
    if options.model or options.api_key_env:
        raise CommandError(
            f"--model needs to know whose: set {_KEY}, or write --base-url http://HOST:PORT/v1", 2
        )
    pace = positive("--pace", _PACE if options.pace is None else options.pace, "tokens per second")
    async with open_understudy(pace=pace) as server:
        screen.headline(banner(server))
        provider = await _provider(base_url=server.base_url, api_key="", profile="understudy")
        yield Model(
            provider=provider,
            settings=Settings(model=MODEL),
            is_understudy=True,
        )


@asynccontextmanager
async def _local(options: ModelOptions, screen: Screen) -> AsyncGenerator[Model]:
    waited = 0.0

    def rows() -> Iterator[str]:
        yield Row("llama.cpp", "starts", waited).text(waited)

    def waiting(seconds: float) -> None:
        nonlocal waited
        waited = seconds
        screen.draw()

    with ExitStack() as start:
        start.enter_context(screen.live(rows))
        try:
            async with open_local_model(weights=options.model, waiting=waiting) as local:
                start.close()
                screen.headline(_banner(local))
                yield Model(
                    provider=await _provider(
                        base_url=local.base_url, api_key="", profile="llama.cpp"
                    ),
                    settings=Settings(model=local.name, max_completion_tokens=_LOCAL_TOKENS),
                    is_understudy=False,
                )
        except LocalModelError as error:
            raise CommandError(str(error)) from error


def _banner(local: LocalModel) -> str:
    return f"{local.name} answers, on this machine; a model this small is often wrong"


def positive(option: str, value: float, unit: str) -> float:
    """Return *value* of *option*, which must be > 0 in *unit*."""
    if not value > 0:
        raise CommandError(f"{option} must be {unit} > 0, not {value:g}", 2)
    return value


def _key(options: ModelOptions) -> str | None:
    if options.understudy and (options.base_url or options.api_key_env or options.model):
        raise CommandError("--understudy goes without --model, --base-url and --api-key-env", 2)
    if options.local and (options.understudy or options.base_url or options.api_key_env):
        raise CommandError("--local goes without --understudy, --base-url and --api-key-env", 2)
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


async def _real(options: ModelOptions, key: str | None, screen: Screen) -> Model:
    try:
        provider = await _provider(base_url=options.base_url, api_key=key)
    except ValueError as error:
        raise CommandError(str(error).replace("base_url", "--base-url"), 2) from error
    profile = provider.profile
    name = options.model or profile.model
    if not name:
        raise CommandError(f"{profile.base_url} needs the name of a model; write --model NAME", 2)
    screen.headline(f"{name} answers, at {profile.base_url}")
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
