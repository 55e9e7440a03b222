"""A network of the svd preset that is small enough to run in a test: two narrow levels."""

import torch
from robo4d_models.video4d.svd.network import NetworkConfig, TwoViewUNet


def small_config(**changes):
    sizes = {"widths": (32, 64), "layers": 1, "head_width": 32, "context_width": 16}
    return NetworkConfig(**(sizes | changes))


def small_network(seed=0, **changes):
    """With random weights everywhere, also where training begins at zero."""
    torch.manual_seed(seed)
    network = TwoViewUNet(small_config(**changes)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5 / max(1.0, parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 2.0))
    return network.requires_grad_(False)


def inputs(config, views=2, batch=1, frames=2, size=4, seed=1):
    """noisy, noise_level, condition, context"""
    rng = torch.Generator().manual_seed(seed)
    c = config.channels
    return (
        torch.randn(batch, views, frames, c, size, size, generator=rng),
        torch.randn(batch, generator=rng),
        torch.randn(batch, views, c, size, size, generator=rng),
        torch.randn(batch, views, config.streams, config.context_width, generator=rng),
    )
