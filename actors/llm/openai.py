"""
Chat completions over the ``openai`` package: its client, our transport and our stream.

The SDK makes the request (authentication, addresses, error classes), on a transport whose close is
a plain function. The response's body never goes through the SDK's own stream, which cannot be
closed reliably under cancellation: `OpenAIStream` reads it, splits the events and decodes them.

Importing this module imports the SDK, which takes about a second; nothing else here does.
"""

import math
import os
import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, cast

import httpx2
import openai
import trio

from greenroom.actors.llm.chunks import ChunkReader
from greenroom.actors.llm.clients import guard_for
from greenroom.actors.llm.context import Context
from greenroom.actors.llm.errors import (
    Category,
    ProviderError,
    categorize,
    error_in,
    status_error,
)
from greenroom.actors.llm.patience import Deadline, Patience
from greenroom.actors.llm.profile import PROFILES, Profile
from greenroom.actors.llm.render import render
from greenroom.actors.llm.settings import Settings
from greenroom.actors.llm.stream import EventReader, OpenAIStream, timeout_error
from greenroom.actors.wire.body import BODY_EXTENSION, Body
from greenroom.actors.wire.guard import Guard
from greenroom.actors.wire.guarded import GuardedBody, in_library
from greenroom.actors.wire.pipe import Dial, dial
from greenroom.actors.wire.transport import Transport

__all__ = ["OpenAIProvider", "OpenAIStream"]

_TCP = dial

# Bytes read of a body that is no event stream; errors are far shorter.
_ERROR_LIMIT = 65536


class _Client(openai.AsyncOpenAI):
    """The SDK's client, without its look at the operating system in a thread."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Only goes into a header; asking for it takes a thread at the first request, and so a
        # wait that virtual time and cancellation can't see.
        self._platform = "Unknown"


class _ErrorsRead(httpx2.AsyncBaseTransport):
    """Reads the start of an error's body, so that the SDK does not read the whole of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._transport.handle_async_request(request)
        if response.status_code < 300:
            return response
        content = await _start_of(response.extensions[BODY_EXTENSION])
        # What described the body as it was sent does not describe its start.
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name not in ("content-length", "transfer-encoding", "content-encoding")
        ]
        return httpx2.Response(response.status_code, headers=headers, content=content)


async def _start_of(body: Body | GuardedBody) -> bytes:
    """Return the first bytes of *body*, and close it."""
    start = b""
    try:
        while len(start) < _ERROR_LIMIT and (more := await body.receive()):
            start += more
    except httpx2.TransportError:
        pass  # the status is known, and says enough
    finally:
        body.close()
    return start[:_ERROR_LIMIT]  # noqa: ASYNC910


class OpenAIProvider:
    """
    Any server that speaks OpenAI's chat completions API; a `Provider`.

    Args:
        api_key: The key; by default that of the variable of *profile*. An empty one is none.
        base_url: The server; by default that of *profile*.
        profile: Its dialect, or the name of one; by default the one that ships for *base_url*,
            and OpenAI's without that.
        organization: Sent to OpenAI; by default the SDK's own choice there, elsewhere nothing.
        project: Likewise.
        default_headers: Sent with every request, over all others.
        patience: Bounds the connecting, and every wait for bytes by the longest that may be
            right. Who wants the deadlines kept one by one moves a scope, see `Patience.due`.
        raw: Whether every event comes as `RawEvent` too, before what was read from it.
        service_tier: Sent with every request whose settings say nothing of it.
        max_connections: Responses at once, > 0; more wait their turn.
        max_keepalive: Idle connections kept, >= 0.
        ssl_context: For https; the platform's usual trust by default.
        dial: Opens connections.
        http_client: What to send with, for a proxy or hooks: an `httpx2.AsyncClient`, or one of
            legacy ``httpx``. Its streams are closed by a guard, see
            `greenroom.actors.wire.guard`; the client is closed by whoever made it.
        client: The SDK's client, with key, address and transport of its own; guarded likewise.

    Raises:
        ProviderError: the provider needs a key and there is none, or it can't be one.
        ValueError: an argument is out of its range or in the way of another, or there is no
            *base_url*.
        httpx2.UnsupportedProtocol: *http_client* or *client* may speak HTTP/2.

    Keys, organisations and headers that the environment holds for OpenAI are never sent anywhere
    else.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        profile: Profile | str | None = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        raw: bool = False,
        service_tier: str | None = None,
        max_connections: int = 1000,
        max_keepalive: int = 100,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial = dial,
        http_client: Any = None,
        client: openai.AsyncOpenAI | None = None,
    ) -> None:
        others: dict[str, object] = {
            "api_key": api_key,
            "base_url": base_url,
            "ssl_context": ssl_context,
        }
        others |= {"organization": organization, "project": project}
        others["dial"] = None if dial is _TCP else dial
        # Exactly one of these watches over the connections.
        self._guard = guard_for(client, http_client, others)
        self._transport: Transport | None = None
        if client is not None:
            base_url = str(client.base_url).rstrip("/")
        self.profile = _profile(profile, base_url)
        self.patience = Patience() if patience is None else patience
        self._raw = raw
        self._service_tier = service_tier
        key = "" if client is not None else _key(api_key, self.profile)
        self._headers: dict[str, str | openai.Omit] = {}
        if client is None:
            header = self.profile.key_header
            self._headers |= _ambient_headers(self.profile)
            self._headers["Authorization"] = f"Bearer {key}" if key and not header else openai.omit
            if key and header:
                self._headers[header] = key
        if organization is not None:
            self._headers["OpenAI-Organization"] = organization
        if project is not None:
            self._headers["OpenAI-Project"] = project
        self._headers |= default_headers or {}
        if self._guard is None:
            self._transport = Transport(
                max_connections=max_connections,
                max_keepalive=max_keepalive,
                ssl_context=ssl_context,
                dial=dial,
            )
            http_client = httpx2.AsyncClient(
                transport=_ErrorsRead(self._transport), trust_env=False
            )
        self._client = client or _Client(
            # Both are set so that the SDK looks for neither in the environment; what is sent is
            # the header above.
            api_key=key or "none",
            admin_api_key="",
            base_url=self.profile.base_url,
            max_retries=0,
            http_client=http_client,
        )
        silence = _finite(self.patience.silence)
        self._timeout = httpx2.Timeout(
            connect=_finite(self.patience.connect), read=silence, write=silence, pool=None
        )

    def __repr__(self) -> str:
        """Tell who is asked where."""
        return f"<{type(self).__name__} {self.name!r} at {self.profile.base_url}>"

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.profile.name

    @property
    def default_model(self) -> str:
        """The profile's model."""
        return self.profile.model

    @property
    def transport(self) -> Transport:
        """
        What holds the connections.

        Raises:
            RuntimeError: a client that a user brought holds them, see `guard`.
        """
        if self._transport is None:
            raise RuntimeError("the connections are those of the given client; use .guard")
        return self._transport

    @property
    def guard(self) -> Guard | None:
        """What watches over a client that a user brought; None if there is none."""
        return self._guard

    async def request(self, context: Context, settings: Settings) -> OpenAIStream:
        """
        See `Provider.request`.

        Raises:
            RuntimeError: the provider was closed.
        """
        body = render(context, settings, self.profile)
        return await self._post("/chat/completions", body, ChunkReader(self.profile))

    async def _post(self, path: str, body: dict[str, Any], reader: EventReader) -> OpenAIStream:
        """Send *body* to *path* of the API; *reader* makes events of what comes."""
        model = str(body["model"])
        if self._service_tier is not None:
            body.setdefault("service_tier", self._service_tier)

        def post() -> Awaitable[object]:
            return self._client.post(
                path,
                body=body,
                cast_to=httpx2.Response,
                stream=True,
                stream_cls=openai.AsyncStream[object],
                options={
                    "headers": self._headers,
                    "params": dict(self.profile.query),
                    "timeout": self._timeout,
                    "max_retries": 0,
                    "security": {"bearer_auth": True},
                },
            )

        try:
            answer = await (post() if self._guard is None else self._guard.open(post))
            response = cast("httpx2.Response", answer)
            content = self._body_of(response)
        except openai.APIStatusError as error:
            # Not chained: the SDK's message holds the body unmasked.
            raise status_error(
                error.status_code,
                error.response.headers,
                error.response.content,
                provider=self.name,
                base_url=self.profile.base_url,
                model=model,
                key_variable=self.profile.key_variable,
            ) from None
        except openai.APIConnectionError as error:
            cause = in_library(cast("Exception", error.__cause__ or error), httpx2)
            raise self._connection_error(cause) from error.__cause__
        except httpx2.TransportError as error:
            raise self._connection_error(error) from error
        except UnicodeEncodeError as error:
            raise ProviderError(
                f"the request holds a text that is not Unicode ({error.reason}, at "
                f"{error.start}); decode it with errors='replace'",
                category=Category.INVALID_REQUEST,
            ) from error
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        if kind in ("application/json", "text/html"):
            raise self._no_stream(kind, await _start_of(content))
        return OpenAIStream(
            content,
            reader,
            provider=self.name,
            patience=self.patience,
            model=model,
            raw=self._raw,
            request_id=response.headers.get("x-request-id"),
        )

    # ASYNC128 does not see that `watch` calls started(); for ASYNC114 see `Provider.run`.
    async def run(  # noqa: ASYNC114, ASYNC128
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the read deadlines of all responses, see `Transport.watch`."""
        if self._transport is None:
            task_status.started()
            await trio.sleep_forever()
        else:
            await self._transport.watch(task_status=task_status)

    def close(self) -> None:
        """See `Provider.close`; a client that a user brought is left to that user."""
        if self._guard is not None:
            self._guard.close()
        if self._transport is not None:
            self._transport.close()

    def _body_of(self, response: httpx2.Response) -> Body | GuardedBody:
        if self._guard is not None:
            return self._guard.body_of(response)
        body: Body = response.extensions[BODY_EXTENSION]
        return body

    def _connection_error(self, cause: BaseException) -> ProviderError:
        where = self.profile.base_url
        if isinstance(cause, httpx2.ConnectTimeout):
            return timeout_error(self.name, Deadline.CONNECT, self.patience)
        if isinstance(cause, httpx2.TimeoutException):
            return timeout_error(self.name, Deadline.HEADERS, self.patience)
        if isinstance(cause.__cause__, ssl.SSLError):
            return ProviderError(
                f"no secure connection to {where} ({cause.__cause__}); check that it is a server "
                f"for https, or pass ssl_context=... that trusts its certificate",
                category=Category.CONNECTIVITY,
            )
        if isinstance(cause, httpx2.ConnectError):
            return ProviderError(
                f"no server answers at {where} ({cause}); start it, or write another base_url",
                category=Category.CONNECTIVITY,
            )
        if isinstance(cause, (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)):
            return ProviderError(
                f"the request to {where} can't be sent: {cause}", category=Category.INVALID_REQUEST
            )
        if isinstance(cause, httpx2.DecodingError):
            return ProviderError(f"{self.name}: {cause}", category=Category.MALFORMED)
        return ProviderError(
            f"{self.name} gave no answer ({cause}); is {where!r} an API?",
            category=Category.CONNECTIVITY,
        )

    def _no_stream(self, kind: str, start: bytes) -> ProviderError:
        """Return the error for an answer that is no event stream."""
        message, code, error_type = error_in(start)
        if b'"error"' in start:
            return ProviderError(
                f"{self.name} refused: {message}", category=categorize(None, code, error_type)
            )
        return ProviderError(
            f"{self.name} answered with {kind}, not with an event stream; check base_url "
            f"{self.profile.base_url!r} (most end in '/v1')",
            category=Category.MALFORMED,
        )


def _profile(profile: Profile | str | None, base_url: str | None) -> Profile:
    if isinstance(profile, str):
        profile = Profile.named(profile)
    if profile is None:
        return Profile.for_base_url(base_url) if base_url else PROFILES["openai"]
    if base_url:
        return profile.at(base_url)
    if not profile.base_url:
        raise ValueError(
            f"profile {profile.name!r} has no address of its own; "
            f"pass base_url='http://127.0.0.1:8000/v1' or the like"
        )
    return profile


def _key(api_key: str | None, profile: Profile) -> str:
    """Return the key for *profile*, perhaps empty; never that of another provider."""
    variable = profile.key_variable
    if api_key is None:
        api_key = os.environ.get(variable, "") if variable else ""
    key = api_key.strip()
    if not key and profile.needs_key:
        raise ProviderError(
            f"{profile.name} needs an API key; "
            + (f"set {variable} or pass api_key='...'" if variable else "pass api_key='...'"),
            category=Category.AUTHENTICATION,
        )
    if not (key.isascii() and key.isprintable()):
        raise ProviderError(
            f"the API key for {profile.name} holds characters that no key has; copy it again",
            category=Category.AUTHENTICATION,
        )
    return key


def _ambient_headers(profile: Profile) -> dict[str, str | openai.Omit]:
    """Return what keeps the headers that the SDK takes from the environment for OpenAI off."""
    if profile.key_variable == PROFILES["openai"].key_variable:
        return {}
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    return dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *names], openai.omit)


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
