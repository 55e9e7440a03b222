"""PlaceAppleFromBowlIntoBin: the left arm moves an apple from a bowl to a shelf, the right arm from there into a bin."""

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.sim import scene
from robo4d.sim.state import ArmCommand, CellState
from robo4d.sim.tasks.pick_place import Grasps, PickAndPlace, awkwardness, reaching_out
from robo4d.sim.tasks.task import Expert, Spread, Start, gripper_is_away, planar, turned_about_z

T_WORLD_BOWL = se3.translation(0.50, 0.37, 0)
T_WORLD_SHELF = se3.translation(0.52, 0.0, 0)
T_WORLD_BIN = se3.translation(0.50, -0.37, 0)
_APPLE = 0.033
"""Radius [m]."""
_SHELF = np.array([0.09, 0.09, 0.15])
"""Half depth, half width, and height [m]."""
_BIN = np.array([0.095, 0.095, 0.13])
"""Half extents inside, and height [m]."""
_BOWL_BOTTOM = 0.008
_GAP = 0.23
"""Least distance of the pieces of furniture along y [m]."""
_OVER_BIN = 0.115
"""Height of the apple when it is let go in the bin [m]: the hand stays above the rim."""


class PlaceAppleFromBowlIntoBin:
    """See the module."""

    name = "place_apple_from_bowl_into_bin"
    objects = ("apple",)
    furniture = ("bowl", "shelf", "bin")

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add bowl, shelf, bin and apple."""
        scene.material(spec, "bowl", rgb=(0.95, 0.78, 0.30), specular=0.5)
        scene.material(spec, "shelf", rgb=(0.93, 0.91, 0.86), specular=0.1)
        scene.material(spec, "bin", rgb=(0.30, 0.52, 0.42), specular=0.2)
        scene.material(spec, "apple", rgb=(0.80, 0.12, 0.10), specular=0.5)
        scene.material(spec, "stem", rgb=(0.33, 0.22, 0.12), specular=0.0)
        _bowl(spec)
        shelf = scene.furniture(spec, "shelf", T_WORLD_SHELF)
        depth, width, height = _SHELF
        scene.box(shelf, [0, 0, height - 0.008], [depth, width, 0.008], "shelf")
        for y in (-1, 1):
            scene.box(shelf, [0, y * (width - 0.008), height / 2 - 0.008], [depth, 0.008, height / 2 - 0.008], "shelf")
        bin_ = scene.furniture(spec, "bin", T_WORLD_BIN)
        x, y, height = _BIN
        scene.box(bin_, [0, 0, 0.004], [x, y, 0.004], "bin")
        for sign in (-1, 1):
            scene.box(bin_, [sign * (x + 0.004), 0, height / 2], [0.004, y + 0.008, height / 2], "bin")
            scene.box(bin_, [0, sign * (y + 0.004), height / 2], [x, 0.004, height / 2], "bin")
        apple = scene.free_object(spec, "apple", T_WORLD_BOWL @ _in_bowl())
        apple.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[_APPLE, 0, 0],
            mass=0.15,
            condim=6,
            friction=[0.9, 0.02, 0.004],
            group=3,
        )
        turn = np.linspace(-np.pi / 2, np.pi / 2, 24)
        dimple = (
            1 - 0.16 * np.exp(-(((turn - np.pi / 2) / 0.35) ** 2)) - 0.08 * np.exp(-(((turn + np.pi / 2) / 0.35) ** 2))
        )
        taper = 1 + 0.03 * np.sin(turn)
        outline = _APPLE * np.stack([taper * np.cos(turn), dimple * np.sin(turn)], axis=1)
        outline[[0, -1], 0] = 0
        scene.lathe(spec, apple, "apple", outline, "apple")
        apple.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[0, 0, 0.8 * _APPLE, 0.004, 0, 1.2 * _APPLE],
            size=[0.0015, 0, 0],
            material="stem",
            contype=0,
            conaffinity=0,
            mass=0,
        )

    def sample_start(self, rng: np.random.Generator, spread: Spread) -> Start:
        """The apple in the bowl; the bowl anywhere that the object may be, clear of shelf and bin."""
        while True:
            x, y = rng.uniform(-1, 1, 2) * spread.object_xy
            T_world_bowl = planar(rng, spread.furniture_xy) @ se3.translation(x, y, 0) @ T_WORLD_BOWL
            T_world_shelf = planar(rng, spread.furniture_xy) @ T_WORLD_SHELF
            T_world_bin = planar(rng, spread.furniture_xy) @ T_WORLD_BIN
            gaps = T_world_bowl[1, 3] - T_world_shelf[1, 3], T_world_shelf[1, 3] - T_world_bin[1, 3]
            if min(gaps) > _GAP:
                break
        turn = turned_about_z(rng.uniform(-np.pi, np.pi))
        return Start(
            T_world_body={
                "bowl": T_world_bowl,
                "shelf": T_world_shelf,
                "bin": T_world_bin,
                "apple": T_world_bowl @ _in_bowl() @ turn,
            }
        )

    def success(self, state: CellState) -> bool:
        """The apple lies in the bin, and no gripper is near."""
        return _over_bin(state) and _apple_in(state, "bin")[2] < _APPLE + 0.02 and gripper_is_away(state, "apple")

    def expert(self) -> Expert:
        """A fresh expert."""
        return _Expert()


class _Expert:
    """Left until the apple is within the right arm's reach, then right."""

    def __init__(self) -> None:
        self._onto_shelf, self._into_bin = _OntoShelf(), _IntoBin()
        self._left, self._right = PickAndPlace(self._onto_shelf), PickAndPlace(self._into_bin)

    def command(self, state: CellState) -> dict[str, ArmCommand]:
        p_world_apple = state.T_world_body["apple"][:3, 3]
        left_is_away = np.linalg.norm(state.arms["left"].T_world_tcp[:3, 3] - p_world_apple) > 0.15
        turn_of_right = self._onto_shelf.placed(state) and bool(left_is_away)
        return {"left": self._left.command(state), "right": self._right.command(state, rest=not turn_of_right)}

    def done(self, state: CellState) -> bool:
        return self._left.done(state) and self._right.done(state)


class _OntoShelf:
    """The job of the left arm."""

    arm, object = "left", "apple"

    def grasps(self, state: CellState) -> Grasps:
        """Around the middle, from above, however the apple lies."""
        return _around(state)

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """On the middle of the shelf, as it is turned now."""
        return _put(state, "shelf", _SHELF[2] + _APPLE + 0.001)

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Up, over and down."""
        return _over(state, T_world_goal, height=_SHELF[2] + 0.10)

    def placed(self, state: CellState) -> bool:
        """Whether the apple lies on the shelf, or in the right arm's reach in any other way."""
        x, y, z = _apple_in(state, "shelf")
        on_shelf = abs(x) < _SHELF[0] and abs(y) < _SHELF[1] and abs(z - _SHELF[2] - _APPLE) < 0.006
        in_right_hand = np.linalg.norm(_apple_in_hand(state, "right")) < 0.04
        return bool(on_shelf or in_right_hand or y < -_SHELF[1] - 0.03)

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """Best is from above."""
        return _from_above(self.arm, Ts_world_pick, Ts_world_place)


class _IntoBin:
    """The job of the right arm."""

    arm, object = "right", "apple"

    def grasps(self, state: CellState) -> Grasps:
        """Around the middle, from above, however the apple lies."""
        return _around(state)

    def goals(self, state: CellState) -> Float[Array, "m 4 4"]:
        """In the middle of the bin, as it is turned now."""
        return _put(state, "bin", _OVER_BIN)

    def route(self, state: CellState, T_world_goal: Float[Array, "4 4"]) -> list[Float[Array, "4 4"]]:
        """Up, over and down."""
        return _over(state, T_world_goal, height=_SHELF[2] + 0.10)

    def placed(self, state: CellState) -> bool:
        """Whether the apple is inside the bin's walls, where it may be let go."""
        return _over_bin(state)

    def cost(
        self, state: CellState, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
    ) -> Float[Array, " n"]:
        """Best is from above."""
        return _from_above(self.arm, Ts_world_pick, Ts_world_place)


def _bowl(spec: mujoco.MjSpec) -> None:
    """A bowl whose bottom slopes gently to the middle, where the apple comes to rest."""
    bowl = scene.furniture(spec, "bowl", T_WORLD_BOWL)
    slope, wall = np.deg2rad(75), np.deg2rad(35)
    edge = np.array([0.02 + 0.06 * np.sin(slope), _BOWL_BOTTOM + 0.06 * np.cos(slope)])
    rim = edge + 0.055 * np.array([np.sin(wall), np.cos(wall)])
    thick = np.array([0.005, 0.0])
    foot = [(0, 0), (0.045, 0), (0.05, 0.004)]
    inside = [rim - thick / 2, edge, (0.02, _BOWL_BOTTOM), (0, _BOWL_BOTTOM)]
    scene.lathe(spec, bowl, "bowl", np.array([*foot, edge + thick, rim + thick, *inside]), "bowl", sides=56)
    scene.ring_of_walls(bowl, radius=0.02, bottom=_BOWL_BOTTOM, height=0.06, flare=slope)
    scene.ring_of_walls(bowl, radius=float(edge[0]), bottom=float(edge[1]), height=0.055, flare=wall)
    bowl.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.022, 0.004, 0], pos=[0, 0, _BOWL_BOTTOM - 0.004], group=3
    )


def _in_bowl() -> Float[Array, "4 4"]:
    """T_bowl_apple."""
    return se3.translation(0, 0, _BOWL_BOTTOM + _APPLE + 0.002)


def _around(state: CellState) -> Grasps:
    """Grasps from above, at several turns and inclinations of the hand, in the world's directions."""
    T_world_apple = state.T_world_body["apple"]
    Ts_world_tcp = se3.pose(_R_WORLD_HANDS, np.broadcast_to(T_world_apple[:3, 3], (len(_R_WORLD_HANDS), 3)))
    return Grasps(
        Ts_object_tcp=se3.inverse(T_world_apple) @ Ts_world_tcp, widths=np.full(len(_R_WORLD_HANDS), 2 * _APPLE)
    )


_R_WORLD_HANDS = np.stack(
    [
        (turned_about_z(yaw) @ se3.exp(np.array([0, 0, 0, 0, -tilt, 0])) @ np.diag([1.0, -1.0, -1.0, 1.0]))[:3, :3]
        for yaw in np.deg2rad(range(-90, 90, 10))
        for tilt in np.deg2rad((0, 10, 20))
    ]
)
"""Orientations of a hand that comes from above, turned about the vertical and inclined forward."""


def _put(state: CellState, furniture: str, height: float) -> Float[Array, "1 4 4"]:
    T_world_goal = state.T_world_body["apple"].copy()
    T_world_goal[:3, 3] = se3.apply(state.T_world_body[furniture], np.array([0, 0, height]))
    return T_world_goal[None]


def _over(state: CellState, T_world_goal: Float[Array, "4 4"], height: float) -> list[Float[Array, "4 4"]]:
    """Up to a height [m], over at that height, and down."""
    up, over = state.T_world_body["apple"].copy(), T_world_goal.copy()
    up[2, 3] = over[2, 3] = height
    return [up, over, T_world_goal]


def _from_above(
    arm: str, Ts_world_pick: Float[Array, "n 4 4"], Ts_world_place: Float[Array, "n 4 4"]
) -> Float[Array, " n"]:
    best = np.deg2rad(80)
    pick = awkwardness(Ts_world_pick, reaching_out(arm, Ts_world_pick, best))
    return pick + awkwardness(Ts_world_place, reaching_out(arm, Ts_world_place, best))


def _apple_in(state: CellState, furniture: str) -> Float[Array, "3"]:
    """The apple's place relative to a piece of furniture [m]."""
    return (se3.inverse(state.T_world_body[furniture]) @ state.T_world_body["apple"])[:3, 3]


def _apple_in_hand(state: CellState, arm: str) -> Float[Array, "3"]:
    return (se3.inverse(state.arms[arm].T_world_tcp) @ state.T_world_body["apple"])[:3, 3]


def _over_bin(state: CellState) -> bool:
    x, y, z = _apple_in(state, "bin")
    return bool(abs(x) < _BIN[0] - 0.01 and abs(y) < _BIN[1] - 0.01 and z < _OVER_BIN + 0.01)
