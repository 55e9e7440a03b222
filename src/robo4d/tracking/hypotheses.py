"""Hypotheses of a gripper's pose, and their quick test against depth images, hundreds at a time."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.evidence import STILL_WEIGHT, UNSEEN_WEIGHT
from robo4d.tracking.gripper import Part
from robo4d.tracking.rendering import GripperRenderer, pixel_rays

_LITTLE_TURN = 0.25
_NEAR = 0.05
"""Points nearer to the camera's plane than this [m] count as outside the image."""


@dataclass(frozen=True, kw_only=True)
class DepthView:
    """What one camera sees at one moment, prepared for tests of poses."""

    intrinsics: Intrinsics
    T_camera_world: Float[Array, "4 4"]
    depth: Float32[Array, "h w"]
    """Along the optical axis [m], 0 where there is none."""
    still: Bool[Array, "h w"]
    """Pixels that show the background."""
    mask: Bool[Array, "h w"] | None = None
    """Pixels of hand and fingers, where they are known."""

    @classmethod
    def example(cls) -> "DepthView":
        """A wall 1 m in front of the example camera."""
        k = Intrinsics.example()
        size = (k.height, k.width)
        return cls(intrinsics=k, T_camera_world=np.eye(4), depth=np.ones(size, np.float32), still=np.zeros(size, bool))

    def points(self, shown: Bool[Array, "h w"]) -> Float[Array, "n 3"]:
        """The points [m, world] of some pixels, all of which must have depth."""
        points_camera = self.depth[shown][:, None] * pixel_rays(self.intrinsics)[shown]
        return se3.apply(se3.inverse(self.T_camera_world), points_camera)

    @cached_property
    def points_camera(self) -> Float32[Array, "3 p"]:
        """Point of every pixel [m], for `pixels`; zero where there is no depth, and around the image."""
        framed = np.zeros((3, self.intrinsics.height + 2, self.intrinsics.width + 2), np.float32)
        framed[:, 1:-1, 1:-1] = np.moveaxis(self.depth[..., None] * pixel_rays(self.intrinsics), -1, 0)
        return framed.reshape(3, -1)

    @cached_property
    def background(self) -> Bool[Array, " p"]:
        """Pixels that show the background, for `pixels`."""
        return np.pad(self.still, 1).reshape(-1)

    @cached_property
    def beside(self) -> Bool[Array, " p"] | None:
        """Pixels that the mask of hand and fingers excludes, for `pixels`; None without a mask."""
        if self.mask is None or not self.mask.any():
            return None
        return np.pad(~self.mask, 1).reshape(-1)

    def pixels(self, points_camera: Float32[Array, "b 3 n"]) -> Int[Array, "b n"]:
        """Index of the pixel that shows each point [m], in the image with a rim of a pixel for all that is outside."""
        k, scale = self.intrinsics, 1 / np.maximum(points_camera[:, 2], np.float32(_NEAR))
        u = np.clip(np.float32(k.fx) * points_camera[:, 0] * scale + np.float32(k.cx + 1), 0, k.width + 1)
        v = np.clip(np.float32(k.fy) * points_camera[:, 1] * scale + np.float32(k.cy + 1), 0, k.height + 1)
        return v.astype(np.int32) * np.int32(k.width + 2) + u.astype(np.int32)


def spread(
    Ts_world_hand: Float[Array, "b 4 4"],
    count: int,
    *,
    std_m: float,
    std_deg: float,
    pivot_hand: Float[Array, "3"],
    rng: np.random.Generator,
) -> Float[Array, "n 4 4"]:
    """At least `count` poses, scattered normally about some given ones, which come first.

    A third of them turn as much as they may, the others a quarter of it: grippers move much more than they turn.

    Args:
        Ts_world_hand: The centres.
        count: Number of poses, rounded up to a multiple of the centres.
        std_m: Standard deviation of the position along each axis [m].
        std_deg: Standard deviation of the rotation vector about each axis [deg].
        pivot_hand: Point of the hand that they turn about [m].
        rng: Source of the scatter.
    """
    each = -(-count // len(Ts_world_hand))
    offset = rng.normal(0, std_m, (each, len(Ts_world_hand), 3))
    turn = rng.normal(0, np.deg2rad(std_deg), (each, len(Ts_world_hand), 3))
    turn[: 2 * each // 3] *= _LITTLE_TURN
    offset[0], turn[0] = 0, 0
    R_world_hand = Ts_world_hand[:, :3, :3] @ Rotation.from_rotvec(turn.reshape(-1, 3)).as_matrix().reshape(
        *turn.shape, 3
    )
    pivots_world = Ts_world_hand[:, :3, :3] @ pivot_hand + Ts_world_hand[:, :3, 3]
    positions = pivots_world + offset - R_world_hand @ pivot_hand
    return se3.pose(R_world_hand, positions).reshape(-1, 4, 4)


class SurfaceTest:
    """Scores poses by points of the gripper's surface projected into depth images.

    The score is that of `Evidence.confidence` without a mask, with points in the place of rendered pixels: 100 times
    as fast, as which points a camera sees is looked up by its direction. A point counts as many pixels as its
    surroundings fill: else surface seen at an angle, whose pixels show mostly what is behind, would outweigh the rest.
    What is 1 for a perfect pose is some 0.9 here.
    With a mask, points of hand and fingers beside it count as violated.

    Args:
        renderer: Renderer of the gripper.
        count: Points on the surface.
    """

    def __init__(self, renderer: GripperRenderer, count: int = 160) -> None:
        self._renderer, self._count = renderer, count

    def score(
        self,
        Ts_world_hand: Float[Array, "b 4 4"],
        opening_m: float,
        views: tuple[DepthView, ...],
        *,
        tolerance_m: float,
    ) -> Float[Array, " b"]:
        """Support minus violation of each pose over all views, relative to all that was tested; at most 1.

        As in `evidence.pooled`, unseen is what the view that sees most misses.
        """
        surface = self._renderer.surface(opening_m)[: self._count]
        support, violated, tested = np.zeros((3, len(Ts_world_hand)))
        unseen, least = np.zeros(len(Ts_world_hand)), np.full(len(Ts_world_hand), np.inf)
        for view in views:
            points, front = surface.seen_from(view.T_camera_world @ Ts_world_hand)
            pixels = view.pixels(points)
            # Where there is no depth, the point is far behind what is observed: neither agreeing nor violated.
            behind = view.points_camera[2][pixels] - points[:, 2]
            agreeing, behind = np.abs(behind) < tolerance_m, behind >= tolerance_m
            if view.beside is not None:
                beside = (surface.part != Part.WRIST) & view.beside[pixels]
                agreeing, behind = agreeing & ~beside, behind | beside
            agreeing = front * agreeing
            agreements, violations, facing = agreeing.sum(axis=1), (front * behind).sum(axis=1), front.sum(axis=1)
            missed = UNSEEN_WEIGHT * (facing - agreements - violations)
            share = (missed + 1) / (facing + 1)
            unseen, least = np.where(share < least, missed, unseen), np.minimum(share, least)
            support += agreements - (1 - STILL_WEIGHT) * (agreeing * view.background[pixels]).sum(axis=1)
            violated += violations
            tested += agreements + violations
        return (support - violated) / np.maximum(tested + unseen, 1)

    def in_image(self, T_world_hand: Float[Array, "4 4"], opening_m: float, view: DepthView) -> float:
        """Share of the points facing the camera that are inside the image."""
        surface, k = self._renderer.surface(opening_m)[: self._count], view.intrinsics
        points, front = surface.seen_from((view.T_camera_world @ T_world_hand)[None])
        row, column = np.divmod(view.pixels(points), k.width + 2)
        inside = (row >= 1) & (row <= k.height) & (column >= 1) & (column <= k.width) & (points[:, 2] > _NEAR)
        return float((front * inside).sum() / max(front.sum(), 1e-6))
