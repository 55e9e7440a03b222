"""Gripper events: when the fingers of a track close or open for good."""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.planning.path import PosePath

_SAMPLES = 21
"""Moments looked at between two frames."""
_STILL_M, _STILL_RAD = 0.01, 0.1
"""A hand that stays this near to its start [m, rad] has not left it."""


def transitions(open: Bool[Array, " t"], min_dwell_frames: int) -> list[int]:
    """Frames in which the gripper has changed its state and keeps the new one for `min_dwell_frames` frames."""
    state, found = open[0], []
    for frame in range(1, len(open) - min_dwell_frames + 1):
        if open[frame] != state and np.all(open[frame : frame + min_dwell_frames] != state):
            state = not state
            found.append(frame)
    return found


def acting_moment_s(path: PosePath, start_s: float, end_s: float) -> float:
    """The video time at which a gripper acts that changes within an interval [s]: when its hand is slowest.

    It acts at once where the hand has not left its start by then: what looks like a motion is the tracker's noise, and
    would press what it holds onto what that stands on.
    """
    times: Float[Array, " n"] = np.linspace(start_s, end_s, _SAMPLES)
    slowest_s = float(times[np.argmin(path.speeds(times))])
    way = path.poses(np.linspace(0, slowest_s, _SAMPLES))
    distances, angles = se3.distance(np.broadcast_to(way[0], way.shape), way)
    return 0.0 if distances.max() < _STILL_M and angles.max() < _STILL_RAD else slowest_s


def acting(
    open: Bool[Array, " t"], path: PosePath, times_s: Float[Array, " t"], min_dwell_frames: int
) -> dict[float, slice]:
    """The video times at which the gripper acts [s], and the frames that show what came of each.

    Of changes that fall on one moment, as all do of a hand that stands still, only what is left is done, and of two
    nothing: a gripper that seems to close and to open again there was read wrongly.
    """
    found: dict[float, slice] = {}
    for frame, until in pairwise([*transitions(open, min_dwell_frames), len(times_s)]):
        moment_s = acting_moment_s(path, float(times_s[frame - 1]), float(times_s[frame]))
        if found.pop(moment_s, None) is None:
            found[moment_s] = slice(frame, until)
    return found


def shown_opening_m(opening_m: Float[Array, " t"]) -> float | None:
    """The distance between fingers that have acted [m] as these frames show it; None where none does."""
    seen = opening_m[np.isfinite(opening_m)]
    return float(np.median(seen)) if len(seen) else None
