"""Faults of predicted depth, for benchmarks and for stand-ins of a generator: what VAEs and diffusion do to pointmaps.

All of them move points along their own viewing ray, as the pixel's place in the image is never in doubt.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.ndimage import gaussian_filter, zoom

from robo4d.geometry import se3
from robo4d.video import PointmapVideo

_BIAS_NODES = 5
"""Grid of the low-frequency bias across the image, and ..."""
_BIAS_MOMENTS = 3
"""... over the clip."""
_EDGE_M = 0.03
"""Step of depth between neighbours [m] that counts as an edge."""
_MOST_MIXING = 0.5
"""A flying pixel lies up to so far on its way to the surface beside it."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How bad the depth of a predicted clip is. All zero: perfect."""

    noise_m: float = 0.0
    """Standard deviation of independent noise in each pixel [m]."""
    bias_m: float = 0.0
    """Standard deviation of an error that varies slowly over image and time [m], as latent codes make it."""
    flying_pixels: float = 0.0
    """Share of the pixels beside an edge that hang between the two surfaces."""
    blur_px: float = 0.0
    """Standard deviation of a Gaussian blur of colour and depth [px]."""
    missing: float = 0.0
    """Share of pixels without a point."""
    misalignment_m: float = 0.0
    """How far view m as a whole is from where it should be, in a random direction [m]."""
    misalignment_deg: float = 0.0
    """How far it is turned about the middle of its points, about a random axis [deg]."""

    def __post_init__(self) -> None:
        """Refuse what is no degradation."""
        values = (self.noise_m, self.bias_m, self.blur_px, self.misalignment_m, self.misalignment_deg)
        if min(values) < 0 or not (0 <= self.flying_pixels <= 1 and 0 <= self.missing <= 1):
            raise ValueError(f"magnitudes must not be negative, shares lie between 0 and 1, got {self}")

    @classmethod
    def typical(
        cls,
        noise_m: float = 0.005,
        *,
        blur_px: float = 0.0,
        misalignment_m: float = 0.0,
        misalignment_deg: float = 0.0,
    ) -> "Degradation":
        """A decent generator at 128 x 128: noise, bias in proportion, mixed edges, a few holes; without noise none."""
        return cls(
            noise_m=noise_m,
            bias_m=0.8 * noise_m,
            flying_pixels=1.0 if noise_m else 0.0,
            missing=0.05 if noise_m else 0.0,
            blur_px=blur_px,
            misalignment_m=misalignment_m,
            misalignment_deg=misalignment_deg,
        )

    @property
    def is_perfect(self) -> bool:
        """Whether nothing is degraded."""
        return self == Degradation()


def degrade_depth(
    depth: Float[Array, "t h w"], degradation: Degradation, rng: np.random.Generator
) -> Float[Array, "t h w"]:
    """Depth or distance [m] of one camera's clip with faults; 0 means that there is none, before and after.

    The misalignment is no matter of depth and left out: see `degrade_video`.
    """
    valid, result = depth > 0, depth.astype(float)
    if degradation.blur_px > 0:
        spread = (0, degradation.blur_px, degradation.blur_px)
        weight = gaussian_filter(valid.astype(float), spread)
        result = gaussian_filter(result, spread) / np.maximum(weight, 1e-6)
    if degradation.flying_pixels > 0:
        result = _with_flying_pixels(result, valid, degradation.flying_pixels, rng)
    result += degradation.noise_m * rng.standard_normal(depth.shape)
    result += degradation.bias_m * _slow_field(depth.shape, rng)
    result[~valid | (rng.random(depth.shape) < degradation.missing)] = 0
    return np.maximum(result, 0)


def degrade_video(
    video: PointmapVideo, degradation: Degradation, *, T_n_m: Float[Array, "4 4"], rng: np.random.Generator
) -> PointmapVideo:
    """A perfect video with faults.

    Args:
        video: The ground truth as a prediction.
        degradation: How bad it shall become.
        T_n_m: True pose of camera m in camera n, from where the rays of view m start.
        rng: Source of the faults.
    """
    points, valid = np.empty_like(video.points), np.empty_like(video.valid)
    for view, p_n_camera in enumerate((np.zeros(3), T_n_m[:3, 3])):
        points[view], valid[view] = _degrade_points(
            video.points[view], video.valid[view], p_n_camera.astype(np.float32), degradation, rng
        )
    if degradation.misalignment_m > 0 or degradation.misalignment_deg > 0:
        points[1] = np.where(
            valid[1][..., None], se3.apply(_misalignment(points[1][valid[1]], degradation, rng), points[1]), 0
        )
    rgb = video.rgb
    if degradation.blur_px > 0:
        rgb = gaussian_filter(rgb, (0, 0, degradation.blur_px, degradation.blur_px, 0))
    return replace(video, rgb=rgb, points=points, valid=valid)


def _degrade_points(
    points: Float32[Array, "t h w 3"],
    valid: Bool[Array, "t h w"],
    p_camera: Float32[Array, "3"],
    degradation: Degradation,
    rng: np.random.Generator,
) -> tuple[Float32[Array, "t h w 3"], Bool[Array, "t h w"]]:
    """Faults in the distance from a camera; points that were not valid stay so."""
    rays = np.where(valid[..., None], points - p_camera, np.float32(0))
    distance = np.linalg.norm(rays, axis=-1)
    degraded = degrade_depth(distance, degradation, rng)
    stretch = np.divide(degraded, distance, out=np.zeros_like(degraded), where=distance > 0)
    still_valid = degraded > 0
    moved = p_camera + rays * stretch[..., None].astype(np.float32)
    return np.where(still_valid[..., None], moved, np.float32(0)), still_valid


def _with_flying_pixels(
    depth: Float[Array, "t h w"], valid: Bool[Array, "t h w"], share: float, rng: np.random.Generator
) -> Float[Array, "t h w"]:
    """Pixels beside an edge moved towards their neighbour's depth, to the left and above."""
    result = depth
    for axis in (1, 2):
        beside, beside_valid = np.roll(depth, 1, axis), np.roll(valid, 1, axis)
        edge = valid & beside_valid & (np.abs(beside - depth) > _EDGE_M) & (rng.random(depth.shape) < share)
        mixing = np.where(edge, rng.uniform(0, _MOST_MIXING, depth.shape), 0)
        result = (1 - mixing) * result + mixing * beside
    return result


def _slow_field(shape: tuple[int, ...], rng: np.random.Generator) -> Float[Array, "t h w"]:
    """Random values of about unit variance that vary slowly over time and image."""
    nodes = rng.standard_normal((_BIAS_MOMENTS, _BIAS_NODES, _BIAS_NODES))
    return np.asarray(zoom(nodes, [size / node for size, node in zip(shape, nodes.shape, strict=True)], order=1))


def _misalignment(
    points: Float32[Array, "n 3"], degradation: Degradation, rng: np.random.Generator
) -> Float[Array, "4 4"]:
    direction, axis = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    turn = se3.exp(np.concatenate([np.zeros(3), np.deg2rad(degradation.misalignment_deg) * axis]))
    middle = se3.translation(*points.mean(axis=0).astype(float))
    return se3.translation(*(degradation.misalignment_m * direction)) @ middle @ turn @ se3.inverse(middle)
