"""Errors of gripper poses that were read from a predicted video, over its steps (the paper's figure A.6)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.track import GripperTrack

Steps = Float[Array, "a steps"]
"""A value of each arm at each frame after the observation."""
_MOVES_M = 0.02
"""An arm whose gripper comes no farther than this [m] rests, and is easily followed."""


def tcp_errors_mm(tracks: Mapping[str, GripperTrack], true: Mapping[str, Float[Array, "t 4 4"]]) -> Steps:
    """Distance [mm] of every pose after the observation from the true one, of the arms that move.

    NaN where a pose is not vouched for.
    """
    errors, moves = list[Array](), list[bool]()
    for arm, motion in tracks.items():
        distance, _ = se3.distance(np.nan_to_num(motion.Ts_world_tcp), true[arm])
        errors.append(np.where(motion.usable, 1000 * distance, np.nan)[1:])
        moves.append(bool(np.ptp(true[arm][:, :3, 3], axis=0).max() > _MOVES_M))
    return np.stack(errors)[moves]


def lost_share(tracks: Mapping[str, GripperTrack]) -> float:
    """Share of the poses after the observation that are not vouched for."""
    return float(np.mean([~track.usable[1:] for track in tracks.values()]))


def median(errors: Float[Array, "*b"]) -> float:
    """Of the finite values; NaN without one."""
    known = errors[np.isfinite(errors)]
    return float(np.median(known)) if len(known) else float("nan")


def median_by_step(clips: Sequence[Float[Array, "_ steps"]]) -> list[float]:
    """Median of each step, over all clips and arms."""
    return [median(step) for step in np.concatenate(clips).T]
