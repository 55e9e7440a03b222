"""What one arm tells of itself."""

import time

import numpy as np
from geometry_msgs.msg import PoseStamped, Vector3, WrenchStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from robo4d.execution.targets import ArmReading
from robo4d_ros.conversions import WORLD, matrix_from_pose, ns_from_time
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import Frames

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_ARM_JOINTS = 7


class ArmListener:
    """Listens to `<arm>/current_pose`, `<arm>/joint_states`, `<arm>/external_wrench` and `<arm>/fault`.

    The last one is a latched std_msgs/String: why the arm does not follow, empty where it does. All others are taken
    best effort, as Franka's broadcasters send them.
    """

    def __init__(self, node: Node, arm: str, frames: Frames) -> None:
        """Listen from now on."""
        self._arm, self._frames, self._logger = arm, frames, node.get_logger()
        self._pose: tuple[int, int, Float[Array, "4 4"]] | None = None
        self._joints: Float[Array, "7"] | None = None
        self._wrench: Float[Array, "6"] | None = None
        self._fault = ""
        self.width: float | None = None
        """Distance between the fingers [m], where joint_states tells it."""
        node.create_subscription(PoseStamped, f"{arm}/current_pose", self._take_pose, qos_profile_sensor_data)
        node.create_subscription(JointState, f"{arm}/joint_states", self._take_joints, qos_profile_sensor_data)
        node.create_subscription(WrenchStamped, f"{arm}/external_wrench", self._take_wrench, qos_profile_sensor_data)
        node.create_subscription(String, f"{arm}/fault", self._take_fault, LATCHED)

    def reading(self, controller_fault: str = "") -> ArmReading | None:
        """The newest of everything; None before the first pose whose frame is known."""
        if self._pose is None:
            return None
        stamp_ns, arrival_ns, T_world_tcp = self._pose
        return ArmReading(
            stamp_ns=stamp_ns,
            arrival_ns=arrival_ns,
            T_world_tcp=T_world_tcp,
            joints=self._joints,
            wrench=self._wrench,
            fault=self._fault or controller_fault,
        )

    def _take_pose(self, message: PoseStamped) -> None:
        T_world_frame = self._T_world(message.header.frame_id)
        if T_world_frame is None:
            return
        try:
            T_world_tcp = T_world_frame @ matrix_from_pose(message.pose)
        except ValueError:
            T_world_tcp = np.full((4, 4), np.nan)
        self._pose = ns_from_time(message.header.stamp), time.monotonic_ns(), T_world_tcp

    def _take_joints(self, message: JointState) -> None:
        positions = np.array(message.position, float)
        if len(positions) < _ARM_JOINTS:  # of the fingers alone, as franka_gripper tells them
            self.width = float(positions.sum())
            return
        self._joints = positions[:_ARM_JOINTS]
        if len(positions) > _ARM_JOINTS:
            self.width = float(positions[_ARM_JOINTS:].sum())

    def _take_wrench(self, message: WrenchStamped) -> None:
        T_world_frame = self._T_world(message.header.frame_id)
        if T_world_frame is not None:
            force, torque = (_xyz(v) for v in (message.wrench.force, message.wrench.torque))
            self._wrench = np.concatenate([T_world_frame[:3, :3] @ force, T_world_frame[:3, :3] @ torque])

    def _take_fault(self, message: String) -> None:
        self._fault = message.data

    def _T_world(self, frame: str) -> Float[Array, "4 4"] | None:
        """The pose of a frame; None where it is not known, which is told: the state then counts as missing or late."""
        try:
            return self._frames.lookup(WORLD, frame)
        except FrameError as error:
            self._logger.warning(f"{self._arm} arm: {error}", throttle_duration_sec=2.0)
            return None


def _xyz(vector: Vector3) -> Float[Array, "3"]:
    return np.array([vector.x, vector.y, vector.z])
