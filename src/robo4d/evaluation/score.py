"""One predicted clip against the truth: a row of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray as Array

from robo4d.evaluation.appearance import psnr, ssim
from robo4d.evaluation.depth import depth_errors
from robo4d.evaluation.overlap import mean_cross_view_iou
from robo4d.geometry import se3
from robo4d.geometry.pointmap import Pointmap
from robo4d.geometry.procrustes import DegenerateAlignment, calibrate
from robo4d.rgbd import RgbdPair
from robo4d.video import PointmapVideo

_MOVED_M = 0.02
"""A pixel has moved when its true point has, by more than this [m], since the observation."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What really came after an observation."""

    video: PointmapVideo
    """Its frames, at the times of the prediction."""
    observed: PointmapVideo
    """The observation repeated, at the same times: see `still_video`."""
    gripper: Mapping[str, Bool[Array, "v t h w"]]
    """Pixels of each arm's hand and fingers in the frames of the video."""


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """Names as in the tables; n is the reference view, m the second. NaN where a clip shows nothing to measure."""

    abs_rel_n: float
    """The paper's: pixels without a prediction are left out."""
    abs_rel_m: float
    delta1_n: float
    delta1_m: float
    abs_rel_all_n: float
    """With pixels without a prediction counted as an error of 1."""
    abs_rel_all_m: float
    delta1_all_n: float
    """Of all pixels: those without a prediction are wrong."""
    delta1_all_m: float
    abs_rel_moved: float
    """Of both views, where something has moved since the observation."""
    abs_rel_still: float
    """Of both views, everywhere else."""
    psnr: float
    """[dB], both views."""
    ssim: float
    miou: float
    """Of the paper's boxes, each arm's by itself."""
    miou_robust: float
    miou_true_masks: float
    """Of the paper's boxes around where the grippers truly were. Masks that are found cannot do better in a true video:
    what lacks to 1 is that both views see different sides."""
    cross_view_mm: float
    """Error of the pose of camera m in that of camera n, as the first predicted frame implies it, at the middle of what
    view m sees [mm]."""
    cross_view_deg: float
    """Angle of the same error."""
    gripper_point_mm: float
    """Median distance of the predicted points from the true ones, on the gripper's true pixels [mm]."""


def still_video(pair: RgbdPair, video: PointmapVideo) -> PointmapVideo:
    """The prediction that nothing moves: the observation in every frame of a video. What every model must beat.

    Args:
        pair: The observation, at the size of the video.
        video: Gives times, and T_n_m through the cameras' poses.

    Raises:
        ValueError: the poses of the cameras are unknown, or the sizes differ.
    """
    n, m = pair.n, pair.m
    if n.T_world_camera is None or m.T_world_camera is None:
        raise ValueError("a still video needs the poses of both cameras")
    if n.rgb.shape != video.rgb.shape[2:] or m.rgb.shape != video.rgb.shape[2:]:
        raise ValueError(f"the observation is {n.rgb.shape}, the video {video.rgb.shape[2:]}: resize one of them")
    T_n_m = se3.inverse(n.T_world_camera) @ m.T_world_camera
    points = np.stack([n.intrinsics.backproject(n.depth), se3.apply(T_n_m, m.intrinsics.backproject(m.depth))])
    known = np.stack([n.depth > 0, m.depth > 0])[:, None]
    shape = (2, len(video.times_s), *n.depth.shape)
    return replace(
        video,
        rgb=np.broadcast_to(np.stack([n.rgb, m.rgb])[:, None], (*shape, 3)).copy(),
        points=np.broadcast_to(np.where(known[..., None], points[:, None], 0), (*shape, 3)).astype(np.float32),
        valid=np.broadcast_to(known, shape).copy(),
        intrinsics=(n.intrinsics, m.intrinsics),
    )


def score_video(
    predicted: PointmapVideo, truth: Truth, gripper: Mapping[str, Bool[Array, "v t h w"]] | None = None
) -> ClipScore:
    """Compare a prediction with what came.

    Args:
        predicted: The prediction.
        truth: What came.
        gripper: Where the prediction shows each arm's hand and fingers, for `miou`; by default where they were.

    Raises:
        ValueError: they have not the same views, times and size.
    """
    if predicted.valid.shape != truth.video.valid.shape or not np.allclose(predicted.times_s, truth.video.times_s):
        raise ValueError(
            f"prediction and truth must have the same views, times and size, got {predicted.valid.shape} at "
            f"{predicted.times_s} s and {truth.video.valid.shape} at {truth.video.times_s} s"
        )
    z, true_z = (np.where(v.valid, v.points[..., 2], 0).astype(float) for v in (predicted, truth.video))
    paper = [depth_errors(z[v], true_z[v]) for v in range(2)]
    strict = [depth_errors(z[v], true_z[v], count_missing=True) for v in range(2)]
    moved = np.linalg.norm(truth.video.points - truth.observed.points, axis=-1) > _MOVED_M
    distance = np.linalg.norm(predicted.points - truth.video.points, axis=-1)
    shown = {arm: mask & predicted.valid for arm, mask in (gripper or truth.gripper).items()}
    there = {arm: mask & predicted.valid for arm, mask in truth.gripper.items()}
    miou, miou_robust, miou_true_masks = (
        mean_cross_view_iou(predicted.points, masks, truth.gripper, predicted.intrinsics[0], robust=robust)
        if predicted.valid.any()
        else float("nan")
        for masks, robust in ((shown, False), (shown, True), (there, False))
    )
    error_mm, error_deg = cross_view_error(predicted, truth.observed)
    on_gripper = np.logical_or.reduce([*truth.gripper.values()]) & truth.video.valid & predicted.valid
    return ClipScore(
        abs_rel_n=paper[0].abs_rel,
        abs_rel_m=paper[1].abs_rel,
        delta1_n=paper[0].delta1,
        delta1_m=paper[1].delta1,
        abs_rel_all_n=strict[0].abs_rel,
        abs_rel_all_m=strict[1].abs_rel,
        delta1_all_n=strict[0].delta1,
        delta1_all_m=strict[1].delta1,
        abs_rel_moved=depth_errors(z, true_z, of=moved, count_missing=True).abs_rel,
        abs_rel_still=depth_errors(z, true_z, of=~moved, count_missing=True).abs_rel,
        psnr=psnr(predicted.rgb, truth.video.rgb),
        ssim=float(np.mean([ssim(predicted.rgb[v], truth.video.rgb[v]) for v in range(2)])),
        miou=miou,
        miou_robust=miou_robust,
        miou_true_masks=miou_true_masks,
        cross_view_mm=error_mm,
        cross_view_deg=error_deg,
        gripper_point_mm=1000 * float(np.median(distance[on_gripper])) if on_gripper.any() else float("nan"),
    )


def cross_view_error(predicted: PointmapVideo, observed: PointmapVideo) -> tuple[float, float]:
    """How wrong the first predicted frame has the pose of camera m relative to camera n: [mm] and [deg].

    The points of view m, as observed, are fitted onto the predicted ones of the same pixels; what has moved is left out
    as outliers (`robo4d.geometry.procrustes`). As both are in the frame of camera n, the fitted motion is the error
    itself. Its shift is that of the median of the observed points: how far a turn shifts depends on where.

    Args:
        predicted: The prediction.
        observed: The observation repeated, with true poses: see `still_video`.

    Returns:
        NaN where the points fix no pose.
    """
    own = Pointmap(points=observed.points[1, 0], valid=observed.valid[1, 0], frame=observed.frame)
    try:
        T_predicted_true = calibrate(own, predicted.points[1, 0], predicted.valid[1, 0]).T_a_b
    except DegenerateAlignment:
        return float("nan"), float("nan")
    middle: Float[Array, "3"] = np.median(own.points[own.valid], axis=0)
    shift = np.linalg.norm(se3.apply(T_predicted_true, middle) - middle)
    _, angle = se3.distance(T_predicted_true, np.eye(4))
    return 1000 * float(shift), float(np.degrees(angle))
