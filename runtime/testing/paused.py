"""
A system that goes on only when it is told to: a run of Trio in which nothing moves between two calls.

It is a guest run whose host is whoever holds the `Paused`. Each pass of Trio's loop is made by a plain
call, in the same thread; of the tasks of the system at most one makes a step in it, and none unless
a step is granted. Time is virtual, and stands still as well. A task of Trio's own can always run, so
that Trio never waits for input or output, which it would do in a thread.
"""

import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from typing import Any, Final, Generic, TypeVar

import trio
import trio.testing

from greenroom.runtime import probes
from greenroom.runtime.probes import InjectedError
from greenroom.runtime.ref import Ref
from greenroom.runtime.system import Runtime
from greenroom.runtime.testing import seam
from greenroom.runtime.testing.control import Fifo
from greenroom.runtime.testing.director import Director
from greenroom.runtime.testing.history import History
from greenroom.runtime.testing.judge import Outcome, problems_of
from greenroom.runtime.testing.leaks import Leaks
from greenroom.runtime.testing.plan import Fault, Plan
from greenroom.runtime.testing.render import timeline
from greenroom.runtime.testing.report import Problem
from greenroom.runtime.testing.simulate import Rules, kept
from greenroom.runtime.testing.targets import waits_in_own_code
from greenroom.runtime.testing.threads import VirtualThreads
from greenroom.runtime.testing.world import ROOT, World

__all__ = ["Call", "Open", "Paused"]

ResultT = TypeVar("ResultT")

# Opens the runtime of a run, given its observers and its seed.
Open = Callable[..., AbstractAsyncContextManager[Runtime]]

# A run that is not over after so many passes, though all is done to end it, never will be.
_MOST_PASSES: Final = 30_000

# Runs that nothing ended. They are kept, since Python would try to close their coroutines, in vain.
_unended: Final[list[object]] = []


class Call(Generic[ResultT]):
    """
    Something that was begun from outside of the system; it goes on as the system does.

    Attributes:
        name: Of its task.
        is_over: Whether it has ended: by a value, an error or a cancel.
        is_cancelled: Whether it ended by a cancel.
        error: What it raised, if it did.
    """

    def __init__(self, name: str) -> None:
        """Made by `Paused.begin`."""
        self.name = name
        self.is_over = False
        self.is_cancelled = False
        self.error: Exception | None = None
        self._values: list[ResultT] = []  # at most one
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        if not self.is_over:
            return f"<Call {self.name!r} goes on>"
        how = "cancelled" if self.is_cancelled else repr(self.error or self.value)
        return f"<Call {self.name!r} {how}>"

    @property
    def value(self) -> ResultT:
        """
        What it returned.

        Raises:
            Exception: what it raised.
            RuntimeError: it goes on, or was cancelled.
        """
        if self.error is not None:
            raise self.error
        if not self._values:
            how = "was cancelled" if self.is_cancelled else "is not over; let the system go on"
            raise RuntimeError(f"the call {self.name!r} {how}")
        return self._values[0]

    def cancel(self) -> None:
        """Cancel it; the cancel comes out of its wait once the system goes on."""
        self._scope.cancel(reason="its caller left")

    def end(self, error: Exception) -> None:
        """Take it for over, as what it was to be begun in is."""
        self.is_over, self.error = True, error

    async def run(  # noqa: ASYNC910 - as *function* does
        self, function: Callable[..., Awaitable[ResultT]], *args: Any
    ) -> None:
        """Await *function*, and keep how it ends; for `Paused`."""
        try:
            with self._scope:
                self._values.append(await function(*args))
        except Exception as error:
            self.error = error
        finally:
            self.is_over = True
            self.is_cancelled = not self._values and self.error is None


class _Gate(Director):
    """A director that lets a task go only if a step is granted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.granted: float = 0  # steps
        self.cut_at = math.inf  # the number of a step
        self.is_cut = False

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        if self.steps >= self.cut_at:
            self.granted, self.cut_at, self.is_cut = 0, math.inf, True
        if self.granted > 0 or self._is_over:
            before = self.steps
            super().shuffle(batch)
            self.granted -= self.steps - before
            return
        for task in batch:
            if task in self._alive:
                self._queue.setdefault(task)
        batch[:] = [task for task in batch if task not in self._alive]
        seam.hold(self._queue)

    @property
    def is_ended(self) -> bool:
        """Whether the main task is about to end."""
        return self._is_over

    def _at_position(self) -> None:
        """Note nothing: what is done comes from outside."""

    def strike(self, what: str) -> None:
        """Note for the story that *what* was done."""
        self.strikes.append((len(self._history.events), f"!! {what}"))

    def cancel_root(self, now: float) -> None:
        """Cancel all at the time *now*."""
        self.strike("cancel(root)")
        self._cancelled[ROOT] = now, self.jumped
        self.root.cancel(reason="the machine ends abruptly")

    def crash_handler(self, ref: Ref) -> bool:
        """Have an error come out of what a handler of *ref* waits for; tell whether one could."""
        for task, name in self._alive.items():
            mine = task.name == ref.name or task.name.startswith(f"{ref.name} (")
            if mine and task not in self._queue and waits_in_own_code(task):
                fault = Fault("raise", self.steps, name)
                if self._controls and seam.raise_in(task, InjectedError(str(fault))):
                    self.fired.append(fault)
                    return True
        return False


class Paused:
    """
    A system, open, that stands still.

    Attributes:
        world: As a scenario is given it.
        is_fine: Whether single steps can be made; False on a version of Trio that the seam does not
            know, where the system goes on until nothing more can happen, each time.
    """

    world: World

    def __init__(self, rules: Rules, open_one: Open) -> None:
        """Open it; nothing of it moves afterwards, and time is 0."""
        self._rules = rules
        self._open_one = open_one
        self._outcome = Outcome(History())
        self._clock = trio.testing.MockClock()
        self._turns: dict[int, int] = {}  # steps at which a task of another index goes first
        self._calls: list[Call[Any]] = []  # those of one example
        self._passes: deque[Callable[[], object]] = deque()  # at most one or two
        self._ended: Any = None  # the outcome of the run
        self._drives = True
        self._end = trio.Event()
        self._leaks = Leaks()
        self._stack = contextlib.ExitStack()
        self.is_fine = _is_known()
        plan = Plan() if self.is_fine else Plan(mode="public")
        self._gate = _Gate(
            *(plan, Fifo(self._turns), self._clock, self._outcome.history),
            max_steps=rules.max_steps,
        )
        self._stack.enter_context(self._leaks)
        if self.is_fine:
            threads = VirtualThreads(rules.thread_seconds)
            self._stack.enter_context(seam.taken_over(self._gate, threads.start))
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._passes.append,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,
            clock=self._clock,
            instruments=self._gate.instruments(),
        )
        self.settle()
        if (error := self._error()) is not None:
            self._stack.close()
            raise kept(error)  # why it could not be opened

    def _done(self, outcome: Any) -> None:
        self._ended = outcome

    def _error(self) -> BaseException | None:
        """Return the error that the run has ended by, if it has."""
        return getattr(self._ended, "error", None)

    # -- inside the run

    async def _main(self) -> None:
        gate, outcome, rules = self._gate, self._outcome, self._rules
        self._leaks.watch_generators()
        probes.listener.set(gate)
        gate.begin(trio.lowlevel.current_task())
        trio.lowlevel.spawn_system_task(self._drive)
        try:
            with gate.root:
                async with trio.open_nursery() as self._outside:
                    observers = [outcome.history, gate.cancels]
                    async with self._open_one(observers=observers, seed=rules.seed) as runtime:
                        self._context: Context = copy_context()
                        self.world = World(
                            *(runtime, outcome.history, rules.seed),
                            scope_ended=gate.scope_ended,
                        )
                        outcome.world = gate.world = self.world
                        await self._end.wait()
        finally:
            outcome.seconds = gate.end()
            outcome.generators = self._leaks.open_generators()

    async def _drive(self) -> None:
        """Be able to run, always."""
        while self._drives:  # noqa: ASYNC110 - to be busy is what it is for
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    # -- from outside

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, by itself or not."""
        return self._ended is not None

    @property
    def history(self) -> History:
        """What has happened so far."""
        return self._outcome.history

    @property
    def now(self) -> float:
        """Virtual seconds since it was opened."""
        return self._clock.current_time()

    def begin(
        self, name: str, function: Callable[..., Awaitable[ResultT]], *args: Any
    ) -> Call[ResultT]:
        """Begin a call of *function* in a task outside of the runtime; it makes no step yet."""
        call: Call[ResultT] = Call(name)
        if self.is_over:
            call.end(RuntimeError(f"{name!r} can't begin: the run is over"))
            return call
        self._calls.append(call)
        start: Callable[..., None] = self._outside.start_soon
        self._context.run(start, call.run, function, *args, name=name)
        return call

    @property
    def is_cut(self) -> bool:
        """Whether it stands still before the step that was given to `cut_after`."""
        return self._gate.is_cut

    def cut_after(self, count: int) -> None:
        """Let it go on for *count* steps of tasks, whatever is granted, and then no more."""
        self._gate.cut_at = self._gate.steps + count

    def strike(self, what: str) -> None:
        """Note in the story that *what* is done now."""
        self._gate.strike(what)

    def crash_handler(self, ref: Ref) -> bool:
        """Have an `InjectedError` come out of what a handler of *ref* waits for, if one waits."""
        return not self.is_over and self._gate.crash_handler(ref)

    def step(self, count: int, *, turn: int | None = None) -> int:
        """
        Let single tasks make *count* steps, or fewer if no more can be made, and return how many.

        Args:
            count: How many, >= 0.
            turn: The index of the task that goes first, of those that can, the one that waited
                longest first; taken modulo their number. By default the one of the last step.
        """
        gate = self._gate
        before = gate.steps
        if not self.is_fine:
            self.settle()
            return gate.steps - before
        if turn is not None:
            self._turns[before] = turn
        gate.granted = count
        while gate.granted > 0 and self._pass_while_busy():
            pass
        gate.granted = 0
        return gate.steps - before

    def settle(self) -> None:
        """
        Let the system go on until nothing more happens without time passing.

        Raises:
            AssertionError: it goes on and on.
        """
        self._gate.granted = math.inf
        most = self._gate.steps + self._rules.max_steps
        while self._gate.granted > 0 and self._pass_while_busy():
            if self._gate.steps > most:
                raise AssertionError(self.story([Problem("LIVELOCK", "it never settles")]))
        self._gate.granted = 0

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds go by; what is due is done in time, and settled each time."""
        until = self.now + seconds
        self.settle()
        while not (self.is_over or self.is_cut):
            ahead = max(0.0, self._next_deadline())
            left = until - self.now
            self._clock.jump(min(ahead, max(0.0, left)))
            self.settle()
            if ahead > left:
                return

    def jump(self, seconds: float) -> None:
        """Let so many virtual seconds go by at once, with no step in between, as if all were slow."""
        self._gate.jumped += seconds
        self._clock.jump(seconds)

    def run_until_over(self, call: Call[Any]) -> None:
        """
        Let the newest tasks go on until *call* is over, with as much time as it takes.

        Raises:
            RuntimeError: it waits for something that never comes.
        """
        while not (call.is_over or self.is_over or self.is_cut):
            if self.step(1, turn=-1):
                continue
            if math.isinf(ahead := self._next_deadline()):
                raise RuntimeError(f"{call.name!r} waits for something that never comes")
            self._clock.jump(max(0.0, ahead))

    def _next_deadline(self) -> float:
        return trio.lowlevel.current_statistics().seconds_to_next_deadline

    def _pass_while_busy(self) -> bool:
        """Make one pass of Trio's loop; return whether anything can happen in the next one."""
        if self.is_over:
            return False
        self._passes.popleft()()
        if self.is_over:
            return False
        runnable = trio.lowlevel.current_statistics().tasks_runnable
        return runnable > 1 or self._gate.is_ended  # more than the driver, or all but over

    # -- the end

    def close(self, *, abruptly: bool) -> tuple[Problem, ...]:
        """
        End the run, and return what is wrong with it.

        Args:
            abruptly: Whether to cancel all, in place of ending the runtime's block and waiting for
                the calls.
        """
        gate, outcome = self._gate, self._outcome
        is_stuck = False
        try:
            if not self.is_over:
                gate.granted = gate.cut_at = math.inf
                if abruptly:
                    gate.cancel_root(self.now)
                else:
                    self._end.set()
                self._clock.autojump_threshold = 0
                self._drives = False  # from here on the gate sees whether it hangs
                is_stuck = not self._run_out()
                if is_stuck:
                    _unended.append(self)
        finally:
            self._passes.clear()
            if (error := self._error()) is not None:
                outcome.error = kept(error)
            for call in self._calls:
                if call.error is not None:
                    kept(call.error)
            self._stack.close()
        outcome.history.jumped = gate.jumped
        found = problems_of(
            *(outcome, gate, self._leaks, self._rules.laws),
            cancel_budget=self._rules.cancel_budget,
            expect=self._rules.expect,
        )
        stuck = [Problem("HANG", "no cancel and no error ends it")] * is_stuck
        return (*stuck, *found)

    def _run_out(self) -> bool:
        """Make passes until the run is over; return False if it never is."""
        for _ in range(_MOST_PASSES):
            if self.is_over:
                return True
            self._passes.popleft()()
        return self.is_over

    def story(self, problems: Iterable[Problem]) -> str:
        """Return what is wrong, and who did what until then."""
        lines = [f"  {problem}" for problem in problems]
        if not self.is_fine:
            lines.append("  (this version of trio can't be stepped: each step settled)")
        return "\n".join([*lines, "", timeline(self.history.events, self._gate.strikes)])


def _is_known() -> bool:
    try:
        seam.check()
    except seam.SeamMismatch:
        return False
    return True
