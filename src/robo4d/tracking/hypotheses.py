"""Hypotheses of a gripper's pose, and their quick test against depth images, hundreds at a time."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.tracking.evidence import STILL_WEIGHT, UNSEEN_WEIGHT
from robo4d.tracking.gripper import Part
from robo4d.tracking.mechanism import Mechanism
from robo4d.tracking.rendering import GripperRenderer, Surface
from robo4d.tracking.view import NEAREST_M, DepthView

_LITTLE_TURN = 0.25
_POINTS = {Part.HAND: 160, Part.ARM: 30}
"""Points that are tested of the gripper, and of each link behind it."""


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
    """Scores states by points of the surface projected into depth images.

    The score is that of `Evidence.confidence` without a mask, with points in the place of rendered pixels: 100 times
    as fast, as which points a camera sees is looked up by its direction. A point counts as many pixels as its
    surroundings fill: else surface seen at an angle, whose pixels show mostly what is behind, would outweigh the rest.
    What is 1 for a perfect pose is some 0.9 here.
    With a mask, points of hand and fingers beside it count as violated.

    Args:
        mechanism: What moves.
    """

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism

    def score(
        self, states: Float[Array, "b ..."], opening_m: float, views: tuple[DepthView, ...], *, tolerance_m: float
    ) -> Float[Array, " b"]:
        """Support minus violation of each state over all views, relative to all that was tested; at most 1.

        As in `evidence.pooled`, unseen is what the view that sees most misses.
        """
        bodies = [
            (tested_part(surface), Ts_world_body)
            for surface, Ts_world_body in zip(
                self._mechanism.surfaces(opening_m), self._mechanism.placements(states), strict=True
            )
        ]
        support, violated, tested = np.zeros((3, len(states)))
        unseen, least = np.zeros(len(states)), np.full(len(states), np.inf)
        for view in views:
            missed, facing = np.zeros((2, len(states)))
            for surface, Ts_world_body in bodies:
                points, front = surface.seen_from(view.T_camera_world @ Ts_world_body)
                pixels = view.pixels(points)
                # Where there is no depth, the point is far behind what is observed: neither agreeing nor violated.
                behind = view.points_camera[2][pixels] - points[:, 2]
                agreeing, behind = np.abs(behind) < tolerance_m, behind >= tolerance_m
                if view.beside is not None:
                    beside = (surface.part < Part.WRIST) & view.beside[pixels]
                    agreeing, behind = agreeing & ~beside, behind | beside
                agreeing = front * agreeing
                agreements, violations = agreeing.sum(axis=1), (front * behind).sum(axis=1)
                support += agreements - (1 - STILL_WEIGHT) * (agreeing * view.background[pixels]).sum(axis=1)
                violated += violations
                tested += agreements + violations
                if surface.part[0] != Part.ARM:
                    missed += UNSEEN_WEIGHT * (front.sum(axis=1) - agreements - violations)
                    facing += front.sum(axis=1)
            share = (missed + 1) / (facing + 1)
            unseen, least = np.where(share < least, missed, unseen), np.minimum(share, least)
        return (support - violated) / np.maximum(tested + unseen, 1)


def tested_part(surface: Surface) -> Surface:
    """As many of a body's points as a test needs."""
    return surface[: _POINTS[Part.ARM if surface.part[0] == Part.ARM else Part.HAND]]


def share_in_image(
    renderer: GripperRenderer, T_world_hand: Float[Array, "4 4"], opening_m: float, view: DepthView
) -> float:
    """Share of the gripper's points facing the camera that are inside the image."""
    surface, k = tested_part(renderer.surface(opening_m)), view.intrinsics
    points, front = surface.seen_from((view.T_camera_world @ T_world_hand)[None])
    row, column = np.divmod(view.pixels(points), k.width + 2)
    inside = (row >= 1) & (row <= k.height) & (column >= 1) & (column <= k.width) & (points[:, 2] > NEAREST_M)
    return float((front * inside).sum() / max(front.sum(), 1e-6))
