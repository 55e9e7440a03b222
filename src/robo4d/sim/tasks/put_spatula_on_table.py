"""PutSpatulaOnTable: the right arm takes a spatula by its handle out of a utensil crock and lays it on the table."""

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim import scene
from robo4d.sim.state import CellState
from robo4d.sim.tasks.pick_place import Grasps, SingleArmExpert, awkwardness, reaching_out
from robo4d.sim.tasks.task import Expert, Spread, Start, gripper_is_away, planar, turned_about_z

T_WORLD_CROCK = se3.translation(0.60, -0.16, 0)
_RIM, _RADIUS, _BOTTOM = 0.13, 0.048, 0.01
"""Height of the crock, its radius inside, and the thickness of its bottom [m]."""
_HANDLE = np.array([0.008, 0.009, 0.065])
"""Half extents of the handle [m]; the spatula's frame is in its middle, z upwards when it stands on its blade."""
_TIP = -0.235
"""The blade's lower edge, on the z axis [m]."""


class PutSpatulaOnTable:
    """See the module."""

    name = "put_spatula_on_table"
    objects = ("spatula",)
    furniture = ("crock",)

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add crock and spatula."""
        scene.material(spec, "crock", rgb=(0.20, 0.42, 0.55), specular=0.6)
        scene.material(spec, "handle", rgb=(0.80, 0.20, 0.14), specular=0.4)
        scene.material(spec, "chrome", rgb=(0.75, 0.76, 0.78), specular=0.8)
        scene.material(spec, "nylon", rgb=(0.13, 0.13, 0.14), specular=0.3)
        crock = scene.furniture(spec, "crock", T_WORLD_CROCK)
        outer = _RADIUS + 0.007
        outline = [(0, 0), (outer - 0.004, 0), (outer, 0.004), (outer, _RIM - 0.003), (outer - 0.002, _RIM)]
        outline += [(_RADIUS + 0.002, _RIM), (_RADIUS, _RIM - 0.003), (_RADIUS, _BOTTOM), (0, _BOTTOM)]
        scene.lathe(spec, crock, "crock", np.array(outline), "crock")
        scene.ring_of_walls(crock, radius=_RADIUS, bottom=0, height=_RIM, sides=12)
        crock.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[_RADIUS, _BOTTOM / 2, 0], pos=[0, 0, _BOTTOM / 2], group=3
        )
        spatula = scene.free_object(spec, "spatula", T_WORLD_CROCK @ _standing(0))
        scene.box(spatula, [0, 0, 0], _HANDLE, "handle", mass=0.04)
        scene.box(spatula, [0, 0, -0.10], [0.004, 0.006, 0.045], "chrome", mass=0.02)
        scene.box(spatula, [0, 0, _TIP + 0.045], [0.003, 0.032, 0.045], "nylon", mass=0.03)

    def sample_start(self, rng: np.random.Generator, spread: Spread) -> Start:
        """The spatula on its blade in the crock, its handle leaning away from the robots; the crock anywhere.

        Laying down a handle that leans to the robot would end with the hand upside down.
        """
        x, y = rng.uniform(-1, 1, 2) * spread.object_xy
        T_world_crock = planar(rng, spread.furniture_xy) @ se3.translation(x, y, 0) @ T_WORLD_CROCK
        lean = se3.exp(np.array([0, 0, 0, rng.uniform(-0.04, 0.04), rng.uniform(0.04, 0.10), 0]))
        yaw = rng.uniform(-spread.object_yaw, spread.object_yaw)
        return Start(T_world_body={"crock": T_world_crock, "spatula": T_world_crock @ _standing(yaw) @ lean})

    def success(self, state: CellState) -> bool:
        """The spatula lies flat on the table, clear of the crock, and no gripper is near."""
        return _on_table(state) and gripper_is_away(state, "spatula")

    def expert(self) -> Expert:
        """A fresh expert."""
        return SingleArmExpert(_LayDown())


class _LayDown:
    """The job of the right arm."""

    arm, object = "right", "spatula"

    def grasps(self, state: CellState) -> Grasps:
        """Across the handle, from any of its sides, more or less square to it."""
        return _GRASPS

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """Just above the table beside the crock, either face up, whichever way it points."""
        crock = state.T_world_body["crock"][:3, 3]
        place = se3.translation(float(np.clip(crock[0], 0.52, 0.58)), crock[1] - 0.20, _HANDLE[0] + 0.006)
        lying = [se3.exp(np.array([0, 0, 0, 0, sign * np.pi / 2, 0])) for sign in (-1, 1)]
        return np.stack([place @ turned_about_z(yaw) @ face for yaw in np.deg2rad(range(0, 360, 15)) for face in lying])

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Up, out of the crock if it is in there, over to the place, and down."""
        T_world_spatula = state.T_world_body["spatula"]
        clear = _RIM + 0.03 - _TIP if _by_crock(state) else 0.12
        up = T_world_spatula.copy()
        up[2, 3] = max(up[2, 3], clear)
        above = T_world_goal.copy()
        above[2, 3] += 0.10
        return [up, above, T_world_goal]

    def placed(self, state: CellState) -> bool:
        """Whether the spatula lies on the table."""
        return _on_table(state)

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """Best is to look well down both times: a hand in line with the forearm is singular, a level one folds up."""
        pick = awkwardness(Ts_world_pick, reaching_out(self.arm, Ts_world_pick, np.deg2rad(65)))
        place = awkwardness(Ts_world_place, reaching_out(self.arm, Ts_world_place, np.deg2rad(105)))
        return 2 * pick + place


def _grasps() -> Grasps:
    poses, widths = [], []
    for side in range(4):  # the handle's face that the gripper comes from
        for pitch in np.deg2rad(np.arange(-30, 50, 5)):
            for height in (0.0, 0.02):
                y = np.array([np.sin(side * np.pi / 2), -np.cos(side * np.pi / 2), 0]).round()
                ahead = np.array([np.cos(side * np.pi / 2), np.sin(side * np.pi / 2), 0]).round()
                z = np.cos(pitch) * ahead - np.sin(pitch) * np.array([0, 0, 1])
                p = np.array([0, 0, height]) - 0.003 * z  # so that the fingertips clear the table when it lies there
                poses.append(se3.pose(np.stack([np.cross(y, z), y, z], axis=1), p))
                widths.append(2 * float(np.abs(y[:2]) @ _HANDLE[:2]))
    return Grasps(Ts_object_tcp=np.stack(poses), widths=np.array(widths))


_GRASPS = _grasps()


def _standing(yaw: float) -> Float[Array, "4 4"]:
    """T_crock_spatula just above the crock's bottom."""
    return se3.translation(0, 0, _BOTTOM + 0.004 - _TIP) @ turned_about_z(yaw)


def _by_crock(state: CellState) -> bool:
    """Whether the blade's tip is in or over the crock."""
    tip = se3.apply(state.T_world_body["spatula"], np.array([0, 0, _TIP]))
    return bool(np.linalg.norm((tip - state.T_world_body["crock"][:3, 3])[:2]) < _RADIUS + 0.05)


def _on_table(state: CellState) -> bool:
    T_world_spatula = state.T_world_body["spatula"]
    tip = se3.apply(T_world_spatula, np.array([0, 0, _TIP]))
    return bool(max(T_world_spatula[2, 3], tip[2]) < 0.025 and min(T_world_spatula[2, 3], tip[2]) > -0.01)
