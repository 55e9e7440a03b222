"""What a closed gripper holds, and whether it still does: where its fingers are hidden, that tells if it has opened.

What is held moves with the hand. When the hand leaves and the thing is no longer in it, the gripper has let go.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.view import DepthView

_BEFORE_TCP_M, _BEYOND_TCP_M = 0.03, 0.10
"""How far the thing may reach from the tool centre point, towards the palm and away from it [m]."""
_ACROSS_M = 0.09
"""How far it may reach to either side, across the direction in which the fingers open [m]."""
_PADS_M = 0.03
"""How far the fingers' pads reach back from the tool centre point [m]: what is between them is held, whatever it is."""
_SPARE_M = 0.015
"""How far it may be wider than the gripper's opening, on either side [m]."""
_GRIPPER_M = 0.025
"""Difference of depth up to which a pixel shows the gripper itself [m]."""
_MOVED_M = 0.03
"""Way of the hand from which what it holds has left its place [m]."""
_FEWEST = 8
"""Points that must speak; fewer may be noise."""
_SHARE = 2 / 3
"""Share of the points that speak which must agree."""


class HeldObject:
    """The points of the thing between the fingers at the observation.

    Args:
        renderer: Renderer of the gripper.
        T_world_hand: Pose of the hand.
        opening_m: Distance between the fingers [m], which is the width of what they hold.
        views: The images.
        tolerance_m: Difference of depth up to which a pixel shows a point [m].
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        T_world_hand: Float[Array, "4 4"],
        opening_m: float,
        views: Sequence[DepthView],
        tolerance_m: float,
    ) -> None:
        model, self._T_world_hand, self._tolerance_m = renderer.model, T_world_hand, tolerance_m
        approach, along = model.T_hand_tcp[:3, 2], model.opening_axis
        axes = np.stack([along, np.cross(approach, along), approach])
        low = np.array([-opening_m / 2 - _SPARE_M, -_ACROSS_M, -_BEFORE_TCP_M])
        high = np.array([opening_m / 2 + _SPARE_M, _ACROSS_M, _BEYOND_TCP_M])
        found: list[Float[Array, "n 3"]] = []
        for view in views:
            drawn = renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics).depth
            gripper = (drawn > 0) & (np.abs(view.depth - drawn) < _GRIPPER_M)
            shown = (view.depth > 0) & ~gripper
            points = se3.apply(se3.inverse(T_world_hand), view.points(shown))
            offsets = (points - model.T_hand_tcp[:3, 3]) @ axes.T
            near = ((offsets > low) & (offsets < high)).all(axis=1)
            between = (
                near & (np.abs(offsets[:, 0]) < opening_m / 2) & (np.abs(offsets[:, 2] + _PADS_M / 2) < _PADS_M / 2)
            )
            # What is farther out may also be the table, unless it moves.
            found.append(points[between | (near & ~view.still[shown])])
        self._points_hand = np.concatenate(found)

    def still_there(
        self, Ts_world_hand: Sequence[Float[Array, "4 4"]], views: Sequence[Sequence[DepthView]]
    ) -> Float[Array, " t"]:
        """At each of some moments 1 where the hand holds the thing, 0 where it does not, NaN where nothing tells.

        Points that have once been seen to move with the hand are those of the thing; where none has, all are.

        Args:
            Ts_world_hand: Pose of the hand at each moment.
            views: The images of each moment.
        """
        told = np.full(len(Ts_world_hand), np.nan)
        looks = [self._look(T, moment) for T, moment in zip(Ts_world_hand, views, strict=True)]
        agreeing = np.stack([agreeing for agreeing, _ in looks])
        gone = np.stack([gone for _, gone in looks])
        moving_along = agreeing.any(axis=0)
        if moving_along.sum() >= _FEWEST:
            agreeing, gone = agreeing[:, moving_along], gone[:, moving_along]
        for t, (holds, lets) in enumerate(zip(agreeing.sum(axis=1), gone.sum(axis=1), strict=True)):
            if holds + lets >= _FEWEST and max(holds, lets) >= _SHARE * (holds + lets):
                told[t] = float(holds > lets)
        return told

    def _look(
        self, T_world_hand: Float[Array, "4 4"], views: Sequence[DepthView]
    ) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
        """Which points are seen where the hand would have carried them, and which are seen through there."""
        agreeing, gone = np.zeros((2, len(self._points_hand)), bool)
        if np.linalg.norm(T_world_hand[:3, 3] - self._T_world_hand[:3, 3]) < _MOVED_M:
            return agreeing, gone
        for view in views:
            points = se3.apply(view.T_camera_world @ T_world_hand, self._points_hand).astype(np.float32)
            pixels = view.pixels(points.T[None])[0]
            depth = view.points_camera[2][pixels]
            behind = depth - points[:, 2]
            agreeing |= (depth > 0) & (np.abs(behind) < self._tolerance_m) & ~view.background[pixels]
            gone |= (depth > 0) & (behind > self._tolerance_m)
        return agreeing & ~gone, gone
