"""
The understudy: an OpenAI-compatible model server without a model, over HTTP/1.1 and SSE.

It is deterministic, needs no key and no network, and says what it is. `Understudy.serve` speaks to
one connection over any `trio.abc.Stream`, in virtual time too; `open_understudy` listens.

=============================  ===================================================
``POST /v1/chat/completions``  a completion, streamed or whole
``POST /v1/responses``         the same for the Responses API
``GET /v1/models``             the one model; ``/v1/models/NAME`` for itself
``GET /understudy/statistics``  the counts of `Statistics`, this connection included
``GET /``                      what this is
=============================  ===================================================
"""

import hmac
import json
import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from greenroom.actors.understudy.completions import (
    CREATED,
    MODEL,
    Completion,
    complete,
    encoded,
    events,
)
from greenroom.actors.understudy.connection import (
    JSON,
    Connection,
    Cut,
    Headers,
    Refused,
    Request,
)
from greenroom.actors.understudy.faults import Fault, fault_for, parse_fault
from greenroom.actors.understudy.requests import Problem, obj, problems
from greenroom.actors.understudy.responses import as_chat, response_events, whole_response
from greenroom.runtime import bare

__all__ = ["Statistics", "Understudy", "banner", "open_understudy"]

_log = logging.getLogger("greenroom.understudy")


@attrs.frozen(kw_only=True)
class Statistics:
    """What an `Understudy` has done, and does right now."""

    connections_open: int
    """Connections that are open."""

    connections_accepted: int
    """Connections that were ever opened."""

    requests: int
    """Requests that were read, of any kind."""

    streams_running: int
    """Streamed completions that have begun and not ended."""

    streams_broken_off: int
    """Streamed completions that the client left before their end."""

    tokens_sent: int
    """Tokens that were sent, streamed or whole."""

    failures: int
    """Connections that ended by a mistake of the server."""


class Understudy:
    """
    A model server without a model; made by `open_understudy`, or alone to serve streams.

    Attributes:
        host: Address that it listens on; empty if it doesn't listen.
        port: TCP port that it listens on; 0 if it doesn't listen.
    """

    def __init__(
        self,
        *,
        pace: float = math.inf,
        faults: Iterable[Fault | str] = (),
        api_key: str | None = None,
        max_body: int = 16_000_000,
    ) -> None:
        """
        Make a server that listens nowhere yet.

        Args:
            pace: Tokens per second, > 0; ``math.inf`` for as fast as the client reads.
            faults: What is to go wrong: `Fault`, or scripts for `parse_fault`.
            api_key: The key that clients must send; None if any or none will do.
            max_body: Bytes that the body of a request may have, >= 1.

        Raises:
            ValueError: *pace* or *max_body* is out of range, or a script can't be read.
        """
        if not pace > 0:
            raise ValueError(f"pace must be tokens per second > 0, not {pace!r}")
        if max_body < 1:
            raise ValueError(f"max_body must be bytes >= 1, not {max_body!r}")
        self.host = ""
        self.port = 0
        self._pace = pace
        self._faults = [parse_fault(f) if isinstance(f, str) else f for f in faults]
        self._api_key = api_key
        self._max_body = max_body
        self._completions = 0  # requests for completions, which faults count
        self._counts = dict.fromkeys((field.name for field in attrs.fields(Statistics)), 0)

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def statistics(self) -> Statistics:
        """Return the counts as they are now."""
        return Statistics(**self._counts)

    async def serve(self, stream: trio.abc.Stream) -> None:  # noqa: ASYNC910
        """
        Speak HTTP/1.1 on *stream* until the client leaves, then close it.

        Nothing that a client sends makes this raise, and nor does a mistake of the server: that is
        logged and counted.

        Args:
            stream: The connection; owned from here on.

        Cancellation:
            The connection is closed in the midst of whatever was being sent.

        Checkpoint: always.
        """
        self._counts["connections_open"] += 1
        self._counts["connections_accepted"] += 1
        try:
            async with stream:
                await self._converse(Connection(stream, self._max_body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            _log.debug("the client left in mid-response")
        except Exception:
            self._counts["failures"] += 1
            _log.exception("the understudy failed; the connection is closed, the server goes on")
        finally:
            self._counts["connections_open"] -= 1

    async def _converse(self, connection: Connection) -> None:
        while True:
            try:
                request = await connection.receive()
            except Refused as refused:
                body = _error(str(refused), "invalid_request_error")
                await connection.respond(refused.status, body, (JSON, ("connection", "close")))
                await connection.linger()
                return
            if request is None:
                return
            self._counts["requests"] += 1
            is_done = False
            try:
                is_done = await self._answer(connection, request)
            except Cut:
                return
            finally:
                end = "" if is_done else ", broken off"
                _log.info("%s %s %d%s", request.method, request.path, connection.status, end)
            if not is_done:
                return
            if not connection.is_reusable():
                await connection.linger()
                return

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer *request*; tell whether the response came to its end."""
        api = _APIS.get(request.path)
        if api is not None and request.method == "POST" and self._is_authorized(request):
            return await self._complete(connection, api, request.body)
        status, body, headers = self._plain(request)
        await connection.respond(status, body, headers, head_only=request.method == "HEAD")
        return True

    def _is_authorized(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        key = self._api_key
        return key is None or hmac.compare_digest(given, f"Bearer {key}".encode())

    def _plain(self, request: Request) -> tuple[int, bytes, Headers]:
        """Return status, body and headers for all but completions."""
        invalid = "invalid_request_error"
        model = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "greenroom"}
        pages: dict[str, Callable[[], bytes]] = {
            "/": lambda: banner(self).encode() + b"\n",
            "/v1/models": lambda: encoded({"object": "list", "data": [model]}),
            f"/v1/models/{MODEL}": lambda: encoded(model),
            "/understudy/statistics": lambda: encoded(attrs.asdict(self.statistics())),
        }
        if request.path.startswith("/v1/") and not self._is_authorized(request):
            why = "Incorrect API key provided; send it as 'Authorization: Bearer KEY'."
            return 401, _error(why, invalid, code="invalid_api_key"), [JSON]
        is_completion = request.path in _APIS
        if is_completion or (request.path in pages and request.method not in ("GET", "HEAD")):
            allowed = "POST" if is_completion else "GET, HEAD"
            why = f"Method {request.method} is not allowed here; use {allowed}."
            return 405, _error(why, invalid, code="method_not_allowed"), [JSON, ("allow", allowed)]
        if request.path in pages:
            kind = ("content-type", "text/plain; charset=utf-8") if request.path == "/" else JSON
            return 200, pages[request.path](), [kind]
        if request.path.startswith("/v1/models/"):
            return 404, _no_such_model(request.path.removeprefix("/v1/models/")), [JSON]
        return 404, _error(f"Invalid URL ({request.method} {request.path})", invalid), [JSON]

    async def _complete(self, connection: Connection, api: "_API", raw: bytes) -> bool:
        """Answer a request for a completion, with its fault; tell whether it came to its end."""
        self._completions += 1
        fault = fault_for(self._faults, self._completions)
        headers = [JSON, ("x-request-id", f"req_{self._completions}")]
        streaming = False

        async def respond() -> None:
            nonlocal streaming
            await _pause(fault.delay)
            if fault.status is not None:
                why = f"the understudy was told to answer with status {fault.status}"
                if fault.retry_after is not None:
                    headers.append(("retry-after", f"{fault.retry_after:g}"))
                kind = "server_error" if fault.status >= 500 else "invalid_request_error"
                kind = "rate_limit_error" if fault.status == 429 else kind
                await connection.respond(fault.status, _error(why, kind), headers, cut=fault.cut)
                return
            body, status, refusal = _checked(raw, api)
            if refusal:
                await connection.respond(status, refusal, headers, cut=fault.cut)
            elif body.get("stream"):
                headers[0] = ("content-type", "text/event-stream; charset=utf-8")
                streaming = True
                self._counts["streams_running"] += 1
                await self._stream(connection, api, body, fault, headers)
            else:
                await self._whole(connection, api, body, fault, headers)

        try:
            is_done = await connection.while_present(respond)
        except Cut:
            if fault.reset is not None:
                connection.prepare_reset()
            raise
        finally:
            self._counts["streams_running"] -= streaming
        self._counts["streams_broken_off"] += streaming and not is_done
        return is_done

    async def _stream(
        self,
        connection: Connection,
        api: "_API",
        body: dict[str, Any],
        fault: Fault,
        headers: Headers,
    ) -> None:
        await connection.start(200, [*headers, ("cache-control", "no-cache")], fault.cut)
        begun, sent = trio.current_time(), 0
        parts = list(api.events(body, fault))
        for number, (data, tokens) in enumerate(parts):
            if number == fault.stall:
                await trio.sleep_forever()
            sent += tokens
            if tokens and self._pace != math.inf:
                await trio.sleep_until(begun + sent / self._pace)
            is_last = number == len(parts) - 1
            await connection.write(data, is_last=is_last and not fault.hang_close)
            self._counts["tokens_sent"] += tokens
        if fault.hang_close:
            await trio.sleep_forever()

    async def _whole(
        self,
        connection: Connection,
        api: "_API",
        body: dict[str, Any],
        fault: Fault,
        headers: Headers,
    ) -> None:
        completion = complete(body)
        tokens: int = completion.usage["completion_tokens"]
        await _pause(tokens / self._pace)
        await connection.respond(200, encoded(api.whole(completion)), headers, cut=fault.cut)
        self._counts["tokens_sent"] += tokens


async def _pause(seconds: float) -> None:
    if seconds == math.inf:
        await trio.sleep_forever()
    elif seconds:
        await trio.sleep(seconds)
    else:
        await trio.lowlevel.checkpoint()


def _error(message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return encoded({"error": error})


def _no_such_model(name: str) -> bytes:
    why = f"The model {name!r} does not exist; this server has {MODEL!r} only."
    return _error(why, "invalid_request_error", "model", "model_not_found")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@attrs.frozen
class _API:
    """One of the two APIs: what differs between them, all else is the same."""

    read: Callable[[Any], tuple[Any, list[Problem]]]
    """Makes a chat completion request of a request, and says what is wrong with it alone."""
    events: Callable[[dict[str, Any], Fault], Iterator[tuple[bytes, int]]]
    """Answers such a request with a stream."""
    whole: Callable[[Completion], dict[str, Any]]
    """Makes an answer in one piece."""


def _chat_events(body: dict[str, Any], fault: Fault) -> Iterator[tuple[bytes, int]]:
    usage = bool(obj(body.get("stream_options")).get("include_usage"))
    return events(complete(body), fault, include_usage=usage)


_APIS = {
    "/v1/chat/completions": _API(lambda body: (body, []), _chat_events, Completion.whole),
    "/v1/responses": _API(
        lambda body: as_chat(obj(body)),
        lambda body, fault: response_events(complete(body), fault),
        whole_response,
    ),
}


def _checked(raw: bytes, api: _API) -> tuple[dict[str, Any], int, bytes]:
    """Return the chat completion request, or the status and body that refuse it."""
    try:
        body, found = api.read(json.loads(raw.decode(), parse_constant=_refuse_constant))
        found = [*found, *problems(body)]
        encoded(body)  # a lone surrogate is JSON, but nothing that could be sent back
    except (ValueError, RecursionError):
        why = "We could not parse the JSON body of your request: it must be JSON in UTF-8."
        return {}, 400, _error(why, "invalid_request_error")
    if found:
        first = found[0]
        refusal = _error(first.message, "invalid_request_error", first.param, first.code)
        return {}, 400, refusal
    if body["model"] != MODEL:
        return {}, 404, _no_such_model(body["model"])
    return body, 200, b""


def banner(understudy: Understudy) -> str:
    """Return the line that says what *understudy* is and where."""
    where = f" at {understudy.base_url}" if understudy.port else ""
    return (
        f"Greenroom understudy{where}: model {MODEL!r} is a set of rules, not a language model. "
        "It answers by the tools that it is offered, and says so when it can't."
    )


@asynccontextmanager
async def open_understudy(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    pace: float = math.inf,
    faults: Iterable[Fault | str] = (),
    api_key: str | None = None,
    max_body: int = 16_000_000,
) -> AsyncGenerator[Understudy, None]:
    """
    Run an understudy on a TCP port while the block lasts.

    Args:
        host: Address to listen on; the default is reached from this machine only.
        port: TCP port; 0 for any that is free.
        pace: Tokens per second, > 0; ``math.inf`` for as fast as the client reads.
        faults: What is to go wrong: `Fault`, or scripts for `parse_fault`.
        api_key: The key that clients must send; None if any or none will do.
        max_body: Bytes that the body of a request may have, >= 1.

    Raises:
        ValueError: An argument is out of range, or a fault script can't be read.
        OSError: The address can't be listened on: the port is in use, or not for this user.

    Cancellation: all connections are closed, in the midst of what was being sent. So it is when the
    block ends.

    Checkpoint: on entry and on exit.
    """
    understudy = Understudy(pace=pace, faults=faults, api_key=api_key, max_body=max_body)
    listeners = await trio.open_tcp_listeners(port, host=host)
    understudy.host, understudy.port = listeners[0].socket.getsockname()[:2]
    with bare():
        async with trio.open_nursery() as nursery:
            # already bound: a client that connects before the task has started is kept waiting
            nursery.start_soon(trio.serve_listeners, understudy.serve, listeners)  # noqa: ASYNC113
            try:
                yield understudy
            finally:
                nursery.cancel_scope.cancel()
