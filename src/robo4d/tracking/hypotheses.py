"""Hypotheses of a gripper's pose, and their quick test against depth images, hundreds at a time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.evidence import STILL_WEIGHT, UNSEEN_WEIGHT
from robo4d.tracking.gripper import ALL_PARTS, Part
from robo4d.tracking.rendering import DIRECTIONS, GripperRenderer

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
        points_camera = self.depth[shown][:, None] * self.intrinsics.rays()[shown]
        return se3.apply(se3.inverse(self.T_camera_world), points_camera)


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
    as fast, as which points a camera sees is looked up by its direction. What is 1 for a perfect pose is some 0.9 here.
    With a mask, points of hand and fingers beside it count as violated.

    Args:
        renderer: Renderer of the gripper.
        count: Points on the surface.
        parts: Parts of the gripper to take them from.
    """

    def __init__(self, renderer: GripperRenderer, count: int = 200, parts: tuple[Part, ...] = ALL_PARTS) -> None:
        self._renderer, self._count, self._parts = renderer, count, parts

    def score(
        self,
        Ts_world_hand: Float[Array, "b 4 4"],
        opening_m: float,
        views: tuple[DepthView, ...],
        *,
        tolerance_m: float,
    ) -> Float[Array, " b"]:
        """Support minus violation of each pose over all views, relative to all that was tested; at most 1."""
        support, violated, tested = np.zeros((3, len(Ts_world_hand)))
        for view in views:
            agreeing, still, behind, front = self._counts(Ts_world_hand, opening_m, view, tolerance_m)
            support += agreeing - (1 - STILL_WEIGHT) * still
            violated += behind
            tested += agreeing + behind + UNSEEN_WEIGHT * (front - agreeing - behind)
        return (support - violated) / np.maximum(tested, 1)

    def in_image(self, T_world_hand: Float[Array, "4 4"], opening_m: float, view: DepthView) -> float:
        """Share of the points facing the camera that are inside the image."""
        front, inside, *_ = self._project(T_world_hand[None], opening_m, view)
        return float(inside.sum() / max(front.sum(), 1))

    def _project(
        self, Ts_world_hand: Float[Array, "b 4 4"], opening_m: float, view: DepthView
    ) -> tuple[Bool[Array, "b n"], Bool[Array, "b n"], Float[Array, "b n"], Float[Array, "b n"], Float[Array, "b n"]]:
        """Which points face the camera; which of them are inside the image; and pixel coordinates and depth of all."""
        surface, k = self._renderer.surface(self._count, opening_m, self._parts), view.intrinsics
        Ts = view.T_camera_world @ Ts_world_hand
        centres = Ts[:, :3, :3] @ self._renderer.centre_hand + Ts[:, :3, 3]
        to_camera_hand = np.einsum("bji,bj->bi", Ts[:, :3, :3], -centres)
        front = surface.visible[np.argmax(to_camera_hand @ DIRECTIONS.T, axis=1)]
        points = surface.points @ Ts[:, :3, :3].swapaxes(1, 2) + Ts[:, None, :3, 3]
        z = np.maximum(points[..., 2], _NEAR)
        u, v = k.fx * points[..., 0] / z + k.cx, k.fy * points[..., 1] / z + k.cy
        inside = front & (points[..., 2] > _NEAR) & (u >= 0) & (u < k.width) & (v >= 0) & (v < k.height)
        return front, inside, u, v, z

    def _counts(
        self, Ts_world_hand: Float[Array, "b 4 4"], opening_m: float, view: DepthView, tolerance_m: float
    ) -> tuple[Float[Array, " b"], ...]:
        """Points of each pose that agree, that agree with something still, are violated, and face the camera."""
        front, inside, u, v, z = self._project(Ts_world_hand, opening_m, view)
        pixel = np.where(inside, v, 0).astype(int) * view.intrinsics.width + np.where(inside, u, 0).astype(int)
        observed = view.depth.reshape(-1)[pixel]
        measured, behind = inside & (observed > 0), observed - z
        agreeing, violated = measured & (np.abs(behind) < tolerance_m), measured & (behind >= tolerance_m)
        if view.mask is not None and view.mask.any():
            part = self._renderer.surface(self._count, opening_m, self._parts).part
            beside = inside & (part != Part.WRIST) & ~view.mask.reshape(-1)[pixel]
            agreeing, violated = agreeing & ~beside, violated | beside
        counted = (agreeing, agreeing & view.still.reshape(-1)[pixel], violated, front)
        return tuple(c.sum(axis=1).astype(float) for c in counted)
