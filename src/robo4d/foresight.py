"""The predicted end of a plan as the observation that the next video starts from, while the plan is still executed."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from robo4d.rgbd import ArmPosture, RgbdPair
from robo4d.tracking.clip import Clip
from robo4d.video import PointmapVideo


def foreseen_stamp_ns(stamp_ns: int, frame: int) -> int:
    """The stamp of a predicted frame [ns]: a nanosecond after the observation for each frame, the first being 1.

    So the age of all that follows from it counts from what was really seen, and no two observations share a stamp.
    """
    return stamp_ns + frame


def foreseen_pair(video: PointmapVideo, pair: RgbdPair, *, time_s: float, arms: Mapping[str, ArmPosture]) -> RgbdPair:
    """What the cameras will see when a plan has been executed, at the size of the video; the cameras stay.

    Args:
        video: That the plan follows from.
        pair: The observation that the video starts from.
        time_s: Where in the video the plan ends [s]; the nearest frame is taken.
        arms: How each arm will stand then, by name.

    Raises:
        ValueError: the observation is itself foreseen, the plan does not end in the video, no arms, or the video's
            points do not say where camera m is.
    """
    if pair.foreseen:
        raise ValueError("the last video starts from a prediction itself: start the next one from the newest images")
    if not arms:
        raise ValueError("it must be known how the arms will stand: give `arms`")
    clip = Clip.from_video(video, pair)
    frame = int(np.argmin(np.abs(clip.times_s - time_s)))
    if frame == 0 or abs(clip.times_s[frame] - time_s) > clip.times_s[1]:
        raise ValueError(f"the plan must end in the video, at most {clip.times_s[-1]:g} s long, not at {time_s:g} s")
    views = clip.frames[frame]
    if len(views) < 2:
        raise ValueError("the last video does not show both views of one scene: start from the newest images")
    stamp_ns = foreseen_stamp_ns(video.stamp_ns, frame)
    n, m = (
        replace(view, camera=seen.camera, stamp_ns=stamp_ns, T_world_camera=seen.T_world_camera)
        for view, seen in zip(views, (pair.n, pair.m), strict=True)
    )
    return RgbdPair(n=n, m=m, foreseen=arms)
