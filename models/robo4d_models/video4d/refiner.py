"""From drafts to video: what geometry alone cannot know, such as light, and what was hidden before.

Each moment of each view is one image through a small U-Net; both views of a moment attend to each other at the
coarsest level. A gate decides for every pixel between the draft, which is exact where nothing unforeseen happens, and
what the network paints: so still pixels stay exactly as they were seen, and the painting need not bother with them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from numpy import ndarray as Array
from torch import Tensor, nn
from torch.nn import functional

from robo4d.geometry import se3
from robo4d_models.video4d.coding import ARMS, OPEN_WIDTH
from robo4d_models.video4d.draft import Draft, View, compose
from robo4d_models.video4d.plan_model import DecoderLayer

DEPTH_MIDDLE, DEPTH_SCALE = 1.2, 0.5
"""Depth [m] that becomes 0, and length that becomes 1, in network units."""
LAYERS = 5 + 4 + 5 + 5 + 5 + 1
"""Channels of a coded draft: composition, grippers, first frame, object, other view, arms."""
MOTION = 8 * len(ARMS) + 1
"""Length of a coded motion."""


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """Sizes of the refiner."""

    widths: tuple[int, int, int] = (48, 80, 128)
    """Channels at 1/2, 1/4 and 1/8 of the image size; multiples of 8."""
    joint_layers: int = 2
    """In which both views attend to each other; 0 for the ablation without multi-view attention."""
    drawn: bool = True
    """Whether the plan is drawn for it. Without, the drafts stand still, and the refiner must foresee from them what
    moves: the one-stage model, for the ablation."""


class RefinerOutput(NamedTuple):
    """Both views at one moment."""

    rgb: Float[Tensor, "b v 3 h w"]
    """In [-1, 1]."""
    depth: Float[Tensor, "b v h w"]
    """Along the optical axis [m], a mixture of what is drawn and what is painted; see `surface_depth`."""
    drawn_depth: Float[Tensor, "b v h w"]
    """That of the draft; 0 where it is empty."""
    painted_rgb: Float[Tensor, "b v 3 h w"]
    """What the network would paint, whatever the gate says."""
    painted_depth: Float[Tensor, "b v h w"]
    gate: Float[Tensor, "b v h w"]
    """Logit of painting."""
    gripper: Float[Tensor, "b v a h w"]
    """Logit of seeing each arm's gripper."""
    valid: Float[Tensor, "b v h w"]
    """Logit of the pixel having a depth at all."""

    @property
    def surface_depth(self) -> Float[Tensor, "b v h w"]:
        """Depth [m] of one surface or the other: halfway between a hand and the table there is nothing.

        What is drawn is exact wherever it is right, so that the painter must be rather sure, and must not mean the
        same surface: it may repaint it, but does not know better where it is.
        """
        same = (self.painted_depth - self.drawn_depth).abs() < _SAME_SURFACE * self.drawn_depth
        painted = ((self.gate > _SURE) & ~same) | (self.drawn_depth == 0)
        return torch.where(painted, self.painted_depth, self.drawn_depth)


_SURE = 2.0
"""Logit of the gate from which on the painted surface is the one that is seen."""
_SAME_SURFACE = 0.03
"""Difference as a share of the depth."""


def encode_draft(view: View, draft: Draft) -> Float32[Array, "c h w"]:
    """The layers of a draft as channels; colours in [-1, 1], 0 where a layer is empty."""
    rgb, depth = compose(view, draft)
    in_front = (draft.robot.depth > 0) & (draft.robot.depth <= depth)
    channels = [
        *_layer(depth, rgb),
        *(in_front & draft.robot.gripper & (draft.robot.arm == arm) for arm in range(len(ARMS))),
        np.where(in_front, draft.robot.facing, 0),
        np.where(draft.left_behind, 1.0, 0.0),
        *_layer(view.depth, view.rgb),
        *_layer(draft.object_depth, draft.object_rgb),
        *_layer(draft.other_depth, draft.other_rgb),
        in_front & ~draft.robot.gripper,
    ]
    return np.stack(channels).astype(np.float32)


def _layer(depth: Float32[Array, "h w"], rgb: Float32[Array, "h w 3"]) -> list[Array]:
    """Presence, depth in network units, and colour."""
    present = depth > 0
    scaled = np.where(present, (depth - DEPTH_MIDDLE) / DEPTH_SCALE, 0)
    return [present.astype(np.float32), scaled, *np.where(present[..., None], 2 * rgb - 1, 0).transpose(2, 0, 1)]


def encode_motion(
    view: View,
    start: Float[Array, "a 4 4"],
    T_world_tcp: Float[Array, "a 4 4"],
    width: Float[Array, " a"],
    time_s: float,
) -> Float32[Array, " m"]:
    """Where the grippers are and how far they have come, in the camera's axes, how far they are open, and when."""
    T_camera_world = se3.inverse(view.camera.T_world_camera)
    values: list[Array] = []
    for arm in range(len(ARMS)):
        position = se3.apply(T_camera_world, T_world_tcp[arm, :3, 3])
        motion = T_camera_world[:3, :3] @ (T_world_tcp[arm, :3, 3] - start[arm, :3, 3])
        turn, _ = se3.distance(start[arm], T_world_tcp[arm])
        values += [
            (position - [0, 0, DEPTH_MIDDLE]) / DEPTH_SCALE,
            motion / 0.25,
            np.array([turn, width[arm] / OPEN_WIDTH]),
        ]
    return np.concatenate([*values, [time_s / 5.0]]).astype(np.float32)


class _Block(nn.Module):
    """A residual block whose features are scaled and shifted by a condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        scale, shift = self.film(condition)[..., None, None].chunk(2, dim=1)
        hidden = self.norm2(self.conv1(functional.silu(self.norm1(x)))) * (1 + scale) + shift
        return x + self.conv2(functional.silu(hidden))


class Refiner(nn.Module):
    """Pictures of both views from their drafts."""

    def __init__(self, config: RefinerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RefinerConfig()
        fine, middle, coarse = config.widths
        self.condition = nn.Sequential(nn.Linear(MOTION, coarse), nn.SiLU(), nn.Linear(coarse, coarse), nn.SiLU())
        self.stem = nn.Conv2d(4 * LAYERS, fine, 3, padding=1)
        self.fine = _Block(fine, coarse)
        self.to_middle, self.middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1), _Block(middle, coarse)
        self.to_coarse, self.coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1), _Block(coarse, coarse)
        self.joint = nn.ModuleList(DecoderLayer(coarse, cross=False) for _ in range(config.joint_layers))
        self.up_middle, self.out_middle = nn.Conv2d(coarse + middle, middle, 1), _Block(middle, coarse)
        self.up_fine, self.out_fine = nn.Conv2d(middle + fine, fine, 1), _Block(fine, coarse)
        self.norm = nn.GroupNorm(8, fine)
        self.readout = nn.Conv2d(fine, 4 * (1 + 3 + 1 + len(ARMS) + 1), 3, padding=1, bias=False)
        nn.init.zeros_(self.readout.weight)

    def forward(self, drafts: Float[Tensor, "b v c h w"], motion: Float[Tensor, "b v m"]) -> RefinerOutput:
        """One moment of both views; the sides of the images are multiples of 8."""
        views = drafts.shape[1]
        condition = self.condition(motion.flatten(0, 1))
        h = functional.pixel_unshuffle(drafts.flatten(0, 1), 2).contiguous(memory_format=torch.channels_last)
        h2 = self.fine(self.stem(h), condition)
        h4 = self.middle(self.to_middle(h2), condition)
        h8 = self.coarse(self.to_coarse(h4), condition)
        tokens = rearrange(h8, "(b v) c h w -> b (v h w) c", v=views)
        for layer in self.joint:
            tokens = layer(tokens)
        h8 = rearrange(tokens, "b (v h w) c -> (b v) c h w", v=views, h=h8.shape[2])
        h4 = self.up_middle(torch.cat([functional.interpolate(h8, scale_factor=2.0), h4], dim=1))
        h2 = self.up_fine(torch.cat([functional.interpolate(self.out_middle(h4, condition), scale_factor=2.0), h2], 1))
        painted = self.readout(functional.silu(self.norm(self.out_fine(h2, condition))))
        painted = rearrange(functional.pixel_shuffle(painted, 2), "(b v) c h w -> b v c h w", v=views).float()

        present, base_depth, base_rgb = drafts[:, :, 0], drafts[:, :, 1] * DEPTH_SCALE + DEPTH_MIDDLE, drafts[:, :, 2:5]
        gate = painted[:, :, 0] - 2.0 + 4.0 * (1 - present)  # at first: the draft, and paint where it is empty
        rgb = base_rgb + painted[:, :, 1:4]
        depth = base_depth + 0.25 * painted[:, :, 4]
        share = torch.sigmoid(gate)
        return RefinerOutput(
            rgb=torch.lerp(base_rgb, rgb, share[:, :, None]),
            depth=torch.lerp(base_depth, depth, share),
            drawn_depth=base_depth * present,
            painted_rgb=rgb,
            painted_depth=depth,
            gate=gate,
            gripper=painted[:, :, 5 : 5 + len(ARMS)] - 3.0 + 5.0 * drafts[:, :, 5 : 5 + len(ARMS)],
            valid=painted[:, :, -1] + 3.0,
        )


class RefinerTarget(NamedTuple):
    """What both views really saw."""

    rgb: Float[Tensor, "b v 3 h w"]
    """In [-1, 1]."""
    depth: Float[Tensor, "b v h w"]
    """[m], 0 where there is none."""
    gripper: Float[Tensor, "b v a h w"]
    """1 on each arm's gripper."""


NEAR = 1.0
"""Depth [m] beyond which errors count as shares of it: what is far matters less, and is measured less well."""


def refiner_losses(
    drafts: Float[Tensor, "b v c h w"], output: RefinerOutput, target: RefinerTarget
) -> dict[str, Float[Tensor, ""]]:
    """The refiner's weighted losses: grippers count most, then whatever the draft has wrong (paper, eq. 4)."""
    has_depth, unit = (target.depth > 0).float(), target.depth.clamp(min=NEAR) / NEAR
    base_rgb, base_depth = drafts[:, :, 2:5], drafts[:, :, 1] * DEPTH_SCALE + DEPTH_MIDDLE
    wrong = ((base_rgb - target.rgb).abs().amax(dim=2) > 0.12) | (
        ((base_depth - target.depth).abs() > 0.015 * unit) & (has_depth > 0)
    )
    wrong = (wrong | (drafts[:, :, 0] < 0.5)).float()
    gripper = target.gripper.amax(dim=2)
    weight, painted = 1 + 6 * gripper + 3 * wrong, 0.02 + 6 * gripper + 3 * wrong

    def rgb_loss(rgb: Float[Tensor, "b v 3 h w"], w: Float[Tensor, "b v h w"]) -> Float[Tensor, ""]:
        return (w * functional.smooth_l1_loss(rgb, target.rgb, reduction="none", beta=0.05).mean(dim=2)).mean()

    def depth_loss(depth: Float[Tensor, "b v h w"], w: Float[Tensor, "b v h w"]) -> Float[Tensor, ""]:
        error = functional.smooth_l1_loss(10 * depth / unit, 10 * target.depth / unit, reduction="none", beta=0.1)
        return (w * has_depth * error).mean()

    bce = functional.binary_cross_entropy_with_logits
    return {
        "rgb": 0.5 * rgb_loss(output.rgb, weight),
        "painted_rgb": 0.5 * rgb_loss(output.painted_rgb, painted) / painted.mean(),
        "depth": 0.5 * depth_loss(output.depth, weight),
        "painted_depth": 0.5 * depth_loss(output.painted_depth, painted) / painted.mean(),
        "gate": 0.3 * bce(output.gate, wrong),
        "gripper": 0.5 * bce(output.gripper, target.gripper),
        "valid": 0.1 * bce(output.valid, (target.depth > 0).float()),
    }


def refiner_errors(
    drafts: Float[Tensor, "b v c h w"], output: RefinerOutput, target: RefinerTarget
) -> dict[str, Float[Tensor, " n"]]:
    """Errors of each image, of the video and of the draft it was made from.

    `abs_rel` is mean |d - d*| / d*, `gripper_mm` the median depth error on the
    grippers, `iou` that of their masks, `psnr` in dB.
    """
    has_depth = target.depth > 0
    mask = target.gripper.amax(dim=2) > 0.5
    base_rgb, base_depth = drafts[:, :, 2:5], drafts[:, :, 1] * DEPTH_SCALE + DEPTH_MIDDLE
    errors: dict[str, Tensor] = {}
    for name, rgb, depth, gripper in (
        ("", output.rgb, output.surface_depth, output.gripper.amax(dim=2) > 0),
        ("draft_", base_rgb, base_depth, drafts[:, :, 5 : 5 + len(ARMS)].amax(dim=2) > 0),
    ):
        error = (depth - target.depth).abs()
        relative = torch.where(has_depth, error / target.depth.clamp(min=0.1), 0.0)
        errors[name + "abs_rel"] = (relative.sum(dim=(-1, -2)) / has_depth.sum(dim=(-1, -2)).clamp(min=1)).flatten()
        errors[name + "gripper_mm"] = 1000 * error[mask & has_depth].median()[None]
        union = (gripper | mask).sum(dim=(-1, -2))
        errors[name + "iou"] = ((gripper & mask).sum(dim=(-1, -2)) / union)[union > 20]
        squared = ((rgb.clamp(-1, 1) - target.rgb) / 2).square().mean(dim=(-1, -2, -3))
        errors[name + "psnr"] = (-10 * torch.log10(squared.clamp(min=1e-6))).flatten()
    return errors
