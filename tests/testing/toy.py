"""
A toy machine: small programs of tasks that share things, run in the order that a search asks for.

As in Trio, a task that can't go on waits, and whoever lets it go on hands over to it what it waited
for; a task that can run stays so. Each op is one step. `traces_of` knows nothing of how the search
finds traces: it compares every pair of steps of every run.
"""

import random
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import attrs

from greenroom.runtime.testing.dpor import Place, Search, Touch

Op: TypeAlias = tuple[Any, ...]
Program: TypeAlias = tuple[tuple[Op, ...], ...]
"""The ops of each task; the first `Toy.roots` are there from the start, others can be started."""
Event: TypeAlias = tuple[Place, int]
"""The n-th step of a task."""


@attrs.define(eq=False)
class Task:
    place: Place
    ops: tuple[Op, ...]
    parent: "Task | None" = None
    at: int = 0
    children: int = 0  # started so far
    alive: int = 0  # of those
    local: Any = None
    seen: list[Any] = attrs.Factory(list[Any])
    waits_for: Hashable = None
    deadline: int | None = None


class Toy:
    """One run of a program."""

    def __init__(self, program: Program, roots: int) -> None:
        self.program = program
        self.memory: dict[str, Any] = {}
        self.owners: dict[str, Task] = {}
        self.buffers: dict[str, deque[Any]] = {}
        self.capacity = {"c": 0, "d": 1}
        self.queues: dict[Hashable, deque[Task]] = {}  # who waits for what, first come first served
        self.now = 0
        self.tasks = [Task((n,), program[n]) for n in range(roots)]
        self.runnable = [task for task in self.tasks if task.ops]
        self.touches: set[Touch] | None = set()
        self.woke: list[Place] = []
        # The tasks of all steps so far, each with those that could run before it.
        self.choices: list[tuple[Place, Sequence[Place]]] = []

    # -- what ops do it with

    def touch(self, what: Hashable, write: bool) -> None:
        if self.touches is not None:
            self.touches.add(Touch(what, write))

    def park(self, task: Task, what: Hashable) -> None:
        task.waits_for = what
        self.queues.setdefault(what, deque()).append(task)

    def wake(self, task: Task) -> None:
        task.waits_for = task.deadline = None
        self.runnable.append(task)
        self.woke.append(task.place)

    def wake_one(self, what: Hashable) -> Task | None:
        queue = self.queues.get(what)
        if not queue:
            return None
        task = queue.popleft()
        self.wake(task)
        return task

    def wake_all(self, what: Hashable) -> None:
        while self.wake_one(what):
            pass

    def put(self, name: str, value: Any) -> None:
        self.touch(name, True)
        self.memory[name] = value
        self.wake_all(("until", name))

    # -- ops

    def skip(self, task: Task) -> None:
        pass

    def read(self, task: Task, name: str) -> None:
        self.touch(name, False)
        task.local = self.memory.get(name, 0)
        task.seen.append(task.local)

    def write(self, task: Task, name: str, value: int) -> None:
        self.put(name, value)

    def store(self, task: Task, name: str) -> None:
        self.put(name, (task.local or 0) + 1)

    def add(self, task: Task, name: str, value: int) -> None:
        self.touch(name, False)
        self.put(name, self.memory.get(name, 0) + value)

    def copy(self, task: Task, source: str, target: str) -> None:
        self.touch(source, False)
        self.put(target, self.memory.get(source, 0))

    def opaque(self, task: Task, name: str) -> None:
        self.put(name, 2 * self.memory.get(name, 0) + 1)
        self.touches = None

    def until(self, task: Task, name: str) -> None:
        """Wait until a variable is not 0, looking again each time that it is written."""
        self.touch(name, False)
        if not self.memory.get(name, 0):
            task.at -= 1
            self.park(task, ("until", name))

    def acquire(self, task: Task, name: str) -> None:
        self.touch(name, True)
        if name in self.owners:
            self.park(task, name)
        else:
            self.owners[name] = task

    def release(self, task: Task, name: str) -> None:
        self.touch(name, True)
        if self.owners.get(name) is task:
            del self.owners[name]
            heir = self.wake_one(name)
            if heir:
                self.owners[name] = heir

    def set(self, task: Task, name: str) -> None:
        self.touch(name, True)
        self.memory[name] = 1
        self.wake_all(name)

    def notify(self, task: Task, name: str) -> None:
        """As `set`, but only for those that wait already."""
        self.touch(name, True)
        self.wake_all(name)

    def wait(self, task: Task, name: str) -> None:
        self.touch(name, False)
        if not self.memory.get(name):
            self.park(task, name)

    def send(self, task: Task, name: str, value: int) -> None:
        self.touch(name, True)
        receiver = self.wake_one((name, "receive"))
        buffer = self.buffers.setdefault(name, deque())
        if receiver:
            receiver.seen.append(value)
        elif len(buffer) < self.capacity[name]:
            buffer.append(value)
        else:
            task.local = value
            self.park(task, (name, "send"))

    def receive(self, task: Task, name: str) -> None:
        self.touch(name, True)
        buffer = self.buffers.setdefault(name, deque())
        sender = self.wake_one((name, "send"))
        if sender:
            buffer.append(sender.local)
        if buffer:
            task.seen.append(buffer.popleft())
        else:
            self.park(task, (name, "receive"))

    def spawn(self, task: Task, number: int) -> None:
        place = (*task.place, task.children)
        child = Task(place, self.program[number % len(self.program)], task)
        task.children += 1
        if len(place) < 4 and child.ops:  # no program starts tasks for ever
            task.alive += 1
            self.tasks.append(child)
            self.wake(child)

    def join(self, task: Task) -> None:
        """Wait for all children, as the end of a nursery does: nothing is touched."""
        if task.alive:
            self.park(task, ("join", task.place))

    def sleep(self, task: Task, seconds: int) -> None:
        task.waits_for, task.deadline = "time", self.now + seconds

    def when(self, task: Task, value: int, *op: Any) -> None:
        if task.local == value:
            getattr(self, op[0])(task, *op[1:])

    # -- steps

    def step(self, index: int) -> None:
        """Let the runnable task with *index* do its next op; one woken from its last one ends."""
        task = self.runnable.pop(index)
        self.touches, self.woke = set(), []
        if task.at < len(task.ops):
            name, *args = task.ops[task.at]
            task.at += 1
            getattr(self, name)(task, *args)
        if task.waits_for is None:
            self.go_on(task)

    def go_on(self, task: Task) -> None:
        if task.at < len(task.ops):
            self.runnable.append(task)
        elif task.parent:
            task.parent.alive -= 1
            if not task.parent.alive:
                self.wake_one(("join", task.parent.place))

    def pass_time(self) -> bool:
        """Wake those that sleep least; return whether there are any."""
        deadlines = [task.deadline for task in self.tasks if task.deadline is not None]
        if not deadlines:
            return False
        self.now = min(deadlines)
        self.woke = []
        for task in self.tasks:
            if task.deadline == self.now:
                self.wake(task)
        return True

    def outcome(self) -> Hashable:
        """All that can be told of the end."""
        return (
            tuple(sorted(self.memory.items())),
            tuple(sorted((n, tuple(buffer)) for n, buffer in self.buffers.items())),
            tuple(sorted((name, owner.place) for name, owner in self.owners.items())),
            tuple(sorted((t.place, t.at, t.local, tuple(t.seen)) for t in self.tasks)),
            tuple(
                sorted((str(what), self.queued(what)) for what in self.queues if self.queues[what])
            ),
            self.now,
        )

    def queued(self, what: Hashable) -> tuple[Place, ...]:
        """Return who waits for *what*, in order if the first is to be served before the others."""
        places = [task.place for task in self.queues[what]]
        is_fair = what in self.owners or (isinstance(what, tuple) and what[0] in self.capacity)
        return tuple(places if is_fair else sorted(places))

    @property
    def is_deadlocked(self) -> bool:
        return any(task.waits_for is not None for task in self.tasks)


@attrs.frozen
class Seen:
    """What all runs of a search came to."""

    runs: int
    """With those that were found to repeat what was seen."""
    useful: int
    outcomes: frozenset[Hashable]
    traces: frozenset[Hashable]
    deadlocks: int
    """How many outcomes have a task that waits for ever."""


def run(program: Program, roots: int, search: Search) -> tuple[Toy, Hashable]:
    """Run *program* once and return how it ended, and its trace."""
    toy = Toy(program, roots)
    steps: list[tuple[Event, frozenset[Touch] | None]] = []
    counts: dict[Place, int] = {}
    waited = False
    while True:
        if not toy.runnable:
            waited = toy.pass_time()
            if not waited:
                break
        places = [task.place for task in toy.runnable]
        index = search.choose(places, waited=waited)
        waited = False
        place = places[index]
        toy.choices.append((place, places))
        toy.step(index)
        touches = None if toy.touches is None else frozenset(toy.touches)
        search.ran(touches, toy.woke)
        counts[place] = counts.get(place, 0) + 1
        steps.append(((place, counts[place]), touches))
    return toy, trace(steps)


def trace(steps: Sequence[tuple[Event, frozenset[Touch] | None]]) -> Hashable:
    """Return the steps, and the order of each pair of them for which it matters."""
    pairs = [
        (one, other)
        for n, (other, touches) in enumerate(steps)
        for one, before in steps[:n]
        if one[0] != other[0] and meet(before, touches)
    ]
    return frozenset(event for event, _ in steps), frozenset(pairs)


def meet(one: frozenset[Touch] | None, other: frozenset[Touch] | None) -> bool:
    if one is None or other is None:
        return True
    return any(a.what == b.what and (a.write or b.write) for a in one for b in other)


def search_all(
    program: Program,
    roots: int,
    search: Search,
    *,
    limit: int = 100_000,
) -> Seen | None:
    """Run *program* until *search* is complete; None if that takes more than *limit* runs."""
    runs = useful = 0
    outcomes: dict[Hashable, bool] = {}
    traces = set[Hashable]()
    while not search.is_complete:
        if runs == limit:
            return None
        toy, found = run(program, roots, search)
        runs += 1
        useful += not search.is_redundant
        search.finish()
        outcomes[toy.outcome()] = toy.is_deadlocked
        traces.add(found)
    return Seen(runs, useful, frozenset(outcomes), frozenset(traces), sum(outcomes.values()))


def families(rng: random.Random, things: int) -> list[list[Op]]:
    """Return ops that go together, by chance, on one of that many *things* of each kind."""
    variable, lock = rng.choice("xy"[:things]), rng.choice("lm"[:things])
    channel, event = rng.choice("dc"[:things]), rng.choice("ef"[:things])
    number, pair = rng.randrange(3), rng.sample("xyz", 2)
    return [
        [("read", variable), ("write", variable, number), ("store", variable), ("copy", *pair)],
        [("until", variable), ("add", variable, rng.choice([-1, 1, 2])), ("opaque", variable)],
        [("acquire", lock), ("acquire", lock), ("release", lock)],
        [("wait", event), ("wait", event), ("set", event), ("notify", event)],
        [("send", channel, number), ("receive", channel)],
        [("spawn", number), ("join",)],
        [("sleep", rng.choice([1, 2]))],
    ]


def any_op(rng: random.Random, chosen: Sequence[int], things: int) -> Op:
    """Return an op by chance, of one of the families with the numbers in *chosen*."""
    op = rng.choice(families(rng, things)[rng.choice(chosen)])
    return ("when", rng.randrange(3), *op) if rng.random() < 0.15 else op


def any_program(rng: random.Random) -> tuple[Program, int]:
    """Return a program by chance, of 2 to 4 tasks, and how many of them are there at first."""
    tasks, things = rng.choice([2, 2, 3, 3, 4]), rng.choice([1, 1, 2])
    longest = {2: 5, 3: 3, 4: 2}[tasks]
    chosen = rng.sample(range(7), rng.choice([1, 2, 2, 3])) if rng.random() < 0.8 else range(7)
    ops = (
        tuple(any_op(rng, chosen, things) for _ in range(rng.randint(1, longest)))
        for _ in range(tasks)
    )
    return tuple(map(with_steps_after_joins, ops)), rng.randint(max(1, tasks - 1), tasks)


def with_steps_after_joins(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Have each join take one more step, whether it had to wait or not, as in Trio."""
    return tuple(o for op in ops for o in ((op, ("skip",)) if "join" in op else (op,)))
