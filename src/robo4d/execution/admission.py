"""Whether a plan may be executed now."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.execution.path import PlanPath
from robo4d.execution.run import RateConfig
from robo4d.execution.targets import ArmReading, ArmTarget
from robo4d.geometry import se3
from robo4d.plan import ArmPlan, GripperEvent, Plan
from robo4d.planning.robot import Rates

ForwardKinematics = Callable[[Float[Array, "7"]], Float[Array, "4 4"]]
"""T_world_tcp from joint angles [rad]."""
_SAMPLE_S = 0.01
"""Period at which the limits are checked along a plan [s]."""


class Refused(ValueError):
    """A request that is not carried out. Nothing has changed."""

    def __init__(self, code: str, message: str) -> None:
        """Say why by a short name and by a sentence."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class AdmissionConfig:
    """What a plan must satisfy to be executed."""

    max_observation_age_s: float = 120.0
    """Since the exposure of the images that the plan follows from [s]. Generation takes 30 s, a review some more."""
    start_position_m: float = 0.01
    """Between the plan's start and the measured TCP [m]; MoveIt's allowed_start_tolerance is 0.01 rad a joint."""
    start_rotation_rad: float = math.radians(3)
    start_joints_rad: float = 0.1
    """Between each joint at the plan's start and as measured [rad]: the elbow too must be where the plan had it."""
    kinematics_position_m: float = 0.005
    """Between the TCP that the controller tells and the one that the measured joints give [m]."""
    kinematics_rotation_rad: float = math.radians(2)
    translation: Rates = field(default_factory=lambda: Rates(velocity=0.3, acceleration=2.5, jerk=60.0))
    """Limits of every motion that is commanded, pausing and stopping included: a quarter of what FR3 allows."""
    rotation: Rates = field(default_factory=lambda: Rates(velocity=1.2, acceleration=8.0, jerk=200.0))

    def __post_init__(self) -> None:
        """Refuse limits that no plan satisfies."""
        limits = [value for value in vars(self).values() if isinstance(value, float)]
        if not all(value > 0 for value in limits):
            raise ValueError(f"limits of admission must be positive, got {self}")


@dataclass(frozen=True)
class AdmittedPlan:
    """A plan that may be executed, as far as it alone tells."""

    stamp_ns: int
    """Exposure time of the observation that it follows from [ns]."""
    path: PlanPath
    events: tuple[GripperEvent, ...]


def admit(plan: Plan, arms: tuple[str, ...], config: AdmissionConfig, rate: RateConfig) -> AdmittedPlan:
    """Check all that does not depend on the present. Takes a tenth of a second, and may be done in another thread.

    Raises:
        Refused: the plan may never be executed.
    """
    if not plan.verdict.accepted:
        raise Refused("not_accepted", f"the plan was refused by its checks ({plan.verdict.reason}); plan again")
    if unknown := sorted((set(plan.arms) | {event.arm for event in plan.events}) - set(arms)):
        raise Refused("unknown_arm", f"the plan is for {', '.join(unknown)} too, but the arms are {', '.join(arms)}")
    if len(plan.times_s) < 2 or not plan.arms:
        raise Refused("no_motion", "the plan has no motion: plan again")
    _check_finite(plan)
    path = PlanPath(plan)
    stops_s = sorted({0.0, plan.duration_s, *(event.time_s for event in plan.events)})
    if moving := [t for t in stops_s if not 0 <= t <= plan.duration_s or not path.is_at_rest(t)]:
        raise Refused("not_at_rest", f"the arms move or the plan has ended at {moving[0]:.2f} s, where they must stand")
    acts = Counter((event.arm, event.time_s) for event in plan.events)
    if twice := [act for act, count in acts.items() if count > 1]:
        arm, time_s = twice[0]
        raise Refused("ambiguous", f"the {arm} gripper is to act twice at {time_s:.2f} s: plan again")
    times_s, samples = path.samples(_SAMPLE_S)
    for name, arm in samples.items():
        _check_rates(name, arm, times_s, config, rate)
    return AdmittedPlan(stamp_ns=plan.stamp_ns, path=path, events=plan.events)


def check_age(stamp_ns: int, now_ns: int, config: AdmissionConfig) -> None:
    """Refuse a plan from an observation that is too old, or from the future."""
    age_s = 1e-9 * (now_ns - stamp_ns)
    if not -1.0 < age_s <= config.max_observation_age_s:
        raise Refused(
            "stale_plan",
            f"the plan follows from images {age_s:.1f} s old, allowed are 0 to {config.max_observation_age_s:g} s: "
            "observe and plan again; if the age is negative or far too large, synchronize the clocks (chrony)",
        )


def check_start(path: PlanPath, readings: Mapping[str, ArmReading], config: AdmissionConfig) -> None:
    """Refuse a plan that does not start where the arms are."""
    for name in path.arms:
        start, reading = path.target(name, 0.0), readings[name]
        distance, angle = map(float, se3.distance(start.T_world_tcp, reading.T_world_tcp))
        known = start.joints is not None and reading.joints is not None
        bend = float(np.abs(np.asarray(start.joints) - np.asarray(reading.joints)).max()) if known else 0.0
        found = (distance, angle, bend)
        allowed = (config.start_position_m, config.start_rotation_rad, config.start_joints_rad)
        if any(f > a for f, a in zip(found, allowed, strict=True)):
            raise Refused(
                "start_mismatch",
                f"the plan does not start where the {name} arm is: it is off by {_off(found)}, allowed are "
                f"{_off(allowed)}; the arm has moved: observe and plan again",
            )


def _off(difference: tuple[float, float, float]) -> str:
    """A difference of TCP position [m], rotation [rad] and joint [rad] for people."""
    position, rotation, joint = difference
    return f"{1e3 * position:.1f} mm, {math.degrees(rotation):.1f} deg and {joint:.3f} rad in a joint"


def check_kinematics(arm: str, reading: ArmReading, forward: ForwardKinematics, config: AdmissionConfig) -> None:
    """Refuse an arm whose controller means other poses than our model of it, such as in another frame."""
    if reading.joints is None:
        raise Refused("joints_missing", f"the {arm} arm tells no joint angles to check its pose with: see joint_states")
    distance, angle = map(float, se3.distance(forward(reading.joints), reading.T_world_tcp))
    if distance > config.kinematics_position_m or angle > config.kinematics_rotation_rad:
        raise Refused(
            "kinematics_mismatch",
            f"the {arm} arm's controller tells a TCP {1e3 * distance:.1f} mm and {math.degrees(angle):.1f} deg from "
            "the one of its joint angles: correct its base frame, its tool and the robot model before anything moves",
        )


def check_following(
    commanded: ArmTarget, reading: ArmReading, arm: str, *, position_m: float, rotation_rad: float
) -> None:
    """Refuse to go on from a command that the arm is far away from, as after being moved by hand."""
    distance, angle = map(float, se3.distance(commanded.T_world_tcp, reading.T_world_tcp))
    if distance > position_m or angle > rotation_rad:
        raise Refused(
            "not_following",
            f"the {arm} arm is {1e3 * distance:.0f} mm and {math.degrees(angle):.0f} deg from its last command: if it "
            "was moved by hand, call `reset` to start from where it is",
        )


def _check_finite(plan: Plan) -> None:
    for name, arm in plan.arms.items():
        arrays = (x for key, x in vars(arm).items() if key != "confidence")
        if not all(np.isfinite(x).all() for x in arrays) or not se3.is_valid(arm.Ts_world_tcp).all():
            raise Refused("not_finite", f"the plan of the {name} arm holds NaN or a pose that is not rigid: plan again")


def _check_rates(
    name: str, arm: ArmPlan, times_s: Float[Array, " n"], config: AdmissionConfig, rate: RateConfig
) -> None:
    """Refuse a motion that would pass the limits, or would when it is paused.

    With x' the velocity on the plan's clock and r its rate, dx/dt = x' r, d2x/dt2 = x'' r^2 + x' r', and
    d3x/dt3 = x''' r^3 + 3 x'' r r' + x' r''.
    """
    for limits, axes, unit in ((config.translation, slice(0, 3), "m"), (config.rotation, slice(3, 6), "rad")):
        jerks = np.diff(arm.accelerations[:, axes], axis=0) / np.diff(times_s)[:, None]
        v, a, j = (
            float(np.linalg.norm(x, axis=1).max()) for x in (arm.velocities[:, axes], arm.accelerations[:, axes], jerks)
        )
        totals = {
            f"{unit}/s": (v, limits.velocity),
            f"{unit}/s^2": (a + v * rate.acceleration, limits.acceleration),
            f"{unit}/s^3": (j + 3 * a * rate.acceleration + v * rate.jerk, limits.jerk),
        }
        for what, (total, limit) in totals.items():
            if total > limit:
                raise Refused(
                    "too_fast",
                    f"the plan moves the {name} arm with up to {total:.3g} {what} (if paused), allowed are {limit:g}: "
                    "lower the planner's limits and plan again",
                )
