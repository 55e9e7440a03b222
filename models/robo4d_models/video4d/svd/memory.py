"""What training needs of a GPU's memory, computed on the meta device, which takes neither a GPU nor memory.

Counted is what tensors hold at the fullest moment. The allocator's fragments and CUDA's own 0.5 to 1 GB come on top.
"""

from dataclasses import dataclass

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from robo4d_models.video4d.svd.lora import add_adapters
from robo4d_models.video4d.svd.model import SvdConfig
from robo4d_models.video4d.svd.network import TwoViewUNet

_GB = 1e9
_FROZEN = (2 * (34.2e6 + 63.6e6) + 632e6) * 2 / _GB
"""Two VAEs (encoder, decoder) and CLIP ViT-H in bfloat16 [GB]."""


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Of one GPU, for one way of training [GB]."""

    way: str
    weights: float
    """In float32, with their bfloat16 copies of mixed precision."""
    gradients: float
    optimizer: float
    """Two moments of AdamW, and the running mean of the weights."""
    activations: float
    """Of forward and backward pass, in bfloat16."""
    frozen: float = _FROZEN
    """VAEs and image encoder."""

    @property
    def total(self) -> float:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.frozen


def training_memory(
    config: SvdConfig, *, batch: int = 1, lora_rank: int = 0, checkpoint_gradients: bool = True
) -> TrainingMemory:
    """What a step of training holds.

    Args:
        config: The model.
        batch: Samples on the GPU.
        lora_rank: 0 trains all weights.
        checkpoint_gradients: Whether activations are computed again in the backward pass.
    """
    with torch.device("meta"):
        network = TwoViewUNet(config.network, checkpoint_gradients=checkpoint_gradients)
    network = network.to("meta", torch.bfloat16).train()  # diffusers makes some weights on the CPU whatever it is told
    if lora_rank:
        add_adapters(network, lora_rank)
    count = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    kind = f"adapters of rank {lora_rank}" if lora_rank else "all weights"
    return TrainingMemory(
        way=f"{kind}, batch {batch}, activations {'computed twice' if checkpoint_gradients else 'kept'}",
        weights=count * (4 + 2) / _GB,
        gradients=trained * 4 / _GB,
        optimizer=trained * (8 + 4) / _GB,
        activations=_step_bytes(network, config, batch) / _GB - (2 * count + 2 * trained) / _GB,
    )


def _step_bytes(network: TwoViewUNet, config: SvdConfig, batch: int) -> int:
    """The most that forward and backward pass hold at a time, with bfloat16 weights and gradients [bytes]."""
    c, h, w = config.network.channels, config.height // 8, config.width // 8
    tracker = MemTracker()
    tracker.track_external(network)
    with torch.device("meta"), tracker:
        noisy = torch.empty(batch, 2, config.frames, c, h, w, dtype=torch.bfloat16)
        context = torch.empty(batch, 2, config.network.streams, config.network.context_width, dtype=torch.bfloat16)
        network(noisy, torch.empty(batch), noisy[:, :, 0].clone(), context).float().square().mean().backward()
    peak = tracker.get_tracker_snapshot("peak")
    return sum(kinds["Total"] for kinds in peak.values())


def memory_table() -> list[dict[str, float | str]]:
    """The full model's training, in some ways."""
    ways = [
        training_memory(SvdConfig(), lora_rank=rank, checkpoint_gradients=twice)
        for rank, twice in ((0, True), (0, False), (16, True), (16, False))
    ]
    return [vars(way) | {"total": way.total} for way in ways]
