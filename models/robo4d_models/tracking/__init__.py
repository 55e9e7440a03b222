"""Pose trackers that need a GPU, each in a process and an environment of its own."""

from robo4d_models.tracking.engine import Engine, EngineConfig, EngineFailed
from robo4d_models.tracking.foundationpose import FoundationPose, FoundationPoseConfig, FoundationPoseTracker

__all__ = [
    "Engine",
    "EngineConfig",
    "EngineFailed",
    "FoundationPose",
    "FoundationPoseConfig",
    "FoundationPoseTracker",
]
