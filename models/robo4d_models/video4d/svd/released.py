"""Weights as the paper's authors released them, under the names of Stability AI's `generative-models` (SGM), as ours.

What must be known of theirs:

- `copy.copy` made the second network, which shares all submodules with the first; so both "decoders" are one. A
  checkpoint has every weight twice. We keep two decoders, which begin alike and part in training.
- Condition latents are not scaled by 0.18215, target latents are.
- Condition encoders have a last layer (`quant_conv`) that the fine-tuned VAE lacks: whatever it was in their training
  is in the checkpoint of the whole model, and nowhere else. Target encoders have none.
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
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_CLIP_HEAD_WIDTH = 80
"""Of ViT-H: 1280 channels, 16 heads."""


def model_from(state: State, *, rgb_vae: State | None = None, points_vae: State | None = None) -> SvdModel:
    """The model with the weights of a checkpoint.

    Args:
        state: Of their whole model.
        rgb_vae: Of their fine-tuned VAE of colours, instead of the one in `state`.
        points_vae: The same for points.

    Raises:
        ValueError: there are weights that we cannot place, or some are missing.
    """
    groups = _grouped(state)
    for name, given in (("rgb", rgb_vae), ("points", points_vae)):
        if given is not None:
            groups[name] = _needed(name, given)
            groups[f"{name}_condition"] = {
                key: value for key, value in groups[f"{name}_condition"].items() if key.startswith("quant_conv.")
            }
    if missing := [name for name in ("first", "rgb", "points", "clip") if not groups[name]]:
        raise ValueError(
            f"the checkpoint lacks {', '.join(missing)}; give that of the whole model (its names begin with "
            f"{', '.join(_GROUPS)}), and files of the VAEs where it has none"
        )
    network = network_from(groups["first"], groups["second"])
    config = SvdConfig(network=network.config, context="released", points=PointCoding(missing="origin"))
    return SvdModel(
        config,
        network=network,
        rgb=coder_from(groups["rgb"], groups["rgb_condition"]),
        points=coder_from(groups["points"], groups["points_condition"]),
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
            name = _network_name(key, config.layers)
            if name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")):
                weights[f"decoders.{decoder}.{name}"] = value.clone()  # no longer one memory for both
            elif name.startswith("cross_view.") or decoder == 0:
                weights[name] = value  # only the second network's attention is ever used, and comes last
            elif not torch.equal(weights[name], value):
                raise ValueError(f"the two networks have encoders of their own ({key} differs): not supported")
    with torch.device("meta"):
        network = TwoViewUNet(config)
    return _load(network, weights)


def coder_from(vae: State, condition: State) -> LatentCoder:
    """A VAE from the weights of a fine-tuned one and those of the encoder of its conditions, if known.

    Raises:
        ValueError: the two encoders differ in more than their last layer.
    """
    matches = [re.match(r"encoder\.down\.(\d+)\.block\.(\d+)\.", key) for key in vae]
    blocks = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    if not blocks:
        raise ValueError("these are no weights of a VAE: none begins with encoder.down")
    layers = 1 + max(block for _, block in blocks)
    widths = tuple(len(vae[f"encoder.down.{level}.block.0.conv1.weight"]) for level, block in blocks if block == 0)
    weights: dict[str, Tensor] = {}
    for key, value in vae.items():
        is_projection = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", key)
        weights["vae." + _vae_name(key, len(widths))] = value[:, :, 0, 0] if is_projection else value
    for key, value in condition.items():
        if key.startswith("encoder.") and not torch.equal(value, vae[key]):
            raise ValueError(f"conditions and targets have encoders of their own ({key} differs): not supported")
    identity = torch.eye(2 * LATENT_CHANNELS)[:, :, None, None], torch.zeros(2 * LATENT_CHANNELS)
    for part, value in zip(("weight", "bias"), identity, strict=True):
        weights[f"vae.quant_conv.{part}"] = value
        weights[f"condition_quant.{part}"] = condition.get(f"quant_conv.{part}", value)
    with torch.device("meta"):
        coder = LatentCoder(widths, layers)
    return _load(coder, weights)


def clip_from(state: State) -> CLIPVisionModelWithProjection:
    """CLIP's image encoder from the weights of open_clip's."""
    width, _, _, patch = state["visual.conv1.weight"].shape
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(state["visual.transformer.resblocks.0.mlp.c_fc.weight"]),
        num_hidden_layers=1 + max(int(m[1]) for key in state if (m := re.search(r"resblocks\.(\d+)", key))),
        num_attention_heads=max(1, width // _CLIP_HEAD_WIDTH),
        patch_size=patch,
        image_size=patch * round((len(state["visual.positional_embedding"]) - 1) ** 0.5),
        projection_dim=state["visual.proj"].shape[1],
        hidden_act="gelu",
    )
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := re.fullmatch(r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", key):
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                weights[f"vision_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}"] = chunk.clone()
        else:
            weights[_clip_name(key)] = value.T if key == "visual.proj" else value
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
    period = next(i for i in range(1, blocks) if f"input_blocks.{i}.0.op.weight" in state)  # blocks of a level
    widths = tuple(len(state[f"input_blocks.{i}.0.out_layers.3.weight"]) for i in range(1, blocks, period))
    context_width = state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    return NetworkConfig(layout="streams", widths=widths, layers=period - 1, context_width=context_width)


def _network_name(key: str, layers: int) -> str:
    if match := re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)", key):
        index, part, rest = int(match[2]), int(match[3]), match[4]
        if match[1] == "input" and index == 0:
            return f"conv_in.{rest}"
        level, i = divmod(index - (match[1] == "input"), layers + 1)
        block = f"{'down' if match[1] == 'input' else 'up'}_blocks.{level}"
        if rest.startswith("op."):
            return f"{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
        if rest.startswith("conv."):
            return f"{block}.upsamplers.0.{rest}"
        return f"{block}.attentions.{i}.{_attention(rest)}" if part else f"{block}.resnets.{i}.{_resnet(rest)}"
    if match := re.fullmatch(r"middle_block\.([012])\.(.+)", key):
        part, rest = int(match[1]), match[2]
        if part == 1:
            return f"mid_block.attentions.0.{_attention(rest)}"
        return f"mid_block.resnets.{part // 2}.{_resnet(rest)}"
    if match := re.fullmatch(r"attn_layers_decoder\.(\d+)\.(.+)", key):
        return f"cross_view.{match[1]}.attention.{match[2]}"
    renamed = {"time_embed.0.": "time_embedding.linear_1.", "time_embed.2.": "time_embedding.linear_2."}
    return _prefixed(key, renamed | {"out.0.": "conv_norm_out.", "out.2.": "conv_out."})


def _resnet(rest: str) -> str:
    if rest.startswith("time_mixer."):
        return rest
    layers = {f"{theirs}.": f"{ours}." for theirs, ours in _RESNET.items()}
    if rest.startswith("time_stack."):
        return "temporal_res_block." + _prefixed(rest.removeprefix("time_stack."), layers)
    return "spatial_res_block." + _prefixed(rest, layers)


def _attention(rest: str) -> str:
    renamed = {"time_pos_embed.0.": "time_pos_embed.linear_1.", "time_pos_embed.2.": "time_pos_embed.linear_2."}
    kept = {name: name for name in ("norm.", "proj_in.", "proj_out.", "transformer_blocks.", "time_mixer.")}
    return _prefixed(rest, renamed | kept | {"time_stack.": "temporal_transformer_blocks."})


def _vae_name(key: str, levels: int) -> str:
    if match := re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.block\.(\d+)\.(.+)", key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        return f"{match[1]}.{match[2]}_blocks.{level}.resnets.{match[4]}.{_vae_resnet(match[1], match[5])}"
    if match := re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.(down|up)sample\.conv\.(.+)", key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        return f"{match[1]}.{match[2]}_blocks.{level}.{match[4]}samplers.0.conv.{match[5]}"
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.block_([12])\.(.+)", key):
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}.{_vae_resnet(match[1], match[3])}"
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.attn_1\.(\w+)\.(.+)", key):
        return f"{match[1]}.mid_block.attentions.0.{_VAE_ATTENTION[match[2]]}.{match[3]}"
    kept = {f"{half}.{name}.": f"{half}.{name}." for half in ("encoder", "decoder") for name in ("conv_in", "conv_out")}
    renamed = {f"{half}.norm_out.": f"{half}.conv_norm_out." for half in ("encoder", "decoder")}
    return _prefixed(key, {"decoder.conv_out.time_mix_conv.": "decoder.time_conv_out."} | kept | renamed)


def _vae_resnet(half: str, rest: str) -> str:
    if rest.startswith("time_stack."):
        return _resnet(rest)
    if rest == "mix_factor":
        return "time_mixer.mix_factor"
    rest = rest.replace("nin_shortcut.", "conv_shortcut.")
    return f"spatial_res_block.{rest}" if half == "decoder" else rest


def _clip_name(key: str) -> str:
    if match := re.fullmatch(r"visual\.transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", key):
        return f"vision_model.encoder.layers.{match[1]}.{_CLIP_LAYER[match[2]]}.{match[3]}"
    return _prefixed(
        key,
        {
            "visual.class_embedding": "vision_model.embeddings.class_embedding",
            "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
            "visual.conv1.": "vision_model.embeddings.patch_embedding.",
            "visual.ln_pre.": "vision_model.pre_layrnorm.",
            "visual.ln_post.": "vision_model.post_layernorm.",
            "visual.proj": "visual_projection.weight",
        },
    )


def _prefixed(key: str, renamed: Mapping[str, str]) -> str:
    for theirs, ours in renamed.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    raise ValueError(f"a weight is not of the released model: {key}")


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
