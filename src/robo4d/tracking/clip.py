"""A predicted video as the images of two cameras at known poses: what trackers and judges look at.

The generator gives view m's points in the camera frame of view n and needs no extrinsics. Trackers do: a depth image
is measured along its own camera's axis. One T_n_m for the clip is recovered from the points themselves
(`robo4d.geometry.procrustes`), so that the calibration of the cameras is never asked for.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d.geometry import Intrinsics, se3
from robo4d.geometry.procrustes import Alignment, DegenerateAlignment, calibrate
from robo4d.rgbd import RgbdFrame, RgbdPair
from robo4d.video import PointmapVideo

_LEAST_AGREEMENT = 0.2
"""Share of view m's points that must agree on one pose of its camera; more than half of a scene stands still."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The observation and the predicted frames, as RGB-D images."""

    frames: tuple[tuple[RgbdFrame, ...], ...]
    """Of each moment, of each view: n, and m if its camera could be placed. Frame 0 is the observation."""
    times_s: Float[Array, " t"]
    """After the observation [s]: 0, then increasing."""
    stamp_ns: int
    """Exposure of the observation [ns]."""
    calibration: Alignment | None
    """T_n_m, and how well view m agrees with it: the consistency of the video across views, and what a moved camera is
    noticed by (`robo4d.tracking.drift`). None if the points fix no pose."""

    @classmethod
    def from_video(cls, video: PointmapVideo, pair: RgbdPair) -> "Clip":
        """Put the observation before the video, at the video's size, and the cameras in one world.

        The world is that of the reference camera's `T_world_camera`, or its own frame if that is unknown.
        """
        first = 1 if video.times_s[0] == 0 else 0  # some generators repeat the observation
        T_world_n = np.eye(4) if pair.n.T_world_camera is None else pair.n.T_world_camera
        observed = [_resampled(frame, k) for frame, k in zip((pair.n, pair.m), video.intrinsics, strict=True)]
        try:
            calibration = calibrate(observed[1].pointmap(), video.points[1, first], video.valid[1, first])
        except DegenerateAlignment:
            calibration = None
        Ts_n_view = [np.eye(4)]
        if calibration is not None and places(calibration):
            Ts_n_view.append(calibration.T_a_b)
        Ts_world_view = [T_world_n @ T for T in Ts_n_view]
        moments = [tuple(replace(observed[v], T_world_camera=T) for v, T in enumerate(Ts_world_view))]
        for t in range(first, len(video.times_s)):
            moments.append(tuple(_predicted(video, v, t, T_world_n, T) for v, T in enumerate(Ts_world_view)))
        return cls(
            frames=tuple(moments),
            times_s=np.concatenate([[0.0], video.times_s[first:].astype(float)]),
            stamp_ns=video.stamp_ns,
            calibration=calibration,
        )

    @classmethod
    def example(cls) -> "Clip":
        """The example video."""
        return cls.from_video(PointmapVideo.example(), RgbdPair.example())


def places(calibration: Alignment) -> bool:
    """Whether enough of view m agrees on a pose of its camera; without it, the view is left out."""
    return calibration.inlier_share >= _LEAST_AGREEMENT


def _predicted(
    video: PointmapVideo, view: int, t: int, T_world_n: Float[Array, "4 4"], T_world_view: Float[Array, "4 4"]
) -> RgbdFrame:
    points_view = se3.apply(se3.inverse(T_world_view) @ T_world_n, video.points[view, t])
    depth = np.where(video.valid[view, t] & (points_view[..., 2] > 0), points_view[..., 2], 0)
    return RgbdFrame(
        rgb=video.rgb[view, t],
        depth=depth.astype(np.float32),
        intrinsics=video.intrinsics[view],
        camera=f"view {'nm'[view]}",
        stamp_ns=video.stamp_ns + round(float(video.times_s[t]) * 1e9),
        T_world_camera=T_world_view,
    )


def _resampled(frame: RgbdFrame, intrinsics: Intrinsics) -> RgbdFrame:
    """What the same camera sees at another size or crop: the nearest pixel on each ray, and none outside the image."""
    if frame.intrinsics == intrinsics:
        return frame
    uv, _ = frame.intrinsics.project(intrinsics.rays())
    u, v = np.floor(uv[..., 0]).astype(int), np.floor(uv[..., 1]).astype(int)
    inside = (u >= 0) & (u < frame.intrinsics.width) & (v >= 0) & (v < frame.intrinsics.height)
    u, v = np.where(inside, u, 0), np.where(inside, v, 0)
    return replace(
        frame,
        rgb=np.where(inside[..., None], frame.rgb[v, u], np.uint8(0)),
        depth=np.where(inside, frame.depth[v, u], np.float32(0)),
        intrinsics=intrinsics,
    )
