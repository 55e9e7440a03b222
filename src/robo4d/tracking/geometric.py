"""The embedded pose tracker: registers the gripper's CAD with depth images, on a CPU, without masks or learning.

Each moment is searched from coarse to fine. Hypotheses about the last pose are tested by projecting points of the
surface into the images (`SurfaceTest`), the best are registered (`Registration`), and their surroundings are searched
again with less spread. The rendering decides (`Judge`). Where it bears nothing out, the search widens, and goes on
from the last pose that was borne out, and from what is a likely guess since.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.evidence import Evidence
from robo4d.tracking.hypotheses import DepthView, SurfaceTest, spread
from robo4d.tracking.judge import Judge
from robo4d.tracking.opening import OpeningMeter
from robo4d.tracking.registration import Registration
from robo4d.tracking.rendering import GripperRenderer

_STEPS_WEIGHT = 0.2
"""Confidence that a pose loses at one standard deviation of motion."""
_PRIOR_SCALE = 0.25
"""Spread about the pose from the robot's state, as a share of the step: it is known to a centimetre."""
_WIDER = 2.0
"""Factor by which the spread grows when nothing was found."""
_MORE_EFFORT = 3
"""Factor by which the number of hypotheses grows then."""
_WIDEST = 3.0
"""The search does not grow beyond so many steps."""
_LIKENESS = 0.7
"""Share of what is trusted below which a likeness is too poor to go there: better to stay."""
_JUDGED = 4
"""Registered poses, the best by `SurfaceTest`, that are rendered; with more effort, as many times more."""
_COLD_ROTATIONS = 192
"""Rotations tried where no pose is known, all over SO(3)."""
_MASK_DEPTH_M = 0.015
"""How far the gripper's middle lies behind the median of its visible surface [m]."""


@dataclass(frozen=True, kw_only=True)
class SearchRound:
    """One pass over hypotheses, from coarse to fine."""

    hypotheses: int
    spread: float
    """Standard deviation of the scatter, as a share of the step."""
    tolerance: float
    """Difference of depth that agrees, relative to the last round's: what is half a step off must still score."""
    kept: int
    """How many of the hypotheses go on."""

    def __post_init__(self) -> None:
        """Refuse a round that finds nothing."""
        if not 1 <= self.kept <= self.hypotheses or self.spread <= 0 or self.tolerance < 1:
            raise ValueError(f"1 <= kept <= hypotheses, spread > 0 and tolerance >= 1 must hold, got {self}")


@dataclass(frozen=True, kw_only=True)
class GeometricTrackerConfig:
    """How the embedded tracker searches."""

    tolerance_m: float = 0.015
    """Difference of depth up to which a pixel agrees with the rendering [m]."""
    trusted: float = 0.6
    """Confidence from which a pose counts as borne out."""
    step_m: float = 0.05
    """Standard deviation of the motion between two moments along each axis [m]."""
    step_deg: float = 20.0
    """Standard deviation of the rotation between two moments about each axis [deg]."""
    rounds: tuple[SearchRound, ...] = (
        SearchRound(hypotheses=480, spread=1.0, tolerance=8 / 3, kept=16),
        SearchRound(hypotheses=240, spread=0.2, tolerance=4 / 3, kept=12),
    )
    seed: int = 0
    """Selects the hypotheses."""

    def __post_init__(self) -> None:
        """Refuse a search that finds nothing."""
        if min(self.tolerance_m, self.step_m, self.step_deg) <= 0 or not 0 < self.trusted < 1 or not self.rounds:
            raise ValueError(f"tolerance, steps and rounds must be positive, trusted between 0 and 1, got {self}")


class GeometricTracker:
    """Follows one gripper through the depth images of cameras that stand still; implements `PoseTracker`.

    Args:
        renderer: Renderer of the gripper.
        config: How to search.
        backgrounds: Depth of each view's background [m], see `judge.background`; without, a pose sunk into the table
            may be taken for a gripper.
    """

    def __init__(
        self,
        renderer: GripperRenderer,
        config: GeometricTrackerConfig | None = None,
        backgrounds: Sequence[Float32[Array, "h w"]] | None = None,
    ) -> None:
        self.config = config or GeometricTrackerConfig()
        self._renderer = renderer
        self._test, self._registration = SurfaceTest(renderer), Registration(renderer)
        self._judge = Judge(renderer, self.config.tolerance_m, backgrounds)
        self._meter = OpeningMeter(renderer, self.config.tolerance_m)
        self._rng = np.random.default_rng(self.config.seed)
        self._opening_m = renderer.model.max_opening_m
        self._centres: list[Float[Array, "4 4"]] = []
        self._guesses: list[Float[Array, "4 4"]] = []
        self._T_last_next = np.eye(4)
        self._missed = 0

    def register(
        self,
        frames: Sequence[RgbdFrame],
        *,
        masks: Sequence[Bool[Array, "h w"]] | None = None,
        T_world_object: Float[Array, "4 4"] | None = None,
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`."""
        if T_world_object is None and masks is None:
            raise ValueError("to find the gripper takes its pose from the robot's state, or a mask of it")
        views = self._judge.views(frames, masks)
        found: list[_Candidate] = []
        if T_world_object is not None:
            self._judge.spare(frames, T_world_object, self._opening_m)
            views = self._judge.views(frames, masks)
            self._measure_opening(T_world_object, views)
            found = [self._search(views, T_world_object[None], scale=_PRIOR_SCALE)]
        if T_world_object is None or self._contradicted(T_world_object, views):
            centres = self._cold_start(views, T_world_object)
            found.append(self._search(views, centres, scale=_WIDEST if masks is None else 1.0, effort=_MORE_EFFORT))
        best = max(found, key=_value)
        T = best.T_world_hand
        # What hides the gripper says nothing against the pose from the robot's state.
        if T_world_object is not None and best.evidence.confidence < self.config.trusted:
            T = T_world_object
        self._measure_opening(T, views)
        self._judge.spare(frames, T, self._opening_m)
        self._centres, self._guesses, self._T_last_next, self._missed = [T], [], np.eye(4), 0
        return T

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`."""
        if not self._centres:
            raise ValueError("nothing is followed yet: call register first")
        views, last = self._judge.views(frames, masks), self._centres[0]
        centres = np.stack([*self._centres, last @ self._T_last_next])
        scale = min(np.sqrt(1.0 + self._missed), _WIDEST)
        found: list[_Candidate] = []
        for attempt in (
            lambda: self._follow_mask(views, centres[-1]),
            lambda: self._search(views, centres, scale=scale),
            lambda: self._search(views, centres, scale=scale, wider=_WIDER, effort=_MORE_EFFORT),
        ):
            found.append(attempt())
            if found[-1].value >= self.config.trusted:
                break
        best = max(found, key=_value)
        if best.value < _LIKENESS * self.config.trusted:
            best = self._candidate(last, views)
        if best.evidence.confidence >= self.config.trusted:
            self._T_last_next = se3.inverse(last) @ best.T_world_hand if self._missed == 0 else np.eye(4)
            self._centres, self._guesses, self._missed = [best.T_world_hand], [], 0
            self._measure_opening(best.T_world_hand, views)
        else:
            likely = best.value >= _LIKENESS * self.config.trusted
            self._guesses = [best.T_world_hand] if likely else []
            self._T_last_next, self._missed = np.eye(4), self._missed + 1
        return best.T_world_hand

    def _measure_opening(self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...]) -> None:
        measured = self._meter.search(T_world_hand, views)
        if np.isfinite(measured):
            self._opening_m = measured

    def _contradicted(self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...]) -> bool:
        """Whether the images look right through most of a gripper at this pose."""
        evidence = self._judge.judge(T_world_hand, self._opening_m, views)
        return evidence.violated > evidence.agreeing + evidence.hidden + evidence.unmeasured + evidence.outside

    def _search(
        self,
        views: tuple[DepthView, ...],
        centres: Float[Array, "b 4 4"],
        *,
        scale: float,
        wider: float = 1.0,
        effort: int = 1,
    ) -> "_Candidate":
        """The pose best borne out near the centres.

        Args:
            views: The images.
            centres: Where motion is measured from, and where to look besides the guesses of the moment before.
            scale: Standard deviation of the motion to expect, as a multiple of the configured step.
            wider: Factor by which to look farther than that.
            effort: Factor of the number of hypotheses.
        """
        std_m, std_deg = scale * self.config.step_m, scale * self.config.step_deg

        def cost(poses: Float[Array, "n 4 4"]) -> Float[Array, " n"]:
            """What the motion from the nearest centre costs."""
            moved = [se3.distance(np.broadcast_to(centre, poses.shape), poses) for centre in centres]
            steps = [(metres / std_m) ** 2 + (radians / np.deg2rad(std_deg)) ** 2 for metres, radians in moved]
            return _STEPS_WEIGHT / 6 * np.min(steps, axis=0)

        def score(poses: Float[Array, "n 4 4"], tolerance: float) -> Float[Array, " n"]:
            tolerance_m = tolerance * self.config.tolerance_m
            return self._test.score(poses, self._opening_m, views, tolerance_m=tolerance_m) - cost(poses)

        best = np.stack([*centres, *self._guesses])
        for part in self.config.rounds:
            poses = spread(
                best,
                effort * part.hypotheses,
                std_m=wider * part.spread * std_m,
                std_deg=wider * part.spread * std_deg,
                pivot_hand=self._renderer.centre_hand,
                rng=self._rng,
            )
            best = poses[np.argsort(-score(poses, part.tolerance))[: part.kept]]
            best = self._registration.refine(best, self._opening_m, views)
        poses = best[np.argsort(-score(best, 1.0))[: effort * _JUDGED]]
        return max((self._candidate(T, views, c) for T, c in zip(poses, cost(poses), strict=True)), key=_value)

    def _candidate(
        self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...], cost: float = 0.0
    ) -> "_Candidate":
        evidence = self._judge.judge(T_world_hand, self._opening_m, views)
        return _Candidate(T_world_hand=T_world_hand, evidence=evidence, value=evidence.confidence - cost)

    def _follow_mask(self, views: tuple[DepthView, ...], T_world_hand: Float[Array, "4 4"]) -> "_Candidate":
        """The pose from shifting the hand onto the mask, and registering its points. Without a mask: no evidence."""
        middle = _masked_middle(views)
        if middle is None:
            return _Candidate(T_world_hand=T_world_hand, evidence=_NO_EVIDENCE, value=-np.inf)
        T = T_world_hand.copy()
        T[:3, 3] += middle - se3.apply(T, self._renderer.centre_hand)
        return self._candidate(self._registration.refine(T[None], self._opening_m, views)[0], views)

    def _cold_start(
        self, views: tuple[DepthView, ...], T_world_prior: Float[Array, "4 4"] | None
    ) -> Float[Array, "b 4 4"]:
        """Centres for a search without a pose to trust: turned all ways at the mask, or the prior itself."""
        middle = _masked_middle(views)
        if T_world_prior is not None:
            shifted = T_world_prior.copy()
            if middle is not None:
                shifted[:3, 3] += middle - se3.apply(T_world_prior, self._renderer.centre_hand)
            return shifted[None]
        if middle is None:
            raise ValueError("the mask has no pixel with depth, and there is no pose from the robot's state")
        R = Rotation.random(_COLD_ROTATIONS, rng=self._rng).as_matrix()
        return se3.pose(R, middle - R @ self._renderer.centre_hand)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    T_world_hand: Float[Array, "4 4"]
    evidence: Evidence
    value: float
    """Confidence, less what the motion costs."""


def _value(candidate: _Candidate) -> float:
    return candidate.value


_NO_EVIDENCE = Evidence(agreeing=0, still=0, violated=0, hidden=0, unmeasured=0, outside=0)


def _masked_middle(views: tuple[DepthView, ...]) -> Float[Array, "3"] | None:
    """Middle of the gripper [m, world] by the first view that has depth in its mask, or None."""
    for view in views:
        if view.mask is not None and (shown := view.mask & (view.depth > 0)).any():
            point = np.median(view.depth[shown][:, None] * view.intrinsics.rays()[shown], axis=0)
            point *= 1 + _MASK_DEPTH_M / np.linalg.norm(point)
            return se3.apply(se3.inverse(view.T_camera_world), point)
    return None
