"""The simulated cell as a node: it publishes what two arms and two RGB-D cameras publish, and takes what they take."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from geometry_msgs.msg import PoseStamped
from jaxtyping import Float
from numpy import ndarray as Array
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from robo4d_msgs.srv import InjectFault, ResetSim, SnapshotSim
from std_srvs.srv import Trigger

from robo4d.geometry import Camera
from robo4d.sim.cameras import mounted_cameras, sample_cameras
from robo4d.sim.cell import Cell
from robo4d.sim.scene import T_WORLD_BASE
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, ArmCommand
from robo4d_ros import conversions, images, parameters
from robo4d_ros.process import Worker, run
from robo4d_ros.sim.cameras import SimCameras, optical_frame
from robo4d_ros.sim.faults import Faults
from robo4d_ros.sim.gripper import SimGripper
from robo4d_ros.sim.state_streams import StateStreams, base_frame

CAMERAS = ("camera_n", "camera_m")
_LAG_S = 0.5
"""Physics that lags behind by more than this gives the lost time up [s]."""
F = InjectFault.Request


@dataclass(frozen=True, kw_only=True)
class SimConfig:
    """The simulated cell."""

    task: str = "store_cereal_box_under_shelf"
    """What stands on the table."""
    seed: int = field(default=0, metadata={"range": (0, 2**31 - 1)})
    """Start of the first episode."""
    distribution: Literal["standard", "wide"] = "standard"
    """How far starts vary."""
    cameras: Literal["mounted", "sampled"] = "mounted"
    """Where the cameras stand: as in a lab, or anywhere around the table, as in the data sets."""
    camera_seed: int = field(default=0, metadata={"range": (0, 2**31 - 1)})
    """Selects the places of sampled cameras."""
    camera_rate_hz: float = field(default=5.0, metadata={"range": (0.1, 90.0)})
    """Images a second of each camera, as far as the machine can draw them."""
    width: int = field(default=320, metadata={"range": (16, 1920)})
    """Of the images [px]."""
    height: int = field(default=256, metadata={"range": (16, 1080)})
    """Of the images [px]."""
    depth_encoding: Literal["32FC1", "16UC1"] = "32FC1"
    """Depth in metres, or in millimetres."""
    state_rate_hz: float = field(default=1 / CONTROL_PERIOD_S, metadata={"range": (1.0, 1 / CONTROL_PERIOD_S)})
    """States of the arms a second, at a real-time factor of 1. Every listener pays for them: on two cores, take 25."""
    real_time_factor: float = field(default=1.0, metadata={"range": (0.0, 100.0)})
    """Speed of physics against the clock; 0 is as fast as possible."""


class SimNode(Node):
    """Runs the cell in a thread, the cameras in another; callbacks only leave their wishes for the next tick."""

    def __init__(self, **options: Any) -> None:
        super().__init__("sim", **options)
        self._config = config = parameters.declare(self, SimConfig())
        self._cell = Cell(config.task)
        self._cell.reset(seed=config.seed, distribution=config.distribution)
        self._lock = threading.Lock()
        self._targets: dict[str, Float[Array, "4 4"]] = {}
        self._intruders: dict[str, Publisher] = {}
        self._faults = Faults(CAMERAS)
        self._grippers = {arm: SimGripper(self, arm, self._faults) for arm in ARMS}
        self._streams = StateStreams(self, self._faults, every=round(1 / CONTROL_PERIOD_S / config.state_rate_hz))
        views = self._mount(self._first_cameras())
        self._cameras = SimCameras(
            self,
            views,
            rate_hz=config.camera_rate_hz,
            depth_encoding=config.depth_encoding,
            faults=self._faults,
            look=self._look,
        )
        self._subscribe()
        self._stopped = threading.Event()
        self._physics = Worker(self, "physics", self._run)
        self._physics.start()
        self._cameras.start()

    def close(self) -> None:
        """Stop the threads."""
        self._stopped.set()
        for gripper in self._grippers.values():
            gripper.close()
        self._physics.join()
        self._cameras.close()

    def _first_cameras(self) -> list[Camera]:
        config, size = self._config, {"width": self._config.width, "height": self._config.height}
        if config.cameras == "mounted":
            return mounted_cameras(**size)
        return sample_cameras(np.random.default_rng(config.camera_seed), len(CAMERAS), **size)

    def _mount(self, views: list[Camera]) -> dict[str, Camera]:
        """The cameras by name, whose places are told on tf."""
        frames = {optical_frame(name): view for name, view in zip(CAMERAS, views, strict=True)}
        self._streams.publish_static_frames(frames, self._now_ns())
        return dict(zip(CAMERAS, views, strict=True))

    def _subscribe(self) -> None:
        group = MutuallyExclusiveCallbackGroup()
        for arm in ARMS:

            def take(message: PoseStamped, arm: str = arm) -> None:
                self._take_target(arm, message)

            self.create_subscription(PoseStamped, f"{arm}/target_pose", take, 1, callback_group=group)
        self.create_service(ResetSim, "sim/reset", self._reset)
        self.create_service(InjectFault, "sim/inject_fault", self._inject)
        self.create_service(Trigger, "sim/success", self._success)
        self.create_service(SnapshotSim, "sim/snapshot", self._snapshot)
        self.create_timer(0.1, self._show_intruders)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _look(self, see: Callable[[Cell, int], Any]) -> Any:
        with self._lock:
            return see(self._cell, self._now_ns())

    def _run(self) -> None:
        factor = self._config.real_time_factor
        period_s = CONTROL_PERIOD_S / factor if factor > 0 else 0.0
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += period_s
            if factor > 0 and time.monotonic() - due > _LAG_S:
                self.get_logger().warning("physics is slower than real_time_factor asks", throttle_duration_sec=10.0)
                due = time.monotonic()
            self._tick()

    def _tick(self) -> None:
        with self._lock:
            state = self._cell.state()
            commands = {}
            for arm in ARMS:
                measured = state.arms[arm]
                target = self._targets.get(arm, measured.T_world_target)
                gripper = self._grippers[arm]
                width = gripper.advance(measured.gripper_width)
                commands[arm] = ArmCommand(T_world_tcp=target, gripper_width=width, grip_force=gripper.force)
            state = self._cell.step(commands)
            stamp_ns = self._now_ns()
        self._streams.publish(state, stamp_ns)

    def _take_target(self, arm: str, message: PoseStamped) -> None:
        """Move to a pose, unless it is doubtful who commands or where to: then the arm holds its last target."""
        frames = {conversions.WORLD: np.eye(4), base_frame(arm): T_WORLD_BASE[arm]}
        try:
            publishers = self.count_publishers(f"{arm}/target_pose")
            if publishers > 1:
                raise ValueError(f"{publishers} publishers command the arm, which follows none of them")
            if message.header.frame_id not in frames:
                raise ValueError(f"frame_id must be {' or '.join(frames)}, got {message.header.frame_id!r}")
            T_world_tcp = frames[message.header.frame_id] @ conversions.matrix_from_pose(message.pose)
        except ValueError as error:
            self.get_logger().warning(f"{arm}/target_pose ignored: {error}", throttle_duration_sec=2.0)
            return
        with self._lock:
            if not self._faults.active(F.COLLISION_REFLEX, arm):
                self._targets[arm] = T_world_tcp

    def _reset(self, request: ResetSim.Request, response: ResetSim.Response) -> ResetSim.Response:
        try:
            views = [
                Camera(
                    intrinsics=images.intrinsics_from_camera_info(camera_info),
                    T_world_camera=conversions.matrix_from_transform(pose),
                )
                for camera_info, pose in zip(request.camera_infos, request.camera_poses, strict=True)
            ]
            if len(views) not in (0, len(CAMERAS)):
                raise ValueError(f"camera_poses and camera_infos need {len(CAMERAS)} entries or none, got {len(views)}")
            with self._lock:
                cell = self._cell if request.task in ("", self._cell.task.name) else Cell(request.task)
                cell.reset(seed=request.seed, distribution=request.distribution or "standard")
                self._cell = cell
                self._targets.clear()
                self._cameras.forget()
                for gripper in self._grippers.values():
                    gripper.reset()
                if views:
                    self._cameras.place(self._mount(views))
        except ValueError as error:
            response.message = str(error)
            return response
        response.success = True
        return response

    def _inject(self, request: InjectFault.Request, response: InjectFault.Response) -> InjectFault.Response:
        try:
            self._faults.inject(request)
        except ValueError as error:
            response.message = str(error)
            return response
        with self._lock:
            if request.fault == F.COLLISION_REFLEX:
                self._targets[request.target] = self._cell.state().arms[request.target].T_world_tcp
        response.success = True
        return response

    def _show_intruders(self) -> None:
        """Let second publishers appear and go; they are ours, and silent."""
        for arm in ARMS:
            wanted = self._faults.active(F.SECOND_PUBLISHER, arm)
            if wanted and arm not in self._intruders:
                # Without events: the executor may be waiting for them when the publisher goes.
                silent = PublisherEventCallbacks(use_default_callbacks=False)
                topic = f"{arm}/target_pose"
                self._intruders[arm] = self.create_publisher(PoseStamped, topic, 1, event_callbacks=silent)
            elif not wanted and arm in self._intruders:
                self.destroy_publisher(self._intruders.pop(arm))

    def _success(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            response.success = self._cell.success()
        return response

    def _snapshot(self, request: SnapshotSim.Request, response: SnapshotSim.Response) -> SnapshotSim.Response:
        """What the images of a moment show; of the newest ones where no moment is given."""
        stamp_ns = conversions.ns_from_time(request.stamp)
        with self._lock:
            seen = self._cameras.seen(stamp_ns)
        if seen is None:
            response.message = (
                f"no images of {1e-9 * stamp_ns:.3f} s, or too long ago: give the stamp of a new image, or 0"
            )
            return response
        response.task, snapshot = seen
        response.snapshot, response.success = snapshot.to_bytes(), True
        return response


def main() -> None:
    """Run the node."""
    run(SimNode, threads=6)


if __name__ == "__main__":
    main()
