"""From plans to videos: every moment of a plan is drawn into the first images, and the drafts are refined.

The refiner looks at two views at a time, the reference n and another one. Of more views, each is predicted against n
(paper, section 3.2); all plans and all such pairs of views are one batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy import ndarray as Array

from robo4d import PointmapVideo, RgbdFrame
from robo4d.geometry import Camera, se3
from robo4d.interfaces import Cancelled
from robo4d_models.video4d.coding import FARTHEST, RobotState, middle_square, resize_nearest
from robo4d_models.video4d.draft import Draft, Draughtsman, View, compose
from robo4d_models.video4d.refiner import Refiner, encode_draft, encode_motion
from robo4d_models.video4d.robot_model import RobotModel
from robo4d_models.video4d.segmenter import Segmenter

_LEAST_ROBOT_SEEN = 0.3
"""Share of the robot that a camera must show where it should be. Nearly all of it with true poses, half of it behind
the shelf; with poses that are 10 cm off, a third, and almost nothing of an image that is upside down."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What the robot does in a video."""

    start: RobotState
    """At the observation."""
    T_world_tcp: Float[Array, "t a 4 4"]
    """Pose of both TCPs at each moment after it."""
    gripper_width: Float[Array, "t a"]
    """How far open the grippers are then [m]."""


class PlanRenderer:
    """Shows the motion of the robot in the views of an observation.

    Args:
        robot: Of each arm and its gripper.
        refiner: Turns drafts into pictures. Without one, the drafts themselves are the video.
        segmenter: Finds the objects that move as a whole. Without one, only what is between the fingers does.
    """

    def __init__(self, robot: RobotModel, refiner: Refiner | None, segmenter: Segmenter | None) -> None:
        self._robot, self._refiner, self._segmenter = robot, refiner, segmenter

    def render(
        self,
        frames: Sequence[RgbdFrame],
        motions: Sequence[Motion],
        *,
        times_s: Float[Array, " t"],
        size: int,
        stamp_ns: int,
        progress: Callable[[int, int], bool],
    ) -> list[PointmapVideo]:
        """The video of each motion, all points in the frame of the first view.

        Args:
            frames: The reference view n, and one or more others, with the poses of their cameras.
            motions: What is shown.
            times_s: Of the moments, after the observation [s].
            size: Height and width of the videos [px]; a multiple of 8.
            stamp_ns: Time of the observation [ns].
            progress: See `VideoGenerator.generate`; a step is a moment of all videos.

        Raises:
            Cancelled: `progress` returned False.
            ValueError: a view does not show the robot where its joints, or else the model, have it.
        """
        if self._refiner is not None and not self._refiner.config.drawn:
            motions = [_standing(motion) for motion in motions]
        views = self._views(frames, size)
        pairs = [(views[0], view) for view in views[1:]]
        scenes = list(product(motions, pairs))
        draughtsmen = [
            Draughtsman(pair, self._robot, motion.start, motion.T_world_tcp, motion.gripper_width)
            for motion, pair in scenes
        ]
        for draughtsman, (_, frame) in zip(draughtsmen, product(motions, frames[1:]), strict=True):
            _refuse_lost_robot((frames[0], frame), draughtsman)
        shown = [view for _, pair in scenes for view in pair]
        moments: list[tuple[Array, Array]] = []
        for t, time_s in enumerate(times_s.tolist()):
            if not progress(t, len(times_s)):
                raise Cancelled
            drafts = [draft for one in draughtsmen for draft in one.draw(t)]
            codes = [
                encode_motion(view, one.start.T_world_tcp, one.T_world_tcp[t], one.gripper_width[t], time_s)
                for one, pair in scenes
                for view in pair
            ]
            moments.append(self._pictures(shown, drafts, codes))
        rgb, depth = (np.stack(parts) for parts in zip(*moments, strict=True))
        # Of each pair, one image is of n: that of the first is shown.
        rgb, depth = (rearrange(images, "t (k p v) ... -> k v p t ...", k=len(motions), v=2) for images in (rgb, depth))
        return [
            _video(
                views,
                np.concatenate([rgb[k, 0, :1], rgb[k, 1]]),
                np.concatenate([depth[k, 0, :1], depth[k, 1]]),
                times_s=times_s,
                frame=frames[0].camera,
                stamp_ns=stamp_ns,
            )
            for k in range(len(motions))
        ]

    def _pictures(
        self, views: list[View], drafts: list[Draft], motion: list[Float[Array, " m"]]
    ) -> tuple[Float[Array, "i h w 3"], Float[Array, "i h w"]]:
        """Colour in [0, 1] and depth [m] of images; each two that follow one another are views of one moment."""
        if self._refiner is None:
            composed = [compose(view, draft) for view, draft in zip(views, drafts, strict=True)]
            return np.stack([rgb for rgb, _ in composed]), np.stack([depth for _, depth in composed])
        codes = np.stack([encode_draft(view, draft) for view, draft in zip(views, drafts, strict=True)])
        with torch.no_grad():
            output = self._refiner(
                torch.from_numpy(codes).unflatten(0, (-1, 2)), torch.from_numpy(np.stack(motion)).unflatten(0, (-1, 2))
            )
        depth = torch.where(output.valid > 0, output.surface_depth, 0.0).clamp(min=0.0)
        return output.rgb.flatten(0, 1).permute(0, 2, 3, 1).numpy() * 0.5 + 0.5, depth.flatten(0, 1).numpy()

    def _views(self, frames: Sequence[RgbdFrame], size: int) -> list[View]:
        """The frames at the size of the video, with the objects in them."""
        squares = [middle_square(frame) for frame in frames]
        views = [square_view(frame, size) for frame in squares]
        if self._segmenter is None:
            return views
        images = np.stack([resize_nearest(frame.rgb, size, size) for frame in squares])
        masks = self._segmenter.masks(images)["object"]
        return [replace(view, movable=mask) for view, mask in zip(views, masks, strict=True)]


def _standing(motion: Motion) -> Motion:
    """What a refiner is given that foresees the motion itself."""
    poses = np.broadcast_to(motion.start.T_world_tcp, motion.T_world_tcp.shape)
    widths = np.broadcast_to(motion.start.gripper_width, motion.gripper_width.shape)
    return replace(motion, T_world_tcp=poses, gripper_width=widths)


def _refuse_lost_robot(frames: tuple[RgbdFrame, RgbdFrame], draughtsman: Draughtsman) -> None:
    for frame, share in zip(frames, draughtsman.robot_seen, strict=True):
        if share is not None and share < _LEAST_ROBOT_SEEN:
            raise ValueError(
                f"{frame.camera}: {share:.0%} of the robot is seen where it must be, at least "
                f"{_LEAST_ROBOT_SEEN:.0%} are needed: check both cameras' calibration on tf, whether their images "
                "are upright, and the joint states"
            )


def square_view(frame: RgbdFrame, size: int) -> View:
    """A square frame at the size of the video.

    The pixels that are kept need not lie at the centres of the small image's pixels; the principal point is moved by
    the mean of their offsets, so that the rays are exact wherever the size divides the frame's.

    Raises:
        ValueError: the camera's pose is unknown.
    """
    if frame.T_world_camera is None:
        raise ValueError(
            f"{frame.camera}: the camera's pose is unknown; publish it on tf, or calibrate the camera first"
        )
    k = frame.intrinsics
    centres = np.arange(size) + 0.5
    kept = (centres * k.width / size).astype(int) + 0.5
    offset = float(np.mean(kept * size / k.width - centres))
    intrinsics = k.resized(width=size, height=size)
    intrinsics = replace(intrinsics, cx=intrinsics.cx - offset, cy=intrinsics.cy - offset)
    depth = np.nan_to_num(resize_nearest(frame.depth, size, size), posinf=0.0).astype(np.float32)
    return View(
        rgb=resize_nearest(frame.rgb, size, size).astype(np.float32) / 255,
        depth=np.where(depth < FARTHEST, depth, np.float32(0)),
        camera=Camera(intrinsics=intrinsics, T_world_camera=frame.T_world_camera),
    )


def _video(
    views: Sequence[View],
    rgb: Float[Array, "v t h w 3"],
    depth: Float[Array, "v t h w"],
    *,
    times_s: Float[Array, " t"],
    frame: str,
    stamp_ns: int,
) -> PointmapVideo:
    """All points in the camera frame of the first view."""
    T_n_world = se3.inverse(views[0].camera.T_world_camera)
    points = np.stack(
        [
            se3.apply(T_n_world @ view.camera.T_world_camera, view.camera.intrinsics.backproject(depth[i]))
            for i, view in enumerate(views)
        ]
    )
    valid = depth > 0
    return PointmapVideo(
        rgb=np.round(255 * rgb.clip(0, 1)).astype(np.uint8),
        points=np.where(valid[..., None], points, 0).astype(np.float32),
        valid=valid,
        times_s=times_s.astype(np.float32),
        intrinsics=tuple(view.camera.intrinsics for view in views),
        frame=frame,
        stamp_ns=stamp_ns,
    )
