"""`robo4d train --preset svd`: fine-tunes the two-view model on episodes, all of it or by low-rank adapters.

VAEs and image encoder stay as they are. On a GPU it computes in bfloat16 and keeps weights in float32.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.svd.data import EpisodeClips, SvdSample
from robo4d_models.video4d.svd.edm import Condition, diffusion_losses
from robo4d_models.video4d.svd.lora import add_adapters, merge_adapters
from robo4d_models.video4d.svd.model import SvdModel
from robo4d_models.video4d.svd.network import TwoViewUNet
from robo4d_models.video4d.svd.train_config import SvdTraining
from robo4d_models.video4d.trainer import TrainConfig, Trainer, Training

_VALIDATION_SEED = 0


def train_svd(
    *, data: Path, out: Path, svd: SvdTraining, config: TrainConfig, slice_minutes: float | None = None
) -> None:
    """Fine-tune, and go on from where an earlier call stopped.

    Args:
        data: A data set with images.
        out: Folder of the weights, complete for generating videos, and in `network/` of checkpoints and curves.
        svd: What to begin from, and how.
        config: How long and how.
        slice_minutes: Stop after this time; the next call goes on.

    Raises:
        ValueError: there is nothing to begin from, or no episodes.
    """
    if svd.base is None:
        raise ValueError(
            "say what to begin from with --svd.base FOLDER; `robo4d convert-checkpoint` makes one of Stable Video "
            "Diffusion or of released weights"
        )
    config = replace(config, learning_rate=svd.learning_rate, weight_decay=svd.weight_decay)
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    device = torch.device(str(accelerator.device))
    torch.manual_seed(config.seed)
    model = SvdModel.load(svd.base)
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        model.save_frozen(out)
    network = TwoViewUNet(model.config.network, checkpoint_gradients=svd.checkpoint_gradients)
    network.load_state_dict(model.network.state_dict())
    model.network = network.float().train()
    if svd.lora_rank:
        add_adapters(network, svd.lora_rank)
    frozen = torch.bfloat16 if device.type == "cuda" else torch.float32
    for part in (model.rgb, model.points, model.clip):
        if part:
            part.to(device, frozen).requires_grad_(False)  # pyright: ignore[reportArgumentType]  as in pipeline.py

    factor = model.rgb.factor
    clips = EpisodeClips(
        data,
        model.config,
        factor=factor,
        batch=config.batch,
        seed=config.seed + 1000 * accelerator.process_index,
        length=config.steps,
    )

    def validate() -> dict[str, float]:
        try:
            kept = EpisodeClips(
                data,
                model.config,
                factor=factor,
                batch=config.batch,
                seed=_VALIDATION_SEED,
                length=config.validation_batches,
                validation=True,
            )
        except ValueError:  # none yet
            return {}
        return validation_losses(model, kept, device)

    def losses(network: Any, sample: SvdSample) -> dict[str, Tensor]:
        return sample_losses(model, network, sample, svd)

    trainer = Trainer(
        Training(network, losses),
        config,
        out=out / "network",
        weights=out / ("adapters.safetensors" if svd.lora_rank else "network.safetensors"),
        about=(model.config.to_json(), {}),
        accelerator=accelerator,
    )
    trainer.run(clips, validate, slice_minutes=slice_minutes)
    if svd.lora_rank and accelerator.is_main_process:
        with trainer.averaged_weights():
            merged = TwoViewUNet(model.config.network)
            add_adapters(merged, svd.lora_rank)
            merged.load_state_dict(network.state_dict())
        merge_adapters(merged)
        checkpoints.save_weights(out / "network.safetensors", merged.state_dict(), model.config.to_json())


def sample_losses(
    model: SvdModel,
    network: Any,
    sample: SvdSample,
    svd: SvdTraining,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The losses of a batch of images.

    Args:
        model: Encodes them.
        network: What is trained.
        sample: The batch.
        svd: Weight of the points and share of dropped conditions.
        generator: Of noise and noise levels; without one the conditions are never all kept.
    """
    with torch.no_grad():
        told = model.condition(sample.told_rgb, sample.told_points)
        condition = Condition(latents=told.latents.float(), context=told.context.float())
        latents = model.targets(sample.rgb, sample.points, generator)
        if generator is None:
            condition = condition.dropped(svd.condition_dropout)
    return diffusion_losses(
        network, latents.float(), condition, sample.gripper, points_weight=svd.points_weight, generator=generator
    )


@torch.no_grad()
def validation_losses(model: SvdModel, clips: EpisodeClips, device: torch.device) -> dict[str, float]:
    """Means of the losses over batches, at the same noise each time, with all conditions."""
    rows: list[dict[str, Tensor]] = []
    for i in range(len(clips)):
        generator = torch.Generator(device).manual_seed(i)
        rows.append(sample_losses(model, model.network, clips[i].to(device), SvdTraining(), generator))
    return {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}
