"""What the planner must know of a robot arm: kinematics, limits, collision geometry, and where it is mounted."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3

ROBOTS = ("fer", "fr3")
"""Robots that there are data of: Franka Emika Robot (Panda), Franka Research 3."""


@dataclass(frozen=True, kw_only=True)
class Capsule:
    """All points within a radius of a line segment that is fixed to a link."""

    link: str
    start: Float[Array, "3"]
    """One end of the segment, in the frame of the link [m]."""
    end: Float[Array, "3"]
    radius: float
    """[m]"""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Bounds of a velocity and its derivatives."""

    velocity: float
    """[m/s] or [rad/s]"""
    acceleration: float
    """[m/s^2] or [rad/s^2]"""
    jerk: float
    """[m/s^3] or [rad/s^3]"""

    def __post_init__(self) -> None:
        """Refuse bounds that no motion keeps."""
        if not min(self.velocity, self.acceleration, self.jerk) > 0:
            raise ValueError(f"velocity, acceleration and jerk must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class Braking:
    """Velocity limits that fall towards the ends of a joint's range: |v| <= sqrt(gain * distance) - offset."""

    gain: Float[Array, "7"]
    offset: Float[Array, "7"]
    lower: Float[Array, "7"]
    """Lower end that the distance is measured to [rad]."""
    upper: Float[Array, "7"]


@dataclass(frozen=True, kw_only=True)
class RobotDescription:
    """An arm of seven revolute joints with a two-finger hand, from a file in `robo4d/robots`."""

    name: str
    Ts_link_joint: Float[Array, "7 4 4"]
    """Pose of each joint (axis z) on the link before it."""
    T_link7_hand: Float[Array, "4 4"]
    T_hand_tcp: Float[Array, "4 4"]
    lower: Float[Array, "7"]
    """Joint positions [rad]."""
    upper: Float[Array, "7"]
    velocity: Float[Array, "7"]
    """[rad/s]"""
    acceleration: Float[Array, "7"]
    """[rad/s^2]"""
    jerk: Float[Array, "7"]
    """[rad/s^3]"""
    braking: Braking | None
    """Position-dependent velocity limits, where the robot has them."""
    translation: Rates
    """Limits of the TCP's velocity."""
    rotation: Rates
    """Limits of the TCP's angular velocity."""
    capsules: tuple[Capsule, ...]
    self_collisions: frozenset[tuple[str, str]]
    """Pairs of links that can touch."""

    @classmethod
    def load(cls, name: str) -> "RobotDescription":
        """The robot of that name.

        Raises:
            ValueError: there is no such robot.
        """
        if name not in ROBOTS:
            raise ValueError(f"no robot `{name}`; there are data of {', '.join(ROBOTS)}")
        limits = _read(f"{name}.yaml")
        body = _read(limits["geometry"])
        per_joint = {
            key: np.array(limits[key], float)
            for key in ("position_lower", "position_upper", "velocity", "acceleration", "jerk")
        }
        braking = limits.get("braking")
        return cls(
            name=name,
            Ts_link_joint=np.stack([_pose(origin) for origin in body["joint_origins"]]),
            T_link7_hand=_pose(body["hand_origin"]),
            T_hand_tcp=_pose(body["tcp_origin"]),
            lower=per_joint["position_lower"],
            upper=per_joint["position_upper"],
            velocity=per_joint["velocity"],
            acceleration=per_joint["acceleration"],
            jerk=per_joint["jerk"],
            braking=braking and Braking(**{key: np.array(values, float) for key, values in braking.items()}),
            translation=Rates(**limits["translation"]),
            rotation=Rates(**limits["rotation"]),
            capsules=tuple(
                Capsule(
                    link=c["link"], start=np.array(c["from"], float), end=np.array(c["to"], float), radius=c["radius"]
                )
                for c in body["capsules"]
            ),
            self_collisions=frozenset((a, b) for a, others in body["self_collisions"].items() for b in others),
        )

    @classmethod
    def example(cls) -> "RobotDescription":
        """The Panda."""
        return cls.load("fer")

    def max_velocity(self, joints: Float[Array, "*n 7"]) -> Float[Array, "*n 7"]:
        """Greatest velocity allowed at joint positions [rad], in either direction [rad/s]."""
        if self.braking is None:
            return np.broadcast_to(self.velocity, joints.shape)
        distance = np.maximum(np.minimum(self.braking.upper - joints, joints - self.braking.lower), 0)
        return np.clip(np.sqrt(self.braking.gain * distance) - self.braking.offset, 0, self.velocity)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box that stands in the cell."""

    name: str
    T_world_box: Float[Array, "4 4"]
    """Pose of its centre."""
    size_m: Float[Array, "3"]
    """Full lengths of its edges [m]."""

    @classmethod
    def example(cls) -> "Box":
        """A table top, 1.6 m by 2 m, whose upper side is the plane z = 0."""
        return cls(name="table", T_world_box=se3.translation(0.5, 0, -0.05), size_m=np.array([1.6, 2.0, 0.1]))


@dataclass(frozen=True, kw_only=True)
class MountedArm:
    """An arm at its place in the cell."""

    name: str
    robot: RobotDescription
    T_world_base: Float[Array, "4 4"]
    workspace_min: Float[Array, "3"]
    """Lower corner of the box that the TCP may not leave, in the world [m]."""
    workspace_max: Float[Array, "3"]

    def __post_init__(self) -> None:
        """Refuse an empty workspace."""
        if not np.all(self.workspace_min < self.workspace_max):
            raise ValueError(f"{self.name}: workspace from {self.workspace_min} to {self.workspace_max} is empty")

    @classmethod
    def example(cls) -> "MountedArm":
        """The left one of `two_arms`."""
        return two_arms("fer")[0]


def two_arms(robot: str, *, distance_m: float = 0.7, yaw_rad: float = 0.0) -> tuple[MountedArm, MountedArm]:
    """The default cell, which is the simulated one: arms "left" (at +y) and "right" side by side on a table.

    Args:
        robot: Name of the robot.
        distance_m: Between the two bases.
        yaw_rad: By how much they are turned towards each other.
    """
    description = RobotDescription.load(robot)

    def arm(name: str, side: float) -> MountedArm:
        R_world_base = Rotation.from_euler("z", -side * yaw_rad).as_matrix()
        return MountedArm(
            name=name,
            robot=description,
            T_world_base=se3.pose(R_world_base, np.array([0, side * distance_m / 2, 0])),
            # As far as the arm reaches with its hand pointing down, and never behind its base.
            workspace_min=np.array([0.1, -0.8, 0.0]),
            workspace_max=np.array([0.9, 0.8, 0.9]),
        )

    return arm("left", 1.0), arm("right", -1.0)


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """What the arms measured at one moment."""

    stamp_ns: int
    """Time of the measurement [ns]."""
    joints: Mapping[str, Float[Array, "7"]]
    """Joint positions of each arm, by name [rad]."""
    joint_velocities: Mapping[str, Float[Array, "7"]]
    """[rad/s]"""

    @property
    def speed_rad_s(self) -> float:
        """Of the fastest joint of all arms [rad/s]."""
        return max(float(np.abs(velocities).max()) for velocities in self.joint_velocities.values())

    @classmethod
    def at_rest(cls, stamp_ns: int, joints: Mapping[str, Float[Array, "7"]]) -> "RobotState":
        """Arms that stand still at these positions [rad], by name."""
        return cls(stamp_ns=stamp_ns, joints=joints, joint_velocities={arm: np.zeros(7) for arm in joints})

    @classmethod
    def example(cls) -> "RobotState":
        """Both arms at rest in the posture that Franka calls ready."""
        ready = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
        return cls.at_rest(0, dict.fromkeys(("left", "right"), ready))


def _read(file: str) -> dict[str, Any]:
    return yaml.safe_load((files("robo4d") / "robots" / file).read_text())


def _pose(origin: Mapping[str, list[float]]) -> Float[Array, "4 4"]:
    R = Rotation.from_euler("xyz", origin["rpy"]).as_matrix()
    return se3.pose(R, np.array(origin["xyz"], float))
