"""
What tests of actors need: runs that can be repeated, and a log to compare them by.

Two runs of one program under `run_seeded` with the same seed give the same `EventLog`, byte for byte
(I11, R25): in virtual time, without real threads or sockets.
"""

from greenroom.runtime.testing.eventlog import EventLog as EventLog
from greenroom.runtime.testing.seam import SeamMismatch as SeamMismatch
from greenroom.runtime.testing.seam import run_seeded as run_seeded

__all__ = ["EventLog", "SeamMismatch", "run_seeded"]
