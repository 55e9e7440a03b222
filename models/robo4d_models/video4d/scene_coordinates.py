"""Where one view's pixels are in the world, from its own image and points alone: the network of the localiser.

"Scene coordinates" (Shotton et al. 2013): every pixel is told its place in the robot's base frame. Places are far
easier to average over than poses, and each comes with its own uncertainty; the camera's pose is solved from them
afterwards (`localiser`).

A patch does not answer with a place but with an affine map of the view's points about their centroid. The right map is
the same for all patches, the camera's own pose, so that the network has to learn one thing about the image and
not where everything is; and yet each patch answers for itself, and may be wrong alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from robo4d.geometry import Intrinsics
from robo4d_models.video4d.batches import Augmentation
from robo4d_models.video4d.coding import WORKSPACE_CENTRE, WORKSPACE_SCALE, resize_nearest
from robo4d_models.video4d.data import SampleFolder, stored_view
from robo4d_models.video4d.facing import surface_normals
from robo4d_models.video4d.plan_model import DecoderLayer, ResidualBlock

SIZE = 48
"""Height and width of the image that the network reads [px]."""
_PATCH = 4
"""Height and width of the pixels that share an answer [px]."""
FARTHEST_M = 3.0
"""What is further from the camera [m] is no part of the scene."""
_LEAST_SCALE, _LARGEST_SCALE = 0.004, 2.0
"""Bounds of the uncertainty [network units]."""


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Sizes of the network; the defaults are 1 M parameters and 0.1 GFLOP a view."""

    widths: tuple[int, int] = (64, 128)
    """Channels at 1/4 and 1/8 of the image size."""
    layers: int = 2
    """Attention layers over the coarse tokens."""


class SceneView(NamedTuple):
    """A batch of single views as the network reads them."""

    rgb: Float[Tensor, "b 3 h w"]
    """Colours in [-1, 1]."""
    points: Float[Tensor, "b 3 h w"]
    """Point of each pixel in the camera's frame [m]; 0 where not valid."""
    valid: Float[Tensor, "b h w"]
    """1 where a pixel has a point of the scene, else 0."""


class SceneCoordinates(NamedTuple):
    """Where the pixels are."""

    points: Float[Tensor, "b 3 h w"]
    """In the world [m]."""
    scale: Float[Tensor, "b h w"]
    """Expected distance from the truth [m]."""


@dataclass(frozen=True, kw_only=True)
class SceneSample:
    """A batch of views whose cameras are known."""

    view: SceneView
    T_world_camera: Float[Tensor, "b 4 4"]

    def to(self, device: torch.device | str) -> "SceneSample":
        """The same batch on a device."""
        view = SceneView(*(value.to(device, non_blocking=True) for value in self.view))
        return SceneSample(view=view, T_world_camera=self.T_world_camera.to(device))


class SceneNetwork(nn.Module):
    """Scene coordinates of a view: convolutions, attention over the whole image, and an affine map for each patch."""

    def __init__(self, config: SceneConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SceneConfig()
        fine, coarse = config.widths
        self.stem = nn.Conv2d(10 * _PATCH**2, fine, 1)
        self.fine = nn.Sequential(ResidualBlock(fine), ResidualBlock(fine))
        self.to_coarse, self.coarse = nn.Conv2d(fine, coarse, 3, stride=2, padding=1), ResidualBlock(coarse)
        self.layers = nn.ModuleList(DecoderLayer(coarse, cross=False) for _ in range(config.layers))
        self.up, self.out = nn.Conv2d(coarse + fine, fine, 1), ResidualBlock(fine)
        read = nn.Conv2d(fine, 9 + 3 + 1, 1)
        nn.init.normal_(read.weight, std=0.01)
        self.read = nn.Sequential(nn.GroupNorm(8, fine), nn.SiLU(), read)

    def forward(self, view: SceneView) -> SceneCoordinates:
        """Where the pixels of each view are."""
        count = view.valid.sum(dim=(-2, -1)).clamp(min=1)[:, None, None, None]
        centroid = view.points.sum(dim=(-2, -1), keepdim=True) / count
        points = (view.points - centroid) * view.valid[:, None] / WORKSPACE_SCALE
        normals = surface_normals(view.points, view.valid)
        image = torch.cat([view.rgb, points, normals, 2 * view.valid[:, None] - 1], dim=1)

        patches = functional.pixel_unshuffle(image, _PATCH).contiguous(memory_format=torch.channels_last)
        h4 = self.fine(self.stem(patches))
        h8 = self.coarse(self.to_coarse(h4))
        tokens = rearrange(h8, "b c h w -> b (h w) c")
        for layer in self.layers:
            tokens = layer(tokens)
        h8 = rearrange(tokens, "b (h w) c -> b c h w", h=h8.shape[2])
        read = self.read(self.out(self.up(torch.cat([functional.interpolate(h8, scale_factor=2.0), h4], dim=1))))

        read = read.float().repeat_interleave(_PATCH, dim=-2).repeat_interleave(_PATCH, dim=-1)
        A, b, log_scale = read.split([9, 3, 1], dim=1)
        with torch.autocast(points.device.type, enabled=False):  # bfloat16 has steps of millimetres
            place = torch.einsum("bijhw,bjhw->bihw", A.unflatten(1, (3, 3)), points) + b
        scale = _LARGEST_SCALE * torch.sigmoid(log_scale[:, 0]) + _LEAST_SCALE
        centre = place.new_tensor(WORKSPACE_CENTRE)[:, None, None]
        return SceneCoordinates(points=WORKSPACE_SCALE * place + centre, scale=WORKSPACE_SCALE * scale)


def scene_losses(network: SceneNetwork, sample: SceneSample) -> dict[str, Tensor]:
    """Negative log likelihood of the true places, as Laplace has errors: their distance, in the scale told."""
    output = network(sample.view)
    distance = (output.points - true_places(sample)).norm(dim=1) / WORKSPACE_SCALE
    scale = output.scale / WORKSPACE_SCALE
    likelihood = distance / scale + 3 * torch.log(scale)
    valid = sample.view.valid
    return {"place": (likelihood * valid).sum() / valid.sum().clamp(min=1)}


def true_places(sample: SceneSample) -> Float[Tensor, "b 3 h w"]:
    """In the world [m]."""
    R, p = sample.T_world_camera[:, :3, :3], sample.T_world_camera[:, :3, 3, None, None]
    with torch.autocast(p.device.type, enabled=False):
        return torch.einsum("bij,bjhw->bihw", R, sample.view.points) + p


def encode_view(rgb: UInt8[Array, "h w 3"], depth: Float[Array, "h w"], intrinsics: Intrinsics) -> SceneView:
    """A batch of one, of a square image; see `coding.middle_square`."""
    depth = np.nan_to_num(resize_nearest(depth, SIZE, SIZE))
    valid = (depth > 0) & (depth < FARTHEST_M)
    points = resize_nearest(intrinsics.rays(), SIZE, SIZE) * np.where(valid, depth, 0)[..., None]
    colours = resize_nearest(rgb, SIZE, SIZE).astype(np.float32) / 127.5 - 1
    return SceneView(
        rgb=torch.from_numpy(colours.transpose(2, 0, 1)[None]),
        points=torch.from_numpy(points.astype(np.float32).transpose(2, 0, 1)[None]),
        valid=torch.from_numpy(valid.astype(np.float32)[None]),
    )


class SceneBatches(Dataset[SceneSample]):
    """Batches of views, of which each two that follow each other show one moment; see `batches.PlanBatches`."""

    def __init__(
        self, folder: SampleFolder, *, batch: int, seed: int, augmentation: Augmentation | None, length: int
    ) -> None:
        self.folder, self.batch, self.seed, self.length = folder, batch, seed, length
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Batches of the whole run."""
        return self.length

    def __getitem__(self, index: int) -> SceneSample:
        """The batch of a training step."""
        rng = np.random.default_rng([self.seed, index])
        moments = [moment for _, moment in self.folder.draw(rng, -(-self.batch // 2))]
        views, poses = list[SceneView](), list[Array]()
        for moment in moments:
            for view in rng.choice(len(moment["rgb"]), 2, replace=False).tolist():
                seen = stored_view(moment, view)
                views.append(encode_view(moment["rgb"][view], seen.depth, seen.camera.intrinsics))
                poses.append(seen.camera.T_world_camera)
        batch = SceneView(*(torch.cat(values) for values in zip(*views, strict=True)))
        if self.augmentation is not None:
            batch = _augmented(batch, rng, self.augmentation)
        return SceneSample(view=batch, T_world_camera=torch.from_numpy(np.stack(poses)).float())


def _augmented(view: SceneView, rng: np.random.Generator, augmentation: Augmentation) -> SceneView:
    """Other light, and depth as cameras measure it."""
    span, count = augmentation.brightness, len(view.valid)
    gain, offset = torch.from_numpy(rng.uniform(-span, span, (2, count, 3, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(view.valid.shape, dtype=np.float32))
    depth = view.points[:, 2].clamp(min=0.1)
    stretch = 1 + augmentation.depth_noise_m * noise / depth
    return SceneView(rgb=view.rgb * (1 + gain) + offset, points=view.points * stretch[:, None], valid=view.valid)
