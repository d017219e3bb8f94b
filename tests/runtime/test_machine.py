"""
A random supervision tree beside a small model of it, which it follows step by step.

After each deed both come to rest: the runtime is paused (see `paused`) and goes on until nothing
moves, and so does the model. There is one thing that each may show then, and it is the same. What
happens where two deeds meet in the midst of a step is for `test_fine_machine`, whose model may go on
in several ways.
"""

import ast
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace as Record
from typing import Any, Final

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from greenroom.runtime import (
    Actor,
    ActorNode,
    Emit,
    Frame,
    Ref,
    Refused,
    Request,
    StreamRequest,
    Supervision,
    frame,
    handles,
)
from tests.conftest import TORTURE
from tests.runtime import model
from tests.runtime.cast import Number
from tests.runtime.paused import Paused

MOST_ACTORS: Final = 6
# Between two deeds, so that no two alarms are ever due at once; whole in binary, as all times are.
TICK: Final = 1 / 1024

# That a handler takes, so that what one thing leads to is over before it leads to the next.
PASSES: Final = 10

driven: Counter[str] = Counter()


# -- the cast


class Script:
    """What a handler is to do, and its reader."""

    def __init__(self, number: int, does: str, **more: int) -> None:
        self.number = number
        self.does = does
        self.count = more.get("count", 0)  # of frames that it streams
        self.want = more.get("want", 0)  # of frames that its reader takes, before it rests
        self.got = 0
        self.leaves = False
        self.go = trio.Event()  # for a handler that hangs
        self.more = trio.Event()  # for a reader that rests
        self.spawn: Callable[[Any], Any] | None = None


@frame
class Told(Frame):
    """Is told."""

    script: Script


@frame
class Pinned(Frame):
    """Is told, and not touched by an interrupt."""

    uninterruptible = True
    script: Script


@frame
class Asked(Request[int]):
    """Asks for its own number."""

    script: Script


@frame
class Streamed(StreamRequest[Number]):
    """Asks for as many numbers as its script says."""

    script: Script


class Player(Actor):
    """Does what the scripts say; what it handled is in a log that outlives it."""

    def __init__(self, log: list[int], supervision: Supervision) -> None:
        self.log = log
        self.supervision = supervision

    @handles
    async def told(self, frame: Told | Pinned) -> None:
        await self.play(frame.script)

    @handles
    async def asked(self, request: Asked) -> int:
        await self.play(request.script)
        return request.script.number

    @handles
    async def streamed(self, request: Streamed, emit: Emit[Number]) -> None:
        for n in range(request.script.count):
            await emit(Number(n))
        await self.play(request.script)

    async def play(self, script: Script) -> None:
        if script.spawn is not None:
            await script.spawn(self.spawn)
        if script.does == "hang":
            await script.go.wait()
        for _ in range(PASSES):
            await trio.lowlevel.checkpoint()
        if script.does == "ActorCrashed":
            raise ValueError(f"frame {script.number}")
        if script.does == "Refused":
            raise Refused(f"frame {script.number}")
        self.log.append(script.number)


# -- what both look like from outside

FATES: Final = {
    "value": "handled",
    "Refused": "refused",
    "ActorCrashed": "crashed",
    "Interrupted": "interrupted",
    "undelivered": "undelivered",
    "cancelled": "cancelled",
    "ActorRestarted": "cancelled",
    "ActorStopped": "cancelled",
}
STOPPED: Final = {"unsent": "ActorStopped", "undelivered": "ActorStopped"}
SENT: Final[dict[str, Any]] = {"emitted": 0, "skip": False, "left": "", "fate": ""}
ENDINGS: Final = ("value", "value", "hang", "hang", "hang", "ActorCrashed", "Refused")


def outcome(f: Any) -> str:
    """Return what the sender of *f* has got, if it was taken: of a stream, once all is read."""
    if f.mode == "tell":
        return f.left or f.fate if f.left or f.fate == "unsent" else "sent"
    is_read = f.mode == "ask" or f.emitted < f.want or f.fate == "unsent"
    return str(f.left or (f.fate if is_read else ""))


def family(a: Any) -> Iterator[Any]:
    """Return an iterator over *a* and all below it."""
    yield a
    for child in a.children:
        yield from family(child)


def crash_text(error: BaseException) -> str:
    return str(error) if isinstance(error, ValueError) else type(error).__name__


def one_of(name: str) -> st.SearchStrategy[int]:
    """Return a strategy for one of those numbers that the machine lists as *name* now."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, name)()))


def there_are(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a rule be followed only while the machine lists something as *name*."""
    return precondition(lambda machine: bool(getattr(machine, name)()))


class TreeMachine(RuleBasedStateMachine):
    """Does the same to a runtime and to its model; once a runtime is over, to another one."""

    paused: Paused | None = None

    @initialize(
        plan=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "one_for_all"]),
        limit=st.sampled_from([0, 2, 3, 9]),
        watched=st.booleans(),
        seed=st.integers(0, 9),
    )
    def open(self, plan: Any, limit: int, watched: bool, seed: int) -> None:
        self.refs: dict[int, Ref] = {}
        self.logs: dict[int, list[int]] = {}
        self.downs: dict[int, str] = {}
        self.scripts: dict[int, Script] = {}
        self.scopes: dict[int, trio.CancelScope] = {}
        self.outs: dict[int, str] = {}  # what senders got
        self.sent = 0
        self.clock = Record(now=0.0)
        self.actors: dict[int, Any] = {}
        self.frames: dict[int, Any] = {}
        self.root = self.new_actor(0, None, kind="", plan=plan, limit=limit, cap=0)
        self.paused = Paused(
            self.supervision(plan, limit), grace=model.GRACE, watched=watched, seed=seed
        )
        for kind in ("permanent", "transient", "permanent"):
            self.spawn(0, kind, plan, limit, 1)

    def supervision(self, plan: Any, limit: int) -> Supervision:
        return Supervision(plan, restarts=limit, within=20)

    def new_actor(self, n: int, parent: Any, **given: Any) -> Any:
        made: Any = model.Actor(**model.MADE, n=n, within=20, clock=self.clock, log=[], **given)
        made.parent = parent or made
        if parent is not None:
            parent.children += (made,)
        self.actors[n] = made
        return made

    # -- the same to both

    def do(self, deed: Callable[[], object], name: str) -> None:
        """Do *deed*, called *name*, to the runtime; the model has it behind it."""
        driven[name] += 1
        assert self.paused is not None
        self.paused.advance(TICK)
        self.paused.do(deed)
        self.compare()

    def tick(self) -> None:
        self.clock.now += TICK

    def compare(self) -> None:
        assert self.paused is not None
        self.paused.settle()
        while self.root.goes_on():
            pass
        shown, expected = self.shown(), self.expected()
        driven["steps"] += 1
        if shown != expected:
            differs = (what for what in shown if shown[what] != expected[what])
            lines = (f"{what} is {shown[what]!r}, not {expected[what]!r}" for what in differs)
            raise AssertionError("\n".join([*lines, f"the runtime: {self.paused.ended!r}"]))

    def shown(self) -> dict[str, Any]:
        """Return what the runtime looks like."""
        assert self.paused is not None
        runtime, ended = self.paused.runtime, self.paused.ended
        tree: dict[int, tuple[object, ...]] = {}

        def walk(nodes: Iterable[ActorNode], parent: int) -> None:
            for node in nodes:
                s = node.statistics
                n = int(node.name)
                tree[n] = (parent, s.state, s.queued, s.waiting, s.running, s.restarts)
                walk(node.children, n)

        walk(runtime.tree(), 0)
        accounts = runtime.accounts()
        ends = sorted(set(FATES.values()))
        return {
            "ended": crash_text(ended) if isinstance(ended, BaseException) else ended,
            "tree": tree,
            "outs": self.outs,
            "got": {i: script.got for i, script in self.scripts.items()},
            "logs": self.logs,
            "downs": self.downs,
            "accounts": {end: getattr(accounts, end) for end in (*ends, "pending", "sent")},
        }

    def expected(self) -> dict[str, Any]:
        """Return what the model looks like."""
        tree: dict[int, tuple[object, ...]] = {}
        waiting: set[int] = set()
        for n, a in self.actors.items():
            if n and a.state != "stopped":
                behind = len(a.box[a.cap :])
                waiting |= {f.i for f in a.box[a.cap :]}
                queued = len(a.box) - behind
                tree[n] = (a.parent.n, a.state, queued, behind, len(a.run), a.restarts)
        outs: dict[int, str] = {}
        accounts = Counter(dict.fromkeys((*FATES.values(), "pending", "sent"), 0))
        for i, f in self.frames.items():
            if i in waiting:
                continue
            if out := outcome(f):
                outs[i] = STOPPED.get(out, out)
            if f.fate in FATES or not (f.fate or f.left):
                accounts[FATES.get(f.fate, "pending")] += 1
                accounts["sent"] += 1
            elif f.left and not f.fate and f in f.to.box:
                accounts["pending"] += 1
                accounts["sent"] += 1
        return {
            "ended": (self.root.down or None) and self.root.down.replace("stopped", "over"),
            "tree": tree,
            "outs": outs,
            "got": {i: min(f.want, f.emitted) for i, f in self.frames.items()},
            "logs": {n: a.log for n, a in self.actors.items() if n},
            "downs": {n: a.down for n, a in self.actors.items() if n and a.down},
            "accounts": dict(accounts),
        }

    # -- what there is

    def is_open(self) -> list[int]:
        return [] if self.root.down else [0]

    def living(self) -> list[int]:
        return [n for n, a in self.actors.items() if n and a.state != "stopped"]

    def addressees(self) -> list[int]:
        """Return those that are alive, and one that is not."""
        dead = [n for n, a in self.actors.items() if n and a.state == "stopped"]
        return self.living() and [*self.living(), *dead[-1:]]

    def stoppable(self) -> list[int]:
        """Return whom to stop: nobody, while there are few."""
        return self.living() if len(self.living()) > 2 else []

    def interruptible(self) -> list[int]:
        """
        Return whom an interrupt lets go on in one way.

        Not so an actor that then stops a child which, then, takes what was queued: either is first.
        """
        return [n for n in self.living() if not any(map(self.races, family(self.actors[n])))]

    @staticmethod
    def races(a: Any) -> bool:
        return bool(a.state == "stopping" and a.run and any(c.box for c in family(a) if c is not a))

    def top(self) -> list[int]:
        return [a.n for a in self.root.children if not a.order and self.stoppable()]

    def parents(self) -> list[int]:
        """Return the runtime, and who is free to spawn; none if there are enough."""
        if self.root.down or self.root.state != "running" or len(self.living()) >= MOST_ACTORS:
            return []
        free = [a for a in self.actors.values() if a.n and a.state == "running"]
        return [0, *(a.n for a in free if not (a.run or a.end or a.box))]

    def hanging(self) -> list[int]:
        runs = (f for a in self.actors.values() for f in a.run)
        return [f.i for f in runs if f.does == "hang" and f.emitted == f.count]

    def open_requests(self) -> list[int]:
        """Return those whose senders wait, or could read on."""
        return [i for i in self.scopes if i not in self.outs]

    def resting(self) -> list[int]:
        """Return the streams whose readers rest."""
        streams = (f for f in self.frames.values() if f.mode == "stream" and not outcome(f))
        return [f.i for f in streams if f.emitted >= f.want]

    # -- the rules

    @there_are("parents")
    @rule(
        parent=one_of("parents"),
        kind=st.sampled_from(["permanent", "permanent", "transient", "temporary", ""]),
        plan=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "one_for_all"]),
        limit=st.sampled_from([0, 2, 3, 9]),
        cap=st.integers(0, 2),
    )
    def spawn(self, parent: int, kind: str, plan: Any, limit: int, cap: int) -> None:
        assert self.paused is not None
        n = self.sent = self.sent + 1
        log = self.logs[n] = []

        async def spawn(spawner: Any) -> None:
            assert self.paused is not None
            ref = self.refs[n] = await spawner(
                Player,
                log,
                self.supervision(plan, limit),
                name=f"{n}",
                capacity=cap,
                restart=kind or None,
            )
            self.paused.nursery.start_soon(self.watch, n, ref)

        if parent:
            self.send(parent, "ask", "value", spawn=spawn, child=(n, kind, plan, limit, cap))
        else:
            self.tick()
            self.new_actor(n, self.root, kind=kind, plan=plan, limit=limit, cap=cap)
            runtime, nursery = self.paused.runtime, self.paused.nursery
            self.do(lambda: nursery.start_soon(spawn, runtime.spawn), "spawn")

    async def watch(self, n: int, ref: Ref) -> None:
        down = await ref.wait_stopped()
        self.downs[n] = crash_text(down.error) if down.error else down.reason

    def send(self, to: int, mode: str, does: str, **more: Any) -> None:
        """Have a task tell, ask or stream."""
        assert self.paused is not None
        does = self.one_crash_at_a_time(does)
        self.tick()
        i = self.sent = self.sent + 1
        pinned, spawn, child = (
            more.pop("pinned", False),
            more.pop("spawn", None),
            more.pop("child", ()),
        )
        script = self.scripts[i] = Script(i, does, **more)
        script.spawn = spawn
        scope = self.scopes[i] = trio.CancelScope()
        made = {"i": i, "to": self.actors[to], "mode": mode, "does": does, "pinned": pinned}
        sizes = {"count": script.count, "want": script.want}
        f: Any = Record(**SENT | made | sizes)
        self.frames[i] = f
        f.to.send(f)
        if child:
            n, kind, plan, limit, cap = child
            self.new_actor(n, f.to, kind=kind, plan=plan, limit=limit, cap=cap)
        use = {"tell": self.tell_it, "pinned": self.tell_it, "ask": self.ask_it}
        nursery, ref = self.paused.nursery, self.refs[to]
        how = use.get(mode, self.read_it)
        self.do(lambda: nursery.start_soon(self.use, i, scope, how, ref, script, pinned), mode)

    def one_crash_at_a_time(self, does: str) -> str:
        """Return *does*, but no crash while another is to come: which is first is left to chance."""
        is_to_come = any(f.does == "ActorCrashed" and not f.fate for f in self.frames.values())
        return "value" if does == "ActorCrashed" and is_to_come else does

    async def use(self, i: int, scope: trio.CancelScope, how: Any, *args: Any) -> None:
        with scope:
            try:
                self.outs[i] = await how(*args)
            except trio.Cancelled:
                self.outs[i] = "cancelled"
                raise
            except Exception as error:
                self.outs[i] = type(error).__name__

    async def tell_it(self, ref: Ref, script: Script, pinned: bool) -> str:
        await ref.tell(Pinned(script) if pinned else Told(script))
        return "sent"

    async def ask_it(self, ref: Ref, script: Script, _: bool) -> str:
        assert await ref.ask(Asked(script)) == script.number
        return "value"

    async def read_it(self, ref: Ref, script: Script, _: bool) -> str:
        async with ref.stream(Streamed(script), buffer=model.BUFFER) as numbers:
            while not script.leaves:
                if script.got == script.want:
                    script.more = trio.Event()
                    await script.more.wait()
                    continue
                try:
                    number = await anext(numbers)
                except StopAsyncIteration:
                    return "value"
                assert number == Number(script.got)
                script.got += 1
        return "left"

    @there_are("addressees")
    @rule(to=one_of("addressees"), does=st.sampled_from(ENDINGS), pinned=st.booleans())
    def tell(self, to: int, does: str, pinned: bool) -> None:
        self.send(to, "tell", does, pinned=pinned)

    @there_are("addressees")
    @rule(to=one_of("addressees"), does=st.sampled_from(ENDINGS))
    def ask(self, to: int, does: str) -> None:
        self.send(to, "ask", does)

    @there_are("addressees")
    @rule(
        to=one_of("addressees"),
        does=st.sampled_from(ENDINGS),
        count=st.integers(0, 6),
        want=st.integers(1, 4),
    )
    def stream(self, to: int, does: str, count: int, want: int) -> None:
        self.send(to, "stream", does, count=count, want=want)

    @there_are("resting")
    @rule(i=one_of("resting"), more=st.integers(1, 3))
    def read_on(self, i: int, more: int) -> None:
        self.tick()
        self.frames[i].want += more
        script = self.scripts[i]

        def deed() -> None:
            script.want += more
            script.more.set()

        self.do(deed, "read_on")

    @there_are("resting")
    @rule(i=one_of("resting"))
    def leave_early(self, i: int) -> None:
        self.tick()
        f, script = self.frames[i], self.scripts[i]
        f.to.leave(f, "left")

        def deed() -> None:
            script.leaves = True
            script.more.set()

        self.do(deed, "leave_early")

    @there_are("hanging")
    @rule(i=one_of("hanging"), verdict=st.sampled_from(["value", "ActorCrashed", "Refused"]))
    def let_go(self, i: int, verdict: str) -> None:
        verdict = self.one_crash_at_a_time(verdict)
        self.tick()
        self.frames[i].does = verdict
        script = self.scripts[i]

        def deed() -> None:
            script.does = verdict
            script.go.set()

        self.do(deed, "let_go")

    @there_are("interruptible")
    @rule(n=one_of("interruptible"))
    def interrupt(self, n: int) -> None:
        self.tick()
        self.actors[n].interrupt()
        self.do(self.refs[n].interrupt, "interrupt")

    @there_are("stoppable")
    @rule(n=one_of("stoppable"))
    def stop(self, n: int) -> None:
        self.tick()
        self.actors[n].stop()
        self.do(self.refs[n].stop, "stop")

    @there_are("top")
    @rule(n=one_of("top"))
    def terminate(self, n: int) -> None:
        assert self.paused is not None
        self.tick()
        a = self.actors[n]
        a.kind = a.kind and "temporary"
        a.stop()
        runtime, nursery = self.paused.runtime, self.paused.nursery
        self.do(lambda: nursery.start_soon(runtime.terminate, self.refs[n]), "terminate")

    @there_are("open_requests")
    @rule(i=one_of("open_requests"))
    def cancel(self, i: int) -> None:
        self.tick()
        f = self.frames[i]
        f.to.leave(f, "cancelled")
        self.do(self.scopes[i].cancel, "cancel")

    @there_are("is_open")
    @rule(seconds=st.sampled_from([2, 6, 21]))
    def advance(self, seconds: int) -> None:
        """Let time go by, from one alarm to the next."""
        assert self.paused is not None
        until = self.clock.now + seconds
        while self.clock.now < until and not self.root.down:
            alarms = (a.due for a in self.actors.values() if a.state == "stopping")
            now = min([due for due in alarms if due > self.clock.now] + [until])
            self.paused.advance(now - self.clock.now)
            self.clock.now = now
            self.compare()

    @precondition(lambda self: self.root.down)
    @rule(
        plan=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "one_for_all"]),
        limit=st.sampled_from([0, 2, 3, 9]),
        watched=st.booleans(),
        seed=st.integers(0, 9),
    )
    def open_another(self, plan: Any, limit: int, watched: bool, seed: int) -> None:
        self.teardown()
        self.open(plan, limit, watched, seed)

    def teardown(self) -> None:
        """Cancel all; nothing of the runtime may be left."""
        paused, self.paused = self.paused, None
        if paused is not None:
            driven.update(self.outs.values())
            driven[self.root.down.split()[0] if self.root.down else "unended"] += 1
            driven["restarts"] += sum(a.restarts for a in self.actors.values())
            paused.close()
            assert (paused.runtime.living(), paused.runtime.accounts().pending) == ((), 0)


def drive(examples: int, **more: Any) -> None:
    """Drive as many random trees."""
    how = settings(max_examples=examples, stateful_step_count=50, **more)
    logging.disable()  # thousands of crashes, as they should be
    try:
        run_state_machine_as_test(TreeMachine, settings=how)
    finally:
        logging.disable(logging.NOTSET)


def test_a_random_tree_does_what_its_model_does() -> None:
    """I1-I4, I7, I9, R2, R4, R7, R8, R11-R13, R18-R22: deed by deed, without difference."""
    driven.clear()
    # always the same examples: by chance alone two deeds may race, and the model knows one way only
    drive(3_000 if TORTURE else 250, derandomize=True)


def test_the_tree_was_driven_far_enough() -> None:
    """The test above took 10 000 steps at least, and every outcome and deed was among them."""
    if not driven:
        drive(250)
    print(*(f"{what}: {count}" for what, count in sorted(driven.items())), sep="\n")
    outs = "value Refused Interrupted ActorCrashed ActorRestarted ActorStopped sent cancelled left"
    deeds = "spawn tell ask stream read_on leave_early let_go interrupt stop terminate cancel"
    ends = "frame TooManyRestarts"

    assert driven["steps"] >= 10_000
    for what in (*outs.split(), *deeds.split(), *ends.split(), "restarts"):
        assert driven[what] >= 10, what


def test_the_model_is_small_and_knows_nothing_of_the_runtime() -> None:
    """It is at most 100 lines, and imports neither Greenroom nor Trio."""
    source = Path(model.__file__).read_text()
    nodes = list(ast.walk(ast.parse(source)))
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}

    assert imported == {"types", "typing"}
    assert len(source.splitlines()) <= 100
