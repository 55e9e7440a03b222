"""Watches a session from outside: what the cameras see, every look with all that came of it, and the success."""

import time
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from jaxtyping import UInt8
from numpy import ndarray as Array
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from robo4d_msgs.action import ExecutePlan
from robo4d_msgs.msg import ExecutorState, SessionState
from robo4d_msgs.msg import GripperTrack as TrackMessage
from robo4d_msgs.msg import Plan as PlanMessage
from robo4d_msgs.msg import PointmapVideo as VideoMessage
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from robo4d.plan import Plan
from robo4d.report import LookRecord
from robo4d.rgbd import RgbdPair
from robo4d.rollout.results import NO_MOTION, NO_PLAN, NO_TRACK, REACHED, LookResult, tracker_error_mm
from robo4d.track import GripperTrack
from robo4d.video import PointmapVideo
from robo4d_ros.conversions import ns_from_time, track_from_message, video_from_message
from robo4d_ros.execution.arm_listener import LATCHED
from robo4d_ros.plan_conversions import plan_from_message
from robo4d_ros.sync import RgbdPairSource, RgbdPairSourceConfig

_ARMS = ("left", "right")
_ASK_PERIOD_S = 0.5
"""How often the cell is asked whether the goal is reached [s]."""


@dataclass(kw_only=True)
class Seen:
    """One look, as far as it was heard of."""

    video: PointmapVideo
    begun_s: float
    """When it was asked for, on the steady clock [s]; the times below, too."""
    generated_s: float
    tracked_s: float = 0.0
    planned_s: float = 0.0
    tracks: dict[str, GripperTrack] = field(default_factory=dict)
    drawn: dict[str, GripperTrack] = field(default_factory=dict)
    """Where the generator says that it has drawn the grippers."""
    plan: Plan | None = None
    plan_id: str = ""
    execution: str = ""
    """How it ended, `REACHED` or the executor's code; empty where nothing was executed."""
    reason: str = ""
    taken: list[RgbdPair] = field(default_factory=list)
    """What the cameras saw when the execution passed each frame of the video."""

    def film(self, share: float, pair: RgbdPair) -> None:
        """Keep what is seen when a share of the plan is done."""
        if self.plan is None or len(self.taken) == len(self.video.times_s):
            return
        plan = self.plan
        video_time_s = float(np.interp(share * plan.duration_s, plan.times_s, plan.video_times_s))
        if video_time_s >= self.video.times_s[len(self.taken)] - 1e-3:
            self.taken.append(pair)

    @property
    def result(self) -> LookResult:
        """As a rollout counts it."""
        error_mm = tracker_error_mm(self.tracks, self.drawn)
        if self.plan is None:
            missing = [arm for arm in _ARMS if arm not in self.tracks]
            verdict, of = (NO_TRACK, "the video") if missing else (NO_PLAN, "the tracks")
            return LookResult(verdict=verdict, reason=f"nothing came of {of}", tracker_error_mm=error_mm)
        verdict = self.plan.verdict
        if verdict.accepted and not self.plan.arms:
            return LookResult(verdict=NO_MOTION, tracker_error_mm=error_mm)
        return LookResult(
            verdict=verdict.code.name,
            execution=self.execution,
            reason=self.reason if verdict.accepted else verdict.reason,
            tracker_error_mm=error_mm,
        )

    @property
    def record(self) -> LookRecord:
        """For the report page."""
        moves = self.plan is not None and (self.plan.arms or not self.plan.verdict.accepted)
        times = (self.begun_s, self.generated_s, self.tracked_s, self.planned_s)
        durations_s = np.maximum(np.diff(times), 0)
        return LookRecord(
            times_s=self.video.times_s.astype(float),
            predicted=self.video.rgb,
            executed=np.stack([_film([p.n.rgb for p in self.taken]), _film([p.m.rgb for p in self.taken])]),
            tracks=self.tracks,
            plan=self.plan if moves else None,
            outcome=self.reason or "no arm moves in the video",
            durations_s=dict(zip(("generator", "tracker", "planner"), map(float, durations_s), strict=True)),
        )


class Spectator(Node):
    """Listens to everything, and asks the cell whether the goal is reached. It commands nothing."""

    def __init__(self, *, pairs_hz: float) -> None:
        """Keep so many pairs of images a second."""
        super().__init__("spectator")
        self.pairs: list[RgbdPair] = []
        self.reached = False
        """Whether the goal was reached when last asked."""
        self.session = SessionState(state=SessionState.IDLE)
        self.looks: list[Seen] = []
        self._drawn: dict[int, dict[str, GripperTrack]] = {}
        """By the stamp of the observation [ns], as they may come before their video."""
        self._executed: Seen | None = None
        """The look whose plan is executed, or was last."""
        self.episode_s = 0.0
        """Time of the simulated episode [s]."""
        self._asked_s = 0.0
        self._newest: RgbdPair | None = None
        self._period_ns = round(1e9 / pairs_hz)
        self._source = RgbdPairSource(self, RgbdPairSourceConfig(), on_pair=self._watch)
        self._success = self.create_client(Trigger, "sim/success")
        self.create_timer(_ASK_PERIOD_S, self._ask)
        self.create_subscription(VideoMessage, "predicted/video", self._take_video, 2)
        for arm in _ARMS:
            self.create_subscription(TrackMessage, f"{arm}/track", self._take_track, 2)
            self.create_subscription(TrackMessage, f"predicted/{arm}/track", self._take_drawn, 2)
        self.create_subscription(PlanMessage, "plan", self._take_plan, 2)
        self.create_subscription(SessionState, "session/state", self._take_session, LATCHED)
        self.create_subscription(ExecutorState, "executor/state", self._take_executor, LATCHED)
        feedback = ExecutePlan.Impl.FeedbackMessage
        self.create_subscription(feedback, "execute_plan/_action/feedback", self._take_progress, 10)
        self.create_subscription(TFMessage, "sim/bodies", self._take_bodies, qos_profile_sensor_data)

    def begin(self) -> None:
        """Another episode: forget the last one."""
        self.pairs, self.looks, self.reached, self._newest, self._executed = [], [], False, None, None
        self._drawn = {}

    @property
    def results(self) -> tuple[LookResult, ...]:
        """Of all looks, but for a last one that the goal came before."""
        interrupted = self.reached and self.looks and self.looks[-1].plan is None
        return tuple(look.result for look in (self.looks[:-1] if interrupted else self.looks))

    @property
    def newest_ns(self) -> int:
        """Exposure of the newest pair [ns]; 0 before there is one."""
        return self._newest.stamp_ns if self._newest else 0

    def _watch(self, pair: RgbdPair) -> None:
        self._newest = pair
        if not self.pairs or pair.stamp_ns - self.pairs[-1].stamp_ns >= 0.9 * self._period_ns:
            self.pairs.append(pair)

    def _ask(self) -> None:
        if self._success.service_is_ready():
            self._success.call_async(Trigger.Request()).add_done_callback(self._hear)

    def _hear(self, answer: Future) -> None:
        self.reached = answer.result().success

    def _take_video(self, message: VideoMessage) -> None:
        video, drawn = video_from_message(message), self._drawn_of(message.header.stamp)
        self.looks.append(Seen(video=video, drawn=drawn, begun_s=self._asked_s, generated_s=time.monotonic()))

    def _take_drawn(self, message: TrackMessage) -> None:
        self._drawn_of(message.header.stamp)[message.arm] = track_from_message(message)

    def _drawn_of(self, stamp: Time) -> dict[str, GripperTrack]:
        return self._drawn.setdefault(ns_from_time(stamp), {})

    def _look_at(self, stamp_ns: int) -> Seen | None:
        """The look that follows from an observation."""
        return next((look for look in reversed(self.looks) if look.video.stamp_ns == stamp_ns), None)

    def _take_track(self, message: TrackMessage) -> None:
        look = self._look_at(ns_from_time(message.header.stamp))
        if look:
            look.tracks[message.arm], look.tracked_s = track_from_message(message), time.monotonic()

    def _take_plan(self, message: PlanMessage) -> None:
        look = self._look_at(ns_from_time(message.header.stamp))
        if look:
            look.plan, look.plan_id, look.planned_s = plan_from_message(message), message.id, time.monotonic()

    def _take_session(self, message: SessionState) -> None:
        if message.state == SessionState.OBSERVE:
            self._asked_s = time.monotonic()
        if message.state == SessionState.EXECUTING:
            self._executed = next((look for look in self.looks if look.plan_id == message.plan_id), self._executed)
        left = message.previous in (SessionState.EXECUTING, SessionState.PAUSED) and message.state != message.previous
        if left and self._executed and message.state not in (SessionState.EXECUTING, SessionState.PAUSED):
            look = self._executed
            look.execution = look.execution or REACHED
            look.reason = look.reason or message.reason
        self.session = message

    def _take_executor(self, message: ExecutorState) -> None:
        """What ends or interrupts an execution is told before the session hears of its end."""
        look = self._executed
        if message.previous != ExecutorState.EXECUTING or look is None:
            return
        if message.state in (ExecutorState.PAUSED, ExecutorState.HOLD, ExecutorState.FAULT, ExecutorState.STOPPING):
            look.execution, look.reason = look.execution or message.code, look.reason or message.reason

    def _take_progress(self, message: ExecutePlan.Impl.FeedbackMessage) -> None:
        if self._executed and self._newest:
            self._executed.film(message.feedback.progress, self._newest)

    def _take_bodies(self, message: TFMessage) -> None:
        if message.transforms:
            self.episode_s = 1e-9 * ns_from_time(message.transforms[0].header.stamp)


def _film(images: list[UInt8[Array, "h w 3"]]) -> UInt8[Array, "t h w 3"]:
    return np.stack(images) if images else np.zeros((0, 1, 1, 3), np.uint8)
