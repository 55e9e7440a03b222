"""Latents to images by a small network, frame by frame: some 1.2 million weights instead of a VAE decoder's 64.

The architecture is that of TAESD (github.com/madebyollin/taesd), as diffusers has it.
"""

from typing import Any

from diffusers.models.autoencoders.vae import DecoderTiny
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from robo4d_models.video4d.svd.network import LATENT_CHANNELS

_BLOCKS = 3
"""Residual blocks of each level but that of the image, which has one."""


class SmallDecoder(nn.Module):
    """Does what `vae.LatentCoder.decode` does, about.

    Args:
        width: Channels.
        levels: As many as the VAE has; each but the last doubles the image.
    """

    def __init__(self, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        self.width, self.levels = width, levels
        self.layers = DecoderTiny(
            in_channels=LATENT_CHANNELS,
            out_channels=3,
            num_blocks=(*[_BLOCKS] * (levels - 1), 1),
            block_out_channels=(width,) * levels,
            upsampling_scaling_factor=2,
            act_fn="relu",
            upsample_fn="nearest",
        )

    @property
    def sizes(self) -> dict[str, Any]:
        """What its weights do not tell of its architecture, stored with them."""
        return {"width": self.width, "levels": self.levels}

    def decode(self, latents: Float[Tensor, "b t c hh ww"]) -> Float[Tensor, "b t 3 h w"]:
        """Videos from scaled latents, about in [-1, 1]."""
        flat = rearrange(latents, "b t c h w -> (b t) c h w").to(next(self.parameters()).dtype)
        return rearrange(self.layers(flat), "(b t) c h w -> b t c h w", b=len(latents))
