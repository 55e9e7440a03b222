"""Where masks show a gripper, and how far they say that it came since the moment before."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.tracking.rendering import pixel_rays
from robo4d.tracking.view import DepthView

_DEPTH_M = 0.015
"""How far the gripper's middle lies behind the median of its visible surface [m]."""
_FEWEST_PIXELS = 20
"""Of a mask, with depth, from which on it says where the gripper is."""


class Middle(NamedTuple):
    """Middle of what one view shows of a gripper."""

    p_world: Float[Array, "3"]
    """[m]."""
    pixels: int
    """Of the mask, with depth."""


def visible_middles(views: Sequence[DepthView]) -> tuple[Middle | None, ...]:
    """Of each view; None where it has no mask, or hardly any depth in it."""
    return tuple(_visible_middle(view) for view in views)


def _visible_middle(view: DepthView) -> Middle | None:
    if view.mask is None or np.count_nonzero(shown := view.mask & (view.depth > 0)) < _FEWEST_PIXELS:
        return None
    points_camera = view.depth[shown][:, None] * pixel_rays(view.intrinsics)[shown]
    p_camera = np.median(points_camera, axis=0).astype(float)
    return Middle(se3.apply(se3.inverse(view.T_camera_world), p_camera), len(points_camera))


def gripper_middle(views: Sequence[DepthView], middles: Sequence[Middle | None]) -> Float[Array, "3"] | None:
    """Middle of the gripper [m, world] by the view that shows most of it; None where none does."""
    seen = [(view, middle) for view, middle in zip(views, middles, strict=True) if middle is not None]
    if not seen:
        return None
    view, (p_world, _) = max(seen, key=lambda one: one[1].pixels)
    ray = p_world - se3.inverse(view.T_camera_world)[:3, 3]
    return p_world + _DEPTH_M * ray / np.linalg.norm(ray)


def way(before: Sequence[Middle | None], now: Sequence[Middle | None]) -> Float[Array, "3"] | None:
    """Way between two moments [m, world]; None unless a view shows the gripper in both.

    What is hidden or cut off in a view is so in both, nearly: their difference is exact to a centimetre, where the
    middle itself is not.
    """
    pairs = [(a, b) for a, b in zip(before, now, strict=True) if a is not None and b is not None]
    weights = [min(a.pixels, b.pixels) for a, b in pairs]
    if not pairs:
        return None
    return np.average([b.p_world - a.p_world for a, b in pairs], axis=0, weights=weights)
