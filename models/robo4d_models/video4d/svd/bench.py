"""`robo4d bench model`: what a plan costs, as the paper's released code computes it, as we do, and as diffusers would.

Weights are random: they change no time. On a GPU the model has its full size, on a CPU it is narrow.
"""

import gc
import json
import platform
import re
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import torch
import tyro
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from robo4d_models.video4d.svd.acceleration import AccelerationConfig, accelerated
from robo4d_models.video4d.svd.conditioning import clip_input
from robo4d_models.video4d.svd.edm import Condition, Network, SamplerConfig, sample
from robo4d_models.video4d.svd.memory import memory_table
from robo4d_models.video4d.svd.model import CLIP_VIT_H, SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig

_NARROW = SvdConfig(network=NetworkConfig(widths=(32, 64), layers=1, context_width=32), height=32, width=32, frames=4)
_NARROW_VAE = (32, 32, 64)
_NARROW_CLIP = CLIP_VIT_H | {
    "hidden_size": 80,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "projection_dim": 32,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to make a plan."""

    name: str
    seconds: float
    """From condition to images of both views; the shortest of the repetitions."""
    tflop: float
    peak_gb: float
    """Of the GPU's allocator, or of the process (so far) without one."""
    utilisation: float
    """Share of the ceiling that matrix products reach in the same type on this machine."""
    passes: int
    """Times that one view, or one stream of a view, goes through the network."""


def bench_model(
    *,
    preset: Literal["svd"] = "svd",
    repetitions: int = 3,
    steps: int = 25,
    compile_rows: bool = True,
    memory: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure the model on this machine, all rows in one run.

    Args:
        preset: Which model.
        repetitions: Runs of each row after a first one that is not counted.
        steps: Of the rows that sample as the paper does.
        compile_rows: Also measure with torch.compile, which takes minutes to begin.
        memory: Also compute what training the full model needs.
        json_file: Write the rows to this file, too; benchmarks/ has one for each machine that was measured.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    full = device.type == "cuda"
    config = SvdConfig() if full else _NARROW
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.bfloat16) if full else (torch.float32,)  # processors compute the other in software
    ceilings = {dtype: matmul_ceiling(device, dtype) for dtype in dtypes}
    console = Console()
    rows: list[Row] = []
    for name, make in _ways(config, device, full=full, steps=steps, compile_rows=compile_rows).items():
        rows.append(_measure(name, make, device, repetitions, ceilings))
        console.print(f"{name}: {rows[-1].seconds:.3g} s")
    table = Table("way", "s", "times released", "TFLOP", "peak GB", "utilisation", "passes", box=None)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.seconds:.3g}",
            f"{rows[0].seconds / row.seconds:.1f}",
            f"{row.tflop:.3g}",
            f"{row.peak_gb:.1f}",
            f"{row.utilisation:.2f}",
            str(row.passes),
        )
    console.print(table)
    figures = {
        "machine": machine_name(device),
        "torch": torch.__version__,
        "preset": preset,
        "full_size": full,
        "config": config.to_json(),
        "matmul_tflop_s": {str(dtype).removeprefix("torch."): value for dtype, value in ceilings.items()},
        "rows": [asdict(row) for row in rows],
    }
    if memory:
        figures["training_memory"] = memory_table()
        console.print_json(data=figures["training_memory"])
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


def machine_name(device: torch.device) -> str:
    """Of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return f"{match[1] if match else platform.processor()}, {torch.get_num_threads()} threads"


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """The fastest of some matrix products of a size that suits the device [TFLOP/s]."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / min(_seconds(lambda: a @ b, device) for _ in range(10)) / 1e12


@dataclass(frozen=True, kw_only=True)
class _Way:
    run: Callable[[], Any]
    dtype: torch.dtype
    passes: int
    flops: Callable[[], float] | None = None
    """Where they cannot be counted while it runs: compiled and recorded code hides them."""


def _ways(
    config: SvdConfig, device: torch.device, *, full: bool, steps: int, compile_rows: bool
) -> dict[str, Callable[[], _Way]]:
    euler = SamplerConfig(steps=steps)
    dpm, few = SamplerConfig(solver="dpm++", steps=8), SamplerConfig(solver="dpm++", steps=4)
    eager = AccelerationConfig()
    graphs = replace(eager, mode="graphs")
    compiled = replace(eager, mode="compile", channels_last=full)
    ways = {
        f"released: {steps} steps, fp32, one by one, guidance without effect": lambda: _released(
            config, device, full, euler
        ),
        f"ours: {steps} steps, fp32": lambda: _ours(config, device, full, euler, AccelerationConfig(dtype="float32")),
    }
    if full:
        ways[f"ours: {steps} steps, bf16"] = lambda: _ours(config, device, full, euler, eager)
        ways["+ CUDA graphs"] = lambda: _ours(config, device, full, euler, graphs)
        ways["+ CUDA graphs, channels last"] = lambda: _ours(
            config, device, full, euler, replace(graphs, channels_last=True)
        )
    best = graphs if full else eager
    if compile_rows:
        ways["+ compile"] = lambda: _ours(config, device, full, euler, compiled)
        best = compiled
    ways["+ DPM-Solver++, 8 steps"] = lambda: _ours(config, device, full, dpm, best)
    ways["+ 4 steps"] = lambda: _ours(config, device, full, few, best)
    ways[f"StableVideoDiffusionPipeline of diffusers: 1 view, colours only, {steps} steps"] = lambda: _diffusers(
        config, device, full, steps
    )
    return ways


def _model(config: SvdConfig, device: torch.device, full: bool) -> SvdModel:
    with device:
        if full:
            model = SvdModel.untrained(config)
        else:
            model = SvdModel.untrained(config, vae_widths=_NARROW_VAE, vae_layers=1, clip=_NARROW_CLIP)
    return model.requires_grad_(False).to(device)  # diffusers makes some weights on the CPU whatever it is told


def _told(model: SvdModel, device: torch.device, dtype: torch.dtype) -> Condition:
    config = model.config
    c, h, w = config.network.channels, config.height // model.rgb.factor, config.width // model.rgb.factor
    return Condition(
        latents=torch.randn(1, 2, c, h, w, device=device, dtype=dtype),
        context=torch.randn(1, 2, config.network.streams, config.network.context_width, device=device, dtype=dtype),
    )


def _ours(
    config: SvdConfig, device: torch.device, full: bool, sampler: SamplerConfig, acceleration: AccelerationConfig
) -> _Way:
    model, dtype = _model(config, device, full), acceleration.torch_dtype(device)
    for part in (model.network, model.rgb):
        part.to(dtype)
    network, told = accelerated(model.network, acceleration, device), _told(model, device, dtype)

    def run_with(network: Network) -> None:
        model.decode(sample(network, told, config.frames, sampler, seed=0))

    hidden = acceleration.mode != "eager"
    return _Way(
        run=lambda: run_with(network),
        dtype=dtype,
        passes=2 * sampler.steps,
        flops=(lambda: _flops(lambda: run_with(model.network))) if hidden else None,
    )


def _released(config: SvdConfig, device: torch.device, full: bool, sampler: SamplerConfig) -> _Way:
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

    return _Way(run=run, dtype=torch.float32, passes=8 * sampler.steps)


def _diffusers(config: SvdConfig, device: torch.device, full: bool, steps: int) -> _Way:
    """Their pipeline with its own defaults: guidance up to 3, so two passes a step for its one view."""
    plain = replace(config, network=replace(config.network, layout="rgb", multi_view=False))
    sizes, dtype = plain.network, AccelerationConfig().torch_dtype(device)
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
            prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0
        ),
        # Theirs needs torchvision for what is no part of what is measured.
        feature_extractor=_Pixels(),  # pyright: ignore[reportArgumentType]
    )
    pipe.set_progress_bar_config(disable=True)
    image = Image.new("RGB", (config.width, config.height))
    size: dict[str, Any] = {"height": config.height, "width": config.width, "num_frames": config.frames}
    return _Way(
        run=lambda: pipe(image, **size, num_inference_steps=steps, output_type="pt"), dtype=dtype, passes=2 * steps
    )


class _Pixels:
    """Does what `CLIPImageProcessor` does for the pipeline of diffusers."""

    def __call__(self, images: Tensor, **_: Any) -> SimpleNamespace:
        """Normalised pixels of images in [0, 1]."""
        return SimpleNamespace(pixel_values=clip_input(2 * images - 1, images.shape[-1]))


def _measure(
    name: str, make: Callable[[], _Way], device: torch.device, repetitions: int, ceilings: dict[torch.dtype, float]
) -> Row:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with torch.no_grad():
        way = make()
        flops = _flops(way.run)  # the first run compiles, records, chooses kernels
        if way.flops:
            flops = way.flops()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = min(_seconds(way.run, device) for _ in range(repetitions))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Row(
        name=name,
        seconds=seconds,
        tflop=flops / 1e12,
        peak_gb=peak,
        utilisation=flops / 1e12 / seconds / ceilings[way.dtype],
        passes=way.passes,
    )


def _flops(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
