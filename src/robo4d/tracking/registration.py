"""Registration of the gripper's CAD with depth images: point-to-plane Gauss-Newton, many starting poses at once.

Correspondence is projective, as in KinectFusion (Newcombe et al. 2011): the point of a pixel is compared with the
point of the CAD that falls on it, along the normal of the CAD. That needs no search for neighbours and no normals of
noisy depth, and only surface that the camera sees takes part, where a neighbour search confuses the two sides of a
finger.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray as Array

from robo4d.tracking.gripper import Part
from robo4d.tracking.mechanism import Mechanism
from robo4d.tracking.rendering import DIRECTIONS, Surface
from robo4d.tracking.view import DepthView, ViewStack

_GATES_M = (0.04, 0.03, 0.02, 0.02)
"""Difference of depth [m] up to which a pixel takes part, in each iteration ..."""
_TWICE_M = (*_GATES_M[:3], *_GATES_M)
"""... and where it is done twice: what is nearly right is open to pixels again that took no part before."""
_SETTLED = 5e-4
"""Step [m, rad] below which an iteration is the last: of a gripper that no image shows, it is the first."""
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
        self._bodies = _Bodies(mechanism.surfaces(0.0))
        self._images: ViewStack | None = None

    def refine(
        self, states: Float[Array, "b ..."], opening_m: float, views: tuple[DepthView, ...], *, twice: bool = False
    ) -> Float[Array, "b ..."]:
        """From each state, the one near it at which the CAD fits best to the points of all views.

        Args:
            states: The starts.
            opening_m: Distance between the fingers [m].
            views: The images.
            twice: Whether to go on from there once more: for a single one that is to be judged.
        """
        mechanism = self._mechanism
        # In one moment of a video, much is registered with the same images and fingers.
        if (surfaces := mechanism.surfaces(opening_m))[0] is not self._bodies.surfaces[0]:
            self._bodies = _Bodies(surfaces)
        if (images := self._images) is None or images.views is not views:
            images = self._images = ViewStack(views)
        damping = _DAMPING * np.diag(mechanism.damping)
        for gate_m in _TWICE_M if twice else _GATES_M:
            Ts_world_body, motions = mechanism.motions(states)
            weights, residuals = _fit(self._bodies, Ts_world_body, images, gate_m)
            hessians, gradients = self._bodies.normal_equations(weights.sum(axis=0), (weights * residuals).sum(axis=0))
            motions_t = motions.swapaxes(-1, -2)
            hessian = damping + (motions_t @ hessians @ motions).sum(axis=0)
            gradient = (motions_t @ gradients).sum(axis=0)
            steps = np.linalg.solve(hessian, gradient)[..., 0]
            states = mechanism.stepped(states, steps)
            if np.abs(steps).max() < _SETTLED:
                break
        return states


class _Bodies:
    """The points of all bodies in a row, as arithmetic on many small arrays costs more than on a large one."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self.surfaces = surfaces
        ends = np.cumsum([len(surface.points) for surface in surfaces])
        self._ranges = [slice(end - len(s.points), end) for end, s in zip(ends, surfaces, strict=True)]
        self.in_arm = np.concatenate([surface.part == Part.ARM for surface in surfaces])
        self._vectors = [np.concatenate([surface.points, surface.normals]).T for surface in surfaces]
        self._middles = np.stack([surface.points.mean(axis=0) for surface in surfaces])
        # Change of each point's distance along its normal per twist of its body, and the squares of that.
        self._jacobians = [
            np.concatenate([s.normals, np.cross(s.points, s.normals)], axis=1).astype(float) for s in surfaces
        ]
        self._squares = [np.einsum("ni,nj->nij", j, j).reshape(len(j), 36) for j in self._jacobians]

    def seen_from(
        self, Ts_camera_body: Float[Array, "b k 4 4"]
    ) -> tuple[Float32[Array, "b 3 n"], Float32[Array, "b 3 n"], Float32[Array, "b n"]]:
        """Points [m] and normals in the frame of a camera, and how much each faces it, as `Surface.seen_from`."""
        R, p = Ts_camera_body[..., :3, :3].astype(np.float32), Ts_camera_body[..., :3, 3].astype(np.float32)
        to_camera_body = -self._middles - (p[:, :, None] @ R)[:, :, 0]  # R^T p, for rows
        directions = np.argmax(to_camera_body @ DIRECTIONS.T, axis=-1)
        points, normals = np.empty((2, len(R), 3, len(self.in_arm)), np.float32)
        facing = np.empty((len(R), len(self.in_arm)), np.float32)
        for body, (surface, part) in enumerate(zip(self.surfaces, self._ranges, strict=True)):
            vectors = R[:, body] @ self._vectors[body]
            points[..., part] = vectors[..., : part.stop - part.start] + p[:, body, :, None]
            normals[..., part] = vectors[..., part.stop - part.start :]
            facing[:, part] = surface.facing[directions[:, body]]
        return points, normals, facing

    def normal_equations(
        self, weights: Float32[Array, "b n"], weighted: Float32[Array, "b n"]
    ) -> tuple[Float[Array, "k b 6 6"], Float[Array, "k b 6 1"]]:
        """Hessian and gradient of each body's twist from the weights of the points, and those of the residuals."""
        hessians = [weights[:, part] @ squares for part, squares in zip(self._ranges, self._squares, strict=True)]
        gradients = [weighted[:, part] @ one for part, one in zip(self._ranges, self._jacobians, strict=True)]
        return np.stack(hessians).reshape(len(hessians), -1, 6, 6), np.stack(gradients)[..., None]


def _fit(
    bodies: _Bodies, Ts_world_body: Float[Array, "k b 4 4"], images: ViewStack, gate_m: float
) -> tuple[Float32[Array, "v b n"], Float32[Array, "v b n"]]:
    """How much each point takes part, and how far the image's point is from it along its normal [m]."""
    Ts_camera_body = images.Ts_camera_world[:, None, None] @ Ts_world_body.swapaxes(0, 1)
    size = (*Ts_camera_body.shape[:2], -1)
    points, normals, front = bodies.seen_from(Ts_camera_body.reshape(-1, *Ts_camera_body.shape[2:]))
    pixels = images.pixels(points.reshape(*size[:2], 3, points.shape[-1])).reshape(len(points), -1)
    gaps = images.points_camera[:, pixels].swapaxes(0, 1) - points
    near = (front > 0) & (np.abs(gaps[:, 2]) < gate_m) & ~images.background[pixels]
    if images.beside is not None:
        near &= ~(images.beside[pixels] & ~bodies.in_arm)
    residuals = np.einsum("bin,bin->bn", gaps, normals)
    weights = near / (1 + (residuals / np.float32(_SOFT_M)) ** 2) ** 2
    return weights.reshape(size), residuals.reshape(size)
