"""`robo4d bench tracker`: how exactly grippers are followed, how far confidence can be trusted, and at what cost."""

import functools
import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float, Float32
from numpy import ndarray as Array
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from robo4d.episodes.dataset import progress_bar
from robo4d.episodes.workers import Workers
from robo4d.geometry import se3
from robo4d.interfaces import PoseTracker
from robo4d.rgbd import RgbdFrame
from robo4d.sim.panda import cache_folder
from robo4d.tracking.arm import ArmRenderer
from robo4d.tracking.clips import TrueClip, make_clips
from robo4d.tracking.degrade import Degradation, degrade_video
from robo4d.tracking.icp_baselines import IcpTracker, open3d_point_to_plane, small_gicp_gicp
from robo4d.tracking.mechanism import Mechanism
from robo4d.tracking.panda import panda_arm, panda_gripper
from robo4d.tracking.readout import MakeTracker, ReadoutConfig, embedded_tracker, track_video
from robo4d.tracking.rendering import GripperRenderer
from robo4d.tracking.search import GeometricTrackerConfig

_RIGHT_M, _RIGHT_DEG = 0.025, 15.0
"""A pose nearer to the truth than this is right."""
_LEAST_MOTION_M = 0.02
"""An arm that moves less than this in a clip is too easy to count among the errors."""
_SEEN_PX = 30
"""Pixels of hand and fingers in one of the views from which a gripper counts as seen."""
_FINGERS_SEEN_PX = 20
"""Pixels of fingers in one of the views from which an opening counts as seen."""
_OPEN_M, _BETWEEN_M = 0.065, 0.01
"""True opening that separates open from closed [m]; nearer to it than this, either answer would do."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to follow the grippers."""

    config: ReadoutConfig
    make_tracker: MakeTracker = embedded_tracker
    masks: bool = False
    """Whether it is given the true masks of hand and fingers."""


METHODS = {
    "joint": Method(config=ReadoutConfig()),
    "best view": Method(config=ReadoutConfig(fusion="best_view")),
    "joint, true masks": Method(config=ReadoutConfig(), masks=True),
    "open3d point-to-plane ICP, true masks": Method(
        config=ReadoutConfig(fusion="best_view"),
        make_tracker=lambda mechanism, backgrounds, search: IcpTracker(mechanism.renderer, open3d_point_to_plane),
        masks=True,
    ),
    "small_gicp GICP, true masks": Method(
        config=ReadoutConfig(fusion="best_view"),
        make_tracker=lambda mechanism, backgrounds, search: IcpTracker(mechanism.renderer, small_gicp_gicp),
        masks=True,
    ),
}
"""The first two need no masks; the last two are what one gets without a tracker of one's own, at its best."""


@dataclass(frozen=True, kw_only=True)
class Poses:
    """What came of all predicted frames and arms of some clips."""

    error_m: Float[Array, " n"]
    """Of the TCP; infinite where the pose is lost."""
    error_deg: Float[Array, " n"]
    confidence: Float[Array, " n"]
    vouched: Bool[Array, " n"]
    """Inliers."""
    counted: Bool[Array, " n"]
    """Arms that move, where they are seen."""
    seen: Bool[Array, " n"]
    fingers_seen: Bool[Array, " n"]
    is_open: Bool[Array, " n"]
    true_opening_m: Float[Array, " n"]
    cpu_ms: Float[Array, " n"]
    """CPU time of one arm and frame, a mean over its clip: of all from the video to the track."""
    track_cpu_ms: Float[Array, " n"]
    """The part of it that `PoseTracker.track` takes, a mean over the frames in which it is called: finding the pose,
    which the embedded tracker also judges, and reads the opening at."""

    @classmethod
    def joined(cls, parts: "list[Poses]") -> "Poses":
        """All of several clips."""
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})

    def figures(self) -> dict[str, float]:
        """One row of the table."""
        right = (self.error_m < _RIGHT_M) & (self.error_deg < _RIGHT_DEG)
        told = self.seen & (np.abs(self.true_opening_m - _OPEN_M) > _BETWEEN_M)
        right_state = self.is_open == (self.true_opening_m > _OPEN_M)
        error_mm, trusted = 1e3 * self.error_m[self.counted], self.vouched[self.counted]
        return {
            "poses": int(self.counted.sum()),
            "tcp_error_mm_median": float(np.median(error_mm)),
            "tcp_error_mm_p90": float(np.quantile(error_mm, 0.9, method="higher")),
            "rotation_error_deg_median": float(np.median(self.error_deg[self.counted])),
            "right_share": float(right[self.counted].mean()),
            "vouched_share": float(trusted.mean()),
            "vouched_tcp_error_mm_p90": float(np.quantile(error_mm[trusted], 0.9)) if trusted.any() else float("nan"),
            "confidence_auc": _auc(self.confidence, right),
            "vouched_poses": int(self.vouched.sum()),
            "vouched_wrong": int((self.vouched & ~right).sum()),
            "open_accuracy": float(right_state[told].mean()),
            "open_accuracy_fingers_seen": float(right_state[told & self.fingers_seen].mean()),
            "fingers_seen_share": float(self.fingers_seen[told].mean()),
            "cpu_ms_per_frame_and_arm": float(self.cpu_ms.mean()),
            "track_cpu_ms_per_frame_and_arm": float(self.track_cpu_ms.mean()),
        }


def bench_tracker(
    *,
    clips: int = 204,
    noise_mm: tuple[float, ...] = (0.0, 5.0, 10.0),
    methods: tuple[str, ...] = tuple(METHODS),
    seed_offset: int = 0,
    workers: int = 2,
    folder: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Follow the grippers through clips of the simulated cell, and compare with the truth.

    Errors are those of arms that move, in predicted frames where one of the views sees them; the area under the ROC
    curve of the confidence, and poses vouched for though they are wrong, are of all arms in all predicted frames.

    Args:
        clips: Of five seconds each, from demonstrations of all tasks. Made once, which takes 5 s of CPU each.
        noise_mm: Standard deviations of the depth's noise; bias, flying pixels and holes come with it. 0 is perfect.
        methods: Which to compare.
        seed_offset: First seed of the demonstrations; those from 0 and 1000 served to tune the tracker.
        workers: Processes.
        folder: Where the clips are kept; in the cache if left out.
        json_file: Write the figures to this file, too.
    """
    if unknown := set(methods) - set(METHODS):
        raise ValueError(f"no method {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    folders = make_clips(
        folder or cache_folder() / "tracker-clips-2", count=clips, seed_offset=seed_offset, workers=workers
    )
    jobs = [Job(clip, noise / 1e3, method) for noise in noise_mm for method in methods for clip in folders]
    results: dict[tuple[float, str], list[Poses]] = {}
    todo = iter(jobs)
    with progress_bar("clips", len(jobs)) as show:

        def finished(job: Job, poses: Poses) -> None:
            results.setdefault((job.noise_m, job.method), []).append(poses)
            show(sum(map(len, results.values())))

        Workers(workers, follow).run(lambda: next(todo, None), finished, lambda share: None)
    rows = [
        {"method": method, "noise_mm": 1e3 * noise_m, **Poses.joined(parts).figures()}
        for (noise_m, method), parts in results.items()
    ]
    _print(rows)
    if json_file:
        figures = {"clips": len(folders), "seed_offset": seed_offset, "rows": rows}
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


@dataclass(frozen=True)
class Job:
    """One clip, degraded, for one method."""

    clip: Path
    noise_m: float
    method: str


def follow(job: Job, report: Callable[[float], None]) -> Poses:
    """What a method makes of a clip. The faults are the same for all methods."""
    clip, method = TrueClip.read(job.clip), METHODS[job.method]
    video = clip.video
    if job.noise_m > 0:
        rng = np.random.default_rng(zlib.crc32(job.clip.name.encode()))
        video = degrade_video(video, Degradation.typical(job.noise_m), T_n_m=clip.T_n_m, rng=rng)
    renderer, arm, timed = _renderer(), _arm(), list[_Timed]()

    def make_tracker(
        mechanism: Mechanism, backgrounds: Sequence[Float32[Array, "h w"]], search: GeometricTrackerConfig
    ) -> PoseTracker:
        timed.append(_Timed(method.make_tracker(mechanism, backgrounds, search)))
        return timed[-1]

    begun = time.process_time()
    readout = track_video(
        video,
        clip.pair,
        priors=clip.priors,
        renderer=renderer,
        arm=arm,
        config=method.config,
        make_tracker=make_tracker,
        masks=clip.masks if method.masks else None,
    )
    frames = sum(len(track.times_s) for track in readout.tracks.values())
    cpu_ms = 1e3 * (time.process_time() - begun) / frames
    track_cpu_ms = 1e3 * sum(one.track_s for one in timed) / (frames - len(readout.tracks))
    parts: list[Poses] = []
    for arm, track in readout.tracks.items():
        found, true = track.Ts_world_tcp[1:], clip.Ts_world_tcp[arm]
        there = np.all(np.isfinite(found), axis=(1, 2))
        metres, radians = se3.distance(np.where(there[:, None, None], found, np.eye(4)), true[1:])
        moves = np.linalg.norm(true[:, :3, 3] - true[0, :3, 3], axis=1).max() > _LEAST_MOTION_M
        seen = clip.masks[arm][:, 1:].sum(axis=(2, 3)).max(axis=0) >= _SEEN_PX
        parts.append(
            Poses(
                error_m=np.where(there, metres, np.inf),
                error_deg=np.where(there, np.rad2deg(radians), np.inf),
                confidence=track.confidence[1:],
                vouched=track.inlier[1:],
                counted=seen & moves,
                seen=seen,
                fingers_seen=clip.fingers[arm][:, 1:].sum(axis=(2, 3)).max(axis=0) >= _FINGERS_SEEN_PX,
                is_open=track.open[1:],
                true_opening_m=clip.opening_m[arm][1:],
                cpu_ms=np.full(len(found), cpu_ms),
                track_cpu_ms=np.full(len(found), track_cpu_ms),
            )
        )
    return Poses.joined(parts)


class _Timed:
    """A tracker with a stopwatch."""

    def __init__(self, tracker: PoseTracker) -> None:
        self._tracker, self.track_s = tracker, 0.0
        self.register = tracker.register

    @property
    def joints(self) -> Float[Array, "7"] | None:
        return self._tracker.joints

    def track(
        self, frames: Sequence[RgbdFrame], *, masks: Sequence[Bool[Array, "h w"]] | None = None
    ) -> Float[Array, "4 4"]:
        begun = time.process_time()
        T_world_object = self._tracker.track(frames, masks=masks)
        self.track_s += time.process_time() - begun
        return T_world_object


@functools.cache
def _renderer() -> GripperRenderer:
    """Each worker builds it once, and what it caches: that is no time of a video."""
    renderer = GripperRenderer(panda_gripper())
    for opening_m in np.arange(0, renderer.model.max_opening_m + 1e-9, 0.005):
        renderer.surface(float(opening_m))
    return renderer


@functools.cache
def _arm() -> ArmRenderer:
    return ArmRenderer(panda_arm())


def _auc(scores: Float[Array, " n"], positive: Bool[Array, " n"]) -> float:
    """Chance that a positive has a higher score than a negative (Mann and Whitney's U); NaN without both."""
    count, others = int(positive.sum()), int((~positive).sum())
    if not (count and others):
        return float("nan")
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    columns = {
        "method": "method",
        "noise mm": "noise_mm",
        "TCP mm": "tcp_error_mm_median",
        "p90": "tcp_error_mm_p90",
        "rot. deg": "rotation_error_deg_median",
        "right": "right_share",
        "vouched": "vouched_share",
        "p90 of these": "vouched_tcp_error_mm_p90",
        "AUC": "confidence_auc",
        "vouched, wrong": "vouched_wrong",
        "open": "open_accuracy",
        "fingers seen": "open_accuracy_fingers_seen",
        "CPU ms": "cpu_ms_per_frame_and_arm",
        "of track": "track_cpu_ms_per_frame_and_arm",
    }
    digits = dict.fromkeys(("right", "vouched", "AUC", "open", "fingers seen"), 3) | {"vouched, wrong": 0}
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        cells = [(title, row[name]) for title, name in columns.items()]
        table.add_row(*(value if isinstance(value, str) else f"{value:.{digits.get(t, 1)}f}" for t, value in cells))
    Console().print(table)
