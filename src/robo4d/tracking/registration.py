"""Registration of the gripper's CAD with depth images: point-to-plane Gauss-Newton, many starting poses at once.

Correspondence is projective, as in KinectFusion (Newcombe et al. 2011): the point of a pixel is compared with the
point of the CAD that falls on it, along the normal of the CAD. That needs no search for neighbours and no normals of
noisy depth, and only surface that the camera sees takes part, where a neighbour search confuses the two sides of a
finger.
"""

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray as Array

from robo4d.tracking.gripper import Part
from robo4d.tracking.mechanism import Mechanism
from robo4d.tracking.rendering import Surface
from robo4d.tracking.view import DepthView

_GATES_M = (0.04, 0.03, 0.02, 0.02)
"""Difference of depth [m] up to which a pixel takes part, in each iteration."""
_SOFT_M = 0.01
"""Distance from the surface [m] at which a point counts a quarter (Geman and McClure): flying pixels are farther."""
_DAMPING = 4.0
"""Points that speak for staying: no direction that nothing measures is left free."""


class Registration:
    """Refines states of one gripper, and of the arm that holds it where that is known.

    Args:
        mechanism: What moves.
    """

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism

    def refine(
        self, states: Float[Array, "b ..."], opening_m: float, views: tuple[DepthView, ...]
    ) -> Float[Array, "b ..."]:
        """From each state, the one near it at which the CAD fits best to the points of all views."""
        mechanism = self._mechanism
        bodies = [(surface, *_jacobian(surface)) for surface in mechanism.surfaces(opening_m)]
        damping = _DAMPING * np.diag(mechanism.damping)
        for gate_m in _GATES_M:
            hessian, gradient = damping, 0.0
            motions = mechanism.motions(states)
            for (surface, jacobian, squares), (Ts_world_body, motion) in zip(bodies, motions, strict=True):
                body_hessian, body_gradient = np.zeros((len(states), 36)), np.zeros((len(states), 6))
                for view in views:
                    weights, residuals = _fit(surface, view.T_camera_world @ Ts_world_body, view, gate_m)
                    body_hessian += weights @ squares
                    body_gradient += (weights * residuals) @ jacobian
                motion_t = motion.swapaxes(1, 2)
                hessian = hessian + motion_t @ body_hessian.reshape(-1, 6, 6) @ motion
                gradient = gradient + motion_t @ body_gradient[..., None]
            states = mechanism.stepped(states, np.linalg.solve(hessian, gradient)[..., 0])
        return states


def _jacobian(surface: Surface) -> tuple[Float[Array, "n 6"], Float[Array, "n 36"]]:
    """Change of each point's distance along its normal per twist of its body, and the squares of that."""
    jacobian = np.concatenate([surface.normals, np.cross(surface.points, surface.normals)], axis=1).astype(float)
    return jacobian, np.einsum("ni,nj->nij", jacobian, jacobian).reshape(len(jacobian), 36)


def _fit(
    surface: Surface, Ts_camera_body: Float[Array, "b 4 4"], view: DepthView, gate_m: float
) -> tuple[Float32[Array, "b n"], Float32[Array, "b n"]]:
    """How much each point of a body takes part, and how far the image's point is from it along its normal [m]."""
    points, front = surface.seen_from(Ts_camera_body)
    pixels = view.pixels(points)
    gaps = view.points_camera[:, pixels].swapaxes(0, 1) - points
    near = (front > 0) & (np.abs(gaps[:, 2]) < gate_m) & ~view.background[pixels]
    if view.beside is not None:
        near &= ~(view.beside[pixels] & (surface.part != Part.ARM))
    R = Ts_camera_body[:, :3, :3].astype(np.float32)
    normals = (R.reshape(-1, 3) @ surface.normals.T).reshape(len(R), 3, -1)
    residuals = np.einsum("bin,bin->bn", gaps, normals)
    return near / (1 + (residuals / np.float32(_SOFT_M)) ** 2) ** 2, residuals
