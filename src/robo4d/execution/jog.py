"""Motion by velocity, from whatever was commanded before: teleoperation, and stops that have no path."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.execution.jerk_limited import toward
from robo4d.geometry import se3


@dataclass(frozen=True, kw_only=True)
class JogConfig:
    """Limits of each axis of the world, translation and rotation."""

    velocity: float = 0.1
    """[m/s]"""
    acceleration: float = 1.0
    """[m/s^2]: from 0.1 m/s to rest in 0.2 s."""
    jerk: float = 20.0
    """[m/s^3]"""
    turn_velocity: float = 0.4
    """[rad/s]"""
    turn_acceleration: float = 3.0
    """[rad/s^2]"""
    turn_jerk: float = 60.0
    """[rad/s^3]"""

    def __post_init__(self) -> None:
        """Refuse limits that allow no motion."""
        if not min(self.max_velocity.min(), self.max_acceleration.min(), self.max_jerk.min()) > 0:
            raise ValueError(f"limits of teleoperation must be positive, got {self}")

    @property
    def max_velocity(self) -> Float[Array, "6"]:
        """Translation, then rotation."""
        return np.repeat([self.velocity, self.turn_velocity], 3)

    @property
    def max_acceleration(self) -> Float[Array, "6"]:
        """Translation, then rotation."""
        return np.repeat([self.acceleration, self.turn_acceleration], 3)

    @property
    def max_jerk(self) -> Float[Array, "6"]:
        """Translation, then rotation."""
        return np.repeat([self.jerk, self.turn_jerk], 3)


class Jog:
    """The motion of one TCP under a desired velocity."""

    def __init__(self, emitted: "deque[Float[Array, '4 4']]", *, config: JogConfig, period_s: float) -> None:
        """Go on from the last poses that were commanded, one a tick: their motion is continued, and then changed.

        Args:
            emitted: The last poses, newest last; fewer than three mean an arm at rest.
            config: Limits.
            period_s: Time from tick to tick [s].
        """
        self._config, self._period_s = config, period_s
        self.T_world_tcp = emitted[-1]
        self._velocity, self._acceleration = np.zeros(6), np.zeros(6)
        if len(emitted) >= 3:
            older, old, new = list(emitted)[-3:]
            now, before = _difference(old, new) / period_s, _difference(older, old) / period_s
            self._acceleration = (now - before) / period_s
            self._velocity = now + self._acceleration * period_s / 2  # at the end of the last period

    @property
    def at_rest(self) -> bool:
        """Whether it neither moves nor is about to."""
        return bool(np.abs(self._velocity).max() < 1e-9 and np.abs(self._acceleration).max() < 1e-9)

    def tick(self, twist_world: Float[Array, "6"]) -> Float[Array, "4 4"]:
        """T_world_tcp after a period in which the velocity went towards the twist (v [m/s], w [rad/s], world axes)."""
        limit = self._config.max_velocity
        displacement, self._velocity, self._acceleration = toward(
            self._velocity,
            self._acceleration,
            np.clip(twist_world, -limit, limit),
            max_acceleration=self._config.max_acceleration,
            max_jerk=self._config.max_jerk,
            period_s=self._period_s,
        )
        R = Rotation.from_rotvec(displacement[3:]) * Rotation.from_matrix(self.T_world_tcp[:3, :3])
        self.T_world_tcp = se3.pose(R.as_matrix(), self.T_world_tcp[:3, 3] + displacement[:3])
        return self.T_world_tcp


def _difference(T_world_old: Float[Array, "4 4"], T_world_new: Float[Array, "4 4"]) -> Float[Array, "6"]:
    """Displacement [m], then rotation vector [rad], world axes."""
    turn = Rotation.from_matrix(T_world_new[:3, :3] @ T_world_old[:3, :3].T).as_rotvec()
    return np.concatenate([T_world_new[:3, 3] - T_world_old[:3, 3], turn])
