"""
Shows an actor asked for one reply, for a stream of replies, and for a stream that is left early:
its handler is over when the block is. Leaves out crashes, interruption and control frames.
"""

import trio

from greenroom.runtime import (
    Actor,
    Emit,
    Frame,
    Request,
    StreamRequest,
    frame,
    handles,
    open_runtime,
)


@frame
class Greeting(Frame):
    text: str


@frame
class Greet(Request[Greeting]):
    name: str


@frame
class GreetAll(StreamRequest[Greeting]):
    names: tuple[str, ...]


class Greeter(Actor):
    @handles
    async def greet(self, request: Greet) -> Greeting:
        return Greeting(f"Hello, {request.name}")

    @handles  # a second parameter makes it a streaming handler
    async def greet_all(self, request: GreetAll, emit: Emit[Greeting]) -> None:
        for name in request.names:
            await emit(Greeting(f"Hello, {name}"))


async def main() -> None:
    async with open_runtime() as runtime:
        greeter = await runtime.spawn(Greeter, name="greeter")
        print((await greeter.ask(Greet("Ada"))).text)
        async with greeter.stream(GreetAll(("Grace", "Edsger") * 1000)) as greetings:
            async for greeting in greetings:
                print(greeting.text)
                if greeting.text == "Hello, Edsger":
                    break
        print("left early, and nothing of it is left")


if __name__ == "__main__":
    trio.run(main)
