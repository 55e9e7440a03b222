"""StoreCerealBoxUnderShelf: the left arm takes a cereal box from the top of a shelf and puts it inside."""

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from PIL import Image, ImageDraw

from robo4d.geometry import se3
from robo4d.sim import scene
from robo4d.sim.state import CellState
from robo4d.sim.tasks.pick_place import Grasps, SingleArmExpert, awkwardness, reaching_out
from robo4d.sim.tasks.task import Expert, Spread, Start, gripper_is_away, planar, turned_about_z

BOX = np.array([0.035, 0.0225, 0.075])
"""Half extents of the box: depth, thickness, height [m], the size of a single serving."""
T_WORLD_SHELF = se3.translation(0.73, 0.12, 0) @ turned_about_z(np.deg2rad(10))
"""The middle of the shelf's footprint, its open side towards the robots. It is turned away from the left arm's line of
reach, as the wrist of a gripper in line with the forearm is singular, and stands far enough out for the elbow not to
fold, near enough that one course of the elbow serves all of the task."""
_DEPTH, _WIDTH = 0.11, 0.19
"""Half depth and half inner width of the shelf [m]."""
_BOARD = 0.009
"""Half thickness of its boards [m]."""
_FLOOR, _CEILING = 0.07, 0.39
"""Heights of its inside [m]: low enough to reach the top, high enough that the wrist need not fold to get in."""
_TOP = _CEILING + 2 * _BOARD
_CLEAR_X = -_DEPTH - 0.09
"""In front of the shelf: the middle of a box that passes it [m, shelf frame]."""


_ELEVATION = np.deg2rad(32)
_T_SHELF_HAND = se3.exp(np.array([0, 0, 0, 0, _ELEVATION - np.pi / 2, 0])) @ np.diag([1.0, -1.0, -1.0, 1.0])
"""How the gripper is turned when it reaches into the shelf."""


class StoreCerealBoxUnderShelf:
    """See the module."""

    name = "store_cereal_box_under_shelf"
    objects = ("cereal_box",)
    furniture = ("shelf",)

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add shelf and box."""
        scene.material(spec, "shelf", rgb=(0.93, 0.91, 0.86), specular=0.1)
        scene.material(spec, "cereal_box", texture=_artwork(), specular=0.15)
        shelf = scene.furniture(spec, "shelf", T_WORLD_SHELF)
        for y in (-1, 1):
            scene.box(shelf, [0, y * (_WIDTH + _BOARD), _CEILING / 2], [_DEPTH, _BOARD, _CEILING / 2], "shelf")
        scene.box(shelf, [0, 0, _CEILING + _BOARD], [_DEPTH, _WIDTH + 2 * _BOARD, _BOARD], "shelf")
        scene.box(shelf, [0, 0, _FLOOR - _BOARD], [_DEPTH, _WIDTH, _BOARD], "shelf")
        box = scene.free_object(spec, "cereal_box", T_WORLD_SHELF @ se3.translation(0, 0, _TOP + BOX[2]))
        scene.box(box, [0, 0, 0], BOX, "cereal_box", mass=0.2)

    def sample_start(self, rng: np.random.Generator, spread: Spread) -> Start:
        """The box upright on the shelf."""
        T_world_shelf = planar(rng, spread.furniture_xy) @ T_WORLD_SHELF
        x, y = rng.uniform(-1, 1, 2) * spread.object_xy
        T_shelf_box = se3.translation(x - 0.03, y, _TOP + BOX[2]) @ turned_about_z(
            rng.uniform(-spread.object_yaw, spread.object_yaw)
        )
        return Start(T_world_body={"shelf": T_world_shelf, "cereal_box": T_world_shelf @ T_shelf_box})

    def success(self, state: CellState) -> bool:
        """The box stands upright inside the shelf, and no gripper is near."""
        return _stored(state) and gripper_is_away(state, "cereal_box")

    def expert(self) -> Expert:
        """A fresh expert."""
        return SingleArmExpert(_Store())


class _Store:
    """The job of the left arm."""

    arm, object = "left", "cereal_box"

    def grasps(self, state: CellState) -> Grasps:
        """Fingers across thickness or depth, from any direction perpendicular to them, over the middle of the box."""
        return _GRASPS

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """Upright behind the shelf's front edge, straight, whichever side faces the front."""
        T_shelf_box = _in_shelf(state)
        y = float(np.clip(T_shelf_box[1, 3], -0.07, 0.07))
        turns = np.stack([turned_about_z(k * np.pi / 2) for k in range(4)])
        return state.T_world_body["shelf"] @ se3.translation(-_DEPTH + 0.05, y, _FLOOR + BOX[2]) @ turns

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Off the shelf's top or up from the table, to the front of the shelf, in, and down."""
        T_world_shelf = state.T_world_body["shelf"]
        T_shelf_box, T_shelf_goal = _in_shelf(state), se3.inverse(T_world_shelf) @ T_world_goal
        x, y, z = T_shelf_box[:3, 3]
        via = []
        inside = _FLOOR < z < _CEILING and x > _CLEAR_X and abs(y) < _WIDTH
        if not inside:
            z = z + 0.06 if z > _TOP else max(z, _FLOOR + BOX[2] + 0.03)
            via += [_moved(T_shelf_box, x, y, z)]
            if x > _CLEAR_X:
                via += [_moved(T_shelf_goal, _CLEAR_X, y, z)]
            via += [_moved(T_shelf_goal, _CLEAR_X, T_shelf_goal[1, 3], T_shelf_goal[2, 3] + 0.02)]
        via += [_moved(T_shelf_goal, T_shelf_goal[0, 3], T_shelf_goal[1, 3], T_shelf_goal[2, 3] + 0.012), T_shelf_goal]
        return [T_world_shelf @ T for T in via]

    def placed(self, state: CellState) -> bool:
        """Whether the box stands in the shelf."""
        return _stored(state)

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """Best is to look 32 degrees down, and straight into the shelf, whose sides leave little room to turn."""
        best = reaching_out(self.arm, Ts_world_pick, _ELEVATION)
        straight = np.broadcast_to(state.T_world_body["shelf"] @ _T_SHELF_HAND, Ts_world_place.shape)
        return awkwardness(Ts_world_pick, best) + 4 * awkwardness(Ts_world_place, straight)


def _grasps() -> Grasps:
    poses, widths = [], []
    for closing, side in ((1, 0), (0, 1)):  # the box's axis that the fingers close along; the other horizontal one
        for sign in (-1, 1):
            for angle in np.deg2rad(np.arange(0, 360, 10)):
                y, z = np.zeros(3), np.zeros(3)
                y[closing] = sign
                z[side], z[2] = np.cos(angle), -np.sin(angle)
                # From the middle of the box back to its surface, less the depth of the grasp.
                surface = min(BOX[i] / max(abs(z[i]), 1e-6) for i in (side, 2))
                poses.append(se3.pose(np.stack([np.cross(y, z), y, z], axis=1), -max(surface - 0.024, 0.0) * z))
                widths.append(2 * BOX[closing])
    return Grasps(Ts_object_tcp=np.stack(poses), widths=np.array(widths))


_GRASPS = _grasps()


def _in_shelf(state: CellState) -> Float[Array, "4 4"]:
    """T_shelf_box."""
    return se3.inverse(state.T_world_body["shelf"]) @ state.T_world_body["cereal_box"]


def _moved(T: Float[Array, "4 4"], x: float, y: float, z: float) -> Float[Array, "4 4"]:
    """The same orientation at another place."""
    return se3.pose(T[:3, :3], np.array([x, y, z]))


def _stored(state: CellState) -> bool:
    T_shelf_box = _in_shelf(state)
    x, y, z = T_shelf_box[:3, 3]
    upright = T_shelf_box[2, 2] > np.cos(np.deg2rad(10))
    return bool(upright and abs(x) < _DEPTH - BOX[0] and abs(y) < _WIDTH - 0.02 and abs(z - _FLOOR - BOX[2]) < 0.006)


def _artwork() -> UInt8[Array, "h w 3"]:
    """The print on the box: MuJoCo shows it mirrored on every other side, so that it must look the same then."""
    image = Image.new("RGB", (256, 512), (196, 44, 38))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 56, 256, 176), fill=(250, 206, 70))
    draw.text((128, 116), "OTTO", fill=(150, 30, 30), anchor="mm", font_size=84)
    draw.ellipse((24, 250, 232, 458), fill=(246, 243, 234))
    draw.ellipse((44, 270, 212, 438), fill=(226, 214, 190))
    rng = np.random.default_rng(0)
    for radius, angle in zip(70 * np.sqrt(rng.random(60)), rng.uniform(0, 2 * np.pi, 60), strict=True):
        x, y = 128 + radius * np.cos(angle), 354 + radius * np.sin(angle)
        draw.ellipse((x - 11, y - 8, x + 11, y + 8), fill=(188, 124, 52), outline=(150, 92, 34))
    return np.asarray(image)
