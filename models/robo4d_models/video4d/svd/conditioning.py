"""RGB-D images as the svd preset codes them: colours and points in [-1, 1], and the input of CLIP."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray as Array
from torch import Tensor
from torch.nn import functional

from robo4d import RgbdFrame
from robo4d.geometry import Pointmap
from robo4d_models.video4d.coding import resize_nearest

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained on (its release, openai/CLIP)."""
_NO_POINT_RADIUS_M = 0.5
"""Decoded points this close to the mark of a missing one, along every axis, are missing, as both mix at edges."""
_LENS_RADIUS_M = 0.05
"""No camera sees points this close to it."""


@dataclass(frozen=True, kw_only=True)
class PointCoding:
    """Points [m] as colours of an image, every coordinate on one linear scale.

    Pixels without a point need a colour, too, which a VAE can keep apart from points, so that they are found again.
    """

    low_m: float = -1.0
    """Becomes -1; the released data sets' bound."""
    high_m: float = 2.0
    """Becomes 1. What lies outside the bounds counts as missing."""
    missing: Literal["corner", "origin"] = "corner"
    """`corner`: all coordinates `low_m`, which is behind the camera. `origin`: zero in the frame of the camera that
    looks, as the released weights were trained; these are then found again in the reference view only."""

    def encode(self, points: Float[Tensor, "*b 3 h w"], valid: Bool[Tensor, "*b h w"]) -> Float[Tensor, "*b 3 h w"]:
        """Points [m] as an image. Where `missing` is `origin`, the points that are not valid must be that origin."""
        known = (valid & ((points > self.low_m) & (points < self.high_m)).all(dim=-3))[..., None, :, :]
        if self.missing == "origin":
            known = torch.ones_like(known)
        code = 2 * (points - self.low_m) / (self.high_m - self.low_m) - 1
        return torch.where(known, code, -1.0).clamp(-1, 1)

    def decode(self, code: Float[Tensor, "*b 3 h w"]) -> tuple[Float[Tensor, "*b 3 h w"], Bool[Tensor, "*b h w"]]:
        """Points [m], zero where missing, and which are not."""
        points = (code.clamp(-1, 1) + 1) / 2 * (self.high_m - self.low_m) + self.low_m
        if self.missing == "corner":
            valid = (points > self.low_m + _NO_POINT_RADIUS_M).any(dim=-3)
        else:
            valid = points.norm(dim=-3) > _LENS_RADIUS_M
        return torch.where(valid[..., None, :, :], points, 0.0), valid


def encode_frame(
    frame: RgbdFrame, height: int, width: int, coding: PointCoding
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"]]:
    """Colours, and points in the camera's own frame, in [-1, 1].

    Raises:
        ValueError: the frame has no depth at all.
    """
    pointmap = frame.pointmap()
    if not pointmap.valid.any():
        raise ValueError(f"{frame.camera}: not one pixel has depth; check the depth stream and that its unit is metres")
    return encode_colours(frame.rgb, height, width), encode_points(pointmap, height, width, coding)


def encode_colours(rgb: UInt8[Array, "hh ww 3"], height: int, width: int) -> Float[Tensor, "3 h w"]:
    """Colours in [-1, 1], averaged where the image is made smaller."""
    image = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 127.5 - 1
    return functional.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0].clamp(-1, 1)


def encode_points(pointmap: Pointmap, height: int, width: int, coding: PointCoding) -> Float[Tensor, "3 h w"]:
    """Points in [-1, 1]; each is one that was measured, at the place where it was measured, never a mean of several."""
    points = torch.from_numpy(resize_nearest(pointmap.points, height, width)).permute(2, 0, 1).float()
    return coding.encode(points, torch.from_numpy(resize_nearest(pointmap.valid, height, width)))


def clip_input(rgb: Float[Tensor, "n 3 h w"], size: int) -> Float[Tensor, "n 3 s s"]:
    """Colours in [-1, 1] as CLIP takes them, squeezed to a square as Stable Video Diffusion does."""
    square = functional.interpolate(rgb, (size, size), mode="bicubic", antialias=True)
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    return ((square + 1) / 2 - mean) / std
