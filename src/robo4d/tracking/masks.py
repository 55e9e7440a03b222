"""The grippers' masks in a whole video: by a segmenter, or by projection of the robot's model.

A segmenter is prompted where the robot has its grippers; the model is drawn where they were tracked without masks.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool
from numpy import ndarray as Array

from robo4d.geometry import se3
from robo4d.interfaces import Segmenter
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.track import GripperTrack
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


def projected_masks(
    tracks: Mapping[str, GripperTrack], video: PointmapVideo, pair: RgbdPair, *, renderer: GripperRenderer
) -> dict[str, Bool[Array, "v t h w"]]:
    """The same without learning: hand and fingers drawn where the embedded tracker has them, for another engine.

    A gripper has no pixels where its pose is not vouched for, and where the image shows something else.

    Args:
        tracks: Of that video, by `track_video` without masks.
        video: The prediction.
        pair: The observation that it starts from.
        renderer: The gripper.
    """
    clip, T_tcp_hand = Clip.from_video(video, pair), se3.inverse(renderer.model.T_hand_tcp)

    def draw(track: GripperTrack, t: int, frame: RgbdFrame) -> Bool[Array, "h w"]:
        if not track.inlier[t]:
            return np.zeros_like(frame.depth, bool)
        opening_m = track.opening_m[t] if np.isfinite(track.opening_m[t]) else renderer.model.max_opening_m
        return projected_mask(renderer, track.Ts_world_tcp[t] @ T_tcp_hand, float(opening_m), frame)

    return {
        arm: np.stack(
            [[draw(track, t, frame) for t, frame in enumerate(view)] for view in zip(*clip.frames, strict=True)]
        )
        for arm, track in tracks.items()
    }
