"""
What tests of actors need: cancels at every instant, faults, other orders of tasks, and repetition.

A scenario is an async function of a `World`, which has a runtime open. `simulate` runs it once, as a
`Plan` says; `sweep` once for each fault at each position, and `sweep_live` where sockets and threads
are real; `explore` in many orders by chance; and `cancel_everywhere` makes a test of it. Every failure
prints the plan that repeats it.

Two runs of one program under `run_seeded` with the same seed give the same `EventLog`, byte for byte
(I11, R25): in virtual time, without real threads or sockets.
"""

from greenroom.runtime.probes import InjectedError as InjectedError
from greenroom.runtime.testing.conformance import ActorFactory as ActorFactory
from greenroom.runtime.testing.conformance import actor_scenario as actor_scenario
from greenroom.runtime.testing.conformance import check_actor as check_actor
from greenroom.runtime.testing.eventlog import EventLog as EventLog
from greenroom.runtime.testing.everywhere import cancel_everywhere as cancel_everywhere
from greenroom.runtime.testing.examine import ExamineReport as ExamineReport
from greenroom.runtime.testing.examine import examine as examine
from greenroom.runtime.testing.explore import ExploreReport as ExploreReport
from greenroom.runtime.testing.explore import explore as explore
from greenroom.runtime.testing.history import LAWS as LAWS
from greenroom.runtime.testing.history import History as History
from greenroom.runtime.testing.history import Law as Law
from greenroom.runtime.testing.history import law as law
from greenroom.runtime.testing.live import sweep_live as sweep_live
from greenroom.runtime.testing.plan import Fault as Fault
from greenroom.runtime.testing.plan import FaultKind as FaultKind
from greenroom.runtime.testing.plan import Mode as Mode
from greenroom.runtime.testing.plan import Plan as Plan
from greenroom.runtime.testing.plan import PolicyName as PolicyName
from greenroom.runtime.testing.probe import Probe as Probe
from greenroom.runtime.testing.probe import ProbeCrash as ProbeCrash
from greenroom.runtime.testing.report import Aftermath as Aftermath
from greenroom.runtime.testing.report import Problem as Problem
from greenroom.runtime.testing.report import Report as Report
from greenroom.runtime.testing.seam import SeamMismatch as SeamMismatch
from greenroom.runtime.testing.seeded import run_seeded as run_seeded
from greenroom.runtime.testing.simulate import simulate as simulate
from greenroom.runtime.testing.store import Crashable as Crashable
from greenroom.runtime.testing.store import MemoryStore as MemoryStore
from greenroom.runtime.testing.sweep import SweepReport as SweepReport
from greenroom.runtime.testing.sweep import sweep as sweep
from greenroom.runtime.testing.world import Scenario as Scenario
from greenroom.runtime.testing.world import World as World

__all__ = [
    "LAWS",
    "ActorFactory",
    "Aftermath",
    "Crashable",
    "EventLog",
    "ExamineReport",
    "ExploreReport",
    "Fault",
    "FaultKind",
    "History",
    "InjectedError",
    "Law",
    "MemoryStore",
    "Mode",
    "Plan",
    "PolicyName",
    "Probe",
    "ProbeCrash",
    "Problem",
    "Report",
    "Scenario",
    "SeamMismatch",
    "SweepReport",
    "World",
    "actor_scenario",
    "cancel_everywhere",
    "check_actor",
    "examine",
    "explore",
    "law",
    "run_seeded",
    "simulate",
    "sweep",
    "sweep_live",
]
