"""Where cameras look at the cell from: fresh views for every episode, as in the paper's simulated data (section 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import Camera, Intrinsics, look_at

_FINGER_WIDTH = 0.02
"""Width of a Franka finger [m]."""
_MAX_TRIES = 1000
"""Tries for one camera before the settings count as impossible."""


@dataclass(frozen=True, kw_only=True)
class CameraShell:
    """Cameras in the upper half of a spherical shell that look at its centre."""

    centre: tuple[float, float, float] = (0.5, 0.0, 0.15)
    """Point of the world that all cameras look at [m], give or take `jitter`."""
    jitter: float = 0.03
    """Standard deviation of the point looked at, along each axis [m]."""
    radius: tuple[float, float] = (1.0, 1.4)
    """Nearest and farthest distance from the centre [m]; cameras are uniform in the shell's volume."""
    elevation_deg: tuple[float, float] = (15.0, 75.0)
    """Lowest and highest angle above the horizon [deg]; cameras are uniform on the sphere between them."""
    finger_px: float = 4.0
    """Width of a finger at the centre [px] in an image of 128 x 128; it sets the field of view."""
    work_area: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.36, -0.2, 0.0), (0.64, 0.2, 0.3))
    """Corners of the box [m] that both grippers work in: all of it must be in the picture."""

    def __post_init__(self) -> None:
        """Refuse what leaves no place for a camera."""
        if not 0 < self.radius[0] <= self.radius[1]:
            raise ValueError(f"radius must be (nearest, farthest) with 0 < nearest <= farthest [m], got {self.radius}")
        if not -90 <= self.elevation_deg[0] <= self.elevation_deg[1] < 90:
            raise ValueError(f"elevation_deg must be (lowest, highest) within -90 .. 90, got {self.elevation_deg}")
        if self.finger_px <= 0:
            raise ValueError(f"finger_px must be positive, got {self.finger_px}")


def sample_cameras(
    rng: np.random.Generator,
    count: int,
    *,
    width: int,
    height: int,
    shell: CameraShell | None = None,
    keep: Callable[[Camera], bool] = lambda camera: True,
) -> list[Camera]:
    """Draw cameras that have the whole work area in the picture.

    The same generator state gives the same cameras, whatever the image size.

    Args:
        rng: Source of the positions; `np.random.default_rng((seed, episode))` gives each episode its own cameras.
        count: Number of cameras.
        width: Width of the images [px].
        height: Height of the images [px]. The field of view belongs to the shorter side, so that an image of another
            aspect shows more of the cell and never less.
        shell: Where the cameras may be.
        keep: What else a camera must fulfil, such as that no furniture hides the grippers.

    Raises:
        ValueError: hardly any place in the shell fulfils the conditions.
    """
    shell = shell or CameraShell()
    return [_sample_camera(rng, width, height, shell, keep) for _ in range(count)]


def mounted_cameras(*, width: int, height: int) -> list[Camera]:
    """Two cameras as a lab would mount them: opposite the robots, on both sides, looking down at the middle."""
    target, fovy_deg = np.array([0.5, 0.0, 0.25]), 46.0  # both grippers stay in sight up to 0.5 m above the table
    intrinsics = Intrinsics.from_fovy(fovy_deg, width=width, height=height)
    return [
        Camera(intrinsics=intrinsics, T_world_camera=look_at(np.array([1.35, y, 0.85]), target)) for y in (-0.7, 0.7)
    ]


def at_size(camera: Camera, *, width: int, height: int) -> Camera:
    """The same camera with an image of another size and aspect [px]: the shorter side keeps its field of view."""
    k = camera.intrinsics
    f = k.fy * min(width, height) / min(k.width, k.height)
    intrinsics = Intrinsics(fx=f, fy=f, cx=width / 2, cy=height / 2, width=width, height=height)
    return Camera(intrinsics=intrinsics, T_world_camera=camera.T_world_camera)


def _sample_camera(
    rng: np.random.Generator, width: int, height: int, shell: CameraShell, keep: Callable[[Camera], bool]
) -> Camera:
    for _ in range(_MAX_TRIES):
        radius = np.cbrt(rng.uniform(shell.radius[0] ** 3, shell.radius[1] ** 3))
        lowest, highest = np.sin(np.deg2rad(shell.elevation_deg))
        sin_elevation, azimuth = rng.uniform(lowest, highest), rng.uniform(-math.pi, math.pi)
        cos_elevation = math.sqrt(1 - sin_elevation**2)
        direction = np.array([cos_elevation * np.cos(azimuth), cos_elevation * np.sin(azimuth), sin_elevation])
        target = np.array(shell.centre) + shell.jitter * rng.standard_normal(3)
        f = float(shell.finger_px / _FINGER_WIDTH * radius * min(width, height) / 128)
        camera = Camera(
            intrinsics=Intrinsics(fx=f, fy=f, cx=width / 2, cy=height / 2, width=width, height=height),
            T_world_camera=look_at(np.array(shell.centre) + radius * direction, target),
        )
        if _sees(camera, _corners(shell.work_area)) and keep(camera):
            return camera
    raise ValueError(
        f"no camera sees the whole work area after {_MAX_TRIES} tries: lower finger_px, which widens the view, "
        f"shrink the work area, or ask less of `keep`; the shell is {shell}"
    )


def _sees(camera: Camera, points_world: Float[Array, "n 3"]) -> bool:
    """Whether all points lie within the square in the middle of the image, which every aspect contains."""
    uv, z = camera.project(points_world)
    k = camera.intrinsics
    half = min(k.width, k.height) / 2
    return bool((z > 0).all() and (np.abs(uv - [k.cx, k.cy]) <= half).all())


def _corners(box: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Float[Array, "8 3"]:
    return np.stack(np.meshgrid(*zip(*box, strict=True), indexing="ij"), axis=-1).reshape(8, 3)
