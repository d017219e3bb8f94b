"""``greenroom understudy``: serve the model that is a set of rules."""

import logging

import trio

from greenroom.actors.cli.run import CommandError, Interrupts
from greenroom.actors.cli.screen import Screen
from greenroom.actors.understudy import MODEL, banner, open_understudy

__all__ = ["serve"]


class _Requests(logging.Handler):
    """Shows what the server logs, one line a request."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.line(record.getMessage())


async def serve(
    interrupts: Interrupts,
    *,
    host: str,
    port: int,
    pace: float,
    faults: tuple[str, ...],
    api_key: str | None,
) -> int:
    """
    Serve until Ctrl-C, with a line for each request.

    Raises:
        CommandError: an option is wrong, or the address can't be listened on.
    """
    if not 0 <= port <= 65535:
        raise CommandError(f"--port must be from 0 to 65535, not {port}", 2)
    screen = Screen()
    log = logging.getLogger("greenroom.understudy")
    handler = _Requests(screen)
    try:
        async with open_understudy(
            host=host, port=port, pace=pace, faults=faults, api_key=api_key
        ) as server:
            screen.line(banner(server))
            screen.line(f"Try: greenroom chat --team --base-url {server.base_url} --model {MODEL}")
            screen.line("Ctrl-C ends it.", "dim")
            log.addHandler(handler)
            log.setLevel(logging.INFO)
            with interrupts.part():
                await trio.sleep_forever()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(
            f"can't listen on {host} port {port}: {error.strerror or error}; "
            f"write another --port, or --port 0 for any that is free"
        ) from error
    except ValueError as error:
        raise CommandError(str(error), 2) from error
    finally:
        log.removeHandler(handler)
    statistics = server.statistics()
    screen.line(f"{statistics.requests} requests, {statistics.tokens_sent} tokens sent")
    return 0
