"""
Shows a FastAPI app on uvicorn with a runtime as its guest: a client leaves, its handler is over.
Leaves out endpoints that ask, by `await guest.run(ref.ask, frame)`. The client is there for show.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
import trio
import uvicorn
from fastapi import Depends, FastAPI, responses

from greenroom.runtime import Actor, Emit, Frame, StreamRequest, frame, handles, open_runtime
from greenroom.runtime.guest import GuestStream, open_guest


@frame
class Price(Frame):
    euros: int


@frame
class Watch(StreamRequest[Price]):
    share: str


class Market(Actor):
    @handles
    async def follow(self, request: Watch, emit: Emit[Price]) -> None:
        await emit(Price(len(request.share)))
        await trio.sleep_forever()  # until there is news


async def main() -> None:
    app, listener = FastAPI(), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    async with open_guest(open_runtime()) as guest, asyncio.TaskGroup() as group:
        market = await guest.run(guest.opened.spawn, Market)

        async def watched(share: str) -> AsyncIterator[GuestStream[Price]]:
            async with guest.stream(market.stream(Watch(share))) as prices:
                yield prices  # until the request is over, however it ends
            print("handlers that run on:", market.statistics().running)

        @app.get("/{share}", response_class=responses.StreamingResponse)
        def watch(prices: Annotated[GuestStream[Price], Depends(watched)]) -> responses.Response:
            return responses.StreamingResponse(f"{price.euros}\n" async for price in prices)

        group.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/green"
        async with httpx2.AsyncClient() as client, client.stream("GET", url) as response:
            print("the client got", await anext(response.aiter_lines()), "and leaves")
        server.should_exit = True


asyncio.run(main())
