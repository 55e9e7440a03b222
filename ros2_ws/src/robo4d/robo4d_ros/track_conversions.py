"""Tracks as standard messages, for viewers and for other people's nodes."""

import numpy as np
from geometry_msgs.msg import PoseArray
from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray, ObjectHypothesis, ObjectHypothesisWithPose

from robo4d.geometry import se3
from robo4d.track import GripperTrack
from robo4d_ros.conversions import WORLD, header, pose_from_matrix, vector

_HAND_SIZE_M = np.array([0.063, 0.204, 0.175])
"""Box around a Franka hand with its fingers open, along the axes of the TCP [m]."""
_TCP_IN_BOX_M = 0.075
"""From the centre of the box to the TCP, along z [m]."""


def pose_array(track: GripperTrack) -> PoseArray:
    """The usable poses, in the order of time."""
    return PoseArray(
        header=header(track.stamp_ns, WORLD), poses=[pose_from_matrix(T) for T in track.Ts_world_tcp[track.usable]]
    )


def detections(track: GripperTrack) -> Detection3DArray:
    """One detection for each pose that there is: its header has the frame's time, its score is the confidence."""
    found: list[Detection3D] = []
    for T, time_s, confidence in zip(track.Ts_world_tcp, track.times_s, track.confidence, strict=True):
        if not np.isfinite(T).all():
            continue
        hypothesis = ObjectHypothesis(class_id=f"{track.arm}_gripper", score=float(confidence))
        result = ObjectHypothesisWithPose(hypothesis=hypothesis)
        result.pose.pose = pose_from_matrix(T)
        box = BoundingBox3D(
            center=pose_from_matrix(T @ se3.translation(0, 0, -_TCP_IN_BOX_M)), size=vector(_HAND_SIZE_M)
        )
        stamp = header(track.stamp_ns + round(1e9 * float(time_s)), WORLD)
        found.append(Detection3D(header=stamp, results=[result], bbox=box, id=track.arm))
    return Detection3DArray(header=header(track.stamp_ns, WORLD), detections=found)
