"""
Shows a supervised actor that crashes: the asker is told, the frame is quarantined, the queue stays,
and a new incarnation goes on with it. Leaves out strategies, redelivery and supervisors' trees.
"""

import trio

from greenroom.runtime import (
    Actor,
    ActorCrashed,
    Backoff,
    Request,
    Supervision,
    frame,
    handles,
    open_runtime,
)


@frame
class Divide(Request[float]):
    by: int


class Calculator(Actor):
    def __init__(self) -> None:
        print("a calculator starts")
        self.answered = 0  # state, gone with the incarnation

    @handles
    async def divide(self, request: Divide) -> float:
        await trio.sleep(0.1)
        result = 12 / request.by
        self.answered += 1
        print(f"12 / {request.by} = {result:g}, answer number {self.answered}")
        return result


async def main() -> None:
    async def ask(by: int) -> None:
        try:
            await calculator.ask(Divide(by))
        except ActorCrashed as error:
            print("the asker is told:", type(error.__cause__).__name__)

    supervision = Supervision(restarts=3, within=5, backoff=Backoff(first=0.2))
    async with open_runtime(supervision=supervision) as runtime:
        calculator = await runtime.spawn(Calculator, name="calculator", restart="transient")
        async with trio.open_nursery() as nursery:
            for by in (3, 0, 4):  # the last one is queued when the crash comes
                nursery.start_soon(ask, by)
                await trio.sleep(0.01)
        (quarantined,) = calculator.statistics().quarantined
        print("quarantined:", quarantined.frame)


if __name__ == "__main__":
    trio.run(main)
