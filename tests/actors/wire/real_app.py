"""
An ASGI application under hypercorn; usage: real_app.py CERTIFICATE KEY. Ends when its stdin does.

It prints one line of JSON: the ports for http and https.
"""

import hashlib
import json
import logging
import sys
import warnings
from functools import partial
from typing import Any, cast

import hypercorn.trio
import trio
from hypercorn.config import Config

EVENTS = [b"data: %d\n\n" % number for number in range(100)]
FIXED = bytes(range(256)) * 1000


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer by the path."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    answer = _ANSWERS[scope["path"]]
    await answer(receive, send)


async def start(send: Any, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def end(send: Any, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body})


async def fixed(receive: Any, send: Any, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(FIXED))
    await start(send, 200, length, (b"content-type", b"text/plain"), *headers)
    await end(send, FIXED)


async def last(receive: Any, send: Any) -> None:
    await fixed(receive, send, (b"connection", b"close"))


async def events(receive: Any, send: Any) -> None:
    await start(send, 200, (b"content-type", b"text/event-stream"))
    for event in EVENTS:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await end(send)


async def endless(receive: Any, send: Any) -> None:
    await start(send, 200, (b"content-type", b"text/event-stream"))
    while True:
        await send({"type": "http.response.body", "body": EVENTS[0], "more_body": True})
        await trio.sleep(0.01)


async def digest(receive: Any, send: Any) -> None:
    found = hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        found.update(message.get("body", b""))
        if not message.get("more_body"):
            break
    await start(send, 200)
    await end(send, found.hexdigest().encode())


async def refuse(receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    await start(send, 413, (b"content-length", b"9"), (b"connection", b"close"))
    await end(send, b"too large")


async def nothing(receive: Any, send: Any) -> None:
    await start(send, 204)
    await end(send)


_ANSWERS: dict[str, Any] = {
    "/fixed": fixed,
    "/events": events,
    "/endless": endless,
    "/digest": digest,
    "/refuse": refuse,
    "/nothing": nothing,
    "/last": last,
}


async def main(*certified: str) -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.insecure_bind = ["127.0.0.1:0"]
    config.certfile, config.keyfile = certified
    config.keep_alive_timeout = 30
    config.errorlog = logging.getLogger("quiet")
    serve = cast("Any", hypercorn.trio).serve
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(partial(serve, app, config))
        ports = {address.split(":")[0]: int(address.rsplit(":", 1)[1]) for address in bound}
        print(json.dumps(ports), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    trio.run(main, *sys.argv[1:])
