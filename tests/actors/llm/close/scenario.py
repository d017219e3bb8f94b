"""One request, cut off at one moment or not at all, and a look at what it left behind."""

from collections.abc import Awaitable, Callable

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.actors.testing import open_memory_network
from greenroom.runtime.testing import FaultKind, InjectedError, Scenario, SweepReport, World, sweep
from tests.actors.llm.close.sockets import Faults
from tests.actors.llm.close.strategies import EXPECTED, Session, Strategy, Surroundings
from tests.actors.llm.close.variants import OK, SLOW, Server, Variant
from tests.actors.wire.peers import TlsPair, answering, over_tls

#: What is swept: a cancel of the request's scope, its deadline, errors out of every wait in the
#: libraries and the loop around them, and failures of every operation of the network.
FAULTS: tuple[FaultKind, ...] = ("cancel", "call", "raise", "fail")


class Left(AssertionError):
    """A request left something behind, or made the next one impossible."""


@attrs.frozen
class Case:
    """A cell of the table."""

    strategy: Strategy
    variant: Variant
    is_secure: bool

    def __str__(self) -> str:
        where = "TLS" if self.is_secure else "plain"
        return f"{self.strategy.name}, {self.variant.name}, {where}"

    def scenario(self, tls: TlsPair) -> Scenario:
        """Return the scenario of this case."""

        async def run(w: World) -> None:
            await self._run(w, tls)

        return run

    async def _run(self, w: World, tls: TlsPair) -> None:
        handler = answering(Server())
        if self.is_secure:
            handler = over_tls(handler, tls.server)
        async with open_memory_network(handler) as network:
            faults = Faults()
            around = Surroundings(network, self.variant, tls, self.is_secure, faults)
            async with self.strategy.open(around) as session:
                if self.variant.is_warm:
                    await session.probe(OK)
                async with trio.open_nursery() as others:
                    if self.variant.is_contended:
                        others.start_soon(quietly, session.probe, SLOW)
                        await wait_all_tasks_blocked()
                    faults.are_on = True
                    await cut_off(w, session, self.variant.name)
                    faults.are_on = False
                await trio.sleep(0.1)  # reading to the end may go on for 50 ms
                held = session.held()
                is_open = max(0, network.open - session.idle)  # the server may have ended idle ones
                await follow_up(session)
            await trio.sleep(0.1)
            left_open = network.open
        if held or is_open or left_open:
            raise Left(
                f"{held or 'nothing'} held; {is_open} connections open for the server alone; "
                f"{left_open} open after the client was closed"
            )


async def cut_off(w: World, session: Session, model: str) -> None:
    """Ask, in a scope that faults are for."""
    with w.scope("request") as scope:

        def pass_deadline() -> None:
            scope.deadline = trio.current_time()

        with w.action("deadline", pass_deadline):
            await quietly(session.ask, model)


async def quietly(ask: Callable[[str], Awaitable[None]], model: str) -> None:
    """Ask, and take a failure for an answer."""
    try:
        await ask(model)
    except (*EXPECTED, InjectedError):
        await trio.lowlevel.checkpoint()


async def follow_up(session: Session) -> None:
    """Ask once more, on the same pool of one."""
    with trio.move_on_after(10) as scope:
        await session.probe(OK)
    if scope.cancelled_caught:
        raise Left("the next request got no connection")


def swept(case: Case, tls: TlsPair, *, stride: int = 1, stop_after: int = 1) -> SweepReport:
    """Sweep *case*."""
    return sweep(
        case.scenario(tls),
        faults=FAULTS,
        targets=["request"],
        stride=stride,
        stop_after=stop_after,
        cancel_budget=2.0,
    )
