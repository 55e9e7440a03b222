"""The svd preset so small that it runs in a test: two narrow levels in the network, images of 16 x 32 pixels."""

from dataclasses import fields, replace

import numpy as np
import torch
from robo4d_models.video4d.svd.model import SvdConfig, SvdModel
from robo4d_models.video4d.svd.network import NetworkConfig, TwoViewUNet

from robo4d import RgbdFrame
from robo4d.episodes import Episode, Motion
from robo4d.geometry import Camera, Intrinsics, se3
from robo4d.sim.labels import Label

SMALL_CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
    "image_size": 28,
    "projection_dim": 16,
    "hidden_act": "gelu",
}


def randomize(module):
    """Random weights everywhere, also where training begins at zero."""
    for parameter in module.parameters():
        spread = 0.5 / max(1.0, parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 2.0)
        torch.nn.init.normal_(parameter, std=spread)
    return module.eval().requires_grad_(False)


def small_config(**changes):
    sizes = {"widths": (32, 64), "layers": 1, "head_width": 32, "context_width": 16}
    return NetworkConfig(**(sizes | changes))


def small_network(seed=0, **changes):
    torch.manual_seed(seed)
    return randomize(TwoViewUNet(small_config(**changes)))


def small_model(seed=0, network=None, **changes):
    torch.manual_seed(seed)
    sizes = {"height": 16, "width": 32, "frames": 2} | changes
    config = SvdConfig(network=small_config(**(network or {})), **sizes)
    return randomize(SvdModel.untrained(config, vae_widths=(32, 32), vae_layers=1, clip=SMALL_CLIP))


def showing_everywhere(model, point):
    """The model with a decoder of points that answers everything with one point [m]."""
    decoder = model.points.vae.decoder
    for layer in (decoder.conv_out, decoder.time_conv_out):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    decoder.conv_out.bias.data = model.config.points.encode(
        torch.tensor(point).reshape(3, 1, 1), torch.ones(1, 1, dtype=torch.bool)
    ).flatten()
    now = decoder.time_conv_out.weight.shape[2] // 2
    decoder.time_conv_out.weight.data[range(3), range(3), now] = 1.0
    return model


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


def wall(camera="camera_n", seed=0, distance_m=1.0, stamp_ns=0):
    """A coloured wall in front of a camera of 32 x 48 px, with a column of pixels that have no depth."""
    k = Intrinsics.from_fovy(45.0, width=48, height=32)
    depth = np.full((32, 48), distance_m, np.float32)
    depth[:, :6] = 0
    rgb = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
    return RgbdFrame(rgb=rgb, depth=depth, intrinsics=k, camera=camera, stamp_ns=stamp_ns)


def wall_episode(seed, length=12, views=3):
    """An episode of a wall at z = 1.5 m in the world, seen by cameras that differ in place only, and what they see.

    The upper left corner of every image shows a hand; it and all colours are random.
    """
    rng = np.random.default_rng(seed)
    k = Intrinsics.from_fovy(45.0, width=48, height=32)
    places = [se3.translation(0.1 * i, 0.0, 0.2 * i) for i in range(views)]
    motion = Motion.example()
    repeats = {f.name: np.repeat(getattr(motion, f.name)[:1], length, axis=0) for f in fields(Motion)}
    repeats["stamps_ns"] = 100_000_000 * np.arange(length)
    repeats["T_world_tcp"] = repeats["T_world_tcp"].copy()
    repeats["T_world_tcp"][:, :, 0, 3] = 0.05 * np.arange(length)[:, None]
    example = Episode.example()
    episode = replace(
        example,
        info=replace(example.info, seed=seed, size=(32, 48)),
        motion=Motion(**repeats),
        cameras=tuple(Camera(intrinsics=k, T_world_camera=place) for place in places),
        images=None,
    )
    labels = np.zeros((length, 32, 48), np.uint8)
    labels[:, :8, :12] = Label.LEFT_HAND
    images = [
        (
            rng.integers(0, 256, (length, 32, 48, 3), np.uint8),
            np.full((length, 32, 48), 1.5 - place[2, 3], np.float32),
            labels,
        )
        for place in places
    ]
    return episode, images
