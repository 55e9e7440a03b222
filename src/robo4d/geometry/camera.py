"""Pinhole cameras in the optical convention: x right, y down, z forward.

Pixel (column u, row v) covers [u, u+1) x [v, v+1): its CENTRE is at (u + 0.5, v + 0.5), so the principal point of
a camera without offset is (width / 2, height / 2), and resizing an image scales fx, fy, cx, cy by the same factor.
ROS `CameraInfo` and OpenCV put pixel centres at integers; conversions at that border subtract or add 0.5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """A pinhole projection without distortion, and the size of its image."""

    fx: float
    """Focal length along x [px]."""
    fy: float
    """Focal length along y [px]."""
    cx: float
    """Principal point [px], pixel centres at +0.5."""
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse what cannot be projected with."""
        if not (self.fx > 0 and self.fy > 0 and np.isfinite([self.fx, self.fy, self.cx, self.cy]).all()):
            raise ValueError(f"focal lengths must be positive and all values finite, got {self}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size must be at least 1 x 1, got {self.width} x {self.height}")

    @classmethod
    def from_fovy(cls, fovy_deg: float, *, width: int, height: int) -> "Intrinsics":
        """Square pixels and a centred principal point from a vertical field of view."""
        f = 0.5 * height / np.tan(0.5 * np.deg2rad(fovy_deg))
        return cls(fx=f, fy=f, cx=width / 2, cy=height / 2, width=width, height=height)

    @classmethod
    def example(cls) -> "Intrinsics":
        """A small camera for tests and documentation."""
        return cls.from_fovy(45.0, width=8, height=6)

    @property
    def matrix(self) -> Float[Array, "3 3"]:
        """The calibration matrix K, pixel centres at +0.5."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def resized(self, *, width: int, height: int) -> "Intrinsics":
        """The same camera after its image was resized."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            fx=sx * self.fx, fy=sy * self.fy, cx=sx * self.cx, cy=sy * self.cy, width=width, height=height
        )

    def rays(self) -> Float[Array, "h w 3"]:
        """Direction of every pixel's centre in the camera frame, scaled to z = 1."""
        u = (np.arange(self.width) + 0.5 - self.cx) / self.fx
        v = (np.arange(self.height) + 0.5 - self.cy) / self.fy
        rays = np.ones((self.height, self.width, 3))
        rays[..., 0] = u
        rays[..., 1] = v[:, None]
        return rays

    def backproject(self, depth: Float[Array, "*t h w"]) -> Float[Array, "*t h w 3"]:
        """Points [m] in the camera frame from depth along the optical axis [m]; invalid depth (0) gives the origin."""
        if depth.shape[-2:] != (self.height, self.width):
            raise ValueError(f"depth is {depth.shape[-2:]}, the camera {(self.height, self.width)} (height, width)")
        return depth[..., None] * self.rays().astype(depth.dtype)

    def project(self, points_camera: Float[Array, "*b 3"]) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"]]:
        """Pixel coordinates (u, v; pixel centres at +0.5) and depth z [m] of points [m] in the camera frame.

        A point that is not in front of the camera (z <= 0) has no image: its coordinates are NaN.
        """
        z = points_camera[..., 2]
        safe_z = np.where(z > 0, z, np.nan)
        u = self.fx * points_camera[..., 0] / safe_z + self.cx
        v = self.fy * points_camera[..., 1] / safe_z + self.cy
        return np.stack([u, v], axis=-1), z


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera at a known place."""

    intrinsics: Intrinsics
    T_world_camera: Float[Array, "4 4"]
    """Pose of the optical frame in the world."""

    @classmethod
    def example(cls) -> "Camera":
        """A camera 1 m above the world's origin that looks down on it."""
        eye, target = np.array([0.0, 0.0, 1.0]), np.zeros(3)
        return cls(intrinsics=Intrinsics.example(), T_world_camera=look_at(eye, target, up=np.array([0.0, 1.0, 0.0])))

    def project(self, points_world: Float[Array, "*b 3"]) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"]]:
        """Pixel coordinates and depth [m] of points [m] in the world; see `Intrinsics.project`."""
        return self.intrinsics.project(se3.apply(se3.inverse(self.T_world_camera), points_world))

    def backproject(self, depth: Float[Array, "h w"]) -> Float[Array, "h w 3"]:
        """Points [m] in the world from a depth image [m]."""
        return se3.apply(self.T_world_camera, self.intrinsics.backproject(depth))


def look_at(
    eye: Float[Array, "3"], target: Float[Array, "3"], up: Float[Array, "3"] | None = None
) -> Float[Array, "4 4"]:
    """T_world_camera of a camera at `eye` whose optical axis passes through `target` [m], image x axis horizontal.

    Args:
        eye: The camera's centre in the world [m].
        target: A point on the optical axis [m].
        up: The direction that shall point upwards in the image; the world's z axis when left out.

    Raises:
        ValueError: eye and target coincide, or the view direction is parallel to `up`.
    """
    z = target - eye
    x = np.cross(z, np.array([0.0, 0.0, 1.0]) if up is None else up)
    if np.linalg.norm(z) < 1e-9 or np.linalg.norm(x) < 1e-9 * np.linalg.norm(z):
        raise ValueError(f"no view from {eye} to {target}: they coincide, or the view is parallel to `up`")
    z, x = z / np.linalg.norm(z), x / np.linalg.norm(x)
    return se3.pose(np.stack([x, np.cross(z, x), z], axis=-1), eye)
