"""The svd preset at work: from one RGB-D frame per view to a 4D video. The file to read first.

frames -> colours and pointmaps in [-1, 1] -> latents, image embedding -> diffusion -> latents -> PointmapVideo

No camera poses enter: the network itself finds how the views lie to each other, and gives all points in the frame of
the reference camera (paper, section 3.2).
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import nn

from robo4d import PointmapVideo, RgbdFrame, RgbdPair
from robo4d_models.video4d.svd.acceleration import accelerated, dtype_of
from robo4d_models.video4d.svd.conditioning import encode_frame
from robo4d_models.video4d.svd.edm import Condition, sample
from robo4d_models.video4d.svd.model import SvdModel
from robo4d_models.video4d.svd.options import SvdOptions
from robo4d_models.video4d.svd.reuse import FeatureReuse


class SvdGenerator:
    """Imagines the future of two RGB-D views, or more. Implements `robo4d.interfaces.VideoGenerator`.

    Args:
        model: With weights; it is moved to the device.
        options: How a video is made.
    """

    def __init__(self, model: SvdModel, options: SvdOptions | None = None) -> None:
        self.options = options or SvdOptions()
        self.model = model.eval().requires_grad_(False)
        name = self.options.device
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        home = torch.device("cpu") if self.options.offload else self.device
        dtype = dtype_of(self.options.acceleration, self.device)
        self._decoders = model.decoders(small=self.options.small_decoders)
        model.network.to(home, dtype)
        model.place_coders(home, dtype)
        self._network = accelerated(
            model.network, self.options.acceleration, home, with_deep=self.options.feature_reuse > 1
        )
        self._told: tuple[tuple[RgbdFrame, ...], Condition] | None = None

    @classmethod
    def load(cls, folder: Path, options: SvdOptions | None = None) -> "SvdGenerator":
        """The generator with the weights of a folder.

        Raises:
            ValueError: weights are missing (the message says where to get them), or of another preset.
        """
        return cls(SvdModel.load(folder), options)

    def generate(
        self, pair: RgbdPair, *, seed: int, progress: Callable[[int, int], bool] = lambda step, steps: True
    ) -> PointmapVideo:
        """The predicted video that follows the pair; see `VideoGenerator.generate`."""
        return self.generate_views((pair.n, pair.m), seed=seed, progress=progress)

    @torch.no_grad()
    def generate_views(
        self,
        frames: tuple[RgbdFrame, ...],
        *,
        seed: int,
        progress: Callable[[int, int], bool] = lambda step, steps: True,
    ) -> PointmapVideo:
        """The predicted video of two or more views, all points in the frame of the first (paper, section A.7).

        Args:
            frames: The observation; the first one is the reference.
            seed: Selects the sample.
            progress: Called with (step, steps in all) before each step; False cancels.

        Raises:
            Cancelled: `progress` returned False.
            ValueError: there are fewer than two views, or one without depth.
        """
        if len(frames) < 2:
            raise ValueError(f"the model looks through two or more views, got {len(frames)}")
        model, config = self.model, self.model.config
        condition = self._condition(frames)
        with self._at_work(model.network):
            network = self._network
            if self.options.feature_reuse > 1:
                network = FeatureReuse(network, self.options.feature_reuse)
            latents = sample(network, condition, config.frames, self.options.sampler, seed=seed, progress=progress)
        with self._at_work(*self._decoders):
            rgb, code = model.decode(latents, small=self.options.small_decoders)
        shape = (len(frames), config.frames, config.height, config.width)
        points, valid = np.zeros((*shape, 3), np.float32), np.zeros(shape, bool)
        if code is not None:
            decoded, known = config.points.decode(code[0])
            points, valid = rearrange(decoded, "v t c h w -> v t h w c").cpu().numpy(), known.cpu().numpy()
        colours = rearrange(rgb[0], "v t c h w -> v t h w c").cpu().numpy()
        return PointmapVideo(
            rgb=np.round(127.5 * (colours.clip(-1, 1) + 1)).astype(np.uint8),
            points=points,
            valid=valid,
            times_s=(config.period_s * np.arange(1, config.frames + 1)).astype(np.float32),
            intrinsics=tuple(f.intrinsics.resized(width=config.width, height=config.height) for f in frames),
            frame=frames[0].camera,
            stamp_ns=min(frame.stamp_ns for frame in frames),
        )

    def _condition(self, frames: tuple[RgbdFrame, ...]) -> Condition:
        """What the network is told; computed once for all samples that follow the same frames."""
        if self._told and [id(frame) for frame in self._told[0]] == [id(frame) for frame in frames]:
            return self._told[1]
        model, config = self.model, self.model.config
        coded = [encode_frame(frame, config.height, config.width, config.points) for frame in frames]
        rgb, points = (torch.stack([frame[i] for frame in coded])[None].to(self.device) for i in range(2))
        with self._at_work(model.rgb, model.points, model.clip):
            condition = model.condition(rgb, points)
        self._told = frames, condition
        return condition

    @contextmanager
    def _at_work(self, *parts: nn.Module | None) -> Generator[None]:
        """Parts are on the device inside the block; with `offload`, only there."""
        if not self.options.offload:
            yield
            return
        present = [part for part in parts if part is not None]
        for part in present:
            part.to(self.device)
        try:
            yield
        finally:
            for part in present:
                part.to("cpu")
