"""The scripted expert of a task, which works the simulated cell through the topics and actions of real robots.

The one thing it sees that no robot has is `sim/bodies`, the poses of the objects.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from robo4d.geometry import se3
from robo4d.sim import tasks
from robo4d.sim.state import ARMS, MAX_WIDTH, ArmCommand, ArmState, CellState
from robo4d_ros import conversions, frames, parameters
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.franka_actions import Grasp, GraspEpsilon, Move
from robo4d_ros.process import run
from robo4d_ros.sim.state_streams import base_frame

_EDGE = 0.005
"""A change of the commanded opening by more than this [m] is a new command to the gripper."""


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """The scripted expert."""

    task: str = "store_cereal_box_under_shelf"
    """What it does."""
    gripper_speed: float = field(default=0.1, metadata={"range": (0.01, 0.1)})
    """[m/s]."""
    grip_force: float = field(default=40.0, metadata={"range": (1.0, 70.0)})
    """[N]."""


class ExpertNode(Node):
    """Commands the arms each time it hears where the objects are: at the rate of the cell, 50 Hz."""

    def __init__(self, **options: Any) -> None:
        super().__init__("expert", **options)
        self._config = parameters.declare(self, ExpertConfig())
        self._expert = tasks.load(self._config.task).expert()
        self._frames = frames.listen(self)
        self._arms = {arm: _Arm(self, arm, self._config) for arm in ARMS}
        self._done, self._time_s = False, 0.0
        self.create_subscription(TFMessage, "sim/bodies", self._act, qos_profile_sensor_data)

    def _act(self, bodies: TFMessage) -> None:
        try:
            T_world_base = {arm: self._frames.lookup(conversions.WORLD, base_frame(arm)) for arm in ARMS}
        except FrameError as error:
            self.get_logger().info(f"waiting for {error}", throttle_duration_sec=5.0)
            return
        states = {arm: streams.state(T_world_base[arm]) for arm, streams in self._arms.items()}
        if not bodies.transforms or any(state is None for state in states.values()):
            return
        time_s = 1e-9 * conversions.ns_from_time(bodies.transforms[0].header.stamp)
        if time_s < self._time_s:  # a new episode
            self._expert, self._done = tasks.load(self._config.task).expert(), False
        self._time_s = time_s
        state = CellState(
            time_s=time_s,
            arms=states,
            T_world_body={
                body.child_frame_id: conversions.matrix_from_transform(body.transform) for body in bodies.transforms
            },
        )
        stamp_ns = self.get_clock().now().nanoseconds
        for arm, command in self._expert.command(state).items():
            self._arms[arm].command(command, T_world_base[arm], stamp_ns)
        if self._expert.done(state) and not self._done:
            self._done = True
            self.get_logger().info(f"{self._config.task} is done")


class _Arm:
    """What the expert hears from one arm, and says to it."""

    def __init__(self, node: Node, arm: str, config: ExpertConfig) -> None:
        self._arm, self._config, self._logger = arm, config, node.get_logger()
        self._joints: JointState | None = None
        self._pose: PoseStamped | None = None
        self._T_world_target: Float[Array, "4 4"] | None = None
        self._width: float | None = None
        self._gripper_busy = False
        node.create_subscription(JointState, f"{arm}/joint_states", self._hear_joints, qos_profile_sensor_data)
        node.create_subscription(PoseStamped, f"{arm}/current_pose", self._hear_pose, qos_profile_sensor_data)
        self._targets = node.create_publisher(PoseStamped, f"{arm}/target_pose", 1)
        self._move = ActionClient(node, Move, f"{arm}/franka_gripper/move")
        self._grasp = ActionClient(node, Grasp, f"{arm}/franka_gripper/grasp")

    def _hear_joints(self, message: JointState) -> None:
        self._joints = message

    def _hear_pose(self, message: PoseStamped) -> None:
        self._pose = message

    def state(self, T_world_base: Float[Array, "4 4"]) -> ArmState | None:
        """What the arm told last; None before it told anything."""
        if self._joints is None or self._pose is None:
            return None
        T_world_tcp = T_world_base @ conversions.matrix_from_pose(self._pose.pose)
        position, velocity = np.array(self._joints.position), np.array(self._joints.velocity)
        return ArmState(
            joints=position[:7],
            joint_velocities=velocity[:7],
            T_world_tcp=T_world_tcp,
            T_world_target=T_world_tcp if self._T_world_target is None else self._T_world_target,
            gripper_width=float(position[7:].sum()),
            external_wrench=np.zeros(6),
        )

    def command(self, command: ArmCommand, T_world_base: Float[Array, "4 4"], stamp_ns: int) -> None:
        """Send the pose, and the opening where it changes. While the gripper is busy, the arm holds still."""
        before = MAX_WIDTH if self._width is None else self._width
        if not self._gripper_busy and abs(command.gripper_width - before) > _EDGE:
            self._send_gripper(command.gripper_width)
        if not self._gripper_busy or self._T_world_target is None:
            self._T_world_target = command.T_world_tcp
        T_base_tcp = se3.inverse(T_world_base) @ self._T_world_target
        self._targets.publish(conversions.pose_stamped(T_base_tcp, frame=base_frame(self._arm), stamp_ns=stamp_ns))

    def _send_gripper(self, width: float) -> None:
        speed = self._config.gripper_speed
        if width > (self._width if self._width is not None else MAX_WIDTH):
            client, goal = self._move, Move.Goal(width=width, speed=speed)
        else:
            anything = GraspEpsilon(inner=MAX_WIDTH, outer=MAX_WIDTH)
            goal = Grasp.Goal(width=width, epsilon=anything, speed=speed, force=self._config.grip_force)
            client = self._grasp
        if not client.server_is_ready():
            self._logger.warning(f"{self._arm}: the gripper has no action server yet", throttle_duration_sec=2.0)
            return
        self._gripper_busy, self._width = True, width
        client.send_goal_async(goal).add_done_callback(self._sent)

    def _sent(self, future: Any) -> None:
        handle = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(self._finished)
        else:
            self._failed("refused")

    def _finished(self, future: Any) -> None:
        result = future.result().result
        if result.success:
            self._gripper_busy = False
        else:
            self._failed(result.error)

    def _failed(self, reason: str) -> None:
        """Try again at the next command."""
        self._logger.warning(f"{self._arm} gripper: {reason}")
        self._gripper_busy, self._width = False, None


def main() -> None:
    """Run the node."""
    run(ExpertNode)


if __name__ == "__main__":
    main()
