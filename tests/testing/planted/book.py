"""What a user of the kit would keep of a run, to say what has to hold at its end."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from greenroom.runtime.testing import World


class Book:
    """Counts what begins and what ends, in the doubles and in the actors."""

    def __init__(self) -> None:
        self.responses = 0  # how many handlers began one
        self.ends = 0
        self.calls: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.blamed: Counter[str] = Counter()  # tools that were too slow, by their own fault
        self.ran: Counter[str] = Counter()  # tools that were really begun
        self.audit: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()  # audits that could not be written
        self.spans: list[str] = []  # the open ones
        self.history: list[tuple[str, str]] = []
        self.late_signs = 0  # "... is typing", of a turn that is over
        self.feeds = 0  # open ones
        self.usage = 0
        self.billed = 0
        self.index_locks = 0
        self.files = 0  # open ones
        self.over: list[str] = []  # the turns that are

    @contextmanager
    def span(self, name: str) -> Generator[None]:
        """Record how long something lasts."""
        self.spans.append(name)
        try:
            yield
        finally:
            self.spans.remove(name)

    def watch(self, w: World) -> None:
        """Say to the kit what has to hold at the end of the run."""
        w.own("each response's end", lambda: self.ends == self.responses)
        w.own("each call's result", lambda: self.results == self.calls)
        w.own("each call's audit", lambda: self.audit + self.alarms == self.ran)
        w.own("the blame of tools", lambda: self.blamed <= self.ran)
        w.own("the spans", lambda: not self.spans)
        w.own("the history", self._is_whole)
        w.own("the screen", lambda: not self.late_signs)
        w.own("the feed", lambda: not self.feeds)
        w.own("the file", lambda: not self.files)

    def _is_whole(self) -> bool:
        roles = [role for role, _ in self.history]
        return roles == ["user", "assistant"] * (len(roles) // 2)
