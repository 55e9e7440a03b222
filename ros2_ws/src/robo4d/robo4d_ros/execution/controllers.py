"""How arms are commanded: as a stream of poses, as joint trajectories, or not at all."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from geometry_msgs.msg import PoseStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robo4d.execution.targets import ArmTarget, JointCourse
from robo4d.interfaces import Controller
from robo4d_ros.conversions import WORLD, duration_from_s, header, pose_stamped
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.frames import Frames

_UNNAMED = "_NODE_NAME_UNKNOWN_"
"""What rmw calls the node of an endpoint that it does not know, or not yet."""


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """How the arms are commanded. {arm} stands for the arm's name."""

    kind: Literal["pose_stream", "follow_joint_trajectory", "dry_run"] = "pose_stream"
    """PoseStamped at every tick (CRISP, FZI, MoveIt Servo), trajectories (joint_trajectory_controller), or nothing."""
    pose_topic: str = "{arm}/target_pose"
    """Where poses are streamed to."""
    pose_frame: str = "{arm}_base"
    """Frame of the streamed poses: the one that the controller means, since few controllers look at frame_id."""
    trajectory_action: str = "{arm}/joint_trajectory_controller/follow_joint_trajectory"
    """Where trajectories are sent to."""
    joint_names: tuple[str, ...] = tuple(f"{{arm}}_joint{i}" for i in range(1, 8))
    """Of the seven joints, in their order."""


def make_controller(node: Node, arms: tuple[str, ...], config: ControllerConfig, frames: Frames) -> Controller:
    """The controller of that kind."""
    match config.kind:
        case "pose_stream":
            return PoseStream(node, arms, config, frames)
        case "follow_joint_trajectory":
            return TrajectoryClient(node, arms, config)
        case "dry_run":
            return DryRun()


class DryRun:
    """Commands nothing."""

    def command(self, targets: Mapping[str, ArmTarget], courses: Mapping[str, JointCourse] | None) -> None:
        """See `Controller.command`."""

    def faults(self) -> Mapping[str, str]:
        """See `Controller.faults`."""
        return {}

    def other_publishers(self) -> tuple[str, ...]:
        """See `Controller.other_publishers`."""
        return ()


class PoseStream:
    """One PoseStamped an arm at every tick."""

    def __init__(self, node: Node, arms: tuple[str, ...], config: ControllerConfig, frames: Frames) -> None:
        """Publish nothing yet."""
        self._node, self._frames = node, frames
        self._frame = {arm: config.pose_frame.format(arm=arm) for arm in arms}
        self._publishers = {
            arm: node.create_publisher(PoseStamped, config.pose_topic.format(arm=arm), 1) for arm in arms
        }
        self._T_frame_world: dict[str, Float[Array, "4 4"]] = {}
        self._faults: dict[str, str] = {}
        self._unnamed: set[tuple[int, ...]] = set()

    def command(self, targets: Mapping[str, ArmTarget], courses: Mapping[str, JointCourse] | None) -> None:
        """See `Controller.command`."""
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._faults = {}
        for arm, target in targets.items():
            if arm not in self._T_frame_world:
                try:
                    self._T_frame_world[arm] = self._frames.lookup(self._frame[arm], WORLD)
                except FrameError as error:
                    self._faults[arm] = f"its targets cannot be given in {self._frame[arm]}: {error}"
                    continue
            T_frame_tcp = self._T_frame_world[arm] @ target.T_world_tcp
            self._publishers[arm].publish(pose_stamped(T_frame_tcp, frame=self._frame[arm], stamp_ns=stamp_ns))

    def faults(self) -> Mapping[str, str]:
        """See `Controller.faults`."""
        return self._faults

    def other_publishers(self) -> tuple[str, ...]:
        """See `Controller.other_publishers`."""
        own = self._node.get_fully_qualified_name()
        others: list[str] = []
        unnamed: set[tuple[int, ...]] = set()
        for publisher in self._publishers.values():
            for endpoint in self._node.get_publishers_info_by_topic(publisher.topic_name):
                gid = tuple(endpoint.endpoint_gid)
                if endpoint.node_name == _UNNAMED:
                    unnamed.add(gid)
                    if gid not in self._unnamed:
                        continue  # discovery brings the name of a new one in a moment
                others.append(f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name} on {publisher.topic_name}")
            with suppress(ValueError):
                others.remove(f"{own} on {publisher.topic_name}")
        self._unnamed = unnamed
        return tuple(others)


class TrajectoryClient:
    """One trajectory an arm, from now until the arms rest, whenever that has changed; all arms start at once.

    Where this process dies, the controllers go on to the next gripper event or the end of the plan.
    """

    def __init__(self, node: Node, arms: tuple[str, ...], config: ControllerConfig) -> None:
        """Send nothing yet."""
        self._node = node
        self._joint_names = {arm: [name.format(arm=arm) for name in config.joint_names] for arm in arms}
        self._clients = {
            arm: ActionClient(node, FollowJointTrajectory, config.trajectory_action.format(arm=arm)) for arm in arms
        }
        self._newest: dict[str, Future] = {}
        self._handles: dict[str, ClientGoalHandle] = {}
        self._faults: dict[str, str] = {}

    def command(self, targets: Mapping[str, ArmTarget], courses: Mapping[str, JointCourse] | None) -> None:
        """See `Controller.command`."""
        if not targets:
            self._cancel()
            return
        stamp_ns = self._node.get_clock().now().nanoseconds
        for arm, course in (courses or {}).items():
            if not self._clients[arm].server_is_ready():
                self._faults[arm] = f"no action server {self._clients[arm]._action_name}: start its controller"
                continue
            goal = FollowJointTrajectory.Goal(trajectory=self._trajectory(arm, course, stamp_ns))
            sent = self._clients[arm].send_goal_async(goal)
            self._newest[arm] = sent
            sent.add_done_callback(lambda sent, arm=arm: self._accepted(arm, sent))

    def faults(self) -> Mapping[str, str]:
        """See `Controller.faults`."""
        return self._faults

    def other_publishers(self) -> tuple[str, ...]:
        """See `Controller.other_publishers`; a trajectory controller has one goal, and tells when it is replaced."""
        return ()

    def _trajectory(self, arm: str, course: JointCourse, stamp_ns: int) -> JointTrajectory:
        points = [
            JointTrajectoryPoint(
                positions=q.tolist(),
                velocities=v.tolist(),
                accelerations=a.tolist(),
                time_from_start=duration_from_s(float(time_s)),
            )
            for time_s, q, v, a in zip(
                course.times_s, course.joints, course.velocities, course.accelerations, strict=True
            )
        ]
        return JointTrajectory(header=header(stamp_ns, ""), joint_names=self._joint_names[arm], points=points)

    def _accepted(self, arm: str, sent: Future) -> None:
        handle = sent.result()
        if self._newest.get(arm) is not sent:
            return
        if not handle.accepted:
            self._faults[arm] = "its controller rejected the trajectory: see the controller's log"
            return
        self._handles[arm] = handle
        handle.get_result_async().add_done_callback(lambda result: self._ended(arm, sent, result))

    def _ended(self, arm: str, sent: Future, result: Future) -> None:
        if self._newest.get(arm) is not sent:
            return  # replaced by a newer one
        response = result.result()
        if response.status == GoalStatus.STATUS_ABORTED:
            self._faults[arm] = (
                f"its controller gave up with error {response.result.error_code}: {response.result.error_string}"
            )

    def _cancel(self) -> None:
        self._newest, self._faults = {}, {}
        for arm in list(self._handles):
            self._handles.pop(arm).cancel_goal_async()
