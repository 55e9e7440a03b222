"""Images and pointmaps as latents: the VAE of Stable Video Diffusion, one with weights of its own for each of the two.

It makes an image eight times smaller and 4 channels deep; its decoder also looks along time.
"""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from robo4d_models.video4d.svd.network import LATENT_CHANNELS

TARGET_SCALE = 0.18215
"""Of the latents that are diffused, whose spread it makes about 1 (Rombach et al. 2022, appendix G)."""


class LatentCoder(nn.Module):
    """Images to latents and back.

    Stable Video Diffusion encodes what it is told (the condition) and what it generates (the target) by one encoder
    with different last layers: with `condition_quant` the one, with `vae.quant_conv` the other.

    Args:
        widths: Channels of each level; each but the last halves the image.
        layers: Residual blocks of a level.
    """

    def __init__(self, widths: tuple[int, ...] = (128, 256, 512, 512), layers: int = 2) -> None:
        super().__init__()
        self.widths, self.layers = widths, layers
        self.vae = AutoencoderKLTemporalDecoder(
            # Annotated by diffusers as tuples of one.
            down_block_types=("DownEncoderBlock2D",) * len(widths),  # pyright: ignore[reportArgumentType]
            block_out_channels=widths,  # pyright: ignore[reportArgumentType]
            layers_per_block=layers,
            latent_channels=LATENT_CHANNELS,
            scaling_factor=TARGET_SCALE,
        )
        self.condition_quant = nn.Conv2d(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)

    @property
    def sizes(self) -> dict[str, Any]:
        """What its weights do not tell of its architecture, stored with them."""
        return {"widths": self.widths, "layers": self.layers}

    @property
    def factor(self) -> int:
        """How many times smaller the latents are, along each side."""
        return 2 ** (len(self.widths) - 1)

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes."""
        return self.condition_quant.weight.dtype

    def encode_condition(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c hh ww"]:
        """The mean of each image's latents, not scaled."""
        moments = self.condition_quant(self.vae.encoder(images.to(self.dtype)))
        return DiagonalGaussianDistribution(moments).mode()

    def encode_target(
        self, images: Float[Tensor, "n 3 h w"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n c hh ww"]:
        """A sample of each image's latents, scaled."""
        return TARGET_SCALE * self.posterior(images).sample(generator)

    def posterior(self, images: Float[Tensor, "n 3 h w"]) -> DiagonalGaussianDistribution:
        """The distribution of each image's latents, not scaled."""
        return DiagonalGaussianDistribution(self.vae.quant_conv(self.vae.encoder(images.to(self.dtype))))

    def decode(self, latents: Float[Tensor, "b t c hh ww"]) -> Float[Tensor, "b t 3 h w"]:
        """Videos from scaled latents, about in [-1, 1]."""
        frames = latents.shape[1]
        flat = rearrange(latents, "b t c h w -> (b t) c h w").to(self.dtype) / TARGET_SCALE
        images = self.vae.decode(flat, num_frames=frames, return_dict=False)[0]
        return rearrange(images, "(b t) c h w -> b t c h w", t=frames)
