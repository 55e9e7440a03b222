"""The second and third readout: a generator that draws its own plan knows where it has drawn the grippers.

`plan_head` believes it; `fused` holds it against what the tracker sees in the video. Where both agree they support each
other, and where they contradict each other the video does not show what the plan says, and neither is vouched for.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from robo4d.geometry import se3
from robo4d.track import GripperTrack
from robo4d.tracking.evidence import Reason
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


def fuse(tracked: GripperTrack, told: GripperTrack) -> GripperTrack:
    """One motion from two readings of it.

    Where both agree (25 mm, 15 deg), the pose lies between them by their confidences, which add up as those of
    independent witnesses. Where only one of them has a pose, it is that one. Where they contradict each other, the
    tracker's pose is kept for viewers, with the product of both confidences. Grippers open and close as the generator
    says: it decides that, while the tracker measures it.

    Raises:
        ValueError: the readings are of different videos.
    """
    if tracked.stamp_ns != told.stamp_ns or not np.allclose(tracked.times_s, told.times_s):
        raise ValueError(f"{tracked.arm}: the tracker and the generator must tell of the frames of the same video")
    seen, known = tracked.usable, told.usable
    both = seen & known
    distance, angle = se3.distance(
        np.where(both[:, None, None], tracked.Ts_world_tcp, np.eye(4)),
        np.where(both[:, None, None], told.Ts_world_tcp, np.eye(4)),
    )
    agree = both & (distance < _AGREE_M) & (angle < _AGREE_RAD)
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
