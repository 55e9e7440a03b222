"""Follows the robot's own grippers through a predicted video."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from robo4d_msgs.msg import RgbdPair as PairMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from robo4d.health import Health, Level
from robo4d.rgbd import RgbdPair
from robo4d.track import GripperTrack
from robo4d.tracking import ArmRenderer, GripperPrior, GripperRenderer, Readout, ReadoutConfig
from robo4d.tracking.clip import Clip
from robo4d.tracking.drift import DriftLimits, drift
from robo4d.tracking.panda import panda_arm, panda_gripper
from robo4d.tracking.plan_head import doubted_readout, fused_readout, plan_readout
from robo4d_ros import frames, parameters
from robo4d_ros.conversions import header, message_from_track, pair_from_message, track_from_message, video_from_message
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.execution.kinematics import forward_kinematics
from robo4d_ros.markers import track_markers
from robo4d_ros.process import Jobs, run
from robo4d_ros.robot_history import RobotHistory
from robo4d_ros.sync import status_from_health
from robo4d_ros.track_conversions import detections, pose_array
from robo4d_ros.tracking_engine import EngineChoice, TrackingEngine

_DIAGNOSTICS_PERIOD_S = 1.0
"""As diagnostic_updater has it."""


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """The tracker."""

    arms: tuple[str, ...] = ("left", "right")
    """Names of the arms whose grippers are followed."""
    robot: Literal["fer", "fr3"] = "fer"
    """Model by which the joint states give the grippers' poses in the observation."""
    max_state_age_s: float = field(default=0.5, metadata={"range": (0.01, 10.0)})
    """Between the observation and the joint states that belong to it [s]."""
    engine: EngineChoice = field(default_factory=EngineChoice)
    source: Literal["tracker", "plan_head", "fused"] = "tracker"
    """Who tells where the grippers go: the engine, which follows them through the video as the paper does; the
    generator, by its `predicted/<arm>/track`; or the one held against the other."""
    heeds_generator: bool = True
    """With source tracker: whether poses that the generator contradicts get less confidence. Not with the oracle, which
    would tell the truth, nor where the video alone is to be measured."""
    readout: ReadoutConfig = field(default_factory=ReadoutConfig)
    drift: DriftLimits = field(default_factory=DriftLimits)


class TrackerNode(Node):
    """Tracks each video of `predicted/video` from its observation, `predicted/observation`, on."""

    def __init__(self, **options: Any) -> None:
        super().__init__("tracker", **options)
        self._config = config = parameters.declare(self, TrackerConfig())
        self._engine = TrackingEngine(
            config.engine, GripperRenderer(panda_gripper()), ArmRenderer(panda_arm()), config.readout
        )
        tf = frames.listen(self)
        self._robot = RobotHistory(self, config.arms)
        self._forward = {arm: forward_kinematics(config.robot, arm, tf) for arm in config.arms}
        self._observation: PairMessage | None = None
        self._video: VideoMessage | None = None
        self._told: dict[str, TrackMessage] = {}
        self._outputs = {arm: _Outputs(self, arm) for arm in config.arms}
        self._jobs = Jobs(self, "tracking")
        self._views: Health | None = None
        """What the last video says of the cameras."""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._diagnose)
        self.create_subscription(PairMessage, "predicted/observation", self._take_observation, 2)
        self.create_subscription(VideoMessage, "predicted/video", self._take_video, 2)
        for arm in config.arms:
            self.create_subscription(TrackMessage, f"predicted/{arm}/track", self._take_told, 2)

    def close(self) -> None:
        """End the thread."""
        self._video = None
        self._jobs.close()
        self._engine.close()

    def _take_observation(self, message: PairMessage) -> None:
        self._observation = message
        self._match()

    def _take_video(self, message: VideoMessage) -> None:
        self._video = message
        self._match()

    def _take_told(self, message: TrackMessage) -> None:
        self._told[message.arm] = message
        if self._config.source != "tracker":
            self._match()

    def _match(self) -> None:
        """Begin when the newest video and all that belongs to it are there, in whatever order they came."""
        observation, video = self._observation, self._video
        if observation is None or video is None:
            return
        stamps = [frame.color.header.stamp for frame in (observation.n, observation.m)]
        told = self._told_of(video)
        waits = self._config.source != "tracker" and len(told) < len(self._config.arms)
        if video.header.stamp in stamps and not waits:
            self._jobs.submit(lambda: self._track(observation, video, told))

    def _told_of(self, video: VideoMessage) -> dict[str, TrackMessage]:
        """What the generator has said of a video so far, by arm."""
        return {arm: told for arm, told in list(self._told.items()) if told.header.stamp == video.header.stamp}

    def _track(self, observation: PairMessage, video: VideoMessage, told: dict[str, TrackMessage]) -> None:
        if video is not self._video:  # a newer one waits
            return
        started = self.get_clock().now()
        try:
            pair = pair_from_message(observation)
            readout = self._read(video, pair, told)
        except ValueError as error:
            self.get_logger().error(f"cannot track: {error}")
            return
        self._views = drift(readout.calibration, pair, self._config.drift)
        if self._views.level is not Level.OK:
            self.get_logger().warning(self._views.message)
        for arm, track in readout.tracks.items():
            self._outputs[arm].publish(replace(track, foreseen=pair.foreseen.get(arm)))
            if said := doubts(track):
                self.get_logger().warning(said)
        took_s = 1e-9 * (self.get_clock().now() - started).nanoseconds
        counts = ", ".join(f"{arm} {t.inlier.sum()} of {len(t.inlier)}" for arm, t in readout.tracks.items())
        self.get_logger().info(f"tracked in {took_s:.1f} s; poses to follow: {counts}")

    def _read(self, video: VideoMessage, pair: RgbdPair, messages: dict[str, TrackMessage]) -> Readout:
        predicted, source = video_from_message(video), self._config.source
        if source == "plan_head":
            calibration = Clip.from_video(predicted, pair).calibration
            return replace(plan_readout(_tracks(messages)), calibration=calibration)
        tracked = self._engine.read(predicted, pair, self._priors(pair))
        if source == "fused":
            return fused_readout(tracked, _tracks(messages))
        if not self._config.heeds_generator:
            return tracked
        return doubted_readout(tracked, _tracks(messages | self._told_of(video)))  # by now it has come, if it comes

    def _diagnose(self) -> None:
        if self._views is not None:
            status = status_from_health(self._views, node_name=self.get_fully_qualified_name())
            now_ns = self.get_clock().now().nanoseconds
            self._diagnostics.publish(DiagnosticArray(header=header(now_ns, ""), status=[status]))

    def _priors(self, pair: RgbdPair) -> dict[str, GripperPrior]:
        """Where the robot had its grippers when the observation was taken, or will have them where it is foreseen."""
        if pair.n.T_world_camera is None:
            raise ValueError(f"the pose of {pair.n.camera} in the world is unknown: publish its calibration on tf")
        if pair.foreseen:
            self._robot.foresee(pair.stamp_ns, pair.foreseen)
        state = self._robot.at(pair.stamp_ns)
        gap_s = float("inf") if state is None else 1e-9 * abs(state.stamp_ns - pair.stamp_ns)
        if state is None or gap_s > self._config.max_state_age_s:
            raise ValueError(
                f"no joint states within {self._config.max_state_age_s:g} s of the observation, the nearest are "
                f"{gap_s:.1f} s off: check that they arrive, and synchronize the clocks (chrony)"
            )
        widths = {arm: self._robot.width_at(arm, pair.stamp_ns) for arm in self._config.arms}
        if silent := [arm for arm, width in widths.items() if width is None]:
            raise ValueError(f"{', '.join(silent)}: joint_states never told the fingers' positions: start the gripper")
        return {
            arm: GripperPrior(
                T_world_tcp=self._forward[arm](state.joints[arm]), opening_m=width, joints=state.joints[arm]
            )
            for arm, width in widths.items()
            if width is not None
        }


def _tracks(messages: dict[str, TrackMessage]) -> dict[str, GripperTrack]:
    return {arm: track_from_message(message) for arm, message in messages.items()}


def doubts(track: GripperTrack) -> str:
    """One line on which poses are not vouched for and why; empty if all are."""
    told: dict[str, list[str]] = {}
    for time_s, reason in zip(track.times_s, track.reasons or (), strict=False):
        if reason:
            told.setdefault(str(reason), []).append(f"{time_s:g}")
    count = sum(map(len, told.values()))
    why = "; ".join(f"{reason} ({', '.join(times)} s)" for reason, times in told.items())
    return f"{track.arm}: {count} of {len(track.times_s)} poses are not followed: {why}" if told else ""


class _Outputs:
    """The track of one arm, for the planner and for viewers."""

    def __init__(self, node: Node, arm: str) -> None:
        self._track = node.create_publisher(TrackMessage, f"{arm}/track", LATCHED)
        self._markers = node.create_publisher(MarkerArray, f"{arm}/markers", LATCHED)
        self._poses = node.create_publisher(PoseArray, f"{arm}/poses", LATCHED)
        self._detections = node.create_publisher(Detection3DArray, f"{arm}/detections", LATCHED)

    def publish(self, track: GripperTrack) -> None:
        self._markers.publish(track_markers(track))
        self._poses.publish(pose_array(track))
        self._detections.publish(detections(track))
        self._track.publish(message_from_track(track))


def main() -> None:
    """Run the node."""
    run(TrackerNode)


if __name__ == "__main__":
    main()
