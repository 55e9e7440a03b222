"""Where exactly to close: the next grasp of a plan, aimed at what is seen around it.

The plan model sees both views whole, with an apple four pixels wide, and finds a grasp to about a centimetre: hands
bump into things, or close on nothing and try again. This network looks once more, at nothing but the points around the
planned grasp, in the frame of the planned hand, and tells how far from there the hand must go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray as Array
from torch import Tensor, nn

from robo4d.geometry import se3
from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.coding import HELD_WIDTH, TASKS
from robo4d_models.video4d.draft import View
from robo4d_models.video4d.keyframes import KeyframePlan
from robo4d_models.video4d.losses import smooth_l1

POINTS = 256
"""Points that are looked at, at most."""
RADIUS_M = 0.10
"""They are this near to the tool centre point [m]: three times the error of a bad plan."""
_EMPTY_WIDTH = 0.005
"""A gripper that is less open than this [m] holds nothing."""
_APPROACH_M = 0.15
"""Keyframes of the same segment this near to the grasp [m] are its approach, and move with it."""
_NOTHING = -10.0
"""Feature of a place without a point, below those of all points."""
_LOSS_WIDTH_M = 0.002
"""Error from which on the loss is linear [m]."""

Neighbours = tuple[Float32[Array, "n 3"], Float32[Array, "n 3"], Float32[Array, " n"]]
"""Points around a TCP [m], in its frame; their colours in [0, 1]; 1 where there is one."""


@dataclass(frozen=True, kw_only=True)
class AimConfig:
    """Sizes of the network."""

    width: int = 96
    heads: int = 4
    """Independent averages over points that make up the position."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A batch of what is seen around planned grasps, in the frames of the planned TCPs."""

    points: Float[Tensor, "b n 3"]
    """[m]"""
    rgb: Float[Tensor, "b n 3"]
    """In [0, 1]."""
    valid: Float[Tensor, "b n"]
    """1 where there is a point; fewer than n may be seen."""
    task: Int[Tensor, " b"]
    """Index into `TASKS`."""

    def to(self, device: torch.device | str) -> "Crop":
        """The same batch on a device."""
        return Crop(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class Aim(nn.Module):
    """How far the right TCP position is from the planned one, in the planned frame."""

    def __init__(self, config: AimConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AimConfig()
        width = config.width
        self.task = nn.Embedding(len(TASKS), width)
        self.each = nn.Sequential(nn.Linear(6, width), nn.GELU(), nn.Linear(width, width))
        self.both = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(3)
        )
        self.vote = nn.Linear(width, 4 * config.heads)
        self.rest = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3))

    @classmethod
    def load(cls, file: Path) -> "Aim":
        """The network with the weights of a file.

        Raises:
            ValueError: the file is missing, damaged, or of another model.
        """
        values, sizes = checkpoints.load_weights(file)
        model = cls(AimConfig(**sizes))
        checkpoints.fill(model, values, file)
        return model.eval()

    def forward(self, crop: Crop) -> Float[Tensor, "b 3"]:
        """The offset [m]: an average over the points, each with one of its own, and a rest."""
        seen = crop.valid[..., None] > 0

        def pooled(h: Float[Tensor, "b n c"]) -> Float[Tensor, "b c"]:
            return torch.where(seen, h, _NOTHING).amax(dim=1)

        h = self.each(torch.cat([crop.points / RADIUS_M, 2 * crop.rgb - 1], dim=-1))
        task = self.task(crop.task)
        for layer in self.both:
            context = pooled(h) + task
            h = h + layer(torch.cat([h, context[:, None].expand_as(h)], dim=-1))
        votes = self.vote(h).float().unflatten(-1, (self.config.heads, 4))
        attention = torch.where(seen, votes[..., 0], -1e4).softmax(dim=1)
        places = crop.points[:, :, None] + RADIUS_M * votes[..., 1:]
        voted = (attention[..., None] * places).sum(dim=1).mean(dim=1)
        voted = torch.where(crop.valid.sum(dim=1, keepdim=True) > 0, voted, 0.0)
        return voted + 0.1 * RADIUS_M * self.rest(pooled(h)).float()


class AimSample(NamedTuple):
    """A batch to learn from."""

    crop: Crop
    offset: Float[Tensor, "b 3"]
    """The right answer [m]."""

    def to(self, device: torch.device | str) -> "AimSample":
        """The same batch on a device."""
        return AimSample(crop=self.crop.to(device), offset=self.offset.to(device))


def aim_losses(model: Aim, sample: AimSample) -> dict[str, Float[Tensor, ""]]:
    """Error of the offset in centimetres, quadratic below 2 mm."""
    return {"offset": 100 * smooth_l1(model(sample.crop) - sample.offset, _LOSS_WIDTH_M).sum(dim=-1).mean()}


def aim_errors(model: Aim, sample: AimSample) -> dict[str, Float[Tensor, " n"]]:
    """How far the planned grasps are off, and those that are aimed [mm]."""
    return {
        "planned_mm": 1000 * sample.offset.norm(dim=-1),
        "aimed_mm": 1000 * (model(sample.crop) - sample.offset).norm(dim=-1),
    }


class Cloud(NamedTuple):
    """What both views see."""

    points: Float32[Array, "n 3"]
    """In the world [m]."""
    rgb: Float32[Array, "n 3"]
    """In [0, 1]."""

    @classmethod
    def of(cls, views: Sequence[View]) -> "Cloud":
        """The points of some views."""
        points = [
            se3.apply(view.camera.T_world_camera, view.camera.intrinsics.backproject(view.depth)[view.depth > 0])
            for view in views
        ]
        rgb = [view.rgb[view.depth > 0] for view in views]
        return cls(np.concatenate(points).astype(np.float32), np.concatenate(rgb).astype(np.float32))

    def around(self, T_world_tcp: Float[Array, "4 4"], rng: np.random.Generator) -> Neighbours:
        """Up to `POINTS` points that are near to a TCP, drawn at random where there are more."""
        near = np.flatnonzero(((self.points - T_world_tcp[:3, 3].astype(np.float32)) ** 2).sum(-1) < RADIUS_M**2)
        near = rng.permutation(near)[:POINTS]
        points, rgb, valid = np.zeros((POINTS, 3)), np.zeros((POINTS, 3)), np.zeros(POINTS)
        points[: len(near)] = se3.apply(se3.inverse(T_world_tcp), self.points[near].astype(float))
        rgb[: len(near)], valid[: len(near)] = self.rgb[near], 1
        return points.astype(np.float32), rgb.astype(np.float32), valid.astype(np.float32)


def crop_of(seen: Sequence[Neighbours], tasks: Sequence[str]) -> Crop:
    """A batch of what `Cloud.around` gave."""
    points, rgb, valid = (torch.from_numpy(np.stack(values)) for values in zip(*seen, strict=True))
    return Crop(points=points, rgb=rgb, valid=valid, task=torch.tensor([TASKS.index(task) for task in tasks]))


def next_grasp(widths: Float[Array, " a"], closed: Bool[Array, "s a"]) -> tuple[int, int] | None:
    """Keyframe and arm of the next grasp, if what it grasps is where it is now: nothing is carried before.

    Args:
        widths: Openings of the grippers now [m].
        closed: Whether each gripper is closed after each keyframe to come.
    """
    before = widths < HELD_WIDTH
    carries = before & (widths > _EMPTY_WIDTH)
    for keyframe, now in enumerate(closed):
        if np.any(before & ~now & carries):
            return None
        closing = np.flatnonzero(now & ~before)
        if len(closing):
            return keyframe, int(closing[0])
        before = now
    return None


def aimed(
    plans: Sequence[KeyframePlan], aim: Aim, views: Sequence[View], widths: Float[Array, " a"], task: str
) -> list[KeyframePlan]:
    """The plans with their next grasps, and the ways to them, where the network says; others as they are.

    Args:
        plans: Of one observation.
        aim: The network.
        views: The observation.
        widths: Openings of the grippers at it [m].
        task: What the robot is to do.
    """
    cloud, rng = Cloud.of(views), np.random.default_rng(0)
    grasps = {i: grasp for i, plan in enumerate(plans) if (grasp := next_grasp(widths, plan.closed))}
    result = list(plans)
    if not grasps:
        return result
    poses = [plans[i].T_world_tcp[keyframe, arm] for i, (keyframe, arm) in grasps.items()]
    with torch.no_grad():
        offsets = aim(crop_of([cloud.around(T, rng) for T in poses], [task] * len(poses))).double().numpy()
    for (i, (keyframe, arm)), T_world_tcp, offset in zip(grasps.items(), poses, offsets, strict=True):
        moved = plans[i].T_world_tcp.copy()
        way = moved[: keyframe + 1, arm, :3, 3]
        way[np.linalg.norm(way - T_world_tcp[:3, 3], axis=-1) < _APPROACH_M] += T_world_tcp[:3, :3] @ offset
        result[i] = replace(plans[i], T_world_tcp=moved)
    return result
