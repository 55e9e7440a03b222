"""`robo4d convert-checkpoint`: weights of others as a folder of the svd preset."""

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from robo4d_models.video4d.svd.inflate import model_from_diffusers
from robo4d_models.video4d.svd.model import SvdConfig
from robo4d_models.video4d.svd.network import Layout, NetworkConfig
from robo4d_models.video4d.svd.released import model_from


def convert_checkpoint(
    *,
    source: Path,
    out: Path,
    layout: Layout = "joint",
    multi_view: bool = True,
    height: int = 256,
    width: int = 320,
    rgb_vae: Path | None = None,
    points_vae: Path | None = None,
) -> None:
    """Make a folder of weights for `robo4d train --preset svd` or for generating videos.

    Args:
        source: A folder of Stable Video Diffusion as diffusers has it, to begin training from; or a file (.ckpt or
            .safetensors) of the whole model as the paper's authors released it, to use or to train on.
        out: The folder to write.
        layout: Of the network that is made of Stable Video Diffusion; released weights have `streams`.
        multi_view: Whether it gets attention between views.
        height: Of the images [px].
        width: Of the images [px].
        rgb_vae: With released weights: a file of the fine-tuned VAE of colours, if it is not in the source. Its encoder
            must be the source's encoder of conditions.
        points_vae: The same for points.
    """
    console = Console()
    if source.is_dir():
        network = NetworkConfig(layout=layout, multi_view=multi_view)
        model = model_from_diffusers(source, SvdConfig(network=network, height=height, width=width))
        console.print("grown from Stable Video Diffusion; it must be fine-tuned before it is of use")
    else:
        vaes = {"rgb_vae": rgb_vae, "points_vae": points_vae}
        states = {name: _read(path) for name, path in vaes.items() if path is not None}
        model = model_from(_read(source), **states)
        model.config = replace(model.config, height=height, width=width)
        first, second = (model.network.decoders[i].state_dict() for i in range(2))
        shared = all(torch.equal(value, second[name]) for name, value in first.items())
        console.print(
            "the two decoders have the same weights, as their code shares them; fine-tuning parts them"
            if shared
            else "the two decoders have weights of their own"
        )
        for name, images in (("rgb_vae", "colours"), ("points_vae", "points")):
            console.print(
                f"VAE of {images}: that of {vaes[name] or source}; last layer of conditions: that of {source}"
            )
    model.save(out)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    console.print(f"network of {count / 1e9:.2f} billion parameters, layout {model.config.network.layout}: {out}")


def _read(path: Path) -> dict[str, Tensor]:
    """Weights of a file, without running any code that it may hold."""
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # unpickling fails in many ways
        raise ValueError(
            f"{path} holds more than weights, and reading that could run any code: {error}. Where you trust it, keep "
            'only its weights: torch.save({"state_dict": torch.load(PATH, weights_only=False)["state_dict"]}, NEW_PATH)'
        ) from error
    return content.get("state_dict", content)
