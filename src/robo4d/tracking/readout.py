"""From a predicted video to the motion of both grippers: track, judge, fuse the views, and read the opening.

The paper (section 3.4) tracks each view on its own and takes the more confident one in each frame (`best_view`). The
default, `joint`, registers the CAD with both views at once: a gripper hidden from one camera is seen by the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.geometry.procrustes import Alignment
from robo4d.interfaces import PoseTracker
from robo4d.rgbd import RgbdPair
from robo4d.track import GripperTrack, Reason
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.clip import Clip
from robo4d.tracking.follow import ArmFollower, Estimate, GripperPrior, Limits, Watch, separate
from robo4d.tracking.geometric import GeometricTracker
from robo4d.tracking.held import Grasp, GraspMemory, Holding
from robo4d.tracking.judge import Judge, background
from robo4d.tracking.mechanism import FreeHand, HandOnArm, Mechanism
from robo4d.tracking.opening import OpeningMeter, OpenRule
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.search import GeometricTrackerConfig
from robo4d.video import PointmapVideo

BOTH_VIEWS = -1
"""`GripperTrack.view` of a pose that was taken from all views together."""
_LEAST_STEP_M, _LEAST_STEP_DEG = 0.02, 5.0
"""Motion between two frames that is searched at least, however short the time between them."""


@dataclass(frozen=True, kw_only=True)
class ReadoutConfig:
    """How a video is read."""

    fusion: Literal["joint", "best_view"] = "joint"
    """Both views at once, or the more confident one in each frame (the paper's rule)."""
    tolerance_m: float = 0.015
    """Difference of depth up to which a pixel agrees with the rendering [m]."""
    speed_m_s: float = 0.1
    """Typical speed of a gripper [m/s], which sets how far the embedded tracker searches."""
    turn_deg_s: float = 40.0
    """Typical speed of rotation [deg/s]."""
    limits: Limits = field(default_factory=Limits)
    """What a trusted pose must keep to."""
    opening: Literal["search", "centroids"] = "search"
    """What `GripperTrack.opening_m` holds and `open_rule` decides on. `centroids` is the paper's rule, and needs its
    threshold for the task as `open_rule.threshold_m`."""
    open_rule: OpenRule = field(default_factory=OpenRule)
    """When a gripper counts as open."""

    def __post_init__(self) -> None:
        """Refuse a reading that finds nothing."""
        if min(self.tolerance_m, self.speed_m_s, self.turn_deg_s) <= 0:
            raise ValueError(f"tolerance and speeds must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class Readout:
    """What a video says about the motion of the grippers."""

    tracks: dict[str, GripperTrack]
    """Of each arm."""
    calibration: Alignment | None
    """T_n_m as the video implies it: see `Clip`."""
    grasps: Mapping[str, Grasp] = field(default_factory=dict[str, Grasp])
    """What was seen of the things that grippers held at the observation."""


MakeTracker = Callable[[Mechanism, Sequence[Float32[Array, "h w"]], GeometricTrackerConfig], PoseTracker]
"""Makes a tracker for one arm and some of the views, given what moves, the views' backgrounds, and how to search."""


def embedded_tracker(
    mechanism: Mechanism, backgrounds: Sequence[Float32[Array, "h w"]], config: GeometricTrackerConfig
) -> PoseTracker:
    """The default: needs neither GPU nor masks."""
    return GeometricTracker(mechanism, config, backgrounds)


def remembering(
    memory: GraspMemory, priors: Mapping[str, GripperPrior], read: Callable[[dict[str, GripperPrior]], Readout]
) -> Readout:
    """Read a video with what earlier ones showed of the things that grippers hold.

    Args:
        memory: What they showed; it learns from this one.
        priors: See `track_video`.
        read: Reads the video with priors that hold what is remembered.
    """
    known = memory.recall({arm: prior.opening_m for arm, prior in priors.items()})
    readout = read({arm: replace(prior, held=known.get(arm)) for arm, prior in priors.items()})
    for arm, track in readout.tracks.items():
        memory.keep(arm, readout.grasps.get(arm), track.open)
    return readout


def track_video(
    video: PointmapVideo,
    pair: RgbdPair,
    *,
    priors: dict[str, GripperPrior],
    renderer: GripperRenderer,
    arm: ArmRenderer | None = None,
    config: ReadoutConfig | None = None,
    make_tracker: MakeTracker = embedded_tracker,
    masks: dict[str, Bool[Array, "v t h w"]] | None = None,
) -> Readout:
    """Follow the grippers from the observation through the video.

    Args:
        video: The prediction.
        pair: The observation that it starts from.
        priors: Where the robot's state has each arm's gripper, in the world of `pair.n.T_world_camera`, or in the frame
            of camera n if that is unknown. The tracks are in the same frame.
        renderer: The gripper. Keep it for the next video: it caches what is costly to build.
        arm: The arm behind it, which is followed as well where the priors tell its joints; the same for all arms.
        config: How to read.
        make_tracker: The engine. With `best_view` it is made for each view, else for both together.
        masks: Pixels of each arm's hand and fingers, the observation's first, if a segmenter gives them.
    """
    config, clip = config or ReadoutConfig(), Clip.from_video(video, pair)
    backgrounds = [background(np.stack([frame.depth for frame in view])) for view in zip(*clip.frames, strict=True)]
    groups = {view: (view,) for view in range(len(backgrounds))}
    if config.fusion == "joint":
        groups = {BOTH_VIEWS if len(backgrounds) > 1 else 0: tuple(range(len(backgrounds)))}
    meter = OpeningMeter.of(renderer, config.tolerance_m)

    def follow(name: str) -> ArmFollower:
        mechanism = _mechanism(priors[name], renderer, arm)
        on_arm = mechanism if isinstance(mechanism, HandOnArm) else None
        search = _search(config, config.limits.needed(with_arm=on_arm is not None), clip)

        def watch(view: int) -> Watch:
            mine, mask = [backgrounds[v] for v in groups[view]], None if masks is None else masks[name]
            return Watch(
                view=view,
                frames=[[moment[v] for v in groups[view]] for moment in clip.frames],
                masks=None if mask is None else [[mask[v, t] for v in groups[view]] for t in range(len(clip.frames))],
                tracker=make_tracker(mechanism, mine, search),
                judge=Judge(renderer, config.tolerance_m, mine, on_arm),
            )

        return ArmFollower([watch(view) for view in groups], priors[name], renderer, meter, config.limits)

    followers = {name: follow(name) for name in priors}
    estimates: dict[str, list[Estimate]] = {name: [] for name in followers}
    for t, time_s in enumerate(clip.times_s):
        for follower in followers.values():
            follower.propose(t, float(time_s))
        separate(list(followers.values()), config.limits)
        for name, follower in followers.items():
            estimates[name].append(follower.conclude(t, float(time_s)))
    held = {name: (follower.moments, follower.held()) for name, follower in followers.items()}
    return _readout(estimates, held, priors, renderer.model.max_opening_m, config, clip)


def _mechanism(prior: GripperPrior, renderer: GripperRenderer, arm: ArmRenderer | None) -> Mechanism:
    if arm is None or prior.joints is None:
        return FreeHand(renderer)
    T_world_hand = prior.T_world_tcp @ se3.inverse(renderer.model.T_hand_tcp)
    T_world_base = arm.model.base_of(T_world_hand, prior.joints)
    return HandOnArm(renderer, arm, T_world_base=T_world_base, joints=prior.joints)


def _search(config: ReadoutConfig, trusted: float, clip: Clip) -> GeometricTrackerConfig:
    step_s = float(np.median(np.diff(clip.times_s)))
    return GeometricTrackerConfig(
        tolerance_m=config.tolerance_m,
        trusted=trusted,
        step_m=max(config.speed_m_s * step_s, _LEAST_STEP_M),
        step_deg=max(config.turn_deg_s * step_s, _LEAST_STEP_DEG),
    )


def _readout(
    estimates: dict[str, list[Estimate]],
    held: dict[str, tuple[list[int], Holding | None]],
    priors: dict[str, GripperPrior],
    max_opening_m: float,
    config: ReadoutConfig,
    clip: Clip,
) -> Readout:
    searched = {arm: np.array([e.searched_opening_m for e in found]) for arm, found in estimates.items()}
    centroids = {arm: np.array([e.centroids_m for e in found]) for arm, found in estimates.items()}
    openings, rule = (searched if config.opening == "search" else centroids), config.open_rule
    tracks = {
        arm: GripperTrack(
            arm=arm,
            stamp_ns=clip.stamp_ns,
            times_s=clip.times_s,
            Ts_world_tcp=np.stack([e.T_world_tcp for e in found]),
            confidence=np.array([e.confidence for e in found]),
            inlier=np.array([e.reason is Reason.TRUSTED for e in found]),
            view=np.array([e.view for e in found]),
            opening_m=openings[arm],
            open=rule.decide(
                _told(openings[arm], *held[arm], priors[arm].opening_m, max_opening_m),
                initially_open=priors[arm].opening_m > rule.pads_threshold_m,
                moved_m=_moved_m(clip.times_s, found),
            ),
            searched_opening_m=searched[arm],
            centroids_m=centroids[arm],
            reasons=tuple(e.reason for e in found),
        )
        for arm, found in estimates.items()
    }
    grasps = {arm: holding.grasp for arm, (_, holding) in held.items() if holding}
    return Readout(tracks=tracks, calibration=clip.calibration, grasps=grasps)


def _told(
    opening_m: Float[Array, " t"], moments: list[int], holding: Holding | None, holding_m: float, max_opening_m: float
) -> Float[Array, " t"]:
    """The openings; where none is read, what follows from whether the gripper still holds what it held."""
    held = np.full(len(opening_m), np.nan)
    if holding:
        held[moments] = holding.told
    return np.where(np.isnan(opening_m) & ~np.isnan(held), np.where(held > 0.5, holding_m, max_opening_m), opening_m)


def _moved_m(times_s: Float[Array, " t"], estimates: Sequence[Estimate]) -> Float[Array, " t"]:
    """How far the TCP came since the frame before [m], at a steady pace through frames that are not trusted."""
    trusted = np.array([e.reason is Reason.TRUSTED for e in estimates])
    if not trusted.any():
        return np.zeros(len(times_s))
    places = np.array([e.T_world_tcp[:3, 3] for e in estimates])[trusted]
    course = np.stack([np.interp(times_s, times_s[trusted], axis) for axis in places.T], axis=-1)
    return np.linalg.norm(np.diff(course, axis=0, prepend=course[:1]), axis=1)
