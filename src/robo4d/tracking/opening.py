"""How far a gripper is open: two measurements, and the decision between open and closed.

The paper (section 3.4) segments the fingers, lifts their pixels to 3D, and thresholds the distance of the two
centroids, per task. Centroids lie on the visible outsides of the fingers, so they read 2 to 3 cm more than the
distance between the pads, and a hidden finger gives no reading. The search finds the opening at which the points of
all views fit the fingers' CAD best, in metres between the pads; one finger will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy.spatial import KDTree

from robo4d.geometry import Intrinsics, se3
from robo4d.tracking.gripper import FINGERS, Mesh, Part
from robo4d.tracking.rendering import GripperRenderer, Window, box_window, pixel_rays
from robo4d.tracking.view import DepthView

PAPER_THRESHOLDS_M = {
    "store_cereal_box_under_shelf": 0.10,
    "put_spatula_on_table": 0.06,
    "place_apple_from_bowl_into_bin": 0.12,
}
"""Distance of the fingers' centroids [m] below which the gripper counts as closed, by task (paper, section 3.4)."""

_STEP_M = 0.005
_FINGER_POINTS = 400
_NEAR_M = 0.006
"""Distance from a finger's surface [m] up to which a point may belong to it: noise and pose are good to 5 mm."""
_MARGIN_M = 0.004
"""Room beside the fingers [m] in which points are still looked at."""
_PALM_M = 0.005
"""Points nearer to the palm than this [m] are left out: they may be the palm's."""
_PLENTY_OF_POINTS = 20
"""Points on the fingers that suffice for a reading. With fewer, they may as well belong to something else."""
_COARSE_STEP_M = 0.02
_CHANGE, _CHANGE_MOVING = 0.5, 0.4
"""What a change costs, in readings against it, and what more while the hand moves: less than one reading together."""
_SLOW_M, _HURRY_M = 0.01, 0.03
"""Way between two frames [m] up to which a hand stands, and from which it is in full motion."""
_WAITING = 0.7
"""What a hand that has not moved yet counts as, of full motion: every clip begins with one that stands."""
_HIDDEN = 2
"""Frames without a reading before a single one that suffices for a change: nothing has been seen since it."""
_FEWEST_PIXELS = 3
"""Pixels of a finger below which its centroid is not taken."""
_RULING_OUT, _RULING_OUT_PX = 8, 16
"""Points near a finger, and rendered pixels, that it takes to rule out an opening: every edge of a finger violates."""
_SHARP_M = 0.015
"""Range of openings that are not ruled out [m] up to which points give a reading."""
_READINGS = 8
"""Readings that are kept for who asks for the same one next."""


class OpeningMeter:
    """Measures the opening of one gripper whose pose is known.

    Args:
        renderer: Renderer of the gripper.
        tolerance_m: Difference of depth up to which a pixel agrees with the rendering [m].
    """

    def __init__(self, renderer: GripperRenderer, tolerance_m: float) -> None:
        model = renderer.model
        self._renderer, self._tolerance_m = renderer, tolerance_m
        # Axes of the fingers: opening direction, approach direction, and across both.
        along, approach = model.opening_axis, model.T_hand_tcp[:3, 2]
        self._R_fingers_hand = np.stack([along, approach, np.cross(along, approach)])
        self._T_fingers_hand = se3.pose(self._R_fingers_hand, np.zeros(3))
        corners = np.concatenate([model.left_finger.vertices, model.right_finger.vertices]) @ self._R_fingers_hand.T
        self._low, self._high = corners.min(axis=0) - _MARGIN_M, corners.max(axis=0) + _MARGIN_M
        self._low[0] -= model.max_opening_m / 2
        self._high[0] += model.max_opening_m / 2
        self._low[1] = max(float((model.hand.vertices @ approach).max()) + _PALM_M, self._low[1])
        self._corners = Mesh.box(tuple(self._low), tuple(self._high)).vertices
        # The left finger alone, closed; the right one is its mirror image for this purpose.
        left, _ = model.left_finger.sample(_FINGER_POINTS, np.random.default_rng(0))
        closed = left @ self._R_fingers_hand.T
        self._left, self._reach = KDTree(closed), float(closed[:, 0].mean())
        self._innermost, self._outermost = closed[:, 0].min() - _NEAR_M, closed[:, 0].max() + _NEAR_M
        self._finger_corners = lru_cache(maxsize=None)(self._find_finger_corners)
        self._readings: dict[tuple[bytes | Intrinsics, ...], float] = {}

    @staticmethod
    @lru_cache(maxsize=4)
    def of(renderer: GripperRenderer, tolerance_m: float) -> "OpeningMeter":
        """The one of this gripper: what the tracker has read is then not read again by who vouches for the pose."""
        return OpeningMeter(renderer, tolerance_m)

    def search(self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...]) -> float:
        """The opening [m] that explains the points about the fingers best; NaN where that says nothing.

        A point on a finger speaks for an opening; a point farther out than its fingers speaks against it, as there is
        nothing beside a finger. What is held between the fingers says nothing. Where hardly a point is on a finger, it
        is the middle of all openings that the images leave possible, see `_possible`.
        """
        T_world_fingers = T_world_hand @ se3.inverse(self._T_fingers_hand)
        windows = [
            box_window(se3.apply(v.T_camera_world @ T_world_fingers, self._corners), v.intrinsics) for v in views
        ]
        asked: list[bytes | Intrinsics] = [T_world_hand.tobytes()]
        for view, window in zip(views, windows, strict=True):
            asked += [view.intrinsics, view.T_camera_world.tobytes(), view.depth[window].tobytes()]
        if not any(view.depth[window].size for view, window in zip(views, windows, strict=True)):
            return float("nan")
        if (key := tuple(asked)) not in self._readings:
            if len(self._readings) == _READINGS:
                del self._readings[next(iter(self._readings))]
            self._readings[key] = self._read(T_world_hand, views, windows)
        return self._readings[key]

    def _read(
        self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...], windows: Sequence[Window]
    ) -> float:
        """What `search` gives, of which only the windows matter."""
        T_fingers_world = self._T_fingers_hand @ se3.inverse(T_world_hand)
        points = np.concatenate(
            [
                self._between(T_fingers_world @ se3.inverse(view.T_camera_world), view, window)
                for view, window in zip(views, windows, strict=True)
            ]
        )
        openings = np.arange(0, self._renderer.model.max_opening_m + _STEP_M / 2, _STEP_M)
        sides = np.abs(points[:, 0]) - openings[:, None] / 2  # (openings, points), as if all were the left finger's
        beside, across = np.nonzero((sides > self._innermost) & (sides < self._outermost))
        queries = np.column_stack([sides[beside, across], points[across, 1:]])
        distances = np.full(sides.shape, np.inf)
        distances[beside, across], _ = self._left.query(queries, distance_upper_bound=_NEAR_M)
        on_finger = np.isfinite(distances)
        beyond = ~on_finger & (sides > self._reach)
        # The nearer to the finger, the more a point says: else all openings within the noise would do equally well.
        nearness = np.where(on_finger, 1 - (np.minimum(distances, _NEAR_M) / _NEAR_M) ** 2, 0)
        scores = nearness.sum(axis=1) - beyond.sum(axis=1)
        best = int(np.argmax(scores))
        if on_finger[best].sum() >= _PLENTY_OF_POINTS and np.ptp(_likely(openings, scores)) <= _SHARP_M:
            return float(openings[best] + _STEP_M * _summit(scores, best))
        possible = self._possible(T_world_hand, views)
        sure = np.ptp(possible) <= _COARSE_STEP_M or possible[-1] < openings[-1] - _STEP_M
        return float(possible.mean()) if sure else float("nan")

    def _possible(self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...]) -> Float[Array, " k"]:
        """The openings [m], to 2 cm, whose rendered fingers the images bear out best, or nearly so.

        Closed fingers may be hidden behind the hand; open ones stick out. So images without any finger tell as well.
        """
        openings = np.arange(0, self._renderer.model.max_opening_m + _COARSE_STEP_M / 2, _COARSE_STEP_M)
        scores = np.zeros(len(openings))
        for i, opening_m in enumerate(openings):
            corners_hand = self._finger_corners(float(opening_m))
            for view in views:
                rendering = self._renderer.render(
                    view.T_camera_world @ T_world_hand, float(opening_m), view.intrinsics, corners_hand=corners_hand
                )
                depth, part = view.depth[rendering.window], rendering.part[rendering.window]
                fingers = ((part == Part.LEFT_FINGER) | (part == Part.RIGHT_FINGER)) & (depth > 0)
                behind = (depth - rendering.depth[rendering.window])[fingers]
                agreeing = np.count_nonzero(np.abs(behind) < self._tolerance_m)
                scores[i] += agreeing - np.count_nonzero(behind >= self._tolerance_m)
        return openings[scores > scores.max() - _RULING_OUT_PX]

    def _find_finger_corners(self, opening_m: float) -> Float[Array, "16 3"]:
        """Corners of boxes around both fingers, in the frame of the hand [m]."""
        parts = self._renderer.model.parts(opening_m)
        return np.concatenate([parts[finger].bounds.vertices for finger in FINGERS])

    def _between(self, T_fingers_camera: Float[Array, "4 4"], view: DepthView, window: Window) -> Float[Array, "n 3"]:
        """Points of one view [m] in the box that the fingers move in."""
        depth = view.depth[window]
        points_camera = (depth[..., None] * pixel_rays(view.intrinsics)[window])[depth > 0]
        points = se3.apply(T_fingers_camera, points_camera.astype(float))
        return points[((points > self._low) & (points < self._high)).all(axis=1)]

    def centroids(self, T_world_hand: Float[Array, "4 4"], opening_m: float, views: tuple[DepthView, ...]) -> float:
        """Distance between the centroids of the two fingers' visible points [m]; NaN where a finger is hidden.

        Args:
            T_world_hand: Pose of the hand.
            opening_m: A first guess, which tells the pixels of one finger from those of the other.
            views: The images.
        """
        points: dict[Part, list[Float[Array, "n 3"]]] = {finger: [] for finger in FINGERS}
        for view in views:
            rendering = self._renderer.render(view.T_camera_world @ T_world_hand, opening_m, view.intrinsics)
            depth, part = view.depth[rendering.window], rendering.part[rendering.window]
            agreeing = (depth > 0) & (np.abs(depth - rendering.depth[rendering.window]) < self._tolerance_m)
            for finger in FINGERS:
                points[finger].append(view.points(agreeing & (part == finger), rendering.window))
        left, right = (np.concatenate(points[finger]) for finger in FINGERS)
        if min(len(left), len(right)) < _FEWEST_PIXELS:
            return float("nan")
        return float(np.linalg.norm(left.mean(axis=0) - right.mean(axis=0)))


def _likely(openings: Float[Array, " n"], scores: Float[Array, " n"]) -> Float[Array, " k"]:
    """The openings that the scores do not rule out."""
    return openings[scores > scores.max() - _RULING_OUT]


def _summit(scores: Float[Array, " n"], best: int) -> float:
    """Where the parabola through the best score and its neighbours is highest, from the best one on, in steps."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    before, here, after = scores[best - 1 : best + 2]
    return float(0.5 * (before - after) / (before - 2 * here + after)) if before + after < 2 * here else 0.0


@dataclass(frozen=True, kw_only=True)
class OpenRule:
    """When a gripper counts as open."""

    threshold_m: float = field(default=0.0725, metadata={"range": (0.005, 0.2)})
    """Measured opening that separates open from closed [m]: wider than what is held, narrower than fully open. The
    default is for the distance between the pads; centroids need the paper's, `PAPER_THRESHOLDS_M`."""
    pads_threshold_m: float = 0.076
    """The same for the width that the gripper itself reports in the beginning [m], whatever the measure is. It is
    exact, so that it may lie just below fully open: an apple is 68 mm wide."""
    hysteresis_m: float = 0.002
    """A reading must pass the threshold by so much to count [m]."""
    dwell: int = 2
    """Readings that a new state must have for it; the change is dated back to the first of them, or before. One will
    do at the end of a time in which nothing was read, or of the clip if the hand stands where it changes."""

    def __post_init__(self) -> None:
        """Refuse rules that never change their mind, or at every reading."""
        if not 0 <= self.hysteresis_m < self.threshold_m or self.dwell < 1:
            raise ValueError(f"0 <= hysteresis_m < threshold_m and dwell >= 1 must hold, got {self}")

    def decide(
        self, opening_m: Float[Array, " t"], *, initially_open: bool, moved_m: Float[Array, " t"] | None = None
    ) -> Bool[Array, " t"]:
        """Open or closed in each frame: the course with the fewest readings against it, and the fewest changes.

        It weighs the whole clip, as Viterbi's algorithm does. Readings that are NaN or within the hysteresis say
        nothing; where a change falls among such, it is where the hand moves least, as hands stand still to grasp; if
        it stands more than once, it is the last time. That it stands in the beginning says little, as it always does.
        What the gripper itself reports in frame 0 outdoes any reading of that frame.

        Args:
            opening_m: The readings [m].
            initially_open: What the gripper reports.
            moved_m: How far the hand came since the frame before [m]; zero if left out.
        """
        offset, count = opening_m - self.threshold_m, len(opening_m)
        clear = np.isfinite(opening_m) & (np.abs(offset) > self.hysteresis_m)
        clear[0] = False
        speaking = np.stack([clear & (offset < 0), clear & (offset > 0)]).cumsum(axis=1)  # for closed, for open
        moving = np.zeros(count) if moved_m is None else np.clip((moved_m - _SLOW_M) / (_HURRY_M - _SLOW_M), 0, 1)
        if moving.any():
            moving[: np.argmax(moving > 0)] = _WAITING
        change = _CHANGE + _CHANGE_MOVING * moving
        # Cost of the best course up to each frame that ends in each state, and the frame in which that state begins.
        cost, begins = np.full((2, count), np.inf), np.zeros((2, count), int)
        cost[int(initially_open)] = speaking[int(not initially_open)]
        for t in range(1, count):
            for state in (0, 1):
                for begin in range(1, t + 1):
                    since = speaking[:, t] - speaking[:, begin - 1]
                    total = cost[1 - state, begin - 1] + change[begin] + since[1 - state]
                    # Of a change at the end, no second reading comes: hands stand still to grasp and to let go.
                    at_end = t == count - 1 and moving[begin] == 0
                    one_will_do = since[1 - state] == 0 and (t - begin >= _HIDDEN or at_end)
                    if since[state] >= (1 if one_will_do else self.dwell) and total <= cost[state, t]:
                        cost[state, t], begins[state, t] = total, begin
        is_open, end = np.full(count, initially_open), count
        state = int(np.argmin(cost[:, -1] - 1e-9 * (np.arange(2) == int(initially_open))))
        while end > 0:
            begin = begins[state, end - 1]
            is_open[begin:end] = bool(state)
            state, end = 1 - state, begin
        return is_open
