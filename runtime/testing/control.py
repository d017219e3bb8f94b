"""
Which of the runnable tasks goes first: policies, without Trio.

A policy is asked once for each step. It sees the tasks by their numbers, in the order in which they
became runnable, and returns the index of one. All chance comes from a seed, so that a run can be
repeated.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from greenroom.runtime.testing.plan import Plan

__all__ = ["Fifo", "Pct", "Policy", "Preempting", "Random", "policy_of"]


class Policy(Protocol):
    """What chooses the next task."""

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        """Return the index of the task in *runnable* that goes next; there is at least one."""
        ...


class Fifo:
    """
    Goes on with the task of the last step as long as it is runnable, then with the oldest.

    At the steps of *preempt* the task with the index that is said goes, and is then gone on with.
    """

    def __init__(self, preempt: Mapping[int, int] | None = None) -> None:
        # a caller may add to it
        self._preempt: Mapping[int, int] = {} if preempt is None else preempt
        self._last = -1

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        index = runnable.index(self._last) if self._last in runnable else 0
        index = self._preempt.get(step, index) % len(runnable)
        self._last = runnable[index]
        return index


class Random:
    """Any task, each as likely."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        return self._rng.randrange(len(runnable))


class Pct:
    """
    Tasks have priorities by chance; at *depth* - 1 steps by chance the one that goes drops to the end.

    Finds a bug that needs *depth* steps in the right order with a probability of at least
    ``1 / (n * k ** (depth - 1))``, for *n* tasks and *k* steps.

    Source: Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding
    Bugs", ASPLOS 2010.
    """

    def __init__(self, seed: int, depth: int, steps: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be an int >= 1, not {depth!r}")
        self._rng = random.Random(seed)
        self._priorities: dict[int, float] = {}
        self._changes = {self._rng.randrange(max(1, steps)) for _ in range(depth - 1)}
        self._lowest = 0.0

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        for task in runnable:
            self._priorities.setdefault(task, self._rng.random())
        index = max(range(len(runnable)), key=lambda i: self._priorities[runnable[i]])
        if step in self._changes:
            self._lowest -= 1
            self._priorities[runnable[index]] = self._lowest
            index = max(range(len(runnable)), key=lambda i: self._priorities[runnable[i]])
        return index


class Preempting:
    """A policy by chance, but for some steps that are said; it hears nothing of those."""

    def __init__(self, policy: Policy, preempt: Mapping[int, int]) -> None:
        self._policy = policy
        self._preempt = preempt

    def choose(self, step: int, runnable: Sequence[int]) -> int:
        index = self._policy.choose(step, runnable)
        return self._preempt.get(step, index) % len(runnable)


def policy_of(plan: Plan) -> Policy:
    """Return the policy that *plan* asks for."""
    policy: Policy
    match plan.policy:
        case "fifo":
            return Fifo(dict(plan.preempt))
        case "random":
            policy = Random(plan.seed)
        case "pct":
            policy = Pct(plan.seed, plan.depth, plan.steps)
    return Preempting(policy, dict(plan.preempt)) if plan.preempt else policy
