"""Smooth motion of a tool through via poses."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation, Slerp

from robo4d.geometry import se3

SPEED = 0.13
"""Of the TCP on a straight line [m/s]: a held box creeps along the fingers at more than 0.15."""
ANGULAR_SPEED = 0.6
"""[rad/s]."""
_BLEND_S = 0.8
"""Time over which the polyline is averaged: it starts, ends and turns corners this softly."""
_SAMPLE_S = 0.005
"""Spacing of the samples of a path: 0.7 mm."""


class Path:
    """Straight lines between poses at constant speed, averaged over a sliding window of time.

    The average starts and ends at rest, rounds the corners, and never is faster than the lines themselves.

    Args:
        vias: Poses of the tool, the first being where it is.
        speed: [m/s].
    """

    def __init__(self, vias: list[Float[Array, "4 4"]], speed: float = SPEED) -> None:
        Ts = np.stack([*vias, vias[-1]])
        distances, angles = se3.distance(Ts[:-1], Ts[1:])
        durations = np.maximum(np.maximum(distances / speed, angles / ANGULAR_SPEED), 1e-3)
        knots = np.concatenate([[0.0], np.cumsum(durations)])
        self.duration_s = float(knots[-1]) + _BLEND_S
        window = np.hanning(round(_BLEND_S / _SAMPLE_S))
        times = np.clip(np.arange(0, self.duration_s + _SAMPLE_S, _SAMPLE_S), 0, knots[-1])
        quats = Slerp(knots, Rotation.from_matrix(Ts[:, :3, :3]))(times).as_quat()
        flips = np.cumprod(np.where(np.sum(quats[1:] * quats[:-1], axis=1) < 0, -1, 1))
        quats[1:] *= flips[:, None]
        p = np.stack([np.interp(times, knots, Ts[:, i, 3]) for i in range(3)], axis=1)
        R = Rotation.from_quat(_averaged(quats, window)).as_matrix()
        self._samples = se3.pose(R, _averaged(p, window))
        self._vias, self._arrivals = vias, knots[: len(vias)]

    @property
    def goal(self) -> Float[Array, "4 4"]:
        """The last pose."""
        return self._vias[-1]

    def at(self, time_s: float) -> Float[Array, "4 4"]:
        """The pose a time after the start."""
        return self._samples[int(np.clip(round(time_s / _SAMPLE_S), 0, len(self._samples) - 1))]

    def ahead(self, time_s: float) -> list[Float[Array, "4 4"]]:
        """The via poses that are not passed yet a time after the start."""
        return [
            T for T, arrival in zip(self._vias[1:], self._arrivals[1:], strict=True) if arrival + _BLEND_S / 2 > time_s
        ]


def _averaged(values: Float[Array, "n k"], window: Float[Array, " w"]) -> Float[Array, "n k"]:
    """Weighted average over the samples up to each one; before the first, all are like the first."""
    padded = np.concatenate([np.repeat(values[:1], len(window) - 1, axis=0), values])
    weights = window / window.sum()
    return np.stack([np.convolve(column, weights, mode="valid") for column in padded.T], axis=1)
