"""
HTTP/1.1 over Trio whose close is a plain function.

`Transport` works on its own for any httpx2 user::

    async with httpx2.AsyncClient(transport=Transport()) as client:
        response = await client.get("https://example.org/")

`Guard` gives HTTP clients of other makes an end as safe. For streams, `Body` (in ``response.extensions["greenroom.body"]``) and `SSESplitter` are the path
without async generators, and `dial` with `Pipe` the bytes below.
"""

from greenroom.actors.wire.body import BODY_EXTENSION, Body, BodyState, Closing
from greenroom.actors.wire.guard import Guard, GuardStatistics
from greenroom.actors.wire.guarded import GuardedBody
from greenroom.actors.wire.pipe import Dial, Pipe, SocketPipe, TlsPipe, dial, start_tls
from greenroom.actors.wire.pool import TransportStatistics
from greenroom.actors.wire.sse import EventTooLarge, ServerEvent, SSESplitter
from greenroom.actors.wire.transport import Transport

__all__ = [
    "BODY_EXTENSION",
    "Body",
    "BodyState",
    "Closing",
    "Dial",
    "EventTooLarge",
    "Guard",
    "GuardStatistics",
    "GuardedBody",
    "Pipe",
    "SSESplitter",
    "ServerEvent",
    "SocketPipe",
    "TlsPipe",
    "Transport",
    "TransportStatistics",
    "dial",
    "start_tls",
]
