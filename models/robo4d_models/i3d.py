"""Features of videos by I3D, for the Fréchet video distance.

The network (Carreira and Zisserman 2017, trained on Kinetics-400) does not come with this repository. It is a
TorchScript file that is called as `i3d_torchscript.pt` of https://github.com/universome/fvd-comparison is: a port of
the network by which the authors of the distance measure.
"""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from torch.nn import functional

_ADVICE = "get i3d_torchscript.pt as https://github.com/universome/fvd-comparison tells"
_SIDE_PX = 224
"""Height and width that the network was trained on."""


class I3d:
    """The network.

    Args:
        file: TorchScript, called with videos (b 3 t h w) in [-1, 1] and `rescale`, `resize`, `return_features`.

    Raises:
        ValueError: there is no such file, or it is no TorchScript.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise ValueError(f"no I3D network at {file}: {_ADVICE}")
        try:
            self._network = torch.jit.load(str(file), map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{file} is no TorchScript: {_ADVICE}") from error

    @torch.no_grad()
    def features(self, videos: UInt8[Array, "b t h w 3"]) -> Float[Array, "b d"]:
        """Of each video. The network wants at least 10 frames."""
        b = len(videos)
        frames = rearrange(torch.from_numpy(videos).float() / 127.5 - 1, "b t h w c -> (b t) c h w")
        frames = functional.interpolate(frames, (_SIDE_PX, _SIDE_PX), mode="bilinear", align_corners=False)
        clips = rearrange(frames, "(b t) c h w -> b c t h w", b=b)
        return self._network(clips, rescale=False, resize=False, return_features=True).double().numpy()
