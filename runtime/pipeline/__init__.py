"""
Chains of actors that frames run through, down and up; start with `open_pipeline` and `Stage`.
"""

from greenroom.runtime.pipeline.frames import End as End
from greenroom.runtime.pipeline.frames import Flush as Flush
from greenroom.runtime.pipeline.frames import Heartbeat as Heartbeat
from greenroom.runtime.pipeline.frames import PipelineInterrupted as PipelineInterrupted
from greenroom.runtime.pipeline.frames import PipelineStarted as PipelineStarted
from greenroom.runtime.pipeline.frames import StageCrashed as StageCrashed
from greenroom.runtime.pipeline.outlet import Tap as Tap
from greenroom.runtime.pipeline.parts import Branches as Branches
from greenroom.runtime.pipeline.parts import Part as Part
from greenroom.runtime.pipeline.pipeline import Pipeline as Pipeline
from greenroom.runtime.pipeline.pipeline import PipelineStalled as PipelineStalled
from greenroom.runtime.pipeline.pipeline import open_pipeline as open_pipeline
from greenroom.runtime.pipeline.stage import Stage as Stage
from greenroom.runtime.pipeline.stage import handles_up as handles_up

__all__ = [
    "Branches",
    "End",
    "Flush",
    "Heartbeat",
    "Part",
    "Pipeline",
    "PipelineInterrupted",
    "PipelineStalled",
    "PipelineStarted",
    "Stage",
    "StageCrashed",
    "Tap",
    "handles_up",
    "open_pipeline",
]
