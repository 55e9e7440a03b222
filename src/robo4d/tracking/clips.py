"""Ground truth for `robo4d bench tracker`: moments of demonstrations, each seen by two cameras of its own.

A clip is stored as an `Episode` of two views: the observation and the frames that a generator would have to predict.
"""

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from robo4d.episodes.dataset import common_settings, open_for_writing, progress_bar
from robo4d.episodes.format import Episode, EpisodeInfo, Motion, metres
from robo4d.episodes.render import write_images
from robo4d.episodes.simulate import Demonstration, simulate
from robo4d.episodes.storage import EpisodeWriter, read_episode
from robo4d.episodes.workers import Workers
from robo4d.geometry import se3
from robo4d.rgbd import RgbdPair
from robo4d.sim.labels import GRIPPER_LABELS
from robo4d.sim.playback import stage
from robo4d.sim.state import ARMS
from robo4d.sim.tasks import TASKS
from robo4d.tracking.follow import GripperPrior
from robo4d.video import PointmapVideo

FRAMES = 11
"""The observation, and ten frames as the paper predicts them."""
RATE_HZ = 2.0
"""The paper's."""
SIZE = 128
"""Height and width [px] of the clips that trackers are measured on."""
_CLIPS_PER_DEMONSTRATION = 4
"""Spread over the whole of it, so that approach, grasp, carrying and release are all there."""
_RECORDED_HZ = 10.0


@dataclass(frozen=True)
class _Demonstration:
    task: str
    seed: int
    dataset: Path
    size: int

    @property
    def folders(self) -> list[Path]:
        names = [f"{self.task}-{self.seed:06d}-{i}" for i in range(_CLIPS_PER_DEMONSTRATION)]
        return [self.dataset / name for name in names]


def make_clips(dataset: Path, *, count: int, seed_offset: int, workers: int, size: int = SIZE) -> list[Path]:
    """The clips' folders; those that are not there yet are made. Called again after a stop, it goes on.

    Args:
        dataset: Folder that holds all clips.
        count: Clips, in turn of all tasks.
        seed_offset: First seed of the demonstrations; ranges that do not overlap have no clip in common.
        workers: Processes.
        size: Height and width of the images [px].
    """
    needed = -(-count // _CLIPS_PER_DEMONSTRATION)
    tasks = list(TASKS)
    every = [_Demonstration(tasks[i % len(tasks)], seed_offset + i // len(tasks), dataset, size) for i in range(needed)]
    missing = [one for one in every if not all(folder.exists() for folder in one.folders)]
    if missing:
        todo, done = iter(missing), 0
        with (
            open_for_writing(dataset, common_settings(views=2, size=(size, size), rate_hz=RATE_HZ)),
            progress_bar("demonstrations", len(missing)) as show,
        ):

            def finished(_job: _Demonstration, _result: None) -> None:
                nonlocal done
                done += 1

            Workers(workers, _record).run(lambda: next(todo, None), finished, lambda share: show(done + share))
            show(done)
    return [folder for one in every for folder in one.folders][:count]


@dataclass(frozen=True, kw_only=True)
class TrueClip:
    """A clip as the tracker would get it from a perfect generator, and the answer."""

    video: PointmapVideo
    pair: RgbdPair
    T_n_m: Float[Array, "4 4"]
    Ts_world_tcp: dict[str, Float[Array, "t 4 4"]]
    """Of each arm, the observation first."""
    opening_m: dict[str, Float[Array, " t"]]
    joints: dict[str, Float[Array, "t 7"]]
    """[rad]."""
    masks: dict[str, Bool[Array, "v t h w"]]
    """Pixels of each arm's hand and fingers."""
    fingers: dict[str, Bool[Array, "v t h w"]]
    """Those of them that show fingers."""

    @classmethod
    def read(cls, folder: Path) -> "TrueClip":
        """One clip of `make_clips`."""
        return cls.of_episode(read_episode(folder))

    @classmethod
    def of_episode(cls, episode: Episode) -> "TrueClip":
        """A perfect prediction of an episode with two views, all frames after its first.

        Raises:
            ValueError: the episode has no images.
        """
        if episode.images is None:
            raise ValueError("the episode holds states only: draw its images with `robo4d render`")
        n, m = episode.cameras
        T_n_m = se3.inverse(n.T_world_camera) @ m.T_world_camera
        depth = metres(episode.images.depth[:, 1:])
        points = [
            se3.apply(T, camera.intrinsics.backproject(frames))
            for T, camera, frames in zip((np.eye(4), T_n_m), (n, m), depth, strict=True)
        ]
        stamps_ns, labels = episode.motion.stamps_ns, episode.images.labels[:]
        video = PointmapVideo(
            rgb=episode.images.rgb[:, 1:],
            points=np.where(depth[..., None] > 0, np.stack(points), 0).astype(np.float32),
            valid=depth > 0,
            times_s=((stamps_ns[1:] - stamps_ns[0]) * 1e-9).astype(np.float32),
            intrinsics=(n.intrinsics, m.intrinsics),
            frame="n",
            stamp_ns=int(stamps_ns[0]),
        )
        return cls(
            video=video,
            pair=RgbdPair(n=episode.frame(0, 0), m=episode.frame(1, 0)),
            T_n_m=T_n_m,
            Ts_world_tcp={arm: episode.motion.T_world_tcp[:, i].astype(float) for i, arm in enumerate(ARMS)},
            opening_m={arm: episode.motion.gripper_width[:, i].astype(float) for i, arm in enumerate(ARMS)},
            joints={arm: episode.motion.joints[:, i].astype(float) for i, arm in enumerate(ARMS)},
            masks={arm: np.isin(labels, GRIPPER_LABELS[arm]) for arm in ARMS},
            fingers={arm: np.isin(labels, GRIPPER_LABELS[arm][1:]) for arm in ARMS},
        )

    @property
    def priors(self) -> dict[str, GripperPrior]:
        """What the robot's state says at the observation."""
        return {
            arm: GripperPrior(T_world_tcp=Ts[0], opening_m=float(self.opening_m[arm][0]), joints=self.joints[arm][0])
            for arm, Ts in self.Ts_world_tcp.items()
        }


def _record(job: _Demonstration, report: Callable[[float], None]) -> None:
    """Simulate one demonstration, and draw its clips."""
    scenery = stage(job.task)
    demonstration = simulate(scenery.cell, seed=job.seed, rate_hz=_RECORDED_HZ, progress=lambda time_s: report(0.0))
    rng = np.random.default_rng([job.seed, zlib.crc32(job.task.encode())])
    step = round(_RECORDED_HZ / RATE_HZ)
    last_start = len(demonstration.motion.stamps_ns) - 1 - step * (FRAMES - 1)
    strata = np.linspace(0, max(last_start, 0), _CLIPS_PER_DEMONSTRATION + 1)
    for i, folder in enumerate(job.folders):
        start = round(float(rng.uniform(strata[i], strata[i + 1])))
        cameras_rng = np.random.default_rng([job.seed, i, zlib.crc32(job.task.encode())])
        if folder.exists():
            continue
        episode = _cut(demonstration, start + step * np.arange(FRAMES), job)
        cameras = scenery.sample_cameras(
            cameras_rng, 2, width=job.size, height=job.size, motion=demonstration.motion, scene=demonstration.scene
        )
        with EpisodeWriter(folder, replace(episode, cameras=cameras)) as writer:
            share = functools.partial(_overall, report, i)
            write_images(writer, replace(episode, cameras=cameras), share)


def _overall(report: Callable[[float], None], clip: int, share: float) -> None:
    report((clip + share) / _CLIPS_PER_DEMONSTRATION)


def _cut(demonstration: Demonstration, frames: Int[Array, " t"], job: _Demonstration) -> Episode:
    """Some frames of a demonstration, without cameras yet."""
    motion = {field.name: getattr(demonstration.motion, field.name)[frames] for field in fields(Motion)}
    info = EpisodeInfo(
        task=job.task,
        seed=job.seed,
        distribution="standard",
        success=demonstration.success,
        rate_hz=RATE_HZ,
        arms=ARMS,
        bodies=demonstration.bodies,
        test_views=0,
        perturbed=False,
        size=(job.size, job.size),
    )
    scene = replace(demonstration.scene, qpos=demonstration.scene.qpos[frames])
    return Episode(info=info, motion=Motion(**motion), cameras=(), scene=scene, images=None)
