"""Gripper events: when the fingers of a track close or open for good."""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.planning.path import PosePath

_SAMPLES = 21
"""Moments looked at between two frames."""


def transitions(open: Bool[Array, " t"], min_dwell_frames: int) -> list[int]:
    """Frames in which the gripper has changed its state and keeps the new one for `min_dwell_frames` frames."""
    state, found = open[0], []
    for frame in range(1, len(open) - min_dwell_frames + 1):
        if open[frame] != state and np.all(open[frame : frame + min_dwell_frames] != state):
            state = not state
            found.append(frame)
    return found


def slowest_moment_s(path: PosePath, start_s: float, end_s: float) -> float:
    """The video time in an interval at which the hand is slowest [s]: a gripper acts while its hand stands still."""
    times: Float[Array, " n"] = np.linspace(start_s, end_s, _SAMPLES)
    return float(times[np.argmin(path.speeds(times))])
