"""Motion between two samples: polynomials of degree 5 that share value, velocity and acceleration with both."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

Motion = tuple[Float[Array, "n k"], Float[Array, "n k"], Float[Array, "n k"]]
"""Value, velocity and acceleration."""
Turning = tuple[Float[Array, "n 3 3"], Float[Array, "n 3"], Float[Array, "n 3"]]
"""Rotation, angular velocity and angular acceleration, in world axes."""


def hermite(start: Motion, end: Motion, share: Float[Array, " n"], step: Float[Array, " n"]) -> Motion:
    """The motion a share in [0, 1] of the way between two samples, which are `step` [s] apart."""
    (x0, v0, a0), (x1, v1, a1) = start, end
    h, s = step[:, None], share[:, None]
    # In units of the step, the polynomial c0 + c1 s + ... + c5 s^5.
    v0, a0, v1, a1 = h * v0, h**2 * a0, h * v1, h**2 * a1
    dx, dv, da = x1 - x0 - v0 - a0 / 2, v1 - v0 - a0, a1 - a0
    c3, c4, c5 = 10 * dx - 4 * dv + da / 2, -15 * dx + 7 * dv - da, 6 * dx - 3 * dv + da / 2
    x = x0 + s * (v0 + s * (a0 / 2 + s * (c3 + s * (c4 + s * c5))))
    v = v0 + s * (a0 + s * (3 * c3 + s * (4 * c4 + s * 5 * c5)))
    a = a0 + s * (6 * c3 + s * (12 * c4 + s * 20 * c5))
    return x, v / h, a / h**2


def hermite_rotation(start: Turning, end: Turning, share: Float[Array, " n"], step: Float[Array, " n"]) -> Turning:
    """The turning motion a share in [0, 1] of the way between two samples, a small angle and `step` [s] apart.

    The rotation vector from R0 follows `hermite`. Its rates and the angular velocity differ by the left Jacobian of
    SO(3), taken to first order: at 0.01 rad between samples the rest is below 1e-5 of the velocity.
    """
    (R0, w0, a0), (R1, w1, a1) = start, end
    rotation = Rotation.from_matrix(R0)
    turn = (Rotation.from_matrix(R1) * rotation.inv()).as_rotvec()
    arrival = turn, w1 - np.cross(turn, w1) / 2, a1 - np.cross(turn, a1) / 2
    theta, rate, rate2 = hermite((np.zeros_like(turn), w0, a0), arrival, share, step)
    R = (Rotation.from_rotvec(theta) * rotation).as_matrix()
    return R, rate + np.cross(theta, rate) / 2, rate2 + np.cross(theta, rate2) / 2
