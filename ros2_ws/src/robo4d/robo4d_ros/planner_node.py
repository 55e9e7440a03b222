"""From the tracks of all grippers and the state of the robot to a checked plan.

Tracks from a predicted end wait until the arms have come to it, since a plan must start where all joints really are:
a controller that follows poses leaves an elbow elsewhere than the last plan had it. Were they not brought there, the
plan is refused as any other that does not start where the video does.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from robo4d_msgs.msg import ExecutorState
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import Plan as PlanMessage
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from robo4d.plan import Code, Plan, Verdict
from robo4d.planning.moving import moving_tracks
from robo4d.planning.planner import Planner, PlannerConfig
from robo4d.planning.robot import RobotState
from robo4d.track import GripperTrack
from robo4d_ros import frames, markers, parameters
from robo4d_ros.conversions import track_from_message
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.frame_tree import FrameError
from robo4d_ros.plan_conversions import message_from_plan
from robo4d_ros.planning.cell import CellConfig
from robo4d_ros.planning.ghost import Ghost, GhostConfig
from robo4d_ros.planning.views import ArmViews
from robo4d_ros.process import Jobs, run
from robo4d_ros.robot_history import RobotHistory

_HEARTBEAT_S = 0.2
_LOOK_PERIOD_S = 0.1
"""How often it is looked whether the arms have come to a predicted end [s]."""
_VIDEOS = 3
"""Videos of which tracks may still be missing."""
_MOVING = (ExecutorState.EXECUTING, ExecutorState.PAUSED, ExecutorState.STOPPING)
"""States of the executor in which a plan goes on."""


@dataclass(frozen=True, kw_only=True)
class PlannerNodeConfig:
    """The planner."""

    still_m: float = field(default=0.02, metadata={"range": (0.0, 1.0)})
    """An arm whose gripper stays within this of where it is in the whole video [m] ..."""
    still_deg: float = field(default=12.0, metadata={"range": (0.0, 180.0)})
    """... and turns by no more than this [deg] is not moved. A plan without arms says that nothing is to be done."""
    cell: CellConfig = field(default_factory=CellConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    ghost: GhostConfig = field(default_factory=GhostConfig)


class PlannerNode(Node):
    """Plans when the tracks of all arms of one video have come. Plans that were refused are published, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__("planner", **options)
        self._config = config = parameters.declare(self, PlannerNodeConfig())
        self._frames = frames.listen(self)
        self._robot = RobotHistory(self, config.cell.arms)
        self._planner: Planner | None = None
        self._videos: dict[int, dict[str, GripperTrack]] = {}
        self._ahead: dict[str, GripperTrack] = {}
        """Tracks that begin where the plan in execution is predicted to end."""
        self._executor = ""
        self._count = 0
        self._plan = self.create_publisher(PlanMessage, "plan", LATCHED)
        self._plan_markers = self.create_publisher(MarkerArray, "plan/markers", LATCHED)
        self._cell_markers = self.create_publisher(MarkerArray, "cell/markers", LATCHED)
        self._views = {arm: ArmViews(self, arm) for arm in config.cell.arms}
        self._ghost = Ghost(self, config.ghost, config.cell.joints)
        for arm in config.cell.arms:
            self.create_subscription(TrackMessage, f"{arm}/track", self._take, 10)
        self.create_subscription(ExecutorState, "executor/state", self._take_executor, LATCHED)
        self.create_timer(_LOOK_PERIOD_S, self._plan_ahead)
        self._jobs = Jobs(self, "planning")
        heart = self.create_publisher(String, "heartbeat", 10)
        self.create_timer(_HEARTBEAT_S, lambda: heart.publish(String(data="planner")))
        self._set_up = self.create_timer(0.2, self._build)

    def close(self) -> None:
        """End the thread."""
        self._jobs.close()

    def _build(self) -> None:
        """Build the model of the cell as soon as it is known where the arms stand."""
        cell = self._config.cell
        try:
            arms = cell.mounted(self._frames)
        except FrameError as error:
            self.get_logger().info(f"waiting for {error}", throttle_duration_sec=5.0)
            return
        self._planner = Planner(self._config.planner, arms, cell.boxes)
        self._cell_markers.publish(markers.cell_markers(arms, cell.boxes))
        self._set_up.cancel()

    def _take(self, message: TrackMessage) -> None:
        try:
            track = track_from_message(message)
        except ValueError as error:
            self.get_logger().error(f"ignored a track: {error}")
            return
        if track.arm not in self._views:
            self.get_logger().error(f"ignored a track of {track.arm!r}; the arms are {', '.join(self._views)}")
            return
        same = self._videos.setdefault(track.stamp_ns, {})
        same[track.arm] = track
        if len(same) == len(self._views):
            del self._videos[track.stamp_ns]
            self._drop(list(self._videos))
            self._ahead = same if track.foreseen else {}
            if not track.foreseen:
                self._jobs.submit(lambda: self._plan_for(same, track.stamp_ns))
        self._drop(list(self._videos)[:-_VIDEOS])

    def _take_executor(self, message: ExecutorState) -> None:
        self._executor = message.state

    def _plan_ahead(self) -> None:
        """Plan from a predicted end when nothing is executed any more, and the arms rest."""
        tracks, current = self._ahead, self._robot.newest()
        if not tracks or self._executor in _MOVING or current is None:
            return
        if current.speed_rad_s <= self._config.planner.gates.stationary_rad_s:
            self._ahead = {}
            self._jobs.submit(lambda: self._plan_for(tracks, next(iter(tracks.values())).stamp_ns))

    def _drop(self, stamps_ns: list[int]) -> None:
        for stamp_ns in stamps_ns:
            arms = ", ".join(self._videos.pop(stamp_ns))
            self.get_logger().warning(
                f"dropped the track of {arms} alone: the others are of another video; the tracker must send the tracks "
                "of all arms"
            )

    def _plan_for(self, tracks: dict[str, GripperTrack], stamp_ns: int) -> None:
        """In a thread of its own, because joint states are to be heard meanwhile."""
        try:
            self._publish(self._made(tracks, stamp_ns))
        except ValueError as error:
            self.get_logger().error(f"cannot plan: {error}")

    def _made(self, tracks: dict[str, GripperTrack], stamp_ns: int) -> Plan:
        observed, current = self._robot.at(stamp_ns), self._robot.newest()
        if foreseen := {arm: track.foreseen.joints for arm, track in tracks.items() if track.foreseen}:
            observed = RobotState.at_rest(stamp_ns, foreseen)
        if self._planner is None or observed is None or current is None:
            missing = "the places of the arms on tf" if self._planner is None else "the joint states of all arms"
            reason = f"{missing} are not known yet: start the drivers of the arms, and generate again"
            return Plan.refused(stamp_ns, Verdict(code=Code.STALE_STATE, reason=reason), {})
        config, now_ns = self._config, self.get_clock().now().nanoseconds
        tracks = moving_tracks(tracks, still_m=config.still_m, still_rad=math.radians(config.still_deg))
        if not tracks:
            return Plan.refused(stamp_ns, Verdict(reason="no arm moves in the video"), {})
        return self._planner.plan(tracks, observed=observed, current=current, now_ns=now_ns)

    def _publish(self, plan: Plan) -> None:
        self._count += 1
        # A planner that starts anew gives the same name to the same plan only, which is never executed twice.
        plan_id = f"{plan.stamp_ns}-{self._count}"
        self._plan.publish(message_from_plan(plan, plan_id=plan_id, joint_names=self._config.cell.joints))
        self._plan_markers.publish(markers.plan_markers(plan))
        for views in self._views.values():
            views.publish(plan)
        self._ghost.play(plan)
        if plan.verdict.accepted:
            self.get_logger().info(f"plan {plan_id}: {plan.duration_s:.1f} s, {len(plan.events)} gripper events")
        else:
            self.get_logger().warning(f"plan {plan_id} refused, {plan.verdict.code.name}: {plan.verdict.reason}")


def main() -> None:
    """Run the node."""
    run(PlannerNode)


if __name__ == "__main__":
    main()
