"""Checks before there is a motion: is the robot where the video begins, and is the track worth following?

Each returns the refusal, or None.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.plan import Code, Verdict
from robo4d.planning.robot import MountedArm, RobotState
from robo4d.track import GripperTrack


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a robot and a track must satisfy to be planned with."""

    max_observation_age_s: float = 60.0
    """Since the exposure of the images [s]. Generation takes 30 s on the paper's GPU (section 4.3)."""
    max_state_age_s: float = 0.5
    """Of the robot's state, and between the images and the state that belongs to them [s]."""
    stationary_rad_s: float = 0.02
    """Joint velocity up to which an arm counts as standing still [rad/s]."""
    start_position_m: float = 0.01
    """How far the TCP may have moved since the observation [m]."""
    start_rotation_rad: float = math.radians(3)
    innovation_position_m: float = 0.03
    """How far the tracked pose in the observation may be from the measured one [m]."""
    innovation_rotation_rad: float = math.radians(15)
    hidden_speed_m_s: float = 0.2
    """A gripper that is hidden in the observation must be found first where it can be by then, at this speed [m/s]."""
    min_confidence: float = 0.3
    """Mean confidence of the poses that are followed."""
    max_outlier_share: float = 0.4
    """Share of the predicted frames that need not be followed; with more, the rest is no majority to trust."""
    workspace_slack_m: float = 0.01
    """Poses this little outside of the workspace are moved to its border [m]; others refuse the plan."""

    def __post_init__(self) -> None:
        """Refuse thresholds that nothing passes."""
        if not all(value > 0 for value in vars(self).values()) or max(self.min_confidence, self.max_outlier_share) > 1:
            raise ValueError(f"thresholds must be positive and shares at most 1, got {self}")


def check_state(
    observed: RobotState, current: RobotState, stamp_ns: int, now_ns: int, config: GateConfig
) -> Verdict | None:
    """Whether the observation and both states are fresh, finite and at rest.

    Args:
        observed: The robot at the time of the observation.
        current: The robot now.
        stamp_ns: Exposure time of the observation [ns].
        now_ns: The time now, on the same clock [ns].
        config: Thresholds.
    """
    age_s = (now_ns - stamp_ns) / 1e9
    if not 0 <= age_s <= config.max_observation_age_s:
        return Verdict(
            code=Code.STALE_OBSERVATION,
            reason=f"the observation is {age_s:.1f} s old, allowed are 0 to {config.max_observation_age_s:g} s: "
            "observe again; if its age is negative or far too large, synchronize the clocks of cameras and planner",
            value=age_s,
        )
    gaps_s = {"now": (now_ns - current.stamp_ns) / 1e9, "at the observation": (stamp_ns - observed.stamp_ns) / 1e9}
    for when, gap_s in gaps_s.items():
        if abs(gap_s) > config.max_state_age_s:
            return Verdict(
                code=Code.STALE_STATE,
                reason=f"the state of the robot {when} is {gap_s:.2f} s off, allowed are {config.max_state_age_s:g} s: "
                "check that joint states arrive and that the clocks are synchronized",
                value=gap_s,
            )
    for state in (observed, current):
        for arm, joints in state.joints.items():
            if not np.all(np.isfinite(joints)) or not np.all(np.isfinite(state.joint_velocities[arm])):
                return Verdict(
                    code=Code.NOT_FINITE,
                    reason=f"{arm} arm: its joint states hold NaN or infinity: check the driver of the arm",
                    arm=arm,
                )
    for arm, velocities in current.joint_velocities.items():
        speed = float(np.abs(velocities).max())
        if speed > config.stationary_rad_s:
            return Verdict(
                code=Code.ROBOT_MOVING,
                reason=f"{arm} arm: a joint moves with {speed:.3f} rad/s, a plan starts at rest (up to "
                f"{config.stationary_rad_s:g} rad/s): stop the arm and plan again",
                arm=arm,
                value=speed,
            )
    return None


def check_start(
    arm: str, T_world_observed: Float[Array, "4 4"], T_world_tcp: Float[Array, "4 4"], config: GateConfig
) -> Verdict | None:
    """Whether the TCP is still where it was when the images were taken."""
    distance, angle = (float(x) for x in se3.distance(T_world_observed, T_world_tcp))
    if distance <= config.start_position_m and angle <= config.start_rotation_rad:
        return None
    return Verdict(
        code=Code.START_MISMATCH,
        reason=f"{arm} arm: it has moved by {1e3 * distance:.1f} mm and {math.degrees(angle):.1f} deg since the "
        f"observation, allowed are {1e3 * config.start_position_m:g} mm and "
        f"{math.degrees(config.start_rotation_rad):.0f} deg: observe again",
        arm=arm,
        value=distance,
    )


def check_track(track: GripperTrack, T_world_tcp: Float[Array, "4 4"], config: GateConfig) -> Verdict | None:
    """Whether a track can be anchored to the measured TCP and has poses to follow.

    Args:
        track: Of one arm.
        T_world_tcp: Where its TCP was at the time of the observation, by forward kinematics.
        config: Thresholds.
    """
    arm, usable = track.arm, track.usable
    if not np.any(usable[1:]):
        return Verdict(
            code=Code.TOO_FEW_POSES,
            reason=f"{arm} arm: its gripper was found in none of {len(usable) - 1} predicted frames: generate again",
            arm=arm,
            value=0.0,
        )
    confidence = float(track.confidence[usable].mean())
    if confidence < config.min_confidence:
        return Verdict(
            code=Code.LOW_CONFIDENCE,
            reason=f"{arm} arm: its poses have a mean confidence of {confidence:.2f}, at least "
            f"{config.min_confidence:g} is needed: generate again, or move the cameras closer",
            arm=arm,
            value=confidence,
        )
    first = int(np.argmax(usable))
    distance, angle = (float(x) for x in se3.distance(T_world_tcp, track.Ts_world_tcp[first]))
    reach_m = config.innovation_position_m + config.hidden_speed_m_s * float(track.times_s[first] - track.times_s[0])
    if first and distance > reach_m:
        return Verdict(
            code=Code.INNOVATION,
            reason=f"{arm} arm: its gripper is hidden in the observation, and was found first "
            f"{1e3 * distance:.0f} mm from where the joints put it, allowed are {1e3 * reach_m:g} mm: bring it into "
            "view of a camera, or check their calibration",
            arm=arm,
            time_s=float(track.times_s[first]),
            value=distance,
        )
    if not first and (distance > config.innovation_position_m or angle > config.innovation_rotation_rad):
        return Verdict(
            code=Code.INNOVATION,
            reason=f"{arm} arm: in the observation its gripper was found {1e3 * distance:.0f} mm and "
            f"{math.degrees(angle):.0f} deg from where the joints put it, allowed are "
            f"{1e3 * config.innovation_position_m:g} mm and {math.degrees(config.innovation_rotation_rad):.0f} deg: "
            "check the calibration of the cameras",
            arm=arm,
            time_s=0.0,
            value=distance,
        )
    return None


def check_outliers(arm: str, outlier: Bool[Array, " t"], config: GateConfig) -> Verdict | None:
    """Whether enough predicted frames agree on one motion. Frame 0 is the observation and does not count."""
    share = float(outlier[1:].mean())
    if share <= config.max_outlier_share:
        return None
    return Verdict(
        code=Code.TOO_MANY_OUTLIERS,
        reason=f"{arm} arm: {100 * share:.0f} % of its tracked poses are lost or fit no smooth motion, allowed are "
        f"{100 * config.max_outlier_share:.0f} %: generate again",
        arm=arm,
        value=share,
    )


def moved_inside(arm: MountedArm, Ts_world_tcp: Float[Array, "n 4 4"], config: GateConfig) -> Float[Array, "n 4 4"]:
    """The poses, with those that are a little outside of the arm's box at its border; the first one is where it is."""
    positions = Ts_world_tcp[1:, :3, 3]
    inside = np.clip(positions, arm.workspace_min, arm.workspace_max)
    little = np.abs(inside - positions).max(axis=-1, keepdims=True) <= config.workspace_slack_m
    moved = Ts_world_tcp.copy()
    moved[1:, :3, 3] = np.where(little, inside, positions)
    return moved


def check_workspace(
    arm: MountedArm, times_s: Float[Array, " n"], Ts_world_tcp: Float[Array, "n 4 4"], config: GateConfig
) -> Verdict | None:
    """Whether the TCP stays inside the arm's box, give or take the slack. `times_s` is the video time of each pose."""
    positions = Ts_world_tcp[:, :3, 3]
    outside = np.maximum(arm.workspace_min - positions, positions - arm.workspace_max)
    if np.all(outside <= config.workspace_slack_m):
        return None
    sample = int(np.argmax(outside.max(axis=1) > config.workspace_slack_m))
    axis = int(np.argmax(outside[sample]))
    value, low, high = (float(x[axis]) for x in (positions[sample], arm.workspace_min, arm.workspace_max))
    return Verdict(
        code=Code.WORKSPACE,
        reason=f"{arm.name} arm at {times_s[sample]:.2f} s of the video: {'xyz'[axis]} = {value:.3f} m leaves its "
        f"workspace ({low:g} to {high:g} m): generate again, or widen the workspace if it may go there",
        arm=arm.name,
        time_s=float(times_s[sample]),
        value=value,
    )
