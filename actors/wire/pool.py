"""
The connection pool: slots, kept connections and read deadlines. It knows pipes, not HTTP.

Ownership: a request's `PoolLease` owns a slot and, once connected, a pipe. A pipe without a lease
is in the idle list. Nothing else holds a pipe. Everything that ends or hands over one of these is
a plain function, so a cancel can come only before or after it.
"""

import contextlib
import functools
import math
from collections.abc import Generator
from typing import Final, NamedTuple

import attrs
import httpx2
import trio

from greenroom.actors.wire.body import Decoder
from greenroom.actors.wire.pipe import CHUNK, Pipe

__all__ = ["Origin", "Pool", "PoolLease", "TransportStatistics", "within"]

_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen
class TransportStatistics:
    """What a transport holds and did, at one moment."""

    active: int
    """Requests that hold a slot, from connecting to the end of the response's body; >= 0."""
    idle: int
    """Connections kept for the next request, the parked ones among them; >= 0."""
    parked: int
    """Idle connections whose last response has not been seen to end; >= 0."""
    opened: int
    """Connections made since the start; >= 0."""
    reused: int
    """Times a kept connection was taken for another request, since the start; >= 0."""
    aborted: int
    """Requests whose connection was closed before their response was over; >= 0."""
    limit: int
    """The most requests that can be active at once; > 0."""


class Origin(NamedTuple):
    """Where a connection leads; kept ones serve requests to an equal origin."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@attrs.define
class _Idle:
    """A kept connection."""

    origin: Origin
    pipe: Pipe
    since: float  # Trio clock, seconds
    parked: Decoder | None  # of the last response, while its end has not been seen

    def is_usable(self) -> bool:
        """Look, without waiting, whether the next request can be sent on this connection."""
        try:
            while True:
                arrived = self.pipe.receive_nowait(CHUNK)
                if self.parked is None:
                    # Anything at all is wrong here: the peer's end, or bytes nobody asked for.
                    return arrived is None
                if not arrived:
                    return False
                self.parked.decode(arrived)
                if not self.parked.finished or self.parked.rest:
                    return False
                self.parked = None
        except (*_BROKEN, httpx2.TransportError):
            return False


class Pool:
    """At most so many requests at once, and at most so many connections."""

    def __init__(self, *, max_connections: int, max_keepalive: int, expiry: float) -> None:
        """
        Make an empty pool.

        Args:
            max_connections: Requests at once, and connections at once; > 0.
            max_keepalive: Idle connections to keep, >= 0.
            expiry: How long an idle connection may be used again, in seconds, > 0.

        Raises:
            ValueError: a number is out of its range.
        """
        if max_connections < 1:
            raise ValueError(f"max_connections must be an int > 0, not {max_connections!r}")
        if max_keepalive < 0:
            raise ValueError(f"max_keepalive must be an int >= 0, not {max_keepalive!r}")
        if not expiry > 0:
            raise ValueError(f"keepalive_expiry must be > 0 (seconds) or math.inf, not {expiry!r}")
        self.size = max_connections
        self.closed = False
        self.alarm: trio.CancelScope | None = None  # while watch() runs: ends its sleep
        self.aborted = 0  # counted by the leases
        self.leases: set[PoolLease] = set()  # a lease adds and removes itself
        self.slots = trio.Semaphore(max_connections, max_value=max_connections)
        self._idle: list[_Idle] = []  # oldest first; filled by keep, emptied by check_out
        self._max_keepalive = max_keepalive
        self._expiry = expiry
        self._opened = 0
        self._reused = 0

    def statistics(self) -> TransportStatistics:
        """Return the figures of this moment."""
        return TransportStatistics(
            active=self.size - self.slots.value,
            idle=len(self._idle),
            parked=sum(idle.parked is not None for idle in self._idle),
            opened=self._opened,
            reused=self._reused,
            aborted=self.aborted,
            limit=self.size,
        )

    def close(self) -> None:
        """Close every connection; what waits in one is woken with an error. Idempotent."""
        self.closed = True
        for lease in tuple(self.leases):
            lease.close(aborted=True)
        while self._idle:
            self._idle.pop().pipe.abort()

    async def watch(self) -> None:
        """Keep the read deadlines of all leases until cancelled; see ``Transport.watch``."""
        try:
            while True:
                # No checkpoint between the end of a sleep and the start of the next one.
                earliest = min((lease.overdue_at for lease in self.leases), default=math.inf)
                with trio.CancelScope(deadline=earliest) as self.alarm:
                    await trio.sleep_forever()
                now = trio.current_time()
                for lease in self.leases:
                    if lease.overdue_at <= now:
                        lease.time_out()
        finally:
            self.alarm = None

    def check_out(self, lease: "PoolLease") -> bool:
        """Give *lease* the newest kept connection that is usable; close those that are not."""
        self._expire()
        for at in reversed(range(len(self._idle))):
            if self._idle[at].origin == lease.origin:
                idle = self._idle.pop(at)
                if idle.is_usable():
                    self._reused += 1
                    lease.attach(idle.pipe)
                    return True
                idle.pipe.abort()
        return False

    def make_room(self) -> None:
        """Close kept connections as far as one more, for a lease without any, is too many."""
        while self._idle and len(self.leases) + len(self._idle) > self.size:
            self._idle.pop(0).pipe.abort()

    def attach_new(self, lease: "PoolLease", pipe: Pipe) -> None:
        """Give *lease* a new connection."""
        self._opened += 1
        lease.attach(pipe)

    def keep(self, origin: Origin, pipe: Pipe, parked: Decoder | None) -> bool:
        """Keep *pipe*, at the cost of the oldest; return False if it was closed instead."""
        self._expire()
        if self.closed or not self._max_keepalive:
            pipe.abort()
            return False
        self._idle.append(_Idle(origin, pipe, trio.current_time(), parked))
        if len(self._idle) > self._max_keepalive:
            self._idle.pop(0).pipe.abort()
        return True

    def _expire(self) -> None:
        oldest = trio.current_time() - self._expiry
        while self._idle and self._idle[0].since <= oldest:
            self._idle.pop(0).pipe.abort()


class PoolLease:
    """
    The use of a slot and of a connection by one request; see `greenroom.actors.wire.body.Lease`.

    Everything but `receive` and `send` is a plain function, and ending it is idempotent.
    """

    def __init__(self, pool: Pool, origin: Origin, *, read: float, write: float) -> None:
        """
        Take over a slot of *pool* that was acquired.

        Args:
            pool: Where the slot goes back to.
            origin: Where the connection will lead.
            read: How long a read may wait, in seconds, ``math.inf`` for ever.
            write: The same for each part of what is sent.
        """
        self.origin = origin
        self.reusable = False  # set by the transport when the response's head is known
        self.heard = False  # a byte of the response came; set by the transport
        self.ended = False  # the slot is free again; set by _end
        self.overdue_at = math.inf  # Trio clock; finite while a read waits under watch()
        self._pool = pool
        self._read_timeout = read
        self._write_timeout = write
        self._timed_out = False  # watch() closed the pipe
        self._pipe: Pipe | None = None  # set by attach
        self._token = trio.lowlevel.current_trio_token()
        pool.leases.add(self)

    def __repr__(self) -> str:
        return f"<connection to {self.origin}>"

    def attach(self, pipe: Pipe) -> None:
        """Own *pipe* from now on; abort it if the lease was ended while it was being opened."""
        if self.ended:
            pipe.abort()
            raise httpx2.ConnectError(f"the transport was closed while connecting {self.origin}")
        self._pipe = pipe

    def drop_pipe(self) -> None:
        """Close the connection and keep the slot."""
        if self._pipe is not None:
            self._pipe.abort()
            self._pipe = None

    def time_out(self) -> None:
        """Wake the read that waits with an `httpx2.ReadTimeout`."""
        self._timed_out = True
        self.overdue_at = math.inf  # or the watch would come again until the read has noticed
        self._open_pipe().abort()

    def receive_nowait(self) -> bytes | None:
        """See `greenroom.actors.wire.body.Lease.receive_nowait`."""
        try:
            return self._open_pipe().receive_nowait(CHUNK)
        except _BROKEN as error:
            raise self._read_error(error) from error

    async def receive(self) -> bytes:
        """See `greenroom.actors.wire.body.Lease.receive`. Checkpoint: always."""
        pipe = self._open_pipe()
        alarm = self._pool.alarm
        try:
            if self._read_timeout == math.inf:
                return await pipe.receive_some(CHUNK)
            if alarm is None:
                with trio.move_on_after(self._read_timeout):
                    return await pipe.receive_some(CHUNK)
                raise self._late()
            self.overdue_at = trio.current_time() + self._read_timeout
            alarm.deadline = min(alarm.deadline, self.overdue_at)
            try:
                return await pipe.receive_some(CHUNK)
            finally:
                self.overdue_at = math.inf
        except _BROKEN as error:
            if self._timed_out:
                raise self._late() from None
            raise self._read_error(error) from error

    async def send(self, data: bytes) -> None:  # noqa: ASYNC910 - unless there is nothing to send
        """
        Send *data*, allowing the write timeout for each part of it.

        Raises:
            httpx2.WriteError: the connection broke, or was closed here meanwhile.
            httpx2.WriteTimeout: nothing could be sent for so long.

        Checkpoint: always, unless *data* is empty.
        """
        pipe = self._open_pipe()
        left = memoryview(data)
        sending = f"sending to {self.origin}"
        try:
            while left:
                with within(self._write_timeout, httpx2.WriteTimeout, sending):
                    await pipe.send_all(left[:CHUNK])
                left = left[CHUNK:]
        except _BROKEN as error:
            raise httpx2.WriteError(
                f"{self.origin} took no more of the request: {error}"
            ) from error

    def give_back(self, parked: Decoder | None = None) -> bool:
        """See `greenroom.actors.wire.body.Lease.give_back`."""
        pipe = self._open_pipe()
        self._end()
        return self._pool.keep(self.origin, pipe, parked)

    def close(self, *, aborted: bool) -> None:
        """See `greenroom.actors.wire.body.Lease.close`."""
        if self.ended:
            return
        self._end()
        if self._pipe is not None:
            self._pool.aborted += aborted
            self._pipe.abort()

    def abandon(self) -> None:
        """See `greenroom.actors.wire.body.Lease.abandon`."""
        # A finaliser runs in any thread and in the middle of anything, Trio's scheduler included.
        close = functools.partial(self.close, aborted=True)
        try:
            self._token.run_sync_soon(close)
        except trio.RunFinishedError:
            close()

    def _end(self) -> None:
        self.ended = True
        pool = self._pool
        pool.leases.remove(self)
        pool.slots.release()
        if pool.alarm is not None and not pool.leases:
            pool.alarm.deadline = math.inf

    def _open_pipe(self) -> Pipe:
        assert self._pipe is not None, "a lease is used only after attach()"
        return self._pipe

    def _late(self) -> httpx2.ReadTimeout:
        return httpx2.ReadTimeout(f"{self.origin} sent nothing for {self._read_timeout:g} s")

    def _read_error(self, error: Exception) -> httpx2.ReadError:
        if isinstance(error, trio.ClosedResourceError):
            return httpx2.ReadError(f"the connection to {self.origin} was closed here meanwhile")
        return httpx2.ReadError(f"{self.origin} broke the connection: {error}")


@contextlib.contextmanager
def within(seconds: float, late: type[httpx2.TimeoutException], doing: str) -> Generator[None]:
    """Raise *late* if the block, which is *doing* something, takes longer than *seconds*."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise late(f"{doing} took longer than {seconds:g} s")
