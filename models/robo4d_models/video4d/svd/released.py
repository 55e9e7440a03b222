"""Weights as the paper's authors released them, under the names of Stability AI's `generative-models` (SGM), as ours.

What must be known of theirs:

- `copy.copy` made the second network, which shares all submodules with the first; so both "decoders" are one. A
  checkpoint has every weight twice. We keep two decoders, which begin alike and part in training.
- Condition latents are not scaled by 0.18215, target latents are.
- Condition encoders have a last layer (`quant_conv`) that the fine-tuned VAE lacks: whatever it was in their training
  is in the checkpoint of the whole model, and nowhere else. Target encoders have none. Apart from it the two encoders
  of a kind of images are one, which we check.
- Embeddings of the images are mixed up between the streams: `SvdConfig.context`.
- Pixels without depth are points at the camera: `PointCoding.missing`.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from robo4d_models.video4d.svd.conditioning import PointCoding
from robo4d_models.video4d.svd.model import SvdConfig, SvdModel, clip_with
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig, TwoViewUNet
from robo4d_models.video4d.svd.released_names import clip_name, network_name, vae_name
from robo4d_models.video4d.svd.vae import LatentCoder

State = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)

_GROUPS = {
    "model.diffusion_model.": "first",
    "model.diffusion_model_2.": "second",
    "first_stage_pointmap_model.": "points",
    "first_stage_color_model.": "rgb",
    "conditioner.embedders.0.open_clip.model.": "clip",
    "conditioner.embedders.1.encoder.": "points_condition",
    "conditioner.embedders.2.encoder.": "rgb_condition",
}
_NOT_NEEDED = {
    "points": ("loss.",),  # weights of the training loss
    "rgb": ("loss.",),
    "points_condition": ("loss.", "decoder.", "post_quant_conv."),  # a condition is never decoded
    "rgb_condition": ("loss.", "decoder.", "post_quant_conv."),
    # the half of CLIP that reads text
    "clip": ("token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale", "attn_mask"),
}
_CLIP_HEAD_WIDTH = 80
"""Of ViT-H: 1280 channels, 16 heads."""


def model_from(state: State, *, rgb_vae: State | None = None, points_vae: State | None = None) -> SvdModel:
    """The model with the weights of a checkpoint.

    Args:
        state: Of their whole model.
        rgb_vae: Of their fine-tuned VAE of colours, instead of the one in `state`, whose encoder of conditions
            must have the same weights.
        points_vae: The same for points.

    Raises:
        ValueError: there are weights that we cannot place, or some are missing, or conditions and targets have
            encoders of their own.
    """
    groups = _grouped(state)
    for name, given in (("rgb", rgb_vae), ("points", points_vae)):
        if given is not None:
            groups[name] = _needed(name, given)
    if missing := [name for name in groups if name != "second" and not groups[name]]:
        raise ValueError(
            f"the checkpoint lacks {', '.join(missing)}; give that of the whole model (its names begin with "
            f"{', '.join(_GROUPS)}), and files of the VAEs where it has none"
        )
    network = network_from(groups["first"], groups["second"])
    config = SvdConfig(network=network.config, context="released", points=PointCoding(missing="origin"))
    return SvdModel(
        config,
        network=network,
        rgb=coder_from(groups["rgb"], groups["rgb_condition"], "rgb"),
        points=coder_from(groups["points"], groups["points_condition"], "points"),
        clip=clip_from(groups["clip"]),
    ).eval()


def network_from(first: State, second: State) -> TwoViewUNet:
    """The network from the weights of the two that share them.

    Raises:
        ValueError: their encoders differ, so that they are two networks rather than one with two decoders.
    """
    config = _network_config(first)
    weights: dict[str, Tensor] = {}
    for decoder, state in enumerate((first, second or first)):
        for key, value in state.items():
            name = network_name(key, config.layers)
            if name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")):
                weights[f"decoders.{decoder}.{name}"] = value.clone()  # no longer one memory for both
            elif name.startswith("cross_view.") or decoder == 0:
                weights[name] = value  # only the second network's attention is ever used, and comes last
            elif name not in weights or not torch.equal(weights[name], value):
                raise ValueError(f"the two networks have encoders of their own ({key} differs): not supported")
    with torch.device("meta"):
        network = TwoViewUNet(config)
    return _load(network, weights)


def coder_from(vae: State, condition: State, images: str) -> LatentCoder:
    """A VAE from the weights of a fine-tuned one and those of the encoder of its conditions.

    Args:
        vae: Encoder and decoder.
        condition: Encoder and its last layer.
        images: `rgb` or `points`: what both encode, for messages.

    Raises:
        ValueError: the two encoders differ in more than their last layer, or a weight is missing or unknown.
    """
    matches = [re.match(r"encoder\.down\.(\d+)\.block\.(\d+)\.", key) for key in vae]
    blocks = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    if not blocks:
        raise ValueError("these are no weights of a VAE: none begins with encoder.down")
    layers = 1 + max(block for _, block in blocks)
    widths = tuple(
        len(_found(vae, f"encoder.down.{level}.block.0.conv1.weight")) for level, block in blocks if block == 0
    )
    weights: dict[str, Tensor] = {}
    for key, value in vae.items():
        is_projection = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", key)
        weights["vae." + vae_name(key, len(widths))] = value[:, :, 0, 0] if is_projection else value
    _check_encoders(vae, condition, images)
    identity = torch.eye(2 * LATENT_CHANNELS)[:, :, None, None], torch.zeros(2 * LATENT_CHANNELS)
    for part, value in zip(("weight", "bias"), identity, strict=True):
        weights[f"vae.quant_conv.{part}"] = value
        weights[f"condition_quant.{part}"] = _found(condition, f"quant_conv.{part}")
    with torch.device("meta"):
        coder = LatentCoder(widths, layers)
    return _load(coder, weights)


def _check_encoders(vae: State, condition: State, images: str) -> None:
    """Whether conditions and targets have one encoder, and all weights of conditions are of it or of its last layer."""
    last = {"quant_conv.weight", "quant_conv.bias"}
    wanted = {key for key in vae if key.startswith("encoder.")} | last
    unknown, missing = sorted(condition.keys() - wanted), sorted(wanted - condition.keys())
    if unknown or missing:
        raise ValueError(
            f"the encoder of conditions ({images}) is not that of the VAE with a quant_conv: {len(missing)} weights "
            f"are missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}"
        )
    if differing := [key for key in sorted(wanted - last) if not torch.equal(condition[key], vae[key])]:
        raise ValueError(
            f"conditions and targets ({images}) have encoders of their own ({len(differing)} weights differ, first "
            f"{differing[0]}): not supported. A VAE given by --{images.replace('_', '-')}-vae must be the one that the "
            "network was trained with: give that one, or none if the checkpoint has it"
        )


def clip_from(state: State) -> CLIPVisionModelWithProjection:
    """CLIP's image encoder from the weights of open_clip's."""
    width, _, _, patch = _found(state, "visual.conv1.weight").shape
    hidden = len(_found(state, "visual.transformer.resblocks.0.mlp.c_fc.weight"))
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=1 + max(int(m[1]) for key in state if (m := re.search(r"resblocks\.(\d+)", key))),
        num_attention_heads=max(1, width // _CLIP_HEAD_WIDTH),
        patch_size=patch,
        image_size=patch * round((len(_found(state, "visual.positional_embedding")) - 1) ** 0.5),
        projection_dim=_found(state, "visual.proj").shape[1],
        hidden_act="gelu",
    )
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := re.fullmatch(r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", key):
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                weights[f"vision_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}"] = chunk.clone()
        else:
            weights[clip_name(key)] = value.T if key == "visual.proj" else value
    return clip_with(weights, config)


def _grouped(state: State) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in _GROUPS.values()}
    unknown: list[str] = []
    for key, value in state.items():
        prefix = next((prefix for prefix in _GROUPS if key.startswith(prefix)), None)
        if prefix is None:
            unknown.append(key)
        else:
            groups[_GROUPS[prefix]][key.removeprefix(prefix)] = value
    if unknown:
        raise ValueError(f"{len(unknown)} weights are not of the released model: {', '.join(unknown[:5])} ...")
    return {name: _needed(name, group) for name, group in groups.items()}


def _needed(group: str, state: State) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(_NOT_NEEDED.get(group, ()))}


def _network_config(state: State) -> NetworkConfig:
    """Sizes, read off the shapes of the weights."""
    if "input_blocks.0.0.weight" not in state:
        raise ValueError("these are no weights of a VideoUNet: input_blocks.0.0.weight is missing")
    blocks = 1 + max(int(m[1]) for key in state if (m := re.match(r"input_blocks\.(\d+)\.", key)))
    period = next((i for i in range(1, blocks) if f"input_blocks.{i}.0.op.weight" in state), 0)  # blocks of a level
    if not period:
        raise ValueError(
            "these are no weights of a VideoUNet: none of its input_blocks makes images smaller (op.weight)"
        )
    widths = tuple(len(_found(state, f"input_blocks.{i}.0.out_layers.3.weight")) for i in range(1, blocks, period))
    context_width = _found(state, "middle_block.1.transformer_blocks.0.attn2.to_k.weight").shape[1]
    return NetworkConfig(layout="streams", widths=widths, layers=period - 1, context_width=context_width)


def _found(state: State, key: str) -> Tensor:
    if key not in state:
        raise ValueError(f"the checkpoint is not of the released model: {key} is missing")
    return state[key]


def _load(module: Module, weights: State) -> Module:
    """A module on the meta device with weights, every one of which must have its place and its shape."""
    wanted = module.state_dict()
    missing, unknown = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    wrong = {name for name in wanted.keys() & weights.keys() if wanted[name].shape != weights[name].shape}
    if missing or unknown or wrong:
        raise ValueError(
            f"the checkpoint is not of the released model: {len(missing)} weights are missing {sorted(missing)[:3]}, "
            f"{len(unknown)} unknown {sorted(unknown)[:3]}, {len(wrong)} of another shape {sorted(wrong)[:3]}"
        )
    module.load_state_dict(weights, assign=True)
    return module
