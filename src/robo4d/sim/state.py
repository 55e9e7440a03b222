"""What the cell is told and what it tells, each control tick."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3

ARMS: tuple[str, ...] = ("left", "right")
"""The left arm stands at +y, seen from the robots."""
CONTROL_PERIOD_S = 0.02
"""One call of `Cell.step`: 50 Hz."""
MAX_WIDTH = 0.08
"""Opening between a Panda's fingertips [m]."""
GRIP_FORCE, MAX_GRIP_FORCE = 50.0, 70.0
"""Of both fingers together [N]: where none is asked for, and what Franka's hand can hold with continuously."""


@dataclass(frozen=True, kw_only=True)
class ArmCommand:
    """Where one arm shall go."""

    T_world_tcp: Float[Array, "4 4"]
    """Pose of the tool centre point, which the arm moves to smoothly and holds."""
    gripper_width: float
    """Opening between the fingertips [m], 0 (closed) to 0.08 (open); at an object they stop."""
    grip_force: float = GRIP_FORCE
    """Force of both fingers together on what stops them [N], above 0 and up to 70. The servo is a spring that pulls to
    closed fingers at most, so that it gives no more than 1 N for each millimetre of what is held."""

    def __post_init__(self) -> None:
        """Refuse what must never reach a robot."""
        if not se3.is_valid(self.T_world_tcp):
            raise ValueError(f"a TCP target must be a finite rigid pose (4x4), got\n{self.T_world_tcp}")
        if not 0 <= self.gripper_width <= MAX_WIDTH:
            raise ValueError(f"gripper width must lie in [0, {MAX_WIDTH}] m, got {self.gripper_width}")
        if not 0 < self.grip_force <= MAX_GRIP_FORCE:
            raise ValueError(f"grip force must lie in (0, {MAX_GRIP_FORCE:g}] N, got {self.grip_force}")

    @classmethod
    def example(cls) -> "ArmCommand":
        """An open gripper that points down, 30 cm above the table."""
        T_world_tcp = se3.translation(0.5, 0, 0.3) @ np.diag([1.0, -1.0, -1.0, 1.0])
        return cls(T_world_tcp=T_world_tcp, gripper_width=MAX_WIDTH)


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """What one arm measures."""

    joints: Float[Array, "7"]
    """Joint angles [rad]."""
    joint_velocities: Float[Array, "7"]
    """[rad/s]."""
    T_world_tcp: Float[Array, "4 4"]
    """Measured pose of the tool centre point: between the fingertips, z along the approach, y the closing direction."""
    T_world_target: Float[Array, "4 4"]
    """The last commanded pose."""
    gripper_width: float
    """Measured opening [m]."""
    external_wrench: Float[Array, "6"]
    """Force [N] and torque about the TCP [Nm] that the surroundings exert on the gripper, world axes."""


@dataclass(frozen=True, kw_only=True)
class CellState:
    """Everything there is to know about the cell at one moment, also what no sensor sees."""

    time_s: float
    """Since the start of the episode."""
    arms: dict[str, ArmState]
    """By the names in `ARMS`."""
    T_world_body: dict[str, Float[Array, "4 4"]]
    """Poses of the task's objects and furniture, by their names."""
