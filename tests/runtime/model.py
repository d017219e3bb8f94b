"""What a supervision tree does if nothing `goes_on` any more at each deed: then there is one way.

A frame lies in the `box` of its actor, beyond `cap` as long as its sender waits for room; then the
actor has it in hand (`run`); then it has a `fate`. The root is the runtime, and its own parent.
"""

from types import SimpleNamespace as Record
from typing import Any

GRACE, BUFFER, ALIVE = 5, 2, ("running", "stopping")
BORN: Any = {"run": (), "end": False, "leaves": False, "order": (), "times": (), "due": 1e99}
MADE: Any = BORN | {"state": "running", "restarts": 0, "down": "", "box": (), "children": ()}


class Actor(Record):
    def send(self: Any, f: Any) -> None:
        f.fate = "" if self.state in ("running", "restarting") else "unsent"
        self.box += () if f.fate else (f,)

    def leave(self: Any, f: Any, why: str) -> None:
        f.left = why
        self.box = self.box[: self.cap] + tuple(g for g in self.box[self.cap :] if g is not f)

    def interrupt(self: Any) -> None:
        for child in self.children:
            child.interrupt()
        for f in self.box + self.run:
            f.skip = not f.pinned
            f.emitted = min(f.emitted, f.want)  # what was not read is not delivered

    def stop(self: Any) -> None:
        if self.state == "restarting":
            self.close("stopped")
        elif self.state == "running":
            self.state, self.due = "stopping", self.clock.now + GRACE
            self.empty(self.cap)

    def finish(self: Any, fate: str) -> None:
        for f in self.run:
            f.fate = "cancelled" if f.left else fate
        self.run, self.end = (), fate in ("ActorRestarted", "ActorStopped")

    def empty(self: Any, cap: int) -> None:
        for i, f in enumerate(self.box[cap:], cap):
            f.fate = "unsent" if i >= self.cap else "cancelled" if f.left else "undelivered"
        self.box = self.box[:cap]

    def close(self: Any, down: str) -> None:
        for child in self.children:
            child.close("cancelled")
        self.finish("ActorStopped")
        self.empty(0)
        self.state, self.down = "stopped", down
        self.parent.children = tuple(c for c in self.parent.children if c is not self)

    def depart(self: Any, crash: str) -> None:
        for child in self.children:
            child.close("cancelled")
        self.finish("ActorRestarted")
        up, now, down = self.parent, self.clock.now, crash or "stopped"
        again = {"permanent": True, "transient": crash and self.state == "running"}.get(self.kind)
        if again and not (self.order or up.leaves):
            up.times = [t for t in up.times if t >= now - up.within] + [now]
            if len(up.times) > up.limit:
                self.kind, crash = "", crash or "TooManyRestarts"  # as if it had no supervisor
            kin = [c for c in up.children if c.kind and (c.n >= self.n or up.plan == "one_for_all")]
            for c in [self] if up.plan == "one_for_one" else kin:
                c.order = kin
        if self.order and not up.leaves and self.kind in ("permanent", "transient"):
            self.empty(0 if self.state == "stopping" else len(self.box))
            self.__dict__.update(BORN, state="restarting", order=self.order)
        else:
            self.close(down)
            if crash and not self.kind and up is not self:
                up.depart(crash)

    def goes_on(self: Any) -> bool:
        f, idle = (*self.run, None)[0], self.state in ALIVE and not self.run
        awake = [c for c in self.order if c.order is self.order and c.state in ALIVE]
        self.leaves = idle and (self.end or (self.state == "stopping" and not self.box))
        if f and not (f.skip or f.left):
            f.emitted = min(f.count, f.want + BUFFER)
        if awake and not awake[-1].end:
            awake[-1].finish("ActorRestarted")
        elif self.due <= self.clock.now and not self.end:
            self.finish("ActorStopped")
        elif self.state == "restarting" and not awake:
            self.state, self.order, self.restarts = "running", (), self.restarts + 1
        elif f and (f.skip or f.left or (f.emitted == f.count and f.does != "hang")):
            self.finish("Interrupted" if f.skip else f.does)
            self.log += [f.i] if f.fate == "value" else []
            if f.fate == "ActorCrashed":
                self.depart(f"frame {f.i}")
        elif idle and self.box and not self.end:
            self.run, self.box = self.box[:1], self.box[1:]
        elif self.leaves and not (self.children and self.children[-1].state == "stopping"):
            self.children[-1].stop() if self.children else self.depart("")
        else:
            return any(c.goes_on() for c in sorted(self.children, key=lambda c: c.state in ALIVE))
        return True
