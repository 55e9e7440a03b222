"""What a closed gripper holds, and whether it still does: where its fingers are hidden, that tells if it has opened.

What is held moves with the hand. When the hand leaves and the thing is no longer in it, the gripper has let go. What
was seen of the thing is remembered from look to look, as a shelf may hide it at the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
_ARM_M = 0.20
"""How far from the line of approach, behind the pads, there may be an arm [m]: what is seen there may be that."""
_SPARE_M = 0.015
"""How far it may be wider than the gripper's opening, on either side [m]."""
_GRIPPER_M = 0.025
"""Difference of depth up to which a pixel shows the gripper itself [m]."""
_MOVED_M = 0.03
"""Way of the hand from which what it holds has left its place [m]."""
_STANDS_M = 0.01
"""Way between two moments up to which a hand stands [m]: then what it has let go may still be between its fingers."""
_FEWEST = 8
"""Points that must speak; fewer may be noise."""
_SHARE = 2 / 3
"""Share of the points that speak which must agree."""
_SAME_GRASP_M = 0.005
"""Change of the measured opening from which the gripper does not hold any more what it held."""
_REMEMBERED = 400
"""Points that are remembered at most."""


@dataclass(frozen=True)
class Grasp:
    """A thing between the fingers, as it was seen."""

    points_hand: Float[Array, "n 3"]
    """Points of its surface, in the frame of the hand [m]."""
    opening_m: float
    """Distance between the fingers that hold it [m]."""


class Holding(NamedTuple):
    """What a film tells of a held thing."""

    told: Float[Array, " t"]
    """At each moment 1 where the hand holds it, 0 where it does not, NaN where nothing tells."""
    grasp: Grasp
    """What to remember of it."""


class GraspMemory:
    """What each arm's gripper holds, from look to look, until its measured opening says that it holds it no more."""

    def __init__(self) -> None:
        self._grasps: dict[str, Grasp] = {}

    def recall(self, openings_m: Mapping[str, float]) -> dict[str, Grasp]:
        """What the arms with these measured openings [m] still hold."""
        for arm, opening_m in openings_m.items():
            if arm in self._grasps and abs(self._grasps[arm].opening_m - opening_m) > _SAME_GRASP_M:
                del self._grasps[arm]
        return {arm: self._grasps[arm] for arm in openings_m if arm in self._grasps}

    def keep(self, arm: str, grasp: Grasp | None, is_open: Bool[Array, " t"]) -> None:
        """Remember what an arm held at the observation of a film, unless it takes something else at the end of it.

        Args:
            arm: Its name.
            grasp: What it held; None keeps what is remembered.
            is_open: The state of the gripper in each frame of the film.
        """
        if is_open.any() and not is_open[-1]:
            self._grasps.pop(arm, None)
        elif grasp is not None:
            self._grasps[arm] = grasp


class HeldObject:
    """The points of the thing between the fingers at the observation.

    Args:
        renderer: Renderer of the gripper.
        T_world_hand: Pose of the hand.
        opening_m: Distance between the fingers [m], which is the width of what they hold.
        views: The images.
        tolerance_m: Difference of depth up to which a pixel shows a point [m].
        before: What was seen of it at an earlier look.
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        T_world_hand: Float[Array, "4 4"],
        opening_m: float,
        views: Sequence[DepthView],
        tolerance_m: float,
        before: Grasp | None = None,
    ) -> None:
        model, self._T_world_hand, self._tolerance_m = renderer.model, T_world_hand, tolerance_m
        self._opening_m = opening_m
        approach, along = model.T_hand_tcp[:3, 2], model.opening_axis
        self._T_tcp_hand = se3.inverse(model.T_hand_tcp)
        axes = np.stack([along, np.cross(approach, along), approach])
        low = np.array([-opening_m / 2 - _SPARE_M, -_ACROSS_M, -_BEFORE_TCP_M])
        high = np.array([opening_m / 2 + _SPARE_M, _ACROSS_M, _BEYOND_TCP_M])
        found = [before.points_hand if before else np.empty((0, 3))]
        sure, remembered = [np.ones(len(found[0]), bool)], len(found[0])
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
            chosen = between | (near & ~view.still[shown])
            found.append(points[chosen])
            sure.append(between[chosen])
        self._points_hand, self._sure = np.concatenate(found), np.concatenate(sure)
        self._new = np.arange(len(self._points_hand)) >= remembered

    def watch(self, Ts_world_hand: Sequence[Float[Array, "4 4"]], views: Sequence[Sequence[DepthView]]) -> Holding:
        """Whether the hand still holds the thing at each of some moments.

        Points between the pads, and those that have once been seen to move with the hand, are those of the thing; where
        there are none, all are. The thing is let go where they are seen through, or where they stay behind. That it
        came along says nothing of a hand that has come to stand, as hands do to let go.

        Args:
            Ts_world_hand: Pose of the hand at each moment.
            views: The images of each moment.
        """
        count, points = len(Ts_world_hand), self._points_hand
        agreeing, gone = np.zeros((2, count, len(points)), bool)
        for t in range(count):
            if self._moved_m(self._T_world_hand, Ts_world_hand[t]) >= _MOVED_M:
                seen, through, background = self._look(Ts_world_hand[t], views[t])
                agreeing[t], gone[t] = seen & ~background & ~through, through
        things = self._sure | agreeing.any(axis=0)
        if things.sum() >= _FEWEST:
            gone |= self._left_behind(agreeing, Ts_world_hand, views) & ~agreeing
            agreeing, gone, points = agreeing[:, things], gone[:, things], points[things]
        told, before = np.full(count, np.nan), [self._T_world_hand, *Ts_world_hand]
        for t, (holds, lets) in enumerate(zip(agreeing.sum(axis=1), gone.sum(axis=1), strict=True)):
            stands = self._moved_m(before[t], Ts_world_hand[t]) <= _STANDS_M
            if holds + lets >= _FEWEST and max(holds, lets) >= _SHARE * (holds + lets) and (lets > holds or not stands):
                told[t] = float(holds > lets)
        return Holding(told, Grasp(points[:: len(points) // _REMEMBERED + 1], self._opening_m))

    def _left_behind(
        self,
        agreeing: Bool[Array, "t n"],
        Ts_world_hand: Sequence[Float[Array, "4 4"]],
        views: Sequence[Sequence[DepthView]],
    ) -> Bool[Array, "t n"]:
        """Which points are seen where the hand last had them, at each moment after it has moved on from there."""
        left, places = np.zeros_like(agreeing), [self._T_world_hand, *Ts_world_hand]
        last = np.where(self._new, 0, -1)  # index of the place; what is only remembered has none yet
        for t, T_world_hand in enumerate(Ts_world_hand):
            last[agreeing[t]] = t + 1
            for place in np.unique(last[last >= 0]):
                if self._moved_m(places[place], T_world_hand) >= _MOVED_M:
                    seen, _, _ = self._look(places[place], views[t])
                    in_arm = self._in_arm(se3.inverse(T_world_hand) @ places[place])
                    left[t] |= seen & ~in_arm & (last == place)
        return left

    def _in_arm(self, T_now_before: Float[Array, "4 4"]) -> Bool[Array, " n"]:
        """Which points, where an earlier hand had them, are where the arm of a present one may be."""
        points_tcp = se3.apply(self._T_tcp_hand @ T_now_before, self._points_hand)
        return (points_tcp[:, 2] < -_PADS_M) & (np.hypot(points_tcp[:, 0], points_tcp[:, 1]) < _ARM_M)

    def _look(
        self, T_world_hand: Float[Array, "4 4"], views: Sequence[DepthView]
    ) -> tuple[Bool[Array, " n"], Bool[Array, " n"], Bool[Array, " n"]]:
        """Which points are seen where a hand at this pose has them, and which are seen through there.

        The third says of those that are seen where the same has been seen in all of the film.
        """
        seen, through, background = np.zeros((3, len(self._points_hand)), bool)
        for view in views:
            points = se3.apply(view.T_camera_world @ T_world_hand, self._points_hand).astype(np.float32)
            pixels = view.pixels(points.T[None])[0]
            depth = view.points_camera[2][pixels]
            behind = depth - points[:, 2]
            agrees = (depth > 0) & (np.abs(behind) < self._tolerance_m)
            seen |= agrees
            background |= agrees & view.background[pixels]
            through |= (depth > 0) & (behind > self._tolerance_m)
        return seen, through, background

    @staticmethod
    def _moved_m(T_before: Float[Array, "4 4"], T_after: Float[Array, "4 4"]) -> float:
        return float(np.linalg.norm(T_after[:3, 3] - T_before[:3, 3]))
