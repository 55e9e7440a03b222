"""What `tiny` is measured beside: a video diffusion network of diffusers that has as many parameters.

It predicts what tiny predicts: colours and points of every frame of both views, from their first ones. Where there is
a choice, it gets tiny's, which is the cheaper one: no VAE, pixels folded 2 x 2 into channels, three levels at 1/2, 1/4
and 1/8 of the image, attention at the coarsest alone. The views are a batch of two, which do not see each other.
"""

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 6
"""Colour and point of a pixel."""
_FOLD = 2
_CONTEXT = 32


class Peer(nn.Module):
    """A flow from noise to a view's future, conditioned on its first frame.

    Args:
        widths: Channels of the three levels; multiples of 32. Those of tiny's size unless told otherwise.
        layers: Residual blocks of a level.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 32, 64), layers: int = 2) -> None:
        super().__init__()
        down, up = "DownBlockSpatioTemporal", "UpBlockSpatioTemporal"
        self.unet = UNetSpatioTemporalConditionModel(
            in_channels=2 * CHANNELS * _FOLD**2,
            out_channels=CHANNELS * _FOLD**2,
            down_block_types=(down, down, f"CrossAttn{down}"),
            up_block_types=(f"CrossAttn{up}", up, up),
            block_out_channels=widths,
            layers_per_block=layers,
            num_attention_heads=tuple(width // 32 for width in widths),
            cross_attention_dim=_CONTEXT,
            addition_time_embed_dim=_CONTEXT,
            projection_class_embeddings_input_dim=3 * _CONTEXT,
        )

    def forward(
        self, noisy: Float[Tensor, "b t c h w"], first: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]
    ) -> Float[Tensor, "b t c h w"]:
        """The flow's velocity at a time in [0, 1]; the sides of the images are multiples of 8."""
        told = repeat(first, "b c h w -> b t c h w", t=noisy.shape[1])
        folded = rearrange(torch.cat([noisy, told], dim=2), "b t c (h i) (w j) -> b t (c i j) h w", i=_FOLD, j=_FOLD)
        context, settings = first.new_zeros(len(first), 1, _CONTEXT), first.new_zeros(len(first), 3)
        velocity = self.unet(folded, 1000 * time, context, settings, return_dict=False)[0]
        return rearrange(velocity, "b t (c i j) h w -> b t c (h i) (w j)", i=_FOLD, j=_FOLD)

    @torch.no_grad()
    def sample(self, first: Float[Tensor, "b c h w"], *, frames: int, steps: int) -> Float[Tensor, "b t c h w"]:
        """The frames that follow, in Euler steps of the flow."""
        x = torch.randn(len(first), frames, *first.shape[1:], device=first.device)
        for i in range(steps):
            x = x + self(x, first, first.new_full((len(first),), i / steps)) / steps
        return x

    def losses(
        self, first: Float[Tensor, "b c h w"], future: Float[Tensor, "b t c h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Flow matching along straight paths."""
        time, noise = torch.rand(len(first), device=first.device), torch.randn_like(future)
        at = time[:, None, None, None, None]
        velocity = self(torch.lerp(noise, future, at), first, time)
        return {"flow": functional.mse_loss(velocity, future - noise)}
