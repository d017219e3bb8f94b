"""
A session of actors, all of them right, and 28 ways in which one of them is not.

`Cast` says who plays; `BUGS` has a cast for each bug. The classes with bugs stand in each file below
the one that they are made from.
"""

from tests.testing.planted.bugs import BUGS as BUGS
from tests.testing.planted.bugs import Bug as Bug
from tests.testing.planted.session import Cast as Cast

__all__ = ["BUGS", "Bug", "Cast"]
