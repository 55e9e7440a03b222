"""What a task is, where its episodes start, and what its expert must be able to do."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim.state import ArmCommand, CellState

Distribution = Literal["standard", "wide"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the start of an episode varies: half widths of uniform distributions."""

    object_xy: tuple[float, float]
    """Of the manipulated object, relative to its furniture or the table [m]."""
    object_yaw: float
    """[rad]."""
    furniture_xy: float
    """[m]."""
    home: float
    """Of each arm's first TCP position, along each axis [m]."""
    looks: float
    """Relative change of colours and light."""


SPREADS: dict[str, Spread] = {
    "standard": Spread(object_xy=(0.02, 0.07), object_yaw=np.deg2rad(15), furniture_xy=0.03, home=0.0, looks=0.0),
    "wide": Spread(object_xy=(0.03, 0.08), object_yaw=np.deg2rad(30), furniture_xy=0.08, home=0.10, looks=0.25),
}
"""With the furniture it stands on, the object covers 10 x 20 cm in `standard`, 22 x 32 cm in `wide`."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """How an episode begins."""

    T_world_body: dict[str, Float[Array, "4 4"]]
    """Objects, before they settle, and furniture."""


@runtime_checkable
class Expert(Protocol):
    """Solves a task from what `CellState` tells, wherever on the way the cell stands."""

    def command(self, state: CellState) -> dict[str, ArmCommand]:
        """Targets of the arms that shall move now; called at 50 Hz or slower."""
        ...

    def vias(self, state: CellState) -> dict[str, list[Float[Array, "4 4"]]]:
        """Poses T_world_tcp that the last command heads for, by arm, the goal last; none while the gripper acts."""
        ...

    def done(self, state: CellState) -> bool:
        """Whether nothing is left to do."""
        ...


@runtime_checkable
class Task(Protocol):
    """One file of `robo4d.sim.tasks`."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def objects(self) -> tuple[str, ...]:
        """Bodies that are manipulated."""
        ...

    @property
    def furniture(self) -> tuple[str, ...]:
        """Bodies that stand still."""
        ...

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add furniture and objects to the room."""
        ...

    def sample_start(self, rng: np.random.Generator, spread: Spread) -> Start:
        """The beginning of an episode."""
        ...

    def success(self, state: CellState) -> bool:
        """Whether the goal is reached: decided by where the objects are and that the grippers left them."""
        ...

    def expert(self) -> Expert:
        """A fresh expert."""
        ...


def planar(rng: np.random.Generator, half_width: float) -> Float[Array, "4 4"]:
    """A random horizontal displacement [m]."""
    return se3.pose(np.eye(3), np.append(rng.uniform(-half_width, half_width, 2), 0.0))


def turned_about_z(yaw: float) -> Float[Array, "4 4"]:
    """A rotation about the vertical [rad]."""
    return se3.exp(np.array([0, 0, 0, 0, 0, yaw], dtype=float))


def gripper_is_away(state: CellState, body: str, distance: float = 0.08) -> bool:
    """Whether every TCP is farther from a body's origin than this [m]."""
    p = state.T_world_body[body][:3, 3]
    return all(np.linalg.norm(arm.T_world_tcp[:3, 3] - p) > distance for arm in state.arms.values())
