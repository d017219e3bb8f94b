"""``greenroom understudy``: serve the model that is a set of rules."""

import errno
import logging

import trio

from greenroom.actors.cli.run import CommandError, Interrupts
from greenroom.actors.cli.screen import Screen
from greenroom.actors.cli.wording import counted
from greenroom.actors.understudy import MODEL, banner, open_understudy

__all__ = ["serve"]


class _Requests(logging.Handler):
    """Shows what the server logs, one line a request; *scope* ends when that can't be written."""

    def __init__(self, screen: Screen, scope: trio.CancelScope) -> None:
        super().__init__(logging.INFO)
        self._screen = screen
        self._scope = scope
        self.failure: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._screen.line(record.getMessage())
        except OSError as error:  # the connection that logs is not to blame
            self.failure = error
            self._scope.cancel()


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
    try:
        async with open_understudy(
            host=host, port=port, pace=pace, faults=faults, api_key=api_key
        ) as server:
            screen.line(banner(server))
            screen.line(f"Try: greenroom chat --team --base-url {server.base_url} --model {MODEL}")
            screen.line("Ctrl-C ends it.", "dim")
            await _show_requests(interrupts, screen)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno == errno.ENOSPC:
            raise
        is_taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        hint = "write another --port, or --port 0 for any that is free"
        raise CommandError(
            f"can't listen on {host} port {port}: {error.strerror or error}; "
            f"{hint if is_taken else 'write another --host, or leave it out'}"
        ) from error
    except ValueError as error:
        raise CommandError(str(error), 2) from error
    statistics = server.statistics()
    requests, tokens = statistics.requests, statistics.tokens_sent
    screen.line(f"{counted(requests, 'request')}, {counted(tokens, 'token')} sent")
    return 0


async def _show_requests(interrupts: Interrupts, screen: Screen) -> None:
    """Show each request until Ctrl-C. Checkpoint: always."""
    log = logging.getLogger("greenroom.understudy")
    with interrupts.part() as scope:
        handler = _Requests(screen, scope)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            await trio.sleep_forever()
        finally:
            log.removeHandler(handler)
    if handler.failure is not None:
        raise handler.failure
