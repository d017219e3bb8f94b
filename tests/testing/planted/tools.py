"""The tools that the worker runs: plain functions, as a user writes them."""

import time

import trio

from greenroom.runtime import fault_point


class ToolError(Exception):
    """A tool could not do what it was asked to."""


class Tools:
    """Each is an async function without arguments, by its name."""

    async def fetch(self) -> str:
        """Fetch something from a server that may fail."""
        fault_point("tool.fetch", ToolError)
        await trio.sleep(0.2)
        return "fetched"

    async def compare(self) -> str:
        """Fetch from two servers at once."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_server)
                nursery.start_soon(self._ask_server)
        except* ToolError:
            outcome = "one of the two did not answer"
        else:
            outcome = "compared"
        return outcome

    async def _ask_server(self) -> None:
        await trio.sleep(0.1)
        fault_point("tool.compare", ToolError)

    async def crunch(self) -> str:
        """Compute in a thread, and look now and then whether anybody still wants to know."""
        await trio.to_thread.run_sync(self._crunch)
        return "crunched"

    def _crunch(self) -> None:
        for _ in range(3):
            trio.from_thread.check_cancelled()
            time.sleep(4)


# -- with bugs


class CatchesNoGroup(Tools):
    """An error comes out of a nursery in a group, and ``except ToolError`` is none for groups."""

    async def compare(self) -> str:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_server)
                nursery.start_soon(self._ask_server)
        except ToolError:
            return "one of the two did not answer"
        return "compared"


class NeverLooksUp(Tools):
    """The thread goes on to its end, however long nobody wants to know any more."""

    def _crunch(self) -> None:
        time.sleep(12)
