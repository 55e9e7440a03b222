"""What training needs of a GPU's memory, computed on the meta device, which takes neither a GPU nor memory.

Counted is what tensors hold at the fullest moment. The allocator's fragments and CUDA's own 0.5 to 1 GB come on top.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

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
    held = _HeldBytes(network.parameters())
    with torch.device("meta"), held:
        noisy = torch.empty(batch, 2, config.frames, c, h, w, dtype=torch.bfloat16)
        context = torch.empty(batch, 2, config.network.streams, config.network.context_width, dtype=torch.bfloat16)
        network(noisy, torch.empty(batch), noisy[:, :, 0].clone(), context).float().square().mean().backward()
    return held.peak


class _HeldBytes(TorchDispatchMode):
    """Counts what tensors hold while it is entered.

    Args:
        tensors: What is held from the beginning.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = WeakIdKeyDictionary()
        self.now = self.peak = 0
        self._take(tensors)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute as always, and count the results."""
        result = func(*args, **(kwargs or {}))
        self._take(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _take(self, tensors: Iterable[Tensor]) -> None:
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage not in self._known:
                self._known[storage] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._leave, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def _leave(self, size: int) -> None:
        self.now -= size


def memory_table() -> list[dict[str, float | str]]:
    """The full model's training, in some ways."""
    ways = [
        training_memory(SvdConfig(), lora_rank=rank, checkpoint_gradients=twice)
        for rank, twice in ((0, True), (0, False), (16, True), (16, False))
    ]
    return [vars(way) | {"total": way.total} for way in ways]
