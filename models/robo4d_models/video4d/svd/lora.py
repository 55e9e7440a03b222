"""Fine-tuning with few weights, for GPUs that cannot hold the optimizer's state of all of them.

LoRA: Hu et al. 2021, arXiv:2106.09685.
"""

from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from robo4d_models.video4d.svd.network import TwoViewUNet

_TRAINED_WHOLE = ("cross_view.", "conv_in.", "conv_norm_out.", "conv_out.")
"""Layers that Stable Video Diffusion lacks, or that get channels it lacks."""


class LowRank(nn.Module):
    """Adds a matrix of low rank to a weight; it begins at zero.

    Args:
        weight: The weight.
        rank: Of what is added.
    """

    def __init__(self, weight: Float[Tensor, "o i"], rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        nn.init.normal_(self.down, std=columns**-0.5)

    def forward(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, "o i"]:
        """The sum."""
        return weight + self.up @ self.down


def add_adapters(network: TwoViewUNet, rank: int) -> None:
    """Leave trainable: a matrix of low rank beside every attention projection, and the layers that are new."""
    for name, parameter in network.named_parameters():
        last_layers = name.split(".", maxsplit=2)[-1] if name.startswith("decoders.") else name
        parameter.requires_grad_(last_layers.startswith(_TRAINED_WHOLE))
    for layer in _projections(network):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merge_adapters(network: TwoViewUNet) -> None:
    """Make plain weights of what was trained, so that nothing but numbers is left of the adapters."""
    for layer in _projections(network):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _projections(network: TwoViewUNet) -> list[nn.Linear]:
    attentions = [
        module
        for name, module in network.named_modules()
        if isinstance(module, Attention) and not name.startswith("cross_view.")
    ]
    layers = [layer for a in attentions for layer in (a.to_q, a.to_k, a.to_v, *a.to_out.children())]  # pyright: ignore
    return [layer for layer in layers if isinstance(layer, nn.Linear)]
