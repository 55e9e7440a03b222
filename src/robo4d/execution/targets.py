"""What arms and grippers are commanded, and what the executor is told before it does so."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3


@dataclass(frozen=True, kw_only=True)
class ArmTarget:
    """Where one arm shall be now."""

    T_world_tcp: Float[Array, "4 4"]
    """Pose of the tool centre point."""
    joints: Float[Array, "7"] | None = None
    """Joint angles that reach it [rad]; None where they are not known, as in teleoperation."""

    def __post_init__(self) -> None:
        """Refuse what must never reach a robot."""
        if not se3.is_valid(self.T_world_tcp) or (self.joints is not None and not np.isfinite(self.joints).all()):
            raise ValueError(f"a target must be a finite rigid pose with finite joints, got {self}")

    @classmethod
    def example(cls) -> "ArmTarget":
        """An open gripper that points down, 30 cm above the table."""
        return cls(T_world_tcp=se3.translation(0.5, 0, 0.3) @ np.diag([1.0, -1.0, -1.0, 1.0]))


@dataclass(frozen=True, kw_only=True)
class JointCourse:
    """Where the joints of one arm go from now until they rest."""

    times_s: Float[Array, " n"]
    """From now [s]; the first is 0."""
    joints: Float[Array, "n 7"]
    """[rad]"""
    velocities: Float[Array, "n 7"]
    """[rad/s]; 0 at the end."""
    accelerations: Float[Array, "n 7"]
    """[rad/s^2]"""

    @classmethod
    def example(cls) -> "JointCourse":
        """An arm that stands still."""
        return cls(
            times_s=np.zeros(1), joints=np.zeros((1, 7)), velocities=np.zeros((1, 7)), accelerations=np.zeros((1, 7))
        )


@dataclass(frozen=True, kw_only=True)
class ArmReading:
    """The newest that one arm told of itself."""

    stamp_ns: int
    """When it was measured, on the clock of the messages [ns]."""
    arrival_ns: int
    """When it arrived, on the steady clock [ns]."""
    T_world_tcp: Float[Array, "4 4"]
    """Measured pose of the tool centre point, from its controller; may be NaN, which stops the arm."""
    joints: Float[Array, "7"] | None = None
    """Measured joint angles [rad]."""
    wrench: Float[Array, "6"] | None = None
    """External force [N] and torque [Nm] at the TCP; None where it is not measured."""
    fault: str = ""
    """Why the arm does not follow its targets, such as a collision reflex; empty where it does."""

    @property
    def valid(self) -> bool:
        """Whether all of it can be believed."""
        others = [x for x in (self.joints, self.wrench) if x is not None]
        return bool(se3.is_valid(self.T_world_tcp)) and all(np.isfinite(x).all() for x in others)

    @classmethod
    def example(cls) -> "ArmReading":
        """An arm in the pose of `ArmTarget.example`, at time 0."""
        return cls(stamp_ns=0, arrival_ns=0, T_world_tcp=ArmTarget.example().T_world_tcp, wrench=np.zeros(6))


@dataclass(frozen=True, kw_only=True)
class TeleopInput:
    """What the operator does to one arm: a velocity, or the pose of the own hand."""

    arrival_ns: int
    """On the steady clock [ns]."""
    twist_world: Float[Array, "6"] | None = None
    """Velocity of the TCP [m/s], then angular velocity [rad/s], world axes."""
    T_world_hand: Float[Array, "4 4"] | None = None
    """Pose of the operator's hand. Only its motion since the dead-man's switch was pressed is followed."""
    open: bool | None = None
    """Whether the gripper shall be open; only changes are followed. None where the operator does not say."""

    def __post_init__(self) -> None:
        """Refuse none, both and what is not finite."""
        given = [x for x in (self.twist_world, self.T_world_hand) if x is not None]
        if len(given) != 1 or not np.isfinite(given[0]).all():
            raise ValueError(f"teleoperation needs either a finite twist or a finite pose, got {self}")

    @classmethod
    def example(cls) -> "TeleopInput":
        """Forwards, slowly."""
        return cls(arrival_ns=0, twist_world=np.array([0.05, 0, 0, 0, 0, 0]))


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What the operator's device tells of its switches."""

    arrival_ns: int = 0
    """On the steady clock [ns]."""
    teleop: bool = False
    """The dead-man's switch of teleoperation: pressing it takes over at once."""
    run: bool = False
    """The dead-man's switch of plans, if there is one."""


@dataclass(frozen=True, kw_only=True)
class GripperCommand:
    """To be given to a gripper once."""

    arm: str
    open: bool
    """True to open, False to grasp."""
    number: int
    """Names the command in its outcome."""


@dataclass(frozen=True, kw_only=True)
class GripperOutcome:
    """How a command to a gripper ended."""

    number: int
    """Of the command."""
    success: bool
    """Opened, or something is held."""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that the executor is told before a tick."""

    ros_now_ns: int
    """The present on the clock of the messages [ns]."""
    readings: Mapping[str, ArmReading]
    """Of the arms that have told anything yet."""
    heartbeats_ns: Mapping[str, int] = field(default_factory=dict)
    """When each sender of a heartbeat was last heard, on the steady clock [ns]."""
    switches: Switches = field(default_factory=Switches)
    teleop: Mapping[str, TeleopInput] = field(default_factory=dict)
    """The newest of each arm that ever got one."""
    gripper_outcomes: tuple[GripperOutcome, ...] = ()
    """New since the last tick."""
    other_publishers: tuple[str, ...] = ()
    """Names of other nodes that publish on a command topic."""
