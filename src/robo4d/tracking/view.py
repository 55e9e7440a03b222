"""What one camera sees at one moment, prepared for tests of poses."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.rendering import WHOLE, Window, pixel_rays

NEAREST_M = 0.05
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

    def points(self, shown: Bool[Array, "a b"], window: Window = WHOLE) -> Float[Array, "n 3"]:
        """The points [m, world] of some pixels of a window, all of which must have depth."""
        points_camera = self.depth[window][shown][:, None] * pixel_rays(self.intrinsics)[window][shown]
        return se3.apply(se3.inverse(self.T_camera_world), points_camera)

    @cached_property
    def points_camera(self) -> Float32[Array, "3 p"]:
        """Point of every pixel [m], for `pixels`; zero where there is no depth, and around the image."""
        return _framed(self.depth) * _framed_rays(self.intrinsics)

    @cached_property
    def background(self) -> Bool[Array, " p"]:
        """Pixels that show the background, for `pixels`."""
        return _framed(self.still)

    @cached_property
    def beside(self) -> Bool[Array, " p"] | None:
        """Pixels that the mask of hand and fingers excludes, for `pixels`; None without a mask."""
        if self.mask is None or not self.mask.any():
            return None
        return _framed(~self.mask)

    def pixels(self, points_camera: Float32[Array, "b 3 n"]) -> Int[Array, "b n"]:
        """Index of the pixel that shows each point [m], in the image with a rim of a pixel for all that is outside."""
        k, scale = self.intrinsics, 1 / np.maximum(points_camera[:, 2], np.float32(NEAREST_M))
        u = np.clip(np.float32(k.fx) * points_camera[:, 0] * scale + np.float32(k.cx + 1), 0, k.width + 1)
        v = np.clip(np.float32(k.fy) * points_camera[:, 1] * scale + np.float32(k.cy + 1), 0, k.height + 1)
        return v.astype(np.int32) * np.int32(k.width + 2) + u.astype(np.int32)


def _framed(image: Shaped[Array, "h w"]) -> Shaped[Array, " p"]:
    """An image with a rim of zeros, row by row."""
    framed = np.zeros((image.shape[0] + 2, image.shape[1] + 2), image.dtype)
    framed[1:-1, 1:-1] = image
    return framed.reshape(-1)


@lru_cache(maxsize=16)
def _framed_rays(intrinsics: Intrinsics) -> Float32[Array, "3 p"]:
    """As `pixel_rays`, for `DepthView.pixels`."""
    return np.stack([_framed(axis) for axis in np.moveaxis(pixel_rays(intrinsics), -1, 0)])


class ViewStack:
    """Several views as one list of pixels, so that points are looked up in all of them at once.

    Args:
        views: What the cameras see.
    """

    def __init__(self, views: tuple[DepthView, ...]) -> None:
        self.views = views
        self.Ts_camera_world: Float[Array, "v 4 4"] = np.stack([view.T_camera_world for view in views])
        self.points_camera: Float32[Array, "3 p"] = np.concatenate([view.points_camera for view in views], axis=1)
        """As in `DepthView`, each view's in its own camera, one view after the other."""
        self.background: Bool[Array, " p"] = np.concatenate([view.background for view in views])
        """As in `DepthView`."""
        self.beside: Bool[Array, " p"] | None = None
        """As in `DepthView`; None if no view has a mask."""
        if any(view.beside is not None for view in views):
            no = [np.zeros_like(view.background) if view.beside is None else view.beside for view in views]
            self.beside = np.concatenate(no)
        sizes = [view.points_camera.shape[1] for view in views]
        self._starts = (np.cumsum(sizes) - sizes).astype(np.int32)[:, None, None]
        k = [view.intrinsics for view in views]
        self._focal = np.array([[i.fx, i.fy] for i in k], np.float32)[:, None, :, None]
        self._centre = np.array([[i.cx + 1, i.cy + 1] for i in k], np.float32)[:, None, :, None]
        self._last = np.array([[i.width + 1, i.height + 1] for i in k], np.float32)[:, None, :, None]
        self._stride = np.array([i.width + 2 for i in k], np.int32)[:, None, None]

    def pixels(self, points_camera: Float32[Array, "v b 3 n"]) -> Int[Array, "v b n"]:
        """Index of the pixel of each view that shows each point [m], as `DepthView.pixels`."""
        scale = self._focal / np.maximum(points_camera[:, :, 2:], np.float32(NEAREST_M))
        uv = np.minimum(np.maximum(points_camera[:, :, :2] * scale + self._centre, 0), self._last).astype(np.int32)
        return uv[:, :, 1] * self._stride + uv[:, :, 0] + self._starts
