"""Agreement of the two views: does view m's gripper, by its predicted points, lie where view n sees one?

The paper (section 4.2) projects the gripper's points of view m into view n and compares bounding boxes. A box from the
least to the greatest coordinate hangs on single stray points: with perfect geometry but one pixel of mixed depth at
edges, its mIoU falls from 0.95 to 0.4. So a robust box stands beside it.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics

_STRAY_M = 0.16
"""Points farther than this from the middle one are no part of a gripper [m]."""
_TAIL = 0.01
"""Share of the coordinates that a robust box leaves out at each side."""


def box_of(mask: Bool[Array, "h w"]) -> Float[Array, "4"] | None:
    """Left, top, right, bottom edge [px] of the pixels; None where there is none."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if len(rows) == 0:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def cross_view_iou(
    points_m: Float[Array, "h w 3"],
    mask_m: Bool[Array, "h w"],
    mask_n: Bool[Array, "h w"],
    intrinsics: Intrinsics,
    *,
    robust: bool,
) -> float | None:
    """Intersection over union of the gripper's box in view n and of that of view m's points as n would see them.

    Args:
        points_m: Points of view m's pixels in the camera frame of view n [m].
        mask_m: The gripper in view m, where a point is.
        mask_n: The gripper in view n.
        intrinsics: Of view n.
        robust: Leave out stray points and the outermost coordinates.

    Returns:
        0 where only one view has a gripper; None where neither has one: there is nothing to agree on.
    """
    seen = box_of(mask_n)
    points = points_m[mask_m]
    if robust and len(points):
        points = points[np.linalg.norm(points - np.median(points, axis=0), axis=-1) < _STRAY_M]
    uv, z = intrinsics.project(points)
    uv = uv[z > 0]
    if seen is None or len(uv) == 0:
        return None if seen is None and len(uv) == 0 else 0.0
    tail = _TAIL if robust else 0.0
    low, high = np.floor(np.quantile(uv, tail, axis=0)), np.ceil(np.quantile(uv, 1 - tail, axis=0))
    edge = np.array([intrinsics.width, intrinsics.height], float)
    return _iou(seen, np.concatenate([np.clip(low, 0, edge), np.clip(high, 0, edge)]))


def _iou(a: Float[Array, "4"], b: Float[Array, "4"]) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(np.prod(sides))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0
