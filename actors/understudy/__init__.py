"""
The understudy: the model server that ships, made of rules instead of a model.

It speaks the OpenAI chat completions API over real HTTP and SSE, needs no key, no network and no
weights, and is deterministic. It answers by calling the tools that a request offers, and says so
when it can't. It also misbehaves on demand, which is what tests need.

- `greenroom.actors.understudy.server`: the server, `open_understudy`
- `greenroom.actors.understudy.faults`: the language that says what is to go wrong
- `greenroom.actors.understudy.requests`: what makes a request valid
- `greenroom.actors.understudy.mind`: what to say next
"""

from greenroom.actors.understudy.completions import MODEL as MODEL
from greenroom.actors.understudy.faults import Fault as Fault
from greenroom.actors.understudy.faults import parse_fault as parse_fault
from greenroom.actors.understudy.requests import Problem as Problem
from greenroom.actors.understudy.requests import problems as problems
from greenroom.actors.understudy.server import Statistics as Statistics
from greenroom.actors.understudy.server import Understudy as Understudy
from greenroom.actors.understudy.server import banner as banner
from greenroom.actors.understudy.server import open_understudy as open_understudy

__all__ = [
    "MODEL",
    "Fault",
    "Problem",
    "Statistics",
    "Understudy",
    "banner",
    "open_understudy",
    "parse_fault",
    "problems",
]
