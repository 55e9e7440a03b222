"""Training samples of the svd preset: two views of some seconds of an episode, drawn anew for every step."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from robo4d.episodes import Episode, open_dataset, read_episode
from robo4d.geometry import Pointmap, se3
from robo4d.sim.labels import GRIPPER_LABELS
from robo4d_models.video4d.coding import resize_nearest
from robo4d_models.video4d.data import VALIDATION_SHARE
from robo4d_models.video4d.svd.conditioning import encode_colours, encode_frame, encode_points
from robo4d_models.video4d.svd.model import SvdConfig

_GRIPPERS = [label for parts in GRIPPER_LABELS.values() for label in parts]
_STILL_M_S = 0.02
"""A start after which no gripper moves faster than this [m/s] is drawn again, as in the released code."""
_DRAWS = 8
"""... but not more often."""


@dataclass(frozen=True, kw_only=True)
class SvdSample:
    """A batch. Images are coded in [-1, 1]."""

    told_rgb: Float[Tensor, "b v 3 h w"]
    """Colours of the observation."""
    told_points: Float[Tensor, "b v 3 h w"]
    """Points of the observation, each view's in its own camera's frame: no pose enters."""
    rgb: Float[Tensor, "b v t 3 h w"]
    """Colours of what follows."""
    points: Float[Tensor, "b v t 3 h w"]
    """Points of what follows, all in the frame of view 0: X^n and X^{m->n} (paper, eq. 2)."""
    valid: Bool[Tensor, "b v t h w"]
    """Pixels of what follows that have a point within the bounds of its code."""
    gripper: Float[Tensor, "b v t hh ww"]
    """1 where a latent pixel shows a gripper (M of the paper's eq. 4)."""

    def to(self, device: torch.device | str) -> "SvdSample":
        """The same batch on a device."""
        return SvdSample(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


class EpisodeClips(Dataset[SvdSample]):
    """Batches by number: the same number gives the same batch.

    Args:
        folder: A data set with images.
        config: Size, length and coding of what the model sees.
        factor: How many times smaller the latents are, along each side.
        batch: Samples of a batch.
        seed: Of the draws.
        length: Number of batches.
        validation: Take every 20th start, and only these; otherwise all the others.

    Raises:
        ValueError: there are no such episodes, or they have one view only.
    """

    def __init__(
        self,
        folder: Path,
        config: SvdConfig,
        *,
        factor: int,
        batch: int,
        seed: int,
        length: int,
        validation: bool = False,
    ) -> None:
        self._config, self._factor, self._batch, self._seed, self._length = config, factor, batch, seed, length
        episodes = (read_episode(path) for path in open_dataset(folder))
        kept = [e for e in episodes if e.images and (e.info.seed % VALIDATION_SHARE == 0) == validation]
        self._episodes = [episode for episode in kept if len(episode.train_views) > 1]
        if not self._episodes:
            kind = "validation " if validation else ""
            raise ValueError(
                f"no {kind}episodes with images of two or more views in {folder}; record some with `robo4d collect` "
                f"(every {VALIDATION_SHARE}th start is kept for validation)"
            )

    def __len__(self) -> int:
        """Number of batches."""
        return self._length

    def __getitem__(self, index: int) -> SvdSample:
        """A batch."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        rng = np.random.default_rng([self._seed, index])
        samples = [self._draw(rng) for _ in range(self._batch)]
        return SvdSample(**{f.name: torch.stack([getattr(s, f.name) for s in samples]) for f in fields(SvdSample)})

    def _draw(self, rng: np.random.Generator) -> "_Clip":
        for draw in range(_DRAWS):
            episode = self._episodes[rng.integers(len(self._episodes))]
            times = clip_times(len(episode), int(rng.integers(len(episode))), episode.info.rate_hz, self._config)
            path = episode.motion.T_world_tcp[times[: len(times) // 2 + 1], :, :3, 3]
            duration = (len(path) - 1) * self._config.period_s
            if (
                np.linalg.norm(path[-1] - path[0], axis=-1).max() > _STILL_M_S * duration
                or draw == _DRAWS - 1  # a data set in which nothing moves
            ):
                views = rng.choice(list(episode.train_views), 2, replace=False)
                return self._clip(episode, times, views)
        raise AssertionError("the last draw is taken as it is")

    def _clip(self, episode: Episode, times: Int[Array, " t"], views: Int[Array, " v"]) -> "_Clip":
        config, images = self._config, episode.images
        assert images is not None
        size = (config.height, config.width)
        T_n_world = se3.inverse(episode.cameras[views[0]].T_world_camera)
        parts: list[_Clip] = []
        for view in views:
            frames = [episode.frame(int(view), int(time)) for time in times]
            told_rgb, told_points = encode_frame(frames[0], *size, config.points)
            T_n_camera = T_n_world @ episode.cameras[view].T_world_camera
            # Also of pixels without depth, whose points become the camera's place in view n: `PointCoding.missing`.
            maps = [
                Pointmap(points=se3.apply(T_n_camera, own.points), valid=own.valid, frame="n")
                for own in (frame.pointmap() for frame in frames[1:])
            ]
            points = torch.stack([encode_points(pointmap, *size, config.points) for pointmap in maps])
            seen = torch.from_numpy(np.stack([resize_nearest(pointmap.valid, *size) for pointmap in maps]))
            labels = np.stack([np.isin(images.labels[int(view), int(time)], _GRIPPERS) for time in times[1:]])
            latent_size = (config.height // self._factor, config.width // self._factor)
            parts.append(
                _Clip(
                    told_rgb=told_rgb,
                    told_points=told_points,
                    rgb=torch.stack([encode_colours(frame.rgb, *size) for frame in frames[1:]]),
                    points=points,
                    valid=seen & config.points.decode(points)[1],
                    gripper=functional.adaptive_max_pool2d(torch.from_numpy(labels).float(), latent_size),
                )
            )
        return _Clip(**{f.name: torch.stack([getattr(part, f.name) for part in parts]) for f in fields(_Clip)})


def clip_times(length: int, start: int, rate_hz: float, config: SvdConfig) -> Int[Array, " t"]:
    """Frames of an episode that a clip takes: the observation and those that follow; the last one stays at the end."""
    steps = np.arange(config.frames + 1) * config.period_s * rate_hz
    return np.minimum(start + np.rint(steps).astype(int), length - 1)


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """One sample: the fields of `SvdSample` without the axis b, or also without v."""

    told_rgb: Float[Tensor, "*v 3 h w"]
    told_points: Float[Tensor, "*v 3 h w"]
    rgb: Float[Tensor, "*v t 3 h w"]
    points: Float[Tensor, "*v t 3 h w"]
    valid: Bool[Tensor, "*v t h w"]
    gripper: Float[Tensor, "*v t hh ww"]
