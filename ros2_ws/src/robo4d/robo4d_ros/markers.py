"""What RViz draws of tracks, plans and the cell."""

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from jaxtyping import Float
from numpy import ndarray as Array
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from robo4d.geometry import se3
from robo4d.plan import Plan
from robo4d.planning.robot import Box, MountedArm
from robo4d.track import GripperTrack
from robo4d_ros.conversions import WORLD, header, pose_from_matrix, vector

_LINE_M = 0.003
"""Width of the lines of a gripper [m]."""
_FINGER_M, _PALM_M, _WRIST_M = 0.0, -0.045, -0.10
"""Heights of fingertips, palm and wrist of the drawn gripper on the axis of the TCP [m]; a Franka hand's."""
_TEXT_M = 0.02
"""Height of the letters that say why a pose is not followed [m]."""
_RED = ColorRGBA(r=0.9, g=0.1, b=0.1, a=1.0)
_WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
_BOX = ColorRGBA(r=0.6, g=0.6, b=0.65, a=0.35)
_WORKSPACE = ColorRGBA(r=0.2, g=0.5, b=0.9, a=0.9)


def confidence_colour(confidence: float) -> ColorRGBA:
    """From orange (no trust) to green (full trust). Red is left to outliers."""
    return ColorRGBA(r=1.0 - 0.9 * confidence, g=0.5 + 0.3 * confidence, b=0.1, a=1.0)


def track_markers(track: GripperTrack) -> MarkerArray:
    """A gripper of lines at each pose, coloured by confidence; those that are not followed are red, and say why."""
    marker = _lines(track.stamp_ns, f"{track.arm}/track", _LINE_M)
    for T, opening_m, confidence, inlier in zip(
        track.Ts_world_tcp, track.opening_m, track.confidence, track.inlier, strict=True
    ):
        if np.isfinite(T).all():
            colour = confidence_colour(float(confidence)) if inlier else _RED
            _draw_gripper(marker, T, float(opening_m) if np.isfinite(opening_m) else 0.0, colour)
    return MarkerArray(markers=[marker, *_reasons(track)])


def _reasons(track: GripperTrack) -> list[Marker]:
    """Why poses are not followed: written where a reason begins; for a lost gripper, at its last pose.

    There is a marker for each frame, so that one without a text deletes that of the video before.
    """
    texts: list[Marker] = []
    T_last, last = np.full((4, 4), np.nan), ""
    for t, (T, reason) in enumerate(zip(track.Ts_world_tcp, track.reasons or (), strict=False)):
        T_last = T if np.isfinite(T).all() else T_last
        text = Marker(header=header(track.stamp_ns, WORLD), ns=f"{track.arm}/reason", id=t, action=Marker.DELETE)
        if reason and reason != last and np.isfinite(T_last).all():
            text.type, text.action, text.text = Marker.TEXT_VIEW_FACING, Marker.ADD, str(reason)
            text.pose, text.scale.z = pose_from_matrix(T_last @ se3.translation(0, 0, _WRIST_M - _TEXT_M)), _TEXT_M
            text.color = _RED
        texts.append(text)
        last = reason
    return texts


def plan_markers(plan: Plan) -> MarkerArray:
    """The tracked poses that the plan does not follow, in red, and the verdict as text."""
    markers: list[Marker] = []
    for arm, frames in plan.keyframes.items():
        marker = _lines(plan.stamp_ns, f"{arm}/outliers", _LINE_M)
        for T in frames.Ts_world_raw[frames.outlier]:
            if np.isfinite(T).all():
                _draw_gripper(marker, T, 0.04, _RED)
        markers.append(marker)
    verdict = plan.verdict
    text = Marker(header=header(plan.stamp_ns, WORLD), ns="verdict", type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
    text.text = "accepted" if verdict.accepted else f"{verdict.code.name}: {verdict.reason}"
    text.pose, text.scale.z = pose_from_matrix(se3.translation(0.5, 0.0, 0.75)), 0.04
    text.color = _WHITE if verdict.accepted else _RED
    return MarkerArray(markers=[*markers, text])


def cell_markers(arms: Sequence[MountedArm], boxes: Sequence[Box]) -> MarkerArray:
    """The boxes that must not be touched, and the edges of each arm's workspace."""
    markers: list[Marker] = []
    for box in boxes:
        marker = Marker(header=header(0, WORLD), ns=f"box/{box.name}", type=Marker.CUBE, action=Marker.ADD, color=_BOX)
        marker.pose, marker.scale = pose_from_matrix(box.T_world_box), vector(box.size_m)
        markers.append(marker)
    for arm in arms:
        marker = _lines(0, f"{arm.name}/workspace", _LINE_M)
        for start, end in _edges(arm.workspace_min, arm.workspace_max):
            _draw_line(marker, start, end, _WORKSPACE)
        markers.append(marker)
    return MarkerArray(markers=markers)


def _lines(stamp_ns: int, namespace: str, width_m: float) -> Marker:
    """Lines with a colour of their own each. Without points, the marker is deleted: RViz complains of empty ones."""
    marker = Marker(header=header(stamp_ns, WORLD), ns=namespace, type=Marker.LINE_LIST, action=Marker.DELETE)
    marker.pose.orientation.w, marker.scale.x, marker.color = 1.0, width_m, _WHITE
    return marker


def _draw_line(marker: Marker, start: Float[Array, "3"], end: Float[Array, "3"], colour: ColorRGBA) -> None:
    marker.action = Marker.ADD
    for x, y, z in (start, end):
        marker.points.append(Point(x=float(x), y=float(y), z=float(z)))
        marker.colors.append(colour)


def _draw_gripper(marker: Marker, T_world_tcp: Float[Array, "4 4"], opening_m: float, colour: ColorRGBA) -> None:
    half = opening_m / 2
    corners = np.array(
        [
            [0, 0, _WRIST_M],
            [0, 0, _PALM_M],
            [0, -half, _PALM_M],
            [0, half, _PALM_M],
            [0, -half, _FINGER_M],
            [0, half, _FINGER_M],
        ]
    )
    wrist, palm, left, right, left_tip, right_tip = se3.apply(T_world_tcp, corners)
    for start, end in ((wrist, palm), (left, right), (left, left_tip), (right, right_tip)):
        _draw_line(marker, start, end, colour)


def _edges(lowest: Float[Array, "3"], highest: Float[Array, "3"]) -> list[tuple[Float[Array, "3"], Float[Array, "3"]]]:
    """The twelve edges of a box."""
    corners = np.stack(np.meshgrid(*zip(lowest, highest, strict=True), indexing="ij"), axis=-1).reshape(8, 3)
    return [(corners[i], corners[i | bit]) for bit in (1, 2, 4) for i in range(8) if not i & bit]
