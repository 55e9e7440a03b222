"""A pointmap: one 3D point for every pixel of an image, all in one frame (paper, section 3.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.geometry.camera import Intrinsics


@dataclass(frozen=True, kw_only=True)
class Pointmap:
    """The points that the pixels of one image see."""

    points: Float[Array, "h w 3"]
    """Point of each pixel [m], in `frame`; zero where not valid."""
    valid: Bool[Array, "h w"]
    """Pixels that have a point."""
    frame: str
    """Name of the frame of the points."""

    @classmethod
    def from_depth(cls, depth: Float[Array, "h w"], intrinsics: Intrinsics, *, frame: str) -> "Pointmap":
        """Points in the camera's own optical frame. Depth [m] counts as valid where it is finite and positive."""
        valid = np.isfinite(depth) & (depth > 0)
        return cls(points=intrinsics.backproject(np.where(valid, depth, 0)), valid=valid, frame=frame)

    @classmethod
    def example(cls) -> "Pointmap":
        """A wall 1 m in front of the example camera, with one pixel missing."""
        intrinsics = Intrinsics.example()
        depth = np.ones((intrinsics.height, intrinsics.width), np.float32)
        depth[0, 0] = 0
        return cls.from_depth(depth, intrinsics, frame="camera")

    def in_frame(self, T_a_b: Float[Array, "4 4"], *, frame: str) -> "Pointmap":
        """The same points in frame a, b being the present frame: with T_n_m, the paper's X^{m->n} (section 3.2)."""
        points = np.where(self.valid[..., None], se3.apply(T_a_b, self.points), np.zeros((), self.points.dtype))
        return Pointmap(points=points, valid=self.valid, frame=frame)

    def cloud(self) -> Float[Array, "n 3"]:
        """The valid points as a list [m]."""
        return self.points[self.valid]
