"""The joints and grippers of all arms over the last minutes: the robot at the time of an observation, and now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState

from robo4d.history import History
from robo4d.planning.robot import RobotState
from robo4d.rgbd import ArmPosture
from robo4d_ros.conversions import ns_from_time

_SPAN_S = 180.0
"""Longer than any observation is old that is still planned with [s]."""
_PERIOD_S = 0.02
"""States are kept this densely [s]; joints that are sampled at 1 kHz would fill the memory."""
_ARM_JOINTS = 7


@dataclass(frozen=True)
class _Joints:
    positions: Float[Array, "7"]
    velocities: Float[Array, "7"]


class RobotHistory:
    """Listens to `<arm>/joint_states`: seven joints, fingers after them or in messages of their own."""

    def __init__(self, node: Node, arms: Sequence[str]) -> None:
        """Listen from now on."""
        self._joints = {arm: History[_Joints](span_s=_SPAN_S, period_s=_PERIOD_S) for arm in arms}
        self._widths = {arm: History[float](span_s=_SPAN_S, period_s=_PERIOD_S) for arm in arms}
        self._foreseen: tuple[int, Mapping[str, ArmPosture]] = (-1, {})
        for arm in arms:
            node.create_subscription(
                JointState,
                f"{arm}/joint_states",
                lambda message, arm=arm: self._take(arm, message),
                qos_profile_sensor_data,
            )

    def foresee(self, stamp_ns: int, postures: Mapping[str, ArmPosture]) -> None:
        """From now on, this is how the arms stand at exactly this time [ns], at rest; by name."""
        self._foreseen = stamp_ns, postures

    def newest(self) -> RobotState | None:
        """All arms now, with the time of the arm that was heard of first; None before all have told something."""
        return _state({arm: history.newest() for arm, history in self._joints.items()}, min)

    def now(self) -> dict[str, ArmPosture] | None:
        """How each arm stands now; None before all have told their joints and fingers."""
        state = self.newest()
        widths = {arm: self._widths[arm].newest() for arm in self._widths}
        told = {arm: width[1] for arm, width in widths.items() if width}
        if state is None or len(told) < len(widths):
            return None
        return {arm: ArmPosture(joints=state.joints[arm], opening_m=told[arm]) for arm in told}

    def at(self, stamp_ns: int) -> RobotState | None:
        """All arms as near as possible to a time [ns], with the time of the arm that is farthest from it."""
        foreseen_ns, postures = self._foreseen
        if stamp_ns == foreseen_ns:
            return RobotState.at_rest(stamp_ns, {arm: posture.joints for arm, posture in postures.items()})
        found = {arm: history.nearest(stamp_ns) for arm, history in self._joints.items()}
        return _state(found, lambda stamps_ns: max(stamps_ns, key=lambda other_ns: abs(other_ns - stamp_ns)))

    def width_at(self, arm: str, stamp_ns: int) -> float | None:
        """Distance between the fingers [m] near a time [ns], as far as it is told."""
        foreseen_ns, postures = self._foreseen
        if stamp_ns == foreseen_ns and arm in postures:
            return postures[arm].opening_m
        found = self._widths[arm].nearest(stamp_ns)
        return None if found is None else found[1]

    def _take(self, arm: str, message: JointState) -> None:
        stamp_ns, positions = ns_from_time(message.header.stamp), np.array(message.position, float)
        velocities = np.array(message.velocity, float)
        if len(positions) >= _ARM_JOINTS:
            if len(velocities) < _ARM_JOINTS:  # a robot that does not tell whether it moves is not at rest
                velocities = np.full(_ARM_JOINTS, np.nan)
            self._joints[arm].add(stamp_ns, _Joints(positions[:_ARM_JOINTS], velocities[:_ARM_JOINTS]))
            positions = positions[_ARM_JOINTS:]
        if len(positions):
            self._widths[arm].add(stamp_ns, float(positions.sum()))


def _state(
    found: dict[str, tuple[int, _Joints] | None], choose_stamp: Callable[[Sequence[int]], int]
) -> RobotState | None:
    known = {arm: entry for arm, entry in found.items() if entry is not None}
    if len(known) < len(found):
        return None
    return RobotState(
        stamp_ns=choose_stamp([stamp_ns for stamp_ns, _ in known.values()]),
        joints={arm: joints.positions for arm, (_, joints) in known.items()},
        joint_velocities={arm: joints.velocities for arm, (_, joints) in known.items()},
    )
