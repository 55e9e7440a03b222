"""Registration of the gripper's CAD with depth images: point-to-plane Gauss-Newton, many starting poses at once.

Correspondence is projective, as in KinectFusion (Newcombe et al. 2011): the point of a pixel is compared with the
point of the CAD that falls on it, along the normal of the CAD. That needs no search for neighbours and no normals of
noisy depth, and only surface that the camera sees takes part, where a neighbour search confuses the two sides of a
finger.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.tracking.hypotheses import DepthView
from robo4d.tracking.rendering import GripperRenderer

_GATES_M = (0.04, 0.03, 0.02, 0.02)
"""Difference of depth [m] up to which a pixel takes part, in each iteration."""
_SOFT_M = 0.01
"""Distance from the surface [m] at which a point counts a quarter (Geman and McClure): flying pixels are farther."""
_STIFFNESS_M = 0.05
"""What a rotation counts beside a translation [m]; a gripper's parts lie so far from its middle."""
_DAMPING = 4.0
"""Points that speak for staying: no direction that nothing measures is left free."""


class Registration:
    """Refines poses of one gripper.

    Args:
        renderer: Renderer of the gripper.
    """

    def __init__(self, renderer: GripperRenderer) -> None:
        self._renderer = renderer

    def refine(
        self, Ts_world_hand: Float[Array, "b 4 4"], opening_m: float, views: tuple[DepthView, ...]
    ) -> Float[Array, "b 4 4"]:
        """From each pose, the one near it at which the CAD fits best to the points of all views."""
        surface, middle = self._renderer.surface(opening_m), se3.translation(*self._renderer.centre_hand)
        arms = surface.points - self._renderer.centre_hand.astype(np.float32)
        jacobian = np.concatenate([surface.normals, np.cross(arms, surface.normals)], axis=1)
        squares = np.einsum("ni,nj->nij", jacobian, jacobian).reshape(len(jacobian), 36)
        damping = _DAMPING * np.diag([1.0] * 3 + [_STIFFNESS_M**2] * 3)
        for gate_m in _GATES_M:
            hessian = np.zeros((len(Ts_world_hand), 36)) + damping.reshape(-1)
            gradient = np.zeros((len(Ts_world_hand), 6))
            for view in views:
                Ts_camera_hand = view.T_camera_world @ Ts_world_hand
                points, front = surface.seen_from(Ts_camera_hand)
                pixels = view.pixels(points)
                gaps = view.points_camera[:, pixels].swapaxes(0, 1) - points
                near = (front > 0) & (np.abs(gaps[:, 2]) < gate_m) & ~view.background[pixels]
                if view.beside is not None:
                    near &= ~view.beside[pixels]
                R = Ts_camera_hand[:, :3, :3].astype(np.float32)
                normals = (R.reshape(-1, 3) @ surface.normals.T).reshape(len(R), 3, -1)
                residuals = np.einsum("bin,bin->bn", gaps, normals)
                weights = near / (1 + (residuals / _SOFT_M) ** 2) ** 2
                hessian += weights @ squares
                gradient += (weights * residuals) @ jacobian
            twists = np.linalg.solve(hessian.reshape(-1, 6, 6), gradient[..., None])[..., 0]
            Ts_world_hand = Ts_world_hand @ middle @ se3.exp(twists) @ se3.inverse(middle)
        return Ts_world_hand
