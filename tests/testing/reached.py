"""A module whose awaits are counted by a test."""

import trio


async def all_of_it(*, straight: bool) -> None:
    """Wait in each way that there is; some of it only on the *straight* way."""
    send, receive = trio.open_memory_channel[int](1)
    async with send, receive:
        await send.send(1)
        async for number in receive:
            if number == 1:
                if straight:
                    await trio.sleep(
                        number,
                    )
                break
