"""Robust smoothing of tracked poses: graduated non-convexity with the Geman-McClure loss.

A tracker on generated video is right to a few millimetres in most frames and far off in some. Least squares spreads
those frames' error over their neighbours; here each frame keeps a weight, all start as inliers of a nearly quadratic
loss, and the loss is narrowed step by step (Yang et al., Graduated Non-Convexity for Robust Spatial Perception, 2020)
until a frame that does not fit the others' smooth motion has lost its weight.

The fewer neighbours hold a frame, the more the fit follows it, right or wrong: the last one draws the path to itself
and seems to be exact. Errors are therefore studentized, that is, divided by the share of the frame's own error that
the fit leaves (one less its leverage; Cook and Weisberg, Residuals and Influence in Regression, 1982).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3

_PINNED = 1e6
"""Weight of frame 0, the measured pose, against 1 of a tracked pose."""
_FIRST_WIDTH = 16.0
"""Width of the first loss against the last. Wider, and a hand seen back to front (180 deg) draws the others over."""
_STEPS = 10
"""Solves: the loss is narrowed by half at each, so that the last six run with the final one."""
_LEAST_FREEDOM = 1e-3
"""The least that a fit is taken to leave of a frame's error, as nothing is left at frame 0."""
_OUTLIER_WEIGHT = 0.25
"""A frame is an outlier below this weight: its error exceeds the inlier bound (the loss is (c / (c + e))^2)."""


@dataclass(frozen=True, kw_only=True)
class SmoothingConfig:
    """How exact tracked poses are, and how smoothly grippers move."""

    position_sigma_m: float = 0.006
    """Standard deviation of a good pose's position [m]. The embedded tracker is off by 2.6 mm in the median and 5.4 mm
    at the 90th percentile, on true videos with 5 mm of noise; a generated one adds errors of its own."""
    rotation_sigma_rad: float = 0.05
    """Standard deviation of a good pose's rotation [rad]. The embedded tracker is off by 0.9 deg in the median."""
    acceleration_sigma: float = 0.15
    """Typical acceleration of the hand [m/s^2]: a transit of 0.3 m in 3 s."""
    angular_acceleration_sigma: float = 0.8
    """Typical angular acceleration of the hand [rad/s^2]."""
    inlier_bound: float = 12.6
    """Squared error, in standard deviations, that a good pose keeps with 95 % (chi squared, 6 degrees of freedom)."""

    def __post_init__(self) -> None:
        """Refuse what cannot weigh."""
        if min(vars(self).values()) <= 0:
            raise ValueError(f"all values must be positive, got {self}")


def anchored(Ts_world_tcp: Float[Array, "t 4 4"], T_world_tcp: Float[Array, "4 4"]) -> Float[Array, "t 4 4"]:
    """The motion of the track, starting at the measured pose.

    Displacement and rotation since frame 0 are applied in world axes, so that the tracker's constant offset cancels
    and an error of frame 0 in rotation does not swing the whole path.
    """
    R_track_start = Ts_world_tcp[0, :3, :3]
    return se3.pose(
        Ts_world_tcp[:, :3, :3] @ R_track_start.T @ T_world_tcp[:3, :3],
        Ts_world_tcp[:, :3, 3] - Ts_world_tcp[0, :3, 3] + T_world_tcp[:3, 3],
    )


def smoothed(
    times_s: Float[Array, " t"],
    Ts_world_tcp: Float[Array, "t 4 4"],
    weights: Float[Array, " t"],
    config: SmoothingConfig,
) -> tuple[Float[Array, "t 4 4"], Bool[Array, " t"]]:
    """Smooth poses that start exactly at the first, and the frames that they do not follow.

    Positions and rotations are smoothed side by side (their errors are weighed together): minimal squared errors to
    the tracked poses plus squared accelerations. The Jacobians of SO(3) are taken as identity, which is exact for
    positions and of second order in the small errors of inlier rotations.

    Args:
        times_s: Increasing.
        Ts_world_tcp: Tracked poses; not read where the weight is 0.
        weights: Trust in each pose, 0 to 1. Frame 0 is kept as it is whatever its weight.
        config: Scales of errors and motion.

    Raises:
        ValueError: fewer than two poses have a weight.
    """
    used = weights > 0
    used[0] = True
    if used.sum() < 2:
        raise ValueError("smoothing needs the first pose and at least one more with a weight above 0")
    # Frames without a pose start at the one before them; their weight is 0, so that only smoothness moves them.
    source = np.maximum.accumulate(np.where(used, np.arange(len(times_s)), 0))
    p_measured = Ts_world_tcp[source, :3, 3]
    R_measured = Rotation.from_matrix(Ts_world_tcp[source, :3, :3])
    curvature, jump = _differences(times_s)
    curvature_p, curvature_R = curvature / config.acceleration_sigma, curvature / config.angular_acceleration_sigma

    p, R, trust, width = p_measured, _running_medoid(R_measured), weights, _FIRST_WIDTH
    freedom_p = freedom_R = np.ones(len(times_s))
    for _ in range(_STEPS):
        turn = (R_measured * R.inv()).as_rotvec()
        errors_p = np.sum((p_measured - p) ** 2, axis=-1) / config.position_sigma_m**2 / freedom_p
        errors_R = np.sum(turn**2, axis=-1) / config.rotation_sigma_rad**2 / freedom_R
        errors = np.where(used, errors_p + errors_R, 0)
        bound, width = max(width, 1.0) * config.inlier_bound, width / 2
        trust = (bound / (bound + errors)) ** 2
        information = np.where(used, trust * weights, 0)
        information[0] = _PINNED
        p, freedom_p = _least_squares(
            information / config.position_sigma_m**2, p_measured, curvature_p, np.zeros((1, 3))
        )
        bend = jump @ (R[1:] * R[:-1].inv()).as_rotvec() / config.angular_acceleration_sigma
        step, freedom_R = _least_squares(information / config.rotation_sigma_rad**2, turn, curvature_R, bend)
        R = Rotation.from_rotvec(step) * R
    outlier = (trust < _OUTLIER_WEIGHT) | ~used
    outlier[0] = False
    return se3.pose(R.as_matrix(), p), outlier


def _running_medoid(rotations: Rotation) -> Rotation:
    """For each frame, the rotation of the five around it that lies closest to them all: a start without outliers."""
    quaternions = rotations.as_quat()
    angles = 2 * np.arccos(np.clip(np.abs(quaternions @ quaternions.T), 0, 1))
    frames = np.arange(len(quaternions))
    near = np.abs(frames[:, None] - frames) <= 2  # (frame, member of its window)
    distance_to_window = near.astype(float) @ angles  # (frame, candidate)
    return rotations[np.argmin(np.where(near, distance_to_window, np.inf), axis=1)]


def _differences(times_s: Float[Array, " t"]) -> tuple[Float[Array, "a t"], Float[Array, "a s"]]:
    """Matrices that give the accelerations at the inner frames: from positions, and from the steps between frames."""
    steps = np.diff(times_s)
    between = np.diff(np.eye(len(steps)), axis=0)
    jump = 2 * between / (steps[1:] + steps[:-1])[:, None] / steps
    return jump @ np.diff(np.eye(len(times_s)), axis=0), jump


def _least_squares(
    information: Float[Array, " t"], target: Float[Array, "t 3"], A: Float[Array, "a t"], b: Float[Array, "c 3"]
) -> tuple[Float[Array, "t 3"], Float[Array, " t"]]:
    """The x that minimises sum(information |x - target|^2) + |A x + b|^2, and what share of each error it leaves."""
    covariance = np.linalg.inv(np.diag(information) + A.T @ A)
    x = covariance @ (information[:, None] * target - A.T @ np.broadcast_to(b, (len(A), 3)))
    return x, np.maximum(1 - information * np.diag(covariance), _LEAST_FREEDOM)
