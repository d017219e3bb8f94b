"""
OpenAI's Responses API, beside chat completions: other requests and events, the same frames.

Conversations stay ours: every request brings the whole context, and ``previous_response_id`` is
not used, so that an interrupt, a retry or another provider never meets a state that we don't know.

Importing this module imports the SDK, as `greenroom.actors.llm.openai` does.
"""

from greenroom.actors.llm.context import Context
from greenroom.actors.llm.openai import OpenAIProvider
from greenroom.actors.llm.responses_events import ResponsesReader
from greenroom.actors.llm.responses_render import render_responses
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.stream import OpenAIStream

__all__ = ["OpenAIResponses"]


class OpenAIResponses(OpenAIProvider):
    """
    Any server that speaks OpenAI's Responses API; a `Provider`.

    It is made like `OpenAIProvider`, whose connections, errors, deadlines and closing it has. Of
    the profile, the address, the key, the roles and the strict schema count; the rest is about
    chat completions. Settings that this API does not have (the penalties, ``seed``, ``stop``,
    ``modalities``, ``audio``) are not sent.
    """

    async def request(self, context: Context, settings: Settings) -> OpenAIStream:
        """
        See `Provider.request`.

        Raises:
            RuntimeError: the provider was closed.
        """
        body = render_responses(context, settings, self.profile)
        return await self._post("/responses", body, ResponsesReader(self.profile))
