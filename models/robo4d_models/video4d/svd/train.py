"""`robo4d train --preset svd`: fine-tunes a part of the two-view model on episodes, or distils its small decoders.

All other parts stay as they are. On a GPU the network computes in bfloat16 and keeps its weights in float32; what
encodes colours for it has weights in bfloat16. The VAE of points, and VAEs and small decoders in their own training,
compute in float32.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.svd.data import EpisodeClips, SvdSample
from robo4d_models.video4d.svd.lora import add_adapters, merge_adapters
from robo4d_models.video4d.svd.model import PARTS, SvdModel
from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.parts import Part, few_step_part, network_part, points_vae_part, small_decoder_part
from robo4d_models.video4d.svd.sharding import ShardedTrainer
from robo4d_models.video4d.svd.train_config import SvdPart, SvdTraining
from robo4d_models.video4d.trainer import TrainConfig, Trainer, Training

_VALIDATION_SEED = 0


def train_svd(
    *,
    part: SvdPart,
    data: Path,
    out: Path,
    svd: SvdTraining,
    config: TrainConfig,
    slice_minutes: float | None = None,
) -> None:
    """Train a part, and go on from where an earlier call stopped.

    Args:
        part: Which.
        data: A data set with images.
        out: Folder of the weights, complete for generating videos, and in `<part>/` of checkpoints and curves. It
            begins as a copy of `svd.base`; parts that it has already are kept. `few_step/` is such a folder, too.
        svd: What to begin from, and how.
        config: How long and how.
        slice_minutes: Stop after this time; the next call goes on.

    Raises:
        ValueError: there is nothing to begin from, no such part in it, no episodes, or adapters shall be sharded.
    """
    home, name = (out / part, "network") if part == "few_step" else (out, part)
    is_network, is_decoder = part in ("network", "few_step"), part in ("rgb_decoder", "points_decoder")
    if not is_decoder:  # which alone begins from nothing
        config = replace(config, learning_rate=svd.learning_rate, weight_decay=svd.weight_decay)
    accelerator = Accelerator(mixed_precision="bf16" if is_network and torch.cuda.is_available() else "no")
    device = torch.device(str(accelerator.device))
    torch.manual_seed(config.seed)
    if accelerator.is_main_process:
        _begin(out, svd.base)
        if home != out:
            checkpoints.copy_missing(out, home, set(PARTS) - {name})
    accelerator.wait_for_everyone()
    model = SvdModel.load(out).requires_grad_(False)
    trained = _part(part, model, svd)
    if is_network:
        frozen = torch.bfloat16 if device.type == "cuda" else torch.float32
        model.place_coders(device, frozen)
        if trained.teacher:
            trained.teacher.to(device, frozen)
    else:
        for coder in (model.rgb, model.points):
            if coder:
                coder.to(device, torch.float32)

    def clips(**changes: Any) -> EpisodeClips:
        return EpisodeClips(data, model.config, factor=model.rgb.factor, batch=config.batch, **changes)

    def validate() -> dict[str, float]:
        try:
            kept = clips(seed=_VALIDATION_SEED, length=config.validation_batches, validation=True)
        except ValueError:  # none yet
            return {}
        return validation_losses(trained, kept, device)

    def losses(module: Any, sample: SvdSample) -> dict[str, Tensor]:
        return trained.losses(module, sample, None)

    adapted = is_network and svd.lora_rank > 0
    if adapted and accelerator.is_fsdp2:
        raise ValueError("adapters are few weights, and are not sharded: launch without fsdp.yaml")
    trainer = (ShardedTrainer if accelerator.is_fsdp2 else Trainer)(
        Training(trained.module, losses),
        config,
        out=out / part,
        weights=home / ("adapters.safetensors" if adapted else f"{name}.safetensors"),
        about=(trained.about, {}),
        accelerator=accelerator,
    )
    batches = clips(seed=config.seed + 1000 * accelerator.process_index, length=config.steps)
    trainer.run(batches, validate, slice_minutes=slice_minutes)
    if adapted and accelerator.is_main_process:
        with trainer.averaged_weights():
            merged = TwoViewUNet(model.config.network)
            add_adapters(merged, svd.lora_rank)
            merged.load_state_dict(trained.module.state_dict())
        merge_adapters(merged)
        checkpoints.save_weights(home / "network.safetensors", merged.state_dict(), model.config.to_json())


@torch.no_grad()
def validation_losses(part: Part, clips: EpisodeClips, device: torch.device) -> dict[str, float]:
    """Means of the losses over batches, at the same noise each time, with all conditions."""
    rows: list[dict[str, Tensor]] = []
    for i in range(len(clips)):
        generator = torch.Generator(device).manual_seed(i)
        rows.append(part.losses(part.module, clips[i].to(device), generator))
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}


def _part(part: SvdPart, model: SvdModel, svd: SvdTraining) -> Part:
    match part:
        case "network":
            return network_part(model, svd)
        case "few_step":
            return few_step_part(model, svd)
        case "points_vae":
            return points_vae_part(model, svd)
        case "rgb_decoder" | "points_decoder":
            return small_decoder_part(model, points=part == "points_decoder")


def _begin(out: Path, base: Path | None) -> None:
    """Copy into a folder of weights what it lacks."""
    if base is None and not (out / "network.safetensors").is_file():
        raise ValueError(
            "say what to begin from with --svd.base FOLDER; `robo4d convert-checkpoint` makes one of Stable Video "
            "Diffusion or of released weights"
        )
    if base is not None:
        checkpoints.copy_missing(base, out, PARTS)
