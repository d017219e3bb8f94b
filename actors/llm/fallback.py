"""`Fallback`: the next provider, as long as nothing was delivered; `Pinned` gives each its settings."""

import math
from collections.abc import Collection, Sequence
from typing import Final

from greenroom.actors.llm.attempts import Attempt, Attempting, check_seconds
from greenroom.actors.llm.context import Context
from greenroom.actors.llm.errors import Category, ProviderError
from greenroom.actors.llm.provider import Provider, ProviderStream
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.wrapping import Wrapping

__all__ = ["Fallback", "Pinned"]

_ANY: Final = frozenset(Category)


class Fallback(Attempting):
    """
    A `Provider` that replays a request on the next one when one fails before the first token.

    ``LLM(Fallback(OpenAIProvider(), Pinned(OpenAIProvider(profile="ollama"), model="qwen3")))``.
    Settings that name a model go to all of them, so pin the model of each that has others.

    Args:
        providers: In the order in which they are asked; at least one.
        within: How long each but the last may take to its first token, in seconds, > 0.
        on: The categories of failures after which the next one is asked; by default all.

    Raises:
        ValueError: there are no providers, or *within* is out of its range.
    """

    def __init__(
        self, *providers: Provider, within: float = math.inf, on: Collection[Category] = _ANY
    ) -> None:
        super().__init__(*providers)
        check_seconds("within", within)
        self._within = within
        self._on = frozenset(on)

    def next_attempt(self, failures: Sequence[ProviderError]) -> Attempt | None:
        """Say what is tried next, see `NextAttempt`."""
        number = len(failures)
        if number == len(self.providers) or (failures and failures[-1].category not in self._on):
            return None
        is_last = number == len(self.providers) - 1
        return Attempt(self.providers[number], within=math.inf if is_last else self._within)


class Pinned(Wrapping):
    """
    A `Provider` whose requests always have some settings, whatever they are sent with.

    Args:
        provider: Who is asked.
        settings: What wins over the settings of requests.
        model: The model, in place of settings that have nothing else.

    Raises:
        ValueError: neither or both are given.
    """

    def __init__(
        self, provider: Provider, settings: Settings | None = None, *, model: str | None = None
    ) -> None:
        super().__init__(provider)
        if (settings is None) == (model is None):
            raise ValueError("give settings or model=..., one of them: Pinned(provider, model='m')")
        self._settings = Settings(model=model) if model is not None else settings or Settings()

    @property
    def default_model(self) -> str:
        """The model that is pinned, or the provider's own."""
        model = self._settings.model
        return model if isinstance(model, str) else super().default_model

    async def request(self, context: Context, settings: Settings) -> ProviderStream:
        """See `Provider.request`."""
        merged, _ = settings.merge(self._settings)
        return await self.providers[0].request(context, merged)
