"""Which pixels show a gripper, and which the object of the task: a small U-Net that looks at colours only.

Drafts carry along the whole object, and no more, where its pixels are known; and how well the two views of a video
agree (paper, section 4.2) is measured on masks that were found in the video itself, as the paper does with SAM 2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray as Array
from scipy.ndimage import label
from torch import Tensor, nn
from torch.nn import functional

from robo4d_models.video4d import checkpoints

CLASSES = ("gripper", "object")
"""Hands and fingers of either arm; what the task is about."""

_SMALLEST_PX = 6
"""Pixels of a patch; of hands and objects, 25 and more are seen."""


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """Sizes of the segmenter."""

    widths: tuple[int, int, int] = (32, 64, 96)
    """Channels at 1/2, 1/4 and 1/8 of the image size; multiples of 8."""


def _block(width: int) -> nn.Sequential:
    """What is added to some features."""
    return nn.Sequential(
        nn.GroupNorm(8, width),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GroupNorm(8, width),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
    )


class Segmenter(nn.Module):
    """Logits of `CLASSES` for each pixel."""

    def __init__(self, config: SegmenterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SegmenterConfig()
        fine, middle, coarse = config.widths
        self.stem, self.fine = nn.Conv2d(4 * 3, fine, 3, padding=1), _block(fine)
        self.to_middle, self.middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1), _block(middle)
        self.to_coarse, self.coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1), _block(coarse)
        self.up_middle, self.out_middle = nn.Conv2d(coarse + middle, middle, 1), _block(middle)
        self.up_fine, self.out_fine = nn.Conv2d(middle + fine, fine, 1), _block(fine)
        self.readout = nn.Conv2d(fine, 4 * len(CLASSES), 1)

    @classmethod
    def load(cls, file: Path) -> "Segmenter":
        """The segmenter with the weights of a file.

        Raises:
            ValueError: the file is missing, damaged, or of another model.
        """
        values, sizes = checkpoints.load_weights(file)
        model = cls(SegmenterConfig(widths=tuple(sizes["widths"])))
        checkpoints.fill(model, values, file)
        return model.eval()

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        """Of images in [-1, 1], whose sides are multiples of 8."""
        h2 = self.stem(functional.pixel_unshuffle(rgb, 2).contiguous(memory_format=torch.channels_last))
        h2 = h2 + self.fine(h2)
        h4 = self.to_middle(h2)
        h4 = h4 + self.middle(h4)
        h8 = self.to_coarse(h4)
        h8 = h8 + self.coarse(h8)
        h4 = self.up_middle(torch.cat([functional.interpolate(h8, scale_factor=2.0), h4], dim=1))
        h4 = h4 + self.out_middle(h4)
        h2 = self.up_fine(torch.cat([functional.interpolate(h4, scale_factor=2.0), h2], dim=1))
        h2 = h2 + self.out_fine(h2)
        return functional.pixel_shuffle(self.readout(h2), 2).float()

    @torch.no_grad()
    def masks(self, rgb: UInt8[Array, "n h w 3"]) -> dict[str, Bool[Array, "n h w"]]:
        """The pixels of each class in some images; patches too small to be anything are left out."""
        scaled = torch.from_numpy(rgb.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        found = np.ascontiguousarray((self(scaled) > 0).cpu().numpy())
        for mask in found.reshape(-1, *found.shape[2:]):
            patches = np.empty(mask.shape, np.int32)
            label(mask, output=patches)
            mask &= np.bincount(patches.ravel())[patches] >= _SMALLEST_PX
        return {name: found[:, i] for i, name in enumerate(CLASSES)}


@dataclass(frozen=True, kw_only=True)
class SegmenterSample:
    """A batch for the segmenter."""

    rgb: Float[Tensor, "b 3 h w"]
    """In [-1, 1]."""
    masks: Float[Tensor, "b k h w"]

    def to(self, device: torch.device | str) -> "SegmenterSample":
        """The same batch on a device."""
        return SegmenterSample(rgb=self.rgb.to(device), masks=self.masks.to(device))


def segmenter_losses(model: Segmenter, sample: SegmenterSample) -> dict[str, Float[Tensor, ""]]:
    """Cross entropy of pixels, and one minus the soft Dice score, which does not care how small an object is."""
    logits = model(sample.rgb)
    share = torch.sigmoid(logits)
    shared = 2 * (share * sample.masks).sum(dim=(-1, -2)) + 1
    dice = shared / (share.sum(dim=(-1, -2)) + sample.masks.sum(dim=(-1, -2)) + 1)
    return {
        "pixels": functional.binary_cross_entropy_with_logits(logits, sample.masks),
        "dice": 0.2 * (1 - dice).mean(),
    }


def segmenter_errors(model: Segmenter, sample: SegmenterSample) -> dict[str, Float[Tensor, " n"]]:
    """Intersection over union of each class, of the images in which it is seen."""
    found, true = model(sample.rgb) > 0, sample.masks > 0.5
    union = (found | true).sum(dim=(-1, -2))
    iou = (found & true).sum(dim=(-1, -2)) / union.clamp(min=1)
    seen = true.sum(dim=(-1, -2)) > 5
    return {f"{name}_iou": iou[:, i][seen[:, i]] for i, name in enumerate(CLASSES)}


def augmented(rgb: Float32[Array, "b h w 3"], rng: np.random.Generator) -> Float32[Array, "b h w 3"]:
    """Images in [-1, 1] under other light and with noise; a share of them blurred, as generated images are."""
    gain, offset = rng.uniform(-0.25, 0.25, (2, len(rgb), 1, 1, 3))
    changed = rgb * (1 + gain) + offset + rng.uniform(0, 0.08, (len(rgb), 1, 1, 1)) * rng.standard_normal(rgb.shape)
    soft = 0.5 * changed + 0.125 * sum(np.roll(changed, step, axis) for step in (-1, 1) for axis in (1, 2))
    blurred = rng.random((len(rgb), 1, 1, 1)) < 0.3
    return np.where(blurred, soft, changed).astype(np.float32)
