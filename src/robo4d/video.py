"""What the generator makes: the future of both views as colour and points, in one frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics


@dataclass(frozen=True, kw_only=True)
class PointmapVideo:
    """RGB and pointmaps of the reference view n (index 0) and the second view m (index 1) over time."""

    rgb: UInt8[Array, "v t h w 3"]
    points: Float32[Array, "v t h w 3"]
    """Point of each pixel [m], of BOTH views in the camera frame of view n: X^n and X^{m->n} (paper, section 3.2)."""
    valid: Bool[Array, "v t h w"]
    """Pixels that have a point."""
    times_s: Float32[Array, " t"]
    """Time of each frame after the observation [s], increasing."""
    intrinsics: tuple[Intrinsics, ...]
    """Projection of each view, at the size of the images."""
    frame: str
    """Name of the frame of the points: the optical frame of view n."""
    stamp_ns: int
    """Exposure time of the observation that the video starts from [ns]."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        views, _, height, width = self.valid.shape
        if len(self.intrinsics) != views or any((k.height, k.width) != (height, width) for k in self.intrinsics):
            raise ValueError(f"{views} views of {height} x {width} px need as many intrinsics of that size")
        if np.any(np.diff(self.times_s) <= 0):
            raise ValueError(f"times must increase, got {self.times_s}")

    @classmethod
    def example(cls) -> "PointmapVideo":
        """A still grey wall, two frames long."""
        k = Intrinsics.example()
        shape = (2, 2, k.height, k.width)
        points = np.broadcast_to(k.backproject(np.ones((k.height, k.width), np.float32)), (*shape, 3)).copy()
        return cls(
            rgb=np.full((*shape, 3), 128, np.uint8),
            points=points,
            valid=np.ones(shape, bool),
            times_s=np.array([0.5, 1.0], np.float32),
            intrinsics=(k, k),
            frame="camera",
            stamp_ns=0,
        )
