"""The two-view UNet (paper, sections 3.2 and A.1): a shared encoder, a decoder for each view, attention between them.

Blocks are those of Stable Video Diffusion as diffusers has them, under its names, so that its weights load. Left out is
its conditioning on frame rate, motion and noise of the image, which the paper's model does not use.

Rows of a batch are ordered (stream, view, sample), which puts those of the first decoder before those of the second.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LATENT_CHANNELS = 4
"""Channels of an image, or of a pointmap, in the latent space of the VAE."""

Layout = Literal["joint", "streams", "rgb"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture. The defaults are the paper's model of 2.40 B parameters.

    | row of the paper's tables | layout | multi_view |
    |---|---|---|
    | Ours | joint | yes |
    | Ours, as its authors released it | streams | yes |
    | Ours w/o MV attn | joint | no |
    | SVD | rgb | no |
    | SVD w/ MV attn | rgb | yes |
    """

    layout: Layout = "joint"
    """`joint`: colours and points of a view are one input of 16 channels (noisy and condition) and one output of 8.
    `streams`: they pass through the network apart, 8 channels in and 4 out. `rgb`: colours only, 8 in and 4 out."""
    multi_view: bool = True
    """Attention from the reference view's decoder into that of the other views."""
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels of each level, multiples of 32; all but the last level have attention."""
    layers: int = 2
    """Residual blocks of a level in the encoder; a decoder has one more."""
    head_width: int = 64
    """Channels of an attention head."""
    context_width: int = 1024
    """Size of the image embedding: that of CLIP ViT-H."""

    def __post_init__(self) -> None:
        """Refuse widths that diffusers' group norms cannot take."""
        if any(width % 32 for width in self.widths) or len(self.widths) < 2:
            raise ValueError(
                f"widths must be two or more multiples of 32 (group norm has 32 groups), got {self.widths}"
            )

    @property
    def streams(self) -> int:
        """How many times a view passes through the network."""
        return 2 if self.layout == "streams" else 1

    @property
    def channels(self) -> int:
        """Latent channels of a view: of its colours, then of its points if there are any."""
        return LATENT_CHANNELS * (1 if self.layout == "rgb" else 2)

    @property
    def decoders(self) -> int:
        """Two, as only the second expresses points in another view's frame; one for colours of views on their own."""
        return 1 if self.layout == "rgb" and not self.multi_view else 2

    @property
    def smallest_side(self) -> int:
        """Height and width of the latents must be multiples of this [latent pixels]."""
        return 2 ** (len(self.widths) - 1)


class TwoViewUNet(nn.Module):
    """Predicts v of the latents of all views from their noisy latents.

    Args:
        config: Its architecture.
        checkpoint_gradients: Compute activations again in the backward pass instead of keeping them.
    """

    def __init__(self, config: NetworkConfig, *, checkpoint_gradients: bool = False) -> None:
        super().__init__()
        self.config = config
        levels = len(config.widths)
        unet = UNetSpatioTemporalConditionModel(
            in_channels=2 * config.channels // config.streams,
            out_channels=config.channels // config.streams,
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * (levels - 1) + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * (levels - 1),
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            cross_attention_dim=config.context_width,
            num_attention_heads=tuple(max(1, width // config.head_width) for width in config.widths),
        )
        if checkpoint_gradients:
            unet.enable_gradient_checkpointing()
        self.conv_in, self.time_proj, self.time_embedding = unet.conv_in, unet.time_proj, unet.time_embedding
        self.down_blocks, self.mid_block = unet.down_blocks, unet.mid_block
        first = Decoder(unet.up_blocks, unet.conv_norm_out, unet.conv_out, checkpoint_gradients=checkpoint_gradients)
        self.decoders = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(config.decoders - 1))])
        stages = [width for width in reversed(config.widths) for _ in range(config.layers + 1)]
        self.cross_view = nn.ModuleList([CrossViewAttention(width) for width in stages] if config.multi_view else [])

    def forward(
        self,
        noisy: Float[Tensor, "b v t c h w"],
        noise_level: Float[Tensor, " b"],
        condition: Float[Tensor, "b v c h w"],
        context: Float[Tensor, "b v s d"],
    ) -> Float[Tensor, "b v t c h w"]:
        """The prediction, in the units of the network (see `edm`).

        Args:
            noisy: Scaled noisy latents; view 0 is the reference, and each further view attends to it alone, so
                that any number of them fits in one batch (paper, section A.7). Channels: colours, then points.
            noise_level: c_noise of each sample, the same for all of its views.
            condition: Latents of the observation, repeated for all frames.
            context: Image embedding that each view sees, for each of its streams.
        """
        return self.with_deep(noisy, noise_level, condition, context)[0]

    def with_deep(
        self,
        noisy: Float[Tensor, "b v t c h w"],
        noise_level: Float[Tensor, " b"],
        condition: Float[Tensor, "b v c h w"],
        context: Float[Tensor, "b v s d"],
        deep: Float[Tensor, "n f hh ww"] | None = None,
    ) -> tuple[Float[Tensor, "b v t c h w"], Float[Tensor, "n f hh ww"]]:
        """The prediction, and the deep features that it was made from: what enters the decoders' last blocks.

        Args:
            noisy: This and the next three as for `forward`.
            noise_level: As there.
            condition: As there.
            context: As there.
            deep: Those of an earlier call with similar inputs. Only the first block of the encoder and the last ones
                of the decoders are computed then (DeepCache, arXiv:2312.00858).
        """
        b, v, t, _, height, width = noisy.shape
        side = self.config.smallest_side
        if height % side or width % side:
            raise ValueError(
                f"latents of {height} x {width} do not halve {side.bit_length() - 1} times; use multiples of {side}"
            )
        s = self.config.streams
        x = rearrange(noisy, "b v t (s c) h w -> (s v b t) c h w", s=s)
        c = repeat(condition, "b v (s c) h w -> (s v b t) c h w", s=s, t=t)
        context = repeat(context, "b v s d -> (s v b t) 1 d", t=t)
        embedding = self.time_embedding(self.time_proj(noise_level).to(x.dtype))
        embedding = repeat(embedding, "b d -> (k b t) d", k=s * v, t=t)
        video = torch.zeros(s * v * b, t, dtype=x.dtype, device=x.device)  # diffusers' mark of "not a still image"

        x, skips = self._encode(torch.cat([x, c], dim=1), embedding, context, video, deep)
        second = (v - 1) * b * (self.config.decoders - 1)  # rows (s v b) of the second decoder, the last ones
        first = s * v * b - second
        entry = -1 if deep is not None else 0
        last = self.config.layers + 1  # stages of the last block
        reference, output = self.decoders[0](
            entry,
            x[: first * t],
            [skip[: first * t] for skip in skips],
            embedding[: first * t],
            context[: first * t],
            video[:first],
        )
        entered = [] if deep is not None else [reference[-last - 1]]
        if second:
            attention = [
                (layer, repeat(features[-b * t :], "n c h w -> (v n) c h w", v=v - 1))
                for layer, features in zip(self.cross_view[-len(reference) :], reference, strict=self.config.multi_view)
            ]
            features, other = self.decoders[1](
                entry,
                x[first * t :],
                [skip[first * t :] for skip in skips],
                embedding[first * t :],
                context[first * t :],
                video[first:],
                attention,
            )
            output = torch.cat([output, other])
            if deep is None:
                entered.append(features[-last - 1])
        output = rearrange(output, "(s v b t) c h w -> b v t (s c) h w", s=s, v=v, b=b)
        return output, torch.cat(entered) if deep is None else deep

    def _encode(
        self,
        x: Float[Tensor, "n c h w"],
        embedding: Float[Tensor, "n d"],
        context: Float[Tensor, "n 1 e"],
        video: Float[Tensor, "k t"],
        deep: Float[Tensor, "n f hh ww"] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Features that the decoders begin with, and those that they get beside them, first to last."""
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks if deep is None else self.down_blocks[:1]:
            attention = {"encoder_hidden_states": context} if hasattr(block, "attentions") else {}
            x, features = block(hidden_states=x, temb=embedding, image_only_indicator=video, **attention)
            skips.extend(features)
        if deep is not None:
            return deep, skips[:-1]  # the last one enters the next level only
        x = self.mid_block(hidden_states=x, temb=embedding, encoder_hidden_states=context, image_only_indicator=video)
        return x, skips


class Decoder(nn.Module):
    """The upward half of the UNet, run stage by stage, because others listen after every stage.

    Args:
        up_blocks: diffusers' blocks.
        conv_norm_out: The last norm.
        conv_out: The last convolution.
        checkpoint_gradients: Compute activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self, up_blocks: nn.ModuleList, conv_norm_out: nn.Module, conv_out: nn.Module, *, checkpoint_gradients: bool
    ) -> None:
        super().__init__()
        self.up_blocks, self.conv_norm_out, self.conv_out = up_blocks, conv_norm_out, conv_out
        self._checkpoint_gradients = checkpoint_gradients

    def forward(
        self,
        entry: int,
        x: Float[Tensor, "n c h w"],
        skips: list[Tensor],
        embedding: Float[Tensor, "n d"],
        context: Float[Tensor, "n 1 e"],
        video: Float[Tensor, "k t"],
        attention: list[tuple[nn.Module, Tensor]] | None = None,
    ) -> tuple[list[Tensor], Float[Tensor, "n o hh ww"]]:
        """Features after every stage, and the output.

        Args:
            entry: The first block that is run.
            x: Features that enter it.
            skips: Those of the encoder, first to last.
            embedding: Of the noise level.
            context: Image embedding.
            video: Zeros.
            attention: For each stage that is run, a layer that lets this decoder look at another one's features, and
                these.
        """
        features: list[Tensor] = []
        skips = list(skips)
        for block in self.up_blocks[entry:]:
            for i in range(len(block.resnets)):  # pyright: ignore[reportArgumentType]  a ModuleList
                arguments = (block, i, x, skips.pop(), embedding, context, video)
                if self._checkpoint_gradients and torch.is_grad_enabled():
                    x = checkpoint(_stage, *arguments, use_reentrant=False)
                else:
                    x = _stage(*arguments)
                if attention:
                    layer, other = attention[len(features)]
                    x = layer(x, other)
                features.append(x)
        return features, self.conv_out(nn.functional.silu(self.conv_norm_out(x)))


def _stage(
    block: Any,
    i: int,
    x: Float[Tensor, "n c h w"],
    skip: Float[Tensor, "n d h w"],
    embedding: Float[Tensor, "n e"],
    context: Float[Tensor, "n 1 f"],
    video: Float[Tensor, "k t"],
) -> Float[Tensor, "n o hh ww"]:
    """Residual block i of an up block, its attention, and after the last one the upsampling."""
    x = block.resnets[i](torch.cat([x, skip], dim=1), embedding, image_only_indicator=video)
    if hasattr(block, "attentions"):
        (x,) = block.attentions[i](x, encoder_hidden_states=context, image_only_indicator=video, return_dict=False)
    if i + 1 == len(block.resnets) and block.upsamplers is not None:
        x = block.upsamplers[0](x)
    return x


class CrossViewAttention(nn.Module):
    """Every pixel of one view's features looks at all pixels of the reference view's, of the same frame and stage.

    Its output begins at zero, so that the network begins as if it were not there.

    Args:
        width: Channels of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(query_dim=width, cross_attention_dim=width, heads=8, dim_head=64)
        for name, parameter in self.attention.named_parameters():
            if name.startswith("to_out."):
                nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "n c h w"], reference: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The features with what was found added."""
        found = self.attention(
            rearrange(x, "n c h w -> n (h w) c"),
            encoder_hidden_states=rearrange(reference, "n c h w -> n (h w) c"),
        )
        return x + rearrange(found, "n (h w) c -> n c h w", h=x.shape[2])
