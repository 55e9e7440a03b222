"""The plan, drawn: what both views would show if nothing moved but the grippers and what they hold.

A network that must invent the future from nothing smears it. Here the parts whose motion the plan tells are moved by
geometry alone: each gripper is a set of points on its surface, put where the plan says; what lies between the fingers
when they close is cut out of the first frames of both views and carried along; and what one view saw and the other did
not is taken over. All is drawn by splatting points with a z-buffer. The `refiner` turns this draft into a picture.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray as Array
from scipy.spatial import KDTree
from torch import Tensor

from robo4d.geometry import Camera, se3
from robo4d_models.video4d.coding import HELD_WIDTH

_GRASP_HALF_SIZE = np.array([0.09, 0.045, 0.075])
"""What moves with a closed gripper lies in this box about its TCP [m]; y is the closing direction. Larger objects are
cut off, which the refiner mends; a larger box would carry away what they stand on."""
_GRASP_MIN_Z = -0.03
"""And not further back towards the hand than this [m]."""
_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
_MOST_NEIGHBOURS = 6
"""A pixel with so many drawn neighbours was missed by chance: in the corner of an outline, it has five at most."""
_GRIPPER_MARGIN = 0.015
"""Points of the first frame so near to the gripper's own surface [m] belong to it, and never to what it holds."""


@dataclass(frozen=True, kw_only=True)
class GripperSurface:
    """Points on the outside of a gripper, in its TCP frame with the fingers together."""

    points: Float[Array, "n 3"]
    """[m]."""
    normals: Float[Array, "n 3"]
    finger: Int[Array, " n"]
    """+1 on the finger that opens towards +y, -1 on the other one, 0 on the hand."""

    @classmethod
    def of_franka_hand(cls, count: int = 6000, seed: int = 0) -> "GripperSurface":
        """Points of the CAD of Franka's hand, by their share of the surface.

        The meshes come with the simulator, which is only needed for this: trained weights hold the points.
        """
        from robo4d.sim.panda import T_HAND_TCP, finger_poses, gripper_meshes

        meshes, fingers = gripper_meshes(), finger_poses(0.0)
        parts = {
            "hand": (np.eye(4), 0),
            "left_finger": (fingers["left_finger"], 1),
            "right_finger": (fingers["right_finger"], -1),
        }
        area = sum(float(meshes[name].area) for name in parts)
        points, normals, finger = list[Array](), list[Array](), list[Array]()
        for name, (T_hand_part, sign) in parts.items():
            mesh = meshes[name]
            share = round(count * float(mesh.area) / area)
            rng = np.random.default_rng([seed, len(points)])
            T_tcp_part = se3.inverse(T_HAND_TCP) @ T_hand_part
            faces = rng.choice(len(mesh.faces), share, p=mesh.area_faces / mesh.area)
            corners = np.asarray(mesh.triangles, float)[faces]
            weights = rng.dirichlet(np.ones(3), share)
            points.append(se3.apply(T_tcp_part, np.einsum("nk,nkd->nd", weights, corners)))
            normals.append(np.asarray(mesh.face_normals, float)[faces] @ T_tcp_part[:3, :3].T)
            finger.append(np.full(share, sign))
        return cls(points=np.concatenate(points), normals=np.concatenate(normals), finger=np.concatenate(finger))

    def tensors(self) -> dict[str, Tensor]:
        """For storing beside weights; `from_tensors` reads them."""
        return {f"surface.{f.name}": torch.from_numpy(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "GripperSurface":
        """What `tensors` made."""
        return cls(**{f.name: tensors[f"surface.{f.name}"].numpy() for f in fields(cls)})

    def at(self, T_world_tcp: Float[Array, "4 4"], width: float) -> Float[Array, "n 3"]:
        """The points in the world [m] when the gripper is open by `width` [m]."""
        opened = self.points.copy()
        opened[:, 1] += 0.5 * width * self.finger
        return se3.apply(T_world_tcp, opened)


@dataclass(frozen=True, kw_only=True)
class View:
    """The first frame of one camera."""

    rgb: Float32[Array, "h w 3"]
    """In [0, 1]."""
    depth: Float32[Array, "h w"]
    """[m], 0 where there is none."""
    camera: Camera


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One view at one future moment; depths [m] are along the optical axis, 0 where nothing is drawn."""

    gripper: Float32[Array, "a h w"]
    """Depth of each arm's gripper."""
    shade: Float32[Array, "h w"]
    """Cosine between the gripper's surface and the direction to the camera."""
    object_depth: Float32[Array, "h w"]
    """Depth of what the grippers hold."""
    object_rgb: Float32[Array, "h w 3"]
    left_behind: Bool[Array, "h w"]
    """Pixels of the first frame whose point has been carried away, or that showed a gripper which has moved."""
    other_depth: Float32[Array, "h w"]
    """What the other view saw of the still scene, drawn into this one."""
    other_rgb: Float32[Array, "h w 3"]


def compose(view: View, draft: Draft) -> tuple[Float32[Array, "h w 3"], Float32[Array, "h w"]]:
    """The draft as one picture: colour in [0, 1] and depth [m] (0: unknown) of the nearest of its layers."""
    still = ~draft.left_behind
    depth = np.where(still, view.depth, draft.other_depth)
    rgb = np.where(still[..., None], view.rgb, draft.other_rgb)
    for layer, colour in (
        (draft.object_depth, draft.object_rgb),
        *((gripper, np.repeat(draft.shade[..., None], 3, axis=-1)) for gripper in draft.gripper),
    ):
        nearest = (layer > 0) & ((depth == 0) | (layer < depth))
        depth, rgb = np.where(nearest, layer, depth), np.where(nearest[..., None], colour, rgb)
    return rgb, depth


def splat(points_world: Float[Array, "n 3"], camera: Camera) -> Int[Array, "h w"]:
    """The index of the nearest point in each pixel; -1 where there is none.

    Single pixels that were missed in the middle of others show the nearest point of their neighbours.
    """
    height, width = camera.intrinsics.height, camera.intrinsics.width
    uv, z = camera.project(points_world)
    seen = (z > 0.05) & (uv >= 0).all(axis=-1) & (uv[:, 0] < width) & (uv[:, 1] < height)
    index = np.flatnonzero(seen)
    index = index[np.argsort(-z[index], kind="stable")]  # the last one written stays: the nearest
    columns, rows = uv[index].astype(int).T
    image = np.full((height + 2, width + 2), -1)  # with a rim, so that every pixel has eight neighbours
    image[rows + 1, columns + 1] = index
    around = np.stack([image[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in _NEIGHBOURS])
    image = image[1:-1, 1:-1]
    missed = (image < 0) & ((around >= 0).sum(axis=0) >= _MOST_NEIGHBOURS)
    candidates = around[:, missed]
    distance = np.where(candidates >= 0, z[candidates], np.inf)
    image[missed] = candidates[distance.argmin(axis=0), np.arange(candidates.shape[1])]
    return image


class Draughtsman:
    """Draws plans into the two views that it was given.

    Args:
        views: First frames of the reference view and the second view.
        surface: The grippers' surface.
        T_world_tcp: Where the grippers are in them.
        width: How far open they are [m].
    """

    def __init__(
        self,
        views: tuple[View, View],
        surface: GripperSurface,
        T_world_tcp: Float[Array, "a 4 4"],
        width: Float[Array, " a"],
    ) -> None:
        self._views, self._surface = views, surface
        self._start_poses, self._start_widths = T_world_tcp, width
        self._points, self._rgb, self._gripper = list[Array](), list[Array](), list[Array]()
        tree = KDTree(np.concatenate([surface.at(T, float(w)) for T, w in zip(T_world_tcp, width, strict=True)]))
        for view in views:
            points = view.camera.backproject(view.depth).reshape(-1, 3)
            near, _ = tree.query(points, distance_upper_bound=_GRIPPER_MARGIN)
            self._points.append(points)
            self._rgb.append(view.rgb.reshape(-1, 3))
            self._gripper.append(np.isfinite(near) & (view.depth.reshape(-1) > 0))

    def draw(self, T_world_tcp: Float[Array, "t a 4 4"], width: Float[Array, "t a"]) -> list[tuple[Draft, Draft]]:
        """The drafts of both views at each moment of a plan: poses of both TCPs and openings [m]."""
        return [self.draw_last(T_world_tcp[: t + 1], width[: t + 1]) for t in range(len(width))]

    def draw_last(self, T_world_tcp: Float[Array, "t a 4 4"], width: Float[Array, "t a"]) -> tuple[Draft, Draft]:
        """The drafts of both views at the last moment of a motion."""
        poses = np.concatenate([self._start_poses[None], T_world_tcp])
        widths = np.concatenate([self._start_widths[None], width])
        closed = widths < HELD_WIDTH
        carried = [self._carried(poses[:, arm], closed[:, arm]) for arm in range(poses.shape[1])]
        n, m = (self._draw_view(i, poses[-1], widths[-1], carried) for i in range(2))
        return n, m

    def _carried(
        self, poses: Float[Array, "t 4 4"], closed: Bool[Array, " t"]
    ) -> tuple[Float[Array, "4 4"], list[Bool[Array, " n"]]]:
        """How far what one gripper holds was moved, and which points of each view belong to it."""
        none = [np.zeros(len(points), bool) for points in self._points]
        if not closed.any():
            return np.eye(4), none
        first = int(np.argmax(closed))  # where it closed ...
        opened = np.flatnonzero(~closed[first:])
        last = first + int(opened[0]) if len(opened) else len(closed) - 1  # ... and where it let go, or is now
        T_moved = poses[last] @ se3.inverse(poses[first])
        masks = list[Array]()
        for points, gripper in zip(self._points, self._gripper, strict=True):
            local = se3.apply(se3.inverse(poses[first]), points)
            inside = (np.abs(local) < _GRASP_HALF_SIZE).all(axis=-1) & (local[:, 2] > _GRASP_MIN_Z)
            masks.append(inside & ~gripper)
        return T_moved, masks

    def _draw_view(
        self,
        i: int,
        poses: Float[Array, "a 4 4"],
        width: Float[Array, " a"],
        carried: list[tuple[Float[Array, "4 4"], list[Bool[Array, " n"]]]],
    ) -> Draft:
        camera, other = self._views[i].camera, 1 - i
        shape = camera.intrinsics.height, camera.intrinsics.width

        grippers, shade = np.zeros((len(poses), *shape), np.float32), np.zeros(shape, np.float32)
        for arm, T_world_tcp in enumerate(poses):
            points = self._surface.at(T_world_tcp, float(width[arm]))
            drawn, depth = _drawn(points, camera)
            grippers[arm] = depth
            facing = -se3.inverse(camera.T_world_camera)[2, :3] @ T_world_tcp[:3, :3] @ self._surface.normals.T
            shade = np.where(drawn >= 0, np.abs(facing[drawn]).astype(np.float32), shade)

        moved, colours = list[Array](), list[Array]()
        away = np.zeros(len(self._points[i]), bool)
        still = np.ones(len(self._points[other]), bool)
        for T_moved, masks in carried:
            away |= masks[i]
            still &= ~masks[other]
            for view in range(2):
                moved.append(se3.apply(T_moved, self._points[view][masks[view]]))
                colours.append(self._rgb[view][masks[view]])
        away |= self._gripper[i]
        still &= ~self._gripper[other] & (self._views[other].depth.reshape(-1) > 0)
        drawn, object_depth = _drawn(np.concatenate(moved), camera)
        seen, other_depth = _drawn(self._points[other][still], camera)
        return Draft(
            gripper=grippers,
            shade=shade,
            object_depth=object_depth,
            object_rgb=_coloured(drawn, np.concatenate(colours)),
            left_behind=away.reshape(shape),
            other_depth=other_depth,
            other_rgb=_coloured(seen, self._rgb[other][still]),
        )


def _drawn(points_world: Float[Array, "n 3"], camera: Camera) -> tuple[Int[Array, "h w"], Float32[Array, "h w"]]:
    """`splat`, and the depth of what it drew [m], 0 elsewhere."""
    drawn = splat(points_world, camera)
    z = se3.apply(se3.inverse(camera.T_world_camera), points_world)[:, 2]
    z = np.append(z, 0.0).astype(np.float32)  # -1 looks up the last one
    return drawn, z[drawn]


def _coloured(drawn: Int[Array, "h w"], rgb: Float32[Array, "n 3"]) -> Float32[Array, "h w 3"]:
    return np.concatenate([rgb, np.zeros((1, 3), np.float32)])[drawn]
