"""Smooth motion of a tool through via poses."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3

SPEED = 0.13
"""Of the TCP on a straight line [m/s]: a held box creeps along the fingers at more than 0.15."""
ANGULAR_SPEED = 0.6
"""[rad/s]."""
_BLEND_S = 0.8
"""Time over which the polyline is averaged: it starts, ends and turns corners this softly."""
_KERNEL = np.hanning(18)[1:-1] / np.hanning(18)[1:-1].sum()


class Path:
    """Straight lines between poses at constant speed, averaged over a sliding window of time.

    The average starts and ends at rest, rounds the corners, and never is faster than the lines themselves.

    Args:
        vias: Poses of the tool, the first being where it is.
        speed: [m/s].
    """

    def __init__(self, vias: list[Float[Array, "4 4"]], speed: float = SPEED) -> None:
        self._vias = vias
        legs = [se3.distance(a, b) for a, b in zip(vias[:-1], vias[1:], strict=True)]
        durations = [max(float(d) / speed, float(angle) / ANGULAR_SPEED) for d, angle in legs]
        self._knots = np.concatenate([[0.0], np.cumsum(durations)])
        self.duration_s = float(self._knots[-1]) + _BLEND_S

    @property
    def goal(self) -> Float[Array, "4 4"]:
        """The last pose."""
        return self._vias[-1]

    def at(self, time_s: float) -> Float[Array, "4 4"]:
        """The pose a time after the start."""
        times = time_s - _BLEND_S * np.linspace(0, 1, len(_KERNEL))
        Ts = np.stack([self._on_line(t) for t in times])
        R = Rotation.from_matrix(Ts[:, :3, :3]).mean(weights=_KERNEL).as_matrix()
        return se3.pose(R, _KERNEL @ Ts[:, :3, 3])

    def _on_line(self, time_s: float) -> Float[Array, "4 4"]:
        time_s = float(np.clip(time_s, 0, self._knots[-1]))
        leg = min(int(np.searchsorted(self._knots, time_s, side="right")), len(self._knots) - 1)
        start, end = self._knots[leg - 1], self._knots[leg]
        share = (time_s - start) / max(end - start, 1e-9)
        return se3.interpolate(self._vias[leg - 1], self._vias[leg], share)
