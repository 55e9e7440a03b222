"""The ways to make a plan that `robo4d bench model` measures, each with random weights: they change no time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from robo4d_models.video4d.svd.acceleration import accelerated, dtype_of
from robo4d_models.video4d.svd.conditioning import clip_input
from robo4d_models.video4d.svd.edm import Condition, sample
from robo4d_models.video4d.svd.model import CLIP_VIT_H, SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig
from robo4d_models.video4d.svd.options import AccelerationConfig, SamplerConfig
from robo4d_models.video4d.svd.reuse import FeatureReuse
from robo4d_models.video4d.svd.small_decoder import SmallDecoder

NARROW = SvdConfig(network=NetworkConfig(widths=(32, 64), layers=1, context_width=32), height=32, width=32, frames=4)
"""What is measured on a CPU."""
_NARROW_VAE = (32, 32, 64)
_NARROW_CLIP = CLIP_VIT_H | {
    "hidden_size": 80,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "projection_dim": 32,
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One of them, ready to run."""

    run: Callable[[], Any]
    """Makes a plan; returns its latents, if they are those of our network."""
    dtype: torch.dtype
    """In which the network computes."""
    passes: int
    """Times that one view, or one stream of a view, goes through the network, in part or as a whole."""
    flops: Callable[[], float] | None = None
    """Where they cannot be counted while it runs: compiled and recorded code hides them."""


def ways(
    config: SvdConfig, device: torch.device, *, full: bool, steps: int, compile_rows: bool
) -> dict[str, Callable[[], Way]]:
    """How to make each way ready, by its name.

    Args:
        config: Of our network.
        device: Where it runs.
        full: Whether the VAEs and the image encoder have their full size, too.
        steps: Of the ways that sample as the paper does.
        compile_rows: Also with torch.compile.
    """
    euler = SamplerConfig(steps=steps)
    dpm, few = SamplerConfig(solver="dpm++", steps=8), SamplerConfig(solver="dpm++", steps=4)
    eager = AccelerationConfig()
    graphs = replace(eager, mode="graphs")
    compiled = replace(eager, mode="compile", channels_last=full)
    found = {
        f"released: {steps} steps, fp32, one by one, guidance without effect": lambda: _released(
            config, device, full, euler
        ),
        f"ours: {steps} steps, fp32": lambda: _ours(config, device, full, euler, AccelerationConfig(dtype="float32")),
    }
    if full:
        found[f"ours: {steps} steps, bf16"] = lambda: _ours(config, device, full, euler, eager)
        found["+ CUDA graphs"] = lambda: _ours(config, device, full, euler, graphs)
        found["+ CUDA graphs, channels last"] = lambda: _ours(
            config, device, full, euler, replace(graphs, channels_last=True)
        )
    best = graphs if full else eager
    if compile_rows:
        found["+ compile"] = lambda: _ours(config, device, full, euler, compiled)
        best = compiled
    found["+ features reused at every other step"] = lambda: _ours(config, device, full, euler, best, reuse=2)
    found["+ small decoders"] = lambda: _ours(config, device, full, euler, best, small=True)
    found["+ DPM-Solver++, 8 steps"] = lambda: _ours(config, device, full, dpm, best)
    found["+ 4 steps"] = lambda: _ours(config, device, full, few, best)
    found["+ 4 steps, small decoders"] = lambda: _ours(config, device, full, few, best, small=True)
    two, one = SamplerConfig(steps=2), SamplerConfig(steps=1)  # as a few-step student samples
    found["+ 2 steps, small decoders"] = lambda: _ours(config, device, full, two, best, small=True)
    found["+ 1 step, small decoders"] = lambda: _ours(config, device, full, one, best, small=True)
    found[f"StableVideoDiffusionPipeline of diffusers: 1 view, colours only, {steps} steps"] = lambda: _diffusers(
        config, device, full, steps
    )
    return found


def _model(config: SvdConfig, device: torch.device, full: bool) -> SvdModel:
    """The same weights at every call."""
    torch.manual_seed(0)
    with device:
        if full:
            model = SvdModel.untrained(config)
        else:
            model = SvdModel.untrained(config, vae_widths=_NARROW_VAE, vae_layers=1, clip=_NARROW_CLIP)
        # As narrow beside the VAE as the full one.
        small = [SmallDecoder(model.rgb.widths[0] // 2, levels=len(model.rgb.widths)) for _ in range(2)]
    model.small_rgb, model.small_points = small[0], small[1] if model.points else None
    return model.requires_grad_(False).to(device)  # diffusers makes some weights on the CPU whatever it is told


def _told(model: SvdModel, device: torch.device, dtype: torch.dtype) -> Condition:
    config = model.config
    c, h, w = config.network.channels, config.height // model.rgb.factor, config.width // model.rgb.factor
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 2, c, h, w, generator=rng)
    context = torch.randn(1, 2, config.network.streams, config.network.context_width, generator=rng)
    return Condition(latents=latents.to(device, dtype), context=context.to(device, dtype))


def _ours(
    config: SvdConfig,
    device: torch.device,
    full: bool,
    sampler: SamplerConfig,
    acceleration: AccelerationConfig,
    *,
    reuse: int = 1,
    small: bool = False,
) -> Way:
    model, dtype = _model(config, device, full), dtype_of(acceleration, device)
    decoders = model.decoders(small=small)
    for part in (model.network, *decoders):
        part.to(dtype)
    for part in decoders[1:]:
        part.to(torch.float32)  # points, as in the pipeline
    network, told = accelerated(model.network, acceleration, device, with_deep=reuse > 1), _told(model, device, dtype)

    def run_with(network: Callable[..., Any]) -> Tensor:
        latents = sample(FeatureReuse(network, reuse) if reuse > 1 else network, told, config.frames, sampler, seed=0)
        model.decode(latents, small=small)
        return latents

    plain = model.network.with_deep if reuse > 1 else model.network
    hidden = acceleration.mode != "eager"
    return Way(
        run=lambda: run_with(network),
        dtype=dtype,
        passes=2 * sampler.steps,
        flops=(lambda: flops_of(lambda: run_with(plain))) if hidden else None,
    )


def _released(config: SvdConfig, device: torch.device, full: bool, sampler: SamplerConfig) -> Way:
    """Four passes a step, one view's colours or points each, and all again for a guidance that compares like with like.

    Without the attention between views, which would make it 3 % slower.
    """
    model = _model(replace(config, network=replace(config.network, layout="rgb", multi_view=False)), device, full)
    told = _told(model, device, torch.float32)
    both = Condition(latents=torch.cat([told.latents] * 2, dim=2), context=told.context)

    def network(*inputs: Tensor) -> Tensor:
        noisy, level, condition, context = inputs
        output = torch.zeros_like(noisy)
        for _ in range(2):  # the second time for the guidance
            for view in (slice(0, 1), slice(1, 2)):
                for part in (slice(0, LATENT_CHANNELS), slice(LATENT_CHANNELS, None)):
                    one = noisy[:, view, :, part], level, condition[:, view, part], context[:, view]
                    output[:, view, :, part] = model.network(*one)
        return output

    def run() -> None:
        for half in sample(network, both, config.frames, sampler, seed=0).split(LATENT_CHANNELS, dim=3):
            model.decode(half)

    return Way(run=run, dtype=torch.float32, passes=8 * sampler.steps)


def _diffusers(config: SvdConfig, device: torch.device, full: bool, steps: int) -> Way:
    """Their pipeline with its own defaults: guidance up to 3, so two passes a step for its one view."""
    plain = replace(config, network=replace(config.network, layout="rgb", multi_view=False))
    sizes, dtype = plain.network, dtype_of(AccelerationConfig(), device)
    levels = len(sizes.widths)
    model = _model(plain, device, full).to(dtype)
    with device:
        unet = UNetSpatioTemporalConditionModel(
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * (levels - 1) + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * (levels - 1),
            block_out_channels=sizes.widths,
            layers_per_block=sizes.layers,
            cross_attention_dim=sizes.context_width,
            num_attention_heads=tuple(max(1, width // sizes.head_width) for width in sizes.widths),
        )
    pipe = StableVideoDiffusionPipeline(
        vae=model.rgb.vae,
        image_encoder=model.clip,
        unet=unet.to(device, dtype).eval(),  # pyright: ignore[reportArgumentType]  diffusers annotates it with self
        scheduler=EulerDiscreteScheduler(
            prediction_type="v_prediction",
            timestep_type="continuous",
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
        ),
        # Theirs needs torchvision for what is no part of what is measured.
        feature_extractor=_Pixels(),  # pyright: ignore[reportArgumentType]
    )
    pipe.set_progress_bar_config(disable=True)
    image = Image.new("RGB", (config.width, config.height))
    size: dict[str, Any] = {"height": config.height, "width": config.width, "num_frames": config.frames}
    return Way(
        run=lambda: pipe(image, **size, num_inference_steps=steps, output_type="pt"), dtype=dtype, passes=2 * steps
    )


class _Pixels:
    """Does what `CLIPImageProcessor` does for the pipeline of diffusers."""

    def __call__(self, images: Tensor, **_: Any) -> SimpleNamespace:
        """Normalised pixels of images in [0, 1]."""
        return SimpleNamespace(pixel_values=clip_input(2 * images - 1, images.shape[-1]))


def flops_of(run: Callable[[], Any]) -> float:
    """Floating point operations of a call, of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
