"""What a video asks which arm to do, as far as its tracks can be believed."""

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.track import GripperTrack, Reason

_LEAST_FOUND = 0.6
"""Share of the predicted frames in which an arm must be found; with fewer, the planner refuses to follow it
(`robo4d.planning.gates.GateConfig.max_outlier_share`), and what all other arms do with it."""
_LEAST_FRAMES = 3
"""Predicted frames that are worth a motion of their own."""


def moving_tracks(tracks: Mapping[str, GripperTrack], *, still_m: float, still_rad: float) -> dict[str, GripperTrack]:
    """The tracks of the arms that move, up to where one of them is lost for good: then it is time to look again.

    Following an arm that rests would only add the tracker's noise. An arm that is found in too few predicted frames
    rests while another one moves; the observation itself does not count, as there the robot tells where it is. If none
    moves, an arm that is lost on its way goes as far as it was seen, be it little, as the next look begins from there.
    An arm that is beside the images all the time rests with those that are seen to rest. What is left is for the
    planner, whose refusal says what is wrong: with the arm that was seen to move before it was lost, rather than with
    one that was only seen, or with one that was not seen at all.

    Args:
        tracks: Of each arm.
        still_m: An arm whose gripper stays within this of where it is [m] ...
        still_rad: ... and turns by no more than this [rad], rests.
    """
    ends = {arm: _end(track) for arm, track in tracks.items()}
    found = {arm: _until(tracks[arm], end) for arm, end in ends.items() if end}
    moving = [arm for arm, track in found.items() if _moves(track, still_m, still_rad)]
    moving = moving or [arm for arm in found if ends[arm] < len(tracks[arm].times_s)]
    if not moving:
        lost = {arm: track for arm, track in tracks.items() if arm not in found and not (found and _beside(track))}
        seen = {arm: track for arm, track in lost.items() if track.usable.any()}
        return {arm: track for arm, track in seen.items() if _moves(track, still_m, still_rad)} or seen or lost
    return {arm: _until(tracks[arm], min(ends[arm] for arm in moving)) for arm in moving}


def _end(track: GripperTrack) -> int:
    """Number of the track's first frames that can be followed, the last of them vouched for; 0 if too few can."""
    usable = track.usable
    shares = np.cumsum(usable[1:]) / np.arange(1, len(usable))
    ends = np.flatnonzero(usable[1:] & (shares >= _LEAST_FOUND)) + 2
    enough = min(_LEAST_FRAMES + 1, len(usable))
    return int(ends[-1]) if len(ends) and ends[-1] >= enough else 0


def _beside(track: GripperTrack) -> bool:
    """Whether an arm is outside the images, from the observation on."""
    return track.reasons is not None and all(reason == Reason.OUT_OF_VIEW for reason in track.reasons)


def _until(track: GripperTrack, end: int) -> GripperTrack:
    values = {field.name: getattr(track, field.name) for field in fields(track)}
    return replace(track, **{name: value[:end] for name, value in values.items() if isinstance(value, Array | tuple)})


def _moves(track: GripperTrack, still_m: float, still_rad: float) -> bool:
    """Whether an arm goes anywhere or its gripper acts, as far as the track can be believed."""
    if np.any(track.open != track.open[0]):
        return True
    Ts = track.Ts_world_tcp[track.usable]
    distances, angles = se3.distance(np.broadcast_to(Ts[0], Ts.shape), Ts)
    return bool(np.any(distances > still_m) or np.any(angles > still_rad))
