"""
Shows a pipeline that speaks word by word, and is talked over: what was on its way is gone, in one
step and at both ends. Leaves out branches, flush, heartbeat and restarts.
"""

import trio

from greenroom.runtime import Frame, frame, handles, open_runtime
from greenroom.runtime.pipeline import PipelineInterrupted, Stage, handles_up, open_pipeline


@frame
class Text(Frame):
    text: str


@frame
class Spoken(Frame):
    words: int


class Count(Stage):
    @handles_up  # from below; texts, which come from above, pass it by
    async def spoken(self, frame: Spoken) -> None:
        print("words said to the end:", frame.words)


class Speak(Stage):
    @handles
    async def text(self, frame: Text) -> None:
        words = frame.text.split()
        for word in words:
            await trio.sleep(0.3)
            await self.push(Text(word))
        await trio.sleep(0.3)
        await self.push_up(Spoken(len(words)))


async def main() -> None:
    async with open_runtime() as runtime, open_pipeline(runtime, Count, Speak) as pipeline:
        with pipeline.sink(Text, PipelineInterrupted) as frames:
            await pipeline.send(Text("To be or not to be"))
            async for word in frames:
                print(word)
                if word == Text("be"):
                    pipeline.interrupt("the user speaks")
                elif isinstance(word, PipelineInterrupted):
                    await pipeline.send(Text("Yes?"))
                elif word == Text("Yes?"):
                    break
        print("now to the end")


if __name__ == "__main__":
    trio.run(main)
