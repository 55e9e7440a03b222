"""The embedded pose tracker: registers the gripper's CAD with depth images, on a CPU, without masks or learning.

Where the robot's state tells the joints, the arm is followed with the gripper (`HandOnArm`): its links say where a
hidden hand is. A gripper that stands still, or is found next to its last pose beyond doubt, is not searched for. Else
each moment is searched from coarse to fine. Hypotheses about the last pose are tested by projecting points of the
surface into the images (`SurfaceTest`), the best are registered (`Registration`), and their surroundings are searched
again with less spread. The rendering decides (`Judge`). Where it bears nothing out, the search widens, and goes on from
the last pose that was borne out, and from what are likely guesses since. Masks, where there are any, tell how far the
gripper came: as a rule, registration from there is enough; else, what they show is searched first, with less effort.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from scipy.spatial.transform import Rotation

from robo4d.geometry import se3
from robo4d.rgbd import RgbdFrame
from robo4d.tracking.evidence import Evidence
from robo4d.tracking.hypotheses import SurfaceTest, spread
from robo4d.tracking.judge import Judge
from robo4d.tracking.mask_motion import Middle, gripper_middle, visible_middles, way
from robo4d.tracking.mechanism import HandOnArm, Mechanism
from robo4d.tracking.opening import OpeningMeter
from robo4d.tracking.registration import Registration
from robo4d.tracking.search import GeometricTrackerConfig, SearchRound
from robo4d.tracking.view import DepthView

_STEPS_WEIGHT = 0.25
"""Confidence that a pose loses at one standard deviation of motion."""
_PRIOR_SCALE = 0.25
"""Spread about the pose from the robot's state, as a share of the step: it is known to a centimetre."""
_WIDER = 1.4
"""Factor by which the spread grows when nothing was found."""
_MORE_EFFORT = 2
"""Factor by which the number of poses that are registered grows then; that of hypotheses grows with its square."""
_GUESSES = 3
"""Likely poses that a search goes on from in the next moment, where none is borne out."""
_WIDEST = 3.0
"""The search does not grow beyond so many steps."""
_SURE = 0.7
"""Confidence from which a pose next to the last one is taken without a search for better ones."""
_SURE_OF_PRIOR = 0.85
"""The same of a pose next to that from the robot's state: measured images are better than predicted ones."""
_LIKENESS = 0.5
"""Share of what is trusted below which a likeness is too poor to go there: better to stay."""
_JUDGED = 4
"""Registered poses, the best by `SurfaceTest`, that are rendered; with more effort, as many times more."""
_EXTENT = np.array([[0.1, 0, 0, 1], [0, 0.1, 0, 1], [0, 0, 0.1, 1.0]]).T
"""Points of the hand [m] that tell how far two poses are apart."""
_APART_M = 0.02
"""Poses nearer than this to each other, over these points, are tried once."""
_COLD_ROTATIONS = 192
"""Rotations tried where no pose is known, all over SO(3)."""
_SURE_AT_FIRST, _SURE_IN_MASK = 0.65, 0.55
"""The same where the masks tell how far the gripper came: of the first guess, and of the best of several."""


class GeometricTracker:
    """Follows one gripper through the depth images of cameras that stand still; implements `PoseTracker`.

    Args:
        mechanism: What moves: a free hand, or one on an arm, whose links are then followed with it.
        config: How to search.
        backgrounds: Depth of each view's background [m], see `judge.background`; without, a pose sunk into the table
            may be taken for a gripper.
    """

    def __init__(
        self,
        mechanism: Mechanism,
        config: GeometricTrackerConfig | None = None,
        backgrounds: Sequence[Float32[Array, "h w"]] | None = None,
    ) -> None:
        self.config = config or GeometricTrackerConfig()
        self._mechanism, self._renderer = mechanism, mechanism.renderer
        self._test, self._registration = SurfaceTest(mechanism), Registration(mechanism)
        on_arm = mechanism if isinstance(mechanism, HandOnArm) else None
        self._judge = Judge(self._renderer, self.config.tolerance_m, backgrounds, on_arm)
        self._meter = OpeningMeter.of(self._renderer, self.config.tolerance_m)
        self._rng = np.random.default_rng(self.config.seed)
        self._opening_m = self._renderer.model.max_opening_m
        self._state = mechanism.start
        """As found last; `_centres` are where a gripper was borne out."""
        self._centres: list[Float[Array, "..."]] = []
        self._guesses: list[Float[Array, "..."]] = []
        self._T_last_next = np.eye(4)
        self._missed = 0
        self._middles: tuple[Middle | None, ...] = ()
        """Of the masks when the gripper was borne out; none if that was not in the moment before."""

    @property
    def joints(self) -> Float[Array, "7"] | None:
        """See `PoseTracker`."""
        return self._state if isinstance(self._mechanism, HandOnArm) else None

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
        prior = None
        if T_world_object is not None:
            self._judge.spare(frames, T_world_object, self._opening_m)
            views = self._judge.views(frames, masks)
            self._measure_opening(T_world_object, views)
            prior = self._reached(self._state[None], T_world_object[None])[0]
            found = self._refine(views, prior[None], _PRIOR_SCALE, twice=True)
            if found[0].value < _SURE_OF_PRIOR:
                found = self._search(views, prior[None], scale=_PRIOR_SCALE)
        if prior is None or self._contradicted(prior, views):
            centres = self._cold_start(views, T_world_object)
            centres = self._reached(np.broadcast_to(self._state, (len(centres), *self._state.shape)), centres)
            found += self._search(views, centres, scale=_WIDEST if masks is None else 1.0, effort=_MORE_EFFORT)
        best = max(found, key=_value)
        state = best.state
        # What hides the gripper says nothing against the pose from the robot's state.
        if prior is not None and best.evidence.confidence < self.config.trusted:
            state = prior
        T = T_world_object if state is prior and T_world_object is not None else self._hand(state)
        self._measure_opening(T, views)
        self._judge.spare(frames, T, self._opening_m)
        self._state, self._centres, self._guesses = state, [state], []
        self._T_last_next, self._missed, self._middles = np.eye(4), 0, visible_middles(views)
        return T

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        """See `PoseTracker`."""
        if not self._centres:
            raise ValueError("nothing is followed yet: call register first")
        views, last = self._judge.views(frames, masks), self._centres[0]
        centres = last[None]
        if not np.array_equal(self._T_last_next, np.eye(4)):
            ahead = self._reached(last[None], (self._hand(last) @ self._T_last_next)[None])
            centres = np.concatenate([centres, ahead])
        middles = visible_middles(views)
        scale = min(np.sqrt(1.0 + self._missed), _WIDEST)
        found: list[_Candidate] = []
        for attempt, enough in self._attempts(views, middles, centres, scale, masked=masks is not None):
            found = sorted([*attempt(), *found], key=_value, reverse=True)
            if found and found[0].content(enough, trusted=self.config.trusted):
                break
        likely = [one for one in found if one.value >= _LIKENESS * self.config.trusted]
        best = likely[0] if likely else self._candidate(last, views)
        if best.evidence.confidence >= self.config.trusted:
            step = se3.inverse(self._hand(last)) @ self._hand(best.state)
            self._T_last_next = step if self._missed == 0 else np.eye(4)
            self._centres, self._guesses, self._missed = [best.state], [], 0
            self._middles = middles
            self._measure_opening(self._hand(best.state), views)
        else:
            states, values = [one.state for one in likely], np.array([one.value for one in likely])
            self._guesses = list(self._distinct(np.stack(states), values, _GUESSES)) if likely else []
            self._T_last_next, self._missed, self._middles = np.eye(4), self._missed + 1, ()
        self._state = best.state
        return self._hand(best.state)

    def _hand(self, state: Float[Array, "..."]) -> Float[Array, "4 4"]:
        """T_world_hand."""
        return self._hands(state[None])[0]

    def _hands(self, states: Float[Array, "n ..."]) -> Float[Array, "n 4 4"]:
        return self._mechanism.placements(states)[0]

    def _reached(self, states: Float[Array, "n ..."], Ts_world_hand: Float[Array, "n 4 4"]) -> Float[Array, "n ..."]:
        return self._mechanism.reached(states, Ts_world_hand)

    def _attempts(
        self,
        views: tuple[DepthView, ...],
        middles: Sequence[Middle | None],
        centres: Float[Array, "b ..."],
        scale: float,
        *,
        masked: bool,
    ) -> "Sequence[tuple[Callable[[], list[_Candidate]], float]]":
        """What to try in turn, and the value with which to be content. Where masks show nothing, nothing is sought."""
        trusted = self.config.trusted
        middle = gripper_middle(views, middles)
        stay = (lambda: self._stay(views), trusted)
        if middle is not None:
            carried = self._carried(centres, middles)

            def about() -> Float[Array, "c ..."]:
                shifted = self._hand(centres[-1]).copy()
                shifted[:3, 3] += middle - se3.apply(shifted, self._renderer.centre_hand)
                return np.concatenate([self._reached(centres[-1:], shifted[None]), centres[-1:]])

            def starts() -> Float[Array, "c ..."]:
                return np.concatenate([carried[1:], about()])

            return (
                stay,
                (lambda: self._refine(views, carried[:1], scale, twice=True), _SURE_AT_FIRST),
                (lambda: self._refine_best(views, starts(), scale), max(trusted, _SURE_IN_MASK)),
                (lambda: self._search(views, about(), rounds=(self.config.masked_round,), judged=1), trusted),
                (lambda: self._search(views, about()), 0.0),
            )
        refine = (lambda: self._refine(views, centres, scale), _SURE)
        near = (lambda: self._search(views, centres, scale=scale), trusted)
        wide = (lambda: self._search(views, centres, scale=scale, wider=_WIDER, effort=_MORE_EFFORT), 0.0)
        if masked:
            return stay, refine
        return (stay, refine, wide) if self._missed else (stay, refine, near, wide)

    def _measure_opening(self, T_world_hand: Float[Array, "4 4"], views: tuple[DepthView, ...]) -> None:
        measured = self._meter.search(T_world_hand, views)
        if np.isfinite(measured):
            self._opening_m = measured

    def _contradicted(self, state: Float[Array, "..."], views: tuple[DepthView, ...]) -> bool:
        """Whether the images look right through most of a gripper there."""
        evidence = self._candidate(state, views).evidence
        return evidence.violated > evidence.agreeing + evidence.hidden + evidence.unmeasured + evidence.outside

    def _search(
        self,
        views: tuple[DepthView, ...],
        centres: Float[Array, "b ..."],
        *,
        rounds: Sequence[SearchRound] | None = None,
        scale: float = 1.0,
        wider: float = 1.0,
        effort: int = 1,
        judged: int = _JUDGED,
    ) -> "list[_Candidate]":
        """States near the centres that are best borne out.

        Args:
            views: The images.
            centres: Where motion is measured from, and where to look besides the guesses of the moment before.
            rounds: Passes, from coarse to fine; the configured ones if left out.
            scale: Standard deviation of the motion to expect, as a multiple of the configured step.
            wider: Factor by which to look farther than that.
            effort: Factor of the number of poses that are registered.
            judged: Poses, the best by `SurfaceTest`, that are rendered; with more effort, as many times more.
        """
        std_m, std_deg = scale * self.config.step_m, scale * self.config.step_deg

        hands = self._hands(centres)

        def score(states: Float[Array, "n ..."], tolerance: float) -> Float[Array, " n"]:
            tolerance_m = tolerance * self.config.tolerance_m
            return self._test.score(states, self._opening_m, views, tolerance_m=tolerance_m) - self._cost(
                self._hands(states), hands, scale
            )

        best = np.stack([*centres, *self._guesses])
        for part in rounds or self.config.rounds:
            poses = spread(
                self._hands(best),
                effort**2 * part.hypotheses,
                std_m=wider * part.spread * std_m,
                std_deg=wider * part.spread * std_deg,
                pivot_hand=self._renderer.centre_hand,
                rng=self._rng,
            )
            states = self._reached(np.concatenate([best] * (len(poses) // len(best))), poses)
            best = self._distinct(states, score(states, part.tolerance), effort * part.kept)
            best = self._registration.refine(best, self._opening_m, views)
        best = self._distinct(best, score(best, 1.0), effort * judged)
        best = self._registration.refine(best, self._opening_m, views)
        costs = self._cost(self._hands(best), hands, scale)
        return [self._candidate(state, views, cost) for state, cost in zip(best, costs, strict=True)]

    def _cost(
        self, Ts_world_hand: Float[Array, "n 4 4"], centres: Float[Array, "b 4 4"], scale: float
    ) -> Float[Array, " n"]:
        """What the motion from the nearest centre costs each pose."""
        std_m, std_rad = scale * self.config.step_m, np.deg2rad(scale * self.config.step_deg)
        moved = [se3.distance(np.broadcast_to(centre, Ts_world_hand.shape), Ts_world_hand) for centre in centres]
        steps = [(metres / std_m) ** 2 + (radians / std_rad) ** 2 for metres, radians in moved]
        return _STEPS_WEIGHT / 6 * np.min(steps, axis=0)

    def _candidate(self, state: Float[Array, "..."], views: tuple[DepthView, ...], cost: float = 0.0) -> "_Candidate":
        joints = state if isinstance(self._mechanism, HandOnArm) else None
        evidence = self._judge.judge(self._hand(state), self._opening_m, views, joints=joints)
        return _Candidate(state=state, evidence=evidence, value=evidence.confidence - cost)

    def _stay(self, views: tuple[DepthView, ...]) -> "list[_Candidate]":
        """The state of the beginning, if the images are still the same there."""
        T = self._judge.T_world_known
        if T is None or not self._judge.unchanged(self._opening_m, views):
            return []
        return [self._candidate(self._reached(self._state[None], T[None])[0], views)]

    def _refine(
        self, views: tuple[DepthView, ...], centres: Float[Array, "b ..."], scale: float, *, twice: bool = False
    ) -> "list[_Candidate]":
        """The states that registration finds from the given ones, if any: as a rule, a gripper is near them."""
        if not len(centres):
            return []
        states = self._registration.refine(centres, self._opening_m, views, twice=twice)
        costs = self._cost(self._hands(states), self._hands(centres), scale)
        return [self._candidate(state, views, cost) for state, cost in zip(states, costs, strict=True)]

    def _refine_best(
        self, views: tuple[DepthView, ...], centres: Float[Array, "b ..."], scale: float
    ) -> "list[_Candidate]":
        """The best one of them, refined twice: only one is judged."""
        states = self._registration.refine(centres, self._opening_m, views)
        scores = self._test.score(states, self._opening_m, views, tolerance_m=self.config.tolerance_m)
        (state,) = self._registration.refine(states[[np.argmax(scores)]], self._opening_m, views)
        (cost,) = self._cost(self._hand(state)[None], self._hands(centres), scale)
        return [self._candidate(state, views, cost)]

    def _carried(self, centres: Float[Array, "b ..."], middles: Sequence[Middle | None]) -> Float[Array, "c ..."]:
        """The last pose, and turned as expected, where the masks say that it came since; none where they do not."""
        if not self._middles or (moved := way(self._middles, middles)) is None:
            return centres[:0]
        hands = self._hands(centres).copy()
        hands[:, :3, 3] = hands[0, :3, 3] + moved
        return self._reached(np.repeat(centres[:1], len(centres), axis=0), hands)

    def _distinct(self, states: Float[Array, "n ..."], scores: Float[Array, " n"], count: int) -> Float[Array, "k ..."]:
        """The best states not next to a better one, so that a wrong place with many good ones hides no other."""
        order = np.argsort(-scores)
        places = (self._hands(states[order]) @ _EXTENT)[:, :3].reshape(len(order), -1)
        chosen: list[int] = []
        free = np.ones(len(order), bool)
        while len(chosen) < count and free.any():
            chosen.append(int(np.argmax(free)))
            free &= np.linalg.norm(places - places[chosen[-1]], axis=1) > _APART_M
        return states[order[chosen]]

    def _cold_start(
        self, views: tuple[DepthView, ...], T_world_prior: Float[Array, "4 4"] | None
    ) -> Float[Array, "b 4 4"]:
        """Centres for a search without a pose to trust: turned all ways at the mask, or the prior itself."""
        middle = gripper_middle(views, visible_middles(views))
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
    state: Float[Array, "..."]
    evidence: Evidence
    value: float
    """Confidence, less what the motion costs."""

    def content(self, enough: float, *, trusted: float) -> bool:
        """Whether it has enough value for what the images show of it, or none can be trusted that is so cut off."""
        attainable = self.evidence.attainable
        return bool(self.value >= enough * attainable or attainable < trusted)


def _value(candidate: _Candidate) -> float:
    return candidate.value
