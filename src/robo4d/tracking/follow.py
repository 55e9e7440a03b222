"""Follows one arm's gripper through a clip: proposes poses, decides whether to vouch for them, and says why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.interfaces import PoseTracker
from robo4d.rgbd import RgbdFrame
from robo4d.track import Reason
from robo4d.tracking.evidence import Evidence
from robo4d.tracking.held import Grasp, HeldObject, Holding
from robo4d.tracking.judge import Judge
from robo4d.tracking.opening import OpeningMeter
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.view import DepthView

_REFUSED = 0.5
"""Highest confidence of a pose that is refused for its motion, as a share of what is trusted."""
_HOLDING_M = (0.004, 0.076)
"""Openings between which a gripper that has closed holds something [m]."""
_READABLE = 0.7
"""Share of what is trusted from which a pose that is not vouched for is good enough to read the opening."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a trusted pose must keep to."""

    trusted: float = 0.6
    """Least confidence. In the simulated cell with 5 mm of noise, less than 1 % of the poses above it are wrong."""
    trusted_with_arm: float = 0.45
    """The same of a pose for which the arm was followed with the gripper, and tells where a hand is of which little is
    seen; not of one from an engine that follows the hand alone, whatever is known of the joints."""
    doubt_per_s: float = 0.06
    """What the least confidence rises by with each second that the gripper was lost [1/s]: the farther it may be, the
    more there is that looks like it, other parts of the arm above all."""
    max_speed_m_s: float = 0.5
    """Speed between two trusted poses [m/s] above which it counts as a jump."""
    slack_m: float = 0.03
    """Distance that is no jump in however short a time [m]: both poses may be off."""
    prior_m: float = 0.03
    """Distance of the first pose from the robot's state [m] that counts as a contradiction."""
    prior_deg: float = 15.0
    """Rotation of the first pose against the robot's state [deg] that counts as a contradiction."""
    apart_m: float = 0.06
    """Distance of two arms' grippers [m] below which they are taken for one."""

    def __post_init__(self) -> None:
        """Refuse limits that trust everything or nothing."""
        positive = (self.doubt_per_s, self.max_speed_m_s, self.slack_m, self.prior_m, self.prior_deg, self.apart_m)
        if min(positive) <= 0 or not (0 < self.trusted < 1 and 0 < self.trusted_with_arm < 1):
            raise ValueError(f"limits must be positive, trusted and trusted_with_arm between 0 and 1, got {self}")

    def needed(self, *, with_arm: bool) -> float:
        """Least confidence of a pose, depending on whether the arm was followed with the gripper."""
        return self.trusted_with_arm if with_arm else self.trusted


@dataclass(frozen=True, kw_only=True)
class GripperPrior:
    """What the robot's state says of one gripper at the time of the observation."""

    T_world_tcp: Float[Array, "4 4"]
    """From tf or forward kinematics."""
    opening_m: float
    """Distance between the fingers [m]."""
    joints: Float[Array, "7"] | None = None
    """Positions of the arm's joints [rad], if they are known: then the arm is followed with the gripper."""
    held: Grasp | None = None
    """What was seen before of the thing that it holds."""

    @classmethod
    def example(cls) -> "GripperPrior":
        """An open gripper 60 cm in front of the reference camera."""
        return cls(T_world_tcp=se3.translation(0, 0, 0.6), opening_m=0.08)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One gripper in one frame."""

    T_world_tcp: Float[Array, "4 4"]
    confidence: float
    reason: Reason
    """Why it is not trusted, or `Reason.TRUSTED`."""
    view: int
    """As in `GripperTrack.view`."""
    searched_opening_m: float
    """Distance between the pads [m] by fitting the fingers; NaN where unknown."""
    centroids_m: float
    """Distance of the fingers' centroids [m], the paper's measure; NaN where unknown."""

    @classmethod
    def example(cls) -> "Estimate":
        """A gripper that is seen well."""
        return cls(
            T_world_tcp=np.eye(4),
            confidence=0.9,
            reason=Reason.TRUSTED,
            view=0,
            searched_opening_m=0.08,
            centroids_m=0.1,
        )


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One tracker with the views that it looks at, and the judge of what it says."""

    view: int
    """As in `GripperTrack.view`."""
    frames: Sequence[Sequence[RgbdFrame]]
    """Of each moment, of each of its views."""
    masks: Sequence[Sequence[Bool[Array, "h w"]]] | None
    tracker: PoseTracker
    judge: Judge

    def register(self, t: int, T_world_hand: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
        """Begin at one moment, at a pose that is known."""
        return self.tracker.register(self.frames[t], masks=self._masks(t), T_world_object=T_world_hand)

    def track(self, t: int) -> Float[Array, "4 4"]:
        """Go on to one moment."""
        return self.tracker.track(self.frames[t], masks=self._masks(t))

    def evidence(self, views: tuple[DepthView, ...], T_world_hand: Float[Array, "4 4"], opening_m: float) -> Evidence:
        """What the judge says of the pose that the tracker has found."""
        return self.judge.judge(T_world_hand, opening_m, views, joints=self.tracker.joints)

    def trusted(self, limits: Limits) -> float:
        """Least confidence of what the tracker has found."""
        return limits.needed(with_arm=self.tracker.joints is not None)

    def views(self, t: int) -> tuple[DepthView, ...]:
        """What the judge sees at one moment."""
        return self.judge.views(self.frames[t], self._masks(t))

    def _masks(self, t: int) -> Sequence[Bool[Array, "h w"]] | None:
        return None if self.masks is None else self.masks[t]


@dataclass(frozen=True, kw_only=True)
class _Proposal:
    T_world_hand: Float[Array, "4 4"]
    evidence: Evidence
    watch: Watch
    views: tuple[DepthView, ...]


@dataclass(frozen=True)
class _Seen:
    """A frame in which the pose is vouched for."""

    t: int
    T_world_hand: Float[Array, "4 4"]
    views: tuple[DepthView, ...]


class ArmFollower:
    """Follows one gripper, frame by frame: `propose`, perhaps `refuse`, then `conclude`.

    Args:
        watches: One for both views together, or one for each.
        prior: Where the robot's state has the gripper in frame 0.
        renderer: Renderer of the gripper.
        meter: Measures its opening.
        limits: What a trusted pose must keep to.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        prior: GripperPrior,
        renderer: GripperRenderer,
        meter: OpeningMeter,
        limits: Limits,
    ) -> None:
        self._watches, self._prior, self._renderer, self._meter, self._limits = watches, prior, renderer, meter, limits
        self._T_tcp_hand = se3.inverse(renderer.model.T_hand_tcp)
        self._opening_m = prior.opening_m
        self._T_trusted, self._time_trusted_s = prior.T_world_tcp @ self._T_tcp_hand, 0.0
        self._proposals: list[_Proposal] = []
        self._reason = Reason.TRUSTED
        self._needed = limits.trusted
        self._held: HeldObject | None = None
        self._seen: list[_Seen] = []

    @property
    def right(self) -> tuple[float, float]:
        """How good its right to the proposed pose is: time of the last trusted one [s], and nearness to that [-m]."""
        return self._time_trusted_s, -self._moved_m

    @property
    def p_world_hand(self) -> Float[Array, "3"]:
        """Position of the hand as proposed [m]."""
        return self._best.T_world_hand[:3, 3]

    @property
    def claims(self) -> bool:
        """Whether the proposed pose is vouched for."""
        return self._reason is Reason.TRUSTED

    def propose(self, t: int, time_s: float) -> None:
        """Track one frame in every watch, and take the most confident."""
        self._proposals = []
        for watch in self._watches:
            if t == 0:
                watch.judge.spare(watch.frames[0], self._T_trusted, self._opening_m)
            T_world_hand = watch.register(0, self._T_trusted) if t == 0 else watch.track(t)
            views = watch.views(t)
            evidence = watch.evidence(views, T_world_hand, self._opening_m)
            if t == 0 and evidence.confidence < watch.trusted(self._limits):
                # The robot's state stands unless the images contradict it: half a gripper at the border agrees as well.
                T_world_hand = self._T_trusted
                evidence = watch.judge.judge(T_world_hand, self._opening_m, views).seen
            self._proposals.append(_Proposal(T_world_hand=T_world_hand, evidence=evidence, watch=watch, views=views))
        evidence, gap_s = self._best.evidence, time_s - self._time_trusted_s
        reach_m = self._limits.max_speed_m_s * gap_s
        doubt = 0 if self.claims else self._limits.doubt_per_s * gap_s
        self._needed = self._best.watch.trusted(self._limits) + doubt
        self._reason = Reason.TRUSTED
        if evidence.confidence < self._needed:
            self._reason = evidence.weakness
        elif t == 0 and self._contradicts_prior():
            self._reason = Reason.PRIOR_MISMATCH
        elif t > 0 and self._moved_m > reach_m + self._limits.slack_m:
            self._reason = Reason.JUMP

    def refuse(self, reason: Reason) -> None:
        """Do not vouch for what was proposed."""
        self._reason = reason

    def conclude(self, t: int, time_s: float) -> Estimate:
        """Settle the frame, and put trackers that went astray back where the gripper was last seen, or is."""
        best, trusted = self._best, self._best.watch.trusted(self._limits)
        confidence = best.evidence.confidence
        if self.claims:
            self._T_trusted, self._time_trusted_s = best.T_world_hand, time_s
        elif confidence >= trusted:
            confidence = _REFUSED * trusted
        for proposal in self._proposals:
            lost = proposal.evidence.confidence < self._needed
            if t > 0 and ((self.claims and lost and proposal is not best) or (not self.claims and not lost)):
                proposal.watch.register(t, self._T_trusted)
        searched = centroids = float("nan")
        views = tuple(view for proposal in self._proposals for view in proposal.views)
        if t == 0 and _HOLDING_M[0] < self._prior.opening_m < _HOLDING_M[1]:
            self._held = HeldObject(
                self._renderer,
                self._T_trusted,
                self._prior.opening_m,
                views,
                best.watch.judge.tolerance_m,
                self._prior.held,
            )
        elif t > 0 and self.claims:
            self._seen.append(_Seen(t, best.T_world_hand, views))
        if self.claims or best.evidence.confidence >= _READABLE * trusted:
            searched = self._meter.search(best.T_world_hand, views)
            self._opening_m = searched if np.isfinite(searched) else self._opening_m
            centroids = self._meter.centroids(best.T_world_hand, self._opening_m, views)
        T_world_tcp = best.T_world_hand @ se3.inverse(self._T_tcp_hand)
        return Estimate(
            T_world_tcp=T_world_tcp if confidence > 0 else np.full((4, 4), np.nan),
            confidence=confidence,
            reason=self._reason,
            view=best.watch.view,
            searched_opening_m=searched,
            centroids_m=centroids,
        )

    def held(self) -> Holding | None:
        """What is seen of the thing that it held at the observation, at `moments`; None if there is nothing to tell."""
        if not self._held or not self._seen:
            return None
        return self._held.watch([s.T_world_hand for s in self._seen], [s.views for s in self._seen])

    @property
    def moments(self) -> list[int]:
        """The frames after the observation in which the pose was vouched for."""
        return [seen.t for seen in self._seen]

    @property
    def _moved_m(self) -> float:
        """Distance of the proposed pose from the last trusted one [m]."""
        return float(se3.distance(self._T_trusted, self._best.T_world_hand)[0])

    @property
    def _best(self) -> _Proposal:
        return max(self._proposals, key=lambda proposal: proposal.evidence.confidence)

    def _contradicts_prior(self) -> bool:
        metres, radians = se3.distance(self._T_trusted, self._best.T_world_hand)
        return bool(metres > self._limits.prior_m or np.rad2deg(radians) > self._limits.prior_deg)


def separate(arms: Sequence[ArmFollower], limits: Limits) -> None:
    """Where two arms claim the same gripper, refuse the one that lost its own longer ago, or came from farther away."""
    for i, one in enumerate(arms):
        for other in arms[i + 1 :]:
            if one.claims and other.claims and np.linalg.norm(one.p_world_hand - other.p_world_hand) < limits.apart_m:
                min(one, other, key=lambda arm: arm.right).refuse(Reason.OTHER_ARM)
