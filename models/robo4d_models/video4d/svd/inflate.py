"""Stable Video Diffusion, as a folder of diffusers, grown into the two-view model: what training begins from.

It begins as Stable Video Diffusion for the colours of every view: inputs that it did not have are ignored at first
(their weights are zero), outputs that it did not have are copies, and so is the second decoder. Its conditioning on
frame rate and motion is left out.
"""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from robo4d_models.video4d.svd.model import SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig, TwoViewUNet
from robo4d_models.video4d.svd.vae import LatentCoder


def model_from_diffusers(folder: Path, config: SvdConfig) -> SvdModel:
    """The two-view model, not yet trained as such.

    Args:
        folder: With `unet`, `vae` and `image_encoder`, as `StableVideoDiffusionPipeline.save_pretrained` writes it.
        config: What to make of it; sizes of the network are taken from the folder.

    Raises:
        ValueError: a part is missing.
    """
    for part in ("unet", "vae", "image_encoder"):
        if not (folder / part / "config.json").is_file():
            raise ValueError(
                f"{folder} has no {part}/config.json: give a folder of Stable Video Diffusion as diffusers has it, "
                "such as stabilityai/stable-video-diffusion-img2vid"
            )

    def variant(part: str) -> str | None:
        files = [path.name for path in (folder / part).glob("*.safetensors")]
        return "fp16" if files and all(".fp16." in name for name in files) else None

    unet = UNetSpatioTemporalConditionModel.from_pretrained(folder / "unet", variant=variant("unet"))
    vae = AutoencoderKLTemporalDecoder.from_pretrained(folder / "vae", variant=variant("vae"))
    clip = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", variant=variant("image_encoder"))
    sizes = replace(
        config.network,
        widths=tuple(unet.config["block_out_channels"]),
        layers=unet.config["layers_per_block"],
        context_width=unet.config["cross_attention_dim"],
        head_width=unet.config["block_out_channels"][0] // _first(unet.config["num_attention_heads"]),
    )
    network = TwoViewUNet(sizes)
    weights = inflated(unet.state_dict(), sizes)
    missing, unknown = network.load_state_dict(weights, strict=False)
    if unknown or any(not name.startswith("cross_view.") for name in missing):
        raise ValueError(f"{folder}/unet is not of Stable Video Diffusion: missing {missing}, unknown {unknown}")

    def coder() -> LatentCoder:
        made = LatentCoder(tuple(vae.config["block_out_channels"]), vae.config["layers_per_block"])
        made.vae.load_state_dict(vae.state_dict())
        made.condition_quant.load_state_dict(vae.quant_conv.state_dict())
        return made

    return SvdModel(
        replace(config, network=sizes),
        network=network,
        rgb=coder(),
        points=None if sizes.layout == "rgb" else coder(),
        clip=clip,
    ).eval()


def inflated(unet: dict[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """Weights of the network, but for the attention between views, from those of diffusers' UNet."""
    weights: dict[str, Tensor] = {}
    for name, value in unet.items():
        if name.startswith("add_embedding."):
            continue
        if config.layout == "joint" and name == "conv_in.weight":
            noisy, condition = value.split(LATENT_CHANNELS, dim=1)
            value = torch.cat([noisy, torch.zeros_like(noisy), condition, torch.zeros_like(condition)], dim=1)
        if config.layout == "joint" and name.startswith("conv_out."):
            value = torch.cat([value, value])
        if name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")):
            weights |= {f"decoders.{i}.{name}": value for i in range(config.decoders)}
        else:
            weights[name] = value
    return weights


def _first(heads: int | tuple[int, ...] | list[int]) -> int:
    return heads if isinstance(heads, int) else heads[0]
