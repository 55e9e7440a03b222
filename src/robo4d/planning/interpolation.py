"""Motion between samples: polynomials of degree 5 that have the value, velocity and acceleration of each sample."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.interpolate import PPoly
from scipy.spatial.transform import Rotation

Motion = tuple[Float[Array, "m k"], Float[Array, "m k"], Float[Array, "m k"]]
"""Values, velocities and accelerations."""


def quintic(times_s: Float[Array, " n"], start: Motion, end: Motion) -> PPoly:
    """The curve whose i-th piece goes from sample i of `start` at times_s[i] to sample i of `end` at times_s[i + 1]."""
    h = np.diff(times_s)[:, None]
    (x0, v0, a0), (x1, v1, a1) = start, end
    # With s the share of the piece: x0 + h v0 s + h^2 a0 / 2 s^2 + c3 s^3 + c4 s^4 + c5 s^5.
    dx, dv, da = x1 - x0 - h * v0 - h**2 * a0 / 2, h * (v1 - v0) - h**2 * a0, h**2 * (a1 - a0)
    c3, c4, c5 = 10 * dx - 4 * dv + da / 2, -15 * dx + 7 * dv - da, 6 * dx - 3 * dv + da / 2
    return PPoly(np.stack([c5 / h**5, c4 / h**4, c3 / h**3, a0 / 2, v0, x0]), times_s)


class Turning:
    """A rotation over time through samples of it.

    The rotation vector from each sample to the next follows `quintic`. Its rates and the angular velocity differ by
    the left Jacobian of SO(3), taken to first order: at 0.01 rad between samples the rest is below 1e-5 of them.
    """

    def __init__(
        self,
        times_s: Float[Array, " n"],
        R: Float[Array, "n 3 3"],
        velocities: Float[Array, "n 3"],
        accelerations: Float[Array, "n 3"],
    ) -> None:
        """Two or more samples at increasing times [s]; angular velocities and accelerations in world axes."""
        self._times_s = times_s
        samples = Rotation.from_matrix(R)
        self._quaternions = samples.as_quat()
        turn = (samples[1:] * samples[:-1].inv()).as_rotvec()
        v1, a1 = velocities[1:], accelerations[1:]
        arrival = turn, v1 - np.cross(turn, v1) / 2, a1 - np.cross(turn, a1) / 2
        self._vector = quintic(times_s, (np.zeros_like(turn), velocities[:-1], accelerations[:-1]), arrival)

    def rotations(self, at_s: Float[Array, " m"]) -> Float[Array, "m 3 3"]:
        """Rotation at times within those of the samples."""
        piece = np.clip(np.searchsorted(self._times_s, at_s, side="right") - 1, 0, len(self._times_s) - 2)
        return (Rotation.from_rotvec(self._vector(at_s)) * Rotation.from_quat(self._quaternions[piece])).as_matrix()

    def rates(self, at_s: Float[Array, " m"], order: int) -> Float[Array, "m 3"]:
        """Angular velocity (order 1) or acceleration (order 2) in world axes."""
        rate = self._vector(at_s, order)
        return rate + np.cross(self._vector(at_s), rate) / 2
