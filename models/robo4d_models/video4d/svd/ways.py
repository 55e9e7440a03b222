"""The ways to make a plan that `robo4d bench model` measures, each with random weights: they change no time.

A plan is the whole of it: the images of the observation are encoded, latents sampled, and decoded to images of both
views.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robo4d_models.video4d.svd.acceleration import accelerated, dtype_of
from robo4d_models.video4d.svd.conditioning import clip_input
from robo4d_models.video4d.svd.edm import Condition, sample
from robo4d_models.video4d.svd.model import CLIP_VIT_H, SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig
from robo4d_models.video4d.svd.options import AccelerationConfig, SamplerConfig
from robo4d_models.video4d.svd.reuse import FeatureReuse
from robo4d_models.video4d.svd.small_decoder import SmallDecoder
from robo4d_models.video4d.svd.vae import LatentCoder

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
class Made:
    """A plan of our network."""

    latents: Float[Tensor, "b v t c hh ww"]
    colours: Float[Tensor, "b v t 3 h w"]
    points: Float[Tensor, "b v t 3 h w"]
    """Coded."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One of them, ready to run."""

    run: Callable[[], Made | None]
    """Makes a plan; returns it, if it is one of our network."""
    parts: tuple[nn.Module, ...]
    """Whose weights it holds."""
    passes: int
    """Times that one view, or one stream of a view, goes through the network, in part or as a whole."""
    plain: Callable[[], Any]
    """Computes the same without compiled and recorded code, which hides its operations from those who count them."""


def ways(
    config: SvdConfig, device: torch.device, *, full: bool, steps: int, compile_rows: bool
) -> dict[str, Callable[[], Way]]:
    """How to make each way ready, by its name.

    A way `+ ...` adds to the one before it. A way `with ...` changes what it names in the last one of these, and
    nothing else.

    Args:
        config: Of our network.
        device: Where it runs.
        full: Whether the VAEs and the image encoder have their full size, too.
        steps: Of the ways that sample as the paper does.
        compile_rows: Also with torch.compile.
    """
    ours = partial(_ours, config, device, full)
    euler = SamplerConfig(steps=steps)
    best = AccelerationConfig(dtype="float32")
    found: dict[str, Callable[[], Way]] = {
        f"released: {steps} steps, fp32, one by one, guidance without effect, no attention between views": partial(
            _released, config, device, full, euler
        ),
        f"ours: {steps} steps, fp32": partial(ours, euler, best),
    }
    added: dict[str, dict[str, Any]] = {}
    if full:
        added |= {"bf16": {"dtype": "bfloat16"}, "CUDA graphs": {"mode": "graphs"}}
        added |= {"channels last": {"channels_last": True}}
    if compile_rows:
        added["compile"] = {"mode": "compile"}
    for name, change in added.items():
        best = replace(best, **change)
        found[f"+ {name}"] = partial(ours, euler, best)
    found["with features reused at every other step"] = partial(ours, euler, best, reuse=2)
    found["with small decoders"] = partial(ours, euler, best, small=True)
    found["with 8 steps of DPM-Solver++"] = partial(ours, SamplerConfig(solver="dpm++", steps=8), best)
    students = {n: SamplerConfig(steps=n, sigma_min=1.0) for n in (4, 2, 1)}  # as docs/svd.md has them sample
    found["with 4 steps of a student"] = partial(ours, students[4], best)
    for n, sampler in students.items():
        plural = "s" if n > 1 else ""
        found[f"with {n} step{plural} of a student, small decoders"] = partial(ours, sampler, best, small=True)
    found[f"StableVideoDiffusionPipeline of diffusers: 1 view, colours only, {steps} steps"] = partial(
        _diffusers, config, device, full, steps
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
    return model.requires_grad_(False).to(device)  # diffusers makes some weights on the CPU whatever it is told


def _observed(config: SvdConfig, device: torch.device) -> tuple[Float[Tensor, "1 2 3 h w"], Float[Tensor, "1 2 3 h w"]]:
    """Colours and points of two views, coded."""
    rng = torch.Generator().manual_seed(0)
    images = 2 * torch.rand(2, 1, 2, 3, config.height, config.width, generator=rng) - 1
    rgb, points = images.to(device)
    return rgb, points


def _made(model: SvdModel, latents: Tensor, *, small: bool = False) -> Made:
    colours, points = model.decode(latents, small=small)
    assert points is not None
    return Made(latents=latents, colours=colours, points=points)


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
    if small:  # as narrow beside the VAE as the full one
        width, levels = model.rgb.widths[0] // 2, len(model.rgb.widths)
        model.small_rgb, model.small_points = (SmallDecoder(width, levels).requires_grad_(False) for _ in range(2))
    model.network.to(dtype)
    model.place_coders(device, dtype)
    network = accelerated(model.network, acceleration, device, with_deep=reuse > 1)
    images = _observed(config, device)

    def run(network: Callable[..., Any]) -> Made:
        told = model.condition(*images)
        latents = sample(FeatureReuse(network, reuse) if reuse > 1 else network, told, config.frames, sampler, seed=0)
        return _made(model, latents, small=small)

    return Way(
        run=partial(run, network),
        parts=(model,),
        passes=2 * sampler.steps,
        plain=partial(run, model.network.with_deep if reuse > 1 else model.network),
    )


def _released(config: SvdConfig, device: torch.device, full: bool, sampler: SamplerConfig) -> Way:
    """Four passes a step, one view's colours or points each, and all again for a guidance that compares like with like.

    Without the attention between views, which would make it 3 % slower.
    """
    model = _model(replace(config, network=replace(config.network, layout="rgb", multi_view=False)), device, full)
    with device:
        model.points = LatentCoder(model.rgb.widths, model.rgb.layers).requires_grad_(False).to(device)
    images = _observed(config, device)

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
        told: Condition = model.condition(*images)
        _made(model, sample(network, told, config.frames, sampler, seed=0))

    return Way(run=run, parts=(model,), passes=8 * sampler.steps, plain=run)


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
    vae, clip, unet = model.rgb.vae, model.clip, unet.to(device, dtype).eval()  # pyright: ignore[reportArgumentType]
    pipe = StableVideoDiffusionPipeline(
        vae=vae,
        image_encoder=clip,
        unet=unet,
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

    def run() -> None:
        pipe(image, **size, num_inference_steps=steps, output_type="pt")

    return Way(run=run, parts=(vae, clip, unet), passes=2 * steps, plain=run)


class _Pixels:
    """Does what `CLIPImageProcessor` does for the pipeline of diffusers."""

    def __call__(self, images: Tensor, **_: Any) -> SimpleNamespace:
        """Normalised pixels of images in [0, 1]."""
        return SimpleNamespace(pixel_values=clip_input(2 * images - 1, images.shape[-1]))


def flops_of(run: Callable[[], Any]) -> dict[torch.dtype, float]:
    """Floating point operations of a call, of matrix products and convolutions, by the type they compute in."""
    with _FlopsByType(display=False) as counter:
        run()
    return dict(counter.by_type)


class _FlopsByType(FlopCounterMode):
    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.by_type: defaultdict[torch.dtype, float] = defaultdict(float)

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        before = self.get_total_flops()
        result = super()._count_flops(func_packet, out, args, kwargs)
        if count := self.get_total_flops() - before:
            self.by_type[args[0].dtype] += count
        return result
