"""A plan: what every arm does from now on, on one clock, with the verdict of the checks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.interpolate import PPoly

from robo4d.geometry import se3
from robo4d.planning.interpolation import Turning, quintic


class Code(IntEnum):
    """Why a plan was refused; 0 when it was not. The numbers go into messages and never change."""

    ACCEPTED = 0
    STALE_OBSERVATION = 10
    STALE_STATE = 11
    NOT_FINITE = 12
    ROBOT_MOVING = 13
    START_MISMATCH = 14
    TOO_FEW_POSES = 20
    LOW_CONFIDENCE = 21
    INNOVATION = 22
    TOO_MANY_OUTLIERS = 23
    WORKSPACE = 30
    UNREACHABLE = 40
    SINGULAR = 41
    JOINT_POSITION = 42
    JOINT_VELOCITY = 43
    JOINT_ACCELERATION = 44
    JOINT_JERK = 45
    CARTESIAN_VELOCITY = 46
    CARTESIAN_ACCELERATION = 47
    CARTESIAN_JERK = 48
    TOO_LONG = 49
    SELF_COLLISION = 50
    ARM_COLLISION = 51
    SCENE_COLLISION = 52


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of the checks: the first one that failed, with a sentence that names the fix."""

    code: Code = Code.ACCEPTED
    reason: str = "all checks passed"
    arm: str = ""
    """The offending arm; empty where none is."""
    time_s: float | None = None
    """Video time of the offence [s]; None where the plan was refused as a whole."""
    value: float | None = None
    """The offending quantity, in the unit that the reason states."""

    @property
    def accepted(self) -> bool:
        """Whether the plan may be executed."""
        return self.code == Code.ACCEPTED

    @classmethod
    def example(cls) -> "Verdict":
        """A refusal."""
        return cls(
            code=Code.WORKSPACE,
            reason="left arm at 1.20 s of the video: z = -0.05 m leaves its workspace (0.00 to 0.80 m); generate again",
            arm="left",
            time_s=1.2,
            value=-0.05,
        )


@dataclass(frozen=True, kw_only=True)
class GripperEvent:
    """A command to one gripper, at a moment when all arms stand still."""

    arm: str
    time_s: float
    """When the command is sent, on the plan's clock [s]."""
    open: bool
    """True to open, False to grasp."""
    opening_m: float | None = None
    """Distance between the fingers afterwards [m], as the video shows it; None where it does not."""

    @classmethod
    def example(cls) -> "GripperEvent":
        """The left gripper closes at the start."""
        return cls(arm="left", time_s=0.0, open=False)


@dataclass(frozen=True, kw_only=True)
class Keyframes:
    """One arm's tracked poses before and after smoothing, for viewers: a refused plan shows its reason in them."""

    times_s: Float[Array, " t"]
    """Video time of each pose [s]."""
    Ts_world_raw: Float[Array, "t 4 4"]
    """As tracked, anchored to the measured pose; NaN where lost."""
    Ts_world_tcp: Float[Array, "t 4 4"]
    """As smoothed."""
    outlier: Bool[Array, " t"]
    """Frames that were not followed."""

    @classmethod
    def example(cls) -> "Keyframes":
        """Two poses, 2 cm apart."""
        Ts = np.stack([se3.translation(0.4, 0.2, 0.3), se3.translation(0.4, 0.2, 0.32)])
        return cls(times_s=np.array([0.0, 0.5]), Ts_world_raw=Ts, Ts_world_tcp=Ts, outlier=np.zeros(2, bool))


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """The motion of one arm, sampled at the times of its plan; between the samples see `Plan.resampled`."""

    Ts_world_tcp: Float[Array, "n 4 4"]
    """Pose of the tool centre point."""
    velocities: Float[Array, "n 6"]
    """Velocity of the TCP [m/s] and angular velocity [rad/s], both in world axes."""
    accelerations: Float[Array, "n 6"]
    """Acceleration of the TCP [m/s^2] and angular acceleration [rad/s^2], both in world axes."""
    joints: Float[Array, "n 7"]
    """Joint angles [rad] that reach the poses."""
    joint_velocities: Float[Array, "n 7"]
    joint_accelerations: Float[Array, "n 7"]
    confidence: Float[Array, " n"]
    """Trust in the tracked poses that the motion passes, 0 to 1."""

    def curves(self, times_s: Float[Array, " n"]) -> "ArmCurves":
        """The motion between the samples, whose times are those of the plan [s]."""
        p, v, a = self.Ts_world_tcp[:, :3, 3], self.velocities, self.accelerations
        q, qv, qa = self.joints, self.joint_velocities, self.joint_accelerations
        return ArmCurves(
            position=quintic(times_s, (p[:-1], v[:-1, :3], a[:-1, :3]), (p[1:], v[1:, :3], a[1:, :3])),
            rotation=Turning(times_s, self.Ts_world_tcp[:, :3, :3], v[:, 3:], a[:, 3:]),
            joints=quintic(times_s, (q[:-1], qv[:-1], qa[:-1]), (q[1:], qv[1:], qa[1:])),
            confidence=PPoly(np.stack([np.diff(self.confidence) / np.diff(times_s), self.confidence[:-1]]), times_s),
        )

    @classmethod
    def example(cls) -> "ArmPlan":
        """A motion 2 cm up within 1 s that starts and ends at rest, as two samples; the joints are not its own."""
        return cls(
            Ts_world_tcp=np.stack([se3.translation(0.4, 0.2, 0.3), se3.translation(0.4, 0.2, 0.32)]),
            velocities=np.zeros((2, 6)),
            accelerations=np.zeros((2, 6)),
            joints=np.tile([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785], (2, 1)),
            joint_velocities=np.zeros((2, 7)),
            joint_accelerations=np.zeros((2, 7)),
            confidence=np.ones(2),
        )


@dataclass(frozen=True, kw_only=True)
class ArmCurves:
    """The motion of one arm at any time of its plan."""

    position: PPoly
    """Of the TCP in the world [m]."""
    rotation: Turning
    """Of the TCP in the world."""
    joints: PPoly
    """[rad]"""
    confidence: PPoly

    def at(self, times_s: Float[Array, " m"]) -> ArmPlan:
        """Samples at times within those of the plan [s]."""
        velocity, acceleration = (
            np.concatenate([self.position(times_s, order), self.rotation.rates(times_s, order)], axis=-1)
            for order in (1, 2)
        )
        return ArmPlan(
            Ts_world_tcp=se3.pose(self.rotation.rotations(times_s), self.position(times_s)),
            velocities=velocity,
            accelerations=acceleration,
            joints=self.joints(times_s),
            joint_velocities=self.joints(times_s, 1),
            joint_accelerations=self.joints(times_s, 2),
            confidence=self.confidence(times_s),
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The motion of all arms. A refused plan may lack the motion, where it was refused before there was one."""

    stamp_ns: int
    """Exposure time of the observation that the plan follows from [ns]."""
    verdict: Verdict
    times_s: Float[Array, " n"]
    """The common clock: time of each sample after the start of execution [s], from 0."""
    video_times_s: Float[Array, " n"]
    """Video time shown at each sample [s]: never decreasing, constant while the grippers act."""
    arms: Mapping[str, ArmPlan]
    """The motion of each arm, by name, at `times_s`."""
    events: tuple[GripperEvent, ...]
    """Gripper commands, in the order of time."""
    keyframes: Mapping[str, Keyframes]
    """The poses that the motion was made from, by arm."""

    @classmethod
    def example(cls) -> "Plan":
        """The left arm closes its gripper and lifts it by 2 cm."""
        return cls(
            stamp_ns=0,
            verdict=Verdict(),
            times_s=np.array([0.0, 1.0]),
            video_times_s=np.array([0.0, 0.5]),
            arms={"left": ArmPlan.example()},
            events=(GripperEvent.example(),),
            keyframes={"left": Keyframes.example()},
        )

    @classmethod
    def refused(cls, stamp_ns: int, verdict: Verdict, keyframes: Mapping[str, Keyframes]) -> "Plan":
        """A plan without motion."""
        none = np.zeros(0)
        return cls(
            stamp_ns=stamp_ns,
            verdict=verdict,
            times_s=none,
            video_times_s=none,
            arms={},
            events=(),
            keyframes=keyframes,
        )

    @property
    def duration_s(self) -> float:
        """Time from the start of execution to its end [s]; 0 for a plan without motion."""
        return float(self.times_s[-1]) if len(self.times_s) else 0.0

    def resampled(self, times_s: Float[Array, " m"]) -> "Plan":
        """The same plan at other times [s]; before its start and after its end it stands still.

        Between samples, positions, rotations and joints follow the polynomial of degree 5 that has their values,
        velocities and accelerations, so that whoever holds the samples holds the same smooth motion.

        Raises:
            ValueError: the plan has no motion.
        """
        if len(self.times_s) < 2:
            raise ValueError(f"a plan refused for {self.verdict.code.name} has no motion to follow; plan again")
        at_s = np.clip(times_s, 0, self.duration_s)
        return replace(
            self,
            times_s=times_s,
            video_times_s=np.interp(at_s, self.times_s, self.video_times_s),
            arms={name: arm.curves(self.times_s).at(at_s) for name, arm in self.arms.items()},
        )
