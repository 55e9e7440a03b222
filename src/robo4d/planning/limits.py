"""How fast the arms may move, and the check that a motion keeps to it as the robot's controller would see it."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.plan import ArmCurves, Code, Plan, Verdict
from robo4d.planning.robot import Rates, RobotDescription

CONTROL_PERIOD_S = 1e-3
"""Franka's controllers judge motions by backward differences at this period [s]."""
_CEILING = 0.5
"""Share of what the robot can do that no configuration may pass."""


@dataclass(frozen=True, kw_only=True)
class MotionLimits:
    """Limits of planned motion. The defaults are slow: generated motion is new to everyone who watches it."""

    translation: Rates = field(default_factory=lambda: Rates(velocity=0.2, acceleration=0.5, jerk=5.0))
    """Of the TCP [m, s]."""
    rotation: Rates = field(default_factory=lambda: Rates(velocity=0.6, acceleration=2.0, jerk=20.0))
    """Of the TCP's rotation [rad, s]."""
    joint_velocity_share: float = 0.2
    """Of the robot's own limits."""
    joint_acceleration_share: float = 0.1
    joint_jerk_share: float = 0.1
    joint_margin_share: float = 0.05
    """Of each joint's range, kept free at either end."""
    max_rate: float = 1.0
    """The motion is never faster than this multiple of the video, in which objects moved at their own speed."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        shares = (self.joint_velocity_share, self.joint_acceleration_share, self.joint_jerk_share)
        if not (min(shares) > 0 and max(shares) <= _CEILING):
            raise ValueError(f"shares of the joint limits must be in (0, {_CEILING}], got {self}")
        if not (0 <= self.joint_margin_share < 0.5 and self.max_rate > 0):
            raise ValueError(f"joint_margin_share must be in [0, 0.5) and max_rate positive, got {self}")

    def check_robot(self, robot: RobotDescription) -> None:
        """Refuse limits that come too near to what the robot can do.

        Raises:
            ValueError: a limit of the TCP passes half of the robot's.
        """
        for name, ours, its in (
            ("translation", self.translation, robot.translation),
            ("rotation", self.rotation, robot.rotation),
        ):
            for quantity, limit in vars(its).items():
                if getattr(ours, quantity) > _CEILING * limit:
                    raise ValueError(f"{name}.{quantity} must be at most {_CEILING * limit:g} for {robot.name}")

    def joints(
        self, robot: RobotDescription, joints: Float[Array, "n 7"]
    ) -> tuple[Float[Array, "n 7"], Float[Array, " 7"], Float[Array, " 7"]]:
        """Greatest joint velocity at joint positions, acceleration and jerk [rad, s]."""
        return (
            self.joint_velocity_share * robot.max_velocity(joints),
            self.joint_acceleration_share * robot.acceleration,
            self.joint_jerk_share * robot.jerk,
        )


def check_joint_positions(
    arm: str, robot: RobotDescription, times_s: Float[Array, " n"], joints: Float[Array, "n 7"], limits: MotionLimits
) -> Verdict | None:
    """Whether all joints keep their margin from the ends of their range. `times_s` is video time."""
    margin = limits.joint_margin_share * (robot.upper - robot.lower)
    lower, upper = robot.lower + margin, robot.upper - margin
    outside = np.maximum(lower - joints, joints - upper)
    if np.all(outside <= 0):
        return None
    sample = int(np.argmax(outside.max(axis=1) > 0))
    joint = int(np.argmax(outside[sample]))
    return Verdict(
        code=Code.JOINT_POSITION,
        reason=f"{arm} arm at {times_s[sample]:.2f} s of the video: joint {joint + 1} would be at "
        f"{joints[sample, joint]:.2f} rad, allowed are {lower[joint]:.2f} to {upper[joint]:.2f} rad: start from a "
        "posture farther from this end, or generate again",
        arm=arm,
        time_s=float(times_s[sample]),
        value=float(joints[sample, joint]),
    )


def check_motion(plan: Plan, robots: dict[str, RobotDescription], limits: MotionLimits) -> Verdict | None:
    """Whether the plan, at the control period and with rest before and after, keeps all limits of rates.

    Velocity, acceleration and jerk are backward differences of positions and joints, and of the angular velocity.
    """
    steps = np.arange(-3, int(np.ceil(plan.duration_s / CONTROL_PERIOD_S)) + 4)
    times_s = np.clip(CONTROL_PERIOD_S * steps, 0, plan.duration_s)
    for name, arm in plan.arms.items():
        for code, what, unit, ratio, value in _rates(arm.curves(plan.times_s), times_s, robots[name], limits):
            if np.all(ratio <= 1):
                continue
            sample = int(np.argmax(ratio > 1))
            time_s = float(np.interp(times_s[sample], plan.times_s, plan.video_times_s))
            return Verdict(
                code=code,
                reason=f"{name} arm at {time_s:.2f} s of the video: {what} of {value[sample]:.3g} {unit}, "
                f"{value[sample] / ratio[sample]:.3g} {unit} is allowed: plan again with a lower limits.max_rate",
                arm=name,
                time_s=time_s,
                value=float(value[sample]),
            )
    return None


def _rates(
    curves: ArmCurves, times_s: Float[Array, " n"], robot: RobotDescription, limits: MotionLimits
) -> list[tuple[Code, str, str, Float[Array, " m"], Float[Array, " m"]]]:
    """For every limited rate: code, name, unit, its share of the limit and its value over time."""
    found: list[tuple[Code, str, str, Float[Array, " m"], Float[Array, " m"]]] = []
    codes = (Code.CARTESIAN_VELOCITY, Code.CARTESIAN_ACCELERATION, Code.CARTESIAN_JERK)
    names = ("velocity", "acceleration", "jerk")
    for steps, bounds, kind, unit in (
        (np.diff(curves.position(times_s), axis=0), limits.translation, "a", "m"),
        (CONTROL_PERIOD_S * curves.rotation.rates(times_s[1:], 1), limits.rotation, "an angular", "rad"),
    ):
        for order, (code, name) in enumerate(zip(codes, names, strict=True), start=1):
            value = np.linalg.norm(np.diff(steps, order - 1, axis=0), axis=-1) / CONTROL_PERIOD_S**order
            found.append((code, f"{kind} {name}", _unit(unit, order), value / getattr(bounds, name), value))
    joints = curves.joints(times_s)
    velocity, acceleration, jerk = limits.joints(robot, joints)
    codes = (Code.JOINT_VELOCITY, Code.JOINT_ACCELERATION, Code.JOINT_JERK)
    bounds = (velocity[1:], acceleration, jerk)
    for order, (code, name, bound) in enumerate(zip(codes, names, bounds, strict=True), start=1):
        value = np.abs(np.diff(joints, order, axis=0)) / CONTROL_PERIOD_S**order
        worst = np.argmax(value / bound, axis=1)[:, None]
        ratio, value = (np.take_along_axis(x, worst, axis=1)[:, 0] for x in (value / bound, value))
        found.append((code, f"a joint {name}", _unit("rad", order), ratio, value))
    return found


def _unit(unit: str, order: int) -> str:
    return f"{unit}/s" if order == 1 else f"{unit}/s^{order}"
