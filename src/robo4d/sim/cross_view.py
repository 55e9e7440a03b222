"""Do the views agree? Points lifted from one camera are looked up in the depth image of another."""

import itertools
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import Camera

_OCCLUSION_MARGIN = 2e-3
"""A point counts as visible when a ray from the camera reaches it within this distance [m]."""
_MAX_BEND = 1e-3
"""Neighbouring pixels lie on one flat surface when their inverse depths deviate less than this share from a plane."""
_MAX_SLOPE = 0.1
"""... and differ by less than this share, which keeps out edges that run along the pixel grid."""


def cross_view_errors(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    cameras: list[Camera],
    depths: Sequence[Float[Array, "h w"]],
    furniture: Sequence[Bool[Array, "h w"]],
    *,
    rng: np.random.Generator,
    points_per_pair: int = 200,
) -> Float[Array, " pairs"]:
    """Mean distance [m] between the depth that camera j measures and that of points lifted from camera i.

    The points are on furniture, spread over the image of camera i, and visible from camera j by ray casting in the
    physics, which shares nothing with the images. Camera j's depth is interpolated between pixel centres (inverse
    depth is linear on a plane), only where the four pixels see one flat surface: otherwise the resolution of the
    image would be measured, not the cameras.

    Args:
        model: The model that the images show.
        data: Its state, forward-computed.
        cameras: The views; all ordered pairs of them are compared.
        depths: Depth image of each camera [m].
        furniture: Pixels of each camera that see something which does not move, at a positive depth.
        rng: Chooses the points.
        points_per_pair: Points lifted for each pair, before those out of sight of camera j are left out.
    """
    errors: list[float] = []
    for i, j in itertools.permutations(range(len(cameras)), 2):
        points = cameras[i].backproject(depths[i])[furniture[i]]
        points = points[rng.choice(len(points), min(points_per_pair, len(points)), replace=False)]
        points = points[_visible(model, data, cameras[j], points)]
        uv, z = cameras[j].project(points)
        measured, flat = _interpolate(depths[j], furniture[j], uv)
        if flat.any():
            errors.append(float(np.abs(measured - z)[flat].mean()))
    return np.array(errors)


def _visible(
    model: mujoco.MjModel, data: mujoco.MjData, camera: Camera, points: Float[Array, "n 3"]
) -> Bool[Array, " n"]:
    """Points [m] that nothing hides from the camera, by ray casting against the geoms that are drawn (groups 0-2)."""
    eye = camera.T_world_camera[:3, 3]
    rays = points - eye
    distance = np.linalg.norm(rays, axis=-1)
    drawn = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    geom = np.zeros(1, np.int32)
    hits = [mujoco.mj_ray(model, data, eye, ray, drawn, 1, -1, geom) for ray in rays / distance[:, None]]
    return np.abs(np.array(hits) - distance) < _OCCLUSION_MARGIN


def _interpolate(
    depth: Float[Array, "h w"], usable: Bool[Array, "h w"], uv: Float[Array, "n 2"]
) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
    """Depth at (u, v) between the four pixel centres around it, and whether these see one flat surface."""
    height, width = depth.shape
    uv = np.nan_to_num(uv, nan=-1.0) - 0.5  # NaN is behind the camera; pixel centres at integers, as indices are
    u, v = np.clip(np.floor(uv), 0, [width - 2, height - 2]).astype(int).T
    a, b = (uv - np.stack([u, v], axis=-1)).T
    patch = np.stack([(v, u), (v, u + 1), (v + 1, u), (v + 1, u + 1)])  # (4, 2, n)
    corners = np.stack([depth[row, column] for row, column in patch])
    inside = (np.minimum(a, b) >= 0) & (np.maximum(a, b) <= 1)
    seen = inside & np.stack([usable[row, column] for row, column in patch]).all(axis=0)
    inverse = 1 / np.where(seen, corners, 1.0)
    bend = np.abs(inverse[0] - inverse[1] - inverse[2] + inverse[3]) / inverse.mean(axis=0)
    slope = (inverse.max(axis=0) - inverse.min(axis=0)) / inverse.mean(axis=0)
    weights = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    return 1 / (weights * inverse).sum(axis=0), seen & (bend < _MAX_BEND) & (slope < _MAX_SLOPE)
