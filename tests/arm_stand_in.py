"""Two arms and grippers for tests: real topics and actions, no physics. They are where they were told to be."""

import functools
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from robo4d_ros import conversions
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.frames import TF_STATIC_QOS
from robo4d_ros.franka_actions import Grasp, Move
from ros_probe import Condition
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from robo4d.geometry import se3

ARMS = ("left", "right")
T_WORLD_BASE = {"left": se3.translation(0, 0.35, 0), "right": se3.translation(0, -0.35, 0)}
PERIOD_S = 0.04
TICK_S = 0.02
"""Of the executor under test."""
JOINT_NAMES = {arm: [f"{arm}_joint{i}" for i in range(1, 8)] for arm in ARMS}
PATIENT = {  # the machine may be busy with other tests
    "robot": '""',
    "executor.period_s": TICK_S,
    "executor.watchdog.state_timeout_s": 5.0,
    "executor.watchdog.heartbeat_timeout_s": 5.0,
    "executor.watchdog.late_tick_s": 10.0,
    "executor.watchdog.tracking_position_m": 0.12,
    "executor.watchdog.tracking_rotation_rad": 1.0,
    "executor.teleop.deadline_s": 1.0,
    "executor.gripper_timeout_s": 6.0,
}


def executor_command(**parameters) -> list[str]:
    """Starts the executor's process."""
    given = (PATIENT | parameters).items()
    options = [part for name, value in given for part in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "robo4d_ros.executor_node", "--ros-args", *options]


class ArmStandIn:
    """A node in a thread. Its attributes are what a test breaks and reads."""

    def __init__(self, home: dict[str, np.ndarray], joints: np.ndarray | None = None) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("arms", context=self.context)
        self._home, self._joints = home, joints
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._heard = Condition()
        self._tellings = 0
        self._never = Future(executor=self._executor)
        self.trajectories: list[tuple[str, FollowJointTrajectory.Goal]] = []
        self.restore()
        self._publishers = {
            arm: (
                self.node.create_publisher(PoseStamped, f"{arm}/current_pose", qos_profile_sensor_data),
                self.node.create_publisher(WrenchStamped, f"{arm}/external_wrench", qos_profile_sensor_data),
                self.node.create_publisher(JointState, f"{arm}/joint_states", qos_profile_sensor_data),
                self.node.create_publisher(String, f"{arm}/fault", LATCHED),
            )
            for arm in ARMS
        }
        tf = self.node.create_publisher(TFMessage, "/tf_static", TF_STATIC_QOS)
        tf.publish(conversions.frames_message("world", {f"{arm}_base": T for arm, T in T_WORLD_BASE.items()}, 0))
        self._heartbeat = self.node.create_publisher(String, "heartbeat", 10)
        self._servers = []
        for arm in ARMS:
            self.node.create_subscription(
                PoseStamped, f"{arm}/target_pose", lambda message, arm=arm: self._take(arm, message), 1000
            )
            for kind, name, execute in (
                (Move, "franka_gripper/move", self._move),
                (Grasp, "franka_gripper/grasp", self._move),
                (FollowJointTrajectory, "joint_trajectory_controller/follow_joint_trajectory", self._follow),
            ):
                self._servers.append(
                    ActionServer(
                        self.node,
                        kind,
                        f"{arm}/{name}",
                        functools.partial(execute, arm),
                        cancel_callback=lambda _: CancelResponse.ACCEPT,
                    )
                )
        self.node.create_timer(PERIOD_S, self._tell)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def restore(self) -> None:
        """Everything at home and in order."""
        self.poses = {arm: T.copy() for arm, T in self._home.items()}
        self.targets: dict[str, list[tuple[float, np.ndarray]]] = {arm: [] for arm in ARMS}
        self.grips: list[tuple[str, str]] = []
        self.silent = self.nan = self.hang = self.abort = self.reflex = False
        self.heart_beats = True
        self.force_n = 0.0
        self.fault = ""

    def wait_until_told(self) -> None:
        """Until the present state has been published several times."""
        enough = self._tellings + 4
        self.wait(lambda: self._tellings >= enough, "the arms to tell their state")

    def wait(self, predicate: Callable[[], bool], what: str) -> None:
        """Until something holds, looked at whenever an arm gets a target or tells its state."""
        self._heard.wait(predicate, what)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join(10)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def path(self, arm: str) -> np.ndarray:
        """All targets that the arm was given."""
        return np.array([T for _, T in self.targets[arm]])

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def _take(self, arm: str, message: PoseStamped) -> None:
        T_world_tcp = T_WORLD_BASE[arm] @ conversions.matrix_from_pose(message.pose)
        self.targets[arm].append((time.monotonic(), T_world_tcp))
        if not self.reflex:
            self.poses[arm] = T_world_tcp
        self._heard.change(lambda: None)

    def _tell(self) -> None:
        if self.heart_beats:
            self._heartbeat.publish(String(data="session"))
        if self.silent:
            return
        stamp_ns = self.node.get_clock().now().nanoseconds
        for arm, (pose, wrench, joints, fault) in self._publishers.items():
            T = se3.inverse(T_WORLD_BASE[arm]) @ (np.full((4, 4), np.nan) if self.nan else self.poses[arm])
            force = np.array([0, 0, self.force_n, 0, 0, 0])
            pose.publish(conversions.pose_stamped(T, frame=f"{arm}_base", stamp_ns=stamp_ns))
            wrench.publish(conversions.wrench_stamped(force, frame=f"{arm}_base", stamp_ns=stamp_ns))
            if self._joints is not None:
                joints.publish(
                    conversions.joint_state(
                        [f"{arm}_joint{i}" for i in range(1, 8)], self._joints, np.zeros(7), stamp_ns=stamp_ns
                    )
                )
            fault.publish(String(data=self.fault))
        self._tellings += 1
        self._heard.change(lambda: None)

    async def _move(self, arm, handle):
        kind = "open" if isinstance(handle.request, Move.Goal) else "grasp"
        self.grips.append((arm, kind))
        result = Move.Result(success=not self.abort) if kind == "open" else Grasp.Result(success=not self.abort)
        if self.hang:
            await self._never
        if self.abort:
            result.error = "no object"
            handle.abort()
        else:
            handle.succeed()
        return result

    async def _follow(self, arm, handle):
        self.trajectories.append((arm, handle.request))
        handle.succeed()
        return FollowJointTrajectory.Result()
