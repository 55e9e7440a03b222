"""A true clip as a prediction would show it: at the size and the times of the prediction."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int
from numpy import ndarray as Array

from robo4d.evaluation.score import Truth, still_video
from robo4d.geometry import Intrinsics
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.tracking.clips import TrueClip
from robo4d.video import PointmapVideo

_SAME_TIME_S = 0.01
"""Frames are of the same moment within this [s]."""


def like(clip: TrueClip, predicted: PointmapVideo) -> TrueClip:
    """The clip's observation and those of its frames that are predicted, in images as large as the predicted ones.

    Pixels are taken by nearest neighbour: points are never mixed across an edge.

    Raises:
        ValueError: the clip has no frame at one of the times, or its images are smaller.
    """
    size, (height, width) = clip.video.valid.shape[2:], predicted.valid.shape[2:]
    if size[0] < height or size[1] < width:
        raise ValueError(
            f"the true images are {size[0]} x {size[1]}, the predicted ones {height} x {width}: take larger clips, of "
            f"--size {max(height, width)}, in another --data"
        )
    apart = np.abs(clip.video.times_s[:, None] - predicted.times_s)
    if apart.min(axis=0).max() > _SAME_TIME_S:
        raise ValueError(f"the clip has frames at {clip.video.times_s} s, the prediction at {predicted.times_s} s")
    t = apart.argmin(axis=0)
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip((height, width), size, strict=True))
    area = (rows[:, None], columns)
    moments = np.concatenate([[0], 1 + t])

    def cut(images: Array, frames: Int[Array, " t"]) -> Array:
        return images[:, frames][:, :, area[0], area[1]]

    return replace(
        clip,
        video=replace(
            clip.video,
            rgb=cut(clip.video.rgb, t),
            points=cut(clip.video.points, t),
            valid=cut(clip.video.valid, t),
            times_s=clip.video.times_s[t],
            intrinsics=predicted.intrinsics,
        ),
        pair=RgbdPair(
            n=_frame(clip.pair.n, area, predicted.intrinsics[0]),
            m=_frame(clip.pair.m, area, predicted.intrinsics[1]),
        ),
        Ts_world_tcp={arm: Ts[moments] for arm, Ts in clip.Ts_world_tcp.items()},
        opening_m={arm: opening[moments] for arm, opening in clip.opening_m.items()},
        joints={arm: joints[moments] for arm, joints in clip.joints.items()},
        masks={arm: cut(mask, moments) for arm, mask in clip.masks.items()},
        fingers={arm: cut(mask, moments) for arm, mask in clip.fingers.items()},
    )


def truth_of(clip: TrueClip) -> Truth:
    """What came, and what came before it repeated."""
    return Truth(
        video=clip.video,
        observed=still_video(clip.pair, clip.video),
        gripper={arm: mask[:, 1:] for arm, mask in clip.masks.items()},
    )


def _frame(frame: RgbdFrame, area: tuple[Array, Array], intrinsics: Intrinsics) -> RgbdFrame:
    return replace(frame, rgb=frame.rgb[area], depth=frame.depth[area], intrinsics=intrinsics)
