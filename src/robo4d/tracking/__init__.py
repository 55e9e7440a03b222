"""Following the grippers through a predicted video, on a CPU. Read `readout.py` first."""

from robo4d.track import Reason
from robo4d.tracking.arm import ArmModel, ArmRenderer
from robo4d.tracking.evidence import Evidence
from robo4d.tracking.follow import GripperPrior, Limits
from robo4d.tracking.geometric import GeometricTracker
from robo4d.tracking.gripper import GripperModel, Mesh, Part
from robo4d.tracking.held import GraspMemory
from robo4d.tracking.opening import PAPER_THRESHOLDS_M, OpenRule
from robo4d.tracking.readout import Readout, ReadoutConfig, embedded_tracker, remembering, track_video
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.search import GeometricTrackerConfig

__all__ = [
    "PAPER_THRESHOLDS_M",
    "ArmModel",
    "ArmRenderer",
    "Evidence",
    "GeometricTracker",
    "GeometricTrackerConfig",
    "GraspMemory",
    "GripperModel",
    "GripperPrior",
    "GripperRenderer",
    "Limits",
    "Mesh",
    "OpenRule",
    "Part",
    "Readout",
    "ReadoutConfig",
    "Reason",
    "embedded_tracker",
    "remembering",
    "track_video",
]
