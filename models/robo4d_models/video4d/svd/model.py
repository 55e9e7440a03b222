"""All parts of the svd preset and their weights: network, two VAEs, CLIP's image encoder.

A folder of weights holds `network`, `rgb_vae`, `points_vae` and `clip` (.safetensors), each with its configuration,
and, once they are distilled, `rgb_decoder` and `points_decoder`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from robo4d_models.video4d import checkpoints
from robo4d_models.video4d.svd.conditioning import PointCoding, clip_input
from robo4d_models.video4d.svd.edm import Condition
from robo4d_models.video4d.svd.network import LATENT_CHANNELS, NetworkConfig, TwoViewUNet
from robo4d_models.video4d.svd.small_decoder import SmallDecoder
from robo4d_models.video4d.svd.vae import LatentCoder

CLIP_VIT_H: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
"""The image encoder of Stable Video Diffusion: laion/CLIP-ViT-H-14-laion2B-s32B-b79K."""

PARTS = ("network", "rgb_vae", "points_vae", "clip", "rgb_decoder", "points_decoder")
"""Files of a folder of weights; without a network that knows points, and without small decoders, some are missing."""


@dataclass(frozen=True, kw_only=True)
class SvdConfig:
    """The model apart from its weights; it is stored with those of the network."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    height: int = 256
    """Of the images [px]; with width, multiples of 64 for the full network."""
    width: int = 320
    frames: int = 10
    """Predicted frames (paper, section A.3)."""
    period_s: float = 0.5
    """Time between them [s]: 2 Hz, as in the released configuration."""
    points: PointCoding = field(default_factory=PointCoding)
    condition_scale: float = 1.0
    """Factor on the latents of the observation. Stable Video Diffusion, and the released weights, have 1, not the
    scale of the latents that are diffused."""
    context: Literal["own_view", "released"] = "own_view"
    """Whose image embedding a view sees. `released`: by a mix-up of indices in the released code, colours of all
    views see the second view's, points of all views the reference's; weights trained so want it so."""

    def to_json(self) -> dict[str, Any]:
        """Values for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SvdConfig":
        """The inverse of `to_json`.

        Raises:
            ValueError: they are of another preset.
        """
        if "network" not in values or "points" not in values:
            raise ValueError(f"these weights are not of the svd preset: their configuration is {values}")
        network = values["network"] | {"widths": tuple(values["network"]["widths"])}
        parts: dict[str, Any] = {"network": NetworkConfig(**network), "points": PointCoding(**values["points"])}
        return cls(**(values | parts))


class SvdModel(nn.Module):
    """Network, VAEs and image encoder.

    Args:
        config: What they are.
        network: Predicts latents.
        rgb: Latents of colours.
        points: Latents of points; None where the network knows none.
        clip: Embeds the observation's colours.
        small_rgb: Distilled from the decoder of `rgb`, if there is one.
        small_points: Distilled from the decoder of `points`, if there is one.
    """

    def __init__(
        self,
        config: SvdConfig,
        *,
        network: TwoViewUNet,
        rgb: LatentCoder,
        points: LatentCoder | None,
        clip: CLIPVisionModelWithProjection,
        small_rgb: SmallDecoder | None = None,
        small_points: SmallDecoder | None = None,
    ) -> None:
        super().__init__()
        side = rgb.factor * config.network.smallest_side
        if config.height % side or config.width % side:
            raise ValueError(f"height and width must be multiples of {side}, got {config.height} x {config.width}")
        self.config, self.network, self.rgb, self.points, self.clip = config, network, rgb, points, clip
        self.small_rgb, self.small_points = small_rgb, small_points

    @classmethod
    def untrained(
        cls,
        config: SvdConfig,
        *,
        vae_widths: tuple[int, ...] = (128, 256, 512, 512),
        vae_layers: int = 2,
        clip: dict[str, Any] | None = None,
    ) -> "SvdModel":
        """Random weights, of the full size unless told otherwise: to measure speed, or to test."""
        return cls(
            config,
            network=TwoViewUNet(config.network),
            rgb=LatentCoder(vae_widths, vae_layers),
            points=None if config.network.layout == "rgb" else LatentCoder(vae_widths, vae_layers),
            clip=CLIPVisionModelWithProjection(CLIPVisionConfig(**(clip or CLIP_VIT_H))),
        ).eval()

    def condition(self, rgb: Float[Tensor, "b v 3 h w"], points: Float[Tensor, "b v 3 h w"]) -> Condition:
        """What the network is told of an observation, given as `conditioning.encode_frame` codes it."""
        b = len(rgb)
        flat_rgb = rearrange(rgb, "b v c h w -> (b v) c h w")
        return Condition(
            latents=self.condition_latents(rgb, points),
            context=self._context(rearrange(self.embed(flat_rgb), "(b v) d -> b v d", b=b)),
        )

    def condition_latents(
        self, rgb: Float[Tensor, "b v 3 h w"], points: Float[Tensor, "b v 3 h w"]
    ) -> Float[Tensor, "b v c hh ww"]:
        """Latents of the observation."""
        coded = [(self.rgb, rgb), *([(self.points, points)] if self.points else [])]
        parts = [coder.encode_condition(rearrange(images, "b v c h w -> (b v) c h w")) for coder, images in coded]
        latents = torch.cat([part.to(parts[0].dtype) for part in parts], dim=1)
        return self.config.condition_scale * rearrange(latents, "(b v) c h w -> b v c h w", b=len(rgb))

    def embed(self, rgb: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """CLIP's embedding of colours in [-1, 1]."""
        pixels = clip_input(rgb.float(), cast(int, self.clip.config.image_size)).to(self.clip.dtype)
        return self.clip(pixel_values=pixels).image_embeds

    def targets(
        self,
        rgb: Float[Tensor, "b v t 3 h w"],
        points: Float[Tensor, "b v t 3 h w"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b v t c hh ww"]:
        """Latents of a true video, points coded in the frame of the reference view."""
        b, v, t = rgb.shape[:3]
        coded = [(self.rgb, rgb), *([(self.points, points)] if self.points else [])]
        parts = [
            coder.encode_target(rearrange(images, "b v t c h w -> (b v t) c h w"), generator) for coder, images in coded
        ]
        return rearrange(torch.cat(parts, dim=1), "(b v t) c h w -> b v t c h w", b=b, v=v, t=t)

    def decode(
        self, latents: Float[Tensor, "b v t c hh ww"], *, small: bool = False
    ) -> tuple[Float[Tensor, "b v t 3 h w"], Float[Tensor, "b v t 3 h w"] | None]:
        """Colours and coded points, about in [-1, 1], one video at a time to save memory.

        Args:
            latents: As the network makes them.
            small: By the small decoders.

        Raises:
            ValueError: there are none.
        """
        b = len(latents)
        flat = rearrange(latents, "b v t c h w -> (b v) t c h w")
        halves = flat.split(LATENT_CHANNELS, dim=2)
        images = [
            rearrange(torch.cat([decoder.decode(video[None]).float() for video in half]), "(b v) ... -> b v ...", b=b)
            for decoder, half in zip(self.decoders(small=small), halves, strict=True)
        ]
        return images[0], images[1] if len(images) > 1 else None

    def decoders(self, *, small: bool) -> list[LatentCoder | SmallDecoder]:
        """Of colours, and of points if there are any.

        Raises:
            ValueError: small ones are asked for and missing.
        """
        if not small:
            return [self.rgb, *([self.points] if self.points else [])]
        found = [decoder for decoder in (self.small_rgb, self.small_points) if decoder]
        if len(found) < (2 if self.points else 1):
            raise ValueError(
                "the weights hold no small decoders: distil them with `robo4d train --preset svd --part rgb_decoder` "
                "and `--part points_decoder`, or leave small_decoders off"
            )
        return [*found]

    def place_coders(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move all but the network to a device, to compute in a type; what codes points always computes in float32.

        bfloat16 has steps of 6 mm at 1.5 m, which the robot would feel.
        """
        for part in (self.rgb, self.clip, self.small_rgb):
            if part:
                part.to(device, dtype)  # pyright: ignore[reportArgumentType]  transformers annotates it with self
        for part in (self.points, self.small_points):
            if part:
                part.to(device, torch.float32)

    def _context(self, embedding: Float[Tensor, "b v d"]) -> Float[Tensor, "b v s d"]:
        """The embedding that each stream of each view sees."""
        v, s = embedding.shape[1], self.config.network.streams
        if self.config.context == "own_view":
            return repeat(embedding, "b v d -> b v s d", s=s)
        return repeat(embedding.flip(1)[:, -2:][:, :s], "b s d -> b v s d", v=v)

    def save(self, folder: Path) -> None:
        """Write the weights of all parts."""
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.save_weights(folder / "network.safetensors", self.network.state_dict(), self.config.to_json())
        for name, coder in (("rgb_vae", self.rgb), ("points_vae", self.points)):
            if coder:
                checkpoints.save_weights(folder / f"{name}.safetensors", coder.state_dict(), coder.sizes)
        for name, decoder in (("rgb_decoder", self.small_rgb), ("points_decoder", self.small_points)):
            if decoder:
                checkpoints.save_weights(folder / f"{name}.safetensors", decoder.state_dict(), decoder.sizes)
        sizes = {name: getattr(self.clip.config, name) for name in CLIP_VIT_H}
        checkpoints.save_weights(folder / "clip.safetensors", self.clip.state_dict(), sizes)

    @classmethod
    def load(cls, folder: Path) -> "SvdModel":
        """The model from a folder that `save`, `robo4d convert-checkpoint` or `robo4d train --preset svd` wrote.

        Raises:
            ValueError: weights are missing, or of another preset.
        """
        parts = {"network": _load_part(folder, "network")}
        config = SvdConfig.from_json(parts["network"][1])
        names = ("rgb_vae", "clip") if config.network.layout == "rgb" else ("rgb_vae", "points_vae", "clip")
        small = [name for name in ("rgb_decoder", "points_decoder") if (folder / f"{name}.safetensors").is_file()]
        parts |= {name: _load_part(folder, name) for name in (*names, *small)}
        with torch.device("meta"):
            network = TwoViewUNet(config.network)
            coders = {
                name: LatentCoder(tuple(sizes["widths"]), sizes["layers"])
                for name, (_, sizes) in parts.items()
                if name.endswith("_vae")
            }
            decoders = {name: SmallDecoder(**parts[name][1]) for name in small}
        for name, module in {"network": network, **coders, **decoders}.items():
            module.load_state_dict(parts[name][0], assign=True)
        weights, sizes = parts["clip"]
        return cls(
            config,
            network=network,
            rgb=coders["rgb_vae"],
            points=coders.get("points_vae"),
            clip=clip_with(weights, CLIPVisionConfig(**sizes)),
            small_rgb=decoders.get("rgb_decoder"),
            small_points=decoders.get("points_decoder"),
        ).eval()


def clip_with(weights: Mapping[str, Tensor], config: CLIPVisionConfig) -> CLIPVisionModelWithProjection:
    """CLIP's image encoder with weights."""
    with torch.device("meta"):
        clip = CLIPVisionModelWithProjection(config)
    clip.load_state_dict(weights, assign=True)
    # A buffer that is computed, not stored; on the meta device it has no values.
    embeddings: Any = clip.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    return clip


def _load_part(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"no weights of the svd preset at {path}: make the folder with `robo4d convert-checkpoint` from Stable "
            "Video Diffusion (diffusers) or from the checkpoints that the paper's authors released, then fine-tune it "
            "with `robo4d train --preset svd`"
        )
    return checkpoints.load_weights(path)
