"""PlaceAppleFromBowlIntoBin: the left arm moves an apple from a bowl to a shelf, and the right arm into a bin."""

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim import scene
from robo4d.sim.state import ArmCommand, CellState
from robo4d.sim.tasks.pick_place import Grasps, PickAndPlace, awkwardness, reaching_out
from robo4d.sim.tasks.task import Expert, Spread, Start, gripper_is_away, planar, turned_about_z

RADIUS = 0.034
"""Of the apple [m]."""
T_WORLD_BOWL = se3.translation(0.49, 0.31, 0)
"""Middle of its foot."""
T_WORLD_SHELF = se3.translation(0.49, 0, 0)
"""Middle of its footprint, between the arms."""
T_WORLD_BIN = se3.translation(0.49, -0.33, 0)
"""Middle of its footprint."""
_BOWL = np.array([[0.022, 0.008], [0.050, 0.0195], [0.074, 0.038], [0.090, 0.062]])
"""Inner profile of the bowl: radius and height [m]. It is steep enough beside the middle that the apple rolls there,
and wide enough that an open gripper fits around the apple."""
_CHINA = 0.005
"""Thickness of the bowl [m]."""
_TOP, _SHELF_DEPTH, _SHELF_WIDTH = 0.12, 0.09, 0.10
"""Height of the shelf's top, and half extents of its footprint [m]."""
_BOARD = 0.006
"""Half thickness of the shelf's boards [m]."""
_LIP = 0.010
"""Height of the rim around the shelf's top [m]: the apple does not roll off."""
_BIN_WIDTH, _BIN_HEIGHT = 0.105, 0.09
"""Half inner width, and height [m]: a gripper that lays the apple down does not touch the walls."""
_WALL = 0.004
"""Half thickness of the bin's walls and floor [m]."""
_CLEAR = 0.06
"""Between the apple and what it is carried across [m]."""
_HANDED_OVER = 0.18
"""The right arm waits until the left gripper is this far from the apple on the shelf [m]."""


class PlaceAppleFromBowlIntoBin:
    """See the module."""

    name = "place_apple_from_bowl_into_bin"
    objects = ("apple",)
    furniture = ("bowl", "shelf", "bin")

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add bowl, shelf, bin, and the apple."""
        scene.material(spec, "china", rgb=(0.55, 0.68, 0.80), specular=0.5)
        scene.material(spec, "walnut", texture=_walnut(), specular=0.1)
        scene.material(spec, "bin", rgb=(0.20, 0.50, 0.32), specular=0.2)
        scene.material(spec, "stem", rgb=(0.30, 0.19, 0.09), specular=0.0)
        _add_peel(spec)
        _build_bowl(spec)
        _build_shelf(spec)
        _build_bin(spec)
        _build_apple(spec)

    def sample_start(self, rng: np.random.Generator, spread: Spread) -> Start:
        """The apple in the bowl; bowl, shelf and bin far enough apart for the grippers."""
        T_world_group = planar(rng, spread.furniture_xy)
        T_world_body = {"shelf": T_world_group @ T_WORLD_SHELF}
        for name, T in (("bowl", T_WORLD_BOWL), ("bin", T_WORLD_BIN)):
            x, y = rng.uniform(-1, 1, 2) * spread.object_xy
            T_world_body[name] = T_world_group @ T @ se3.translation(x, y, 0)
        tilt = se3.exp(np.array([0, 0, 0, *rng.uniform(-1, 1, 2) * spread.object_yaw, 0]))
        T_bowl_apple = planar(rng, 0.01) @ se3.translation(0, 0, _BOWL[0, 1] + RADIUS)
        T_world_body["apple"] = T_world_body["bowl"] @ T_bowl_apple @ tilt @ turned_about_z(rng.uniform(-np.pi, np.pi))
        return Start(T_world_body=T_world_body)

    def success(self, state: CellState) -> bool:
        """The apple lies on the floor of the bin, and no gripper is near."""
        height = _apple_in(state, "bin")[2] - 2 * _WALL - RADIUS
        return _in_bin(state) and bool(abs(height) < 0.005) and gripper_is_away(state, "apple")

    def expert(self) -> Expert:
        """A fresh expert."""
        return _Expert()


class _Expert:
    """One arm works at a time, and the other goes home."""

    def __init__(self) -> None:
        onto_shelf = _Carry(
            arm="left",
            goal=("shelf", _TOP + RADIUS + 0.001),
            travel_height=_TOP + RADIUS + _CLEAR,
            is_placed=lambda state: not _is_left_arms(state),
        )
        into_bin = _Carry(
            arm="right",
            goal=("bin", 2 * _WALL + RADIUS + 0.012),
            travel_height=_BIN_HEIGHT + RADIUS + _CLEAR,
            is_placed=_in_bin,
        )
        self._left, self._right = PickAndPlace(onto_shelf), PickAndPlace(into_bin)

    def command(self, state: CellState) -> dict[str, ArmCommand]:
        left_is_letting_go = _on_shelf(state) and _distance(state, "left") < _HANDED_OVER
        is_rights_turn = not _is_left_arms(state) and not left_is_letting_go
        return {
            "left": self._left.command(state, rest=is_rights_turn),
            "right": self._right.command(state, rest=not is_rights_turn),
        }

    def vias(self, state: CellState) -> dict[str, list[Float[Array, "4 4"]]]:
        return {"left": self._left.vias(state), "right": self._right.vias(state)}

    def done(self, state: CellState) -> bool:
        return self._left.done(state) and self._right.done(state)


@dataclass(kw_only=True)
class _Carry:
    """The job of one arm: to carry the apple over to a piece of furniture."""

    arm: str
    goal: tuple[str, float]
    """The furniture, and the apple's height above its foot [m]."""
    travel_height: float
    """Of the apple on its way across [m]."""
    is_placed: Callable[[CellState], bool]
    object: str = "apple"

    def grasps(self, state: CellState) -> Grasps:
        """Fingers across the apple's middle, from above, turned any way about the vertical, however the apple lies."""
        T_apple_upright = se3.pose(state.T_world_body["apple"][:3, :3].T, np.zeros(3))
        return Grasps(Ts_object_tcp=T_apple_upright @ _FROM_ABOVE, widths=np.full(len(_FROM_ABOVE), 2 * RADIUS))

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """The middle of the furniture; the apple is not turned."""
        furniture, height = self.goal
        p_world_goal = se3.apply(state.T_world_body[furniture], np.array([0, 0, height]))
        return se3.pose(state.T_world_body["apple"][:3, :3], p_world_goal)[None]

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Up, across, and down."""
        up, above = state.T_world_body["apple"].copy(), T_world_goal.copy()
        up[2, 3] = above[2, 3] = max(self.travel_height, up[2, 3])
        return [up, above, T_world_goal]

    def placed(self, state: CellState) -> bool:
        """Whether the apple need not be carried any further by this arm."""
        return self.is_placed(state)

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """Best is a hand that is turned the way the arm reaches, but its fingers must fit beside the furniture."""
        pick = awkwardness(Ts_world_pick, reaching_out(self.arm, Ts_world_pick, np.pi / 2))
        pick += np.where(_is_blocked(state, Ts_world_pick), _BLOCKED, 0.0)
        return pick + awkwardness(Ts_world_place, reaching_out(self.arm, Ts_world_place, np.pi / 2))


_FROM_ABOVE = np.stack(
    [
        se3.translation(0, 0, 0.003) @ turned_about_z(yaw) @ np.diag([1.0, -1.0, -1.0, 1.0])
        for yaw in np.deg2rad(np.arange(0, 360, 10))
    ]
)
"""T_upright_tcp, in a frame at the apple's middle along the world's axes: the gripper points down and is a little above
the middle, so that its fingertips stay clear of the bowl."""


_BLOCKED = 10.0
"""Cost [rad^2] of touching furniture, the last resort: more than of any turn of the hand."""


def _is_blocked(state: CellState, Ts_world_tcp: Float[Array, "n 4 4"]) -> Bool[Array, " n"]:
    """Whether an open finger or an end of the hand would be in the shelf or in the bin."""
    points = np.moveaxis(Ts_world_tcp[:, :3, :3] @ _OPEN_GRIPPER.T, -1, 0) + Ts_world_tcp[:, :3, 3]
    blocked = np.zeros(len(Ts_world_tcp), bool)
    for name, half_x, half_y, height in (
        ("shelf", _SHELF_DEPTH, _SHELF_WIDTH, _TOP),
        ("bin", _BIN_WIDTH, _BIN_WIDTH, _BIN_HEIGHT),
    ):
        x, y, z = np.moveaxis(se3.apply(se3.inverse(state.T_world_body[name]), points), -1, 0)
        inside = (np.abs(x) < half_x + _MARGIN) & (np.abs(y) < half_y + _MARGIN) & (z < height)
        blocked |= inside.any(axis=0)
    return blocked


_OPEN_GRIPPER = np.array([[0, y, z] for y, z in ((-0.065, 0), (0.065, 0), (-0.105, -0.045), (0.105, -0.045))])
"""Fingers and ends of the hand, TCP frame [m]."""
_MARGIN = 0.02
"""Half width of a finger, and the thickness of a wall [m]."""


def _apple_in(state: CellState, furniture: str) -> Float[Array, "3"]:
    """Position of the apple in the frame of a piece of furniture [m]."""
    return se3.apply(se3.inverse(state.T_world_body[furniture]), state.T_world_body["apple"][:3, 3])


def _distance(state: CellState, arm: str) -> float:
    """From an arm's TCP to the apple [m]."""
    return float(np.linalg.norm(state.arms[arm].T_world_tcp[:3, 3] - state.T_world_body["apple"][:3, 3]))


def _on_shelf(state: CellState) -> bool:
    x, y, z = _apple_in(state, "shelf")
    return bool(abs(x) < _SHELF_DEPTH and abs(y) < _SHELF_WIDTH and abs(z - _TOP - RADIUS) < 0.006)


def _in_bin(state: CellState) -> bool:
    x, y, z = _apple_in(state, "bin")
    return bool(abs(x) < _BIN_WIDTH and abs(y) < _BIN_WIDTH and z < _BIN_HEIGHT)


def _is_left_arms(state: CellState) -> bool:
    """Whether the left arm must act: it holds the apple, or the apple lies on its side and not on the shelf."""
    if _on_shelf(state) or _in_bin(state):
        return False
    if _distance(state, "left") < RADIUS or _distance(state, "right") < RADIUS:
        return _distance(state, "left") < _distance(state, "right")
    return bool(_apple_in(state, "shelf")[1] > 0)


def _build_bowl(spec: mujoco.MjSpec) -> None:
    """What is seen is smooth; what is touched are rings of boxes and a flat middle."""
    bowl = scene.furniture(spec, "bowl", T_WORLD_BOWL)
    foot = np.array([[0, 0.001], [0.036, 0], [0.040, 0.006]])
    outside, rim = _BOWL[1:] + np.array([_CHINA, -0.001]), _BOWL[-1] + np.array([_CHINA / 2, 0.002])
    profile = np.concatenate([foot, outside, [rim], _BOWL[::-1], [[0, _BOWL[0, 1]]]])
    scene.lathe(spec, bowl, "bowl", profile, "china", sides=56)
    middle = [_BOWL[0, 0] + 0.008, _BOWL[0, 1] / 2, 0]
    bowl.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=middle, pos=[0, 0, middle[1]], friction=[0.6, 0.005, 1e-4], group=3
    )
    for (r, z), (dr, dz) in zip(_BOWL[:-1], np.diff(_BOWL, axis=0), strict=True):
        flare, length = float(np.arctan2(dr, dz)), float(np.hypot(dr, dz))
        scene.ring_of_walls(bowl, radius=r, bottom=z, height=length, flare=flare, thickness=_CHINA, sides=16)


def _build_shelf(spec: mujoco.MjSpec) -> None:
    """Sides, floor and top of a small shelf that is open to both sides; a rim around its top."""
    shelf = scene.furniture(spec, "shelf", T_WORLD_SHELF)
    for sign in (-1, 1):
        scene.box(shelf, [0, sign * (_SHELF_WIDTH - _BOARD), _TOP / 2], [_SHELF_DEPTH, _BOARD, _TOP / 2], "walnut")
        scene.box(shelf, [0, sign * _SHELF_WIDTH, _TOP], [_SHELF_DEPTH + 0.003, 0.003, _LIP], "walnut")
        scene.box(shelf, [sign * _SHELF_DEPTH, 0, _TOP], [0.003, _SHELF_WIDTH, _LIP], "walnut")
    scene.box(shelf, [0, 0, _TOP - _BOARD], [_SHELF_DEPTH, _SHELF_WIDTH, _BOARD], "walnut")
    inner = _SHELF_WIDTH - 2 * _BOARD
    scene.box(shelf, [0, 0, 0.015], [_SHELF_DEPTH, inner, 0.015], "walnut")  # so high that no apple rolls inside


def _build_bin(spec: mujoco.MjSpec) -> None:
    body = scene.furniture(spec, "bin", T_WORLD_BIN)
    middle, half_height = _BIN_WIDTH + _WALL, _BIN_HEIGHT / 2
    scene.box(body, [0, 0, _WALL], [_BIN_WIDTH, _BIN_WIDTH, _WALL], "bin")
    for sign in (-1, 1):
        scene.box(body, [sign * middle, 0, half_height], [_WALL, middle + _WALL, half_height], "bin")
        scene.box(body, [0, sign * middle, half_height], [_BIN_WIDTH, _WALL, half_height], "bin")


def _build_apple(spec: mujoco.MjSpec) -> None:
    """A sphere to touch; a dimpled apple with a stem to see."""
    apple = scene.free_object(spec, "apple", T_WORLD_BOWL @ se3.translation(0, 0, _BOWL[0, 1] + RADIUS))
    apple.add_geom(
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[RADIUS, 0, 0],
        mass=0.15,
        condim=6,
        friction=[1.0, 0.02, 0.004],  # the last one resists rolling: an apple is not quite round
        group=3,
    )
    polar = np.linspace(np.pi, 0, 25)
    dimples = 1 - 0.28 * np.exp(-((polar / 0.38) ** 2)) - 0.12 * np.exp(-(((np.pi - polar) / 0.3) ** 2))
    profile = RADIUS * dimples[:, None] * np.stack([np.sin(polar), np.cos(polar)], axis=1)
    profile[[0, -1], 0] = 0
    scene.lathe(spec, apple, "apple", profile, "apple")
    apple.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[0, 0, 0.70 * RADIUS, 0.004, 0.002, 1.12 * RADIUS],
        size=[0.0016, 0, 0],
        material="stem",
        contype=0,
        conaffinity=0,
        mass=0,
    )


def _add_peel(spec: mujoco.MjSpec) -> None:
    """The material of the apple: red below, yellow around the stem, speckled."""
    spec.add_texture(
        name="apple",
        type=mujoco.mjtTexture.mjTEXTURE_CUBE,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.52, 0.22],
        rgb2=[0.70, 0.05, 0.07],
        mark=mujoco.mjtMark.mjMARK_RANDOM,
        markrgb=[0.90, 0.45, 0.25],
        random=0.01,
        width=64,
        height=64,
    )
    made = spec.add_material(name="apple", specular=0.5, shininess=0.4)
    textures = list(made.textures)
    textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "apple"
    made.textures = textures


def _walnut() -> UInt8[Array, "h w 3"]:
    """Two planks, darker than the table."""
    planks = scene.wood(np.random.default_rng(5))[:171]
    return np.clip(planks * np.array([0.66, 0.58, 0.54]), 0, 255).astype(np.uint8)
