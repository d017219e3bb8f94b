"""
Shows an interrupt of an actor and the one it owns, and what it spares. Leaves out pipelines, agents.
"""

import trio

from greenroom.runtime import Actor, Frame, Interrupted, Request, frame, handles, open_runtime


@frame
class Rehearse(Request[None]):
    scene: str


@frame
class Record(Frame):
    uninterruptible = True
    text: str


class Player(Actor):
    @handles
    async def rehearse(self, request: Rehearse) -> None:
        await trio.sleep(10)
        print("the player has done", request.scene)


class Director(Actor):
    async def on_start(self) -> None:
        self.player = await self.spawn(Player)

    @handles
    async def rehearse(self, request: Rehearse) -> None:
        await self.player.ask(request)

    @handles
    async def record(self, frame: Record) -> None:
        print("recorded:", frame.text)


async def main() -> None:
    async def lunch() -> None:
        await trio.sleep(1)
        await director.tell(Rehearse("the tomb"))  # queued, and skipped
        await director.tell(Record("lunch at noon"))  # queued, and kept
        director.interrupt("lunch")

    async with open_runtime() as runtime, trio.open_nursery() as nursery:
        director = await runtime.spawn(Director)
        nursery.start_soon(lunch)
        try:
            await director.ask(Rehearse("the balcony"))
        except Interrupted as interrupted:
            print("interrupted:", interrupted.reason)
        await director.ask(Rehearse("the duel"))


if __name__ == "__main__":
    trio.run(main)
