"""Names of the released weights (those of `generative-models` and open_clip) as those of diffusers and transformers."""

import re
from collections.abc import Mapping

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


def network_name(key: str, layers: int) -> str:
    """Of a weight of the VideoUNet.

    Args:
        key: Theirs.
        layers: Residual blocks of a level in the encoder.

    Raises:
        ValueError: it has none of that name.
    """
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


def vae_name(key: str, levels: int) -> str:
    """Of a weight of a VAE.

    Args:
        key: Theirs.
        levels: Of the VAE.

    Raises:
        ValueError: it has none of that name.
    """
    if match := re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.block\.(\d+)\.(.+)", key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        return f"{match[1]}.{match[2]}_blocks.{level}.resnets.{match[4]}.{_vae_resnet(match[1], match[5])}"
    if match := re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.(down|up)sample\.conv\.(.+)", key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        return f"{match[1]}.{match[2]}_blocks.{level}.{match[4]}samplers.0.conv.{match[5]}"
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.block_([12])\.(.+)", key):
        return f"{match[1]}.mid_block.resnets.{int(match[2]) - 1}.{_vae_resnet(match[1], match[3])}"
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.attn_1\.(.+)", key):
        layers = {f"{theirs}.": f"{ours}." for theirs, ours in _VAE_ATTENTION.items()}
        return f"{match[1]}.mid_block.attentions.0.{_prefixed(match[2], layers)}"
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


def clip_name(key: str) -> str:
    """Of a weight of open_clip's image encoder.

    Raises:
        ValueError: it has none of that name.
    """
    if match := re.fullmatch(r"visual\.transformer\.resblocks\.(\d+)\.(.+)", key):
        layers = {f"{theirs}.": f"{ours}." for theirs, ours in _CLIP_LAYER.items()}
        return f"vision_model.encoder.layers.{match[1]}.{_prefixed(match[2], layers)}"
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
