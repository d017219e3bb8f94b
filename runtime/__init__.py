"""
The actor runtime: actors exchange immutable frames over bounded channels in Trio nurseries.

It knows nothing of language models. Start with `open_runtime`, `Actor`, `handles` and `frame`.
"""

import logging

from greenroom.runtime.accounts import Accounts as Accounts
from greenroom.runtime.accounts import ActorStatistics as ActorStatistics
from greenroom.runtime.accounts import Quarantined as Quarantined
from greenroom.runtime.actor import Actor as Actor
from greenroom.runtime.actor import Helpers as Helpers
from greenroom.runtime.actor import Spawner as Spawner
from greenroom.runtime.actor import Timer as Timer
from greenroom.runtime.cell import Down as Down
from greenroom.runtime.errors import ActorCrashed as ActorCrashed
from greenroom.runtime.errors import ActorRestarted as ActorRestarted
from greenroom.runtime.errors import ActorStopped as ActorStopped
from greenroom.runtime.errors import DeadlockError as DeadlockError
from greenroom.runtime.errors import Dropped as Dropped
from greenroom.runtime.errors import IllegalMove as IllegalMove
from greenroom.runtime.errors import Interrupted as Interrupted
from greenroom.runtime.errors import MailboxFull as MailboxFull
from greenroom.runtime.errors import NotHandled as NotHandled
from greenroom.runtime.errors import Refused as Refused
from greenroom.runtime.errors import RequestError as RequestError
from greenroom.runtime.errors import TooManyRestarts as TooManyRestarts
from greenroom.runtime.events import ActorEnded as ActorEnded
from greenroom.runtime.events import ActorInterrupted as ActorInterrupted
from greenroom.runtime.events import ActorRestarting as ActorRestarting
from greenroom.runtime.events import ActorSpawned as ActorSpawned
from greenroom.runtime.events import CleanupOverran as CleanupOverran
from greenroom.runtime.events import DeadLetter as DeadLetter
from greenroom.runtime.events import Event as Event
from greenroom.runtime.events import FrameEmitted as FrameEmitted
from greenroom.runtime.events import FrameQuarantined as FrameQuarantined
from greenroom.runtime.events import FrameSent as FrameSent
from greenroom.runtime.events import HandlerEnded as HandlerEnded
from greenroom.runtime.events import HandlerSlow as HandlerSlow
from greenroom.runtime.events import HandlerStarted as HandlerStarted
from greenroom.runtime.events import Observer as Observer
from greenroom.runtime.events import SenderWaited as SenderWaited
from greenroom.runtime.events import StageStalled as StageStalled
from greenroom.runtime.frames import ControlFrame as ControlFrame
from greenroom.runtime.frames import Frame as Frame
from greenroom.runtime.frames import Request as Request
from greenroom.runtime.frames import StreamRequest as StreamRequest
from greenroom.runtime.frames import frame as frame
from greenroom.runtime.groups import bare as bare
from greenroom.runtime.inspection import ActorNode as ActorNode
from greenroom.runtime.mailbox import FullPolicy as FullPolicy
from greenroom.runtime.options import SpawnOptions as SpawnOptions
from greenroom.runtime.pipeline import Branches as Branches
from greenroom.runtime.pipeline import Pipeline as Pipeline
from greenroom.runtime.pipeline import PipelineInterrupted as PipelineInterrupted
from greenroom.runtime.pipeline import PipelineStalled as PipelineStalled
from greenroom.runtime.pipeline import Stage as Stage
from greenroom.runtime.pipeline import handles_up as handles_up
from greenroom.runtime.pipeline import open_pipeline as open_pipeline
from greenroom.runtime.probes import fault_point as fault_point
from greenroom.runtime.probes import touch as touch
from greenroom.runtime.ref import Ref as Ref
from greenroom.runtime.restart import Backoff as Backoff
from greenroom.runtime.restart import ChildKind as ChildKind
from greenroom.runtime.restart import Strategy as Strategy
from greenroom.runtime.restart import Supervision as Supervision
from greenroom.runtime.routes import handles as handles
from greenroom.runtime.stream import Emit as Emit
from greenroom.runtime.stream import ReplyStream as ReplyStream
from greenroom.runtime.supervisor_actor import ChildSpec as ChildSpec
from greenroom.runtime.supervisor_actor import SpawnChild as SpawnChild
from greenroom.runtime.supervisor_actor import Supervisor as Supervisor
from greenroom.runtime.supervisor_actor import TerminateChild as TerminateChild
from greenroom.runtime.system import Runtime as Runtime
from greenroom.runtime.system import open_runtime as open_runtime
from greenroom.runtime.topic import Lagged as Lagged
from greenroom.runtime.topic import LagPolicy as LagPolicy
from greenroom.runtime.topic import Subscription as Subscription
from greenroom.runtime.topic import Topic as Topic

__all__ = [
    "Accounts",
    "Actor",
    "ActorCrashed",
    "ActorEnded",
    "ActorInterrupted",
    "ActorNode",
    "ActorRestarted",
    "ActorRestarting",
    "ActorSpawned",
    "ActorStatistics",
    "ActorStopped",
    "Backoff",
    "Branches",
    "ChildKind",
    "ChildSpec",
    "CleanupOverran",
    "ControlFrame",
    "DeadLetter",
    "DeadlockError",
    "Down",
    "Dropped",
    "Emit",
    "Event",
    "Frame",
    "FrameEmitted",
    "FrameQuarantined",
    "FrameSent",
    "FullPolicy",
    "HandlerEnded",
    "HandlerSlow",
    "HandlerStarted",
    "Helpers",
    "IllegalMove",
    "Interrupted",
    "LagPolicy",
    "Lagged",
    "MailboxFull",
    "NotHandled",
    "Observer",
    "Pipeline",
    "PipelineInterrupted",
    "PipelineStalled",
    "Quarantined",
    "Ref",
    "Refused",
    "ReplyStream",
    "Request",
    "RequestError",
    "Runtime",
    "SenderWaited",
    "SpawnChild",
    "SpawnOptions",
    "Spawner",
    "Stage",
    "StageStalled",
    "Strategy",
    "StreamRequest",
    "Subscription",
    "Supervision",
    "Supervisor",
    "TerminateChild",
    "Timer",
    "TooManyRestarts",
    "Topic",
    "bare",
    "fault_point",
    "frame",
    "handles",
    "handles_up",
    "open_pipeline",
    "open_runtime",
    "touch",
]

# a library's log goes where its application says, and nowhere until then
logging.getLogger("greenroom").addHandler(logging.NullHandler())
