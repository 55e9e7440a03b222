"""The arm that holds the gripper: what is known of it, and what a camera sees of it.

Where a hand is, its forearm says as well, and where the forearm hides the hand, no image contradicts that it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.gripper import Mesh, Part
from robo4d.tracking.rendering import (
    NOWHERE,
    Surface,
    Window,
    box_window,
    build_scene,
    cast,
    enclosing,
    pixel_rays,
    sample_surface,
)
from robo4d.tracking.view import DepthView

_SURFACE_POINTS = {6: 120, 5: 120, 4: 60}
"""Points on each link: the hand, which has 400, shall have the most to say."""
_STRIDE = 2
"""An arm is drawn in every second row and column: it is large, and only tells what is hidden."""
_SIGHTS = 16
"""Sights that are kept for who asks for the same one next: the tracker judges a pose, and then who vouches for it."""


@dataclass(frozen=True, kw_only=True)
class ArmModel:
    """An arm of seven joints that turn about z."""

    Ts_link_joint: Float[Array, "7 4 4"]
    """Pose of each joint on the link before it."""
    T_link7_hand: Float[Array, "4 4"]
    lower: Float[Array, "7"]
    """Joint positions [rad]."""
    upper: Float[Array, "7"]
    links: Mapping[int, Mesh]
    """CAD of the links that are seen with the gripper, by number, each in its own frame; the last is the gripper's."""

    def placements(self, joints: Float[Array, "n 7"]) -> Float[Array, "n 7 4 4"]:
        """T_base_link of all links."""
        cos, sin, fixed = np.cos(joints)[..., None], np.sin(joints)[..., None], self.Ts_link_joint
        steps = np.empty((*joints.shape, 4, 4))
        steps[..., 0] = cos * fixed[..., 0] + sin * fixed[..., 1]
        steps[..., 1] = cos * fixed[..., 1] - sin * fixed[..., 0]
        steps[..., 2:] = fixed[..., 2:]
        for number in range(1, 7):
            steps[:, number] = steps[:, number - 1] @ steps[:, number]
        return steps

    def base_of(self, T_world_hand: Float[Array, "4 4"], joints: Float[Array, "7"]) -> Float[Array, "4 4"]:
        """T_world_base of an arm that holds its hand at a pose."""
        return T_world_hand @ se3.inverse(self.placements(joints[None])[0, 6] @ self.T_link7_hand)


@dataclass(frozen=True, kw_only=True)
class ArmSight:
    """What a camera sees of an arm without its gripper."""

    depth: Float32[Array, "h w"]
    """Along the optical axis [m]; infinite beside the arm."""
    link: Int[Array, "h w"]
    """Number of the link; 0 beside the arm."""
    window: Window
    """Outside of which there is no arm."""

    @classmethod
    def example(cls) -> "ArmSight":
        """An image without an arm."""
        return cls(depth=np.full((6, 8), np.inf, np.float32), link=np.zeros((6, 8), np.int8), window=NOWHERE)


class ArmRenderer:
    """Casts rays at the links' CAD.

    Args:
        model: The arm.
    """

    def __init__(self, model: ArmModel) -> None:
        self.model = model
        self._scenes = {number: build_scene([mesh]) for number, mesh in model.links.items()}
        self.surfaces: Mapping[int, Surface] = {
            number: sample_surface({Part.ARM: mesh}, self._scenes[number], _SURFACE_POINTS.get(number, 60))
            for number, mesh in model.links.items()
        }
        """Points of each link, by number."""
        self._corners = {number: mesh.bounds.vertices for number, mesh in model.links.items()}
        self._seen = lru_cache(maxsize=_SIGHTS)(self._see)

    def see(self, Ts_world_link: Float[Array, "7 4 4"], view: DepthView, within: Window | None = None) -> ArmSight:
        """What the camera of a view sees of the arm, be there what may before it.

        Args:
            Ts_world_link: Pose of each link.
            view: Whose camera it is.
            within: All of the image that one wants to know of.
        """
        limits = None if within is None else tuple((side.start, side.stop) for side in within)
        return self._seen((view.T_camera_world @ Ts_world_link).tobytes(), view.intrinsics, limits)

    def _see(self, Ts_camera_link_bytes: bytes, k: Intrinsics, limits: tuple[tuple[int, int], ...] | None) -> ArmSight:
        """What `see` gives: with arguments that can be looked up."""
        Ts_camera_link, whole = np.frombuffer(Ts_camera_link_bytes).reshape(7, 4, 4), NOWHERE
        depth = np.full((k.height, k.width), np.inf, np.float32)
        link = np.zeros((k.height, k.width), np.int8)
        rays = pixel_rays(k)
        for number, scene in self._scenes.items():
            T_camera_link = Ts_camera_link[number - 1]
            rows, columns = box_window(se3.apply(T_camera_link, self._corners[number]), k)
            if limits is not None:
                rows, columns = (
                    slice(max(side.start, low), max(min(side.stop, high), low))
                    for side, (low, high) in zip((rows, columns), limits, strict=True)
                )
            window = rays[rows, columns][::_STRIDE, ::_STRIDE]
            if window.size == 0:
                continue
            whole = enclosing((rows, columns), whole)
            hit, distance, _ = cast(scene, se3.inverse(T_camera_link), window)
            hit, distance = (a.repeat(_STRIDE, 0).repeat(_STRIDE, 1) for a in (hit, distance))
            before, numbers = depth[rows, columns], link[rows, columns]
            height, width = before.shape
            nearer = hit[:height, :width] & (distance[:height, :width] < before)
            before[nearer], numbers[nearer] = distance[:height, :width][nearer], number
        return ArmSight(depth=depth, link=link, window=whole)
