"""What can be trained of the svd preset, one part at a time, and by which losses."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robo4d_models.video4d.svd.data import SvdSample
from robo4d_models.video4d.svd.edm import diffusion_losses, few_step_losses
from robo4d_models.video4d.svd.lora import add_adapters
from robo4d_models.video4d.svd.model import SvdModel
from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.options import SamplerConfig
from robo4d_models.video4d.svd.small_decoder import SmallDecoder
from robo4d_models.video4d.svd.train_config import SvdTraining
from robo4d_models.video4d.svd.vae import TARGET_SCALE, LatentCoder

Losses = Callable[[Any, SvdSample, torch.Generator | None], dict[str, Tensor]]
"""Of a module and a batch; the generator is that of a validation, which repeats its noise."""
_MISSING_WEIGHT = 0.1
"""Pixels without a point need only be told apart from those with one, which takes no precision."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is trained, and what it is judged by."""

    module: nn.Module
    losses: Losses
    about: dict[str, Any]
    """Stored with its weights."""
    teacher: nn.Module | None = None
    """What it learns from, if that is no other part of the model."""


def network_part(model: SvdModel, svd: SvdTraining) -> Part:
    """The network, or adapters of it; it takes its place in the model."""
    network = TwoViewUNet(model.config.network, checkpoint_gradients=svd.checkpoint_gradients)
    network.load_state_dict(model.network.state_dict())
    model.network = network.float().train()
    if svd.lora_rank:
        add_adapters(network, svd.lora_rank)
    return Part(module=network, losses=partial(diffusion, model=model, svd=svd), about=model.config.to_json())


def diffusion(
    network: Any, sample: SvdSample, generator: torch.Generator | None, *, model: SvdModel, svd: SvdTraining
) -> dict[str, Tensor]:
    """Losses of the network.

    Args:
        network: What is trained.
        sample: The batch.
        generator: Of noise and noise levels; without one some samples must do without conditions.
        model: Encodes the images.
        svd: Weight of the points and shares of dropped conditions.
    """
    with torch.no_grad(), _own_types(sample):
        condition = model.condition(sample.told_rgb, sample.told_points).in_float32()
        latents = model.targets(sample.rgb, sample.points, generator)
        if generator is None:
            condition = condition.dropped(svd.condition_dropout, together=svd.joint_dropout)
    return diffusion_losses(
        network, latents.float(), condition, sample.gripper, points_weight=svd.points_weight, generator=generator
    )


def few_step_part(model: SvdModel, svd: SvdTraining) -> Part:
    """A student of the network, or adapters of it; it takes the network's place in the model."""
    teacher = model.network
    student = network_part(model, svd)
    return replace(student, losses=partial(few_step, model=model, teacher=teacher, svd=svd), teacher=teacher)


def few_step(
    student: Any,
    sample: SvdSample,
    generator: torch.Generator | None,
    *,
    model: SvdModel,
    teacher: TwoViewUNet,
    svd: SvdTraining,
) -> dict[str, Tensor]:
    """Losses of a few-step student; of the video it takes only the observation, and where the grippers are."""
    with torch.no_grad(), _own_types(sample):
        told = model.condition(sample.told_rgb, sample.told_points)
    b, v, c, h, w = told.latents.shape
    noise = torch.randn((b, v, sample.rgb.shape[2], c, h, w), generator=generator, device=told.latents.device)
    return few_step_losses(
        student,
        teacher,
        noise,
        told,
        sample.gripper,
        config=SamplerConfig(),
        points_weight=svd.points_weight,
        generator=generator,
    )


def _own_types(sample: SvdSample) -> torch.autocast:
    """What encodes images computes in the type of its weights, whatever that of the network's mixed precision is."""
    return torch.autocast(sample.rgb.device.type, enabled=False)


def points_vae_part(model: SvdModel, svd: SvdTraining) -> Part:
    """The VAE of points, encoder and decoder.

    Raises:
        ValueError: the model knows no points.
    """
    coder = _points_of(model).float().train().requires_grad_(True)
    if svd.checkpoint_gradients:
        coder.vae.enable_gradient_checkpointing()
    return Part(module=coder, losses=reconstruction, about=coder.sizes)


def reconstruction(coder: Any, sample: SvdSample, generator: torch.Generator | None) -> dict[str, Tensor]:
    """Losses of the VAE of points, on X^n or X^{m->n} of each sample (drawn), as in the released code.

    The first frame passes through the last layer of conditions, too (`condition`).
    """
    points, valid = _one_view(sample, generator, sample.points, sample.valid)
    latents = _latents_of(coder, points, generator)
    told = TARGET_SCALE * coder.encode_condition(points[:, 0])[:, None]
    condition = point_losses(coder.decode(told), points[:, :1], valid[:, :1])
    return point_losses(coder.decode(latents), points, valid) | {"condition": sum(condition.values(), torch.zeros(()))}


def small_decoder_part(model: SvdModel, *, points: bool) -> Part:
    """A small decoder, taught by that of the VAE of points or of colours.

    Raises:
        ValueError: the model knows no points.
    """
    coder = _points_of(model) if points else model.rgb
    decoder = (model.small_points if points else model.small_rgb) or SmallDecoder(levels=len(coder.widths))
    losses = partial(distillation, coder=coder.float(), points=points)
    return Part(module=decoder.float().train().requires_grad_(True), losses=losses, about=decoder.sizes)


def distillation(
    decoder: Any, sample: SvdSample, generator: torch.Generator | None, *, coder: LatentCoder, points: bool
) -> dict[str, Tensor]:
    """Losses of a small decoder against what the VAE's decoder makes of the same latents."""
    images, valid = _one_view(sample, generator, sample.points if points else sample.rgb, sample.valid)
    with torch.no_grad():
        latents = _latents_of(coder, images, generator)
        taught = coder.decode(latents)
    decoded = decoder.decode(latents)
    return point_losses(decoded, taught, valid) if points else {"rgb": (decoded - taught).abs().mean()}


def point_losses(
    decoded: Float[Tensor, "b t 3 h w"], code: Float[Tensor, "b t 3 h w"], valid: Bool[Tensor, "b t h w"]
) -> dict[str, Float[Tensor, ""]]:
    """Mean absolute error of coded points where there are any, and the weighted one where there are none."""
    error = (decoded - code).abs().mean(dim=2)
    return {
        "points": error[valid].sum() / valid.sum().clamp(min=1),
        "missing": _MISSING_WEIGHT * error[~valid].sum() / (~valid).sum().clamp(min=1),
    }


def _points_of(model: SvdModel) -> LatentCoder:
    if model.points is None:
        raise ValueError("the network has layout `rgb` and knows no points; train the part network or rgb_decoder")
    return model.points


def _one_view(
    sample: SvdSample,
    generator: torch.Generator | None,
    images: Float[Tensor, "b v t 3 h w"],
    valid: Bool[Tensor, "b v t h w"],
) -> tuple[Float[Tensor, "b t 3 h w"], Bool[Tensor, "b t h w"]]:
    """One view of each sample, drawn: a VAE's decoder takes much memory."""
    b, v = images.shape[:2]
    view = torch.randint(v, (b,), generator=generator, device=images.device)
    rows = torch.arange(b, device=images.device)
    return images[rows, view], valid[rows, view]


def _latents_of(
    coder: Any, images: Float[Tensor, "b t 3 h w"], generator: torch.Generator | None
) -> Float[Tensor, "b t c hh ww"]:
    flat = coder.encode_target(rearrange(images, "b t c h w -> (b t) c h w"), generator)
    return rearrange(flat, "(b t) c h w -> b t c h w", b=len(images))
