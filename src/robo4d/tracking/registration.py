"""Point-to-plane registration of a gripper's CAD with depth images (small_gicp)."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy.ndimage import grey_dilation

from robo4d.geometry import se3
from robo4d.tracking.hypotheses import DepthView
from robo4d.tracking.rendering import GripperRenderer

if TYPE_CHECKING:
    import small_gicp

_PASSES = ((0.05, 5, 0.04), (0.03, 3, 0.02))
"""Coarse, then fine: gate about the rendered depth [m], window that widens the silhouette [px], and largest distance
of a correspondence [m]."""
_FEWEST_POINTS = 15
"""Points below which a pose is left as it is."""
_MOST_POINTS = 250
"""Points that are registered; more take time, and help little, as the errors of depth maps are not independent."""
_MODEL_POINTS = 1200
_MODEL_NEIGHBOURS = 8
"""Points of the model from which a normal is estimated: a patch of 1 cm, thinner than a finger is wide."""
_ITERATIONS = 10


class Registration:
    """Refines poses of one gripper.

    Args:
        renderer: Renderer of the gripper.
    """

    def __init__(self, renderer: GripperRenderer) -> None:
        self._renderer = renderer
        self._model = lru_cache(maxsize=None)(self._build_model)

    def refine(
        self, T_world_hand: Float[Array, "4 4"], opening_m: float, views: tuple[DepthView, ...]
    ) -> Float[Array, "4 4"]:
        """The pose at which the CAD fits best to the points of all views near it; unchanged where there are too few."""
        for gate_m, window_px, distance_m in _PASSES:
            points = np.concatenate([self._near(T_world_hand, opening_m, v, gate_m, window_px) for v in views])
            if len(points) < _FEWEST_POINTS:
                break
            T_world_hand = self._align(T_world_hand, opening_m, points[:: -(-len(points) // _MOST_POINTS)], distance_m)
        return T_world_hand

    def _near(
        self, T_world_hand: Float[Array, "4 4"], opening_m: float, view: DepthView, gate_m: float, window_px: int
    ) -> Float[Array, "n 3"]:
        """Points [m, world] that may show the gripper: in the mask if there is one, else near the rendered gripper."""
        if view.mask is not None:
            shown = view.mask & (view.depth > 0)
        else:
            rendered = self._renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics).depth
            nearby = np.where(rendered > 0, rendered, grey_dilation(rendered, window_px))
            shown = (nearby > 0) & (view.depth > 0) & (np.abs(view.depth - nearby) < gate_m) & ~view.still
        return view.points(shown)

    def _align(
        self, T_world_hand: Float[Array, "4 4"], opening_m: float, points_world: Float[Array, "n 3"], distance_m: float
    ) -> Float[Array, "4 4"]:
        import small_gicp

        target, tree = self._model(round(opening_m, 2))
        result = small_gicp.align(
            target,
            small_gicp.PointCloud(points_world),
            tree,
            init_T_target_source=se3.inverse(T_world_hand),
            registration_type="PLANE_ICP",
            max_correspondence_distance=distance_m,
            num_threads=1,
            max_iterations=_ITERATIONS,
        )
        T_hand_world = np.asarray(result.T_target_source)
        return se3.inverse(T_hand_world) if np.isfinite(T_hand_world).all() else T_world_hand

    def _build_model(self, opening_m: float) -> "tuple[small_gicp.PointCloud, small_gicp.KdTree]":
        import small_gicp

        cloud = small_gicp.PointCloud(self._renderer.surface(_MODEL_POINTS, opening_m).points)
        tree = small_gicp.KdTree(cloud)
        small_gicp.estimate_normals(cloud, tree, num_neighbors=_MODEL_NEIGHBOURS)
        return cloud, tree
