"""The planner: gripper tracks and the state of the robot in, a checked plan out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.plan import Code, GripperEvent, Keyframes, Plan, Verdict
from robo4d.planning.arm_path import ArmPath
from robo4d.planning.collision import Clearances, CollisionChecker
from robo4d.planning.gates import (
    GateConfig,
    check_outliers,
    check_start,
    check_state,
    check_track,
    check_workspace,
    moved_inside,
)
from robo4d.planning.gripper import acting, shown_opening_m
from robo4d.planning.kinematics import ArmKinematics
from robo4d.planning.limits import MotionLimits, check_joint_positions, check_motion
from robo4d.planning.path import PosePath
from robo4d.planning.robot import Box, MountedArm, RobotState
from robo4d.planning.smoothing import SmoothingConfig, anchored, smoothed
from robo4d.planning.timing import clock, duration_s, rate_limits
from robo4d.track import GripperTrack

_COLLISION_FIXES = {
    Code.SELF_COLLISION: "start from a posture in which the arm is folded less",
    Code.ARM_COLLISION: "check the poses of the arms' bases in the configuration",
    Code.SCENE_COLLISION: "correct this box in the configuration if it stands elsewhere",
}
_BEYOND_REACH = (Code.UNREACHABLE, Code.SINGULAR, Code.JOINT_POSITION)
"""Refusals that the same path may escape with another course of the elbow, or by ending before."""
STAGES = ("smoothing", "kinematics", "collisions", "timing", "limits")
"""What planning consists of, in this order; the first includes the checks of states and tracks, the second paths."""
_RESIDUAL_SCALE_M = 0.02
"""Cross-view residual at which a candidate counts 1/e of one without [m]; measured on good predictions: 1 to 3 cm."""


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """Everything that can be chosen about planning."""

    gates: GateConfig = field(default_factory=GateConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    limits: MotionLimits = field(default_factory=MotionLimits)
    clearances: Clearances = field(default_factory=Clearances)
    min_dwell_frames: int = 2
    """Frames that a gripper must keep its new state, for the change to count."""
    gripper_dwell_s: float = 1.0
    """Time that the plan allows a gripper to act [s]; the Franka Hand takes about as long."""
    max_duration_s: float = 60.0
    """Longest motion [s]: a path that forces an arm to crawl passes too near to a singularity."""
    min_part_s: float = 2.0
    """A video that leads out of an arm's reach is followed as far as it does not, if that is so long at least [s]."""
    path_samples: int = 64
    """Postures that inverse kinematics is solved for, at least; the checks see as many between them."""
    period_s: float = 0.01
    """Distance of the plan's samples [s]."""

    def __post_init__(self) -> None:
        """Refuse what cannot be planned with."""
        if self.min_dwell_frames < 1 or self.path_samples < 10 or self.gripper_dwell_s < 0 or self.min_part_s <= 0:
            raise ValueError(
                "min_dwell_frames must be at least 1, path_samples at least 10, gripper_dwell_s not negative and "
                f"min_part_s positive, got {self}"
            )
        if not 0.001 <= self.period_s <= 0.02:
            raise ValueError(f"period_s must be in 0.001 to 0.02 s, got {self.period_s}")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What one generated video proposes."""

    tracks: Mapping[str, GripperTrack]
    """Track of each arm that moves, by name."""
    cross_view_residual_m: float | None = None
    """Disagreement of the two predicted pointmaps where both views see the same surface [m]; None if nobody compared
    them, as when the generator itself tells the motion, or if they fix no common frame."""


class Planner:
    """Plans for the arms of one cell. Not for use in several threads."""

    def __init__(self, config: PlannerConfig, arms: Sequence[MountedArm], boxes: Sequence[Box]) -> None:
        """Build the models of the cell.

        Args:
            config: Thresholds.
            arms: One or more, with distinct names.
            boxes: What stands in the cell and must not be touched, the table above all.

        Raises:
            ValueError: no arms, equal names, or limits too near to those of a robot.
        """
        if not arms or len({arm.name for arm in arms}) < len(arms):
            raise ValueError(f"arms need distinct names, got {[arm.name for arm in arms]}")
        for arm in arms:
            config.limits.check_robot(arm.robot)
        self._config = config
        self._arms = {arm.name: arm for arm in arms}
        self._kinematics = {arm.name: ArmKinematics(arm) for arm in arms}
        self._collisions = CollisionChecker(arms, boxes, config.clearances)

    def best(
        self, candidates: Sequence[Candidate], *, observed: RobotState, current: RobotState, now_ns: int
    ) -> tuple[int, Plan]:
        """The best of several candidates: its index and plan.

        Accepted plans come before refused ones; among equals, the one with the highest mean confidence of its poses,
        outliers counting 0, discounted by exp(-residual / 2 cm). One without a residual counts as the worst that has.

        Raises:
            ValueError: no candidates, or see `plan`.
        """
        if not candidates:
            raise ValueError("choosing needs at least one candidate")

        known = [c.cross_view_residual_m for c in candidates if c.cross_view_residual_m is not None]
        worst_m = max(known, default=0.0)

        def merit(index: int) -> tuple[bool, float]:
            candidate, plan = candidates[index], plans[index]
            residual_m = worst_m if candidate.cross_view_residual_m is None else candidate.cross_view_residual_m
            trust = [_trust(track, plan.keyframes.get(name)).mean() for name, track in candidate.tracks.items()]
            return plan.verdict.accepted, float(np.mean(trust)) * math.exp(-residual_m / _RESIDUAL_SCALE_M)

        plans = [self.plan(c.tracks, observed=observed, current=current, now_ns=now_ns) for c in candidates]
        index = max(range(len(plans)), key=merit)
        return index, plans[index]

    def plan(
        self,
        tracks: Mapping[str, GripperTrack],
        *,
        observed: RobotState,
        current: RobotState,
        now_ns: int,
        on_stage: Callable[[str], None] = lambda stage: None,
    ) -> Plan:
        """A plan that follows the tracks from where the robot is now; refused ones say why.

        What leads out of reach is followed up to there, see `PlannerConfig.min_part_s`: the next look goes on.

        Args:
            tracks: Track of each arm that moves, by name; the other arms hold their pose.
            observed: The robot at the time of the observation.
            current: The robot now, at rest.
            now_ns: The time now, on the clock of all stamps [ns].
            on_stage: Called with the name of each stage of `STAGES` when it is done.

        Raises:
            ValueError: the tracks are not of this cell's arms or not of one video, or a state lacks an arm.
        """
        whole = part = self._plan(tracks, observed, current, now_ns, on_stage)
        while part.verdict.code in _BEYOND_REACH and part.verdict.time_s:
            tracks = {name: track.before(part.verdict.time_s) for name, track in tracks.items()}
            end_s = float(next(iter(tracks.values())).times_s[-1])
            if end_s < self._config.min_part_s:
                return whole
            part = self._plan(tracks, observed, current, now_ns, on_stage)
            if part.verdict.accepted:
                reason = (
                    f"all checks passed up to {end_s:.2f} s of the video, where the plan ends: {whole.verdict.reason}"
                )
                return replace(part, verdict=replace(part.verdict, reason=reason))
        return whole

    def _plan(
        self,
        tracks: Mapping[str, GripperTrack],
        observed: RobotState,
        current: RobotState,
        now_ns: int,
        on_stage: Callable[[str], None],
    ) -> Plan:
        """A plan for all of the tracks."""
        first = self._check_input(tracks, observed, current)
        keyframes: dict[str, Keyframes] = {}

        def refused(verdict: Verdict) -> Plan:
            return Plan.refused(first.stamp_ns, verdict, keyframes)

        gates = self._config.gates
        if verdict := check_state(observed, current, first.stamp_ns, now_ns, gates):
            return refused(verdict)
        for name, track in tracks.items():
            T_world_observed = self._kinematics[name].forward(observed.joints[name])
            T_world_tcp = self._kinematics[name].forward(current.joints[name])
            verdict = check_start(name, T_world_observed, T_world_tcp, gates)
            if verdict := verdict or check_track(track, T_world_observed, gates):
                return refused(verdict)
            keyframes[name] = self._keyframes(name, track, T_world_tcp)
            if verdict := check_outliers(name, keyframes[name].outlier, gates):
                return refused(verdict)

        on_stage("smoothing")
        paths: dict[str, ArmPath] = {}
        for name, frames in keyframes.items():
            paths[name], verdict = self._solve(name, frames, current.joints[name])
            if verdict:
                return refused(verdict)
        on_stage("kinematics")
        if verdict := self._check_collisions(paths, current):
            return refused(verdict)
        on_stage("collisions")
        plan = self._timed(tracks, paths, keyframes)
        on_stage("timing")
        if plan.verdict.accepted:
            robots = {name: self._arms[name].robot for name in paths}
            plan = replace(plan, verdict=check_motion(plan, robots, self._config.limits) or plan.verdict)
        on_stage("limits")
        return plan

    def _check_input(
        self, tracks: Mapping[str, GripperTrack], observed: RobotState, current: RobotState
    ) -> GripperTrack:
        """Refuse what is not one video of this cell; returns any of the tracks."""
        names = ", ".join(self._arms)
        if not tracks or not set(tracks) <= set(self._arms):
            raise ValueError(f"tracks must be of the arms {names}, got {list(tracks)}")
        if any(set(self._arms) - set(state.joints) for state in (observed, current)):
            raise ValueError(
                f"both states must hold the arms {names}, got {list(observed.joints)}, {list(current.joints)}"
            )
        first = next(iter(tracks.values()))
        if any(t.stamp_ns != first.stamp_ns or not np.array_equal(t.times_s, first.times_s) for t in tracks.values()):
            raise ValueError("all tracks must be of one video, with the same stamp and times")
        return first

    def _keyframes(self, name: str, track: GripperTrack, T_world_tcp: Float[Array, "4 4"]) -> Keyframes:
        usable = track.usable
        followed = anchored(track.Ts_world_tcp, T_world_tcp) if usable[0] else track.Ts_world_tcp
        Ts_world_raw = np.where(usable[:, None, None], followed, np.nan)
        Ts_world_raw[0] = T_world_tcp
        weights = np.where(usable, track.confidence, 0.0)
        Ts_world_tcp, outlier = smoothed(track.times_s, Ts_world_raw, weights, self._config.smoothing)
        Ts_world_tcp = moved_inside(self._arms[name], Ts_world_tcp, self._config.gates)
        return Keyframes(times_s=track.times_s, Ts_world_raw=Ts_world_raw, Ts_world_tcp=Ts_world_tcp, outlier=outlier)

    def _solve(self, name: str, frames: Keyframes, start: Float[Array, "7"]) -> tuple[ArmPath, Verdict | None]:
        """Joints along a path: as near as can be to where they start, or else to the middle of their ranges."""
        robot, path = self._arms[name].robot, PosePath(frames.times_s, frames.Ts_world_tcp)
        solved: list[tuple[ArmPath, Verdict | None]] = []
        for posture in (start, (robot.lower + robot.upper) / 2):
            arm_path, verdict = ArmPath.solve(
                name,
                path,
                self._kinematics[name],
                start,
                frames.times_s,
                samples=self._config.path_samples,
                posture=posture,
            )
            solved.append((arm_path, verdict or self._check_path(name, arm_path)))
            refusal = solved[-1][1]
            if refusal is None or refusal.code not in _BEYOND_REACH:
                return solved[-1]
        return solved[0]

    def _check_path(self, name: str, path: ArmPath) -> Verdict | None:
        arm, gates = self._arms[name], self._config.gates
        return check_workspace(arm, path.times_s, path.Ts_world_tcp, gates) or check_joint_positions(
            name, self._arms[name].robot, path.times_s, path.joints, self._config.limits
        )

    def _check_collisions(self, paths: Mapping[str, ArmPath], current: RobotState) -> Verdict | None:
        times_s = next(iter(paths.values())).times_s
        postures = {
            name: paths[name].joints if name in paths else np.tile(current.joints[name], (len(times_s), 1))
            for name in self._arms
        }
        contact = self._collisions.first_contact(postures)
        if contact is None:
            return None
        a, b = contact.bodies
        return Verdict(
            code=contact.code,
            reason=f"at {times_s[contact.sample]:.2f} s of the video, {a} comes within "
            f"{1e3 * contact.distance_m:.0f} mm of {b}: generate again, or {_COLLISION_FIXES[contact.code]}",
            arm=a.split("/")[0],
            time_s=float(times_s[contact.sample]),
            value=contact.distance_m,
        )

    def _timed(
        self, tracks: Mapping[str, GripperTrack], paths: Mapping[str, ArmPath], keyframes: Mapping[str, Keyframes]
    ) -> Plan:
        """The plan along paths that can be followed."""
        config, first = self._config, next(iter(tracks.values()))
        times_s = first.times_s
        changes = [
            (moment_s, name, bool(track.open[shown.start]), shown_opening_m(track.opening_m[shown]))
            for name, track in tracks.items()
            for moment_s, shown in acting(track.open, paths[name].path, times_s, config.min_dwell_frames).items()
        ]
        event_times = {time for time, *_ in changes}
        stops = sorted(event_times | {0.0, float(times_s[-1])})
        limits = [
            rate_limits(
                [d for name in paths for d in paths[name].demands(start, end, self._arms[name].robot, config.limits)],
                config.limits.max_rate,
            )
            for start, end in pairwise(stops)
        ]
        if (duration := duration_s(stops, limits)) > config.max_duration_s:
            return Plan.refused(
                first.stamp_ns,
                Verdict(
                    code=Code.TOO_LONG,
                    reason=f"the motion would take {duration:.0f} s, allowed are {config.max_duration_s:g} s: generate "
                    "again, or start from a posture in which the arms are less stretched",
                    value=duration,
                ),
                keyframes,
            )
        dwells = [config.gripper_dwell_s if stop in event_times else 0.0 for stop in stops]
        ticks = clock(stops, limits, dwells, period_s=config.period_s)
        arrival = dict(zip(stops, ticks.stops_s, strict=True))
        return Plan(
            stamp_ns=first.stamp_ns,
            verdict=Verdict(),
            times_s=ticks.times_s,
            video_times_s=ticks.video_times_s,
            arms={
                name: path.timed(ticks, np.interp(ticks.video_times_s, times_s, _trust(tracks[name], keyframes[name])))
                for name, path in paths.items()
            },
            events=tuple(
                GripperEvent(arm=name, time_s=arrival[time], open=opens, opening_m=opening_m)
                for time, name, opens, opening_m in sorted(changes, key=lambda change: change[:3])
            ),
            keyframes=keyframes,
        )


def _trust(track: GripperTrack, keyframes: Keyframes | None) -> Float[Array, " t"]:
    """Confidence of each pose; 0 where it was not followed, as far as that is known."""
    if keyframes is None:
        return track.confidence
    followed = np.zeros(len(track.times_s), bool)
    followed[: len(keyframes.outlier)] = ~keyframes.outlier
    return np.where(followed, track.confidence, 0.0)
