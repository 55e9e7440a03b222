"""Agreement of the two views: does view m's gripper, by its predicted points, lie where view n sees one?

The paper (section 4.2) projects the gripper's points of view m into view n and compares bounding boxes. It does not say
what a box is with two grippers; here each arm has its own, as a box around both hands would hide where either is. A box
from the least to the greatest coordinate hangs on single stray points: with perfect geometry but one pixel of mixed
depth at edges, its mIoU falls from 0.95 to 0.4. So a robust box stands beside it.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.ndimage import distance_transform_edt

from robo4d.geometry import Intrinsics

_STRAY_M = 0.16
"""Points farther than this from the middle one are no part of a gripper [m]."""
_REACH_M = 0.25
"""A gripper's points are nearer to its TCP than this [m]: 15 cm, and what a prediction may be off."""
_TAIL = 0.01
"""Share of the coordinates that a robust box leaves out at each side."""
_SEEN_PX = 6
"""Pixels of a gripper that is seen."""


def split_by_arm(
    gripper: Bool[Array, "v t h w"],
    points: Float[Array, "v t h w 3"],
    valid: Bool[Array, "v t h w"],
    tcps: Mapping[str, Float[Array, "t 3"]],
) -> dict[str, Bool[Array, "v t h w"]]:
    """Masks of each arm's gripper, from one of all.

    Pixels whose points are within 25 cm of a TCP belong to the arm whose TCP is nearest. The others, such as those of a
    mask that spills over a hand's edge onto what is far behind, go with the nearest of these pixels in the image. In an
    image in which no point is so near, the nearest TCP decides for all that have a point.

    Args:
        gripper: Pixels of any gripper.
        points: Point of each pixel [m].
        valid: Pixels that have a point.
        tcps: Where the video shows the TCP of each arm [m], in the frame of the points.
    """
    distance = np.stack([np.linalg.norm(points - tcp[:, None, None], axis=-1) for tcp in tcps.values()])
    nearest, known = distance.argmin(axis=0), gripper & valid
    at_hand = known & (distance.min(axis=0) < _REACH_M)
    for place in np.ndindex(gripper.shape[:2]):
        sure = at_hand[place] if at_hand[place].any() else known[place]
        if sure.any():
            rows, columns = np.asarray(distance_transform_edt(~sure, return_distances=False, return_indices=True))
            nearest[place] = nearest[place][rows, columns]
    return {arm: gripper & (nearest == i) for i, arm in enumerate(tcps)}


def cross_view_iou(
    points: Float[Array, "2 h w 3"], gripper: Bool[Array, "2 h w"], intrinsics: Intrinsics, *, robust: bool
) -> float:
    """Intersection over union of one gripper's box in view n and of that of view m's points as n would see them.

    Args:
        points: Point of each pixel of n and m in the camera frame of view n [m].
        gripper: The gripper in both views, where points are.
        intrinsics: Of view n.
        robust: Leave out, in both views, stray points and the outermost coordinates.

    Returns:
        0 where a view has no gripper.
    """
    rows, columns = np.nonzero(gripper[0])
    in_n, in_m = (points[view][gripper[view]] for view in range(2))
    boxes = [
        _box(np.stack([columns, rows], axis=-1) + 0.5, in_n, robust=robust),
        _box(intrinsics.project(in_m)[0], in_m, robust=robust),
    ]
    edge = np.array([intrinsics.width, intrinsics.height] * 2, float)
    seen, expected = (None if box is None else np.clip(box, 0, edge) for box in boxes)
    return 0.0 if seen is None or expected is None else _iou(seen, expected)


def mean_cross_view_iou(
    points: Float[Array, "2 t h w 3"],
    gripper: Mapping[str, Bool[Array, "2 t h w"]],
    true_gripper: Mapping[str, Bool[Array, "2 t h w"]],
    intrinsics: Intrinsics,
    *,
    robust: bool,
) -> float:
    """Mean of `cross_view_iou` over all arms and frames in which both views truly show the arm's gripper.

    A gripper that only one camera sees is no disagreement, and a prediction cannot choose what it is measured on.

    Args:
        points: Point of each pixel in the camera frame of view n [m].
        gripper: Where the video shows each arm's gripper, where points are.
        true_gripper: Where it really is.
        intrinsics: Of view n.
        robust: See `cross_view_iou`.

    Returns:
        NaN where the views have no gripper in common.
    """
    values = [
        cross_view_iou(points[:, t], gripper[arm][:, t], intrinsics, robust=robust)
        for arm, true in true_gripper.items()
        for t in np.nonzero((true.sum(axis=(2, 3)) >= _SEEN_PX).all(axis=0))[0]
    ]
    return float(np.mean(values)) if values else float("nan")


def mask_iou(found: Bool[Array, "*b h w"], true: Bool[Array, "*b h w"]) -> float:
    """Mean intersection over union of pixels, over the images in which there truly is something; NaN without one."""
    seen = true.sum(axis=(-1, -2)) >= _SEEN_PX
    shared, union = ((found & true).sum(axis=(-1, -2)), (found | true).sum(axis=(-1, -2)))
    return float(np.mean(shared[seen] / union[seen])) if seen.any() else float("nan")


def _box(uv: Float[Array, "n 2"], points: Float[Array, "n 3"], *, robust: bool) -> Float[Array, "4"] | None:
    """Left, top, right, bottom edge [px] of the pixels that hold some coordinates; None where there is none."""
    kept = points[:, 2] > 0
    if robust and len(points):
        kept &= np.linalg.norm(points - np.median(points, axis=0), axis=-1) < _STRAY_M
    if not kept.any():
        return None
    tail = _TAIL if robust else 0.0
    low, high = np.quantile(uv[kept], [tail, 1 - tail], axis=0)
    return np.concatenate([np.floor(low), np.ceil(high)])


def _iou(a: Float[Array, "4"], b: Float[Array, "4"]) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(np.prod(sides))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0
