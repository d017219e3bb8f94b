"""What providers that stand before other providers have in common: they run them, and close them."""

from contextlib import ExitStack

import trio

from greenroom.actors.llm.provider import Provider

__all__ = ["Wrapping"]


class Wrapping:
    """
    The part of a `Provider` that is the same for all that pass requests on to others.

    Args:
        providers: At least one. Their names and defaults are those of the first.
    """

    def __init__(self, *providers: Provider) -> None:
        if not providers:
            raise ValueError(f"{type(self).__name__} needs at least one provider, and got none")
        self.providers = providers

    def __repr__(self) -> str:
        """Name the providers."""
        return f"<{type(self).__name__} of {', '.join(p.name for p in self.providers)}>"

    @property
    def name(self) -> str:
        """See `Provider.name`."""
        return self.providers[0].name

    @property
    def default_model(self) -> str:
        """See `Provider.default_model`."""
        return self.providers[0].default_model

    # ASYNC128 does not see that started() is called; for ASYNC114 see `Provider.run`.
    async def run(  # noqa: ASYNC114, ASYNC128
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Do the background work of all, see `Provider.run`."""
        async with trio.open_nursery() as nursery:
            for provider in dict.fromkeys(self.providers):
                await nursery.start(provider.run)
            task_status.started()

    def close(self) -> None:
        """Close all, see `Provider.close`."""
        with ExitStack() as stack:  # all of them, also where one raises
            for provider in self.providers:
                stack.callback(provider.close)
