"""The plan, drawn: what both views would show if nothing moved but the grippers and what they hold.

A network that must invent the future from nothing smears it. Here the parts whose motion the plan tells are moved by
geometry alone: each gripper is put where the plan says, and its arm follows by inverse kinematics; what lies between
the fingers when they close is cut out of the first frames of both views and carried along; and what one view saw and
the other did not is taken over. The robot is drawn from its CAD, the rest by splatting points with a z-buffer. The
`refiner` turns this draft into a picture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray as Array

from robo4d.geometry import Camera, se3
from robo4d_models.video4d.coding import HELD_WIDTH, RobotState
from robo4d_models.video4d.robot_model import (
    ARM_PARTS,
    RobotModel,
    Sight,
    gripper_poses,
)

_GRASP_HALF_SIZE = np.array([0.09, 0.045, 0.075])
"""What a gripper closes on lies in this box about its TCP [m]; y is the closing direction. Where the pixels of movable
objects are known, they move as a whole. Else what is in the box moves: larger objects are cut off, which the refiner
mends; a larger box would carry away what they stand on."""
_LONGEST = 0.35
"""No part of an object is farther from where it is held [m]: pixels mistaken for it may be."""
_GRASP_MIN_Z = -0.03
"""And not further back towards the hand than this [m]."""
_LEAST_ROBOT_PX = 100
"""A robot with fewer pixels in an image does not tell whether the image shows it where it should."""
_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
_MOST_NEIGHBOURS = 6
"""A pixel with so many drawn neighbours was missed by chance: in the corner of an outline, it has five at most."""
_ROBOT_DEPTH_M, _RIM_DEPTH_M = 0.03, 0.015
"""A pixel of the first frame shows the robot when its depth is as near as this to the CAD's, or to that of a pixel
beside it: outlines of a real robot are never quite where they should be."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The first frame of one camera."""

    rgb: Float32[Array, "h w 3"]
    """In [0, 1]."""
    depth: Float32[Array, "h w"]
    """[m], 0 where there is none."""
    camera: Camera
    movable: Bool[Array, "h w"] | None = None
    """Pixels of what can be picked up, where they are known."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One view at one future moment; depths [m] are along the optical axis, 0 where nothing is drawn."""

    robot: Sight
    object_depth: Float32[Array, "h w"]
    """Depth of what the grippers hold."""
    object_rgb: Float32[Array, "h w 3"]
    left_behind: Bool[Array, "h w"]
    """Pixels of the first frame whose point has been carried away, or that showed a part of the robot."""
    other_depth: Float32[Array, "h w"]
    """What the other view saw of the still scene, drawn into this one."""
    other_rgb: Float32[Array, "h w 3"]


def compose(view: View, draft: Draft) -> tuple[Float32[Array, "h w 3"], Float32[Array, "h w"]]:
    """The draft as one picture: colour in [0, 1] and depth [m] (0: unknown) of the nearest of its layers."""
    still = ~draft.left_behind
    depth = np.where(still, view.depth, draft.other_depth)
    rgb = np.where(still[..., None], view.rgb, draft.other_rgb)
    for layer, colour in ((draft.object_depth, draft.object_rgb), (draft.robot.depth, draft.robot.rgb)):
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
    """Draws a plan into the two views that it was given.

    Args:
        views: First frames of the reference view and the second view.
        robot: Of each arm.
        start: The robot in them. Without its joints, no arms are drawn, and those of the first frames stay.
        T_world_tcp: The plan: poses of both TCPs at each moment, and
        width: how far open the grippers are [m].
    """

    def __init__(
        self,
        views: tuple[View, View],
        robot: RobotModel,
        start: RobotState,
        T_world_tcp: Float[Array, "t a 4 4"],
        width: Float[Array, "t a"],
    ) -> None:
        self._views, self._robot = views, robot
        self._poses = np.concatenate([start.T_world_tcp[None], T_world_tcp])
        self._widths = np.concatenate([start.gripper_width[None], width])
        self._links: Float[Array, "a t 7 4 4"] | None = None
        if start.joints is not None:
            self._links = np.stack([robot.follow(self._poses[:, i], q) for i, q in enumerate(start.joints)])
        self._points = [view.camera.backproject(view.depth).reshape(-1, 3) for view in views]
        self._rgb = [view.rgb.reshape(-1, 3) for view in views]
        at_start = [self._see(view.camera, 0).depth for view in views]
        self._on_robot = [_shows(view.depth, robot).reshape(-1) for view, robot in zip(views, at_start, strict=True)]
        self.robot_seen = tuple(_share_seen(view.depth, robot) for view, robot in zip(views, at_start, strict=True))
        """Share of the robot that each first frame shows where `start` has it; None where hardly any is in sight."""

    def draw(self, t: int) -> tuple[Draft, Draft]:
        """The drafts of both views at a moment of the plan."""
        closed = self._widths[: t + 2] < HELD_WIDTH
        carried = [self._carried(self._poses[: t + 2, arm], closed[:, arm]) for arm in range(closed.shape[1])]
        n, m = (self._draw_view(i, t + 1, carried) for i in range(2))
        return n, m

    def _see(self, camera: Camera, moment: int) -> Sight:
        """The robot at a moment."""
        arms = [gripper_poses(T, float(w)) for T, w in zip(self._poses[moment], self._widths[moment], strict=True)]
        for i, links in enumerate([] if self._links is None else self._links[:, moment]):
            arms[i] |= zip(ARM_PARTS, links, strict=True)
        return self._robot.see(camera, arms)

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
        grasped, objects = list[Array](), list[Array]()
        for view, points, on_robot in zip(self._views, self._points, self._on_robot, strict=True):
            local = se3.apply(se3.inverse(poses[first]), points)
            inside = (np.abs(local) < _GRASP_HALF_SIZE).all(axis=-1) & (local[:, 2] > _GRASP_MIN_Z)
            grasped.append(inside & ~on_robot & (view.depth.reshape(-1) > 0))
            if view.movable is not None:
                objects.append(view.movable.reshape(-1) & (np.linalg.norm(local, axis=-1) < _LONGEST) & ~on_robot)
        if len(objects) < len(grasped):
            return T_moved, grasped
        held = any((mask & of_object).any() for mask, of_object in zip(grasped, objects, strict=True))
        return T_moved, objects if held else none

    def _draw_view(
        self, i: int, moment: int, carried: list[tuple[Float[Array, "4 4"], list[Bool[Array, " n"]]]]
    ) -> Draft:
        camera, other = self._views[i].camera, 1 - i
        shape = camera.intrinsics.height, camera.intrinsics.width
        moved, colours = list[Array](), list[Array]()
        away = np.zeros(len(self._points[i]), bool)
        still = np.ones(len(self._points[other]), bool)
        for T_moved, masks in carried:
            away |= masks[i]
            still &= ~masks[other]
            for view in range(2):
                moved.append(se3.apply(T_moved, self._points[view][masks[view]]))
                colours.append(self._rgb[view][masks[view]])
        away |= self._on_robot[i]
        still &= ~self._on_robot[other] & (self._views[other].depth.reshape(-1) > 0)
        drawn, object_depth = _drawn(np.concatenate(moved), camera)
        seen, other_depth = _drawn(self._points[other][still], camera)
        return Draft(
            robot=self._see(camera, moment),
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


def _shows(depth: Float32[Array, "h w"], robot: Float32[Array, "h w"]) -> Bool[Array, "h w"]:
    """Which pixels of a measured depth image show the robot, whose depth is known."""
    around = np.pad(robot, 1)
    height, width = depth.shape
    shown = (robot > 0) & ((np.abs(robot - depth) < _ROBOT_DEPTH_M) | (depth == 0))
    for i, j in _NEIGHBOURS:
        beside = around[1 + i : 1 + i + height, 1 + j : 1 + j + width]
        shown |= (beside > 0) & (np.abs(beside - depth) < _RIM_DEPTH_M)
    return shown


def _share_seen(depth: Float32[Array, "h w"], robot: Float32[Array, "h w"]) -> float | None:
    """Share of the robot's pixels in a measured depth image that have its depth, if it covers enough of them."""
    drawn = (robot > 0) & (depth > 0)
    if np.count_nonzero(drawn) < _LEAST_ROBOT_PX:
        return None
    return float(np.mean(np.abs(robot - depth)[drawn] < _ROBOT_DEPTH_M))
