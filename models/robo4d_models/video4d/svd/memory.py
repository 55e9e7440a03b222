"""What training and plans need of a GPU's memory, computed on the meta device, which takes neither a GPU nor memory.

Counted is what tensors hold at the fullest moment, the weights of attention included, which a GPU's kernels never write
down. The allocator's fragments and CUDA's own 0.5 to 1 GB come on top.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from robo4d_models.video4d.svd.edm import Condition
from robo4d_models.video4d.svd.lora import add_adapters
from robo4d_models.video4d.svd.model import SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import TwoViewUNet

_GB = 1e9
_FROZEN = ((34.2e6 + 63.6e6) * (2 + 4) + 632e6 * 2) / _GB
"""Two VAEs (encoder, decoder) and CLIP ViT-H in bfloat16, but that of points in float32 [GB]."""


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


@dataclass(frozen=True, kw_only=True)
class InferenceMemory:
    """Of one GPU at the fullest moment of a plan [GB]."""

    way: str
    weights: float
    """In bfloat16, but in float32 those of what codes points."""
    activations: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.weights + self.activations


def inference_memory(model: SvdModel, *, offload: bool = False) -> InferenceMemory:
    """What a plan of two views holds on a GPU, with the VAEs' own decoders.

    Args:
        model: On the meta device; it is made to compute in bfloat16.
        offload: Whether only the part at work is on the GPU (`SvdOptions.offload`).
    """
    device, config = torch.device("meta"), model.config
    model.eval().requires_grad_(False).network.to(device, torch.bfloat16)
    model.place_coders(device, torch.bfloat16)
    coders = [part for part in (model.rgb, model.points) if part]
    c, h, w = config.network.channels, config.height // model.rgb.factor, config.width // model.rgb.factor

    def encode(_: None) -> Condition:
        return model.condition(*torch.empty(2, 1, 2, 3, config.height, config.width))

    def step(told: Condition) -> Tensor:
        x = torch.empty(1, 2, config.frames, c, h, w)  # in float32, as the sampler keeps it
        return x + model.network(x.to(torch.bfloat16), torch.empty(1), told.latents, told.context).float()

    work: list[tuple[Sequence[nn.Module], Callable[[Any], Any]]] = [
        ((*coders, model.clip), encode),
        ((model.network,), step),
        (coders, model.decode),
    ]
    held, state, moments = _HeldBytes(model.parameters()), None, list[tuple[float, float]]()
    every = held.now
    with torch.no_grad(), device, held:
        for parts, do in work:
            held.peak = held.now
            state = do(state)
            weights = sum(p.nbytes for part in parts for p in part.parameters()) if offload else every
            moments.append((weights / _GB, (held.peak - every) / _GB))
    weights, activations = max(moments, key=sum)
    where = "only the part at work" if offload else "all parts"
    return InferenceMemory(way=f"a plan in bfloat16, {where} on the GPU", weights=weights, activations=activations)


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
    """The full model's training and plans, in some ways."""
    training = [
        training_memory(SvdConfig(), lora_rank=rank, checkpoint_gradients=twice)
        for rank, twice in ((0, True), (0, False), (16, True), (16, False))
    ]
    with torch.device("meta"):
        model = SvdModel.untrained(SvdConfig())
    plans = [inference_memory(model, offload=offload) for offload in (False, True)]
    return [vars(way) | {"total": way.total} for way in (*training, *plans)]
