"""
What a supervision tree does, as a machine that may go on in several ways.

`steps` names what may happen next, as a method and its argument; the rest is done from outside. The
root is actor 0. Frames wait in `box`: first `extra` that were taken and not started, then `cap` in
the mailbox, then those whose senders wait for room. `run` is the frame that is being handled; 0, if
the actor waits for one; -1, if it is about to look. A frame ends in a `fate`, its sender in `out`.
"""

from collections.abc import Iterator
from types import SimpleNamespace as Record
from typing import Any

GRACE, ALIVE, HANGS = 5, ("up", "stopping"), ("hang", "slow")
BORN: dict[str, Any] = dict.fromkeys(("hook", "crashed", "doomed", "deaf"), False)
BORN.update(state="up", run=-1, end="", leaving="", order=0, drain=0, failures=0)
MADE: dict[str, Any] = dict.fromkeys(("extra", "sent", "skip", "restarts"), 0)
MADE.update(BORN, cut=False, box=(), control=(), log=(), down="")
SENT: dict[str, Any] = dict.fromkeys(("verdict", "ending", "going", "left", "fate", "out"), "")
SENT.update(dict.fromkeys(("bound", "number", "emitted", "got"), 0), state="new")
SENT.update(dict.fromkeys(("cancelled", "late", "parked"), False))


class Tree:
    def __init__(self, limit: int, delay: float, plan: str) -> None:
        self.limit, self.delay, self.now = limit, delay, 0.0
        self.actors: dict[int, Any] = {}
        self.frames: dict[int, Any] = {}
        self.due: dict[int, float] = {}  # when a group is started again
        self._add(0, parent=-1, kind="", plan=plan, cap=0, full="wait")

    def _add(self, n: int, **given: Any) -> None:
        self.actors[n] = Record(**MADE, **given)

    def new(self, i: int, **given: Any) -> None:
        self.frames[i] = Record(**SENT, **given)

    def _living(self, n: int) -> list[int]:
        return [c for c, a in self.actors.items() if a.parent == n and a.state != "dead"]

    def _blocked(self, a: Any) -> tuple[int, ...]:
        return tuple(a.box[a.cap + a.extra :])

    def steps(self) -> Iterator[tuple[str, int]]:
        for i, f in self.frames.items():
            reads = f.mode == "stream" and f.state != "new" and not (f.out or f.left)
            parks = not f.parked and i not in self._blocked(self.actors[f.to])
            may = {
                "send": f.state == "new",
                "leave": f.going,
                "finish": f.state == "running" and (f.verdict or f.does not in HANGS),
                "overrun": f.bound and f.bound <= self.now and not f.out,
                "read": reads and (f.fate or f.emitted > f.got or parks),
            }
            yield from ((step, i) for step in may if may[step])
        for n, a in self.actors.items():
            living, sound = self._living(n), a.crashed or not a.doomed
            looks = not a.end and (a.extra if a.run == 0 else a.run < 0 and (a.box or not a.cut))
            over = a.end or a.cut or (a.state == "stopping" and not a.box and not a.control)
            over = over and a.run < 1 and not looks and not (living and a.leaving)
            may = {
                "look": looks,
                "drained": a.drain and a.drain <= self.now and not a.end,
                "hear": a.control and not (a.cut or a.doomed or a.deaf or a.leaving == "cuts"),
                "fail": not sound and not living,
                "depart": over and (sound or living),
            }
            yield from ((step, n) for step in may if may[step] and a.state in ALIVE)
        for o, due in self.due.items():
            mine = [c for c, a in self.actors.items() if a.order == o and not a.cut]
            alive = [c for c in mine if self.actors[c].state != "resting"]
            if alive and not self.actors[alive[-1]].end:
                yield "replace", alive[-1]
            elif mine and not alive and due <= self.now:
                yield "restart", mine[0]

    # -- frames

    def send(self, i: int) -> None:
        f, a = self.frames[i], self.actors[self.frames[i].to]
        f.state, f.number, a.sent = "sent", a.sent + 1, a.sent + 1
        if f.does == "terminate":
            a.kind, a.order, f.state = a.kind and "temporary", a.end and a.order, "over"
            self.stop(f.to)
        elif f.to == 0:
            self._start(a, i)
            f.state, a.run = "over", 0
        elif a.state not in ("up", "resting"):
            self._unsent(i, "ActorStopped")
        elif f.mode == "control":
            a.control += (i,)
        else:
            a.extra += a.run == 0 and not (a.box or a.end or a.cut)
            f.late = len(a.box) >= a.cap + a.extra
            a.box += (i,)
            if f.late and not (a.full == "wait" and f.mode != "nowait"):
                a.box = a.box[:-1]
                self._overflow(a, i)

    def _overflow(self, a: Any, i: int) -> None:
        queue = a.box[a.extra :] if a.full == "drop_oldest" else (i, *reversed(a.box[a.extra :]))
        dead = next((j for j in a.box[a.extra :] if self.frames[j].left), 0)
        victim = dead or next((j for j in queue if not self.frames[j].pinned), 0)
        if a.full in ("wait", "fail") or not victim:
            return self._unsent(i, "MailboxFull")
        a.box = tuple(j for j in (*a.box, i) if j != victim)
        self._over(victim, "left" if dead else "Dropped")

    def _unsent(self, i: int, out: str) -> None:
        self.frames[i].state, self.frames[i].out, self.frames[i].going = "over", out, ""

    def _over(self, i: int, fate: str) -> None:
        f = self.frames[i]
        f.state, f.fate, f.going = "over", fate, f.going if f.mode == "stream" else ""
        keeps = f.left and (fate != "value" or f.mode == "stream")
        if f.mode == "ask" or keeps:
            f.out = f.out or (f.left if keeps else fate)

    def _start(self, a: Any, i: int) -> None:
        f = self.frames[i]
        f.state, a.run = "running", i
        if f.mode == "stream":
            f.emitted = f.count
        if a.cut and f.to:
            f.cancelled, f.verdict = True, "" if f.does == "slow" else "end"
        elif f.does == "spawn":
            self._add(i, parent=f.to, **dict(f.child))
            if a.doomed or a.cut:
                self.cut(i)

    def look(self, n: int, fresh: bool = True) -> None:
        a = self.actors[n]
        a.run = 0
        while a.run == 0 and not a.end and (a.box or (a.hook and fresh)):
            a.log, a.hook, fresh = a.log + ("hook",) * a.hook, False, False
            if a.box:
                i, a.box, a.extra = a.box[0], a.box[1:], max(0, a.extra - 1)
                if self.frames[i].left:
                    self._over(i, "left")
                elif self.frames[i].number <= a.skip and not self.frames[i].pinned:
                    self._over(i, "Interrupted")
                else:
                    self._start(a, i)

    def finish(self, i: int) -> None:
        f, a = self.frames[i], self.actors[self.frames[i].to]
        fate = f.verdict or f.does
        if fate not in ("Refused", "ActorCrashed"):
            ended = f.ending or a.end or ("ActorStopped" if a.cut else "left")
            fate = ended if fate == "end" and f.cancelled else "value"
        self._over(i, fate)
        a.run, a.log = 0, a.log + ((i,) if fate == "value" else ())
        if fate == "ActorCrashed":
            self.fail(f.to)
        elif a.cut and (fate != "value" or f.ending or f.left):
            self._end(f.to, "ActorStopped")
        self.look(f.to, bool(f.ending or f.left) or fate != "value")

    def hear(self, n: int) -> None:
        a = self.actors[n]
        i, a.control = a.control[0], a.control[1:]
        self._over(i, self.frames[i].does)
        a.deaf = self.frames[i].does != "value"
        if a.deaf:
            self.fail(n)

    def read(self, i: int) -> None:
        f = self.frames[i]
        f.got, f.parked = min(f.want, f.emitted), True
        if f.got == f.want:
            f.going = "left"
            self.leave(i)
        elif f.fate:
            f.out, f.going = f.fate, ""

    def leave(self, i: int) -> None:
        f, a = self.frames[i], self.actors[self.frames[i].to]
        why, f.going = f.going, ""
        if f.state == "new" or i in self._blocked(a):
            a.box = tuple(j for j in a.box if j != i)
            self._unsent(i, why)
        elif f.mode in ("ask", "stream"):
            if f.state != "running":
                f.left, f.out = f.left or why, f.out or why
            elif not f.left:
                f.left, f.bound = why, self.now + GRACE
                self._cancel(i, "")

    def overrun(self, i: int) -> None:
        self.frames[i].out = self.frames[i].left

    def _cancel(self, i: int, ending: str) -> None:
        f = self.frames.get(i)
        if f is not None:
            f.cancelled, f.ending = True, f.ending or ending
            f.verdict = f.verdict or ("" if f.does in ("slow", "spawn") else "end")

    # -- actors

    def _end(self, n: int, why: str) -> None:
        a = self.actors[n]
        if not a.end:
            a.end = why
            self._cancel(a.run, why)

    def replace(self, n: int) -> None:
        self._end(n, "ActorRestarted")

    def drained(self, n: int) -> None:
        self._end(n, "ActorStopped")

    def fail(self, n: int) -> None:
        self.actors[n].crashed = True
        self._end(n, "ActorRestarted")

    def depart(self, n: int) -> None:
        a, living = self.actors[n], self._living(n)
        if living:
            a.leaving = "cuts" if a.crashed or a.cut else "stops"
            if a.leaving == "stops":
                return self.stop(living[-1])
            for c in living:
                self.cut(c)
        elif n == 0:
            a.state = "dead"
        else:
            self._ended(n, a, self.actors[a.parent])

    def _ended(self, n: int, a: Any, parent: Any) -> None:
        down = "crashed" if a.crashed else "cancelled" if a.cut else "stopped"
        again = a.kind == "permanent" or (a.kind == "transient" and a.crashed and a.state == "up")
        if a.order and not a.cut and not parent.leaving:
            self.due[a.order] = self.now + self.delay
            self._rest(n) if a.kind != "temporary" else self._close(n, down)
        elif a.cut or not a.kind or parent.leaving or not again or parent.failures >= self.limit:
            gives_up = again and not a.cut and not parent.leaving
            self._close(n, down)
            if gives_up or (a.crashed and not a.kind):
                self._doom(a.parent)
        else:
            parent.failures += 1
            group = [c for c in self._living(a.parent) if self.actors[c].kind]
            first = {"one_for_all": 0}.get(parent.plan, group.index(n))
            order = max(self.due, default=0) + 1
            self.due[order] = self.now + self.delay
            for c in [n] if parent.plan == "one_for_one" else group[first:]:
                self.actors[c].order = order
            self._rest(n)

    def _doom(self, n: int) -> None:
        self.actors[n].doomed = True
        for c in self._living(n):
            self.cut(c)

    def _rest(self, n: int) -> None:
        a = self.actors[n]
        if a.state == "stopping":
            self._left_over(a, a.box[a.extra :] + a.control)
            a.box, a.control = a.box[: a.extra], ()
        a.__dict__.update(BORN, state="resting", order=a.order)

    def restart(self, n: int) -> None:
        a = self.actors[n]
        a.state, a.order, a.restarts = "up", 0, a.restarts + 1

    def _left_over(self, a: Any, queue: tuple[int, ...]) -> None:
        for i in queue:
            self._over(i, "left" if self.frames[i].left else "undelivered")

    def _close(self, n: int, down: str) -> None:
        a, parent = self.actors[n], self.actors[self.actors[n].parent]
        self._shut(a)
        self._left_over(a, a.box + a.control)
        a.state, a.down, a.order, a.box, a.control = "dead", down, 0, (), ()
        if parent.leaving == "stops" and (living := self._living(a.parent)):
            self.stop(living[-1])

    def _shut(self, a: Any) -> None:
        for i in self._blocked(a):
            self._unsent(i, "ActorStopped")
        a.box = a.box[: a.cap + a.extra]

    # -- from outside

    def stop(self, n: int) -> None:
        a = self.actors[n]
        if a.state == "resting":
            self._close(n, "stopped")
        elif a.state == "up":
            a.drain = self.now + GRACE if a.run or a.box or self._living(n) else 0
            a.state = "stopping"
            self._shut(a)

    def cut(self, n: int) -> None:
        a = self.actors[n]
        for c in self._living(n):
            self.cut(c)
        if a.state == "resting":
            self._close(n, "cancelled")
        elif a.state != "dead":
            a.cut = True
            self._cancel(a.run, "")

    def interrupt(self, n: int) -> None:
        a = self.actors[n]
        if a.state == "dead":
            return
        for c in self._living(n):
            self.interrupt(c)
        a.skip, a.hook = a.sent, a.state in ALIVE
        f = self.frames.get(a.run)
        if f is not None and not f.pinned:
            f.emitted = f.got or min(f.emitted, f.parked)
            self._cancel(a.run, "Interrupted")

    def cancel(self, i: int) -> None:
        f = self.frames[i]
        if not f.out:
            f.going = "cancelled"
            outside = f.state == "new" or i in self._blocked(self.actors[f.to])
            if outside or not (f.late or f.mode == "stream"):
                self.leave(i)

    def go(self, i: int, verdict: str) -> None:
        f = self.frames[i]
        if f.state == "running":
            f.verdict = f.verdict or ("value" if verdict == "end" and not f.cancelled else verdict)
