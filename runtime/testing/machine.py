"""
Stories of users, made up by Hypothesis, over a system that stands still between two lines of them.

A `SystemMachine` has a runtime open in a paused run (see `paused`), in virtual time. Rules that a
subclass adds begin calls, cancel them, and do things to actors; the machine's own let single tasks
make a step, let all settle, and let time pass. So anything can happen in the middle of a reaction,
which tests that wait for each reaction never see. At the end of each story the run ends, orderly or
by a cancel of all, and is judged as by `simulate`.

It needs Hypothesis, which greenroom itself does not: ``pip install 'greenroom[testing]'``.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, TypeVar, Unpack
from weakref import WeakSet

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from greenroom.runtime.actor import Actor
from greenroom.runtime.frames import Frame, Request
from greenroom.runtime.options import SpawnOptions
from greenroom.runtime.ref import Ref
from greenroom.runtime.system import Runtime, open_runtime
from greenroom.runtime.testing.history import LAWS, History, Law
from greenroom.runtime.testing.paused import Call, Paused
from greenroom.runtime.testing.simulate import CANCEL_BUDGET, Rules
from greenroom.runtime.testing.world import World

__all__ = ["Call", "SystemMachine"]

ReplyT = TypeVar("ReplyT")
ResultT = TypeVar("ResultT")

_open: "WeakSet[SystemMachine]" = WeakSet()


class SystemMachine(RuleBasedStateMachine):
    """
    A state machine over a paused system; extend it with rules, and write ``TestShop = Shop.TestCase``.

    Nothing moves while a rule begins and cancels calls, and none of that waits; `step`, `settle` and
    `advance`, and the machine's own rules, let the system go on. A rule of the machine is left out by
    a plain method of the same name.

    Attributes:
        laws: What has to hold at the end.
        expect: Exceptions that the runtime may end by.
        cancel_budget: How long it may take to end once all is cancelled (virtual seconds).
        seed: Of the runtime and of ``world.rng``.
    """

    laws: ClassVar[Sequence[Law]] = LAWS
    expect: ClassVar[tuple[type[BaseException], ...]] = ()
    cancel_budget: ClassVar[float] = CANCEL_BUDGET
    seed: ClassVar[int] = 0

    def __init__(self) -> None:
        """Open the runtime; actors are spawned by a rule with ``@initialize()``, or here after it."""
        super().__init__()
        for left in tuple(_open):
            left._close(abruptly=True)  # its __init__ raised, so that nobody tore it down
        self._handled = sys.exc_info()[1]
        self._is_cut_off = False
        self._is_closed = False
        rules = Rules(
            laws=self.laws, expect=self.expect, cancel_budget=self.cancel_budget, seed=self.seed
        )
        self._paused = Paused(rules, self.open)
        _open.add(self)

    def open(self, **options: Any) -> AbstractAsyncContextManager[Runtime]:
        """
        Return the runtime to be opened.

        To open it with other options, write ``return open_runtime(supervision=..., **options)``.
        """
        return open_runtime(**options)

    # -- what can be looked at

    @property
    def runtime(self) -> Runtime:
        """The runtime."""
        return self._paused.world.runtime

    @property
    def world(self) -> World:
        """As a scenario is given it: ``self.world.own(...)``, ``self.world.rng``."""
        return self._paused.world

    @property
    def history(self) -> History:
        """What has happened so far."""
        return self._paused.history

    @property
    def now(self) -> float:
        """Virtual seconds since the start of the story."""
        return self._paused.now

    @property
    def is_open(self) -> bool:
        """Whether the runtime is still open; one that a crash has ended, as is expected, is not."""
        return not self._paused.is_over

    # -- what rules can do

    def spawn(
        self, factory: Callable[..., Actor], *args: Any, **options: Unpack[SpawnOptions]
    ) -> Ref:
        """
        Spawn an actor; as `Runtime.spawn`, whose task and the actor's go on until it has started.

        Raises:
            Exception: what ``on_start`` or the factory raised.
            RuntimeError: the start waits for something that never comes, or the run is over.
        """

        async def spawn() -> Ref:
            return await self.runtime.spawn(factory, *args, **options)

        call = self.begin(spawn)
        self._paused.run_until_over(call)
        self._look()
        return call.value

    def tell(self, ref: Ref, frame: Frame) -> Call[None]:
        """Begin to tell *frame* to *ref*."""
        return self._paused.begin(f"tell {type(frame).__name__}", ref.tell, frame)

    def ask(self, ref: Ref, request: Request[ReplyT]) -> Call[ReplyT]:
        """Begin to ask *ref*; the reply is the ``value`` of the call that is returned, later."""
        return self._paused.begin(f"ask {type(request).__name__}", ref.ask, request)

    def begin(self, function: Callable[..., Awaitable[ResultT]], *args: Any) -> Call[ResultT]:
        """Begin a call of any async function, outside of the runtime."""
        return self._paused.begin(getattr(function, "__name__", "call"), function, *args)

    def cancel(self, call: Call[Any]) -> None:
        """Cancel *call*, as if its caller left; nothing happens to one that is over."""
        if not call.is_over:
            self._paused.strike(f"cancel({call.name})")
            call.cancel()

    def interrupt(self, ref: Ref, reason: str = "interrupted") -> None:
        """Interrupt *ref*; see `Ref.interrupt`."""
        if self.is_open:
            self._paused.strike(f"interrupt({ref.name})")
            ref.interrupt(reason)

    def stop(self, ref: Ref) -> None:
        """Ask *ref* to end; see `Ref.stop`."""
        if self.is_open:
            self._paused.strike(f"stop({ref.name})")
            ref.stop()

    def kill(self, ref: Ref) -> bool:
        """
        Crash *ref*: an `InjectedError` comes out of what one of its handlers waits for.

        Returns:
            Whether it could: False if no handler waits in code of its own.
        """
        did = self._paused.crash_handler(ref)
        if did:
            self._paused.strike(f"kill({ref.name})")
        return did

    # -- how it goes on

    def step(self, count: int = 1, *, turn: int | None = None) -> int:
        """
        Let single tasks make *count* steps, or fewer if no more can be made; return how many.

        With a version of Trio that the kit does not know this is `settle`, and stories say so.

        Args:
            count: How many, >= 0.
            turn: The index of the task that goes first, among those that can, taken modulo their
                number; by default the task of the last step.
        """
        made = self._paused.step(count, turn=turn)
        self._look()
        return made

    def settle(self) -> None:
        """Let the system go on until nothing more happens without time passing."""
        self._paused.settle()
        self._look()

    def advance(self, seconds: float) -> None:
        """Let virtual *seconds* pass, >= 0; what is due meanwhile happens in its time."""
        self._paused.advance(seconds)
        self._look()

    def jump(self, seconds: float) -> None:
        """Let virtual *seconds* pass at once, >= 0, without a step: as if the machine was slow."""
        if self.is_open:
            self._paused.strike(f"jump({seconds:g})")
            self._paused.jump(seconds)

    # -- the machine's own rules

    @initialize(cut_at=st.none() | st.integers(0, 40))
    def ends(self, cut_at: int | None) -> None:
        """
        Say how the run ends: orderly after the story, or cut off by a cancel of all.

        Args:
            cut_at: Before which step it is cut off, wherever in the story that is; but after the
                story at the latest.
        """
        self._is_cut_off = cut_at is not None
        if cut_at is not None:
            self._paused.cut_after(cut_at)

    @rule(steps=st.none() | st.integers(1, 8), turn=st.none() | st.integers(0, 3))
    def goes_on(self, steps: int | None, turn: int | None) -> None:
        """Let the system get somewhere, or come to rest."""
        if steps is None:
            self.settle()
        else:
            self.step(steps, turn=turn)

    @rule(seconds=st.sampled_from((0.1, 1.0, 10.0)))
    def time_passes(self, seconds: float) -> None:
        """Let time pass."""
        self.advance(seconds)

    # -- the end

    def teardown(self) -> None:
        """
        End the run and judge it; override it to look at the end, after ``super().teardown()``.

        Raises:
            AssertionError: something is wrong with the run; not if a rule has failed, which is told
                in place of it.
        """
        failing = sys.exc_info()[1] not in (None, self._handled)
        self._close(abruptly=self._is_cut_off or failing, tells=not failing)

    def _look(self) -> None:
        """Judge a run that has ended by itself, or is to be cut off here."""
        if self._paused.is_over or self._paused.is_cut:
            is_cut = not self._is_closed and self._paused.is_cut
            self._close(abruptly=True)
            if is_cut:
                reject()  # nothing is wrong, and the rest of the story is no more to be told

    def _close(self, *, abruptly: bool, tells: bool = True) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        _open.discard(self)
        problems = self._paused.close(abruptly=abruptly)
        if problems and tells:
            __tracebackhide__ = True
            raise AssertionError(self._paused.story(problems))
