"""The path of a gripper: a twice continuously differentiable curve in SE(3) over video time."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from robo4d.geometry import se3


class PosePath:
    """Splines through poses: cubic in position, and in rotation with continuous angular acceleration."""

    def __init__(self, times_s: Float[Array, " t"], Ts_world_tcp: Float[Array, "t 4 4"]) -> None:
        """The path through the poses at their video times.

        Raises:
            ValueError: fewer than two poses, times that do not increase, or a pose that is no rigid motion.
        """
        if len(times_s) < 2 or np.any(np.diff(times_s) <= 0) or not np.all(se3.is_valid(Ts_world_tcp)):
            raise ValueError(f"a path needs two or more rigid motions at increasing times, got times {times_s}")
        # Natural ends, without acceleration: the clock itself starts and stops the motion.
        self._position = CubicSpline(times_s, Ts_world_tcp[:, :3, 3], bc_type="natural")
        self._rotation = RotationSpline(times_s, Rotation.from_matrix(Ts_world_tcp[:, :3, :3]))

    def poses(self, video_times_s: Float[Array, " n"]) -> Float[Array, "n 4 4"]:
        """T_world_tcp at video times [s]."""
        return se3.pose(self._rotation(video_times_s).as_matrix(), self._position(video_times_s))

    def speeds(self, video_times_s: Float[Array, " n"]) -> Float[Array, " n"]:
        """Speed of the TCP in the video [m/s]."""
        return np.linalg.norm(self._position(video_times_s, 1), axis=-1)

    def derivatives(
        self, video_times_s: Float[Array, " n"]
    ) -> tuple[Float[Array, "n 4 4"], Float[Array, "n 6"], Float[Array, "n 6"]]:
        """Poses, and the first and second derivative by video time of position [m] and rotation [rad], world axes."""
        rotation = self._rotation(video_times_s)
        # SciPy gives rates in body axes. d/du (R w) = R dw/du, since R (w x w) vanishes.
        first = rotation.apply(self._rotation(video_times_s, 1))
        second = rotation.apply(self._rotation(video_times_s, 2))
        return (
            se3.pose(rotation.as_matrix(), self._position(video_times_s)),
            np.concatenate([self._position(video_times_s, 1), first], axis=-1),
            np.concatenate([self._position(video_times_s, 2), second], axis=-1),
        )
