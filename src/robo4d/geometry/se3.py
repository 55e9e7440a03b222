"""Rigid motions SE(3) as 4x4 matrices.

``T_a_b`` maps coordinates in frame b to coordinates in frame a, i.e. it is the pose of b in a, and neighbours
cancel: ``T_base_tcp = T_base_camera @ T_camera_tcp``. A twist is ``(v, w)``: translation part first [m], then
rotation part [rad], both expressed in the right-hand (body) frame: ``T_a_b @ exp(twist_b)``.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

_SMALL_ANGLE = 1e-6
"""Below this angle [rad] the series of the left Jacobian replaces the closed form, whose quotients lose digits."""


def pose(R_a_b: Float[Array, "*#b 3 3"], p_a_b: Float[Array, "*#b 3"]) -> Float[Array, "*b 4 4"]:
    """T_a_b from the rotation and the position of b's origin in a [m]."""
    T_a_b = np.zeros((*np.broadcast_shapes(R_a_b.shape[:-2], p_a_b.shape[:-1]), 4, 4))
    T_a_b[..., :3, :3] = R_a_b
    T_a_b[..., :3, 3] = p_a_b
    T_a_b[..., 3, 3] = 1.0
    return T_a_b


def translation(x: float, y: float, z: float) -> Float[Array, "4 4"]:
    """A pure translation [m]."""
    return pose(np.eye(3), np.array([x, y, z], dtype=float))


def from_quat_wxyz(quat_wxyz: Float[Array, "*b 4"], p_a_b: Float[Array, "*b 3"]) -> Float[Array, "*b 4 4"]:
    """T_a_b from a quaternion (w, x, y, z), which need not be normalised, and a position [m].

    Raises:
        ValueError: a quaternion is zero or not finite; such a pose must never be guessed.
    """
    norm = np.linalg.norm(quat_wxyz, axis=-1)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-9):
        raise ValueError(f"quaternion (w, x, y, z) must be finite and not zero, got {quat_wxyz}")
    quat_xyzw = np.roll(quat_wxyz, -1, axis=-1).reshape(-1, 4)
    R = Rotation.from_quat(quat_xyzw).as_matrix().reshape(*quat_wxyz.shape[:-1], 3, 3)
    return pose(R, p_a_b)


def to_quat_wxyz(T_a_b: Float[Array, "*b 4 4"]) -> Float[Array, "*b 4"]:
    """The rotation of T_a_b as a unit quaternion (w, x, y, z) with w >= 0."""
    quat_xyzw = Rotation.from_matrix(T_a_b[..., :3, :3].reshape(-1, 3, 3)).as_quat(canonical=True)
    return np.roll(quat_xyzw, 1, axis=-1).reshape(*T_a_b.shape[:-2], 4)


def inverse(T_a_b: Float[Array, "*b 4 4"]) -> Float[Array, "*b 4 4"]:
    """T_b_a."""
    R_b_a = np.swapaxes(T_a_b[..., :3, :3], -1, -2)
    return pose(R_b_a, -np.einsum("...ij,...j->...i", R_b_a, T_a_b[..., :3, 3]))


def apply(T_a_b: Float[Array, "4 4"], points_b: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Points [m] given in b, expressed in a."""
    return points_b @ T_a_b[:3, :3].T.astype(points_b.dtype) + T_a_b[:3, 3].astype(points_b.dtype)


def exp(twist: Float[Array, "*b 6"]) -> Float[Array, "*b 4 4"]:
    """The motion along a constant twist (v [m], w [rad]) for unit time."""
    v, w = twist[..., :3], twist[..., 3:]
    R = Rotation.from_rotvec(w.reshape(-1, 3)).as_matrix().reshape(*w.shape[:-1], 3, 3)
    return pose(R, np.einsum("...ij,...j->...i", _left_jacobian(w), v))


def log(T: Float[Array, "*b 4 4"]) -> Float[Array, "*b 6"]:
    """The twist (v [m], w [rad]) whose `exp` is T, with a rotation angle of at most pi."""
    w = Rotation.from_matrix(T[..., :3, :3].reshape(-1, 3, 3)).as_rotvec().reshape(*T.shape[:-2], 3)
    v = np.linalg.solve(_left_jacobian(w), T[..., :3, 3:])[..., 0]
    return np.concatenate([v, w], axis=-1)


def interpolate(T_a_b0: Float[Array, "4 4"], T_a_b1: Float[Array, "4 4"], s: float) -> Float[Array, "4 4"]:
    """The pose a share s in [0, 1] of the way from b0 to b1: straight line in position, constant axis in rotation."""
    p = (1 - s) * T_a_b0[:3, 3] + s * T_a_b1[:3, 3]
    w = Rotation.from_matrix(T_a_b0[:3, :3].T @ T_a_b1[:3, :3]).as_rotvec()
    return pose(T_a_b0[:3, :3] @ Rotation.from_rotvec(s * w).as_matrix(), p)


def distance(
    T_a_b0: Float[Array, "*b 4 4"], T_a_b1: Float[Array, "*b 4 4"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Distance between two poses: of the origins [m] and of the rotations [rad]."""
    # |R0 - R1| = 2 sqrt(2) sin(angle / 2) in the Frobenius norm: ten times as fast as by way of a rotation vector.
    chord = np.linalg.norm(T_a_b0[..., :3, :3] - T_a_b1[..., :3, :3], axis=(-2, -1))
    angle = 2 * np.arcsin(np.minimum(chord / np.sqrt(8), 1.0))
    return np.asarray(np.linalg.norm(T_a_b0[..., :3, 3] - T_a_b1[..., :3, 3], axis=-1)), np.asarray(angle)


def is_valid(T: Float[Array, "*b 4 4"], tolerance: float = 1e-4) -> Bool[Array, "*b"]:
    """Whether T is finite, its rotation orthonormal and right-handed, its last row (0, 0, 0, 1), to the tolerance."""
    finite = np.asarray(np.isfinite(T).all(axis=(-1, -2)))
    safe = np.where(finite[..., None, None], T, np.eye(4))
    R = safe[..., :3, :3]
    orthonormal = np.abs(R @ np.swapaxes(R, -1, -2) - np.eye(3)).max(axis=(-1, -2)) < tolerance
    last_row = np.abs(safe[..., 3, :] - np.array([0, 0, 0, 1])).max(axis=-1) < tolerance
    return np.asarray(finite & orthonormal & (np.linalg.det(R) > 0) & last_row)


def _left_jacobian(w: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """V of SE(3): `exp` translates by V @ v (Sola et al., A micro Lie theory, eq. 174)."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    W = np.zeros((*w.shape[:-1], 3, 3))
    W[..., 0, 1], W[..., 0, 2], W[..., 1, 2] = -w[..., 2], w[..., 1], -w[..., 0]
    W = W - np.swapaxes(W, -1, -2)
    small = angle < _SMALL_ANGLE
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    b = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    return np.eye(3) + a * W + b * (W @ W)
