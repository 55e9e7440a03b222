"""Disturbances that make a demonstration visit states beside the expert's path, from which it shows the way back.

The expert's own command stays the label; the disturbed one is executed (DART: Laskey et al., "Noise Injection for
Robust Imitation Learning", CoRL 2017).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim.state import ARMS, CONTROL_PERIOD_S, ArmCommand


@dataclass(frozen=True, kw_only=True)
class PerturbationConfig:
    """How strongly a demonstration is disturbed."""

    start: tuple[float, float] = (0.10, math.radians(20))
    """Largest displacement of each TCP before the episode begins: along each axis [m], about a random axis [rad]."""
    noise: tuple[float, float] = (0.004, math.radians(2))
    """Standard deviation of the noise on commands, along and about each axis [m], [rad]."""
    noise_time_s: float = 0.5
    """The noise is smooth: it forgets in about this time."""
    push: tuple[float, float] = (0.06, math.radians(12))
    """Displacement of a command at the height of a push, in a random direction [m], about a random axis [rad]."""
    push_duration_s: float = 1.2
    """A push swells and fades within this time; the demonstrator then begins anew from where the arm is."""
    push_interval_s: float = 6.0
    """Mean time between pushes; they come at random."""


class Perturbation:
    """The disturbances of one episode.

    Args:
        config: How strong they are.
        rng: Decides all of them, so that an episode can be repeated.
    """

    def __init__(self, config: PerturbationConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._noise = {arm: np.zeros(6) for arm in ARMS}
        self._push = np.zeros(6)
        self._pushed_arm = ARMS[0]
        self._push_time_s = math.inf

    def start(self, T_world_tcp: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
        """Where an arm that stands at a pose shall begin instead."""
        shift, angle = self._config.start
        offset = np.concatenate([self._rng.uniform(-shift, shift, 3), self._rng.uniform(0, angle) * self._direction()])
        return _moved(T_world_tcp, offset)

    def execute(self, commands: dict[str, ArmCommand]) -> dict[str, ArmCommand]:
        """What is executed in place of the demonstrator's commands, at the next control tick."""
        self._advance(tuple(commands))
        executed: dict[str, ArmCommand] = {}
        for arm, command in commands.items():
            offset = self._noise[arm] + (self._push_strength() * self._push if arm == self._pushed_arm else 0.0)
            pose = _moved(command.T_world_tcp, offset)
            executed[arm] = ArmCommand(T_world_tcp=pose, gripper_width=command.gripper_width)
        return executed

    @property
    def push_ends(self) -> bool:
        """Whether a push is over just now."""
        return 0 <= self._push_time_s - self._config.push_duration_s < CONTROL_PERIOD_S

    def _advance(self, moving: tuple[str, ...]) -> None:
        config, rng = self._config, self._rng
        keep = math.exp(-CONTROL_PERIOD_S / config.noise_time_s)  # an Ornstein-Uhlenbeck process
        scale = math.sqrt(1 - keep**2) * np.repeat(config.noise, 3)
        for arm in ARMS:
            self._noise[arm] = keep * self._noise[arm] + scale * rng.standard_normal(6)
        self._push_time_s += CONTROL_PERIOD_S
        if moving and self._push_strength() == 0 and rng.random() < CONTROL_PERIOD_S / config.push_interval_s:
            self._push = np.concatenate([config.push[0] * self._direction(), config.push[1] * self._direction()])
            self._pushed_arm = str(rng.choice(moving))
            self._push_time_s = 0.0

    def _push_strength(self) -> float:
        phase = self._push_time_s / self._config.push_duration_s
        return math.sin(math.pi * phase) ** 2 if phase < 1 else 0.0

    def _direction(self) -> Float[Array, "3"]:
        vector = self._rng.standard_normal(3)
        return vector / np.linalg.norm(vector)


def _moved(T_world_a: Float[Array, "4 4"], offset: Float[Array, "6"]) -> Float[Array, "4 4"]:
    """Displaced along the world's axes [m], and turned about the pose's own [rad]."""
    turned = T_world_a @ se3.exp(np.concatenate([np.zeros(3), offset[3:]]))
    turned[:3, 3] += offset[:3]
    return turned
