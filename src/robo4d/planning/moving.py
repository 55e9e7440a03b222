"""Which arms a video asks to move."""

from collections.abc import Mapping

import numpy as np

from robo4d.geometry import se3
from robo4d.track import GripperTrack

_LEAST_FOUND = 0.6
"""Share of the predicted frames in which an arm must be found; with fewer, the planner refuses to follow it
(`robo4d.planning.gates.GateConfig.max_outlier_share`), and what all other arms do with it."""


def moving_tracks(tracks: Mapping[str, GripperTrack], *, still_m: float, still_rad: float) -> dict[str, GripperTrack]:
    """The tracks of the arms that move. Following an arm that rests would only add the tracker's noise.

    An arm that is not found in the observation, or in too few predicted frames, rests while another one moves. If none
    does, it is left to the planner, whose refusal says what is wrong.

    Args:
        tracks: Of each arm.
        still_m: An arm whose gripper stays within this of where it is [m] ...
        still_rad: ... and turns by no more than this [rad], rests.
    """
    found = {
        arm: track
        for arm, track in tracks.items()
        if track.usable[0] and track.usable[1:].any() and track.usable[1:].mean() >= _LEAST_FOUND
    }
    moving = {arm: track for arm, track in found.items() if _moves(track, still_m, still_rad)}
    return moving or {arm: track for arm, track in tracks.items() if arm not in found}


def _moves(track: GripperTrack, still_m: float, still_rad: float) -> bool:
    """Whether an arm goes anywhere or its gripper acts, as far as the track can be believed."""
    if np.any(track.open != track.open[0]):
        return True
    Ts = track.Ts_world_tcp[track.usable]
    distances, angles = se3.distance(np.broadcast_to(Ts[0], Ts.shape), Ts)
    return bool(np.any(distances > still_m) or np.any(angles > still_rad))
