"""Batches for the networks of the tiny preset, drawn from a `SampleFolder`."""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array
from torch import Tensor
from torch.utils.data import Dataset

from robo4d.geometry import Intrinsics
from robo4d.sim.labels import GRIPPER_LABELS, Label
from robo4d_models.video4d.coding import (
    ARMS,
    HELD_WIDTH,
    TASKS,
    Observation,
    RobotState,
    in_workspace,
    resize_nearest,
    unproject,
)
from robo4d_models.video4d.data import DEPTH_UNIT, NoSamples, SampleFolder, stored_view
from robo4d_models.video4d.draft import Draughtsman
from robo4d_models.video4d.losses import PlanTarget
from robo4d_models.video4d.refiner import RefinerTarget, encode_draft, encode_motion
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.segmenter import SegmenterSample, augmented


@dataclass(frozen=True, kw_only=True)
class PlanSample:
    """A batch for the plan model."""

    observation: Observation
    target: PlanTarget

    def to(self, device: torch.device | str) -> "PlanSample":
        """The same batch on a device."""
        return PlanSample(observation=self.observation.to(device), target=self.target.to(device))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes that must not change what is learned."""

    yaw_rad: float = 0.2
    """Turn of the whole world about its z axis; so the plan hangs on the scene and not on where it always was."""
    tilt_rad: float = 0.03
    """Turn about a horizontal axis: errors of a camera calibration."""
    shift_m: float = 0.05
    """Shift of the whole world along each axis."""
    depth_noise_m: float = 0.002
    """Standard deviation of independent errors of each pixel's depth."""
    brightness: float = 0.15
    """Largest relative change of each colour channel, the same in a view."""
    state_noise_m: float = 0.003
    """Standard deviation of the measured TCP position."""
    state_dropout: float = 0.5
    """Share of samples that must do without the robot's state."""


def plan_sample(
    moments: list[tuple[str, np.void]], rng: np.random.Generator, *, size: int, augmentation: Augmentation | None
) -> PlanSample:
    """Two random views of each moment as a batch, and what the demonstrator did next."""
    pairs = [rng.choice(len(moment["rgb"]), 2, replace=False) for _, moment in moments]

    def views(name: str) -> Array:
        return np.stack([moment[name][pair] for (_, moment), pair in zip(moments, pairs, strict=True)])

    def images(name: str) -> Array:
        return np.ascontiguousarray(_sample_images(views(name), size))

    def each(name: str, dtype: type = np.float32) -> Tensor:
        return torch.from_numpy(np.stack([moment[name] for _, moment in moments]).astype(dtype))

    stored = moments[0][1]["rgb"].shape[-2]
    rays = np.stack([[_rays(K, stored, size) for K in pair] for pair in views("camera_matrix")])
    depth = torch.from_numpy(images("depth").astype(np.float32)) * DEPTH_UNIT
    rgb = torch.from_numpy(images("rgb")).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    tcp, width = each("T_world_tcp"), each("gripper_width")
    present = torch.ones(len(moments), 1)  # the row NOW
    target = PlanTarget(
        T_world_tcp=torch.cat([each("keyframe_T_world_tcp"), tcp[:, None]], dim=1),
        closed=torch.cat([each("keyframe_closed"), (width < HELD_WIDTH).float()[:, None]], dim=1),
        duration_s=torch.cat([each("keyframe_duration_s"), torch.zeros_like(present)], dim=1),
        known=torch.cat([each("keyframe_known"), present], dim=1),
        next_slot=each("next_slot", np.int64),
    )
    state_known = torch.ones(len(moments))
    T_world_camera = torch.from_numpy(views("T_world_camera"))
    if augmentation is not None:
        T_new_world = _random_frames(rng, len(moments), augmentation)
        noise = torch.from_numpy(rng.standard_normal(depth.shape, dtype=np.float32))
        depth = torch.where(depth > 0, depth + augmentation.depth_noise_m * noise, depth)
        T_world_camera = T_new_world[:, None] @ T_world_camera
        tcp = T_new_world[:, None] @ tcp
        tcp[..., :3, 3] += (
            augmentation.state_noise_m * torch.from_numpy(rng.standard_normal((*tcp.shape[:2], 3))).float()
        )
        target = PlanTarget(
            **{f.name: getattr(target, f.name) for f in fields(target) if f.name != "T_world_tcp"},
            T_world_tcp=T_new_world[:, None, None] @ target.T_world_tcp,
        )
        span = augmentation.brightness
        gain, offset = rng.uniform(-span, span, (2, len(moments), 2, 3, 1, 1)).astype(np.float32)
        rgb = rgb * torch.from_numpy(1 + gain) + torch.from_numpy(offset)
        state_known = torch.from_numpy((rng.random(len(moments)) >= augmentation.state_dropout).astype(np.float32))
    points = unproject(depth, torch.from_numpy(rays), T_world_camera)
    observation = Observation(
        rgb=rgb,
        points=points,
        valid=(depth > 0).float() * in_workspace(points),
        task=torch.tensor([TASKS.index(task) for task, _ in moments]),
        tcp=tcp,
        width=width,
        state_known=state_known,
    )
    return PlanSample(observation=observation, target=target)


class PlanBatches(Dataset[PlanSample]):
    """Batch number i, drawn with random numbers of (seed, i): a resumed run goes on with its own batches.

    Of a folder that grows they are drawn from what is in it by then, and so are not the same a second time.
    """

    def __init__(
        self, folder: SampleFolder, *, batch: int, size: int, seed: int, augmentation: Augmentation | None, length: int
    ) -> None:
        self.folder, self.batch, self.size, self.seed = folder, batch, size, seed
        self.augmentation, self.length = augmentation, length

    def __len__(self) -> int:
        """Batches of the whole run."""
        return self.length

    def __getitem__(self, index: int) -> PlanSample:
        """The batch of a training step."""
        rng = np.random.default_rng([self.seed, index])
        moments = self.folder.draw(rng, self.batch)
        return plan_sample(moments, rng, size=self.size, augmentation=self.augmentation)


@dataclass(frozen=True, kw_only=True)
class RefinerSample:
    """A batch for the refiner: both views at one future moment."""

    drafts: Float[Tensor, "b v c h w"]
    motion: Float[Tensor, "b v m"]
    target: RefinerTarget

    def to(self, device: torch.device | str) -> "RefinerSample":
        """The same batch on a device."""
        target = RefinerTarget(*(value.to(device, non_blocking=True) for value in self.target))
        return RefinerSample(drafts=self.drafts.to(device), motion=self.motion.to(device), target=target)


class RefinerBatches(Dataset[RefinerSample]):
    """Batches of drafts of what really happened, and of what both views then saw; see `PlanBatches`."""

    LONGEST = 10
    """Moments to look ahead, the length of the video."""
    MOST_DRAWS = 1000
    """Until an attempt is found that has a second moment; of those of `robo4d make-samples` most have."""
    POSE_NOISE_M = 0.004
    """Standard deviation of the drawn position in half of the samples: plans are never exact."""
    UNKNOWN_SHARE = 0.1
    """Share of the samples whose arms are not drawn, as a robot need not tell its joints; and of those in which nobody
    knows which pixels can be picked up."""

    def __init__(
        self, folder: SampleFolder, *, batch: int, seed: int, length: int, robot: RobotModel, drawn: bool = True
    ) -> None:
        self.folder, self.batch, self.seed, self.length = folder, batch, seed, length
        self.robot, self.drawn = robot, drawn

    def __len__(self) -> int:
        """Batches of the whole run."""
        return self.length

    def __getitem__(self, index: int) -> RefinerSample:
        """The batch of a training step."""
        rng = np.random.default_rng([self.seed, index])
        drafts, motions, targets = zip(*(self._one(rng) for _ in range(self.batch)), strict=True)
        target = RefinerTarget(*(torch.from_numpy(np.stack(values)) for values in zip(*targets, strict=True)))
        return RefinerSample(
            drafts=torch.from_numpy(np.stack(drafts)), motion=torch.from_numpy(np.stack(motions)), target=target
        )

    def _one(self, rng: np.random.Generator) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        for _ in range(self.MOST_DRAWS):
            attempt = self.folder.draw_attempt(rng)[1]
            if len(attempt) > 1:  # else a look at a start, which has no future
                break
        else:
            raise NoSamples(
                f"no attempt in {self.folder.folder} has a second moment, which the refiner is to foresee: make others "
                "with `robo4d make-samples`"
            )
        i = int(rng.integers(len(attempt) - 1))
        moments = attempt[i : i + 1 + int(rng.integers(1, self.LONGEST + 1))]
        pair: list[int] = rng.choice(attempt["rgb"].shape[1], 2, replace=False).tolist()
        n, m = (stored_view(moments[0], view) for view in pair)
        if rng.random() >= self.UNKNOWN_SHARE:
            n, m = (
                replace(view, movable=moments["label"][0][i] == Label.OBJECT)
                for view, i in zip((n, m), pair, strict=True)
            )
        poses = moments["T_world_tcp"].astype(float)
        widths = moments["gripper_width"].astype(float)
        if rng.random() < 0.5:
            poses[1:, ..., :3, 3] += self.POSE_NOISE_M * rng.standard_normal((poses.shape[1], 3))
        joints = moments["joints"][0].astype(float) if rng.random() >= self.UNKNOWN_SHARE else None
        start = RobotState(T_world_tcp=poses[0], gripper_width=widths[0], joints=joints)
        if not self.drawn:
            poses[:], widths[:] = poses[0], widths[0]
        last = Draughtsman((n, m), self.robot, start, poses[1:], widths[1:]).draw(len(poses) - 2)
        time_s = float(moments["time_s"][-1] - moments["time_s"][0])
        drafts = np.stack([encode_draft(view, draft) for view, draft in zip((n, m), last, strict=True)])
        motion = np.stack([encode_motion(view, poses[0], poses[-1], widths[-1], time_s) for view in (n, m)])
        seen = [stored_view(moments[-1], view) for view in pair]
        labels = moments["label"][-1][pair]
        return (
            drafts,
            motion,
            (
                np.stack([2 * view.rgb.transpose(2, 0, 1) - 1 for view in seen]),
                np.stack([view.depth for view in seen]),
                np.stack([np.isin(labels, GRIPPER_LABELS[arm]) for arm in ARMS], axis=1).astype(np.float32),
            ),
        )


class SegmenterBatches(Dataset[SegmenterSample]):
    """Batches of single images and what is seen in them; see `PlanBatches`."""

    def __init__(self, folder: SampleFolder, *, batch: int, seed: int, length: int, augment: bool) -> None:
        self.folder, self.batch, self.seed, self.length, self.augment = folder, batch, seed, length, augment

    def __len__(self) -> int:
        """Batches of the whole run."""
        return self.length

    def __getitem__(self, index: int) -> SegmenterSample:
        """The batch of a training step."""
        rng = np.random.default_rng([self.seed, index])
        moments = [moment for _, moment in self.folder.draw(rng, self.batch)]
        views = [rng.integers(len(moment["rgb"])) for moment in moments]
        rgb = np.stack([m["rgb"][view] for m, view in zip(moments, views, strict=True)]).astype(np.float32) / 127.5 - 1
        labels = np.stack([m["label"][view] for m, view in zip(moments, views, strict=True)])
        if self.augment:
            rgb = augmented(rgb, rng)
        masks = np.stack([np.isin(labels, sum(GRIPPER_LABELS.values(), ())), labels == Label.OBJECT], axis=1)
        return SegmenterSample(
            rgb=torch.from_numpy(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))),
            masks=torch.from_numpy(masks.astype(np.float32)),
        )


def _sample_images(images: Array, size: int) -> Array:
    """Images (b v h w ...) sampled like `coding.resize_nearest`."""
    return np.moveaxis(resize_nearest(np.moveaxis(images, (0, 1), (2, 3)), size, size), (2, 3), (0, 1))


def _rays(K: Float[Array, "3 3"], stored: int, size: int) -> Float[Array, "3 h w"]:
    """Rays of the pixels that sampling at `size` keeps of an image of `stored` pixels."""
    (fx, _, cx), (_, fy, cy), _ = K.tolist()
    intrinsics = Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=stored, height=stored)
    return resize_nearest(intrinsics.rays(), size, size).transpose(2, 0, 1).astype(np.float32)


def _random_frames(rng: np.random.Generator, count: int, augmentation: Augmentation) -> Float[Tensor, "b 4 4"]:
    """T_new_world: small rigid motions of the world about the middle of the table."""
    yaw = rng.uniform(-augmentation.yaw_rad, augmentation.yaw_rad, count)
    tilt = rng.uniform(-augmentation.tilt_rad, augmentation.tilt_rad, (count, 2))
    shift = rng.uniform(-augmentation.shift_m, augmentation.shift_m, (count, 3))
    motions = np.tile(np.eye(4), (count, 1, 1))
    for i in range(count):
        c, s = math.cos(yaw[i]), math.sin(yaw[i])
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        u, _, vt = np.linalg.svd(np.array([[1, 0, tilt[i, 1]], [0, 1, -tilt[i, 0]], [-tilt[i, 1], tilt[i, 0], 1]]))
        motions[i, :3, :3] = turn @ u @ vt
        pivot = np.array([0.5, 0.0, 0.1])
        motions[i, :3, 3] = pivot - motions[i, :3, :3] @ pivot + shift[i]
    return torch.from_numpy(motions).float()
