"""Batches for the network that aims: grasps of demonstrations, and plans that miss them by a centimetre or two."""

import numpy as np
import torch
from numpy import ndarray as Array
from torch.utils.data import Dataset

from robo4d.geometry import se3
from robo4d_models.video4d.aim import AimSample, Cloud, Neighbours, crop_of, next_grasp
from robo4d_models.video4d.batches import Augmentation
from robo4d_models.video4d.data import NoSamples, SampleFolder, stored_view
from robo4d_models.video4d.keyframes import NOW


class AimBatches(Dataset[AimSample]):
    """Batch number i, drawn with random numbers of (seed, i); see `PlanBatches`."""

    LARGEST_M = 0.025
    """Largest standard deviation of a planned position along each axis [m]: plans are off by about a half of it."""
    TURN_RAD = 0.06
    """Standard deviation of a planned rotation about each axis [rad]."""
    MOST_DRAWS = 1000
    """Until a moment is found that has a grasp ahead."""

    def __init__(
        self, folder: SampleFolder, *, batch: int, seed: int, augmentation: Augmentation | None, length: int
    ) -> None:
        self.folder, self.batch, self.seed, self.length = folder, batch, seed, length
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Batches of the whole run."""
        return self.length

    def __getitem__(self, index: int) -> AimSample:
        """The batch of a training step."""
        rng = np.random.default_rng([self.seed, index])
        seen, tasks, offsets = zip(*(self._one(rng) for _ in range(self.batch)), strict=True)
        return AimSample(crop=crop_of(seen, tasks), offset=torch.from_numpy(np.stack(offsets)))

    def _one(self, rng: np.random.Generator) -> tuple[Neighbours, str, Array]:
        task, moment, T_world_tcp = self._grasp(rng)
        n, m = (stored_view(moment, view) for view in rng.choice(len(moment["rgb"]), 2, replace=False).tolist())
        cloud = Cloud.of((n, m))
        spread = rng.uniform(0, self.LARGEST_M)
        error = np.concatenate([spread * rng.standard_normal(3), self.TURN_RAD * rng.standard_normal(3)])
        T_world_planned = T_world_tcp @ se3.exp(error)
        points, rgb, valid = cloud.around(T_world_planned, rng)
        if self.augmentation is not None:
            noise_m, span = np.float32(self.augmentation.depth_noise_m), self.augmentation.brightness
            points = points + noise_m * rng.standard_normal(points.shape, dtype=np.float32)
            gain, offset = rng.uniform(-span, span, (2, 3)).astype(np.float32)
            rgb = rgb * (1 + gain) + offset
        right = (se3.inverse(T_world_planned) @ T_world_tcp)[:3, 3]
        return (points * valid[:, None], rgb, valid), task, right.astype(np.float32)

    def _grasp(self, rng: np.random.Generator) -> tuple[str, np.void, Array]:
        """A moment with its task, and T_world_tcp of the grasp that comes next."""
        for _ in range(self.MOST_DRAWS):
            ((task, moment),) = self.folder.draw(rng, 1)
            ahead = np.flatnonzero(moment["keyframe_known"] & (np.arange(NOW) >= moment["next_slot"]))
            grasp = next_grasp(moment["gripper_width"], moment["keyframe_closed"][ahead])
            if grasp:
                keyframe, arm = grasp
                return task, moment, moment["keyframe_T_world_tcp"][ahead[keyframe], arm].astype(float)
        raise NoSamples(
            f"no moment in {self.folder.folder} has a grasp ahead: make attempts of another task with "
            "`robo4d make-samples`"
        )
