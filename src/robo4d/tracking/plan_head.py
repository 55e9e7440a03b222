"""The second and third readout: a generator that draws its own plan knows where it has drawn the grippers.

`plan_head` believes it; `fused` holds it against what the tracker sees in the video. Where both agree they support each
other, and where they contradict each other the video does not show what the plan says, and neither is vouched for. The
first readout, the tracker's, keeps its poses, but is less sure of those that the generator contradicts.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.track import GripperTrack, Reason
from robo4d.tracking.readout import Readout

_AGREE_M, _AGREE_RAD = 0.025, math.radians(15)
"""Two readings of a pose within this of each other are of the same pose: the limits of a right one."""
_ALONE = 0.5
"""What is left of the plan's confidence where the tracker sees nothing."""


def plan_readout(told: Mapping[str, GripperTrack]) -> Readout:
    """What the generator says, and nothing else.

    Args:
        told: The motion of each arm's gripper, by the generator.
    """
    return Readout(tracks=dict(told), calibration=None)


def fused_readout(tracked: Readout, told: Mapping[str, GripperTrack]) -> Readout:
    """What the tracker sees, held against what the generator says.

    Args:
        tracked: Of the generator's video.
        told: The motion of each arm's gripper, by the generator, at the same times.
    """
    return replace(tracked, tracks={arm: fuse(track, told[arm]) for arm, track in tracked.tracks.items()})


def doubted_readout(tracked: Readout, told: Mapping[str, GripperTrack]) -> Readout:
    """What the tracker sees, with less confidence where the generator says otherwise.

    Args:
        tracked: Of the generator's video.
        told: The motion of each arm's gripper, by the generator, at the same times; other arms stay as they are.
    """
    return replace(
        tracked,
        tracks={arm: doubt(track, told[arm]) if arm in told else track for arm, track in tracked.tracks.items()},
    )


def doubt(tracked: GripperTrack, told: GripperTrack) -> GripperTrack:
    """The tracker's motion, with less confidence where it is contradicted (beyond 25 mm or 15 deg).

    Two independent witnesses cannot both be right then. What remains is the probability c (1 - k) / (1 - c k) that the
    tracker is, c and k being the confidences of tracker and generator: 0 if the generator is certain.

    Raises:
        ValueError: the readings are of different videos.
    """
    both, agree = _compared(tracked, told)
    contradicted = both & ~agree
    c, k = tracked.confidence, np.where(contradicted, told.confidence, 0.0)
    return replace(tracked, confidence=c * (1 - k) / np.maximum(1 - c * k, 1e-9))


def fuse(tracked: GripperTrack, told: GripperTrack) -> GripperTrack:
    """One motion from two readings of it.

    Where both agree (25 mm, 15 deg), the pose lies between them by their confidences, which add up as those of
    independent witnesses. Where only one of them has a pose, it is that one. Where they contradict each other, the
    tracker's pose is kept for viewers, with the product of both confidences. Grippers open and close as the generator
    says: it decides that, while the tracker measures it.

    Raises:
        ValueError: the readings are of different videos.
    """
    both, agree = _compared(tracked, told)
    seen, known = tracked.usable, told.usable
    poses = np.where(seen[:, None, None], tracked.Ts_world_tcp, told.Ts_world_tcp)
    for t in np.flatnonzero(agree):
        share = tracked.confidence[t] / (tracked.confidence[t] + told.confidence[t])
        poses[t] = se3.interpolate(told.Ts_world_tcp[t], tracked.Ts_world_tcp[t], float(share))
    confidence = np.where(seen, tracked.confidence, _ALONE * told.confidence)
    confidence = np.where(both & ~agree, tracked.confidence * told.confidence, confidence)
    confidence = np.where(agree, 1 - (1 - tracked.confidence) * (1 - told.confidence), confidence)
    inlier = agree | (seen ^ known)
    return replace(
        tracked,
        Ts_world_tcp=poses,
        confidence=confidence,
        inlier=inlier,
        opening_m=np.where(np.isfinite(tracked.opening_m), tracked.opening_m, told.opening_m),
        open=told.open,
        reasons=tuple(
            Reason.TRUSTED if trusted else Reason.CONTRADICTED if by_tracker else was
            for trusted, by_tracker, was in zip(inlier, seen, tracked.reasons or ("",) * len(seen), strict=True)
        ),
    )


def _compared(tracked: GripperTrack, told: GripperTrack) -> tuple[Bool[Array, " t"], Bool[Array, " t"]]:
    """Frames of which both have a pose, and those in which it is the same one."""
    if tracked.stamp_ns != told.stamp_ns or not np.allclose(tracked.times_s, told.times_s):
        raise ValueError(f"{tracked.arm}: the tracker and the generator must tell of the frames of the same video")
    both = tracked.usable & told.usable
    distance, angle = se3.distance(
        np.where(both[:, None, None], tracked.Ts_world_tcp, np.eye(4)),
        np.where(both[:, None, None], told.Ts_world_tcp, np.eye(4)),
    )
    return both, both & (distance < _AGREE_M) & (angle < _AGREE_RAD)
