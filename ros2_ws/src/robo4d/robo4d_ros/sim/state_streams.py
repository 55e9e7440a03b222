"""What the arms and the cell tell about themselves, at every control tick."""

from collections import deque

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from robo4d_msgs.srv import InjectFault
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from robo4d.geometry import Camera, se3
from robo4d.sim.scene import T_WORLD_BASE
from robo4d.sim.state import ARMS, ArmState, CellState
from robo4d_ros import conversions
from robo4d_ros.frames import TF_QOS, TF_STATIC_QOS
from robo4d_ros.sim.faults import Faults
from robo4d_ros.sim.robot_frames import RobotFrames

_FRAMES_TICKS = 3
"""Control ticks from one message on tf to the next: 17 Hz (robot_state_publisher: 20). Every listener pays for them."""
F = InjectFault.Request


def base_frame(arm: str) -> str:
    """The frame that an arm stands in."""
    return f"{arm}_base"


def joint_names(arm: str) -> list[str]:
    """Joints of an arm and its two fingers, in the order of its joint_states."""
    return [*(f"{arm}_joint{i}" for i in range(1, 8)), f"{arm}_finger_joint1", f"{arm}_finger_joint2"]


class StateStreams:
    """Publishers of joint states, TCP poses, wrenches, description and frames of the arms, and of the bodies' poses.

    The bodies' poses (`sim/bodies`) are what no robot has: they are for evaluation and the scripted expert only. Their
    stamp is the time since the start of the episode, which is slower than the clock where the machine is.

    Args:
        node: The publishers' node.
        faults: What is told wrongly.
        every: Control ticks from one state that is told to the next.
    """

    def __init__(self, node: Node, faults: Faults, *, every: int = 1) -> None:
        self._faults, self._every = faults, every
        self._ticks = 0
        self._arms = {arm: _ArmStreams(node, arm, faults) for arm in ARMS}
        self._robot = RobotFrames(node)
        self._tf = node.create_publisher(TFMessage, "/tf", TF_QOS)
        self._tf_static = node.create_publisher(TFMessage, "/tf_static", TF_STATIC_QOS)
        self._bodies = node.create_publisher(TFMessage, "sim/bodies", qos_profile_sensor_data)

    def publish_static_frames(self, cameras: dict[str, Camera], stamp_ns: int) -> None:
        """What never moves: where the arms stand, their links that are fixed, and the cameras."""
        optical = {frame: camera.T_world_camera for frame, camera in cameras.items()}
        message = conversions.frames_message(conversions.WORLD, optical, stamp_ns)
        message.transforms += self._robot.static(stamp_ns)
        self._tf_static.publish(message)

    def publish(self, state: CellState, stamp_ns: int) -> None:
        """The state of this tick, or what the faults make of it."""
        self._ticks += 1
        if self._ticks % self._every:
            return
        moving = TFMessage()
        for arm, streams in self._arms.items():
            for told, told_ns in streams.due(state.arms[arm], stamp_ns):
                positions = dict(zip(joint_names(arm), streams.publish(told, told_ns), strict=True))
                if self._ticks % max(_FRAMES_TICKS, 2 * self._every) < self._every:
                    moving.transforms += self._robot.moved(positions, told_ns)
        if moving.transforms:
            self._tf.publish(moving)
        episode_ns = round(1e9 * state.time_s)
        self._bodies.publish(conversions.frames_message(conversions.WORLD, state.T_world_body, episode_ns))


class _ArmStreams:
    """The streams of one arm."""

    def __init__(self, node: Node, arm: str, faults: Faults) -> None:
        self._arm, self._faults = arm, faults
        self._T_base_world = se3.inverse(T_WORLD_BASE[arm])
        self._waiting: deque[tuple[ArmState, int]] = deque()
        self._joints = node.create_publisher(JointState, f"{arm}/joint_states", 10)
        self._pose = node.create_publisher(PoseStamped, f"{arm}/current_pose", qos_profile_sensor_data)
        self._wrench = node.create_publisher(WrenchStamped, f"{arm}/external_wrench", qos_profile_sensor_data)

    def due(self, state: ArmState, stamp_ns: int) -> list[tuple[ArmState, int]]:
        """What is told now of all that was measured so far, with the time of its measurement [ns]."""
        self._waiting.append((state, stamp_ns))
        latest_ns = stamp_ns - round(1e9 * self._faults.value(F.DELAY_STATE, self._arm))
        told = []
        while self._waiting and self._waiting[0][1] <= latest_ns:
            told.append(self._waiting.popleft())
        return told

    def publish(self, state: ArmState, stamp_ns: int) -> Float[Array, "9"]:
        """Tell a state; the positions of arm [rad] and fingers [m] that were told."""
        broken = np.nan if self._faults.active(F.NAN_STATE, self._arm) else 0.0
        T_base_tcp = self._T_base_world @ state.T_world_tcp + broken
        wrench = state.external_wrench.copy()
        wrench[:3], wrench[3:] = (self._T_base_world[:3, :3] @ part for part in (wrench[:3], wrench[3:]))
        positions = np.concatenate([state.joints, np.full(2, state.gripper_width / 2)]) + broken
        velocities = np.concatenate([state.joint_velocities, np.zeros(2)]) + broken
        frame = base_frame(self._arm)
        self._joints.publish(conversions.joint_state(joint_names(self._arm), positions, velocities, stamp_ns=stamp_ns))
        self._pose.publish(conversions.pose_stamped(T_base_tcp, frame=frame, stamp_ns=stamp_ns))
        self._wrench.publish(conversions.wrench_stamped(wrench + broken, frame=frame, stamp_ns=stamp_ns))
        return positions
