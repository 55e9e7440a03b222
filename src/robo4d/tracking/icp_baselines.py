"""Plain registration as a tracker, for the benchmark: what the embedded tracker must beat.

Each follows hand and fingers through one view, from the last pose on, with a mask of them in every image.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.gripper import Part
from robo4d.tracking.rendering import GripperRenderer

_LARGEST_DISTANCE_M = 0.05
"""Of a correspondence [m]."""
_ITERATIONS = 30
_FEWEST_POINTS = 10
_NORMALS_WITHIN_M, _NORMALS_OF = 0.03, 12
"""Neighbours on the CAD [m, count] that tell a normal."""
_TUKEY_M = 0.02
"""Distance [m] from which a correspondence counts nothing."""

Align = Callable[[Float[Array, "n 3"], Float[Array, "m 3"], Float[Array, "4 4"]], Float[Array, "4 4"]]
"""T_target_source from points of the target, points of the source [m] and a first guess."""


def open3d_point_to_plane(
    target: Float[Array, "n 3"], source: Float[Array, "m 3"], T_target_source: Float[Array, "4 4"]
) -> Float[Array, "4 4"]:
    """Chen and Medioni's ICP, as open3d has it, with the normals that it estimates, and Tukey's weights."""
    from open3d import geometry, pipelines, utility

    clouds = [geometry.PointCloud(utility.Vector3dVector(points)) for points in (source, target)]
    clouds[1].estimate_normals(geometry.KDTreeSearchParamHybrid(radius=_NORMALS_WITHIN_M, max_nn=_NORMALS_OF))
    icp = pipelines.registration
    criteria = icp.ICPConvergenceCriteria(max_iteration=_ITERATIONS)
    estimation = icp.TransformationEstimationPointToPlane(icp.TukeyLoss(k=_TUKEY_M))
    result = icp.registration_icp(*clouds, _LARGEST_DISTANCE_M, T_target_source, estimation, criteria)
    return np.asarray(result.transformation)


def small_gicp_gicp(
    target: Float[Array, "n 3"], source: Float[Array, "m 3"], T_target_source: Float[Array, "4 4"]
) -> Float[Array, "4 4"]:
    """Generalized ICP with all settings at their defaults, but for the distances, which are those of streets."""
    import small_gicp

    result = small_gicp.align(
        target,
        source,
        T_target_source,
        registration_type="GICP",
        downsampling_resolution=1e-3,
        max_correspondence_distance=_LARGEST_DISTANCE_M,
        max_iterations=_ITERATIONS,
    )
    return np.asarray(result.T_target_source)


class IcpTracker:
    """Registers the points in the mask with the CAD; implements `PoseTracker`.

    Args:
        renderer: Renderer of the gripper.
        align: The kind of registration.
    """

    def __init__(self, renderer: GripperRenderer, align: Align) -> None:
        surface = renderer.surface(renderer.model.max_opening_m)
        self._target, self._align = surface.points[surface.part != Part.WRIST].astype(float), align
        self._T_world_hand: Float[Array, "4 4"] | None = None
        self.joints = None

    def register(
        self,
        frames: Sequence[RgbdFrame],
        *,
        masks: Sequence[Bool[Array, "h w"]] | None = None,
        T_world_object: Float[Array, "4 4"] | None = None,
    ) -> Float[Array, "4 4"]:
        """Takes over the pose; see `PoseTracker`."""
        if T_world_object is None:
            raise ValueError("plain registration needs the gripper's pose to start from")
        self._T_world_hand = T_world_object
        return T_world_object

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`."""
        if self._T_world_hand is None or masks is None:
            raise ValueError("plain registration needs a mask of every image, and register before the first")
        clouds = [_points(frame, mask) for frame, mask in zip(frames, masks, strict=True)]
        points = np.concatenate(clouds)
        if len(points) >= _FEWEST_POINTS:
            T_hand_world = self._align(self._target, points, se3.inverse(self._T_world_hand))
            if se3.is_valid(T_hand_world):
                self._T_world_hand = se3.inverse(T_hand_world)
        return self._T_world_hand


def _points(frame: RgbdFrame, mask: Bool[Array, "h w"]) -> Float[Array, "n 3"]:
    if frame.T_world_camera is None:
        raise ValueError(f"{frame.camera}: tracking needs the camera's pose; identity will do for a single one")
    pointmap = frame.pointmap()
    return se3.apply(frame.T_world_camera, pointmap.points[pointmap.valid & mask].astype(float))
