"""The grippers' masks in a whole video, by a segmenter that is prompted where the robot's state has the grippers."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.interfaces import Segmenter
from robo4d.rgbd import RgbdPair
from robo4d.tracking.clip import Clip
from robo4d.tracking.follow import GripperPrior
from robo4d.tracking.projection import projected_mask
from robo4d.tracking.rendering import GripperRenderer
from robo4d.video import PointmapVideo


def gripper_masks(
    segmenter: Segmenter,
    video: PointmapVideo,
    pair: RgbdPair,
    *,
    priors: Mapping[str, GripperPrior],
    renderer: GripperRenderer,
) -> dict[str, Bool[Array, "v t h w"]]:
    """Pixels of each arm's hand and fingers, the observation's first: as `track_video` takes them.

    A gripper that a view does not show in the observation has no pixels in that view.

    Args:
        segmenter: Such as SAM 2.
        video: The prediction.
        pair: The observation that it starts from.
        priors: As for `track_video`.
        renderer: The gripper.
    """
    clip = Clip.from_video(video, pair)
    T_tcp_hand = se3.inverse(renderer.model.T_hand_tcp)
    masks: dict[str, Bool[Array, "v t h w"]] = {}
    for arm, prior in priors.items():
        of_views: list[Bool[Array, "t h w"]] = []
        for frames in zip(*clip.frames, strict=True):
            prompt = projected_mask(renderer, prior.T_world_tcp @ T_tcp_hand, prior.opening_m, frames[0])
            rgb = np.stack([frame.rgb for frame in frames])
            of_views.append(segmenter.segment(rgb, prompt) if prompt.any() else np.zeros(rgb.shape[:3], bool))
        masks[arm] = np.stack(of_views)
    return masks
